# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading what there is of a balancer's program: the one place that looks, before a plan is made."""

from __future__ import annotations

import typing as t
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial

from .._kernel.balancer_edges import BalancerEdges
from .._kernel.edges import pinned_info
from .._kernel.maps import KernelMaps
from .._kernel.state_files import StateFile
from .._model import layout
from .._model.balancer_snapshot import BalancerSnapshot
from .._model.flow_table_plan import FLOW_TABLES, cpus_of, shrinking
from .._model.map_specs import BALANCER_SOURCES, VIP_INDEX, balancer_maps
from .._model.size_plan import asks_room, has_contents, maps_to_migrate, seeds_hash, sizes_of
from .._model.slot_plan import occupant
from .._model.snapshot import Attachment, GatewayAnswer, MapInfo, Missing, RootArray
from .._model.source_plan import source_of
from .._model.state import State
from .._model.vip_entries import INDEXED_MAPS
from .._model.wanted import Wanted
from .._program.flow_tables import count_entries, tables_in
from .._program.home import Home, attempt
from .._program.macros import balancer_macros
from .._program.migration import read_room
from .._program.own_pins import balancer_pins
from .._program.rehash import count_moves
from .._program.swap import PREVIOUS_FILE
from .recovery import recovered

_FAMILIES = ("IPv4", "IPv6")


