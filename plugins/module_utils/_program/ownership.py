# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which programs and maps of the kernel are an instance's own, though nothing pins them."""

from __future__ import annotations

import contextlib

from .._kernel.edges import Edges, pinned_by_others, pinned_info, running_info
from .._kernel.pins import Paths
from .._model.errors import ProgramError
from .._model.map_specs import NAME_BYTES, balancer_maps
from .._model.settings import parse_settings
from .._model.snapshot import ProgramInfo, fits
from .._model.state import ProgramRecord, State


def _orphan(edges: Edges, paths: Paths, record: ProgramRecord) -> ProgramInfo | None:
    """The program that ran here when the bpffs was wiped: the tag says so, unless another instance has it."""
    there = []
    # Nobody can tell without pyroute2, or without root's array.
    with contextlib.suppress(ProgramError):
        there += [each.program_id for each in edges.attachments() if each.interface in record.interfaces]
    with contextlib.suppress(ProgramError):
        slots = edges.slots(record.slot.path) if record.slot else {}
        there += [number for position, number in slots.items() if record.slot and position == record.slot.position]
    running = (running_info(edges, number) for number in there)
    found = {info.id: info for info in running if info is not None and record.tag and info.tag == record.tag}
    others = pinned_by_others(edges, paths) if found else set()
    return next((info for number, info in found.items() if number not in others), None)


def lost_maps(edges: Edges, paths: Paths, state: State) -> dict[str, int]:
    """The maps that the running program has though their pins are gone: name → id."""
    if not state.settings or not state.program.tag:
        return {}
    there = frozenset(edges.listed(paths.maps))
    missing = [spec for name, spec in balancer_maps(parse_settings(state.settings)).items() if name not in there]
    if not missing:
        return {}
    program = pinned_info(edges, paths.program) or _orphan(edges, paths, state.program)
    found = {}
    for map_id in program.map_ids if program is not None else ():
        with edges.open_map_by_id(map_id) as opened:
            info = opened.info
        for spec in missing:
            if info.name == spec.name[:NAME_BYTES] and fits(spec, info, state.settings["sizes"]):
                found[spec.name] = map_id
    return found
