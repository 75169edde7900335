# SPDX-License-Identifier: GPL-3.0-or-later
"""Other sizes: every map with its contents, under traffic, or a sentence and nothing changed."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import re
import struct
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._engine.request import Request
from ansible_collections.katran.fleet.plugins.module_utils._engine.resource import apply_resource
from ansible_collections.katran.fleet.plugins.module_utils._kernel import bpf
from ansible_collections.katran.fleet.plugins.module_utils._kernel.maps import KernelMaps
from ansible_collections.katran.fleet.plugins.module_utils._kernel.state_files import StateFile
from ansible_collections.katran.fleet.plugins.module_utils._model import layout, map_specs
from ansible_collections.katran.fleet.plugins.module_utils._model.entries import Asked
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ProgramError
from ansible_collections.katran.fleet.plugins.module_utils._model.hashing import flow_slot
from ansible_collections.katran.fleet.plugins.module_utils._model.map_specs import ARRAY, HASH, LPM_TRIE
from ansible_collections.katran.fleet.plugins.module_utils._model.ring import build_ring
from ansible_collections.katran.fleet.plugins.module_utils._model.vip_index import indexed
from ansible_collections.katran.fleet.plugins.module_utils._program import canary, compiler
from ansible_collections.katran.fleet.tests.engine.life import (
    CLIENT,
    LINK,
    MAPS,
    PINS,
    REALS,
    SIZES,
    STATE,
    VIP,
    apply,
    attached,
    counters,
    ensure,
    files,
    flows,
    forwards,
    lead_out,
    map_ids,
    pinned,
    pins,
    remove,
    roll_back,
    send,
    stream,
    tables,
    vips,
)
from ansible_collections.katran.fleet.tests.engine.sandbox import BPFFS, compiled_once, sandbox

FEATURES = ["cidr_vips", "global_lru", "inline_decap", "source_routing", "udp_flow_migration"]
TABLES = {
    "source_routes": [
        *({"prefix": f"192.0.{number}.0/24", "real": "10.0.1.1"} for number in range(20)),
        {"prefix": "2001:db8:9::/48", "real": "fc00::1"},
    ],
    "server_ids": [{"id": number, "real": f"10.0.2.{number % 4 + 1}"} for number in range(1, 4000, 97)],
    "decap_destinations": [{"address": "198.51.100.9", "egress": True}, {"address": "fc00::99", "egress": False}],
}
WORLD = [
    vips(),
    vips("fc00::1", "fc00::2", address="2001:db8::1"),
    vips("10.0.0.7", address="198.51.100.2", port=0, protocol="tcp"),
    vips("10.0.0.8", address="203.0.113.0/24"),
    vips("fc00::3", address="2001:db8:1::/48"),
    vips(*REALS, address="198.51.100.3", flags=["udp_flow_migration"], down_reals=[REALS[0]]),
]


@pytest.fixture(autouse=True)
def host() -> Iterator[None]:
    with sandbox(LINK), compiled_once():
        lead_out()
        ensure(features=FEATURES)
        apply(WORLD)
        for name, config in TABLES.items():
            apply_resource(name, Request("default", BPFFS, 5, False), Asked(config, "overridden", allow_empty=True))
        yield


def known() -> Any:
    return StateFile("default", BPFFS).read()


def configuration() -> dict[str, Any]:
    """What the control plane has written, wherever the sizes put it."""
    state = known()
    found: dict[str, Any] = {}
    # The program's own, and what sizes put elsewhere.
    others = {"ch_rings", "clock_tick", "vip_index"}
    with KernelMaps(MAPS) as maps:
        for spec in map_specs.MAPS:
            if spec.type in (HASH, LPM_TRIE, ARRAY) and spec.name in maps.names() - others:
                found[spec.name] = maps.entries(spec.name)
        found["down"] = maps.down_sets()
        index, slots = maps.index() or {}, maps.capacity("vip_index")
        found["VIPs by the index"] = {key: indexed(index, key, slots) for key in maps.entries("vip_map")}
        for name, number in state.vip_numbers.assigned.items():
            found[f"ring of {name}"] = list(maps.ring(number).cast("Q"))
    return found


def counted() -> dict[str, Any]:
    """Counters by what they count."""
    state = known()
    found: dict[str, Any] = dict(counters())
    with KernelMaps(MAPS) as maps:
        for name, indexes in (("stats", state.vip_numbers.assigned), ("reals_stats", state.real_ids.assigned)):
            for key, number in indexes.items():
                value = maps.map(name).lookup(layout.u32(number)) or b""
                found[f"{name} of {key}"] = sum(struct.unpack(f"={len(value) // 8}Q", value)[::2])
    return found


def busy() -> None:
    """Five hundred flows in the tables, with their counters."""
    send({20000 + number: number for number in range(500)})


def alive(ids: list[int]) -> set[int]:
    """Which of these maps the kernel still has."""
    found = set()
    for number in ids:
        with contextlib.suppress(FileNotFoundError), bpf.map_by_id(number):
            found.add(number)
    return found


MIGRATIONS = {
    "more VIPs": {"vips": 48},
    "fewer VIPs": {"vips": 24},
    "fewer VIPs than global counters": {"vips": 8},
    "more reals": {"reals": 128},
    "fewer reals": {"reals": 32},
    "longer rings": {"ring": 2003},
    "shorter rings": {"ring": 503},
    "CIDR VIPs": {"cidr_vips": 32},
    "fewer CIDR VIPs": {"cidr_vips": 1},
    "source routes": {"source_routes": 300},
    "fewer source routes": {"source_routes": 20},
    "server ids": {"server_ids": 9000},
    "fewer server ids": {"server_ids": 4000},
    "flows": {"flows": 6000},
    "fewer flows": {"flows": 2000},
    "global flows": {"global_flows": 3000},
    "everything": {"vips": 64, "reals": 256, "ring": 4093, "cidr_vips": 64, "flows": 8000, "server_ids": 6000},
}


@pytest.mark.parametrize("name", MIGRATIONS)
def test_every_size_changes_with_the_contents(name: str) -> None:
    sizes = MIGRATIONS[name]
    busy()
    before, there, seen, learned, ids = configuration(), known(), counted(), flows(), map_ids()
    would = ensure(check=True, features=FEATURES, sizes=sizes, accept_rehash=True)
    done = ensure(features=FEATURES, sizes=sizes, accept_rehash=True)
    assert done.changes == would.changes
    after = configuration()
    if "ring" in sizes:
        for key in [key for key in before if key.startswith("ring of")]:
            before[key] = after[key]
        real_ids = there.real_ids.assigned
        ring = build_ring([(ipaddress.ip_address(real), 1) for real in REALS], sizes["ring"])
        assert after[f"ring of {VIP}:80/udp"] == [real_ids[REALS[slot]] for slot in ring]
    assert after == before
    assert counted() == seen
    assert {flow: real for flow, (real, _cpu) in flows().items()} == {flow: real for flow, (real, _) in learned.items()}
    assert sum(tables().values()) == {**SIZES, **sizes}["flows"]
    assert counters()["fallback"] == 0
    # Only what had to change has changed, and nothing old is left.
    migrated = {each for each, old in ids.items() if map_ids()[each] != old}
    assert set(done.reused_maps) == set(ids) - migrated
    gone = [old for each, old in ids.items() if each in migrated]
    # The kernel frees them when it comes to it.
    deadline = time.monotonic() + 10
    while set(gone) & alive(gone) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert alive(gone) == set()
    assert "maps_next" not in os.listdir(PINS)
    assert forwards()
    # A resource's run has nothing to repair.
    assert not apply(WORLD).changed
    assert not apply(WORLD).operations
    assert not ensure(features=FEATURES, sizes=sizes).changed


@pytest.mark.parametrize("sizes", [{"reals": 128}, {"source_routes": 300}, {"server_ids": 9000}], ids=str)
def test_the_size_of_a_map_alone_compiles_nothing(sizes: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object) -> None:
        raise AssertionError("compiled")

    monkeypatch.setattr(compiler, "compile_program", refuse)
    before, program = known().program, pinned()
    done = ensure(features=FEATURES, sizes=sizes)
    assert "load the program" in done.changes
    assert not [change for change in done.changes if change.startswith("compile")]
    assert pinned() != program
    after = known().program
    assert (after.source_digest, after.tag) == (before.source_digest, before.tag)


def test_server_ids_change_between_array_and_hash() -> None:
    before = configuration()
    for features in ([*FEATURES, "server_id_hash"], FEATURES):
        ensure(features=features)
        assert configuration() == before
    assert forwards()


def test_a_server_id_that_no_array_holds_keeps_the_hash() -> None:
    request = Request("default", BPFFS, 5, False)
    ensure(features=[*FEATURES, "server_id_hash"])
    large = [{"id": 7, "real": "10.0.2.1"}, {"id": 4_000_000_000, "real": "10.0.2.2"}]
    apply_resource("server_ids", request, Asked(large, "overridden"))
    before = configuration()
    sentence = (
        "^features: server_id_hash cannot go while there is server id 4000000000: without it they are less than"
        r" sizes.server_ids \(5000\); remove it first$"
    )
    with pytest.raises(ProgramError, match=sentence):
        ensure(features=FEATURES)
    assert configuration() == before
    apply_resource("server_ids", request, Asked(large[1:], "deleted"))
    ensure(features=FEATURES)
    assert len(configuration()["server_id_map"]) == 1


# While packets flow


def test_no_datagram_and_no_flow_is_lost() -> None:
    with stream() as traffic:
        learned = flows()
        for sizes in ({"vips": 48, "ring": 2003}, {"reals": 128, "flows": 3000}, {"vips": 40, "flows": 5000}):
            ensure(features=FEATURES, sizes=sizes, accept_rehash=True)
        result = traffic.stop()
    assert result.sent > 4000
    assert result.lost == []
    now = flows()
    assert len(learned) >= traffic.FLOWS
    assert {flow: now[flow][0] for flow in learned} == {flow: real for flow, (real, _cpu) in learned.items()}
    # Counters are read and written while packets count: what comes in between is lost, of a burst at most. None is
    # counted twice: the sender ends between two datagrams, so that it knows exactly how many it sent.
    assert result.sent - 20 <= counters()["sent"] <= result.sent


def test_the_sender_knows_exactly_what_it_sent() -> None:
    """Without that, no bound on counters says anything. It sends as fast as it can: the signal falls anywhere."""
    for _round in range(12):
        before = counters()["sent"]
        with stream(rate=1_000_000, least=0.03) as traffic:
            result = traffic.stop()
        assert counters()["sent"] - before == result.sent > 0


def test_flows_while_their_table_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that packets come for meanwhile, new ones, and those that begin anew."""
    busy()
    before = {layout.parse_flow_key(flow)[2]: real for flow, (real, _cpu) in flows().items()}
    # All of them have had their real since before the ring changed.
    apply([vips("10.0.0.99"), *WORLD[1:]])
    real = known().real_ids.assigned["10.0.0.99"]
    insert = bpf.Map.insert_many
    new_flows = iter(range(30000, 31000))

    def meanwhile(table: bpf.Map, entries: Any) -> None:
        found = list(entries)
        if not found:
            # Of a CPU to which nothing came.
            return
        first, last = found[0], found[-1]
        # A flow that begins anew, as with a SYN: the new table learns it.
        table.update(last[0], layout.real_pos_lru(real, 0))
        begun.append(layout.parse_flow_key(last[0])[2])
        send({layout.parse_flow_key(first[0])[2]: 1, 20007: 1, next(new_flows): 1})
        insert(table, found)

    begun: list[int] = []
    monkeypatch.setattr(bpf.Map, "insert_many", meanwhile)
    ensure(features=FEATURES, sizes={"flows": 6000}, forwarding_cores=[0, 1])
    after = {layout.parse_flow_key(flow)[2]: real for flow, (real, _cpu) in flows().items()}
    came = range(30000, next(new_flows))
    assert len(came) == len(begun) > 0
    assert after == before | dict.fromkeys(begun, real) | dict.fromkeys(came, real)


