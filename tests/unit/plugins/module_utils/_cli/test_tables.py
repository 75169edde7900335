# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tables that people read."""

from __future__ import annotations

import re

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._cli.tables import (
    moment,
    moment_of,
    screen_width,
    span,
    table,
)


def test_a_table() -> None:
    rows = [("198.51.100.1:443/tcp", "active 30 %", "-"), ("", "down", "")]
    assert table(("VIP", "STATE", "X"), rows, coloured=False) == (
        "VIP                   STATE        X\n198.51.100.1:443/tcp  active 30 %  -\n                      down\n"
    )
    painted = table(("VIP", "down", "X"), rows, coloured=True).splitlines()
    assert "\x1b" not in painted[0]
    assert "\x1b[32mactive 30 %\x1b[0m" in painted[1]
    assert "\x1b[31mdown       \x1b[0m" in painted[2]


def test_what_a_service_says_cannot_steer_a_terminal() -> None:
    assert table(("A",), [("\x1b[2J\nroot",)], coloured=False) == "A\n\\x1b[2J\\nroot\n"


def test_numbers_are_written_to_the_right() -> None:
    rows = [("a", "9", "-"), ("b", "1.25k", "99 %"), ("", "", "<0.1 %")]
    assert table(("X", "N", "SHARE"), rows, coloured=False).splitlines() == [
        "X      N   SHARE",
        "a      9       -",
        "b  1.25k    99 %",
        "          <0.1 %",
    ]
    # Addresses and names are none.
    assert table(
        ("VIP", "R"), [("198.51.100.1:443/tcp", "10.0.0.1"), ("x", "10.0.0.20")], coloured=False
    ).splitlines() == [
        "VIP                   R",
        "198.51.100.1:443/tcp  10.0.0.1",
        "x                     10.0.0.20",
    ]


def test_a_narrow_terminal() -> None:
    rows = [("one", "down", "because of this"), ("two", "active", "-")]
    assert table(("A", "STATE", "WHY"), rows, coloured=False, width=16) == (
        "A    STATE\none  down\n    because of this\ntwo  active\n"
    )
    assert (
        table(("A", "STATE", "WHY"), rows, coloured=False, width=28).splitlines()[1] == "one  down    because of this"
    )
    cut = table(("A", "STATE", "WHY"), rows, coloured=False, width=16, cut=True).splitlines()
    assert cut == ["A    STATE   WHY", "one  down    be…", "two  active  -"]
    assert table(("A", "B"), [("abcdef", "x")], coloured=False, width=4, cut=True) == "A\nabc…\n"


def test_how_wide_a_terminal_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert screen_width() is None
    monkeypatch.setenv("COLUMNS", "72")
    assert screen_width() == 72


def test_a_pipe_is_not_coloured(capsys: pytest.CaptureFixture[str]) -> None:
    assert "\x1b" not in table(("A",), [("down",)])


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-3.0, "0.0 s"),
        (0.04, "0.0 s"),
        (0.3, "0.3 s"),
        (9.94, "9.9 s"),
        (10.4, "10 s"),
        (59.4, "59 s"),
        (60.0, "1 min"),
        (3599.0, "59 min"),
        (3600.0, "1 h"),
        (86399.0, "23 h"),
        (86400.0, "1 d"),
        (1e7, "115 d"),
    ],
)
def test_times(seconds: float, words: str) -> None:
    assert span(seconds) == words


def test_moments() -> None:
    assert moment(0.0) == "-"
    for at in (-1e300, 1.8e9, 1e300):
        assert re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:]{8} [A-Z+0-9-]+", moment(at))


@pytest.mark.parametrize("text", ["2027-01-15T08:00:00.250+00:00", "2027-01-15T09:00:00+01:00", "2027-01-15T08:00:00Z"])
def test_moments_as_files_have_them(text: str) -> None:
    assert moment_of(text) == moment(1_800_000_000)


@pytest.mark.parametrize("text", ["", None, "yesterday", "9999-99-99T00:00:00"])
def test_no_moment(text: str | None) -> None:
    assert moment_of(text) == "-"
