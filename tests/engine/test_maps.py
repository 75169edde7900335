# SPDX-License-Identifier: GPL-3.0-or-later
"""The maps in memory, on which planning is proven, and the kernel's do the same, whatever is done to them."""

from __future__ import annotations

import errno
import random
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._kernel.maps import KernelMaps
from ansible_collections.katran.fleet.plugins.module_utils._kernel.memory_maps import MemoryMaps
from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.tests.engine.host import FEATURES, MAPS, SIZES
from ansible_collections.katran.fleet.tests.engine.sandbox import compiled_once, ensure_balancer, sandbox

SMALL = {**SIZES, "vips": 5, "cidr_vips": 3, "reals": 7, "ring": 31, "server_ids": 600, "source_routes": 4}
FULL = (errno.E2BIG, errno.ENOSPC)
"""What a full hash and a full trie answer."""


@dataclass(frozen=True)
class Shape:
    sizes: dict[str, int]
    features: frozenset[str]
    encapsulation: str = "ipip"
    decap_any: bool = False


@pytest.fixture
def maps() -> Iterator[tuple[KernelMaps, MemoryMaps]]:
    with sandbox(), compiled_once():
        ensure_balancer(features=FEATURES, sizes=SMALL)
        with KernelMaps(MAPS) as opened:
            yield opened, MemoryMaps(Shape(SMALL, frozenset(FEATURES)))


def test_names_and_capacities(maps: tuple[KernelMaps, MemoryMaps]) -> None:
    kernel, memory = maps
    assert kernel.names() == memory.names()
    assert {name: kernel.capacity(name) for name in kernel.names()} == {
        name: memory.capacity(name) for name in memory.names()
    }


