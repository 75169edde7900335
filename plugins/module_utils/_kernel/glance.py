# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A look at the gateway that waits for nothing, for who looks again in a moment."""

from __future__ import annotations

import contextlib
import typing as t
from collections.abc import Sequence

from .._model.gateways import Hop, one_gateway
from .._model.snapshot import GatewayAnswer
from .netlink import open_route
from .network import CONFIRMED, FAMILIES, behind, carriers, neighbour, poke
from .routes import default_routes

_PROBE = 0x10
"""The state in which the kernel asks a neighbour whether it still has its MAC."""


def glance_at_gateway(interfaces: Sequence[str], expected: str = "") -> tuple[GatewayAnswer, bool]:
    """What ask_gateway would answer at once, and whether the kernel is sure of it.

    Nothing is waited for: where it is not sure, it is made to find out, and will tell of that by netlink. `expected`:
    the MAC that packets are sent to; another one that the kernel heard of is asked for at once.
    """
    with open_route() as route:
        routes = {name: default_routes(name) for name in FAMILIES}
        doubted = []

        def ask(hop: Hop) -> str:
            mac, state = neighbour(route, hop)
            if not state & CONFIRMED:
                doubted.append((hop, mac))
            return mac or ""

        places: list[tuple[str, set[int] | None]]
        places = [(name, carriers(route, [name])) for name in interfaces] or [("", None)]
        answer = one_gateway([behind(name, allowed, routes, ask) for name, allowed in places])
        for hop, mac in doubted:
            if mac and expected and mac != expected:
                _verify(route, hop, mac)
            else:
                poke(hop)
    return answer, not doubted


def _verify(route: t.Any, hop: Hop, mac: str) -> None:
    """Have the kernel ask a neighbour whether this is its MAC, without the seconds that it would give it otherwise."""
    # One that is gone by now is asked for with the next glance.
    with contextlib.suppress(Exception):
        route.neigh("change", dst=hop.address, lladdr=mac, ifindex=hop.interface, state=_PROBE)
