# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Numbers that fall while traffic leaves, in a line that people read at a glance. Pure."""

from __future__ import annotations

from collections.abc import Sequence

_MOST = 8
"""Numbers in one line."""


def falling(rates: Sequence[float], unit: str = "packets/s") -> str:
    """The first and the last of some numbers and a few between, in their order; "" where there are none.

    Of a number that does not change from one to the next, the first is told.
    """
    words: list[str] = []
    for rate in rates:
        text = f"{rate:,.0f}"
        if not words or words[-1] != text:
            words.append(text)
    if not words:
        return ""
    if len(words) > _MOST:
        words = [words[round(at * (len(words) - 1) / (_MOST - 1))] for at in range(_MOST)]
    return f"{' → '.join(words)} {unit}"
