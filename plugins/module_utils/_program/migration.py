# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Moving a balancer's state to maps of other sizes while packets flow.

What the control plane writes (VIPs, reals, rings, routes) stands still under the lock and is copied before the swap.
What packets write (connection tables, counters) is copied before the swap, and what came in between after it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from .._kernel.maps import nonzero_entries
from .._kernel.open_map import Map
from .._kernel.ring_workers import build_rings
from .._model import layout
from .._model.balancer_snapshot import Room
from .._model.layout import SLOT
from .._model.map_specs import (
    ARRAY,
    FLOOD,
    HASH,
    LPM_TRIE,
    LRU_HASH,
    MMAPABLE,
    PERCPU_ARRAY,
    VIP_INDEX,
    global_counters_at,
)
from .._model.operations import digest
from .._model.ring_slots import ring_slots
from .._model.state import State
from .._model.verdicts import words_of
from .._model.vip_plan import ring_inputs, ring_members
from .._model.vips import vips_from_config
from .flow_tables import ById


def read_room(source: Map) -> Room:
    """How much room a map's contents take."""
    kind = source.info.type
    keys = [key for key, value in _entries(source) if kind != ARRAY or any(value)]
    # Only of indexes and ids is there a highest.
    numbers = map(layout.parse_u32, keys) if kind == ARRAY or source.info.name == "server_id_map" else ()
    return Room(len(keys), max(numbers, default=0))


@dataclass
class Migration:
    """The maps of one balancer on their way to another size. `old` and `new`: the sizes, by name."""

    state: State
    old: Mapping[str, int]
    new: Mapping[str, int]
    by_id: ById
    rings: dict[str, list[str]] = field(default_factory=dict)
    """The digests of rings that were built anew, as in the state."""
    _counters: list[tuple[Map, Map, dict[bytes, bytes]]] = field(default_factory=list)

    def copy(self, name: str, source: Map, target: Map) -> None:
        """Copy a map's contents into one of another size (or type: server_id_map may be array or hash).

        Of counters, `source` and `target` must stay open until `complete`.
        """
        if name == VIP_INDEX:
            # Another number of slots is another place for each VIP: it is made anew.
            return
        if name == "ch_rings":
            self._copy_rings(source, target)
        elif name == "vip_to_down_reals_map":
            _copy_down_sets(source, target, self.by_id)
        elif source.info.type == PERCPU_ARRAY:
            found = dict(source.items())
            target.update_many([(key, value) for key, value in self._placed(source, target, found) if any(value)])
            self._counters.append((source, target, found))
        elif target.info.type == ARRAY:
            limit = target.info.entries
            target.update_many([(k, v) for k, v in _entries(source) if any(v) and layout.parse_u32(k) < limit])
        elif target.info.type in (HASH, LPM_TRIE, LRU_HASH):
            # In a hash a zero is an entry; in an array it is the absence of one.
            target.update_many([(k, v) for k, v in _entries(source) if source.info.type != ARRAY or any(v)])

    def complete(self) -> None:
        """After the swap: add to the counters what the old program counted since they were copied.

        What the new program counts during the few microseconds of an addition is lost.
        """
        for source, target, known in self._counters:
            flood = global_counters_at(source.info.entries) + FLOOD if source.info.name == "stats" else -1
            missed = {
                key: _subtract(value, known[key])
                for key, value in source.items()
                if value != known[key] and layout.parse_u32(key) != flood
            }
            for key, value in self._placed(source, target, missed):
                there = target.lookup(key)
                if there is not None:
                    target.update(key, _add(there, value))
        self._counters.clear()

    def _placed(self, source: Map, target: Map, entries: Mapping[bytes, bytes]) -> Iterator[tuple[bytes, bytes]]:
        """Counters under their index in the new map: in `stats` the global ones begin at the number of VIPs."""
        before, after = (global_counters_at(each.info.entries) for each in (source, target))
        for key, value in entries.items():
            index = layout.parse_u32(key)
            if source.info.name == "stats":
                if index >= before:
                    index += after - before
                elif index >= after:
                    continue
            if index < target.info.entries:
                yield layout.u32(index), value

    def _copy_rings(self, source: Map, target: Map) -> None:
        """The rings that exist, or, where the ring's size changed, rings built anew."""
        size = self.new["ring"] * SLOT
        numbers = self.state.vip_numbers.assigned
        with target.mmap(writable=True) as slots:
            if self.old.get("ring") == self.new["ring"]:
                with source.mmap(writable=False) as present:
                    for number in numbers.values():
                        slots[number * size : (number + 1) * size] = present[number * size : (number + 1) * size]
                return
            words = words_of(self.state)
            vips = vips_from_config(self.state.vips)
            jobs = [(str(key), vip, ring_members(vip, words)) for key, vip in sorted(vips.items())]
            jobs = [job for job in jobs if job[2]]
            rings = build_rings([(members, self.new["ring"], vip.hash) for _key, vip, members in jobs])
            for (key, vip, members), ring in zip(jobs, rings, strict=True):
                ids = [self.state.real_id(address) for address, _weight in members]
                built = ring_slots(ring, ids)
                number = self.state.vip_number(key)
                slots[number * size : (number + 1) * size] = built
                inputs = ring_inputs(vip, self.new["ring"], members, ids)
                self.rings[key] = [inputs, digest(built)]


def _words(value: bytes) -> list[int]:
    return list(struct.unpack(f"={len(value) // 8}Q", value))


def _subtract(value: bytes, known: bytes) -> bytes:
    words = [(new - old) & 0xFFFFFFFFFFFFFFFF for new, old in zip(_words(value), _words(known), strict=True)]
    return struct.pack(f"={len(words)}Q", *words)


def _add(value: bytes, missed: bytes) -> bytes:
    words = [(new + old) & 0xFFFFFFFFFFFFFFFF for new, old in zip(_words(value), _words(missed), strict=True)]
    return struct.pack(f"={len(words)}Q", *words)


def _entries(source: Map) -> Iterable[tuple[bytes, bytes]]:
    if source.info.type == ARRAY and source.info.flags & MMAPABLE:
        return nonzero_entries(source)
    return source.items()


def _copy_down_sets(old: Map, new: Map, by_id: ById) -> None:
    for key, value in old.items():
        with by_id(layout.parse_u32(value)) as inner:
            new.update(key, layout.u32(inner.fd))
