# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is announced and why: of what the agent keeps in /run, of what a person said, and of the kernel's routes."""

from __future__ import annotations

import typing as t

from .._kernel.announce_routes import by_place, read_routes
from .._kernel.run_files import RunFiles
from .._kernel.state_files import StateFile
from .._model.announcement import Told
from .._model.errors import NetworkError, StateError
from .._model.judging import iso
from .announced import STATES, read_told
from .drain import read_drain
from .request import Request


def ready_info(request: Request, warnings: list[str]) -> dict[str, t.Any]:
    """What a balancer announces, place by place. `warnings` get a line where something cannot be read."""
    told = Told()
    routes: dict[str, int] = {}
    try:
        told = read_told(RunFiles(request.instance))
    except StateError as error:
        warnings.append(str(error))
    try:
        routes = by_place(read_routes(told.table))
    except NetworkError as error:
        warnings.append(str(error))
    drain = read_drain(StateFile(request.instance, request.bpffs))
    return {
        "table": told.table,
        "drained": drain._asdict() if drain is not None else None,
        "places": [
            {
                "place": place,
                "state": STATES[ready.metric],
                "since": iso(ready.since),
                "reasons": list(ready.reasons),
                "vips": list(ready.vips),
                # The kernel is the truth of what a routing daemon learns.
                "route": routes.get(place, 0),
            }
            for place, ready in told.places.items()
        ],
    }
