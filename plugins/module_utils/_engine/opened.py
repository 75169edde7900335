# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The maps that a run works on, and what they can hold."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from .._kernel import bpf
from .._kernel.edges import Edges, KernelEdges
from .._kernel.maps import KernelMaps, Maps
from .._kernel.memory_maps import MemoryMaps, PlannedMaps
from .._kernel.pins import Paths
from .._model.errors import EngineError
from .._model.features import FEATURES
from .._model.limits import Limits, limits_of_settings
from .._model.map_specs import DEFAULT_SIZES, HEALTHCHECK_MAPS, VIP_INDEX, balancer_maps
from .._model.pinned import PinnedMaps
from .._model.quic_lb_entries import SERVER_MAPS
from .._model.source_entries import FILTER_MAPS
from .._model.state import State
from .._model.tables import BALANCER_TABLES
from .._model.vip_entries import ADDRESS_MAPS, NUMBER_MAPS, VIP_MAPS, Actual
from .._program.own_pins import balancer_pins
from .._program.ownership import pin_again
from .._program.requirements import require_bpffs
from .request import Request


@dataclass(frozen=True)
class _CheckShape:
    """The balancer that check mode plans for where none is loaded: default sizes, every feature."""

    sizes: Mapping[str, int]
    features: frozenset[str]
    encapsulation: str = "gue"
    decap_any: bool = False


@contextmanager
def open_maps(request: Request, state: State) -> Iterator[tuple[Maps, list[str]]]:
    """The balancer's maps, and a line for each pin that is mended for that, or in check mode would be.

    In check mode, where nothing is loaded, they are empty ones in memory.
    """
    paths = Paths(request.bpffs, request.instance, "balancer")
    if not request.check:
        require_bpffs(request.bpffs)
    planned = request.planned if request.check else None
    edges: Edges = KernelEdges()
    found = balancer_pins(edges, paths, state.program) if bpf.is_bpffs(request.bpffs) else PinnedMaps()
    # In a play that has them planned, module balancer tells of its pins, and leaves none that is not its own.
    lines = [] if planned is not None else _mended(edges, paths, found, request, "balancer")
    if found.of_balancer:
        with KernelMaps(paths.maps, found.lost, hidden=found.strays) as maps:
            if planned is None:
                _require_maps(maps, state, paths)
            loads = "balancer" in request.applied
            yield maps if planned is None else PlannedMaps(maps, shape_of(planned), loads), lines
        return
    if not request.check:
        raise EngineError(
            f"balancer {request.instance} is not loaded on this host: run module katran.fleet.balancer first"
        )
    yield MemoryMaps(_check_shape(state) if planned is None else shape_of(planned)), lines


def _mended(edges: Edges, paths: Paths, found: PinnedMaps, request: Request, module: str) -> list[str]:
    """Pin the program's own maps again, or in check mode only say so: a line for each.

    EngineError where something is pinned for which nobody knows the map. What is in the place of a map that the
    program does not use is left to the program's own module.
    """
    for name in () if found.certain else found.unknown:
        raise EngineError(
            f"{found.strays[name]} is pinned at {paths.map(name)}, which cannot be map {name} of {request.instance}:"
            f" run module katran.fleet.{module}"
        )
    if found.own.astray and not request.check:
        pin_again(edges, paths, found.own)
    return found.own.lines(paths.maps)


BESIDE = {"healthcheck": HEALTHCHECK_MAPS}
"""Program that has a table and needs no balancer → its maps."""


