# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which neighbour a balancer's packets go to: the gateways of default routes, and the one MAC that all must share.

A program sends a packet out of the interface that it came from, and to one MAC whichever that is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from .snapshot import GatewayAnswer

_MAIN, _DEFAULT = 254, 253


@dataclass(frozen=True)
class Hop:
    """A next hop: the gateway's address, "" where the route has none (on-link), and the number of its interface.

    `lost`: whether it carries nothing, being dead or its link down.
    """

    address: str
    interface: int
    lost: bool = False


@dataclass(frozen=True)
class Group:
    """A next-hop object that is made of others, by their ids."""

    members: tuple[int, ...]


@dataclass(frozen=True)
class DefaultRoute:
    """A default route: its table, its metric (the lower, the better), and its next hops in the kernel's order."""

    table: int
    metric: int
    hops: tuple[Hop, ...]

    def order(self) -> tuple[int, int, int]:
        """Best first: table main, then default, then those of rules and VRFs by number; in each by metric."""
        return {_MAIN: 0, _DEFAULT: 1}.get(self.table, 2), self.table, self.metric


def expanded(object_id: int, objects: Mapping[int, Hop | Group]) -> tuple[Hop, ...]:
    """The next hops of a next-hop object. Of a group, those that are lost are left out."""
    found = objects.get(object_id)
    if isinstance(found, Group):
        members = [each for member in found.members for each in expanded(member, objects)]
        return tuple(each for each in members if not each.lost)
    return () if found is None else (found,)


def hops_over(routes: Sequence[DefaultRoute], interfaces: Collection[int] | None) -> list[Hop]:
    """The next hops over these interfaces (None: any), best first, each once."""
    every = (hop for route in routes for hop in route.hops)
    return list(dict.fromkeys(hop for hop in every if interfaces is None or hop.interface in interfaces))


@dataclass(frozen=True)
class Behind:
    """What is behind an interface of the balancer ("": any). `hops`: next hops, best first.

    `gateway`: the first one that has a MAC, and `mac` that; both "" where none has, and `reasons` say why.
    """

    interface: str
    hops: tuple[Hop, ...] = ()
    gateway: str = ""
    mac: str = ""
    reasons: tuple[str, ...] = ()


def one_gateway(behind: Sequence[Behind]) -> GatewayAnswer:
    """The one MAC to send to from all interfaces; none where their gateways have different ones, or none answers."""
    interfaces = tuple(each.interface for each in behind if each.interface)
    hops = tuple(hop for each in behind for hop in each.hops)
    known = [each for each in behind if each.mac]
    if len({each.mac for each in known}) > 1:
        places = " and ".join(f"{each.interface} leads to {each.gateway} ({each.mac})" for each in _each_mac(known))
        sentence = (
            f"gateway_mac auto: {places}, but a balancer sends to one MAC, out of the interface that a packet came"
            " from: give gateway_mac if one MAC will do for all, or each interface an instance of its own"
        )
        return GatewayAnswer(interfaces, hops, "", sentence, differs=True)
    if not known:
        reasons = ", ".join(dict.fromkeys(reason for each in behind for reason in each.reasons))
        return GatewayAnswer(interfaces, hops, "", f"gateway_mac auto: {reasons}; give the MAC as gateway_mac")
    first = known[0]
    warnings = tuple(
        f"gateway_mac auto: {', '.join(each.reasons)}: what comes in by {each.interface} is sent to {first.mac} there,"
        f" the gateway of {first.interface}"
        for each in behind
        if not each.mac
    )
    return GatewayAnswer(interfaces, hops, first.mac, "", warnings)


def _each_mac(known: Sequence[Behind]) -> Iterator[Behind]:
    """The first interface of each MAC."""
    seen = set()
    for each in known:
        if each.mac not in seen:
            seen.add(each.mac)
            yield each
