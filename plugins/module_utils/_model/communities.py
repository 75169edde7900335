# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Communities of BGP as operators write them: standard ones a:b (RFC 1997) and large ones a:b:c (RFC 8092)."""

from __future__ import annotations

import re
import typing as t

from .written import hidden_in

GRACEFUL_SHUTDOWN = (65535, 0)
"""RFC 8326: what bears it is about to go."""

_NUMBER = re.compile(r"0|[1-9][0-9]{0,19}")
_LARGEST = {2: 0xFFFF, 3: 0xFFFFFFFF}
"""Parts of a community → the largest number that each may be."""

Community = tuple[int, ...]
"""Two numbers of 16 bits, or three of 32 bits."""


def read_community(value: t.Any) -> Community | str:
    """A community, or the sentence that says why it is none."""
    if isinstance(value, int) and not isinstance(value, bool):
        written = f"{value // 60}:{value % 60:02}" if value < 60 << 16 else f"{value // 3600}:{value // 60 % 60}:.."
        return f"{value} is a number: YAML reads {written} without quotes as one of base 60; put quotes around it"
    text = str(value)
    told = hidden_in(text)
    if told:
        return told
    parts = text.split(":")
    largest = _LARGEST.get(len(parts))
    if largest is None or not all(_NUMBER.fullmatch(part) for part in parts):
        return f"{text} is not a community: write a:b, or a:b:c for a large one"
    numbers = tuple(map(int, parts))
    high = [number for number in numbers if number > largest]
    if high:
        bits = f"{largest.bit_length()} bits"
        hint = "; one with numbers of 32 bits has three of them (a:b:c)" if len(parts) == 2 else ""
        return f"{text}: {high[0]} is more than {largest}, as much as {bits} hold{hint}"
    return numbers
