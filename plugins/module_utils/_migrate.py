# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Moving a balancer's state to maps of other sizes while packets flow.

What the control plane writes (VIPs, reals, rings, routes) stands still under the lock and is copied before the swap.
What packets write (connection tables, counters) is copied before the swap, and what came in between after it.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from ansible_collections.katran.fleet.plugins.module_utils import _kernel as kernel
from ansible_collections.katran.fleet.plugins.module_utils import _layout as layout
from ansible_collections.katran.fleet.plugins.module_utils import _plan as planning
from ansible_collections.katran.fleet.plugins.module_utils._config import (
    Overlay,
    VipKey,
    vips_from_config,
)
from ansible_collections.katran.fleet.plugins.module_utils._program import ProgramError
from ansible_collections.katran.fleet.plugins.module_utils._ring import build_rings, flow_slot, ring_slots
from ansible_collections.katran.fleet.plugins.module_utils._state import State

SAMPLE = 2000
"""Flows whose new place is computed to estimate how many move: enough for a figure within two per cent."""

_FLOOD = 2
"""Index after the number of VIPs in `stats`: its second number is a time, not a count."""

_SIZE_OF = {
    "vip_lpm_map": "cidr_vips",
    "vip_lpm4_map": "cidr_vips",
    "vip_address_lpm4": "cidr_vips",
    "vip_address_lpm6": "cidr_vips",
    "lpm_src_v4": "source_routes",
    "lpm_src_v6": "source_routes",
    "server_id_map": "server_ids",
    "decap_dst": "vips",
    "vip_map": "vips",
    "vip_addresses": "vips",
}
"""Map whose entries the control plane writes → the size that limits it."""


def sizes_of(infos: Mapping[str, kernel.MapInfo]) -> dict[str, int]:
    """The sizes that maps show: those of `sizes` that no table of flows is made of."""
    found = {}
    if "stats" in infos:
        found["vips"] = layout.global_counters_at(infos["stats"].entries)
        if "ch_rings" in infos:
            found["ring"] = infos["ch_rings"].entries // found["vips"]
    if "reals" in infos:
        found["reals"] = infos["reals"].entries
    for name, size in _SIZE_OF.items():
        if name in infos:
            found.setdefault(size, infos[name].entries)
    return found


def check_room(
    state: State, sizes: Mapping[str, int], features: Collection[str], maps: Mapping[str, kernel.Map]
) -> None:
    """ProgramError where something that is in the maps would not fit into those of the new sizes and features.

    `maps`: the maps that are to be migrated, by name.
    """
    for name, ids, noun in (("vips", state.vip_numbers, "VIP"), ("reals", state.real_ids, "real")):
        over = [key for key, number in sorted(ids.assigned.items()) if number >= sizes[name]]
        if over:
            raise ProgramError(
                f"sizes.{name}: {noun} {over[0]} has number {ids.assigned[over[0]]}, which does not fit into"
                f" {sizes[name]}; remove it first or choose a larger size"
            )
    for name, old in maps.items():
        size = _SIZE_OF.get(name)
        if size is None:
            continue
        if name == "server_id_map" and old.info.type == layout.HASH and "server_id_hash" not in features:
            highest = max((layout.parse_u32(key) for key, _value in old.items()), default=0)
            if highest >= sizes[size]:
                raise ProgramError(
                    f"features: server_id_hash cannot go while there is server id {highest}: without it they are less"
                    f" than sizes.server_ids ({sizes[size]}); remove it first"
                )
        if sizes[size] >= old.info.entries:
            continue
        keys = [key for key, value in _entries(old) if old.info.type != layout.ARRAY or any(value)]
        highest = max(map(layout.parse_u32, keys), default=0) if old.info.type == layout.ARRAY else 0
        if highest >= sizes[size]:
            raise ProgramError(
                f"sizes.{size}: id {highest} of map {name} does not fit into {sizes[size]};"
                " remove it first or choose a larger size"
            )
        if len(keys) > sizes[size]:
            raise ProgramError(
                f"sizes.{size}: map {name} has {len(keys)} entries, which do not fit into {sizes[size]};"
                " remove some first or choose a larger size"
            )