@contextmanager
def open_maps_beside(
    program: str, needed: Collection[str], request: Request, found: PinnedMaps
) -> Iterator[tuple[Maps, list[str]]]:
    """The maps of a program that needs no balancer, and lines as of open_maps.

    In check mode, where those `needed` are not there, they are these, and empty. `found`: what is pinned.
    """
    if not request.check:
        require_bpffs(request.bpffs)
    paths = Paths(request.bpffs, request.instance, program)
    lines = _mended(KernelEdges(), paths, found, request, program)
    with KernelMaps(paths.maps, found.lost, hidden=found.strays) as maps:
        if maps.names().issuperset(needed):
            yield maps, lines
            return
    if not request.check:
        raise EngineError(
            f"program {program} of {request.instance} is not loaded on this host: run module katran.fleet.{program}"
            " first"
        )
    # Of the others nothing is known, not even that they will be empty.
    specs = [spec for spec in BESIDE[program] if spec.name in needed]
    yield MemoryMaps(_CheckShape(DEFAULT_SIZES, frozenset()), specs), lines


def _check_shape(state: State) -> _CheckShape:
    if state.settings:
        return shape_of(limits_of_settings(state.settings))
    return _CheckShape(DEFAULT_SIZES, frozenset(FEATURES) - {"server_id_hash"})


def shape_of(limits: Limits) -> _CheckShape:
    """The balancer that can hold this, for maps in memory."""
    return _CheckShape(limits.sizes, limits.features or frozenset())


_WRITTEN = frozenset(
    {
        *VIP_MAPS,
        *ADDRESS_MAPS,
        *FILTER_MAPS,
        *("reals", "ch_rings", "server_id_stats", "stats", "vip_to_down_reals_map", "quic_lb_vips", *SERVER_MAPS),
        *(name for table in BALANCER_TABLES.values() for name in table.maps),
    }
)
"""The maps without which the engine cannot say what there is."""


def _require_maps(maps: Maps, state: State, paths: Paths) -> None:
    """EngineError where a map is gone that the loaded program has."""
    shape = _check_shape(state) if state.settings else _CheckShape(DEFAULT_SIZES, frozenset(), "ipip")
    missing = sorted(_WRITTEN.intersection(balancer_maps(shape)) - maps.names())
    if missing:
        raise EngineError(
            f"map {missing[0]} is not pinned in {paths.maps}, but the program uses it: run module katran.fleet.balancer"
        )


def limits_of(request: Request, state: State, maps: Maps) -> Limits:
    """What the balancer can hold: as planned, from its settings, or, where state.json was lost, from its maps."""
    if request.check and request.planned is not None:
        return request.planned
    if state.settings:
        return limits_of_settings(state.settings)
    sizes = dict(DEFAULT_SIZES)
    sizes["vips"] = maps.capacity("server_id_stats")
    sizes["ring"] = maps.ring_size()
    sizes["reals"] = maps.capacity("reals")
    tables = ((table.size, table.maps[0]) for table in BALANCER_TABLES.values())
    for size, name in (("cidr_vips", "vip_lpm_map"), ("source_filters", FILTER_MAPS[0]), *tables):
        if name in maps.names():
            sizes[size] = maps.capacity(name)
    return Limits(sizes, None)


def read_actual(maps: Maps, lists: bool = True) -> Actual:
    """What the kernel has, as far as VIPs go; `lists`: also their lists of clients, which may be long."""
    names = maps.names()
    found = (*VIP_MAPS, *ADDRESS_MAPS, *NUMBER_MAPS, *SERVER_MAPS, "reals", "vip_to_down_reals_map")
    read = (*found, *(FILTER_MAPS if lists else ()))
    entries: dict[str, Mapping[bytes, bytes]] = {}
    for name in read:
        if name in names:
            entries[name] = {} if name == "vip_to_down_reals_map" else maps.entries(name)
    capacity = {name: maps.capacity(name) for name in (*entries, "server_id_stats", "ch_rings")}
    return Actual(
        entries=entries,
        down=maps.down_sets() if "vip_to_down_reals_map" in names else {},
        ring=maps.ring,
        capacity=capacity,
        ring_size=maps.ring_size(),
        filters=names.issuperset(FILTER_MAPS),
        index=maps.index() if VIP_INDEX in names else None,
        index_slots=maps.capacity(VIP_INDEX) if VIP_INDEX in names else 0,
    )
