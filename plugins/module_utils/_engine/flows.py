# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The connection tables: search, count, purge.

A flow's key holds the VIP's address, and its port and the client's port as the VIP's flags leave them: port 0 for a VIP
of any port or of a prefix, client port 0 with hash_no_src_port.
"""

from __future__ import annotations

import time
import typing as t
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial

from .._kernel import bpf
from .._kernel.edges import KernelEdges
from .._kernel.lock import locked
from .._kernel.maps import KernelMaps
from .._kernel.open_map import Map
from .._kernel.pins import Paths
from .._kernel.state_folder import StateFolder
from .._model import layout
from .._model.errors import EngineError
from .._model.faults import Faults
from .._model.flow_selection import KEY_BYTES, Check, Matcher, Owners, Selection, is_ipv6, parse_filters, vip_selection
from .._model.on_record import program_on_record
from .._model.vip_entries import VIP_MAPS, known_metas
from .._model.vips import VipKey
from .._program.own_pins import balancer_pins
from .._program.requirements import require_capabilities
from .request import Request

FLOW_TABLES = (("lru_mapping", "fallback_cache"), ("global_lru_maps", "fallback_glru"))
"""Map of per-CPU tables, and the table of the CPUs that have none: the connection tables, then the global ones."""


class FlowTable(t.NamedTuple):
    """One table of flows: the map it is or is in, the CPU it belongs to, and itself.

    CPU None: of every CPU that has none of its own, or of several that share it.
    """

    name: str
    cpu: int | None
    map: Map


def open_flow_tables(maps: KernelMaps, stack: ExitStack) -> list[FlowTable]:
    """Every table of flows that a balancer has, open until the stack closes."""
    found = []
    for outer, fallback in FLOW_TABLES:
        if outer in maps.names():
            slots = {layout.parse_u32(key): layout.parse_u32(value) for key, value in maps.map(outer).items()}
            users = Counter(slots.values())
            for cpu, number in slots.items():
                inner = stack.enter_context(bpf.map_by_id(number))
                if users[number] == 1:
                    found.append(FlowTable(outer, cpu, inner))
                elif not any(each.map.info.id == number for each in found):
                    found.append(FlowTable(outer, None, inner))
            found.append(FlowTable(fallback, None, maps.map(fallback)))
    return found


def _selected(table: Map, matcher: Matcher) -> Iterator[bytes]:
    """The keys of the flows that a matcher selects."""
    stride = table.info.value_size
    for keys, values, count in table.batches():
        for index, real in enumerate(array("I", values[: count * stride])[:: stride // 4]):
            key = keys[index * KEY_BYTES : index * KEY_BYTES + KEY_BYTES]
            if matcher(key, real):
                yield key


@dataclass
class Found:
    """What a search found: rows up to the limit, counts over everything."""

    flows: list[dict[str, t.Any]] = field(default_factory=list)
    total: int = 0
    reals: list[dict[str, t.Any]] = field(default_factory=list)
    tables: list[dict[str, t.Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def search(
    maps: KernelMaps, selection: Selection, limit: int, names: Mapping[int, str], also: Check | None = None
) -> Found:
    """The selected flows of every table; with `also` those alone of the connection tables of which that is so, too.

    `names`: real id → address.
    """
    found = Found()
    per_real: Counter[int] = Counter()
    now = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    matcher: Check | None = None if selection.is_everything() else Matcher([selection])
    if also is not None:
        matcher = _both(matcher, also)
    with ExitStack() as stack:
        for table in open_flow_tables(maps, stack):
            if also is not None and table.name not in FLOW_TABLES[0]:
                continue
            entries, selected = _search_flow_table(table, matcher, limit, names, now, found)
            per_real.update(selected)
            found.total += selected.total()
            found.tables.append(
                {
                    "table": table.name,
                    "cpu": table.cpu,
                    "entries": entries,
                    "selected": selected.total(),
                    "capacity": table.map.info.entries,
                }
            )
    found.reals = [{"real": names.get(real), "id": real, "flows": number} for real, number in per_real.most_common()]
    return found


def _both(first: Check | None, second: Check) -> Check:
    return second if first is None else lambda key, real: first(key, real) and second(key, real)


def _search_flow_table(
    table: FlowTable, matcher: Check | None, limit: int, names: Mapping[int, str], now: int, found: Found
) -> tuple[int, Counter[int]]:
    """(entries of the table, real id → how many of them are selected); rows are added to `found` up to the limit."""
    entries, selected = 0, Counter[int]()
    stride = table.map.info.value_size
    for keys, values, count in table.map.batches():
        entries += count
        ids = array("I", values[: count * stride])[:: stride // 4]
        chosen: Sequence[int] = range(count)
        if matcher is None:
            selected.update(ids)
        else:
            chosen = [
                index
                for index in chosen
                if matcher(keys[index * KEY_BYTES : index * KEY_BYTES + KEY_BYTES], ids[index])
            ]
            selected.update(ids[index] for index in chosen)
        for index in chosen[: max(limit - len(found.flows), 0)]:
            key = keys[index * KEY_BYTES : index * KEY_BYTES + KEY_BYTES]
            value = values[index * stride : index * stride + stride]
            found.flows.append(flow_row(table, key, value, names, now))
    return entries, selected


def flow_row(table: FlowTable, key: bytes, value: bytes, names: Mapping[int, str], now: int) -> dict[str, t.Any]:
    """A flow in words. `idle`: seconds since its last packet, of UDP alone: TCP entries keep no time."""
    source, destination, sport, dport, protocol = layout.parse_flow_key(key)
    ipv6 = is_ipv6(key)
    real = layout.parse_u32(value)
    row: dict[str, t.Any] = {
        "client": layout.unpack_address(source, ipv6),
        "client_port": sport,
        "vip": layout.unpack_address(destination, ipv6),
        "port": dport,
        "protocol": layout.PROTOCOL_NAMES.get(protocol, str(protocol)),
        "real": names.get(real),
        "real_id": real,
        "table": table.name,
        "cpu": table.cpu,
        "idle": None,
    }
    if len(value) > 4:
        _real, atime = layout.parse_real_pos_lru(value)
        if atime:
            row["idle"] = round(max(now - atime, 0) / 1e9, 3)
    return row


def row_key(row: Mapping[str, t.Any]) -> bytes:
    """The key of a flow in words."""
    client, vip = (layout.pack_address(row[name]) for name in ("client", "vip"))
    protocol = layout.PROTOCOLS.get(row["protocol"]) or int(row["protocol"])
    return layout.flow_key(client, vip, row["client_port"], row["port"], protocol)


def purge(maps: KernelMaps, selections: Iterable[Selection], check: bool = False) -> dict[str, int]:
    """Remove the selected flows from every table; map → how many were, or with `check` would be, removed."""
    matcher = Matcher(selections)
    removed: Counter[str] = Counter()
    with ExitStack() as stack:
        for table in open_flow_tables(maps, stack):
            gone = list(_selected(table.map, matcher))
            if not check:
                table.map.delete_many(gone)
            removed[table.name] += len(gone)
    return {name: number for name, number in removed.items() if number}


def purge_gone(
    maps: KernelMaps, gone: Iterable[tuple[VipKey | None, frozenset[int] | None]], check: bool = False
) -> dict[str, int]:
    """Remove the flows of what went, once the maps say that it did; map → how many.

    (VIP, None): all of a VIP; (VIP, ids): those of a VIP to these reals; (None, ids): those of every VIP to them.
    """
    entries = {name: maps.entries(name) for name in VIP_MAPS if name in maps.names()}
    owners = Owners((key, flags) for key, (flags, _number) in known_metas(entries).items())
    exact = frozenset(entries["vip_map"])
    selections = [
        Selection(ids=ids if ids is not None else frozenset())
        if vip is None
        else vip_selection(vip, exact, ids, partial(owners.others, vip))
        for vip, ids in gone
    ]
    return purge(maps, selections, check) if selections else {}


def real_names(maps: KernelMaps) -> dict[int, str]:
    """Real id → address, as the kernel has them."""
    found = {}
    for key, value in maps.entries("reals").items():
        packed, flags = layout.parse_real_definition(value)
        found[layout.parse_u32(key)] = layout.unpack_address(packed, bool(flags & layout.REAL_IPV6))
    return found


@contextmanager
def loaded(request: Request, warnings: list[str]) -> Iterator[KernelMaps | None]:
    """A balancer's maps; where none is loaded None in check mode, else EngineError.

    They are those of its program, whatever is pinned: of a difference `warnings` get a line.
    """
    paths, file = Paths(request.bpffs, request.instance, "balancer"), StateFolder(request.instance, request.bpffs)
    found = balancer_pins(KernelEdges(), paths, program_on_record(file.read_file("state.json")))
    with KernelMaps(paths.maps, found.lost, hidden=found.strays) as maps:
        warnings += found.warnings(paths.maps, "balancer")
        if "vip_map" in found.maps:
            yield maps
        elif request.check:
            yield None
        else:
            raise EngineError(
                f"balancer {request.instance} is not loaded on this host: run module katran.fleet.balancer first"
            )


def select(maps: KernelMaps, params: Mapping[str, t.Any], names: Mapping[int, str]) -> Selection:
    """Which flows the parameters vip, real and client mean."""
    ids = {address: number for number, address in names.items()}
    return parse_filters(params, frozenset(maps.entries("vip_map")), ids)


def unknown_real(params: Mapping[str, t.Any], selection: Selection) -> list[str]:
    """A warning where no real has the address that is asked for."""
    if selection.ids is None or selection.ids:
        return []
    return [f"real: the balancer has no real {params['real']}"]


def purge_flows(request: Request, params: Mapping[str, t.Any]) -> Found:
    """The work of module flows; in check mode only counts. The selected flows' counts per real are those before."""
    require_capabilities()
    selection = parse_filters(params, (), {})
    if selection.is_everything() and not params.get("allow_all"):
        faults = Faults()
        faults.add("vip", "without vip, real or client every flow would be removed: give allow_all: true if so meant")
        faults.check()
    told: list[str] = []
    with locked(request.instance, not request.check, request.lock_timeout), loaded(request, told) as maps:
        if maps is None:
            return Found(warnings=told)
        names = real_names(maps)
        selection = select(maps, params, names)
        found = search(maps, selection, 0, names)
        found.warnings = told + unknown_real(params, selection)
        if not request.check and found.total:
            purge(maps, [selection])
        return found