def keys_of(name: str) -> list[bytes]:
    """More keys than the map has room for; of an array, two that are none."""
    if name in ("vip_lpm_map", "vip_lpm4_map"):
        width = 16 if name == "vip_lpm_map" else 4
        return [
            struct.pack("=I", 32 + 8) + b"\0\x50\x06\0" + bytes([number]).ljust(width, b"\0") for number in range(9)
        ]
    if name in ("vip_map", "vip_addresses", "decap_dst"):
        tail = 4 if name == "vip_map" else 0
        return [bytes([number]) * 16 + bytes(tail) for number in range(1, 10)]
    if name in ("lpm_src_v4", "lpm_src_v6", "vip_address_lpm4", "vip_address_lpm6"):
        width = 16 if name.endswith("6") else 4
        return [struct.pack("=I", 8) + bytes([number]).ljust(width, b"\0") for number in range(9)]
    size = {"reals": 7, "cidr_vip_keys": 5, "server_id_map": 600}[name]
    return [layout.u32(index) for index in (*range(0, size, max(size // 8, 1)), size, size + 1)]


WIDTHS = {"vip_map": 8, "vip_lpm_map": 8, "vip_lpm4_map": 8, "reals": 20, "cidr_vip_keys": 20}
NAMES = (*WIDTHS, "vip_addresses", "vip_address_lpm4", "vip_address_lpm6", "lpm_src_v4", "lpm_src_v6")
NAMES += ("server_id_map", "decap_dst")


def outcome(work: Callable[..., object], *arguments: object) -> object:
    """What it returns, or that the map was full."""
    try:
        return work(*arguments)
    except OSError as error:
        return "full" if error.errno in FULL else repr(error)


def test_whatever_is_done_they_are_the_same(maps: tuple[KernelMaps, MemoryMaps]) -> None:
    turn = random.Random(4711)
    full = 0
    for _round in range(600):
        name = turn.choice(NAMES)
        keys = keys_of(name)
        chosen = turn.sample(keys, turn.randrange(1, 5))
        if turn.random() < 0.65:
            width = WIDTHS.get(name, 4)
            entries = [(key, bytes([turn.randrange(3)]) * width) for key in chosen]
            answers = [outcome(each.put, name, entries) for each in maps]
        else:
            chosen = [
                key for key in chosen if name not in ("reals", "cidr_vip_keys", "server_id_map") or key in keys[:-2]
            ]
            answers = [outcome(each.delete, name, chosen) for each in maps]
        assert answers[0] == answers[1]
        full += answers[0] == "full"
        assert maps[0].entries(name) == maps[1].entries(name)
    assert full > 20


def test_rings(maps: tuple[KernelMaps, MemoryMaps]) -> None:
    turn = random.Random(4711)
    size = SMALL["ring"]
    for _round in range(50):
        number = turn.randrange(SMALL["vips"])
        slots = bytearray(maps[1].ring(number))
        changed = turn.choice([1, 2, size])
        for _slot in range(changed):
            slots[8 * turn.randrange(size)] = turn.randrange(7)
        for each in maps:
            each.put_ring(number, bytes(slots), changed)
        for number in range(SMALL["vips"]):
            assert bytes(maps[0].ring(number)) == bytes(maps[1].ring(number))


def test_rings_that_change_alike(maps: tuple[KernelMaps, MemoryMaps]) -> None:
    """What is known of one ring's change is another's only where that was the same, and becomes the same."""
    size = SMALL["ring"]
    one, two, three = (bytes([real, *bytes(7)]) for real in (1, 2, 3))
    before, after, other = one * size, one * (size - 1) + two, three + one * (size - 1)
    for each in maps:
        for number, slots in enumerate((before, before, other)):
            each.put_ring(number, slots, size)
        for number in range(3):
            each.put_ring(number, after, 1)
        assert [bytes(each.ring(number)) for number in range(3)] == [after] * 3
        each.put_ring(0, before, 1)
        each.put_ring(1, other, 1)
        assert [bytes(each.ring(number)) for number in range(3)] == [before, other, after]


def test_down_sets(maps: tuple[KernelMaps, MemoryMaps]) -> None:
    turn = random.Random(4711)
    keys = [bytes([number]) * 19 + b"\0" for number in range(1, 9)]
    full = 0
    for _round in range(100):
        key = turn.choice(keys)
        ids = frozenset(turn.sample(range(7), turn.randrange(5)))

        if turn.random() < 0.7:
            answers = [outcome(each.put_down_set, key, ids) for each in maps]
        else:
            answers = [outcome(each.delete_down_set, key) for each in maps]
        assert answers[0] == answers[1]
        full += answers[0] == "full"
        assert maps[0].down_sets() == maps[1].down_sets()
    assert full > 3


def test_flows_of_reals_are_purged_from_every_table(maps: tuple[KernelMaps, MemoryMaps]) -> None:
    kernel, memory = maps
    tables = list(kernel.flow_tables())
    assert len(tables) > 1
    for number in range(300):
        key = layout.flow_key(
            bytes([10, 0, number // 256, number % 256]) + bytes(12), bytes([9] * 4) + bytes(12), number, 80, 6
        )
        for table in kernel.flow_tables():
            table.update(key, layout.real_pos_lru(number % 5, 1)[: table.info.value_size])
        memory.flows[key] = number % 5
    before = sum(1 for table in kernel.flow_tables() for _entry in table.items())
    gone = kernel.purge_flows(frozenset({1, 3}))
    assert memory.purge_flows(frozenset({1, 3})) == 120
    left = [struct.unpack_from("=I", value)[0] for table in kernel.flow_tables() for _key, value in table.items()]
    assert gone + len(left) == before
    assert set(left) == set(memory.flows.values()) == {0, 2, 4}


def test_counters_are_zeroed_on_every_cpu(maps: tuple[KernelMaps, MemoryMaps]) -> None:
    kernel, _memory = maps
    for name in ("reals_stats", "lru_miss_stats", "stats", "server_id_stats", "decap_vip_stats"):
        counters = kernel.map(name)
        for index in range(5):
            counters.update(layout.u32(index), b"\1" * counters.stride)
        kernel.zero_counters(name, [1, 3])
        values = [counters.lookup(layout.u32(index)) or b"" for index in range(5)]
        assert [any(value) for value in values] == [True, False, True, False, True]
