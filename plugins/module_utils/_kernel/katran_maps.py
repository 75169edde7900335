# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The maps of a running Katran, found by its program, whatever is pinned, or by its pins. Nothing is written."""

from __future__ import annotations

import contextlib
import os
import socket
import typing as t
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from .._model import layout
from .._model.errors import EngineError
from .._model.katran import INNER, NEEDED, known_specs, layout_fault
from .._model.map_specs import NAME_BYTES, PROG_ARRAY
from .._model.snapshot import Attachment
from . import bpf
from .open_map import KindError, Map
from .pins import listed
from .privilege import permission_hint
from .tc import ways_out
from .xdp import every_attachment


@dataclass(frozen=True)
class Place:
    """Where a Katran is looked for: on interfaces, by the id of its program, or by a folder of pinned maps."""

    interfaces: tuple[str, ...] = ()
    program: int = 0
    maps_path: str = ""


@dataclass
class KatranMaps:
    """A running Katran's open maps, by their names. `array`: the id of the array of programs by which it runs."""

    program: int
    interfaces: Mapping[str, str]
    maps: Mapping[str, Map]
    array: int = 0

    @property
    def where(self) -> str:
        """How sentences call it."""
        return f"program {self.program}" if self.program else "what is pinned"


@contextlib.contextmanager
def opened_katran(place: Place) -> t.Iterator[KatranMaps]:
    """The maps of the Katran that is meant. EngineError where there is none, several, or one of another layout."""
    with ExitStack() as held:
        try:
            found = _pinned(place.maps_path, held) if place.maps_path else _running(place, held)
        except PermissionError as error:
            raise EngineError(f"the maps cannot be read: {permission_hint(error)}") from error
        _require_layout(found)
        yield found


def _require_layout(found: KatranMaps) -> None:
    faults = [fault for name, opened in found.maps.items() if (fault := layout_fault(name, opened.info))]
    missing = [name for name in NEEDED if name not in found.maps]
    if missing:
        raise EngineError(f"{found.where} has no map {', '.join(missing)}: it is no Katran")
    if faults:
        raise EngineError(f"{found.where} is of another Katran than is known: {'; '.join(faults)}")


def _named(maps: Iterable[Map]) -> dict[str, Map]:
    """Maps by their whole names, of which the kernel keeps a part."""
    specs = known_specs()
    return {specs[each.info.name].name: each for each in maps if each.info.name in specs}


def _pinned(path: str, held: ExitStack) -> KatranMaps:
    if not os.path.isdir(path):
        raise EngineError(f"maps_path: {path} is no folder on this host")
    if not bpf.is_bpffs(path):
        raise EngineError(f"maps_path: {path} is not in a bpf file system")
    known = {spec.name for spec in known_specs().values()}
    maps = {}
    for name in listed(path):
        if name in known:
            # A folder may hold a program under such a name.
            with contextlib.suppress(KindError):
                maps[name] = held.enter_context(bpf.open_map(os.path.join(path, name)))
    if not maps:
        raise EngineError(f"maps_path: no map of a Katran is pinned in {path}")
    ids = {each.info.id for each in maps.values()}
    running = {each.interface: each for each in every_attachment()}
    for each in running.values():
        with held_program(each.program_id) as map_ids:
            if maps.keys() >= set(NEEDED) and {maps[name].info.id for name in NEEDED} <= set(map_ids):
                same = {name: one.mode for name, one in running.items() if one.program_id == each.program_id}
                more = {name: one for name, one in _maps_of(map_ids, held).items() if one.info.id not in ids}
                return KatranMaps(each.program_id, same, {**more, **maps})
    return KatranMaps(0, {}, maps)


@contextlib.contextmanager
def held_program(program_id: int) -> t.Iterator[tuple[int, ...]]:
    """The ids of a program's maps, while it is held; none where it is gone."""
    try:
        fd = bpf.program_by_id(program_id)
    except FileNotFoundError:
        yield ()
        return
    try:
        yield bpf.program_info(fd).map_ids
    finally:
        os.close(fd)


