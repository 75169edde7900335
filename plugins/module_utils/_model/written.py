# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an operator wrote, where YAML or an editor made something else of it: told in words, and made visible."""

from __future__ import annotations

import re
import typing as t

OF_MAC, OF_ADDRESS = range(6, 7), range(3, 9)
"""How many parts a MAC address has, and how many of decimal digits an IPv6 address may have."""

_LONGEST = 15
"""Decimal digits of the largest number that eight parts can become, beside the first."""


def visible(text: str) -> str:
    """A text with what cannot be seen in it written as escapes."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def hidden_in(text: str) -> str | None:
    """That a text has characters that cannot be seen, in a sentence that shows them; None where it has none."""
    if not text:
        return "is empty"
    if text.isprintable() and text.isascii() and text == text.strip():
        return None
    if "\r" in text:
        return f"{text!a} has a carriage return in it (line ends of DOS)"
    if text.strip() != text or any(char.isspace() for char in text):
        return f"{text!a} has white space in it"
    kind = "a control character" if text.isascii() else "a character that is not of ASCII"
    return f"{text!a} has {kind} in it"


def base_60(value: t.Any, parts: range) -> str | None:
    """How a number was written if YAML read it with colons, in base 60; None where that has not so many parts.

    YAML 1.1: 1:30 without quotes is 90.
    """
    text = str(value)
    if isinstance(value, (bool, float)) or not re.fullmatch(rf"[1-9][0-9]{{0,{_LONGEST}}}", text, re.ASCII):
        return None
    number, found = int(text), []
    while number:
        number, part = divmod(number, 60)
        found.append(f"{part:02}")
    return ":".join(reversed(found)) if len(found) in parts else None


def as_base_60(value: t.Any, parts: range) -> str | None:
    """That YAML made a number of a text with colons, in a sentence; None where it cannot have."""
    written = base_60(value, parts)
    if written is None:
        return None
    return f"{value} is a number: YAML reads {written} without quotes as one of base 60; put quotes around it"


_MOST_DIGITS = 4000
"""Python itself reads no more than 4300."""


def number_fault(value: t.Any) -> str | None:
    """Why a value is no whole number, in words that name what it was; None where it is one."""
    text = str(value)
    if isinstance(value, bool):
        return f"{value} is not a whole number: YAML reads yes, no, on and off without quotes as truth values"
    if re.fullmatch(r"\s*[+-]?0[0-9_]+\s*", text, re.ASCII):
        meant = text.strip().lstrip("+-0_") or "0"
        return f"{visible(text)} begins with 0, by which YAML means base 8; write {meant}"
    if re.fullmatch(r"\s*[+-]?[0-9]+\s*", text, re.ASCII):
        digits = len(text.strip().lstrip("+-"))
        return None if digits <= _MOST_DIGITS else f"a number of {digits} digits is none that is meant here"
    return f"{visible(text)} is not a whole number"


_DECIMAL = re.compile(r"\s*\+?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,2})?\s*", re.ASCII)
_LONGEST_DECIMAL = 40
"""Characters; Python itself writes up to 24."""
_HUGE = 10**15


def as_decimal(value: t.Any) -> float | None:
    """A number from 0 on, of a number or of a text that is one; None for what is none, nan and inf among them.

    Python's float() takes more: truth values, 1_0, digits of any script. To YAML, 1e3 is a text.
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        if len(value) > _LONGEST_DECIMAL or not _DECIMAL.fullmatch(value):
            return None
        value = float(value)
    return float(value) if isinstance(value, (int, float)) and 0 <= value < _HUGE else None


OCTAL = {int(str(port), 8): port for port in (443, 465, 514, 554, 636, 1433, 2055, 3306, 5060, 5061, 5432, 6443)}
"""What YAML 1.1 makes of a well-known port that is written with a 0 before it → the port. Nothing else tells it."""
