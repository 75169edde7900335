# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an operator wrote that YAML or an editor made something else of, sentence by sentence."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model.written import (
    OCTAL,
    OF_ADDRESS,
    OF_MAC,
    as_base_60,
    as_decimal,
    base_60,
    hidden_in,
    number_fault,
    visible,
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [("", ""), ("lb 1", "lb 1"), ("grün", "grün"), ("a\tb", "a\\tb"), ("a\u200bé", "a\\u200bé"), ("\x00", "\\x00")],
)
def test_what_cannot_be_seen_is_written_as_an_escape(text: str, shown: str) -> None:
    assert visible(text) == shown


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("eth0", None),
        ("a b", None),
        ("", "is empty"),
        ("eth0\r", "'eth0\\r' has a carriage return in it (line ends of DOS)"),
        ("eth0 ", "'eth0 ' has white space in it"),
        (" eth0", "' eth0' has white space in it"),
        ("eth\t0", "'eth\\t0' has white space in it"),
        ("eth\u00a00", "'eth\\xa00' has white space in it"),
        ("eth\x000", "'eth\\x000' has a control character in it"),
        ("eth\u200b0", "'eth\\u200b0' has a character that is not of ASCII in it"),
        ("ethé", "'eth\\xe9' has a character that is not of ASCII in it"),
    ],
)
def test_characters_that_cannot_be_seen(text: str, fault: str | None) -> None:
    assert hidden_in(text) == fault


@pytest.mark.parametrize(
    ("value", "parts", "written"),
    [
        # 2:00:00:00:00:01
        (2 * 60**5 + 1, OF_MAC, "02:00:00:00:00:01"),
        (60**5, OF_MAC, "01:00:00:00:00:00"),
        (60**5 - 1, OF_MAC, None),
        (60**6 - 1, OF_MAC, "59:59:59:59:59:59"),
        (60**6, OF_MAC, None),
        (3661, OF_ADDRESS, "01:01:01"),
        (3600, OF_ADDRESS, "01:00:00"),
        (3599, OF_ADDRESS, None),
        (60**8 - 1, OF_ADDRESS, ":".join(["59"] * 8)),
        (60**8, OF_ADDRESS, None),
        ("3661", OF_ADDRESS, "01:01:01"),
        (9 * 10**15, range(1, 99), "53:35:01:14:04:26:40:00:00"),
        (10**16, range(1, 99), None),
        (True, range(1, 9), None),
        (3661.0, OF_ADDRESS, None),
        ("03661", OF_ADDRESS, None),
        (-3661, OF_ADDRESS, None),
        (0, range(9), None),
        ("٣٦٦١", OF_ADDRESS, None),
    ],
)
def test_numbers_that_were_written_with_colons(value: Any, parts: range, written: str | None) -> None:
    assert base_60(value, parts) == written


def test_the_sentence_about_base_60() -> None:
    assert as_base_60(3661, OF_ADDRESS) == (
        "3661 is a number: YAML reads 01:01:01 without quotes as one of base 60; put quotes around it"
    )
    assert as_base_60("eth0", OF_ADDRESS) is None


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        (0, None),
        ("0", None),
        (" 12 ", None),
        ("+12", None),
        (-1, None),
        (True, "True is not a whole number: YAML reads yes, no, on and off without quotes as truth values"),
        ("0443", "0443 begins with 0, by which YAML means base 8; write 443"),
        ("00", "00 begins with 0, by which YAML means base 8; write 0"),
        (" -0_7 ", " -0_7  begins with 0, by which YAML means base 8; write 7"),
        ("08", "08 begins with 0, by which YAML means base 8; write 8"),
        (1.0, "1.0 is not a whole number"),
        ("", " is not a whole number"),
        ("1 2", "1 2 is not a whole number"),
        ("12\x00", "12\\x00 is not a whole number"),
        ("٣", "٣ is not a whole number"),
        (None, "None is not a whole number"),
    ],
)
def test_what_is_no_whole_number(value: Any, fault: str | None) -> None:
    assert number_fault(value) == fault


def test_ports_that_begin_with_0_and_are_numbers_of_base_8() -> None:
    # 0443 is 291; 389 or 993 have a digit that base 8 does not.
    assert OCTAL[291] == 443
    assert all(int(f"{port}", 8) == value for value, port in OCTAL.items())


@pytest.mark.parametrize(
    ("value", "number"),
    [
        *((0, 0.0), (1.5, 1.5), ("0", 0.0), ("10", 10.0), ("0.25", 0.25), (".5", 0.5), ("5.", 5.0), ("+2", 2.0)),
        # PyYAML reads 1e3 as a text; a block of YAML ends with a line's end; what Jinja divides may become a text.
        *(("1e3", 1000.0), ("1e-05", 1e-5), ("30\n", 30.0), (" 1", 1.0), (str(10 / 3), 10 / 3)),
        *((str(0.1 + 0.2), 0.1 + 0.2), (float("5e-324"), 5e-324)),
    ],
)
def test_numbers_that_need_not_be_whole(value: Any, number: float) -> None:
    assert as_decimal(value) == number


@pytest.mark.parametrize(
    "value",
    [
        *(True, -1, -0.5, float("nan"), float("inf"), None, [1], b"1"),
        *("", ".", "1_0", "\u0661", "1 0", "1.2.3", "-1", "nan", "inf", "1e", "e3", "0x10", "1e99", "9" * 16, "0" * 41),
    ],
)
def test_what_is_no_number_of_any_kind(value: Any) -> None:
    assert as_decimal(value) is None
