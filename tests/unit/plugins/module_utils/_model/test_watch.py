# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said of a program that does not run where it was put."""

from __future__ import annotations

import json

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model.snapshot import RootArray
from ansible_collections.katran.fleet.plugins.module_utils._model.watch import Ingress, Place, judge, news, spot_of

ETH0 = Place("blue", "balancer", "eth0")
SLOT = Place("blue", "balancer", RootArray("/sys/fs/bpf/array", 2))


@pytest.mark.parametrize(
    ("place", "exists", "running", "pinned", "words"),
    [
        (ETH0, True, 7, {7}, ""),
        (ETH0, True, 7, {6, 7}, ""),
        (ETH0, True, None, {7}, "interface eth0: balancer of instance blue was taken off: no packet"),
        (ETH0, True, None, set(), "interface eth0: balancer of instance blue was taken off: no packet"),
        (
            ETH0,
            True,
            8,
            {7},
            "interface eth0: balancer of instance blue was replaced by another program (id 8): no packet",
        ),
        (ETH0, True, 8, set(), "interface eth0: the pin of balancer of instance blue is gone"),
        (
            ETH0,
            False,
            None,
            {7},
            "interface eth0 does not exist on this host, where balancer of instance blue is to run",
        ),
        (SLOT, True, None, {7}, "slot 2 of /sys/fs/bpf/array: balancer of instance blue was taken off"),
    ],
)
def test_a_place_is_judged(place: Place, exists: bool, running: int | None, pinned: set[int], words: str) -> None:
    said = judge(place, exists, running, pinned)
    assert said.startswith(words)
    assert bool(said) == bool(words)
    assert "\n" not in said


def test_only_changes_are_news() -> None:
    assert news({}, {ETH0: "", SLOT: ""}) == []
    assert news({}, {ETH0: "bad", SLOT: ""}) == [(True, "bad")]
    assert news({ETH0: "bad"}, {ETH0: "bad"}) == []
    assert news({ETH0: "bad"}, {ETH0: "worse"}) == [(True, "worse")]
    assert news({ETH0: "bad"}, {ETH0: ""}) == [
        (False, "interface eth0: balancer of instance blue runs there as it should")
    ]
    # What is no longer to run there is nobody's concern.
    assert news({ETH0: "bad"}, {}) == []


@pytest.mark.parametrize("where", ["eth0", Ingress("eth0"), RootArray("/sys/fs/bpf/root", 2)])
def test_a_place_is_told_between_processes(where: str | Ingress | RootArray) -> None:
    told = json.loads(json.dumps(Place("default", "decap", where)))[2]
    assert spot_of(told) == where
    assert type(spot_of(told)) is type(where)


def test_the_ingress_of_an_interface_is_called_by_it() -> None:
    place = Place("default", "decap", Ingress("eth0"))
    assert judge(place, True, None, {7}).startswith("interface eth0: decap of instance default was taken off")
    assert judge(place, False, None, {7}).startswith("interface eth0 does not exist")
