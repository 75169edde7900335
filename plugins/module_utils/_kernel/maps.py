# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A balancer's maps as the engine sees them: the protocol, and the pinned maps of the kernel."""

from __future__ import annotations

import mmap
import os
import struct
import typing as t
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

from .._model.layout import SLOT
from .._model.map_specs import (
    ARRAY,
    ARRAY_OF_MAPS,
    DISPLACEMENT_WORD,
    FREE_SLOT,
    HASH,
    INDEX_SLOT_BYTES,
    MMAPABLE,
    NO_PREALLOC,
    VIP_INDEX,
)
from . import bpf
from .open_map import Map
from .pins import listed


class Maps(t.Protocol):
    """The maps of one balancer. Keys and values are bytes in the layouts of _model/layout.py.

    Reading an array gives its nonzero entries alone; deleting from one writes zero.
    A failure is OSError with the kernel's errno.
    """

    def names(self) -> frozenset[str]:
        """The maps that this balancer has."""

    def capacity(self, name: str) -> int:
        """How many entries the map can hold."""

    def entries(self, name: str) -> dict[bytes, bytes]:
        """All entries."""

    def put(self, name: str, entries: Sequence[tuple[bytes, bytes]]) -> None:
        """Write entries."""

    def delete(self, name: str, keys: Sequence[bytes]) -> None:
        """Remove entries; one that is not there is no failure."""

    def ring_size(self) -> int:
        """How many slots a VIP's ring has."""

    def ring(self, number: int) -> memoryview:
        """The live slots of a VIP's ring, 8 bytes each."""

    def put_ring(self, number: int, slots: bytes, changed: int) -> None:
        """Write the slots of a VIP's ring that differ, which are about `changed`."""

    def down_sets(self) -> dict[bytes, frozenset[int]]:
        """vip_definition → the real ids that are down for it."""

    def put_down_set(self, key: bytes, ids: frozenset[int]) -> None:
        """Replace a VIP's set as a whole, atomically."""

    def delete_down_set(self, key: bytes) -> None:
        """Remove a VIP's set."""

    def index(self) -> Mapping[bytes, bytes] | None:
        """The slots of the VIP index that are not free; None while none is in force."""

    def put_index(self, slots: Sequence[tuple[bytes, bytes]]) -> None:
        """Let these be the VIP index, in force once all are there."""

    def drop_index(self) -> None:
        """Let no VIP index be in force."""

    def purge_flows(self, ids: frozenset[int]) -> int:
        """Remove every connection-table entry that leads to one of these reals; returns how many."""

    def zero_counters(self, name: str, indexes: Iterable[int]) -> None:
        """Set a per-CPU counter array's entries to zero on every CPU."""


class Opener(t.Protocol):
    """Who opens maps."""

    def open_map(self, path: str, /) -> Map:
        """A pinned map."""

    def open_map_by_id(self, map_id: int, /) -> Map:
        """A map by its kernel-wide id."""

    def listed(self, folder: str, /) -> list[str]:
        """What is in a folder of the bpffs; nothing where there is none."""

    def wait_for_packets(self) -> None:
        """Return when every run of a program that had begun is over."""


class _Kernel:
    """The kernel itself."""

    open_map = staticmethod(bpf.open_map)
    open_map_by_id = staticmethod(bpf.map_by_id)
    listed = staticmethod(listed)
    wait_for_packets = staticmethod(bpf.wait_for_programs)


