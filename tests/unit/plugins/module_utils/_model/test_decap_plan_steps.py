# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run does to program decap and the addresses of a real: its steps, and the lines that name them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.bytecode import Bytecode
from ansible_collections.katran.fleet.plugins.module_utils._model.decap_plan import (
    DecapSnapshot,
    decap_macros,
    plan_real,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.decap_record import DecapKept, DecapRecord
from ansible_collections.katran.fleet.plugins.module_utils._model.decap_settings import RealSettings
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ProgramError
from ansible_collections.katran.fleet.plugins.module_utils._model.host_addresses import HostAddress
from ansible_collections.katran.fleet.plugins.module_utils._model.map_specs import (
    DECAP_MAPS,
    EARLIER_SOURCES,
    REAL_SOURCES,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.operations import Delete, Put
from ansible_collections.katran.fleet.plugins.module_utils._model.program_plan import ProgramPlan
from ansible_collections.katran.fleet.plugins.module_utils._model.snapshot import (
    Attachment,
    MapInfo,
    Missing,
    ProgramInfo,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.steps import (
    Attach,
    ChangeLoopback,
    Compile,
    Conclude,
    CreateMaps,
    DeleteLate,
    DropMaps,
    Intend,
    Keep,
    Load,
)

A, B, C = "198.51.100.1", "198.51.100.2", "2001:db8::1"
NET, NET6 = "172.16.0.0/16", "100::/64"
SETTINGS = RealSettings(("eth0",), "native", (B, A), False, (NET, NET6), 6080, 7, True, "/src")
MAPS = {
    spec.name: MapInfo(spec.type, 100 + at, spec.key_size, spec.value_size, spec.entries({}), spec.flags, spec.name)
    for at, spec in enumerate(DECAP_MAPS)
}
PROGRAM = ProgramInfo(6, 77, "bb", 1, 1, tuple(info.id for info in MAPS.values()), "decap")
KEPT = DecapKept([A, B], [NET6, NET], 7, [A, B], 6080, 0, "/src")
RECORD = DecapRecord(source_digest="dd", tag="bb", interfaces=["eth0"], mode="native", loopback=[A, B], settings=KEPT)


def on_lo(*addresses: str) -> list[HostAddress]:
    """As module decap puts them there."""
    return [HostAddress("lo", each, 128 if ":" in each else 32, quiet=True, bare=True) for each in addresses]


GOOD = DecapSnapshot(
    maps=MAPS,
    current=PROGRAM,
    pins=frozenset({77}),
    attached={"eth0": Attachment("eth0", 3, 77, "native")},
    running={77: PROGRAM},
    digest="dd",
    kept=Bytecode("decap", bytes(8), ("decap_vips",), "dd", 1.0),
    vips=(A, B),
    server_id=7,
    sources=(NET6, NET),
    addresses=[*on_lo(A, B), HostAddress("lo", "127.0.0.1", 8)],
)


def plan(seen: DecapSnapshot = GOOD, record: DecapRecord = RECORD, port_before: int = 0, **options: Any) -> ProgramPlan:
    return plan_real(replace(SETTINGS, **options), port_before, record, seen)


def entries(*addresses: str) -> tuple[tuple[bytes, bytes], ...]:
    return tuple((layout.pack_address(address), layout.u32(1)) for address in addresses)


def test_what_is_as_it_should_be_stays() -> None:
    found = plan()
    assert (found.steps, found.changes, found.lacks, found.warnings) == ([], [], [], [])
    assert found.before == found.after
    assert (found.after["vips"], found.after["server_id"], found.after["loopback"]) == ([A, B], 7, [A, B])


def test_a_fresh_real() -> None:
    found = plan(DecapSnapshot(digest="dd"), DecapRecord())
    assert found.changes == [
        f"create {len(DECAP_MAPS)} maps",
        "compile the program decap",
        "load the program decap",
        "attach decap to eth0 in native mode",
        f"vip {A} added",
        f"vip {B} added",
        f"source {NET6} added",
        f"source {NET} added",
        "server id 0 → 7",
        f"add {A} to lo",
        f"add {B} to lo",
    ]
    assert found.ordered() == [
        Compile("/src", {"GUE_PORT": 6080}),
        Intend(DecapRecord(interfaces=["eth0"], loopback=[A, B])),
        CreateMaps(DECAP_MAPS, {}),
        Put("decap_vips", entries(A, B)),
        Put(REAL_SOURCES[0], ((layout.lpm_key(layout.pack_address("172.16.0.0")[:4], 16), layout.u32(1)),)),
        Put(REAL_SOURCES[1], ((layout.lpm_key(layout.pack_address("100::"), 64), layout.u32(1)),)),
        Put("tpr_server_id", ((layout.u32(0), layout.u32(7)),)),
        ChangeLoopback((A, B), ()),
        Load(tuple(spec.name for spec in DECAP_MAPS)),
        Attach("eth0", "native"),
        Keep(),
        Conclude(DecapRecord(interfaces=["eth0"], mode="native", loopback=[A, B], settings=KEPT)),
    ]


def test_other_vips() -> None:
    found = plan(vips=(C, B))
    assert found.changes == [
        f"vip {C} added",
        f"vip {A} removed",
        f"add {C} to lo",
        f"remove {A} from lo",
    ]
    begun = replace(RECORD, loopback=[A, B, C], settings=replace(KEPT, vips=[A, B, C], loopback=[A, B, C]))
    after = [B, C]
    assert found.ordered() == [
        Intend(begun),
        Delete("decap_vips", (layout.pack_address(A),)),
        Put("decap_vips", entries(C)),
        ChangeLoopback((C,), (A,)),
        Conclude(replace(RECORD, loopback=after, settings=replace(KEPT, vips=after, loopback=after))),
    ]


def test_the_ports_that_are_compiled_in() -> None:
    assert decap_macros(SETTINGS, 0) == {"GUE_PORT": 6080}
    assert decap_macros(SETTINGS, 6079) == {"GUE_PORT": 6080, "GUE_PORT_BEFORE": 6079}


def test_other_sources() -> None:
    one = "192.0.2.1/32"
    found = plan(sources=(one, NET6))
    assert found.changes == [f"source {one} added", f"source {NET} removed"]
    begun, after = sorted([NET6, NET, one]), [NET6, one]
    key = layout.lpm_key(layout.pack_address("192.0.2.1")[:4], 32)
    assert found.ordered() == [
        Intend(replace(RECORD, settings=replace(KEPT, sources=begun))),
        Put(REAL_SOURCES[0], ((key, layout.u32(1)),)),
        DeleteLate(REAL_SOURCES[0], (layout.lpm_key(layout.pack_address("172.16.0.0")[:4], 16),)),
        Conclude(replace(RECORD, settings=replace(KEPT, sources=after))),
    ]
    assert (found.before["sources"], found.after["sources"]) == ([NET6, NET], after)
    assert plan(sources=(one,), keep_sources=True).after["sources"] == begun


def test_sources_of_everybody_are_kept_where_an_earlier_version_wrote_none() -> None:
    earlier = replace(RECORD, settings=replace(KEPT, sources=[]))
    found = plan(record=earlier, sources=(NET,), keep_sources=True)
    assert found.after["sources"] == sorted(["0.0.0.0/0", "::/0", NET])


def test_the_map_of_an_earlier_version() -> None:
    name = EARLIER_SOURCES.name
    there = MapInfo(EARLIER_SOURCES.type, 99, 16, 4, 4096, 0, name)
    assert plan(replace(GOOD, maps={**MAPS, name: there})).changes == [f"remove the map {name} of an earlier version"]
    # At boot its kept program comes back, and finds the addresses that it can have.
    kept = Bytecode("decap", bytes(8), ("decap_vips", name), "dd", 1.0)
    booted = replace(GOOD, digest=None, kept=kept, maps={}, current=None, running={}, attached={}, pins=frozenset())
    found = plan(booted, sources=(NET, "192.0.2.1/32", "2001:db8::9/128"))
    packed = layout.pack_address
    entries = tuple((packed(each), layout.u32(1)) for each in ("192.0.2.1", "2001:db8::9"))
    assert Put(name, entries) in found.of(Put)
    assert found.of(CreateMaps) == [CreateMaps((*DECAP_MAPS, EARLIER_SOURCES), {})]
    assert not found.of(DropMaps)


def test_addresses_of_the_host_that_balancers_send_to() -> None:
    own = HostAddress("eth0", "192.0.2.9", 24)
    seen = replace(GOOD, addresses=[*on_lo(A, B), own])
    assert plan(seen, addresses=("192.0.2.9",)).steps == []
    with pytest.raises(ProgramError) as told:
        plan(seen, addresses=("192.0.2.9", A))
    assert str(told.value) == (
        f"katran_real_address: {A} is no address of this host (it has 192.0.2.9), so packets of balancers to it would"
        " not arrive"
    )
    # What cannot be read is a lack, not a fault.
    assert plan(replace(GOOD, addresses=Missing("no pyroute2")), addresses=(C,)).lacks == [Missing("no pyroute2")]


def test_a_host_without_ipv6_of_its_own_is_warned() -> None:
    lo = [*on_lo(A, C), HostAddress("lo", "::1", 128)]
    link_local = HostAddress("eth0", "fe80::1", 64)
    found = plan(replace(GOOD, addresses=[*lo, link_local]), vips=(A, C))
    (told,) = found.warnings
    assert told == (
        f"this host has no global IPv6 address but VIPs, so its own connections over IPv6 come from {C}; give it an"
        " address of its own"
    )
    own = HostAddress("eth0", "2001:db8:1::1", 64)
    assert plan(replace(GOOD, addresses=[*lo, own]), vips=(A, C)).warnings == []
    assert plan(replace(GOOD, addresses=[*on_lo(A)]), vips=(A,)).warnings == []
    assert plan(replace(GOOD, addresses=[*lo, link_local]), vips=(A, C), loopback=False).warnings == []


def test_an_address_of_an_earlier_version_becomes_quiet() -> None:
    loud = HostAddress("lo", B, 32)
    found = plan(replace(GOOD, addresses=[*on_lo(A), loud]))
    assert found.changes == [f"keep {B} of lo from being the source of this host's own connections"]
    assert found.of(ChangeLoopback) == [ChangeLoopback((), (), (B,))]


def test_vips_that_nobody_names_stay() -> None:
    assert plan(vips=None).steps == []
    more = plan(vips=(C,), keep_vips=True)
    assert more.after["vips"] == [A, B, C]
    # Without a record, what the map has is what is served.
    lost = plan(record=DecapRecord(), vips=None)
    assert lost.after["vips"] == [A, B]


def test_addresses_that_are_not_to_be_on_lo() -> None:
    found = plan(loopback=False)
    assert found.changes == [f"remove {A} from lo", f"remove {B} from lo"]
    assert found.after["loopback"] == []
    # What was there before stays: it is not ours.
    assert plan(record=replace(RECORD, loopback=[B]), loopback=False).of(ChangeLoopback) == [ChangeLoopback((), (B,))]


def test_another_interface_is_on_record_before_it_has_the_program() -> None:
    found = plan(interfaces=("eth1",))
    assert found.changes == ["attach decap to eth1 in native mode", "detach decap from eth0"]
    assert found.of(Intend)[0].record.interfaces == ["eth0", "eth1"]
    assert found.of(Conclude)[0].record.interfaces == ["eth1"]


def test_only_the_server_id() -> None:
    found = plan(server_id=0)
    assert found.changes == ["server id 7 → 0"]
    assert found.of(Put) == [Put("tpr_server_id", ((layout.u32(0), layout.u32(0)),))]
    assert found.of(Conclude) == [Conclude(replace(RECORD, settings=replace(KEPT, server_id=0)))]


def test_the_sources_of_the_program_stay_on_record_where_none_are_told() -> None:
    assert plan(source_dir="").steps == []
    ports = plan(port_before=6079).of(Conclude)
    assert ports == [Conclude(replace(RECORD, settings=replace(KEPT, gue_port_before=6079)))]


def test_what_a_host_lacks() -> None:
    one, two, three, four = (Missing(word) for word in ("one", "two", "three", "four"))
    assert plan(replace(GOOD, bpffs=one, attached=two, digest=three, addresses=four)).lacks == [one, two, three, four]
