# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""By which interface probes leave where the balancer is in a slot of a root program, and so has no interface told."""

from __future__ import annotations

import contextlib
import socket
import typing as t
from collections.abc import Mapping

from .._kernel.network import FAMILIES
from .._kernel.root_places import interfaces_with, over_default_routes
from .._kernel.routes import default_routes
from .._kernel.state_folder import StateFolder
from .._model.errors import ProgramError
from .._model.gateways import hops_over
from .._model.healthcheck_record import HealthcheckRecord
from .request import Request

AUTO = "auto"


def with_interface(params: Mapping[str, t.Any], request: Request) -> dict[str, t.Any]:
    """Options of module healthcheck, with the interface that auto stands for. FleetError says why there is none."""
    found = dict(params)
    if found["interface"] == AUTO and found["root_array_path"]:
        record = StateFolder(request.instance, request.bpffs).read_record(HealthcheckRecord, "healthcheck")
        found["interface"] = _interface(found["root_array_path"], record.options.get("interface", ""))
    return found


def _interface(array: str, before: str) -> str:
    """Of the interfaces where the root program runs, one towards the gateway: that of before, else the first.

    A root program that another one calls, as a dispatcher does, is on no interface by itself: there, the way out is
    that of the default route.
    """
    there = interfaces_with(array)
    found = over_default_routes(there) or there or _default_interfaces()
    if not found:
        raise ProgramError(
            f"interface auto: no interface has an XDP program with the array {array}, and there is no default route"
        )
    return before if before in found else found[0]


def _default_interfaces() -> list[str]:
    """The interfaces that default routes lead over, those of IPv4 first."""
    found = []
    for family in FAMILIES:
        for hop in hops_over(default_routes(family), None):
            with contextlib.suppress(OSError):
                found.append(socket.if_indextoname(hop.interface))
    return list(dict.fromkeys(found))