class KernelMaps:
    """The pinned maps of one balancer as the engine sees them (the interface is Maps).

    `unpinned`: more maps, or those that are meant where others are pinned, by name → id. `hidden`: names under which
    something else is pinned.
    """

    def __init__(
        self,
        directory: str,
        unpinned: Mapping[str, int] | None = None,
        opener: Opener | None = None,
        hidden: Collection[str] = (),
    ) -> None:
        self._directory = directory
        self._unpinned = unpinned or {}
        self._opener: Opener = opener or _Kernel()
        self._open: dict[str, Map] = {}
        self._ring_map: mmap.mmap | None = None
        # (slots before, slots after, what differs) of the last ring: VIPs of the same reals have the same change.
        self._change: tuple[bytes, bytes, list[tuple[int, int]]] | None = None
        self._names = frozenset(self._opener.listed(directory)).difference(hidden).union(self._unpinned)

    def close(self) -> None:
        """Close every file descriptor."""
        for opened in self._open.values():
            opened.close()
        self._open.clear()

    def __enter__(self) -> t.Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def map(self, name: str) -> Map:
        """The pinned map of that name."""
        if name not in self._open:
            known = self._unpinned.get(name)
            if known is None:
                self._open[name] = self._opener.open_map(os.path.join(self._directory, name))
            else:
                self._open[name] = self._opener.open_map_by_id(known)
        return self._open[name]

    def names(self) -> frozenset[str]:
        """The maps that are pinned."""
        return self._names

    def capacity(self, name: str) -> int:
        """How many entries the map can hold."""
        return self.map(name).info.entries

    def entries(self, name: str) -> dict[bytes, bytes]:
        """All entries; of an array the nonzero ones."""
        return _entries(self.map(name))

    def put(self, name: str, entries: Sequence[tuple[bytes, bytes]]) -> None:
        """Write entries."""
        self.map(name).update_many(entries)

    def delete(self, name: str, keys: Sequence[bytes]) -> None:
        """Remove entries; in an array, write zero."""
        opened = self.map(name)
        if opened.info.type == ARRAY:
            empty = bytes(opened.info.value_size)
            opened.update_many([(key, empty) for key in keys])
        else:
            opened.delete_many(keys)

    def ring_size(self) -> int:
        """How many slots a VIP's ring has: ch_rings holds one for each entry of server_id_stats."""
        return self.capacity("ch_rings") // self.capacity("server_id_stats")

    def ring(self, number: int) -> memoryview:
        """The live slots of a VIP's ring, 8 bytes each."""
        if self._ring_map is None:
            self._ring_map = self.map("ch_rings").mmap(writable=True)
        size = self.ring_size() * SLOT
        return memoryview(self._ring_map)[number * size : (number + 1) * size]

    def put_ring(self, number: int, slots: bytes, changed: int) -> None:
        """Write the slots that differ, about `changed`; a store each, so a packet sees the old or the new real."""
        live = self.ring(number).cast("Q")
        new = memoryview(slots).cast("Q")
        if changed * 8 > len(live):
            live[:] = new
            return
        before = bytes(live)
        if self._change is None or self._change[:2] != (before, slots):
            differing = [(slot, value) for slot, (old, value) in enumerate(zip(live, new, strict=True)) if old != value]
            self._change = before, slots, differing
        for slot, value in self._change[2]:
            live[slot] = value

    def down_sets(self) -> dict[bytes, frozenset[int]]:
        """vip_definition → the real ids that are down for it."""
        found = {}
        for key, value in self.map("vip_to_down_reals_map").items():
            with self._opener.open_map_by_id(struct.unpack("=I", value)[0]) as inner:
                found[key] = frozenset(struct.unpack("=I", real)[0] for real in inner.each_key())
        return found

    def put_down_set(self, key: bytes, ids: frozenset[int]) -> None:
        """Replace a VIP's set as a whole: a new inner map is filled, then put in place by one write."""
        outer = self.map("vip_to_down_reals_map")
        fd = bpf.create_map(HASH, 4, 1, self.capacity("reals"), NO_PREALLOC, "down_reals")
        with bpf.Map(fd) as inner:
            inner.update_many([(struct.pack("=I", real), b"\1") for real in sorted(ids)])
            outer.update(key, struct.pack("=I", fd))

    def delete_down_set(self, key: bytes) -> None:
        """Remove a VIP's set."""
        self.map("vip_to_down_reals_map").delete(key)

    def index(self) -> dict[bytes, bytes] | None:
        """The slots of the VIP index that are not free; None while none is in force."""
        info = self.map(VIP_INDEX).info
        if info.type != ARRAY or not info.flags & MMAPABLE:
            # Somebody's own: module balancer makes the map anew.
            return None
        with self.map(VIP_INDEX).mmap(writable=False) as mapped:
            slots = mapped[: self.capacity(VIP_INDEX) * INDEX_SLOT_BYTES]
        if not any(memoryview(slots).cast("I")[DISPLACEMENT_WORD :: INDEX_SLOT_BYTES // 4]):
            return None
        each = (slots[start : start + INDEX_SLOT_BYTES] for start in range(0, len(slots), INDEX_SLOT_BYTES))
        return {struct.pack("=I", number): slot for number, slot in enumerate(each) if slot != FREE_SLOT}

    def put_index(self, slots: Sequence[tuple[bytes, bytes]]) -> None:
        """Let these be the VIP index, and all others free."""
        put_index(self.map(VIP_INDEX), slots, self._opener.wait_for_packets)

    def drop_index(self) -> None:
        """Let no VIP index be in force."""
        drop_index(self.map(VIP_INDEX))

    def flow_tables(self) -> Iterator[Map]:
        """Every connection table: those of the CPUs, the one they are replacing, and the fallback; the global ones."""
        for name in ("lru_mapping", "lru_outgrown", "fallback_cache", "global_lru_maps", "fallback_glru"):
            if name not in self._names:
                continue
            if self.map(name).info.type != ARRAY_OF_MAPS:
                yield self.map(name)
                continue
            for value in dict(self.map(name).items()).values():
                with self._opener.open_map_by_id(struct.unpack("=I", value)[0]) as inner:
                    yield inner

    def purge_flows(self, ids: frozenset[int]) -> int:
        """Remove every connection-table entry that leads to one of these reals; returns how many."""
        count = 0
        for table in self.flow_tables():
            stride = table.info.value_size
            gone = [
                keys[index * 40 : index * 40 + 40]
                for keys, values, size in table.batches()
                for index in range(size)
                if struct.unpack_from("=I", values, index * stride)[0] in ids
            ]
            table.delete_many(gone)
            count += len(gone)
        return count

    def zero_counters(self, name: str, indexes: Iterable[int]) -> None:
        """Set a per-CPU counter array's entries to zero on every CPU."""
        opened = self.map(name)
        opened.update_many([(struct.pack("=I", index), bytes(opened.stride)) for index in indexes])


def _entries(opened: Map) -> dict[bytes, bytes]:
    if opened.info.type != ARRAY:
        return dict(opened.items())
    if opened.info.flags & MMAPABLE:
        return dict(nonzero_entries(opened))
    empty = bytes(opened.info.value_size)
    return {key: value for key, value in opened.items() if value != empty}


def drop_index(index: Map) -> None:
    """Send packets to the hash maps: a store for each slot, and until all are stored, both say the same."""
    with index.mmap(writable=True) as mapped:
        _put_displacements(mapped, bytes(index.info.entries * INDEX_SLOT_BYTES))


def put_index(index: Map, slots: Sequence[tuple[bytes, bytes]], wait_for_packets: Callable[[], None]) -> None:
    """Fill the array with these slots, of which no packet finds one before all are there."""
    filled = bytearray(FREE_SLOT * index.info.entries)
    for key, slot in slots:
        start = struct.unpack("=I", key)[0] * INDEX_SLOT_BYTES
        filled[start : start + INDEX_SLOT_BYTES] = slot
    unfound = bytearray(filled)
    _put_displacements(unfound, bytes(len(filled)))
    drop_index(index)
    # Until then some may still read what they found before.
    wait_for_packets()
    with index.mmap(writable=True) as mapped:
        mapped[: len(unfound)] = bytes(unfound)
        # Processors of other kinds than x86 may show two stores in another order.
        wait_for_packets()
        _put_displacements(mapped, bytes(filled))


def _put_displacements(mapped: mmap.mmap | bytearray, slots: bytes) -> None:
    place = slice(DISPLACEMENT_WORD, len(slots) // 4, INDEX_SLOT_BYTES // 4)
    with memoryview(mapped) as view, view.cast("I") as words:
        words[place] = memoryview(slots).cast("I")[place]


def nonzero_entries(opened: Map) -> Iterator[tuple[bytes, bytes]]:
    """The nonzero entries of an mmapable array: 128 MiB of mostly zeros is skipped by comparing pages."""
    stride = (opened.info.value_size + 7) // 8 * 8
    with opened.mmap(writable=False) as mapped:
        page = stride * 1024
        empty = bytes(page)
        zero = bytes(opened.info.value_size)
        for start in range(0, opened.info.entries * stride, page):
            chunk = mapped[start : start + page]
            if chunk == empty[: len(chunk)]:
                continue
            for offset in range(0, len(chunk), stride):
                value = chunk[offset : offset + opened.info.value_size]
                if value != zero:
                    index = (start + offset) // stride
                    if index < opened.info.entries:
                        yield struct.pack("=I", index), value
