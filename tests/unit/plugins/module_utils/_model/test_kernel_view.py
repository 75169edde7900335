# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What balancer_info tells of the kernel, and how it differs from the state, once somebody else had a hand in it."""

from __future__ import annotations

import typing as t
from collections.abc import Callable
from dataclasses import replace

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._engine.opened import read_actual
from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.kernel_view import KernelView, table_differences
from ansible_collections.katran.fleet.plugins.module_utils._model.references import other_references
from ansible_collections.katran.fleet.plugins.module_utils._model.tables import BALANCER_TABLES
from ansible_collections.katran.fleet.plugins.module_utils._model.vip_entries import down_set_key, vip_map_entry
from ansible_collections.katran.fleet.plugins.module_utils._model.vips import VipKey, vip_to_config, vips_from_config
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils._engine.counted_runs import (
    RING,
    A,
    B,
    C,
    D,
    real,
    vip,
)
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils.memory_kernel import Entry, Host, Shape

WEB = vip(reals=[real(A, 3), real(B), real(C, state="draining")])
DNS = vip(port=53, protocol="udp", flags=["udp_flow_migration"], reals=[real(A), real(B, state="down")], down_reals=[D])
NET = vip("203.0.113.0/24", port=0, flags=["no_lru"], reals=[real(B)])
WORLD = [WEB, DNS, NET]
ROUTED, NUMBERED = ("source_routes", {"prefix": "192.0.2.0/24", "real": D}), ("server_ids", {"id": 7, "real": A})


@pytest.fixture
def host() -> Host:
    found = Host(Shape.of(vips=8, reals=130, ring=RING, server_ids=100, source_routes=10))
    found.run("vips", WORLD)
    for name, entry in (ROUTED, NUMBERED):
        found.run(name, [entry])
    found.run("reals", [{"address": C, "state": "down"}])
    return found


def key_of(entry: Entry) -> VipKey:
    [key] = list(vips_from_config([entry]))
    return key


def view(host: Host) -> KernelView:
    state = host.file.reopened().read()
    return KernelView(state, read_actual(host.maps), other_references(state, ("vips",)))


def told(host: Host) -> list[Entry]:
    return list(map(vip_to_config, view(host).vips()))


def sorted_world(*entries: Entry) -> list[Entry]:
    return sorted(entries, key=key_of)


def tables(host: Host, name: str, entry: Entry) -> list[str]:
    table = BALANCER_TABLES[name]
    state = host.file.reopened().read()
    known = [table.item(entry)[1]]
    names = [each for each in table.maps if each in host.maps.names()]
    entries = {each: host.maps.entries(each) for each in names}
    return table_differences(table, known, state, entries, {each: host.maps.capacity(each) for each in names})


def id_of(host: Host, address: str) -> bytes:
    return layout.u32(host.file.reopened().read().real_ids.assigned[address])


def put_real(host: Host, old: str, new: str, flags: int = 0) -> None:
    host.maps.put("reals", [(id_of(host, old), layout.real_definition(layout.pack_address(new), flags))])


def number_of(host: Host, entry: Entry) -> int:
    return host.file.reopened().read().vip_numbers.assigned[str(key_of(entry))]


def test_what_the_last_run_left(host: Host) -> None:
    assert told(host) == sorted_world(*WORLD)
    assert view(host).differences() == []
    assert [*tables(host, *ROUTED), *tables(host, *NUMBERED)] == []
    assert not host.run("vips", told(host)).changed
    shares = {each["vip"]: {real["address"]: real["slots"] for real in each["reals"]} for each in view(host).rings()}
    # By hand, C is down everywhere.
    assert set(shares["198.51.100.1:443/tcp"]) == {A, B}
    assert sum(shares["198.51.100.1:443/tcp"].values()) == RING
    assert shares["198.51.100.1:443/tcp"][A] > shares["198.51.100.1:443/tcp"][B]
    assert shares["203.0.113.0/24:0/tcp"] == {B: RING}


def gone_vip(host: Host) -> None:
    host.maps.delete("vip_map", [vip_map_entry(key_of(WEB), 0, 0)[1]])


def changed_flags(host: Host) -> None:
    name, key, value = vip_map_entry(key_of(NET), layout.VIP_FLAGS["quic"], number_of(host, NET))
    host.maps.put(name, [(key, value)])


def foreign_vip(host: Host) -> None:
    name, key, value = vip_map_entry(key_of(vip(port=81)), 0, 7)
    host.maps.put(name, [(key, value)])
    host.maps.put_ring(7, id_of(host, B) + bytes(4) + bytes((RING - 1) * 8), 1)


def changed_real(host: Host) -> None:
    put_real(host, A, "10.9.9.9")


def local_real(host: Host) -> None:
    put_real(host, A, A, layout.REAL_LOCAL)