@dataclass
class Migration:
    """The maps of one balancer on their way to another size. `old` and `new`: the sizes, by name."""

    state: State
    old: Mapping[str, int]
    new: Mapping[str, int]
    rings: dict[str, list[str]] = field(default_factory=dict)
    """The digests of rings that were built anew, as in the state."""
    _counters: list[tuple[kernel.Map, kernel.Map, dict[bytes, bytes]]] = field(default_factory=list)

    def copy(self, name: str, source: kernel.Map, target: kernel.Map) -> None:
        """Copy a map's contents into one of another size (or type: server_id_map may be array or hash).

        Of counters, `source` and `target` must stay open until `complete`.
        """
        if name == "ch_rings":
            self._copy_rings(source, target)
        elif name == "vip_to_down_reals_map":
            _copy_down_sets(source, target)
        elif source.info.type == layout.PERCPU_ARRAY:
            found = dict(source.items())
            target.update_many([(key, value) for key, value in self._placed(source, target, found) if any(value)])
            self._counters.append((source, target, found))
        elif target.info.type == layout.ARRAY:
            limit = target.info.entries
            target.update_many([(k, v) for k, v in _entries(source) if any(v) and layout.parse_u32(k) < limit])
        elif target.info.type in (layout.HASH, layout.LPM_TRIE, layout.LRU_HASH):
            # In a hash a zero is an entry; in an array it is the absence of one.
            target.update_many([(k, v) for k, v in _entries(source) if source.info.type != layout.ARRAY or any(v)])

    def complete(self) -> None:
        """After the swap: add to the counters what the old program counted since they were copied.

        What the new program counts during the few microseconds of an addition is lost.
        """
        for source, target, known in self._counters:
            flood = layout.global_counters_at(source.info.entries) + _FLOOD if source.info.name == "stats" else -1
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

    def _placed(
        self, source: kernel.Map, target: kernel.Map, entries: Mapping[bytes, bytes]
    ) -> Iterator[tuple[bytes, bytes]]:
        """Counters under their index in the new map: in `stats` the global ones begin at the number of VIPs."""
        before, after = (layout.global_counters_at(each.info.entries) for each in (source, target))
        for key, value in entries.items():
            index = layout.parse_u32(key)
            if source.info.name == "stats":
                if index >= before:
                    index += after - before
                elif index >= after:
                    continue
            if index < target.info.entries:
                yield layout.u32(index), value

    def _copy_rings(self, source: kernel.Map, target: kernel.Map) -> None:
        """The rings that exist, or, where the ring's size changed, rings built anew."""
        size = self.new["ring"] * planning.SLOT
        numbers = self.state.vip_numbers.assigned
        with target.mmap(writable=True) as slots:
            if self.old["ring"] == self.new["ring"]:
                with source.mmap(writable=False) as present:
                    for number in numbers.values():
                        slots[number * size : (number + 1) * size] = present[number * size : (number + 1) * size]
                return
            overlay = _overlay(self.state)
            vips = vips_from_config(self.state.vips)
            jobs = [(str(key), vip, planning.ring_members(vip, overlay)) for key, vip in sorted(vips.items())]
            jobs = [job for job in jobs if job[2]]
            rings = build_rings([(members, self.new["ring"], vip.hash) for _key, vip, members in jobs])
            for (key, vip, members), ring in zip(jobs, rings, strict=True):
                ids = [self.state.real_ids.assigned[address] for address, _weight in members]
                built = ring_slots(ring, ids)
                slots[numbers[key] * size : (numbers[key] + 1) * size] = built
                inputs = planning.ring_inputs(vip, self.new["ring"], members, ids)
                self.rings[key] = [inputs, planning.digest(built)]


def _overlay(state: State) -> dict[str, Overlay]:
    return {entry["address"]: Overlay(**entry) for entry in state.overlay}


