# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Looks at a host that change nothing, wait for little, and go on where something is missing."""

from __future__ import annotations

import contextlib
import os
import typing as t
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from .._kernel.edges import KernelEdges, pinned_ids
from .._kernel.links import Link, read_links
from .._kernel.lock import locked
from .._kernel.pins import Paths, listed
from .._kernel.real_edges import running_at_ingress
from .._kernel.root_array import slots
from .._kernel.state_folder import StateFolder, instances, read_bpffs
from .._model.errors import EngineError, FleetError, LockedError
from .._model.watch import Ingress, Place, judge
from .._program.requirements import require_capabilities

LOCK_SECONDS = 0.3
"""A run takes longer, and may wait for another: who looks at night does not."""

_RECORDS = ("state.json", "decap.json")


class Kind(t.NamedTuple):
    """What a host is under one name."""

    balancer: bool
    real: bool


def kinds(name: str | None = None) -> dict[str, Kind]:
    """Instance → what it is; of one name alone. Of instances whose files are gone, pins tell.

    EngineError where there is none; ProgramError where this process may not look.
    """
    require_capabilities()
    found = find_kinds(name)
    if not found:
        raise EngineError(f"there is no balancer{f' {name}' if name else ''} on this host, and no real")
    return found


def find_kinds(name: str | None = None) -> dict[str, Kind]:
    """The same, without a word where there is none."""
    found = {}
    for each in [name] if name is not None else sorted({*instances(), *listed("/sys/fs/bpf/katran")}):
        maps = Paths(read_bpffs(each), each, "").maps
        there = [os.path.lexists(os.path.join(StateFolder(each, "").directory, file)) for file in _RECORDS]
        pinned = [os.path.exists(os.path.join(maps, pin)) for pin in ("vip_map", "decap_vips")]
        kind = Kind(there[0] or pinned[0], there[1] or pinned[1])
        if kind.balancer or kind.real:
            found[each] = kind
    return found


@contextlib.contextmanager
def looking(instance: str, notes: list[str], seconds: float = LOCK_SECONDS) -> Iterator[bool]:
    """Look while no run changes anything; False, and a note, where one does and goes on."""
    with ExitStack() as stack:
        alone = True
        try:
            stack.enter_context(locked(instance, False, seconds))
        except LockedError as error:
            alone = False
            notes.append(f"another run is at work (pid {error.pids}): this may be half of its change")
        yield alone


def attached(places: Sequence[Place], paths: Paths) -> list[dict[str, t.Any]]:
    """What runs where a program is to run: place, mode, program_id, wrong ("" where nothing is)."""
    links = read_links()
    pinned = pinned_ids(KernelEdges(), paths)
    found = []
    for place in places:
        mode, running, link, exists = None, None, None, True
        if isinstance(place.where, str):
            link = links.get(place.where)
            exists = link is not None
            if link is not None and link.xdp is not None:
                mode, running = link.xdp.mode, link.xdp.program_id
        elif isinstance(place.where, Ingress):
            link = links.get(place.where.interface)
            exists, running = running_at_ingress(place.where.interface, pinned)
        else:
            with contextlib.suppress(FleetError):
                running = slots(place.where.path).get(place.where.position)
        wrong = judge(place, exists, running, pinned) or _down(link)
        found.append({"place": place.spot, "mode": mode, "program_id": running, "wrong": wrong})
    return found


def _down(link: Link | None) -> str:
    return f"interface {link.name} is down (ip link set {link.name} up)" if link is not None and not link.up else ""
