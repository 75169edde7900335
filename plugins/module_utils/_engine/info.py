# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything that a balancer can tell, read and never written."""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Collection, Mapping
from functools import cached_property, partial

from .._kernel import bpf
from .._kernel.edges import KernelEdges
from .._kernel.lock import locked
from .._kernel.maps import KernelMaps
from .._kernel.pins import Paths, pinned_program
from .._kernel.ring_workers import each_ring
from .._kernel.state_files import StateFile
from .._kernel.xdp import attachments
from .._model import layout
from .._model.counters import DENIED, named
from .._model.errors import EngineError
from .._model.flow_selection import Selection
from .._model.kernel_view import KernelView, table_differences
from .._model.map_specs import MAPS
from .._model.overlay import overlay_of
from .._model.references import other_references
from .._model.resources import OF_BALANCER
from .._model.snapshot import Attachment, ProgramInfo
from .._model.source_entries import DENIED_MAP
from .._model.state import State
from .._model.tables import BALANCER_TABLES
from .._model.vip_entries import VIP_MAPS, known_keys
from .._model.vips import vip_to_config, vips_from_config
from .._program.own_pins import balancer_pins
from .._program.requirements import require_capabilities
from .checks_info import checks_info
from .flows import real_names, search
from .healthcheck_info import healthcheck_info
from .known_tables import AnyTable, known_table
from .look import Kind, find_kinds
from .opened import read_actual
from .ready_info import ready_info
from .real_status import read_real
from .recovery import recovered
from .request import Request
from .status import read_status

_ROUTED_BY_ID = {
    "quic": ("quic_stats_map", layout.QUIC_COUNTERS),
    "tcp": ("tpr_stats_map", layout.TPR_COUNTERS),
    "udp": ("stable_rt_stats", layout.STABLE_RT_COUNTERS),
}
"""What carries server ids → the map that counts how such packets were routed, and its fields."""

SUBSETS = ("program", *OF_BALANCER, "rings", "checks", "ready", "healthcheck", "counters", "flows", "maps", "status")
"""What can be asked for."""