def _words(value: bytes) -> list[int]:
    return list(struct.unpack(f"={len(value) // 8}Q", value))


def _subtract(value: bytes, known: bytes) -> bytes:
    words = [(new - old) & 0xFFFFFFFFFFFFFFFF for new, old in zip(_words(value), _words(known), strict=True)]
    return struct.pack(f"={len(words)}Q", *words)


def _add(value: bytes, missed: bytes) -> bytes:
    words = [(new + old) & 0xFFFFFFFFFFFFFFFF for new, old in zip(_words(value), _words(missed), strict=True)]
    return struct.pack(f"={len(words)}Q", *words)


def _entries(source: kernel.Map) -> Iterable[tuple[bytes, bytes]]:
    if source.info.type == layout.ARRAY and source.info.flags & layout.MMAPABLE:
        return kernel.nonzero_entries(source)
    return source.items()


def _copy_down_sets(old: kernel.Map, new: kernel.Map) -> None:
    for key, value in old.items():
        with kernel.map_by_id(layout.parse_u32(value)) as inner:
            new.update(key, layout.u32(inner.fd))


# Connection tables


def table_sizes(total: int, cpus: Iterable[int]) -> dict[int, int]:
    """CPU → entries of its table; their sum is `total`, or one each where that is less."""
    numbers = sorted(cpus)
    share, rest = divmod(total, max(len(numbers), 1))
    return {cpu: max(share + (index < rest), 1) for index, cpu in enumerate(numbers)}


def tables_in(outer: kernel.Map) -> dict[int, kernel.MapInfo]:
    """CPU → its table in a map of maps."""
    found = {}
    for key, value in outer.items():
        # One that another process replaced meanwhile is gone.
        with contextlib.suppress(FileNotFoundError), kernel.map_by_id(layout.parse_u32(value)) as inner:
            found[layout.parse_u32(key)] = inner.info
    return found


def count_entries(table: kernel.Map) -> int:
    """How many entries a hash map has."""
    return sum(count for _keys, _values, count in table.batches())


def put_table(outer: kernel.Map, cpu: int, new: kernel.Map, outgrown: kernel.Map | None = None) -> None:
    """Give a CPU this table, with the flows of the one it had.

    With `outgrown` (lru_outgrown) the program finds there what the new table does not have yet. So no flow is missed,
    and none is found as it was: the old table no longer changes while it is copied, and what the new one learned since
    stays. Without it, as for tables that packets do not write, the flows are there before and what came last follows.
    """
    key = layout.u32(cpu)
    value = outer.lookup(key)
    if value is None:
        outer.update(key, layout.u32(new.fd))
        return
    with kernel.map_by_id(layout.parse_u32(value)) as old:
        if outgrown is None:
            new.insert_many(old.items())
        else:
            outgrown.update(key, layout.u32(old.fd))
        # The kernel returns from this when no CPU uses the old one any more.
        outer.update(key, layout.u32(new.fd))
        new.insert_many(old.items())
        if outgrown is not None:
            outgrown.delete(key)


def finish_tables(outer: kernel.Map, outgrown: kernel.Map) -> None:
    """Finish what a run did that was killed while it replaced tables."""
    for key, value in dict(outgrown.items()).items():
        there = outer.lookup(key)
        with kernel.map_by_id(layout.parse_u32(value)) as old:
            if there is not None and there != value:
                with kernel.map_by_id(layout.parse_u32(there)) as new:
                    new.insert_many(old.items())
            outgrown.delete(key)


def take_table(outer: kernel.Map, cpu: int, heirs: Iterable[int]) -> None:
    """Take a CPU's connection table away; the tables of the CPUs that its packets may go to get its flows."""
    key = layout.u32(cpu)
    value = outer.lookup(key)
    if value is None:
        return
    with kernel.map_by_id(layout.parse_u32(value)) as old:
        outer.delete(key)
        for heir in heirs:
            there = outer.lookup(layout.u32(heir))
            if there is not None:
                with kernel.map_by_id(layout.parse_u32(there)) as table:
                    table.insert_many(old.items())