def _maps_of(map_ids: Iterable[int], held: ExitStack) -> dict[str, Map]:
    opened = []
    for number in map_ids:
        with contextlib.suppress(FileNotFoundError):
            opened.append(held.enter_context(bpf.map_by_id(number)))
    return _named(opened)


def _running(place: Place, held: ExitStack) -> KatranMaps:
    attached = every_attachment()
    if place.program:
        here = {each.interface: each.mode for each in attached if each.program_id == place.program}
        with held_program(place.program) as map_ids:
            if not map_ids:
                raise EngineError(f"program_id: there is no program {place.program} with maps on this host")
            return KatranMaps(place.program, here, _maps_of(map_ids, held))
    chosen = [each for each in attached if not place.interfaces or each.interface in place.interfaces]
    absent = set(place.interfaces) - {each.interface for each in attached}
    if absent:
        raise EngineError(f"interfaces: no XDP program runs on {', '.join(sorted(absent))}")
    found: dict[int, KatranMaps] = {}
    for each in chosen:
        for program, array in _behind(each):
            if program in found:
                found[program].interfaces = {**found[program].interfaces, each.interface: each.mode}
                continue
            with held_program(program) as map_ids:
                maps = _maps_of(map_ids, held)
                if set(NEEDED) <= maps.keys():
                    found[program] = KatranMaps(program, {each.interface: each.mode}, maps, array)
    if not found:
        places = f"on {', '.join(place.interfaces)}" if place.interfaces else "on any interface"
        raise EngineError(f"no Katran runs {places} (an XDP program with maps {', '.join(NEEDED)})")
    if len(found) > 1:
        told = "; ".join(f"program {number} on {', '.join(each.interfaces)}" for number, each in sorted(found.items()))
        raise EngineError(f"several Katrans run on this host ({told}): say which, by program_id or interfaces")
    return next(iter(found.values()))


def _behind(each: Attachment) -> list[tuple[int, int]]:
    """(program, 0) on an interface, and (program, array) of those that an array of its program leads to."""
    found = [(each.program_id, 0)]
    with held_program(each.program_id) as map_ids, ExitStack() as held:
        for number in map_ids:
            with contextlib.suppress(FileNotFoundError):
                opened = held.enter_context(bpf.map_by_id(number))
                if opened.info.type == PROG_ARRAY:
                    places = map(opened.lookup, map(layout.u32, range(opened.info.entries)))
                    ids = {layout.parse_u32(value) for value in places if value is not None}
                    found += [(program, number) for program in sorted(ids - {each.program_id})]
    return found


def health_maps(held: ExitStack) -> list[Map]:
    """The maps of health checkers' marks: tc runs their program on the way out of an interface."""
    places = ways_out(name for _index, name in socket.if_nameindex())
    found: dict[int, Map] = {}
    for program in {each.program_id for place in places.values() for each in place.filters}:
        with held_program(program) as map_ids:
            opened = _maps_of(map_ids, held).get("hc_reals_map")
            if opened is not None and not layout_fault("hc_reals_map", opened.info):
                found[opened.info.id] = opened
    return list(found.values())


def inner_maps(outer: Map) -> t.Iterator[tuple[bytes, Map]]:
    """(key, map) of each map in a map of maps. EngineError where one is of another layout."""
    spec = {name[:NAME_BYTES]: spec for name, spec in INNER.items()}[outer.info.name]
    for key, value in outer.items():
        with contextlib.suppress(FileNotFoundError), bpf.map_by_id(layout.parse_u32(value)) as inner:
            if (inner.info.key_size, inner.info.value_size) != (spec.key_size, spec.value_size):
                raise EngineError(
                    f"the maps in {outer.info.name} have keys of {inner.info.key_size} and values of"
                    f" {inner.info.value_size} bytes, where the layout that is known has {spec.key_size} and"
                    f" {spec.value_size}"
                )
            yield key, inner
