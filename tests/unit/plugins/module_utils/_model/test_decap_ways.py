# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""By what tunnels are stripped, and why."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model.bytecode import Bytecode
from ansible_collections.katran.fleet.plugins.module_utils._model.decap_record import DecapRecord
from ansible_collections.katran.fleet.plugins.module_utils._model.decap_ways import (
    PROGRAMS,
    Taken,
    Way,
    WaysIn,
    choose_way,
    plan_filters,
    plan_leaving,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.program_plan import ProgramPlan
from ansible_collections.katran.fleet.plugins.module_utils._model.snapshot import (
    NO_BYTECODE,
    Attachment,
    EgressPlace,
    Filter,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.steps import (
    AddQdisc,
    PutFilter,
    RemoveFilter,
    RemoveQdisc,
)
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils._model.test_decap_plan_steps import KEPT, SETTINGS

AUTO = replace(SETTINGS, how="auto")
FREE = Taken({}, (), NO_BYTECODE)
FOREIGN = Taken({"eth0": Attachment("eth0", 3, 9, "native")}, (), NO_BYTECODE)
BY_TC = DecapRecord(interfaces=["eth0"], way="tc", why="it was so", settings=replace(KEPT, how="auto"))


def test_auto_takes_what_is_free() -> None:
    assert choose_way(AUTO, DecapRecord(), FREE).how == "xdp"
    ours = replace(FOREIGN, ours=(9,))
    assert choose_way(AUTO, DecapRecord(), ours).how == "xdp"
    why = "interface eth0 has an XDP program that is not ours (id 9)"
    assert choose_way(AUTO, DecapRecord(), FOREIGN) == Way("tc", why)
    elsewhere = replace(FREE, attached={"eth1": Attachment("eth1", 4, 9, "native")})
    assert choose_way(AUTO, DecapRecord(), elsewhere).how == "xdp"
    assert choose_way(AUTO, DecapRecord(), replace(FREE, refused="it cannot")) == Way("tc", "it cannot")


def test_auto_stays_by_tc_until_something_else_is_asked_for() -> None:
    assert choose_way(AUTO, BY_TC, FREE) == Way("tc", "it was so")
    assert choose_way(replace(AUTO, interfaces=("eth1",)), BY_TC, FREE).how == "xdp"
    asked = replace(BY_TC, settings=replace(KEPT, how="tc"))
    assert choose_way(AUTO, asked, FREE).how == "xdp"
    assert choose_way(AUTO, replace(BY_TC, settings=None), FREE).how == "xdp"


@pytest.mark.parametrize("how", ["xdp", "tc", "kernel"])
def test_what_is_said_is_taken(how: str) -> None:
    assert choose_way(replace(SETTINGS, how=how), BY_TC, FOREIGN).how == how


def test_where_nothing_is_attached_the_way_stays() -> None:
    assert choose_way(replace(AUTO, attach=False, how="kernel"), BY_TC, FREE) == Way("tc", "it was so")
    assert choose_way(None, DecapRecord(), FREE) == Way()


def test_at_boot_the_bytecode_says_where_it_can_run() -> None:
    boot = replace(AUTO, source_dir="")
    for how, program in PROGRAMS.items():
        kept = replace(FREE, kept=Bytecode(program, bytes(8), (), "dd", 1.0))
        assert choose_way(boot, BY_TC, kept) == Way(how, "it was so")
    assert choose_way(boot, BY_TC, FREE) == Way("tc", "it was so")
    assert choose_way(boot, DecapRecord(), FREE) == Way()


def test_what_is_compiled() -> None:
    assert [Way(how).program for how in PROGRAMS] == ["", "decap_tc", "decap_tunnel"]
    assert [Way(how).macros() for how in PROGRAMS] == [{}, {"BY_TC": 1}, {"BEHIND_TUNNEL": 1}]


OURS, OTHER = Filter(49150, 1, 77, "katran_decap"), Filter(49151, 1, 5, "other")


def ways(*filters: Filter, qdisc: str | None = "clsact") -> WaysIn:
    entries = frozenset((each.priority, handle) for each in filters for handle in (0, each.handle))
    return WaysIn({"eth0": EgressPlace(3, None, qdisc, filters, entries)}, {77, 76})


def test_filters_come_and_stay() -> None:
    plan = ProgramPlan()
    assert plan_filters(plan, ["eth0"], ways(qdisc=None), None) == {"eth0"}
    assert plan.steps == [AddQdisc("eth0", 3), PutFilter("eth0", 3, None)]
    plan = ProgramPlan()
    assert plan_filters(plan, ["eth0"], ways(OURS, OTHER), 77) == set()
    assert plan.steps == []
    # A copy of it too many, and one of before.
    double = Filter(49149, 1, 76, "katran_decap")
    plan_filters(plan, ["eth0"], ways(double, OURS), 77)
    assert plan.steps == [PutFilter("eth0", 3, double), RemoveFilter("eth0", 3, OURS)]
    assert plan.changes == ["attach decap to the ingress of eth0"]


@pytest.mark.parametrize(
    ("there", "qdiscs", "steps"),
    [
        (ways(OURS), ["eth0"], [RemoveFilter("eth0", 3, OURS), RemoveQdisc("eth0", 3)]),
        (ways(OURS), [], [RemoveFilter("eth0", 3, OURS)]),
        (ways(OURS, OTHER), ["eth0"], [RemoveFilter("eth0", 3, OURS)]),
        (ways(OTHER), ["eth0"], []),
        (ways(qdisc="ingress"), ["eth0"], []),
        (ways(qdisc=None), ["eth0"], []),
    ],
)
def test_filters_go(there: WaysIn, qdiscs: list[str], steps: list[object]) -> None:
    plan = ProgramPlan()
    plan_leaving(plan, (), there, qdiscs)
    assert plan.steps == steps
    plan = ProgramPlan()
    plan_leaving(plan, ("eth0",), there, qdiscs)
    assert plan.steps == []
