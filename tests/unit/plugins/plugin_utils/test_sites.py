# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which reals take part at a site."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.katran.fleet.plugins.plugin_utils.sites import (
    Candidate,
    at_site,
    at_site_by_family,
    zones_fault,
)

A1, A2 = Candidate("a1", "ams", 3), Candidate("a2", "ams")
F1, L1 = Candidate("f1", "fra", 2), Candidate("l1", "lon")


def weights(candidates: list[Candidate], *arguments: Any) -> list[Any]:
    return [each.weight for each in at_site(candidates, "ams", *arguments)]


@pytest.mark.parametrize(
    ("first", "second", "spill", "fallback", "found"),
    [
        # Of 4, all are active.
        (None, None, 100, None, [3, None, 0, 0]),
        # 3 of 4 are 75 per cent.
        (None, "draining", 75, None, [3, None, 0, 0]),
        (None, "draining", 76, None, [3, None, 2, None]),
        # 1 of 4 is 25 per cent.
        ("down", None, 25, None, [3, None, 0, 0]),
        ("down", None, 26, None, [3, None, 2, None]),
        # Without a share, others help only where nobody near is left.
        ("down", None, 0, None, [3, None, 0, 0]),
        ("down", "down", 0, None, [3, None, 2, None]),
        # One zone after another: 1 and 1 are 50 per cent, and 2 more are all.
        ("down", None, 50, ["lon", "fra"], [3, None, 0, None]),
        ("down", None, 51, ["lon", "fra"], [3, None, 2, None]),
        ("down", None, 51, ["lon"], [3, None, 0, None]),
        ("down", "down", 0, ["nowhere", "fra", "lon"], [3, None, 2, 0]),
        ("down", "down", 0, [], [3, None, 0, 0]),
    ],
)
def test_spilling(first: Any, second: Any, spill: int, fallback: Any, found: list[Any]) -> None:
    near = [A1._replace(state=first), A2._replace(state=second)]
    assert weights([*near, F1, L1], spill, fallback) == found


def test_each_family_is_a_site_of_its_own() -> None:
    both = ["ipv4", "ipv6"]
    here = [A1, A2._replace(state="down"), F1]
    # Of IPv6 nobody near is active; of IPv4 nobody near is down.
    found = at_site_by_family(here, [["ipv4"], ["ipv6"], both], "ams")
    assert [{family: each.weight for family, each in own.items()} for own in found] == [
        {"ipv4": 3},
        {"ipv6": None},
        {"ipv4": 0, "ipv6": 2},
    ]
    # Where nobody near has a family, a VIP may have reals of both.
    found = at_site_by_family([A1, F1], [["ipv4"], ["ipv6"]], "ams")
    assert [own.popitem()[1].weight for own in found] == [3, 0]
    assert at_site_by_family(here, [both] * 3, "ams", 90) == [
        dict.fromkeys(both, each) for each in at_site(here, "ams", 90)
    ]


def test_a_zone_without_reals_of_its_own() -> None:
    assert weights([F1, L1]) == [2, None]
    assert weights([]) == []


def test_what_a_real_is_elsewhere() -> None:
    there = F1._replace(zones={"ams": {"weight": 7}})
    assert weights([A1, there]) == [3, 7]
    assert [each.weight for each in at_site([A1, there], "fra")] == [0, 2]
    drained = A1._replace(zones={"ams": {"state": "draining"}})
    assert at_site([drained, F1], "ams", 50) == [drained._replace(state="draining"), F1]


@pytest.mark.parametrize(
    ("zones", "fault"),
    [
        ({}, None),
        ({"a": {"weight": 0}, "b": {"state": "down", "weight": "7"}}, None),
        ("a", "katran_real_zones: a is no mapping of zones"),
        ({"a": 3}, "katran_real_zones.a: 3 is no mapping of weight and state"),
        ({"a": {}}, "katran_real_zones.a: {} is no mapping of weight and state"),
        ({"a": {"wieght": 3}}, "katran_real_zones.a.wieght: there is no such option; there are weight, state"),
        ({"a": {"state": "x"}}, "katran_real_zones.a.state: x is none of active, draining, down"),
        ({"a": {"weight": -1}}, "katran_real_zones.a.weight: -1 is not a weight (0 to 10000)"),
        ({"a": {"weight": True}}, "katran_real_zones.a.weight: True is not a weight (0 to 10000)"),
    ],
)
def test_faults(zones: Any, fault: str | None) -> None:
    assert zones_fault(zones) == fault


CANDIDATES = st.builds(
    Candidate,
    st.just("x"),
    st.sampled_from(["ams", "fra", "lon"]),
    st.sampled_from([None, 0, 1, 5, "2"]),
    st.sampled_from([None, "active", "draining", "down"]),
    st.sampled_from([{}, {"ams": {"weight": 2}}, {"ams": {"state": "down"}}]),
)


@given(st.lists(CANDIDATES, max_size=8), st.integers(0, 100), st.sampled_from([None, [], ["fra"], ["lon", "fra"]]))
def test_properties(candidates: list[Candidate], spill: int, fallback: Any) -> None:
    found = at_site(candidates, "ams", spill, fallback)
    assert [each.zone for each in found] == [each.zone for each in candidates]
    near = [each for each in found if each.zone == "ams" or "weight" in each.zones.get("ams", {})]
    active = sum(each.active for each in near)
    helping = [each for each in found if each not in near and each.active]
    if active > 0 and active * 100 >= spill * sum(each.whole for each in near):
        assert helping == []
    elif fallback is None:
        # Whoever can help, does; and a VIP that anybody could serve is served.
        assert sum(each.active for each in found) == sum(each.at("ams").active for each in candidates)
    else:
        assert {each.zone for each in helping} <= {"ams", *fallback}
