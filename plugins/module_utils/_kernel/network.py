# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the host's network says: the gateway's MAC, own addresses."""

from __future__ import annotations

import contextlib
import socket
import time
import typing as t
from collections.abc import Callable, Mapping, Sequence

from .._model.errors import NetworkError
from .._model.gateways import Behind, DefaultRoute, Hop, hops_over, one_gateway
from .._model.snapshot import GatewayAnswer
from .netlink import address_of, open_route
from .routes import default_routes

FAMILIES = {"IPv4": socket.AF_INET, "IPv6": socket.AF_INET6}
_RESOLVE_SECONDS = 3.0
_CONFIRM_SECONDS = 12.0
"""Longer than the kernel waits before it probes a neighbour (5 s), probes it (3 s) and asks for it anew (3 s)."""

_KNOWN = 0x02 | 0x04 | 0x08 | 0x10 | 0x40 | 0x80
"""Neighbour states in which the kernel has a MAC: reachable, stale, delay, probe, noarp, permanent."""

CONFIRMED = 0x02 | 0x40 | 0x80
"""Those in which it does not doubt it: reachable, noarp, permanent."""

PERMANENT = 0x80
"""That of an entry which somebody wrote: the kernel asks nobody."""


_ON_ANOTHER = ("vlan", "macvlan", "macvtap", "ipvlan", "ipvtap")
"""Kinds of interfaces that send to their neighbours by another one, IFLA_LINK.

That of a veth is its peer, and that of a tunnel where its packets leave: neighbours of theirs are not behind these.
"""


def _lower(link: t.Any) -> int | None:
    """The interface of this namespace that one sends by, where it is not one of its own."""
    # With a namespace's id, the number is of that namespace: here it is that of any interface, or of none.
    if link.get_attr("IFLA_LINK_NETNSID") is not None:
        return None
    about = link.get_attr("IFLA_LINKINFO")
    kind = about.get_attr("IFLA_INFO_KIND") if about else ""
    return t.cast("int | None", link.get_attr("IFLA_LINK")) if kind in _ON_ANOTHER else None


def carriers(route: t.Any, names: Sequence[str]) -> set[int]:
    """The interfaces, and those above them that carry their addresses and routes: bonds, bridges, VLANs."""
    links = list(route.get_links())
    found = {link["index"] for link in links if link.get_attr("IFLA_IFNAME") in names}
    while True:
        above = {link.get_attr("IFLA_MASTER") for link in links if link["index"] in found}
        above |= {link["index"] for link in links if _lower(link) in found}
        if above - {None} <= found:
            return found
        found |= above - {None}


def neighbour(route: t.Any, hop: Hop) -> tuple[str | None, int]:
    """(MAC, state) of the gateway in the neighbour table."""
    for entry in route.get_neighbours(family=_family(hop), ifindex=hop.interface):
        if entry.get_attr("NDA_DST") == hop.address:
            mac = entry.get_attr("NDA_LLADDR") if entry["state"] & _KNOWN else None
            return t.cast("str | None", mac), entry["state"]
    return None, 0


def _resolve(route: t.Any, hop: Hop, confirm: bool) -> str | None:
    """The gateway's MAC, resolved if it is not known yet, or with `confirm` if the kernel doubts it."""
    deadline = time.monotonic() + (_CONFIRM_SECONDS if confirm else _RESOLVE_SECONDS)
    poked = 0.0
    while True:
        mac, state = neighbour(route, hop)
        late = time.monotonic() > deadline
        if (mac and (state & CONFIRMED or not confirm)) or late:
            return mac
        if time.monotonic() - poked > 0.5:
            poked = time.monotonic()
            poke(hop)
        time.sleep(0.05)


def ask_gateway(interfaces: Sequence[str], confirm: bool = False, wait: bool = True) -> GatewayAnswer:
    """What the default routes behind the interfaces lead to, IPv4 first, and the MAC to send to.

    Packets are sent out of the interface that they came from, so a gateway elsewhere will not do. No interfaces: any
    gateway. `wait`: make the kernel resolve a MAC that it does not know yet, for seconds; without, only what it knows
    counts. `confirm`: ask the gateway itself where the kernel's entry is old.
    """
    with open_route() as route:
        routes = {name: default_routes(name) for name in FAMILIES}

        def ask(hop: Hop) -> str:
            return (_resolve(route, hop, confirm) if wait else neighbour(route, hop)[0]) or ""

        places: list[tuple[str, set[int] | None]]
        places = [(name, carriers(route, [name])) for name in interfaces] or [("", None)]
        return one_gateway([behind(name, allowed, routes, ask) for name, allowed in places])


def behind(
    interface: str, allowed: set[int] | None, routes: Mapping[str, Sequence[DefaultRoute]], ask: Callable[[Hop], str]
) -> Behind:
    """What is behind one interface, whose addresses and routes `allowed` ones carry. `ask`: the MAC of a gateway."""
    reasons = []
    # All of them, whichever answers: a later answer is compared with this one.
    hops = tuple(hop for known in routes.values() for hop in hops_over(known, allowed))
    for name, known in routes.items():
        here = hops_over(known, allowed)
        if not here:
            reasons.append(f"no {name} default route{f' over {interface}' if hops_over(known, None) else ''}")
        for hop in here:
            mac = ask(hop) if hop.address else ""
            if mac:
                return Behind(interface, hops, hop.address, mac)
            if hop.address:
                reasons.append(f"the {name} gateway {hop.address} does not answer")
            else:
                reasons.append(f"the {name} default route over {interface or hop.interface} has no gateway")
    return Behind(interface, hops, reasons=tuple(reasons))


def gateway_mac(interfaces: Sequence[str], confirm: bool = False) -> str:
    """The MAC of the gateway, resolved if not known yet. NetworkError says why there is none."""
    answer = ask_gateway(interfaces, confirm)
    if not answer.mac:
        raise NetworkError(answer.sentence)
    return answer.mac


def _family(hop: Hop) -> int:
    return socket.AF_INET6 if ":" in hop.address else socket.AF_INET


def poke(hop: Hop) -> None:
    """Make the kernel resolve a neighbour: one datagram to its discard port, by the way of its own interface."""
    with contextlib.suppress(OSError), socket.socket(_family(hop), socket.SOCK_DGRAM) as probe:
        name = socket.if_indextoname(hop.interface)
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, name.encode())
        if probe.family == socket.AF_INET6:
            probe.sendto(b"", (hop.address, 9, 0, hop.interface))
        else:
            probe.sendto(b"", (hop.address, 9))


def own_address(family: int, interfaces: Sequence[str]) -> str | None:
    """This host's first global address of the family on the interfaces, in their order; None where there is none.

    An interface without addresses may belong to a bond or bridge that has them. No interfaces: on that of the family's
    default route.
    """
    with open_route() as route:
        indexes = [index for name in interfaces for index in route.link_lookup(ifname=name)]
        indexes += sorted(carriers(route, interfaces) - set(indexes))
        if not interfaces:
            name = next(name for name, number in FAMILIES.items() if number == family)
            indexes = [hop.interface for hop in hops_over(default_routes(name), None)]
        for index in indexes:
            for entry in route.get_addr(family=family, index=index, scope=0):
                return address_of(entry)
    return None
