# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from array import array
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.katran.fleet.plugins.module_utils._model.drift_finding import (
    AHEAD,
    CHANGED,
    DIFFERS,
    Finding,
    Since,
    as_found,
    config_digest,
    findings_of,
    live_digest,
    routes_compared,
    settings_ahead,
)


@pytest.mark.parametrize(
    ("sentence", "found"),
    [
        ("vip 192.0.2.1:80/tcp: 3 ring slots changed, repaired", "vip 192.0.2.1:80/tcp: 3 ring slots changed"),
        ("real 10.0.0.1: missing in reals, repaired", "real 10.0.0.1: missing in reals"),
        ("vip x: not ours, removed from vip_map", "vip x: not ours, and in vip_map"),
        ("vip x: weight of 10.0.0.1 1 → 2", "vip x: weight of 10.0.0.1 1 → 2"),
    ],
)
def test_a_run_mends_and_a_look_only_tells(sentence: str, found: str) -> None:
    assert as_found(sentence) == found


@pytest.mark.parametrize(
    ("drift", "same", "kinds"),
    [
        (["b"], None, [AHEAD, CHANGED]),
        ([], None, [AHEAD, AHEAD]),
        (None, True, [CHANGED, CHANGED]),
        (None, False, [AHEAD, AHEAD]),
        (None, None, [DIFFERS, DIFFERS]),
    ],
)
def test_whose_doing_it_is(drift: list[str] | None, same: bool | None, kinds: list[str]) -> None:
    found = list(findings_of("vips", ["a", "b"], drift, same, lambda line: Since(after=line)))
    assert [each.kind for each in found] == kinds
    assert [each.since.after for each in found] == ["a", "b"]
    assert found[0].what == ("a" if drift is not None else "would: a")


def test_settings_are_named() -> None:
    before = {"mode": "native", "sizes": {"vips": 16}, "features": [], "gue_port": 6080}
    after = {"mode": "native", "sizes": {"vips": 32}, "features": ["vlan"]}
    assert [each.what for each in settings_ahead("balancer", before, after, Since())] == [
        'features: [] on the host, ["vlan"] in the inventory',
        "gue_port: 6080 on the host, null in the inventory",
        'sizes: {"vips": 16} on the host, {"vips": 32} in the inventory',
    ]


def test_many_settings_that_a_host_has_not_are_one_line() -> None:
    """A host from which everything was removed has none of them."""
    after = {"copy_tos": True, "features": ["vlan"], "gue_port": 6080, "mode": "native", "sizes": {}, "unset": None}
    (found,) = settings_ahead("balancer", {}, after, Since())
    assert found.what.startswith("copy_tos, features, gue_port")
    assert found.what.endswith(": 5 settings of the inventory that the host has not")
    assert [each.what for each in settings_ahead("balancer", {"mode": "generic"}, {"mode": "native"}, Since())] == [
        "mode: generic on the host, native in the inventory"
    ]


def test_since_is_never_more_than_is_known() -> None:
    assert Since().text == "since when is unknown"
    assert Since(after="T", by="the last run").text == "since when is unknown, after T, the last run"
    assert Since(at="T", after="S", by="time of /x").text == "since T, time of /x"


@pytest.mark.parametrize(
    ("ready", "there", "others", "lines"),
    [
        ({"a": 1, "b": 0}, [("a", 1, True)], 0, []),
        ({"a": 1}, [("a", 2, True)], 0, ["a route to a, metric 2,", "lacks the route to a,"]),
        ({"a": 1}, [("a", 1, False)], 0, ["a route to a, metric 1,"]),
        ({"b": 0}, [("b", 1, True)], 2, ["a route to b, metric 1,", "2 routes of others (routing protocol 4)"]),
        ({"b": 2}, [], 0, ["lacks the route to b,"]),
    ],
)
def test_routes(ready: dict[str, int], there: list[tuple[str, int, bool]], others: int, lines: list[str]) -> None:
    found = list(routes_compared(ready, there, others, [4], 198))
    assert len(found) == len(lines)
    assert all(part in line and "table 198" in line for part, line in zip(lines, found, strict=True))


def slots(numbers: list[int]) -> memoryview:
    return memoryview(array("I", numbers)).cast("B")


RINGS = st.lists(st.integers(1, 9), min_size=1, max_size=40)


@given(RINGS, st.permutations(range(1, 10)), st.integers(1, 3))
def test_digests_do_not_hang_on_ids(ring: list[int], other: list[int], step: int) -> None:
    names = {number: f"10.0.0.{number}" for number in range(1, 10)}
    renumbered = [other[number - 1] for number in ring]
    again = {other[number - 1]: name for number, name in names.items()}
    assert live_digest(slots(ring), names, step) == live_digest(slots(renumbered), again, step)


@given(RINGS, st.data())
def test_digests_tell_each_slot(ring: list[int], data: Any) -> None:
    names = {number: f"10.0.0.{number}" for number in range(1, 12)}
    at = data.draw(st.integers(0, len(ring) - 1))
    assert live_digest(slots(ring), names) != live_digest(slots([*ring[:at], 11, *ring[at + 1 :]]), names)


def test_an_empty_ring_has_none_and_a_strange_id_is_no_real() -> None:
    assert live_digest(slots([0, 0, 0]), {}) == ""
    assert live_digest(slots([7]), {}) != live_digest(slots([8]), {})


def test_a_configuration_is_told_by_what_it_says() -> None:
    assert config_digest({"a": 1, "b": 2}, 7) == config_digest({"b": 2, "a": 1}, 7)
    assert len({config_digest({"a": 1}, 7), config_digest({"a": 2}, 7), config_digest({"a": 1}, 11)}) == 3


def test_findings_are_values() -> None:
    assert Finding("vips", CHANGED, "x") == Finding("vips", CHANGED, "x", Since())
