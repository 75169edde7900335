# SPDX-License-Identifier: GPL-3.0-or-later
"""The VIP index of a balancer that forwards: it says what vip_map does, whatever becomes of VIPs, programs and maps."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._kernel import bpf
from ansible_collections.katran.fleet.plugins.module_utils._kernel.maps import KernelMaps
from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.map_specs import VIP_INDEX, index_slots
from ansible_collections.katran.fleet.plugins.module_utils._model.vip_index import indexed
from ansible_collections.katran.fleet.tests.engine.host import module
from ansible_collections.katran.fleet.tests.engine.life import (
    LINK,
    MAPS,
    PINS,
    REALS,
    SIZES,
    VIP,
    apply,
    changed_sources,
    contents,
    ensure,
    flows,
    forwards,
    frame,
    lead_out,
    map_ids,
    roll_back,
    stream,
    vips,
)
from ansible_collections.katran.fleet.tests.engine.sandbox import compiled_once, sandbox


@pytest.fixture(autouse=True)
def host() -> Iterator[None]:
    with sandbox(LINK, "lb1"), compiled_once():
        lead_out()
        yield


@contextmanager
def loaded() -> Iterator[int]:
    """The fd of the loaded balancer."""
    fd = bpf.open_pin(f"{PINS}/balancer")
    try:
        yield fd
    finally:
        os.close(fd)


def index() -> dict[bytes, bytes] | None:
    with KernelMaps(MAPS) as maps:
        return maps.index()


def assert_indexed(vips: int = SIZES["vips"]) -> None:
    """The index that there is knows the VIPs of vip_map and no other."""
    there, slots = index(), index_slots(vips)
    entries = contents("vip_map")
    assert entries
    assert there is not None
    assert {key: indexed(there, key, slots) for key in entries} == entries
    assert {slot[:20] for slot in there.values() if slot[18] in (6, 17)} == set(entries)


def earlier_sources() -> str:
    """Those of a program that looks into no index and knows no short way."""
    return changed_sources(
        "earlier",
        balancer_bpf_c=("return vip_index.lookup(&slot);", "return NULL;"),
        established_h=(
            "	if (unlikely(!open_frame",
            "	if (1)\n		return false;\n	if (unlikely(!open_frame",
        ),
    )


def test_a_balancer_of_before_gets_an_index_with_its_new_program() -> None:
    sources = earlier_sources()
    ensure(source_dir=sources)
    apply([vips(), vips(address="198.51.100.2")])
    os.unlink(f"{MAPS}/{VIP_INDEX}")
    assert forwards()
    with stream() as traffic:
        before = {flow: real for flow, (real, _cpu) in flows().items()}
        foretold, done = ensure(check=True), ensure()
        assert foretold.changes == done.changes
        assert f"create 1 map ({VIP_INDEX})" in done.changes
        assert_indexed()
        assert not apply([vips(), vips(address="198.51.100.2")]).changed
        result = traffic.stop()
    assert result.sent > 1000
    assert result.lost == []
    assert len(before) >= 1000
    assert {flow: real for flow, (real, _cpu) in flows().items() if flow in before} == before


def test_vips_that_change_while_the_program_of_before_runs_are_known_when_the_new_one_comes_back() -> None:
    ensure(source_dir=earlier_sources())
    apply([vips()])
    ensure()
    assert roll_back().changed
    apply([vips(address="198.51.100.2"), vips("10.0.0.9", address="198.51.100.3")])
    assert_indexed()
    # What a version without an index would have left.
    stale = layout.vip_definition(layout.pack_address(VIP), 80, 17)
    with KernelMaps(MAPS) as maps:
        maps.put_index([(layout.u32(5), stale.ljust(32, b"\0"))])
    ensure(gue_port=6081)
    assert_indexed()
    assert not apply([vips(address="198.51.100.2"), vips("10.0.0.9", address="198.51.100.3")]).changed


@pytest.mark.parametrize("how", ["gone", "another slot", "another vip_meta"])
def test_an_index_that_somebody_changed_is_told_and_made_anew(how: str) -> None:
    config = [vips(), vips(address="198.51.100.2")]
    ensure()
    apply(config)
    with KernelMaps(MAPS) as maps:
        there = dict(maps.index() or {})
        if how == "gone":
            maps.drop_index()
        else:
            key = next(key for key, slot in there.items() if slot[18] == 17)
            slot = bytearray(there[key])
            slot[28 if how == "another vip_meta" else 0] ^= 1
            maps.put_index([*(there | {key: bytes(slot)}).items()])
    # In a play, whose balancer stays as it is, and by itself.
    planned = {"features": [], "sizes": SIZES}
    options = {"config": config, "state": "overridden", "planned": planned}
    assert module("vips", options, check=True)["operations"] == {VIP_INDEX: 1}
    # Where the play loads a program, module balancer has put it right before.
    loading = {**options, "planned": {**planned, "applied": ["balancer"]}}
    assert module("vips", loading, check=True)["operations"] == {}
    foretold, done = apply(config, check=True), apply(config)
    fault = "missing" if how == "gone" else "changed"
    assert foretold.changes == done.changes == done.drift == [f"the index of VIPs: {fault} in {VIP_INDEX}, repaired"]
    assert foretold.operations == done.operations == {VIP_INDEX: 1}
    assert_indexed()
    assert not apply(config).operations


def test_an_index_of_vips_that_all_went_is_taken_away() -> None:
    ensure()
    apply([vips()])
    with KernelMaps(MAPS) as maps:
        there = dict(maps.index() or {})
    apply([])
    with KernelMaps(MAPS) as maps:
        maps.put_index([*there.items()])
    foretold, done = apply([], check=True), apply([])
    assert foretold.operations == done.operations == {VIP_INDEX: 1}
    assert foretold.changed
    assert done.changed
    assert index() is None
    assert not apply([]).changed


@pytest.mark.parametrize("number", [1, 4])
def test_a_balancer_of_few_vips_has_a_small_one(number: int) -> None:
    ensure(sizes={"vips": number})
    apply([vips()])
    assert_indexed(number)
    assert forwards()


def test_it_follows_another_number_of_vips() -> None:
    ensure()
    apply([vips()])
    before = map_ids()[VIP_INDEX]
    with stream() as traffic:
        ensure(sizes={"vips": 100}, accept_rehash=True)
        result = traffic.stop()
    assert map_ids()[VIP_INDEX] != before
    assert_indexed(100)
    assert result.lost == []


def test_whatever_becomes_of_vips_packets_meet_those_that_there_are() -> None:
    """VIPs come, go, come back and change flags; each packet is for one that is there, or is passed."""
    random = Random("index")
    ensure()
    there: dict[str, dict[str, Any]] = {}
    with loaded() as program:
        for _ in range(40):
            address = f"198.51.100.{random.randint(1, 6)}"
            if address in there and random.random() < 0.4:
                del there[address]
            else:
                reals = random.sample(REALS, random.randint(1, len(REALS)))
                there[address] = vips(*reals, address=address, flags=random.choice(([], [], ["no_lru"], ["quic"])))
            apply(list(there.values()))
            assert not apply(list(there.values())).operations
            for number in range(1, 8):
                for sport in (40000, 40001):
                    sent = bpf.test_run(program, frame(1, sport, destination=f"198.51.100.{number}"))
                    known = there.get(f"198.51.100.{number}")
                    assert sent.value == (3 if known else 2), (number, there)
                    if known:
                        outer = layout.unpack_address(sent.data[30:34].ljust(16, b"\0"), False)
                        # Flows stay with the real that they had, also where it is no longer the VIP's.
                        ring = {real["address"] for real in known["reals"]}
                        assert outer in (ring if "no_lru" in known["flags"] else REALS)
