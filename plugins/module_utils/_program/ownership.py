# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which programs and maps of the kernel are an instance's own, whatever is pinned under their names."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Sequence

from .._kernel.edges import Edges, pinned_by_others, pinned_info, running_info
from .._kernel.egress_edges import EgressEdges
from .._kernel.open_map import KindError
from .._kernel.pins import Paths
from .._model.errors import ProgramError
from .._model.map_specs import HEALTHCHECK_MAPS, MAPS, NAME_BYTES, MapSpec
from .._model.pinned import PinnedMaps, compare, is_named
from .._model.snapshot import MapInfo, OnRecord, ProgramInfo
from .._model.state import ProgramRecord, State


def is_recorded(paths: Paths, tag: str | None, info: ProgramInfo) -> bool:
    """Whether a pinned program is the one on record; where there is no record, whether it may be ours."""
    return info.tag == tag if tag else paths.program.rpartition("/")[2][:NAME_BYTES] == info.name


def own_program(
    paths: Paths, tag: str | None, pinned: ProgramInfo | None, placed: Iterable[ProgramInfo]
) -> ProgramInfo | None:
    """The program whose maps are an instance's: what runs where the record says, else what is pinned.

    `placed`: the programs that run there and that no other instance has. None where none of them is the one on record.
    """
    running = [info for info in placed if tag and info.tag == tag]
    if pinned is not None and not is_recorded(paths, tag, pinned):
        pinned = None
    if pinned is not None and (not running or pinned.id in {info.id for info in running}):
        return pinned
    return running[0] if running else None


def compare_pins(edges: Edges, paths: Paths, specs: Collection[MapSpec], program: ProgramInfo | None) -> PinnedMaps:
    """The pins of an instance's maps, compared with those that its program has. Only to be called under the lock."""
    names = {spec.name for spec in specs}
    pinned: dict[str, MapInfo | str] = {}
    for name in edges.listed(paths.maps):
        if name in names:
            try:
                with edges.open_map(paths.map(name)) as opened:
                    pinned[name] = opened.info
            except KindError as error:
                pinned[name] = error.kind
            except FileNotFoundError:
                continue
    others = []
    if program is not None:
        settled = {
            there.id
            for name, there in pinned.items()
            if isinstance(there, MapInfo) and any(is_named(spec, there) for spec in specs if spec.name == name)
        }
        for map_id in sorted(set(program.map_ids) - settled):
            # Of a program that ends meanwhile there are none.
            with contextlib.suppress(FileNotFoundError), edges.open_map_by_id(map_id) as opened:
                others.append(opened.info)
    return compare(specs, pinned, program, others)


def pin_again(edges: Edges, paths: Paths, found: PinnedMaps) -> None:
    """Pin a program's own maps again, and unpin what is in their place."""
    edges.make_folders(paths.folders())
    for name in sorted({*found.lost, *found.strays}):
        edges.unpin([paths.map(name)])
        if name in found.lost:
            with edges.open_map_by_id(found.lost[name]) as opened:
                edges.pin(opened.fd, paths.map(name))


def _places(edges: Edges, record: ProgramRecord) -> list[int]:
    """The ids of the programs that run where a balancer was left."""
    there: list[int] = []
    # Nobody can tell without pyroute2, or without root's array.
    with contextlib.suppress(ProgramError):
        there += [each.program_id for each in edges.attachments() if each.interface in record.interfaces]
    with contextlib.suppress(ProgramError):
        slots = edges.slots(record.slot.path) if record.slot else {}
        there += [number for position, number in slots.items() if record.slot and position == record.slot.position]
    return there


def _ways_out(edges: EgressEdges, record: OnRecord) -> list[int]:
    """The ids of the programs that filter where one was left."""
    with contextlib.suppress(ProgramError):
        return [each.program_id for place in edges.ways_out(record.interfaces).values() for each in place.filters]
    return []


def _pins(
    edges: Edges, paths: Paths, specs: Sequence[MapSpec], tag: str | None, places: Callable[[], list[int]]
) -> PinnedMaps:
    """The pins, compared. `places`: the ids of the programs that run where the record says."""
    pinned = pinned_info(edges, paths.program)
    if pinned is not None and is_recorded(paths, tag, pinned):
        found = compare_pins(edges, paths, specs, pinned)
        if not found.astray:
            return found
    running = [info for number in places() if (info := running_info(edges, number)) is not None and info.tag == tag]
    others = pinned_by_others(edges, paths) if running else set()
    program = own_program(paths, tag, pinned, [info for info in running if info.id not in others])
    return compare_pins(edges, paths, specs, program)


def balancer_pins(edges: Edges, paths: Paths, state: State) -> PinnedMaps:
    """The pins of a balancer's maps, compared with those that its program has."""
    record = state.program
    if record.next is not None:
        # A change-over that was killed is finished first: until then, pins are of one program and of the other.
        return compare_pins(edges, paths, MAPS, None)
    return _pins(edges, paths, MAPS, record.tag, lambda: _places(edges, record))


def healthcheck_pins(edges: EgressEdges, paths: Paths, record: OnRecord) -> PinnedMaps:
    """The same of program healthcheck."""
    return _pins(edges, paths, HEALTHCHECK_MAPS, record.tag, lambda: _ways_out(edges, record))
