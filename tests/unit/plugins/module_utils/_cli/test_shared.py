# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How numbers are written, and what ends with which status."""

from __future__ import annotations

import argparse
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.katran.fleet.plugins.module_utils._cli.shared import chooser, exit_status, number, percent
from ansible_collections.katran.fleet.plugins.module_utils._cli.top import interval
from ansible_collections.katran.fleet.plugins.module_utils._cli.values import seconds_until, whole
from ansible_collections.katran.fleet.plugins.module_utils._engine.flows_info import MAX_LIMIT
from ansible_collections.katran.fleet.plugins.module_utils._engine.status import BalancerStatus
from ansible_collections.katran.fleet.plugins.module_utils._model.status import VipStatus
from ansible_collections.katran.fleet.plugins.module_utils._model.vips import VipKey


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"), (812, "812"), (999.4, "999"), (999.5, "1.00k"), (1000, "1.00k"), (1254, "1.25k"), (9995, "10.0k"),
        (99_949, "99.9k"), (99_950, "100k"), (999_499, "999k"), (999_500, "1.00M"), (33_140_000, "33.1M"),
        (1e18, "1000P"), (1e21, "1000000P"),
    ],
)  # fmt: skip
def test_numbers(value: float, text: str) -> None:
    assert number(value) == text


@given(st.floats(0, 9e17))
def test_a_number_is_short_and_about_right(value: float) -> None:
    text = number(value)
    assert len(text) <= 5
    unit = 1000 ** ("kMGTP".index(text[-1]) + 1) if text[-1].isalpha() else 1
    assert float(text.rstrip("kMGTP")) * unit == pytest.approx(value, rel=0.006, abs=0.5)


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0, "0 %"),
        (1, "100 %"),
        (0.5, "50 %"),
        (0.0149, "1.5 %"),
        (0.0004, "<0.1 %"),
        (0.9999, ">99.9 %"),
        (0.001, "0.1 %"),
    ],
)
def test_shares(share: float, text: str) -> None:
    assert percent(share) == text


def status(**options: object) -> BalancerStatus:
    found = BalancerStatus("default", "/sys/fs/bpf")
    for name, value in options.items():
        setattr(found, name, value)
    return found


@pytest.mark.parametrize(
    ("found", "code"),
    [
        ([status()], 0),
        ([status(vips=[VipStatus("v", "announced")]), status()], 0),
        ([status(vips=[VipStatus("v", "draining")])], 1),
        ([status(vips=[VipStatus("v", "ready", degraded="x")])], 1),
        ([status(vips=[VipStatus("v", "ready", edited=True)])], 1),
        ([status(), status(problems=["x"])], 1),
        ([status(differences=["x"])], 1),
        ([status(drained={"by": "x"})], 1),
        ([status(notes=["x"])], 0),
        ([status(problems=["x"]), status(sure=False)], 2),
    ],
)
def test_what_ends_with_which_status(found: list[BalancerStatus], code: int) -> None:
    assert exit_status(found) == code


def test_what_is_chosen() -> None:
    assert chooser(None) == (None, None)
    _which, chosen = chooser("198.51.100.1")
    web, dns = VipKey.read("198.51.100.1:443/tcp"), VipKey.read("198.51.100.2:53/udp")
    assert chosen is not None
    assert [chosen(key, "10.0.0.1") for key in (web, web, dns, web)] == [True, True, False, True]
    _which, chosen = chooser("10.0.0.1")
    assert chosen is not None
    assert [chosen(key, real) for key in (web, dns) for real in ("10.0.0.1", "10.0.0.2")] == [True, False] * 2


@pytest.mark.parametrize(
    ("reader", "good", "bad"),
    [
        (whole(0, MAX_LIMIT), ["0", "100000", "05"], ["-1", "100001", "1_0", "\u0661", "1.0", "", "9" * 5000]),
        (whole(1), ["1", "7"], ["0", "-1", "1_0"]),
        (interval, ["0.1", ".5", "3600"], ["0.09", "3601", "nan", "1_0", "\u0661"]),
        (seconds_until(86_400), ["0.1", "86400", "1e2"], ["0", "-1", "nan", "86401", "1_0"]),
    ],
)
def test_what_options_take(reader: Callable[[str], float], good: list[str], bad: list[str]) -> None:
    assert [reader(value) for value in good] == [float(value) for value in good]
    for value in bad:
        with pytest.raises(argparse.ArgumentTypeError, match=f"^{value} is not "):
            reader(value)