class BalancerReader:
    """Reads the state and the host of one balancer."""

    def __init__(self, home: Home[t.Any], edges: BalancerEdges, file: StateFile) -> None:
        self.home, self.edges, self.file = home, edges, file

    def known(self) -> State:
        """The state; where its file was lost, as far as the maps tell it."""
        state = self.file.read()
        if state.lost:
            found = balancer_pins(self.edges, self.home.paths, state.program)
            if found.of_balancer:
                with self._maps(found.lost, found.strays) as maps:
                    return recovered(self.file, state, maps)
        return state

    def _maps(self, lost: Mapping[str, int], strays: Collection[str]) -> KernelMaps:
        return KernelMaps(self.home.paths.maps, lost, self.edges, strays)

    def digest(self, wanted: Wanted) -> str | Missing | None:
        """The digest of what a compile would take; None where what is kept is to be used."""
        return None if wanted.kept else self.home.digest(wanted.source_dir, balancer_macros(wanted.settings))

    def places(
        self, state: State, wanted: Wanted | None = None, digest: str | Missing | None = None
    ) -> BalancerSnapshot:
        """The programs, where they run, and which maps there are."""
        edges, program = self.edges, state.program
        held = program.foreign
        arrays: set[RootArray | None] = {program.slot, wanted.slot if wanted else None, held.slot if held else None}
        slots = {each.path: attempt(partial(edges.slots, each.path)) for each in arrays if each is not None}
        there = attempt(edges.attachments)
        attached: Mapping[str, Attachment] | Missing
        attached = there if isinstance(there, Missing) else {each.interface: each for each in there}
        places: Mapping[str, Attachment] = {} if isinstance(attached, Missing) else attached
        running = [each.program_id for each in places.values()]
        running += [number for array in slots.values() if not isinstance(array, Missing) for number in array.values()]
        placed = [places[name].program_id for name in program.interfaces if name in places]
        if program.slot is not None and (number := occupant(slots, program.slot)) is not None:
            placed.append(number)
        interfaces = wanted.interfaces if wanted else program.interfaces
        halfway = program.next is not None
        common = self.home.read_running(program, interfaces, digest, attached, running, placed, halfway)
        found = BalancerSnapshot(
            **vars(common),
            previous=self.home.bytecode(PREVIOUS_FILE),
            slots=slots,
            held=pinned_info(edges, self.home.paths.foreign),
        )
        return replace(found, katrans=self._katrans(found, state, wanted))

    def _katrans(self, seen: BalancerSnapshot, state: State, wanted: Wanted | None) -> dict[int, int]:
        """The Katrans that may be replaced: their programs' ids → how many VIPs they have."""
        if wanted is None or not wanted.settings.replace_foreign:
            return {}
        numbers = {seen.attachments[name].program_id for name in wanted.interfaces if name in seen.attachments}
        if wanted.slot is not None and (there := occupant(seen.slots, wanted.slot)) is not None:
            numbers.add(there)
        others = numbers.difference(seen.ours_by(state.program), seen.residents)
        found = {}
        for number in others:
            info = seen.running.get(number)
            names = self._maps_by_name(info.map_ids if info else ())
            if {"vip_map", "reals", "lru_mapping"} <= names.keys():
                with self.edges.open_map_by_id(names["vip_map"]) as vips:
                    found[number] = count_entries(vips)
        return found

    def _maps_by_name(self, map_ids: Iterable[int]) -> dict[str, int]:
        found: dict[str, int] = {}
        for number in map_ids:
            with suppress(FileNotFoundError), self.edges.open_map_by_id(number) as opened:
                found.setdefault(opened.info.name, number)
        return found

    def everything(
        self, state: State, wanted: Wanted, digest: str | Missing | None, asked: Sequence[GatewayAnswer]
    ) -> BalancerSnapshot:
        """All that a plan depends on. `asked`: what the gateway answered before."""
        seen = self.places(state, wanted, digest)
        settings, edges = wanted.settings, self.edges
        gateway: GatewayAnswer | Missing | None = None
        if settings.gateway_mac == "auto":
            gateway = attempt(lambda: edges.ask_gateway(settings.interfaces, False, not asked))
            if asked and isinstance(gateway, GatewayAnswer):
                gateway = gateway.upheld(asked[0])
        own: Mapping[str, str | Missing | None] = {}
        if "pckt_srcs" in balancer_maps(settings):
            own = {family: attempt(partial(edges.own_address, family, settings.interfaces)) for family in _FAMILIES}
        receive = edges.forwarding_cpus(settings.interfaces) if isinstance(settings.forwarding_cores, str) else []
        seen = replace(
            seen,
            cpus=tuple(receive),
            possible=edges.possible_cpus(),
            nodes=len(edges.numa_nodes()),
            gateway=gateway,
            own=own,
            mtus={name: edges.mtu(name) for name in wanted.interfaces} if wanted.links else {},
        )
        with self._maps(seen.lost, seen.strays) as maps:
            return self._contents(maps, state, wanted, seen)

    def _contents(self, maps: KernelMaps, state: State, wanted: Wanted, seen: BalancerSnapshot) -> BalancerSnapshot:
        """What is in the maps."""
        settings = wanted.settings
        tables = {
            name: tables_in(maps.map(name), self.edges.open_map_by_id) for name in FLOW_TABLES if name in seen.maps
        }
        cpus = cpus_of(settings, seen.cpus, seen.possible)
        smaller = shrinking(settings, cpus, tables.get("lru_mapping", {}))
        migrate = maps_to_migrate(settings, seen.maps) if has_contents(state, seen) else []
        moves = None
        if migrate and seeds_hash(settings, seen.maps) and not state.lost:
            moves = count_moves(maps, state, sizes_of(seen.maps), settings.sizes)
        room = {name: read_room(maps.map(name)) for name in migrate if asks_room(name, seen.maps[name], settings)}
        return replace(
            seen,
            tables=tables,
            flows={cpu: self._count(info) for cpu, info in smaller.items()},
            unfinished="lru_outgrown" in seen.maps and any(maps.map("lru_outgrown").items()),
            values=_values(maps, seen),
            room=room,
            moves=moves,
            vips={name: maps.entries(name) for name in INDEXED_MAPS if name in seen.maps},
            index=maps.index() if VIP_INDEX in seen.maps else None,
            tunnel_sources=tuple(
                sorted(source_of(key) for name in BALANCER_SOURCES if name in seen.maps for key in maps.entries(name))
            ),
        )

    def _count(self, info: MapInfo) -> int:
        with self.edges.open_map_by_id(info.id) as table:
            return count_entries(table)


def _values(maps: KernelMaps, seen: BalancerSnapshot) -> dict[str, dict[int, bytes]]:
    """The entries that a plan compares: map → index → entry."""
    found = {}
    for name, indexes in (("ctl_array", (layout.CTL_GATEWAY_MAC,)), ("pckt_srcs", range(len(_FAMILIES)))):
        if name in seen.maps:
            entries = {index: maps.map(name).lookup(layout.u32(index)) for index in indexes}
            found[name] = {index: entry for index, entry in entries.items() if entry is not None}
    if "vip_learned" in seen.maps:
        found["vip_learned"] = {layout.parse_u32(key): entry for key, entry in maps.entries("vip_learned").items()}
    return found