class Info:
    """What one balancer tells; each public method is one word of module balancer_info's `gather`."""

    def __init__(self, request: Request, state: State, maps: KernelMaps) -> None:
        self.request = request
        self.state = state
        self.maps = maps
        self.actual = read_actual(maps)
        self.max_vips = self.actual.capacity["server_id_stats"]
        self.view = KernelView(state, self.actual, other_references(state, ("vips",)))
        self._entries: dict[str, Mapping[bytes, bytes]] = {}
        self._tables: dict[str, dict[t.Any, t.Any]] = {}

    @cached_property
    def pinned(self) -> ProgramInfo | None:
        """What the kernel says of the pinned program; None where there is none."""
        return pinned_program(Paths(self.request.bpffs, self.request.instance, "balancer").program)

    @cached_property
    def _attached(self) -> Mapping[str, Attachment]:
        """What XDP runs where the program was put."""
        return attachments(self.state.program.interfaces)

    def program(self) -> dict[str, t.Any]:
        """The loaded program, its settings and attachments."""
        info = self.pinned
        return {
            "id": info.id if info else None,
            "tag": info.tag if info else None,
            "instructions": info.instructions if info else None,
            "source_digest": self.state.program.source_digest,
            "settings": self.state.settings,
            "attached": [
                {"interface": name, "mode": each.mode, "program_id": each.program_id}
                for name, each in self._attached.items()
            ],
        }

    def _program_differences(self) -> list[str]:
        """Where the program does not run, and whether it sends to another MAC than the last run told it."""
        record, found = self.state.program, []
        for name in record.interfaces:
            running = self._attached[name].program_id if name in self._attached else None
            if self.pinned is not None and running != self.pinned.id:
                instead = "no program" if running is None else f"another program (id {running})"
                found.append(f"interface {name} runs {instead} by XDP")
        mac = self.maps.map("ctl_array").lookup(layout.u32(layout.CTL_GATEWAY_MAC))
        if mac is not None and record.gateway_mac and mac != layout.mac_bytes(record.gateway_mac):
            found.append(f"ctl_array: the gateway's MAC is {layout.parse_mac(mac)}, not {record.gateway_mac}")
        return found

    def vips(self) -> list[dict[str, t.Any]]:
        """The VIPs that packets meet, in config's own form."""
        return list(map(vip_to_config, self.view.vips()))

    def rings(self) -> list[dict[str, t.Any]]:
        """For each VIP the slots of its ring that each real has, whatever was said of it by whom."""
        return self.view.rings()

    def differences(self, gather: Collection[str]) -> list[str]:
        """What of that which is asked for is not as the last run left it."""
        found = self._program_differences() if "program" in gather else []
        if {"vips", "rings", "reals", "counters"}.intersection(gather):
            found += self.view.differences(each_ring)
        for name, table in BALANCER_TABLES.items():
            if name in gather:
                maps = self._maps_of(table)
                known = self._known(table).values()
                capacity = {each: self.maps.capacity(each) for each in maps}
                found += table_differences(table, known, self.state, maps, capacity)
        return found

    def reals(self) -> list[dict[str, t.Any]]:
        """The overlay over the VIPs' reals in config's own form."""
        return [
            {"address": each.address, "state": each.state, **({"since": each.since} if each.fleet else {})}
            for _key, each in sorted(overlay_of(self.state).items())
        ]

    def _every_real(self) -> list[dict[str, t.Any]]:
        """Every real with its id, the VIPs that have it, what was said of it by hand, and its packets and bytes."""
        overlay = overlay_of(self.state)
        vips_of: dict[str, list[str]] = {}
        for key, vip in sorted(vips_from_config(self.state.vips).items()):
            for real in vip.reals:
                vips_of.setdefault(real.address, []).append(str(key))
        found = []
        for map_key, value in sorted(self.actual.entries["reals"].items()):
            packed, flags = layout.parse_real_definition(value)
            address = layout.unpack_address(packed, bool(flags & layout.REAL_IPV6))
            by_hand = overlay.get(address)
            packets, size = layout.sum_cpus(self.maps.map("reals_stats").lookup(map_key) or b"", 2)
            found.append(
                {
                    "address": address,
                    "id": layout.parse_u32(map_key),
                    "local": bool(flags & layout.REAL_LOCAL),
                    "vips": vips_of.get(address, []),
                    "by_hand": {"state": by_hand.state, "since": by_hand.since} if by_hand else None,
                    "packets": packets,
                    "bytes": size,
                }
            )
        return found

    def _maps_of(self, table: AnyTable) -> dict[str, Mapping[bytes, bytes]]:
        """The entries of a table's maps, as far as the program has these."""
        for name in table.maps:
            if name in self.maps.names() and name not in self._entries:
                self._entries[name] = self.maps.entries(name)
        return {name: self._entries[name] for name in table.maps if name in self._entries}

    def _known(self, table: AnyTable) -> dict[t.Any, t.Any]:
        """A table's items as the last run left them."""
        if table.name not in self._tables:
            file = StateFile(self.request.instance, self.request.bpffs)
            actual = {**self._maps_of(table), "reals": self.actual.entries["reals"]}
            self._tables[table.name] = known_table(table, file, self.state, actual)
        return self._tables[table.name]

    def table(self, name: str) -> list[dict[str, t.Any]]:
        """A table's entries in config's own form; those that the program has no map for as they are kept for one."""
        table = BALANCER_TABLES[name]
        maps = self._maps_of(table)
        known = self._known(table)
        if maps:
            known = dict(map(table.item, table.rows_in({**maps, "reals": self.actual.entries["reals"]})))
        return [table.row(known[key]) for key in sorted(known)]

    def counters(self) -> dict[str, t.Any]:
        """Global counters by name, and packets and bytes per VIP and real."""
        stats = self.maps.map("stats")
        found = named(lambda index: layout.sum_cpus(stats.lookup(layout.u32(index)) or b"", 2), self.max_vips)
        denied = self._denied()
        if denied is not None:
            found[DENIED] = sum(packets for packets, _size in denied.values())
        vips = []
        for map_key, key in sorted(known_keys(self.actual).items(), key=lambda item: str(item[1])):
            name = next(name for name in VIP_MAPS if map_key in self.actual.entries.get(name, {}))
            number = layout.parse_vip_meta(self.actual.entries[name][map_key])[1]
            packets, size = layout.sum_cpus(stats.lookup(layout.u32(number)) or b"", 2)
            vips.append({"vip": str(key), "number": number, "packets": packets, "bytes": size})
            if denied is not None:
                vips[-1]["denied_packets"], vips[-1]["denied_bytes"] = denied.get(number, (0, 0))
        routed = {
            word: self.maps.map(name).lookup(layout.u32(0)) or b"" for word, (name, _fields) in _ROUTED_BY_ID.items()
        }
        return {
            "global": found,
            "vips": vips,
            "reals": self._every_real(),
            "server_ids": {
                word: dict(zip(fields, layout.sum_cpus(routed[word], len(fields)), strict=True))
                for word, (_name, fields) in _ROUTED_BY_ID.items()
            },
        }

    def _denied(self) -> dict[int, tuple[int, int]] | None:
        """VIP number → packets and bytes that its lists of clients keep out; None where no program looks at lists."""
        if DENIED_MAP not in self.maps.names():
            return None
        pairs = ((layout.parse_u32(key), layout.sum_cpus(value, 2)) for key, value in self.maps.map(DENIED_MAP).items())
        return {number: (packets, size) for number, (packets, size) in pairs if packets}

    def checks(self, warnings: list[str]) -> dict[str, t.Any]:
        """What checks say, and what is known of it. `warnings` get a line where the agent's file cannot be read."""
        return checks_info(self.request.instance, self.state, warnings)

    def ready(self, warnings: list[str]) -> dict[str, t.Any]:
        """What is announced, and why. `warnings` get a line where that cannot be read."""
        return ready_info(self.request, warnings)

    def flows(self) -> dict[str, t.Any]:
        """How many flows each real has, and how full each table is."""
        found = search(self.maps, Selection(), 0, real_names(self.maps))
        return {"total": found.total, "reals": found.reals, "tables": found.tables}

    def map_sizes(self) -> dict[str, dict[str, int]]:
        """Id, capacity and kernel memory of each map."""
        found = {}
        for name in sorted(self.maps.names() & {spec.name for spec in MAPS}):
            opened = self.maps.map(name)
            found[name] = {
                "id": opened.info.id,
                "entries": opened.info.entries,
                "bytes": bpf.memory_bytes(opened.fd),
            }
        return found


