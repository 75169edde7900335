# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a balancer's program counted, read often and cheaply: for metrics.

State.json of a large balancer takes longer to parse than all counters to read, so it is asked again only once it is
another file.
"""

from __future__ import annotations

import os
import typing as t
from contextlib import ExitStack
from dataclasses import dataclass, field

from .._kernel import bpf
from .._kernel.edges import KernelEdges
from .._kernel.maps import KernelMaps
from .._kernel.open_map import Map
from .._kernel.pins import Paths
from .._kernel.state_folder import StateFolder
from .._model import layout
from .._model.counters import DENIED, named
from .._model.on_record import ProgramOnRecord, program_on_record
from .._model.pinned import PinnedMaps
from .._model.source_entries import DENIED_MAP
from .._model.vip_entries import VIP_MAPS, known_metas
from .._model.vips import VipKey
from .._program.own_pins import balancer_pins
from .flows import FLOW_TABLES, open_flow_tables

Pair = tuple[int, int]


@dataclass(frozen=True)
class Counted:
    """What is counted since the program's maps were made.

    `named`: counter of the whole balancer → its value; `vips`, `reals`: (packets, bytes) of each; `denied`: likewise of
    the clients that a VIP's lists keep out, for VIPs that have lists.
    """

    named: dict[str, int] = field(default_factory=dict)
    vips: dict[VipKey, Pair] = field(default_factory=dict)
    reals: dict[str, Pair] = field(default_factory=dict)
    denied: dict[VipKey, Pair] = field(default_factory=dict)


class CounterReader:
    """Reads the counters of one instance; keeps what takes long to find out."""

    def __init__(self, instance: str, bpffs: str) -> None:
        self.file = StateFolder(instance, bpffs)
        self.paths = Paths(bpffs, instance, "balancer")
        self._stamp: t.Any = None
        self._record = ProgramOnRecord()

    def read(self) -> Counted:
        """All counters; empty where no balancer is loaded. OSError where a map does not let itself be read."""
        with self._open() as maps:
            return counted(maps)

    def fill(self) -> dict[str, Pair]:
        """Map of flow tables → (entries, capacity) of its fullest table. It looks at every flow."""
        found: dict[str, Pair] = {}
        with self._open() as maps, ExitStack() as stack:
            if not {"lru_mapping", "fallback_cache"} <= maps.names():
                return {}
            for table in open_flow_tables(maps, stack):
                entries = sum(count for _keys, _values, count in table.map.batches())
                capacity = table.map.info.entries
                best = found.get(table.name)
                if best is None or entries * best[1] > best[0] * capacity:
                    found[table.name] = entries, capacity
        return {name: found[name] for pair in FLOW_TABLES for name in pair if name in found}

    def _open(self) -> KernelMaps:
        """The maps of the program on record, whatever is pinned."""
        if not bpf.is_bpffs(self.paths.bpffs):
            found = PinnedMaps()
        else:
            found = balancer_pins(KernelEdges(), self.paths, self._on_record())
        return KernelMaps(self.paths.maps, found.lost, hidden=found.strays)

    def _on_record(self) -> ProgramOnRecord:
        try:
            status = os.stat(os.path.join(self.file.directory, "state.json"))
        except FileNotFoundError:
            return ProgramOnRecord()
        stamp = status.st_ino, status.st_mtime_ns, status.st_size
        if stamp != self._stamp:
            self._record, self._stamp = program_on_record(self.file.read_file("state.json")), stamp
        return self._record


def counted(maps: KernelMaps) -> Counted:
    """What the counters among these maps say; nothing where they are not a balancer's."""
    if not {"vip_map", "stats", "reals", "reals_stats"} <= maps.names():
        return Counted()
    stats = _pairs(maps.map("stats"))
    whole = named(lambda index: stats.get(index, (0, 0)), maps.capacity("server_id_stats"))
    metas = known_metas({name: maps.entries(name) for name in VIP_MAPS if name in maps.names()})
    vips = {key: stats.get(number, (0, 0)) for key, (_bits, number) in metas.items()}
    denied: dict[VipKey, Pair] = {}
    if DENIED_MAP in maps.names():
        out = _pairs(maps.map(DENIED_MAP))
        whole[DENIED] = sum(packets for packets, _size in out.values())
        filtered = {key: number for key, (bits, number) in metas.items() if bits & layout.SOURCE_FILTER}
        denied = {key: out.get(number, (0, 0)) for key, number in filtered.items()}
    per_real, reals = _pairs(maps.map("reals_stats")), {}
    for key, value in maps.entries("reals").items():
        packed, flags = layout.parse_real_definition(value)
        address = layout.unpack_address(packed, bool(flags & layout.REAL_IPV6))
        reals[address] = per_real.get(layout.parse_u32(key), (0, 0))
    return Counted(whole, vips, reals, denied)


def _pairs(opened: Map) -> dict[int, Pair]:
    """Index → (v1, v2) of a per-CPU array of lb_stats, summed over CPUs, without those that are zero."""
    found = {}
    empty = bytes(opened.stride)
    for keys, values, count in opened.batches():
        numbers = memoryview(keys).cast("I")
        for at in range(count):
            value = values[at * opened.stride : (at + 1) * opened.stride]
            if value != empty:
                first, second = layout.sum_cpus(value, 2)
                found[numbers[at]] = first, second
    return found