# Flows that move


class _Chooser:
    """Which real the rings choose for a flow of a connection table, before and after."""

    def __init__(self, state: State, sizes: Mapping[str, int]) -> None:
        self.state = state
        self.sizes = sizes
        self.overlay = _overlay(state)
        self.vips = vips_from_config(state.vips)
        self.exact = {(key.packed, key.port, key.protocol): key for key in self.vips if key.prefixlen is None}
        self.prefixes = sorted(
            (key for key in self.vips if key.prefixlen is not None), key=lambda key: key.prefixlen or 0, reverse=True
        )
        self.rings: dict[VipKey, list[int]] = {}

    def vip_of(self, destination: bytes, port: int, protocol: str) -> VipKey | None:
        """The VIP that learned a flow; of a VIP matched otherwise than exactly, the flow's port is 0."""
        found = self.exact.get((destination, port, protocol)) or self.exact.get((destination, 0, protocol))
        return found or next(
            (key for key in self.prefixes if key.protocol == protocol and _covers(key, destination)), None
        )

    def slot(self, flow: bytes, key: VipKey, sizes: Mapping[str, int]) -> int:
        """The slot of the VIP's ring that the flow takes under these sizes."""
        source, _destination, sport, dport, _protocol = layout.parse_flow_key(flow)
        address = source if key.ipv6 else source[:4]
        flags = self.vips[key].flags
        return flow_slot(address, sport, dport, max_vips=sizes["vips"], ring_size=sizes["ring"], flags=flags)

    def new_real(self, flow: bytes, key: VipKey) -> int:
        """The id of the real that the new ring chooses; 0 where there is none."""
        if key not in self.rings:
            members = planning.ring_members(self.vips[key], self.overlay)
            slots = bytes(planning.SLOT * self.sizes["ring"])
            if members:
                ring = build_rings([(members, self.sizes["ring"], self.vips[key].hash)])[0]
                slots = ring_slots(ring, [self.state.real_ids.assigned[address] for address, _weight in members])
            self.rings[key] = list(struct.unpack(f"={self.sizes['ring']}Q", slots))
        return self.rings[key][self.slot(flow, key, self.sizes)]


def _covers(key: VipKey, address: bytes) -> bool:
    shift = (128 if key.ipv6 else 32) - (key.prefixlen or 0)
    length = 16 if key.ipv6 else 4
    if not key.ipv6 and any(address[4:]):
        return False
    first, second = (int.from_bytes(packed[:length], "big") for packed in (key.packed, address))
    return first >> shift == second >> shift


def count_moves(
    maps: kernel.KernelMaps, state: State, old: Mapping[str, int], new: Mapping[str, int]
) -> tuple[int, int]:
    """(flows in the tables, how many of them another ring size or VIP limit sends elsewhere), from a sample.

    The flow hash is seeded with max_vips × ring_size, so every flow that no table knows is chosen anew. A flow that the
    present ring would not send where it goes (since it was learned, the ring changed) is not moved by the sizes.
    """
    flows: list[tuple[bytes, int]] = []
    total = 0
    for table in maps.flow_tables():
        stride = table.info.value_size
        for keys, values, count in table.batches():
            total += count
            flows += [
                (keys[index * 40 : index * 40 + 40], layout.parse_u32(values[index * stride :]))
                for index in range(min(count, SAMPLE - len(flows)))
            ]
    chooser = _Chooser(state, new)
    moved = 0
    for flow, real in flows:
        _source, destination, _sport, dport, protocol = layout.parse_flow_key(flow)
        key = chooser.vip_of(destination, dport, layout.PROTOCOL_NAMES.get(protocol, ""))
        if key is None or str(key) not in state.vip_numbers.assigned:
            continue
        ring = maps.ring(state.vip_numbers.assigned[str(key)]).cast("Q")
        if ring[chooser.slot(flow, key, old)] == real:
            moved += chooser.new_real(flow, key) != real
    return total, round(moved * total / len(flows)) if flows else 0