def gather_info(request: Request, gather: Collection[str]) -> dict[str, t.Any]:
    """What is asked for, by name. EngineError where no balancer of that name is loaded."""
    require_capabilities()
    with locked(request.instance, False, request.lock_timeout):
        file = StateFile(request.instance, request.bpffs)
        state = file.read()
        warnings: list[str] = []
        paths = Paths(request.bpffs, request.instance, "balancer")
        alone: dict[str, Callable[[], t.Any]] = {
            "healthcheck": partial(healthcheck_info, request, warnings),
            "status": partial(status_info, request),
        }
        if set(gather) <= set(alone):
            # A host that only checks, or is a real, has no balancer.
            return {**{name: alone[name]() for name in gather}, **({"warnings": warnings} if warnings else {})}
        found = balancer_pins(KernelEdges(), paths, state.program)
        with KernelMaps(paths.maps, found.lost, hidden=found.strays) as maps:
            if "vip_map" not in found.maps:
                raise EngineError(
                    f"balancer {request.instance} is not loaded on this host: run module katran.fleet.balancer first"
                )
            info = Info(request, recovered(file, state, maps), maps)
            readers: dict[str, Callable[[], t.Any]] = {
                "program": info.program,
                "vips": info.vips,
                "reals": info.reals,
                "rings": info.rings,
                **{name: partial(info.table, name) for name in BALANCER_TABLES},
                "checks": partial(info.checks, warnings),
                "ready": partial(info.ready, warnings),
                **alone,
                "counters": info.counters,
                "flows": info.flows,
                "maps": info.map_sizes,
            }
            told = {**{name: readers[name]() for name in gather}, "differences": info.differences(gather)}
            warnings[:0] = [*found.warnings(paths.maps, "balancer"), *_impostor(paths, state, info.pinned)]
            return {**told, "warnings": warnings} if warnings else told


def status_info(request: Request) -> dict[str, t.Any]:
    """What the command katran shows of an instance as a balancer and as a real, null where it is none."""
    kind = find_kinds().get(request.instance, Kind(False, False))
    return {
        "balancer": read_status(request.instance, request.bpffs).to_data() if kind.balancer else None,
        "real": read_real(request.instance).to_data() if kind.real else None,
    }


def _impostor(paths: Paths, state: State, info: ProgramInfo | None) -> list[str]:
    """What to say where the pinned program is not the one on record."""
    tag = state.program.tag
    if not tag or state.program.next is not None or (info is not None and info.tag == tag):
        return []
    there = f"has tag {info.tag}" if info is not None else "is missing"
    sentence = (
        f"the program pinned at {paths.program} {there}, but {tag} is on record: run module katran.fleet.balancer,"
        " which puts its own in that place"
    )
    return [sentence]
