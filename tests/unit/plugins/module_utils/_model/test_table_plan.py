# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The way from one table to another: what comes first, what is written, and what room it takes."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import PlanError
from ansible_collections.katran.fleet.plugins.module_utils._model.ids import Ids
from ansible_collections.katran.fleet.plugins.module_utils._model.operations import (
    Delete,
    Operation,
    PurgeFlows,
    Put,
    ZeroCounters,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.table import TableEntry
from ansible_collections.katran.fleet.plugins.module_utils._model.table_plan import TablePlan, plan_entries, plan_table
from ansible_collections.katran.fleet.plugins.module_utils._model.vip_plan import REAL_COUNTERS

MAPS = ("lpm_src_v4", "lpm_src_v6")
Maps = Mapping[str, Mapping[bytes, bytes]]


def real(address: str, flags: int = 0) -> bytes:
    family = layout.REAL_IPV6 if ":" in address else 0
    return layout.real_definition(layout.pack_address(address), family | flags)


def route(key: bytes, address: str, name: str = MAPS[0]) -> TableEntry:
    return TableEntry(name, key, address)


def plan(
    wanted: list[TableEntry],
    ids: Ids,
    reals: Mapping[int, bytes] | None = None,
    others: Mapping[str, bool] | None = None,
    room: int = 9,
    capacity: int = 10,
    **maps: Mapping[bytes, bytes],
) -> TablePlan:
    there: Maps = {
        **{name: maps.get(name, {}) for name in MAPS},
        "reals": {layout.u32(number): value for number, value in (reals or {}).items()},
    }
    return plan_table(wanted, MAPS, others or {}, there, {"reals": capacity, **dict.fromkeys(MAPS, room)}, ids)


def test_a_new_real_is_there_before_anything_leads_to_it() -> None:
    ids = Ids(1)
    found = plan([route(b"b", "fc00::1", MAPS[1]), route(b"a", "10.0.0.1")], ids)
    assert found.operations == [
        Put("reals", ((layout.u32(1), real("10.0.0.1")), (layout.u32(2), real("fc00::1")))),
        Put(MAPS[0], ((b"a", layout.u32(1)),)),
        Put(MAPS[1], ((b"b", layout.u32(2)),)),
    ]
    assert found.real_ids == Ids(1, {"10.0.0.1": 1, "fc00::1": 2})
    assert ids == Ids(1), "planning changes no ids"


def test_a_real_goes_once_nothing_leads_to_it() -> None:
    ids = Ids(1, {"10.0.0.1": 1, "10.0.0.2": 2})
    there = {1: real("10.0.0.1"), 2: real("10.0.0.2")}
    found = plan([route(b"a", "10.0.0.2")], ids, there, lpm_src_v4={b"a": layout.u32(1), b"b": layout.u32(1)})
    assert found.operations == [
        Put(MAPS[0], ((b"a", layout.u32(2)),)),
        Delete(MAPS[0], (b"b",)),
        Delete("reals", (layout.u32(1),)),
    ]
    assert found.real_ids == Ids(1, {"10.0.0.2": 2}, [1])


def test_what_others_refer_to_stays_as_it_is() -> None:
    ids = Ids(1, {"10.0.0.1": 1})
    local = real("10.0.0.1", layout.REAL_LOCAL)
    found = plan([route(b"a", "10.0.0.1")], ids, {1: local}, {"10.0.0.1": True}, lpm_src_v4={b"a": layout.u32(1)})
    assert found.operations == []
    assert plan([], ids, {1: local}, {"10.0.0.1": True}).real_ids == ids


def test_a_real_that_somebody_changed_is_written_again() -> None:
    ids = Ids(1, {"10.0.0.1": 1, "10.0.0.2": 2})
    found = plan([route(b"a", "10.0.0.1"), route(b"b", "10.0.0.2")], ids, {1: real("10.9.9.9"), 2: real("10.0.0.2")})
    assert found.operations[0] == Put("reals", ((layout.u32(1), real("10.0.0.1")),))


def test_an_id_that_is_given_to_another_real_inherits_nothing() -> None:
    ids = Ids(1, {"10.0.0.1": 1, "10.0.0.2": 2})
    there = {1: real("10.0.0.1"), 2: real("10.0.0.2")}
    found = plan(
        [route(b"a", "10.0.0.3"), route(b"c", "10.0.0.2")],
        ids,
        there,
        capacity=3,
        lpm_src_v4={b"c": layout.u32(2), b"b": layout.u32(1), b"a": layout.u32(1)},
    )
    assert found.operations == [
        Delete(MAPS[0], (b"a", b"b")),
        PurgeFlows(frozenset({1})),
        *(ZeroCounters(name, (1,)) for name in REAL_COUNTERS),
        Put("reals", ((layout.u32(1), real("10.0.0.3")),)),
        Put(MAPS[0], ((b"a", layout.u32(1)),)),
    ]
    assert found.real_ids == Ids(1, {"10.0.0.2": 2, "10.0.0.3": 1}, [1])


def test_no_room_for_reals_is_said() -> None:
    with pytest.raises(PlanError) as caught:
        plan([route(b"a", "10.0.0.1"), route(b"b", "10.0.0.2"), route(b"c", "10.0.0.3")], Ids(1), capacity=3)
    assert str(caught.value) == "sizes.reals: 3 reals, but the balancer has room for 2"
    assert plan([route(b"a", "10.0.0.1"), route(b"b", "10.0.0.2")], Ids(1), capacity=3).operations


def entries(wanted: list[TableEntry], there: Maps, room: int) -> list[Operation]:
    return plan_entries(wanted, MAPS, there, dict.fromkeys(MAPS, room), {"10.0.0.1": b"1"})


def test_what_goes_makes_room_only_where_there_is_none() -> None:
    there = {MAPS[0]: {b"a": b"1", b"b": b"1"}, MAPS[1]: {}}
    wanted = [route(b"c", "10.0.0.1"), route(b"b", "10.0.0.1")]
    put, drop = Put(MAPS[0], ((b"c", b"1"),)), Delete(MAPS[0], (b"a",))
    assert entries(wanted, there, 3) == [put, drop]
    assert entries(wanted, there, 2) == [drop, put]
    # What is only changed takes no room.
    changed = {MAPS[0]: {b"a": b"2", b"b": b"1"}, MAPS[1]: {}}
    assert entries([route(b"a", "10.0.0.1")], changed, 2) == [Put(MAPS[0], ((b"a", b"1"),)), Delete(MAPS[0], (b"b",))]


def test_entries_are_written_in_the_order_of_their_keys() -> None:
    wanted = [route(b"c", "10.0.0.1"), route(b"a", "10.0.0.1"), TableEntry(MAPS[1], b"x", None, b"value")]
    there = {MAPS[0]: {b"z": b"1", b"y": b"1"}, MAPS[1]: {}}
    assert entries(wanted, there, 9) == [
        Put(MAPS[0], ((b"a", b"1"), (b"c", b"1"))),
        Put(MAPS[1], ((b"x", b"value"),)),
        Delete(MAPS[0], (b"y", b"z")),
    ]


def test_what_the_program_has_no_map_for_is_left_out() -> None:
    assert entries([route(b"a", "10.0.0.1", "server_id_map")], {name: {} for name in MAPS}, 9) == []
