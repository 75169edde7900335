# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Traffic that is to leave a balancer, watched while it does."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from .._kernel.announce_routes import by_place, read_routes
from .._kernel.run_files import RunFiles
from .._kernel.state_folder import read_bpffs
from .._model.announcement import DRAINING, NOT_WANTED, READY, is_left
from .announced import has_agent, read_told
from .counters import CounterReader

_LOOK_SECONDS = 0.1
STILL_SECONDS = 3.0
"""As long nothing has to come for what leaves to have left."""


def metrics(instance: str) -> Mapping[str, int]:
    """Place → the metric of its route. StateError or NetworkError where that cannot be told."""
    told = read_told(RunFiles(instance))
    routes = by_place(read_routes(told.table))
    return {place: routes[place] for place in told.places if place in routes}


def unannounced(instance: str) -> Mapping[str, str]:
    """Place → why it is not announced, of those that are to be: none once traffic has come back to all of them."""
    told = read_told(RunFiles(instance))
    routes = by_place(read_routes(told.table))
    return {
        place: "; ".join(ready.reasons) or "the agent has not announced it yet"
        for place, ready in told.places.items()
        if ready.reasons != (NOT_WANTED,) and (routes.get(place) != READY or is_left(ready))
    }


def until_told(instance: str, gone: bool, seconds: float) -> Mapping[str, int]:
    """Wait until every route says that traffic is to leave, or with `gone` there is none; the routes then."""
    deadline = time.monotonic() + seconds
    while True:
        found = metrics(instance)
        done = not found if gone else all(metric == DRAINING for metric in found.values())
        if done or time.monotonic() >= deadline or not has_agent(instance):
            return found
        time.sleep(_LOOK_SECONDS)


def until_still(instance: str, seconds: float, tell: Callable[[float, float], None]) -> bool:
    """Wait until no packet came for STILL_SECONDS; False where some still do after `seconds`.

    `tell`: is told, each second, the packets per second, and for how long there were none.
    """
    reader = CounterReader(instance, read_bpffs(instance))
    at = moved = time.monotonic()
    deadline, packets = at + seconds, _packets(reader)
    while True:
        time.sleep(min(1.0, max(0.0, deadline - time.monotonic())))
        now, found = time.monotonic(), _packets(reader)
        if found != packets:
            moved = now
        tell((found - packets) / (now - at) if now > at else 0.0, now - moved)
        at, packets = now, found
        if now - moved >= STILL_SECONDS:
            return True
        if now >= deadline:
            return False


def _packets(reader: CounterReader) -> int:
    return sum(packets for packets, _bytes in reader.read().vips.values())
