# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is announced is withdrawn before it is taken away: traffic that still comes meets a balancer that serves it."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Collection, Iterator

from .._kernel.announce_routes import change_table, read_routes
from .._kernel.leaving import changing_routes, run_folder, tell_leaving
from .._kernel.lock import LOCK_ROOT
from .._kernel.private import read_private
from .._model.announcement import RouteChange, Told
from .._model.drift import View
from .._model.errors import EngineError, StateError
from .._model.overlay import effective_state

LOCK_SECONDS = 2.0
"""Whoever changes routes has done so within milliseconds."""


def leaving_places(before: View, after: View) -> set[str]:
    """The addresses and prefixes that no VIP with a real that serves has any more."""
    return _served(before) - _served(after)


def _served(view: View) -> set[str]:
    return {
        vip.key.address
        for vip in view.vips.values()
        if any(effective_state(real.address, real.state, view.words.overlay) != "down" for real in vip.reals)
    }


@contextlib.contextmanager
def withdrawn(instance: str, places: Collection[str], root: str = LOCK_ROOT) -> Iterator[None]:
    """Do what takes these places away once nobody is told of them.

    Where routes of ours were there, that begins after a grace: neighbours need a moment to send elsewhere. Until it has
    ended, however it does, the agent announces none of them. Where no agent ever ran, nothing is looked at.
    """
    folder = run_folder(instance, root)
    if not places or not os.path.isdir(folder):
        yield
        return
    told = _told(folder)
    held: int | None = None
    try:
        with changing_routes(folder, LOCK_SECONDS) as alone:
            if not alone:
                raise EngineError(f"the routes of balancer {instance} are being changed by another process")
            held = tell_leaving(folder, places)
            shared = _places_of_others(instance, root)
            routes = [route for route in read_routes(told.table) if route.place in places and route.place not in shared]
            failed = change_table(told.table, [RouteChange(route, adds=False) for route in routes])
        for change, why in failed.items():
            raise EngineError(f"the route of {change.route.place} in table {told.table} cannot be removed: {why}")
        if routes:
            time.sleep(told.grace)
        yield
    finally:
        if held is not None:
            os.close(held)


def _told(folder: str) -> Told:
    """What the agent says of its routes; as it is by default where it says nothing that can be read."""
    path = os.path.join(folder, "ready.json")
    with contextlib.suppress(StateError, UnicodeDecodeError):
        source = read_private(path)
        if source is not None:
            return Told.from_json(source, path)
    return Told()


def _places_of_others(instance: str, root: str) -> set[str]:
    """What other balancers of this host announce."""
    with contextlib.suppress(OSError):
        names = [entry.name for entry in os.scandir(root) if entry.is_dir() and entry.name != instance]
        return {
            place for name in names for place, ready in _told(run_folder(name, root)).places.items() if ready.metric
        }
    return set()
