# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The operations on a balancer's maps: what a plan is made of."""

from __future__ import annotations

import hashlib
import typing as t
from array import array
from collections.abc import Iterable
from dataclasses import dataclass

from .layout import SLOT
from .map_specs import VIP_INDEX
from .ring_slots import ring_slots


@dataclass(frozen=True)
class Put:
    """Write these entries of one map."""

    map: str
    entries: tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True)
class Delete:
    """Remove these keys of one map (in an array: write zero)."""

    map: str
    keys: tuple[bytes, ...]


@dataclass(frozen=True)
class PutRing:
    """Make a VIP's ring this one: per slot an index into `ids`; `changed` slots differ from what is there."""

    number: int
    ring: array[int] | None
    ids: tuple[int, ...]
    changed: int

    def slots(self, ring_size: int) -> bytes:
        """The ring as ch_rings holds it: 8 bytes a slot; all zero where the VIP has no active real."""
        return bytes(ring_size * SLOT) if self.ring is None else ring_slots(self.ring, self.ids)


class SharedSlots:
    """The slots of rings that many VIPs share, made once: of the last few, as each takes half a megabyte."""

    _KEPT = 8

    def __init__(self, ring_size: int) -> None:
        self._ring_size = ring_size
        self._known: dict[tuple[int, tuple[int, ...]], tuple[PutRing, bytes]] = {}
        self._digests: dict[tuple[int, tuple[int, ...]], str] = {}

    def of(self, put: PutRing) -> bytes:
        """What PutRing.slots makes."""
        # The operation is kept as well, so that no other ring gets the place in memory that stands for its own.
        key = id(put.ring), put.ids
        if key not in self._known:
            if len(self._known) >= self._KEPT:
                oldest = next(iter(self._known))
                del self._known[oldest]
                self._digests.pop(oldest, None)
            self._known[key] = put, put.slots(self._ring_size)
        return self._known[key][1]

    def digest(self, put: PutRing) -> str:
        """The digest of that."""
        slots, key = self.of(put), (id(put.ring), put.ids)
        if key not in self._digests:
            self._digests[key] = digest(slots)
        return self._digests[key]


@dataclass(frozen=True)
class BlankSlots:
    """Zero the slots of a VIP's ring that lead to these reals: only where ids must be reused within the run."""

    number: int
    ids: frozenset[int]
    changed: int


@dataclass(frozen=True)
class PutDownSet:
    """Replace a VIP's set of down reals."""

    key: bytes
    ids: frozenset[int]


@dataclass(frozen=True)
class DeleteDownSet:
    """Remove a VIP's set of down reals."""

    key: bytes


@dataclass(frozen=True)
class PurgeFlows:
    """Remove connection-table entries of these reals, so that a reused id inherits no flow."""

    ids: frozenset[int]


@dataclass(frozen=True)
class ZeroCounters:
    """Zero entries of a counter array, so that a reused number inherits no count."""

    map: str
    indexes: tuple[int, ...]


@dataclass(frozen=True)
class PutIndex:
    """Let the program look into this index for exact VIPs, once it is there as a whole."""

    slots: tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True)
class DropIndex:
    """Let the program ask vip_map itself."""


Operation = t.Union[
    Put, Delete, PutRing, BlankSlots, PutDownSet, DeleteDownSet, PurgeFlows, ZeroCounters, PutIndex, DropIndex
]


def map_of(operation: Operation) -> str:
    """The map that an operation is about; of purges, the outermost one."""
    match operation:
        case PutRing() | BlankSlots():
            return "ch_rings"
        case PutDownSet() | DeleteDownSet():
            return "vip_to_down_reals_map"
        case PurgeFlows():
            return "lru_mapping"
        case PutIndex() | DropIndex():
            return VIP_INDEX
    return operation.map


def count(operations: Iterable[Operation]) -> dict[str, int]:
    """Entries written per map; ring slots counted as slots. Purges and resets are not configuration."""
    found: dict[str, int] = {}
    for each in operations:
        match each:
            case Put():
                entries = len(each.entries)
            case Delete():
                entries = len(each.keys)
            case PutRing() | BlankSlots():
                entries = each.changed
            case PutDownSet() | DeleteDownSet():
                entries = 1
            case PutIndex() | DropIndex():
                # Taken away and put back, it has changed once.
                found[VIP_INDEX] = 1
                continue
            case _:
                continue
        if entries:
            found[map_of(each)] = found.get(map_of(each), 0) + entries
    return dict(sorted(found.items()))


def digest(slots: bytes | memoryview) -> str:
    """The digest by which a live ring is compared with the one that was written."""
    return hashlib.sha256(slots).hexdigest()


def blank(live: memoryview, ids: frozenset[int]) -> bytes:
    """A ring's slots with those of these reals zeroed."""
    slots = live.cast("Q")
    return b"".join((0 if value in ids else value).to_bytes(SLOT, "little") for value in slots)
