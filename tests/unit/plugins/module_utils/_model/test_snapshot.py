# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is made of what a host was seen to have."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model.balancer_snapshot import BalancerSnapshot
from ansible_collections.katran.fleet.plugins.module_utils._model.map_specs import DEFAULT_SIZES, MAPS, NO_PREALLOC
from ansible_collections.katran.fleet.plugins.module_utils._model.snapshot import (
    Attachment,
    EgressPlace,
    Filter,
    GatewayAnswer,
    MapInfo,
    Missing,
    ProgramInfo,
    ProgramSnapshot,
    RootArray,
    fits,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.state import ProgramRecord

SPEC = next(spec for spec in MAPS if spec.name == "lpm_src_v4")
INFO = MapInfo(SPEC.type, 5, SPEC.key_size, SPEC.value_size, DEFAULT_SIZES["source_routes"], NO_PREALLOC, SPEC.name)


def test_a_map_that_is_the_one_that_is_wanted() -> None:
    assert fits(SPEC, INFO, DEFAULT_SIZES)
    assert fits(SPEC, replace(INFO, id=6, name="other"), DEFAULT_SIZES)


@pytest.mark.parametrize("name", ["type", "key_size", "value_size", "entries", "flags"])
def test_a_map_that_differs_in_anything_is_another(name: str) -> None:
    assert not fits(SPEC, replace(INFO, **{name: getattr(INFO, name) + 1}), DEFAULT_SIZES)


SILENT = GatewayAnswer(("eth0",), ("192.0.2.1",), "", "192.0.2.1 does not answer")
KNOWN = GatewayAnswer(("eth0",), ("192.0.2.1",), "02:00:00:00:00:01")


def test_an_earlier_answer_to_the_same_question_is_upheld() -> None:
    assert SILENT.upheld(KNOWN) is KNOWN
    assert SILENT.upheld(None) is SILENT
    assert SILENT.upheld(replace(KNOWN, hops=("192.0.2.2",))) is SILENT
    assert SILENT.upheld(replace(KNOWN, interfaces=("eth1",))) is SILENT
    newer = replace(KNOWN, mac="02:00:00:00:00:02")
    assert newer.upheld(KNOWN) is newer
    assert newer.upheld(None) is newer


OURS, OTHER = Filter(1, 1, 77, "katran"), Filter(1, 2, 99, "other")


@pytest.mark.parametrize(
    ("place", "others"),
    [
        (EgressPlace(3, None), False),
        (EgressPlace(3, None, entries=frozenset({(1, 0), (1, 1)})), False),
        (EgressPlace(3, None, entries=frozenset({(1, 0), (1, 1), (1, 2)})), True),
        (EgressPlace(3, None, entries=frozenset({(2, 0)})), True),
        (EgressPlace(3, None, ingress=True), True),
    ],
)
def test_whether_a_qdisc_is_anothers_too(place: EgressPlace, others: bool) -> None:
    assert place.others([OURS]) == others


def program(number: int, tag: str, *maps: int) -> ProgramInfo:
    return ProgramInfo(6, number, tag, 1, 1, maps, "balancer")


def attached(**programs: int) -> dict[str, Attachment]:
    return {name: Attachment(name, at, number, "native") for at, (name, number) in enumerate(programs.items())}


RUNNING = {
    10: program(10, "aa", 5),
    11: program(11, "bb", 6),
    12: program(12, "aa", 7),
    13: program(13, "aa", 7),
}
SEEN = ProgramSnapshot(
    maps={"reals": replace(INFO, id=5)},
    pins=frozenset({20}),
    attached=attached(eth0=12, eth1=11, eth2=13),
    running=RUNNING,
)


def test_which_programs_are_ours() -> None:
    # Pinned here, using the maps that are, and by its tag where the last run left it.
    assert SEEN.ours(ProgramRecord(tag="aa", interfaces=["eth0", "eth1", "eth9"])) == {20, 10, 12}
    assert SEEN.ours(ProgramRecord(tag=None, interfaces=["eth0"])) == {20, 10}
    assert SEEN.ours(ProgramRecord(tag="aa")) == {20, 10}
    assert SEEN.owned("aa", [12, 99]) == {20, 10, 12}
    assert replace(SEEN, elsewhere=frozenset({12, 10})).owned("aa", [12]) == {20, 10}


def test_what_runs_where() -> None:
    assert SEEN.at(["eth1", "eth9", "eth0"]) == [11, 12]
    unknown = replace(SEEN, attached=Missing("no pyroute2"))
    assert unknown.at(["eth0"]) == []
    assert unknown.attachments == {}


SLOT = RootArray("/sys/fs/bpf/array", 1)


@pytest.mark.parametrize(
    ("slots", "ours"), [({1: 13}, {13}), ({2: 13}, set()), ({1: 11}, set()), (Missing("nothing there"), set())]
)
def test_a_balancers_program_may_be_in_a_slot(slots: Any, ours: set[int]) -> None:
    seen = BalancerSnapshot(running=RUNNING, slots={SLOT.path: slots})
    assert seen.ours_by(ProgramRecord(tag="aa", slot=SLOT)) == ours
    assert seen.ours_by(ProgramRecord(tag="aa")) == set()
    on_interface = replace(seen, attached=attached(eth0=12))
    assert on_interface.ours_by(ProgramRecord(tag="aa", slot=SLOT, interfaces=["eth0"])) == ours | {12}


def test_entries_that_were_read() -> None:
    seen = BalancerSnapshot(values={"ctl_array": {0: b"mac"}})
    assert seen.value("ctl_array", 0) == b"mac"
    assert seen.value("ctl_array", 1) is None
    assert seen.value("pckt_srcs", 0) is None