# The flow hash

FLOWS = range(20000, 20500)


def chosen(sizes: Mapping[str, int]) -> list[int]:
    ring = build_ring([(ipaddress.ip_address(real), 1) for real in REALS], sizes["ring"])
    return [ring[flow_slot(CLIENT, port, 80, max_vips=sizes["vips"], ring_size=sizes["ring"])] for port in FLOWS]


@pytest.mark.parametrize("sizes", [{"vips": 33}, {"ring": 1013}, {"vips": 48, "ring": 2003}])
def test_flows_that_would_move_are_counted(sizes: dict[str, int]) -> None:
    busy()
    there = (pins(), files(), map_ids(), attached())
    moves = sum(old != new for old, new in zip(chosen(SIZES), chosen({**SIZES, **sizes}), strict=True))
    effect = f"of 500 flows in the connection tables, {moves} would be chosen another real"
    changed = ", ".join(f"{name} {SIZES[name]} → {sizes[name]}" for name in ("vips", "ring") if name in sizes)
    sentence = (
        f"sizes: {changed} seed the flow hash: {effect} by a balancer that does not know them;"
        " change the whole fleet, and give accept_rehash: true"
    )
    for check in (True, False):
        with pytest.raises(ProgramError, match=f"^{re.escape(sentence)}$"):
            ensure(check=check, features=FEATURES, sizes=sizes)
    assert (pins(), files(), map_ids(), attached()) == there
    assert f"rehash: {effect}" in ensure(features=FEATURES, sizes=sizes, accept_rehash=True).changes


