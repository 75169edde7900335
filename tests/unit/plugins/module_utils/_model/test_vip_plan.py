# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The order of operations, where there is room and where there is not."""

from __future__ import annotations

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model.addresses import read_address
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import PlanError
from ansible_collections.katran.fleet.plugins.module_utils._model.ids import Ids
from ansible_collections.katran.fleet.plugins.module_utils._model.operations import (
    BlankSlots,
    Delete,
    Operation,
    PurgeFlows,
    Put,
    PutDownSet,
    PutRing,
    ZeroCounters,
    count,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.verdicts import NO_WORDS
from ansible_collections.katran.fleet.plugins.module_utils._model.vip_entries import (
    ADDRESS_MAPS,
    NUMBER_MAPS,
    VIP_MAPS,
    Actual,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.vip_plan import Recorded, VipPlan, plan_vips
from ansible_collections.katran.fleet.plugins.module_utils._model.vips import Vip, VipKey, VipReal
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils._model.empty_balancer import RING, empty
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils.memory_kernel import Entry, Host, Shape


def key(text: str, port: int = 80, protocol: str = "tcp") -> VipKey:
    address = read_address(text)
    assert address
    return VipKey(address.ipv6, address.packed, None, port, protocol, address.text)


def vip(text: str, *reals: str, flags: tuple[str, ...] = ()) -> Vip:
    return Vip(key(text), flags=flags, reals=tuple(VipReal(each) for each in reals))


def plan(wanted: list[Vip], actual: Actual, real_ids: Ids | None = None, numbers: Ids | None = None) -> VipPlan:
    recorded = Recorded(real_ids or Ids(1), numbers or Ids(0), {})
    return plan_vips({each.key: each for each in wanted}, NO_WORDS, {}, actual, recorded)


def kinds(operations: list[Operation]) -> list[str]:
    """Operations in few words."""
    words = []
    for each in operations:
        match each:
            case Put() | Delete() | ZeroCounters():
                words.append(f"{type(each).__name__} {each.map}")
            case PutRing():
                words.append("PutRing" if each.ring else "EmptyRing")
            case _:
                words.append(type(each).__name__)
    return words


def test_what_appears_is_visible_last() -> None:
    found = plan([vip("192.0.2.1", "10.0.0.1", "10.0.0.2", flags=("udp_flow_migration",))], empty())
    assert kinds(found.operations) == ["Put reals", "PutRing", "Put vip_addresses", "Put vip_map"]
    assert found.real_ids.assigned == {"10.0.0.1": 1, "10.0.0.2": 2}
    assert found.vip_numbers.assigned == {"192.0.2.1:80/tcp": 0}
    assert count(found.operations) == {"ch_rings": RING, "reals": 2, "vip_addresses": 1, "vip_map": 1}


def of(host: Host, wanted: list[Vip]) -> VipPlan:
    """The plan from what a host has."""
    actual = Actual(
        {name: host.maps.entries(name) for name in host.maps.names() if name in planning_maps(host)},
        host.maps.down_sets(),
        host.maps.ring,
        {name: host.maps.capacity(name) for name in host.maps.names()},
        host.shape.sizes["ring"],
    )
    state = host.state
    recorded = Recorded(state.real_ids, state.vip_numbers, state.rings)
    return plan_vips({each.key: each for each in wanted}, NO_WORDS, {}, actual, recorded)


def planning_maps(host: Host) -> set[str]:
    return {
        *VIP_MAPS,
        *ADDRESS_MAPS,
        *NUMBER_MAPS,
        "reals",
        "vip_to_down_reals_map",
    } & host.maps.names()


def entry(address: str, *reals: str, flags: tuple[str, ...] = (), down: tuple[str, ...] = ()) -> Entry:
    return {
        "address": address,
        "port": 80,
        "protocol": "tcp",
        "flags": list(flags),
        "reals": [{"address": each} for each in reals],
        "down_reals": list(down),
    }


def test_what_goes_is_invisible_first() -> None:
    host = Host(Shape.of())
    host.run("vips", [entry("192.0.2.1", "10.0.0.1", flags=("udp_flow_migration",), down=("10.0.0.2",))])
    assert kinds(of(host, []).operations) == [
        "Delete vip_map",
        "Delete vip_addresses",
        "DeleteDownSet",
        "EmptyRing",
        "Delete reals",
    ]


def test_appearing_comes_before_going_where_there_is_room() -> None:
    host = Host(Shape.of())
    host.run("vips", [entry("192.0.2.1", "10.0.0.1")])
    assert kinds(of(host, [vip("192.0.2.2", "10.0.0.2")]).operations) == [
        "Put reals",
        "PutRing",
        "Put vip_addresses",
        "Put vip_map",
        "Delete vip_map",
        "Delete vip_addresses",
        "EmptyRing",
        "Delete reals",
    ]


def test_going_comes_first_where_there_is_no_room() -> None:
    host = Host(Shape.of(vips=1, reals=2))
    host.run("vips", [entry("192.0.2.1", "10.0.0.1")])
    found = of(host, [vip("192.0.2.2", "10.0.0.2")])
    assert kinds(found.operations) == [
        "Delete vip_map",
        "Delete vip_addresses",
        "EmptyRing",
        "PurgeFlows",
        "ZeroCounters reals_stats",
        "ZeroCounters lru_miss_stats",
        "ZeroCounters stats",
        "ZeroCounters server_id_stats",
        "ZeroCounters decap_vip_stats",
        "Put reals",
        "PutRing",
        "Put vip_addresses",
        "Put vip_map",
    ]
    # Until the run has ended, the number is still one to be cleared.
    assert (found.real_ids.quarantine, found.vip_numbers.quarantine) == ([1], [0])
    assert found.real_ids.settled() == Ids(1, {"10.0.0.2": 1}, [])


def test_a_ring_that_stays_loses_the_slots_of_an_id_that_is_given_away() -> None:
    host = Host(Shape.of(reals=3))
    host.run("vips", [entry("192.0.2.1", "10.0.0.1", "10.0.0.2")])
    found = of(host, [vip("192.0.2.1", "10.0.0.1", "10.0.0.3")])
    assert kinds(found.operations) == [
        "BlankSlots",
        "PurgeFlows",
        "ZeroCounters reals_stats",
        "ZeroCounters lru_miss_stats",
        "Put reals",
        "PutRing",
    ]
    slots = sum(each.changed for each in found.operations if isinstance(each, BlankSlots | PutRing))
    assert count(found.operations) == {"ch_rings": slots, "reals": 1}


def test_a_down_set_that_stays_loses_an_id_that_is_given_away() -> None:
    host = Host(Shape.of(reals=3))
    flags = ("udp_flow_migration",)
    host.run("vips", [entry("192.0.2.1", "10.0.0.1", flags=flags, down=("10.0.0.2",))])
    wanted = Vip(key("192.0.2.1"), flags, reals=(VipReal("10.0.0.1"),), down_reals=("10.0.0.3",))
    found = of(host, [wanted]).operations
    assert [each.ids for each in found if isinstance(each, PutDownSet)] == [set(), {2}]
    assert kinds(found).index("PutDownSet") < kinds(found).index("Put reals")


def test_a_reused_number_is_cleared_before_it_is_visible() -> None:
    numbers = Ids(0, {}, [0, 1, 2, 3])
    found = plan([vip("192.0.2.1")], empty(), numbers=numbers)
    assert kinds(found.operations)[:3] == [
        "ZeroCounters stats",
        "ZeroCounters server_id_stats",
        "ZeroCounters decap_vip_stats",
    ]
    assert all(each.indexes == (0,) for each in found.operations if isinstance(each, ZeroCounters))
    # The caller's ids are not changed: check mode plans with them too.
    assert numbers.quarantine == [0, 1, 2, 3]
    assert numbers.assigned == {}


def test_a_reused_id_is_purged_before_it_is_a_real() -> None:
    found = plan([vip("192.0.2.1", "10.0.0.9")], empty(reals=3), Ids(1, {"10.0.0.1": 1}, [2]))
    # 10.0.0.1 is referred to by nobody: its id is freed, but later than 2.
    assert found.real_ids.assigned == {"10.0.0.9": 2}
    assert kinds(found.operations)[:3] == ["PurgeFlows", "ZeroCounters reals_stats", "ZeroCounters lru_miss_stats"]
    assert found.operations[0] == PurgeFlows(frozenset({2}))


def test_no_room_is_said() -> None:
    with pytest.raises(PlanError, match=r"^sizes\.vips: 5 VIPs, but the balancer has room for 4$"):
        plan([vip(f"192.0.2.{last}") for last in range(5)], empty())
    with pytest.raises(PlanError, match=r"^sizes\.reals: 5 reals, but the balancer has room for 4$"):
        plan([vip("192.0.2.1", *(f"10.0.0.{last}" for last in range(5)))], empty())
