# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The connection tables, searched, and what today's ring says of the flows there."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping

from .._kernel.lock import locked
from .._model.faults import Faults
from .._model.flow_selection import parse_filters
from .._program.requirements import require_capabilities
from .flow_debug import tell_hops
from .flows import Found, loaded, real_names, search, select, unknown_real
from .request import Request
from .todays_ring import TodaysRing

MAX_LIMIT = 100_000


def find_flows(request: Request, params: Mapping[str, t.Any]) -> Found:
    """The work of module flows_info."""
    require_capabilities()
    if not 0 <= params["limit"] <= MAX_LIMIT:
        faults = Faults()
        faults.add("limit", f"{params['limit']} is not in 0 to {MAX_LIMIT}")
        faults.check()
    parse_filters(params, (), {})
    with locked(request.instance, False, request.lock_timeout):
        return flows_found(request, params)


def flows_found(request: Request, params: Mapping[str, t.Any]) -> Found:
    """The same of parameters that were looked at, without a lock.

    `stale` among them: those flows alone that today's ring contradicts.
    """
    told: list[str] = []
    with loaded(request, told) as maps:
        if maps is None:
            return Found(warnings=told)
        names = real_names(maps)
        selection = select(maps, params, names)
        with TodaysRing(maps, names) as ring:
            found = search(maps, selection, params["limit"], names, ring.contradicts if params.get("stale") else None)
            for row in found.flows:
                ring.tell(row)
        tell_hops(maps, found.flows)
        found.warnings = told + unknown_real(params, selection)
        return found
