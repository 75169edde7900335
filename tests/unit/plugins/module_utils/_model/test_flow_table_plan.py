# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connection tables: how the room is shared out among CPUs, and what becomes of tables that are there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model.balancer_snapshot import BalancerSnapshot
from ansible_collections.katran.fleet.plugins.module_utils._model.balancer_steps import MakeTables, SettleTables
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ProgramError
from ansible_collections.katran.fleet.plugins.module_utils._model.flow_table_plan import (
    cpus_of,
    numa_flag,
    plan_tables,
    shrinking,
    table_sizes,
    wanted_tables,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.map_specs import (
    DEFAULT_SIZES,
    FLOW_TABLE,
    GLOBAL_FLOW_TABLE,
    LRU_HASH,
    MAX_CPUS,
    NUMA_NODE,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.program_plan import ProgramPlan
from ansible_collections.katran.fleet.plugins.module_utils._model.settings import BalancerSettings, parse_settings
from ansible_collections.katran.fleet.plugins.module_utils._model.snapshot import MapInfo
from ansible_collections.katran.fleet.plugins.module_utils._model.wanted import Wanted
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils.stored import SETTINGS


def settings(cores: Any = "auto", flows: int = 100, global_flows: int = 10, **options: Any) -> BalancerSettings:
    sizes = {**DEFAULT_SIZES, "flows": flows, "global_flows": global_flows}
    return parse_settings({**SETTINGS, "forwarding_cores": cores, "sizes": sizes, **options})


def tables(flags: int = 0, **entries: int) -> dict[int, MapInfo]:
    return {int(cpu[1:]): MapInfo(LRU_HASH, 9, 40, 16, size, flags, "flows") for cpu, size in entries.items()}


def test_the_room_is_shared_out_to_the_last_entry() -> None:
    assert table_sizes(10, [2, 0, 1]) == {0: 4, 1: 3, 2: 3}
    assert table_sizes(9, [0, 1, 2]) == {0: 3, 1: 3, 2: 3}
    assert table_sizes(11, [0, 1, 2]) == {0: 4, 1: 4, 2: 3}
    assert table_sizes(1, [5, 7]) == {5: 1, 7: 1}
    assert table_sizes(10, []) == {}


def test_which_cpus_have_a_table() -> None:
    assert cpus_of(settings(), (3, 1), 4) == (3, 1)
    assert cpus_of(settings(), (MAX_CPUS - 1, MAX_CPUS), MAX_CPUS + 1) == (MAX_CPUS - 1,)
    assert cpus_of(settings("3,0-1"), (5,), 4) == (0, 1, 3)
    with pytest.raises(ProgramError) as caught:
        cpus_of(settings("3,4,5"), (), 4)
    assert str(caught.value) == "forwarding_cores: CPU 4 does not exist on this host (0 to 3)"


def test_a_cpu_that_received_once_keeps_its_table() -> None:
    assert wanted_tables(settings(flows=90), "lru_mapping", [0, 1], tables(c7=30)) == {0: 30, 1: 30, 7: 30}
    assert wanted_tables(settings("0-1", flows=90), "lru_mapping", [0, 1], tables(c7=30)) == {0: 45, 1: 45}
    assert wanted_tables(settings(global_flows=8), "global_lru_maps", [1, 0], {}) == {0: 8, 1: 8}, "they share one"
    assert wanted_tables(settings(global_flows=8), "global_lru_maps", [0, 1], tables(c7=8)) == {0: 8, 1: 8, 7: 8}
    assert wanted_tables(settings(flows=8), "flow_debug_maps", [0, 1], {}) == {0: 4, 1: 4}


def test_which_tables_are_to_be_smaller() -> None:
    there = tables(c0=50, c1=51, c2=49, c9=99)
    assert shrinking(settings("0-2", flows=150), [0, 1, 2], there) == {1: there[1]}


def test_all_tables_are_on_their_nodes_or_none() -> None:
    two = BalancerSnapshot(nodes=2)
    assert numa_flag(settings(), two) == NUMA_NODE
    assert numa_flag(settings(), BalancerSnapshot(nodes=1)) == 0
    assert numa_flag(settings(numa="none"), two) == 0
    for flags in (0, NUMA_NODE):
        # What is there decides: one map of tables has but one kind.
        there = {"lru_mapping": tables(flags | 4096, c0=50)}
        assert numa_flag(settings(numa="auto"), BalancerSnapshot(nodes=2, tables=there)) == flags
        assert numa_flag(settings(numa="none"), BalancerSnapshot(nodes=2, tables=there)) == flags


def plan(of: BalancerSettings, seen: BalancerSnapshot) -> ProgramPlan:
    found = ProgramPlan()
    plan_tables(found, Wanted(of, "attached", "/src"), seen)
    return found


def outgrown(**entries: int) -> dict[str, dict[int, MapInfo]]:
    return {"lru_mapping": tables(**entries)}


FRESH = BalancerSnapshot(cpus=(0, 1), possible=4, nodes=2)


def test_tables_of_a_fresh_balancer() -> None:
    found = plan(settings(), FRESH)
    assert found.changes == ["create tables in lru_mapping for CPU 0, 1 of 50 flows each"]
    assert found.steps == [
        MakeTables("lru_mapping", FLOW_TABLE, {0: 50, 1: 50}, "sizes.flows", by_node=True),
        SettleTables({}, unfinished=False),
    ]
    assert found.warnings == []


def test_each_map_of_tables_has_its_size() -> None:
    found = plan(settings(features=["global_lru"], flows=101), replace(FRESH, nodes=1))
    assert found.changes == [
        "create tables in lru_mapping for CPU 0, 1 of 51 flows each",
        "create a table in global_lru_maps for CPU 0, 1 together of 10 flows",
    ]
    assert found.of(MakeTables) == [
        MakeTables("lru_mapping", FLOW_TABLE, {0: 51, 1: 50}, "sizes.flows", by_node=False),
        MakeTables(
            "global_lru_maps", GLOBAL_FLOW_TABLE, {0: 10, 1: 10}, "sizes.global_flows", by_node=False, shared=True
        ),
    ]


def test_all_cpus_share_one_global_table() -> None:
    wished = settings(features=["global_lru"])
    step = MakeTables(
        "global_lru_maps", GLOBAL_FLOW_TABLE, {0: 10, 1: 10}, "sizes.global_flows", by_node=False, shared=True
    )

    def of(**ids: int) -> list[MakeTables]:
        there = {int(cpu[1:]): MapInfo(LRU_HASH, number, 40, 4, 10, 0, "global_flows") for cpu, number in ids.items()}
        seen = replace(FRESH, nodes=1, tables={**outgrown(c0=50, c1=50), "global_lru_maps": there})
        return plan(wished, seen).of(MakeTables)

    assert of(c0=7, c1=7) == []
    # As earlier versions left them, or for a CPU that has begun to receive: all get a new one.
    assert of(c0=7, c1=8) == [step]
    assert of(c0=7) == [step]


def test_tables_that_are_right_stay() -> None:
    found = plan(settings(), replace(FRESH, tables=outgrown(c0=50, c1=50)))
    assert (found.steps, found.changes) == ([], [])


def test_tables_that_are_too_many_go() -> None:
    seen = replace(FRESH, tables=outgrown(c0=50, c1=50, c3=7, c2=7))
    found = plan(settings("0-1"), seen)
    assert found.changes == ["remove tables in lru_mapping for CPU 2, 3"]
    assert found.steps == [SettleTables({"lru_mapping": (2, 3)}, unfinished=False)]


def test_what_a_killed_run_was_copying_is_copied() -> None:
    found = plan(settings(), replace(FRESH, tables=outgrown(c0=50, c1=50), unfinished=True))
    assert found.changes == ["copy the rest of the flows that a killed run was copying"]
    assert found.steps == [SettleTables({}, unfinished=True)]


def test_a_smaller_table_tells_which_flows_it_loses() -> None:
    seen = replace(FRESH, tables=outgrown(c0=90, c1=90), flows={0: 51, 1: 50})
    found = plan(settings(), seen)
    assert found.changes == ["create tables in lru_mapping for CPU 0, 1 of 50 flows each"]
    assert found.warnings == [
        "sizes.flows: the table of CPU 0 has 51 flows and the new one room for 50: the rest is chosen anew"
    ]
    assert plan(settings(), replace(seen, flows={})).warnings == []
    # What only debugging counts is nobody's loss.
    debug = replace(seen, tables={**outgrown(c0=50, c1=50), "flow_debug_maps": tables(c0=90, c1=90)})
    assert plan(settings(features=["flow_debug"]), debug).warnings == []