def gone_real(host: Host) -> None:
    host.maps.delete("reals", [id_of(host, A)])


def changed_ring(host: Host) -> None:
    number = number_of(host, NET)
    slot = id_of(host, A) + bytes(4)
    host.maps.put_ring(number, slot * RING, RING)


def empty_ring(host: Host) -> None:
    host.maps.put_ring(number_of(host, NET), bytes(RING * 8), RING)


def changed_down_set(host: Host) -> None:
    host.maps.put_down_set(down_set_key(key_of(DNS)), frozenset({layout.parse_u32(id_of(host, A))}))


def with_reals(entry: Entry, *reals: Entry, **options: t.Any) -> Entry:
    return {**entry, "reals": [{"weight": 1, "state": "active", "local": False, **each} for each in reals], **options}


def other_a(**options: t.Any) -> list[Entry]:
    """WEB and DNS whose real A is another; its address comes last."""
    found = []
    for entry in (WEB, DNS):
        changed = [{**each, **options} if each["address"] == A else each for each in entry["reals"]]
        found.append(with_reals(entry, *sorted(changed, key=lambda each: str(each["address"]))))
    return found


SPOILT: dict[Callable[[Host], None], tuple[list[Entry], list[str]]] = {
    gone_vip: ([DNS, NET], ["vip 198.51.100.1:443/tcp: missing in vip_map"]),
    changed_flags: (
        [WEB, DNS, {**NET, "flags": ["quic"]}],
        ["vip 203.0.113.0/24:0/tcp: changed in vip_lpm4_map"],
    ),
    foreign_vip: (
        [WEB, DNS, NET, vip(port=81, reals=[real(B)])],
        ["vip 198.51.100.1:81/tcp: not ours, in vip_map"],
    ),
    changed_real: ([*other_a(address="10.9.9.9"), NET], [f"real {A}: changed in reals"]),
    local_real: ([*other_a(local=True), NET], [f"real {A}: changed in reals"]),
    gone_real: (
        [
            with_reals(WEB, *WEB["reals"][1:]),
            with_reals(DNS, *DNS["reals"][1:]),
            NET,
        ],
        [f"real {A}: missing in reals"],
    ),
    changed_ring: (
        [WEB, DNS, with_reals(NET, real(A), real(B, 0))],
        [f"vip 203.0.113.0/24:0/tcp: {RING} ring slots changed"],
    ),
    empty_ring: (
        [WEB, DNS, with_reals(NET, real(B, 0))],
        [f"vip 203.0.113.0/24:0/tcp: {RING} ring slots changed"],
    ),
    changed_down_set: (
        [WEB, {**DNS, "down_reals": [A]}, NET],
        ["vip 198.51.100.1:53/udp: its down reals are changed in vip_to_down_reals_map"],
    ),
}


@pytest.mark.parametrize("spoil", SPOILT, ids=lambda spoil: spoil.__name__)
def test_what_somebody_else_made_of_it(host: Host, spoil: Callable[[Host], None]) -> None:
    spoil(host)
    entries, lines = SPOILT[spoil]
    assert told(host) == sorted_world(*entries)
    assert view(host).differences() == lines
    # It is what a run then finds and repairs.
    assert host.run("vips", WORLD).drift == [
        line.replace("not ours, in", "not ours, removed from") + ("" if "not ours" in line else ", repaired")
        for line in lines
    ]
    assert told(host) == sorted_world(*WORLD)
    assert view(host).differences() == []


def test_slots_that_lead_to_no_real(host: Host) -> None:
    gone_real(host)
    rings = {each["vip"]: [real["address"] for real in each["reals"]] for each in view(host).rings()}
    assert rings["198.51.100.1:443/tcp"] == ["", B]


def test_tables(host: Host) -> None:
    table = BALANCER_TABLES["source_routes"]
    entry = table.entry(table.item(ROUTED[1])[1])
    host.maps.put(entry.map, [(entry.key, id_of(host, A))])
    assert tables(host, *ROUTED) == ["source route 192.0.2.0/24: changed in lpm_src_v4"]
    host.maps.delete(entry.map, [entry.key])
    assert tables(host, *ROUTED) == ["source route 192.0.2.0/24: missing in lpm_src_v4"]
    host.maps.put("server_id_map", [(layout.u32(9), id_of(host, B))])
    assert tables(host, *NUMBERED) == ["server id 9: not ours, in server_id_map"]


def test_of_an_interrupted_run_and_a_lost_state_only_that_is_told(host: Host) -> None:
    gone_vip(host)
    found = view(host)
    interrupted = replace(found, state=replace(found.state, interrupted=["vips"]))
    assert interrupted.differences() == ["vips: a run was interrupted; the next one puts in order what it left"]
    lost = replace(found, state=replace(found.state, lost=True))
    assert lost.differences() == []
