# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The maps in memory behave as the kernel's do, as far as the engine can tell."""

from __future__ import annotations

import errno

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._kernel.memory_maps import MemoryMaps
from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils.memory_kernel import Shape

A, B, C = (layout.vip_definition(layout.pack_address(f"192.0.2.{last}"), 80, 6) for last in (1, 2, 3))
META = layout.vip_meta(0, 1)


@pytest.fixture
def maps() -> MemoryMaps:
    return MemoryMaps(Shape.of(vips=2, reals=4, ring=13))


def test_names_and_capacities_follow_the_shape(maps: MemoryMaps) -> None:
    assert maps.capacity("vip_map") == 2
    assert maps.capacity("server_id_stats") == 2
    assert maps.capacity("ch_rings") == 26
    assert "global_lru_maps" in maps.names()
    assert "global_lru_maps" not in MemoryMaps(Shape({**Shape.of().sizes}, frozenset())).names()


def test_a_full_hash_takes_what_it_has_but_nothing_new(maps: MemoryMaps) -> None:
    maps.put("vip_map", [(A, META), (B, META)])
    maps.put("vip_map", [(A, layout.vip_meta(4, 1))])
    with pytest.raises(OSError, match="Argument list too long") as refused:
        maps.put("vip_map", [(B, layout.vip_meta(4, 2)), (C, META)])
    assert refused.value.errno == errno.E2BIG
    # As in the kernel's batches: what came before the faulty entry is written.
    assert maps.entries("vip_map") == {A: layout.vip_meta(4, 1), B: layout.vip_meta(4, 2)}


def test_an_array_has_no_entry_that_is_zero_and_none_beyond_its_end(maps: MemoryMaps) -> None:
    real = layout.real_definition(layout.pack_address("10.0.0.1"), 0)
    maps.put("reals", [(layout.u32(3), real), (layout.u32(2), real), (layout.u32(2), layout.NO_REAL)])
    assert maps.entries("reals") == {layout.u32(3): real}
    with pytest.raises(OSError, match="Argument list too long"):
        maps.put("reals", [(layout.u32(4), real)])
    maps.delete("reals", [layout.u32(3)])
    assert maps.entries("reals") == {}
    assert maps.writes == {"reals": 4}


def test_sizes_of_keys_and_values_are_the_maps(maps: MemoryMaps) -> None:
    with pytest.raises(OSError, match="vip_map: 3 → 8 bytes"):
        maps.put("vip_map", [(b"abc", META)])


def test_removing_what_is_not_there_is_no_failure(maps: MemoryMaps) -> None:
    maps.delete("vip_map", [A])
    maps.delete_down_set(A)
    assert maps.entries("vip_map") == {}


@pytest.mark.parametrize("announced", [1, 13])
def test_only_the_slots_that_differ_are_written(maps: MemoryMaps, announced: int) -> None:
    assert bytes(maps.ring(1)) == bytes(13 * 8)
    slots = bytearray(maps.ring(1))
    slots[8] = 3
    maps.put_ring(1, bytes(slots), announced)
    assert bytes(maps.ring(1)) == slots
    assert bytes(maps.ring(0)) == bytes(13 * 8)
    assert maps.writes == {"ch_rings": 1}


def test_down_sets_are_as_many_as_vips(maps: MemoryMaps) -> None:
    maps.put_down_set(A, frozenset({1}))
    maps.put_down_set(B, frozenset({1, 2}))
    maps.put_down_set(A, frozenset({2}))
    with pytest.raises(OSError, match="Argument list too long"):
        maps.put_down_set(C, frozenset({1}))
    assert maps.down_sets() == {A: {2}, B: {1, 2}}
    maps.delete_down_set(B)
    assert maps.down_sets() == {A: {2}}


def test_flows_of_a_real_are_purged_and_counted(maps: MemoryMaps) -> None:
    maps.flows = {b"a": 1, b"b": 2, b"c": 1}
    assert maps.purge_flows(frozenset({1, 3})) == 2
    assert maps.flows == {b"b": 2}


def test_a_snapshot_is_a_copy(maps: MemoryMaps) -> None:
    maps.put("vip_map", [(A, META)])
    before = maps.snapshot()
    maps.put("vip_map", [(B, META)])
    maps.put_ring(0, b"\1" + bytes(13 * 8 - 1), 1)
    assert before["entries"]["vip_map"] == {A: META}
    assert before["rings"] == {}
    assert maps.snapshot()["rings"] == {0: b"\1" + bytes(13 * 8 - 1)}
