# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A balancer's maps in memory.

Unit tests run on them, and a run in check mode plans against them on a host where nothing is loaded.
"""

from __future__ import annotations

import errno
import os
import typing as t
from collections.abc import Iterable, Mapping, Sequence

from .._model import layout
from .._model.layout import SLOT
from .._model.map_specs import ARRAY, VIP_INDEX, MapSpec, Shape, balancer_maps
from .._model.vip_entries import INDEXED_MAPS
from .._model.vip_index import build_index
from .maps import Maps


class MemoryMaps:
    """Maps in memory: those of a balancer of this shape, or others."""

    def __init__(self, shape: Shape, specs: Iterable[MapSpec] | None = None) -> None:
        found = balancer_maps(shape).values() if specs is None else specs
        self._specs: dict[str, MapSpec] = {spec.name: spec for spec in found}
        self._shape = shape
        self._ring_size = shape.sizes["ring"]
        self._entries: dict[str, dict[bytes, bytes]] = {name: {} for name in self._specs}
        self._rings: dict[int, bytearray] = {}
        self._down: dict[bytes, frozenset[int]] = {}
        self._index: dict[bytes, bytes] | None = None
        self.flows: dict[bytes, int] = {}
        self.writes: dict[str, int] = {}

    def _written(self, name: str, count: int) -> None:
        if count:
            self.writes[name] = self.writes.get(name, 0) + count

    def names(self) -> frozenset[str]:
        """The maps of this shape."""
        return frozenset(self._specs)

    def capacity(self, name: str) -> int:
        """How many entries the map can hold."""
        return self._specs[name].entries(self._shape.sizes)

    def entries(self, name: str) -> dict[bytes, bytes]:
        """All entries; of an array the nonzero ones."""
        return dict(self._entries[name])

    def put(self, name: str, entries: Sequence[tuple[bytes, bytes]]) -> None:
        """Write entries; E2BIG where the map is full or the index is outside the array."""
        spec = self._specs[name]
        target = self._entries[name]
        for key, value in entries:
            if len(key) != spec.key_size or len(value) != spec.value_size:
                raise OSError(errno.EINVAL, f"{name}: {len(key)} → {len(value)} bytes")
            if spec.type == ARRAY:
                if layout.parse_u32(key) >= self.capacity(name):
                    raise OSError(errno.E2BIG, os.strerror(errno.E2BIG))
                if not any(value):
                    target.pop(key, None)
                    self._written(name, 1)
                    continue
            elif key not in target and len(target) >= self.capacity(name):
                raise OSError(errno.E2BIG, os.strerror(errno.E2BIG))
            target[key] = value
            self._written(name, 1)

    def delete(self, name: str, keys: Sequence[bytes]) -> None:
        """Remove entries."""
        for key in keys:
            self._entries[name].pop(key, None)
            self._written(name, 1)

    def ring_size(self) -> int:
        """How many slots a VIP's ring has."""
        return self._ring_size

    def ring(self, number: int) -> memoryview:
        """The slots of a VIP's ring."""
        if number not in self._rings:
            self._rings[number] = bytearray(self._ring_size * SLOT)
        return memoryview(self._rings[number])

    def put_ring(self, number: int, slots: bytes, changed: int) -> None:
        """Write the slots that differ."""
        live = self.ring(number).cast("Q")
        new = memoryview(slots).cast("Q")
        if changed * 8 > self._ring_size:
            self._written("ch_rings", sum(old != value for old, value in zip(live, new, strict=True)))
            live[:] = new
            return
        differing = [slot for slot in range(self._ring_size) if live[slot] != new[slot]]
        for slot in differing:
            live[slot] = new[slot]
        self._written("ch_rings", len(differing))

    def down_sets(self) -> dict[bytes, frozenset[int]]:
        """All sets."""
        return dict(self._down)

    def put_down_set(self, key: bytes, ids: frozenset[int]) -> None:
        """Replace a set."""
        if key not in self._down and len(self._down) >= self.capacity("vip_to_down_reals_map"):
            raise OSError(errno.E2BIG, os.strerror(errno.E2BIG))
        self._down[key] = ids
        self._written("vip_to_down_reals_map", 1)

    def delete_down_set(self, key: bytes) -> None:
        """Remove a set."""
        self._down.pop(key, None)
        self._written("vip_to_down_reals_map", 1)

    def index(self) -> dict[bytes, bytes] | None:
        """The VIP index; None while none is in force."""
        return self._index

    def put_index(self, slots: Sequence[tuple[bytes, bytes]]) -> None:
        """Let this be the VIP index; taken away before and put back, it has changed once."""
        self._index = dict(slots)
        self.writes[VIP_INDEX] = 1

    def drop_index(self) -> None:
        """Let no VIP index be in force."""
        self._index = None
        self.writes[VIP_INDEX] = 1

    def purge_flows(self, ids: frozenset[int]) -> int:
        """Remove flows to these reals."""
        gone = [key for key, real in self.flows.items() if real in ids]
        for key in gone:
            del self.flows[key]
        return len(gone)

    def zero_counters(self, name: str, indexes: Iterable[int]) -> None:
        """The memory counts nothing."""

    def snapshot(self) -> Mapping[str, t.Any]:
        """Everything, for comparison in tests."""
        return {
            "entries": {name: dict(entries) for name, entries in self._entries.items()},
            "rings": {number: bytes(ring) for number, ring in self._rings.items() if any(ring)},
            "down": dict(self._down),
            "index": None if self._index is None else dict(self._index),
        }


class PlannedMaps(MemoryMaps):
    """For a review: what is there, in the maps of a balancer that the same play is to make. Only to be read.

    A ring keeps its length: what another one changes, module balancer does by itself. `loads`: whether it loads a
    program, for which it puts the VIP index right as well.
    """

    def __init__(self, present: Maps, shape: Shape, loads: bool = False) -> None:
        super().__init__(shape)
        self._present = present
        self._loads = loads
        self._vips = present.capacity("server_id_stats")
        self._ring_size = present.ring_size()

    def capacity(self, name: str) -> int:
        """How many entries the map will hold."""
        if name == "ch_rings":
            return self.capacity("server_id_stats") * self._ring_size
        return super().capacity(name)

    def entries(self, name: str) -> dict[bytes, bytes]:
        """All entries that are there now."""
        return self._present.entries(name) if name in self._present.names() else {}

    def ring(self, number: int) -> memoryview:
        """The slots of a VIP's ring now."""
        return self._present.ring(number) if number < self._vips else super().ring(number)

    def index(self) -> dict[bytes, bytes] | None:
        """The one that is there, or that module balancer makes of the VIPs that are there."""
        present = self._present
        fits = VIP_INDEX in present.names() and present.capacity(VIP_INDEX) == self.capacity(VIP_INDEX)
        if fits and not self._loads:
            index = present.index()
            return None if index is None else dict(index)
        vips, addresses = (self.entries(name) for name in INDEXED_MAPS)
        return build_index(vips, addresses, self.capacity(VIP_INDEX)) if vips else None

    def down_sets(self) -> dict[bytes, frozenset[int]]:
        """All sets that are there now."""
        return self._present.down_sets() if "vip_to_down_reals_map" in self._present.names() else {}