def test_flows_of_a_ring_that_changed_since_do_not_count() -> None:
    busy()
    apply([vips(REALS[0])], "merged")
    config = [{**vips(REALS[0]), "reals": [{"address": REALS[0]}]}, *WORLD[1:]]
    apply(config)
    with pytest.raises(
        ProgramError, match=r"^sizes: vips 32 → 48 seed the flow hash: of 500 flows .*, 0 would be chosen"
    ):
        ensure(features=FEATURES, sizes={"vips": 48})


# Room


@pytest.mark.parametrize(
    ("sizes", "sentence"),
    [
        ({"vips": 3}, r"sizes\.vips: VIP \S+ has number \d, which does not fit into 3; remove it first or choose"),
        ({"reals": 5}, r"sizes\.reals: real \S+ has number \d+, which does not fit into 5; remove it first or choose"),
        ({"source_routes": 19}, r"sizes\.source_routes: map lpm_src_v4 has 20 entries, which do not fit into 19"),
        ({"server_ids": 3000}, r"sizes\.server_ids: id \d+ of map server_id_map does not fit into 3000"),
    ],
)
def test_what_does_not_fit_is_told_before_anything_is_touched(sizes: dict[str, int], sentence: str) -> None:
    there = (pins(), files(), map_ids(), attached(), configuration())
    for check in (True, False):
        with pytest.raises(ProgramError, match=f"^{sentence}"):
            ensure(check=check, features=FEATURES, sizes=sizes, accept_rehash=True)
    assert (pins(), files(), map_ids(), attached(), configuration()) == there


