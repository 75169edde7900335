# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real that is to serve fewer VIPs, step by step."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.decap_plan import (
    DecapSnapshot,
    plan_removal,
    plan_withdrawal,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.decap_record import DecapKept, DecapRecord
from ansible_collections.katran.fleet.plugins.module_utils._model.decap_settings import Staying
from ansible_collections.katran.fleet.plugins.module_utils._model.host_addresses import HostAddress
from ansible_collections.katran.fleet.plugins.module_utils._model.operations import Delete
from ansible_collections.katran.fleet.plugins.module_utils._model.snapshot import Missing
from ansible_collections.katran.fleet.plugins.module_utils._model.steps import ChangeLoopback, Conclude, Remove

A, B, C = "198.51.100.1", "198.51.100.2", "2001:db8::1"
KEPT = DecapKept([A, B, C], [], 0, [A, B, C], 6080)
RECORD = DecapRecord(tag="bb", interfaces=["eth0"], loopback=[A, B, C], settings=KEPT)


def on_lo(*addresses: str) -> list[HostAddress]:
    """As module decap puts them there."""
    return [HostAddress("lo", each, 128 if ":" in each else 32, quiet=True, bare=True) for each in addresses]


def staying(*vips: str) -> Staying:
    return Staying(frozenset(vips))


SEEN = DecapSnapshot(vips=(A, B, C), addresses=[*on_lo(A, B, C), HostAddress("lo", "127.0.0.1", 8)])


def test_the_vips_that_go_go_from_the_map_and_from_lo() -> None:
    plan = plan_withdrawal(staying(B), RECORD, SEEN)
    assert plan.changes == [
        f"vip {A} removed",
        f"vip {C} removed",
        f"remove {A} from lo",
        f"remove {C} from lo",
    ]
    assert plan.ordered() == [
        Delete("decap_vips", (layout.pack_address(A), layout.pack_address(C))),
        ChangeLoopback(remove=(A, C)),
        Conclude(replace(RECORD, loopback=[B], settings=replace(KEPT, vips=[B], loopback=[B]))),
    ]
    assert (plan.before, plan.after) == ({"vips": [A, B, C]}, {"vips": [B]})


@pytest.mark.parametrize("record", [RECORD, DecapRecord()])
def test_where_nothing_goes_nothing_is_done(record: DecapRecord) -> None:
    plan = plan_withdrawal(staying(A, B, C, "198.51.100.9"), record, SEEN)
    assert (plan.steps, plan.changes, plan.before, plan.after) == ([], [], {}, {})


def test_only_what_is_there_is_taken_away() -> None:
    seen = replace(SEEN, vips=(B, C), addresses=on_lo(A, C))
    plan = plan_withdrawal(staying(C), RECORD, seen)
    assert plan.ordered()[:2] == [Delete("decap_vips", (layout.pack_address(B),)), ChangeLoopback(remove=(A,))]
    plan = plan_withdrawal(staying(C), RECORD, replace(SEEN, vips=(), addresses=[]))
    assert plan.changes == [f"vip {A} removed", f"vip {B} removed"]
    assert not plan.of(Delete, ChangeLoopback)
    assert len(plan.of(Conclude)) == 1


def test_an_address_of_somebody_elses_stays_on_lo() -> None:
    plan = plan_withdrawal(staying(), replace(RECORD, loopback=[B]), SEEN)
    assert plan.of(ChangeLoopback) == [ChangeLoopback(remove=(B,))]


def test_what_cannot_be_read_is_told() -> None:
    missing = Missing("no pyroute2")
    assert plan_withdrawal(staying(B), RECORD, replace(SEEN, addresses=missing)).lacks == [missing]
    assert plan_removal(RECORD, replace(SEEN, addresses=missing), ()).lacks == [missing]
    assert plan_removal(DecapRecord(), replace(SEEN, addresses=missing), ()).lacks == []


def test_the_end_of_decap_takes_its_addresses_away() -> None:
    plan = plan_removal(replace(RECORD, loopback=[A, B]), replace(SEEN, addresses=on_lo(B, C)), ["decap.json"])
    assert plan.changes == [f"remove {B} from lo", "remove the state of decap"]
    assert plan.ordered() == [
        ChangeLoopback(remove=(B,)),
        Remove((), ("decap.json", "decap.bytecode.json")),
    ]
