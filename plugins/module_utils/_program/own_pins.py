# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pins of a balancer's maps and of health checks', for whoever reads or fills them."""

from __future__ import annotations

import contextlib
import typing as t
from collections.abc import Callable, Iterable, Mapping, Sequence

from .._kernel.edges import Edges, pinned_by_others, pinned_info, running_info
from .._kernel.pins import Paths
from .._model.errors import ProgramError
from .._model.map_specs import HEALTHCHECK_MAPS, MAPS, MapSpec
from .._model.pinned import PinnedMaps
from .._model.snapshot import EgressPlace, OnRecord, RootArray
from .ownership import compare_pins, is_recorded, own_program


class PlacedRecord(OnRecord, t.Protocol):
    """What the last run wrote down of a balancer. `next`: what is to take its place, where a run was killed halfway."""

    @property
    def slot(self) -> RootArray | None: ...
    @property
    def next(self) -> object: ...


WaysOut = Callable[[Iterable[str]], Mapping[str, EgressPlace]]
"""Interface → its way out, of those that there are."""


def _places(edges: Edges, record: PlacedRecord) -> list[int]:
    """The ids of the programs that run where a balancer was left."""
    there: list[int] = []
    # Nobody can tell without pyroute2, or without root's array.
    with contextlib.suppress(ProgramError):
        there += [each.program_id for each in edges.attachments() if each.interface in record.interfaces]
    with contextlib.suppress(ProgramError):
        if record.slot and (number := edges.slots(record.slot.path).get(record.slot.position)) is not None:
            there.append(number)
    return there


def _filtering(ways_out: WaysOut, record: OnRecord) -> list[int]:
    """The ids of the programs that filter where one was left."""
    with contextlib.suppress(ProgramError):
        return [each.program_id for place in ways_out(record.interfaces).values() for each in place.filters]
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


def balancer_pins(edges: Edges, paths: Paths, record: PlacedRecord) -> PinnedMaps:
    """The pins of a balancer's maps, compared with those that its program has."""
    if record.next is not None:
        # A change-over that was killed is finished first: until then, pins are of one program and of the other.
        return compare_pins(edges, paths, MAPS, None)
    return _pins(edges, paths, MAPS, record.tag, lambda: _places(edges, record))


def healthcheck_pins(edges: Edges, paths: Paths, record: OnRecord, ways_out: WaysOut) -> PinnedMaps:
    """The same of program healthcheck."""
    return _pins(edges, paths, HEALTHCHECK_MAPS, record.tag, lambda: _filtering(ways_out, record))