def test_too_many_cidr_vips_do_not_fit() -> None:
    apply([*WORLD, vips("10.0.0.8", address="203.0.112.0/24")])
    with pytest.raises(ProgramError, match=r"^sizes\.cidr_vips: map vip_\w+ has 2 entries, which do not fit into 1;"):
        ensure(features=FEATURES, sizes={"cidr_vips": 1})


def test_fewer_flows_than_there_are_is_a_warning() -> None:
    send({20000 + number: number for number in range(300)})
    [warning] = ensure(features=FEATURES, sizes={"flows": 400}, forwarding_cores=[0, 1], check=True).warnings or [""]
    assert re.match(r"sizes\.flows: the table of CPU \d has 300 flows and the new one room for 200:", warning)


# What does not work out


def test_it_cannot_be_rolled_back() -> None:
    ensure(features=FEATURES, sizes={"reals": 128})
    with pytest.raises(
        ProgramError,
        match=r"^balancer default cannot be rolled back across a migration of its maps \(reals, .*\): the previous"
        r" program's maps are gone; set the sizes back instead$",
    ):
        roll_back()
    assert pinned("balancer_previous") is None
    assert "balancer_previous.bytecode.json" not in files()
    assert ensure(features=FEATURES).changed
    # An upgrade after it can.
    ensure(features=[*FEATURES, "vlan"])
    assert roll_back().changed


def test_maps_of_a_program_that_cannot_come_back_go_with_it() -> None:
    done = ensure(features=[], sizes={"reals": 128})
    assert done.changes[-1].startswith("remove maps that are no longer used: ")
    assert not ensure(features=[], sizes={"reals": 128}).changed


def test_one_that_fails_leaves_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    busy()
    there = (pins(), files(), map_ids(), attached(), configuration(), counted(), flows())

    def refuse(*_arguments: object) -> None:
        raise ProgramError("refused")

    monkeypatch.setattr(canary.Counters, "verify", refuse)
    with pytest.raises(ProgramError, match=r"^refused$"):
        ensure(features=FEATURES, sizes={"reals": 128, "vips": 48, "ring": 2003}, accept_rehash=True)
    assert (pins(), files(), map_ids(), attached(), configuration(), counted(), flows()) == there
    assert known().program.next is None
    assert not ensure(features=FEATURES).changed
    assert not apply(WORLD).changed
    assert forwards()


def test_no_ring_is_built_from_weights_that_are_lost() -> None:
    os.unlink(STATE / "state.json")
    with pytest.raises(
        ProgramError, match=r"cannot change while .*state\.json is lost, because the reals' weights are unkn"
    ):
        ensure(features=FEATURES, sizes={"ring": 2003}, accept_rehash=True)
    assert forwards()


def test_maps_that_a_killed_first_run_left_take_any_size() -> None:
    remove()
    ensure(features=FEATURES, state="loaded")
    os.unlink(f"{PINS}/balancer")
    os.unlink(STATE / "state.json")
    assert ensure(features=FEATURES, sizes={"vips": 48, "ring": 2003}).changed
