# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""On which interfaces a root program runs, and which of them lead out of the host."""

from __future__ import annotations

import os
from collections.abc import Sequence

from .._model.gateways import hops_over
from .._model.snapshot import Attachment
from . import bpf
from .netlink import open_route
from .network import FAMILIES, carriers
from .root_array import opened_array
from .routes import default_routes
from .xdp import every_attachment


def interfaces_with(path: str) -> list[str]:
    """The interfaces whose XDP program has this array, by number. ProgramError where there is no such array."""
    with opened_array(path) as array:
        number = array.info.id
    return [each.interface for each in sorted(every_attachment(), key=_number) if number in _maps_of(each.program_id)]


def _number(place: Attachment) -> int:
    return place.index


def _maps_of(program: int) -> tuple[int, ...]:
    """The ids of a program's maps; none where it is gone."""
    try:
        descriptor = bpf.program_by_id(program)
    except OSError:
        return ()
    try:
        return bpf.program_info(descriptor).map_ids
    finally:
        os.close(descriptor)


def over_default_routes(interfaces: Sequence[str]) -> list[str]:
    """Those of the interfaces over which default routes lead out of the host, in their order."""
    with open_route() as route:
        routes = [default_routes(name) for name in FAMILIES]
        return [name for name in interfaces if any(hops_over(known, carriers(route, [name])) for known in routes)]
