# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which programs and maps of the kernel are an instance's own, whatever is pinned under their names."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable

from .._kernel.edges import Edges
from .._kernel.open_map import KindError
from .._kernel.pins import Paths
from .._model.map_specs import NAME_BYTES, MapSpec
from .._model.pinned import PinnedMaps, compare, is_named
from .._model.snapshot import MapInfo, ProgramInfo


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
