# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Default routes of every table, with their next hops, from rtnetlink (linux/rtnetlink.h, linux/nexthop.h).

pyroute2 0.7 knows no next-hop objects, and with net.ipv4.nexthop_compat_mode=0 a route says nothing but its object's
id. Of a full table of the internet's routes, only those of length 0 are taken apart.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Mapping

from .._model.errors import NetworkError
from .._model.gateways import DefaultRoute, Group, Hop, expanded
from .rtnetlink import aligned, dump, number_of, read_attributes, u32

_NEWROUTE, _GETROUTE, _NEWNEXTHOP, _GETNEXTHOP = 24, 26, 104, 106
_OIF, _GATEWAY, _PRIORITY, _MULTIPATH, _TABLE, _VIA, _NH_ID = 4, 5, 6, 9, 15, 18, 30
_NHA_ID, _NHA_GROUP, _NHA_OIF, _NHA_GATEWAY = 1, 2, 5, 6
_UNICAST, _LOCAL_TABLE = 1, 255
_LOST = 0x01 | 0x10
"""Flags of one of several next hops that carries nothing: dead, link down."""

_ROUTE = struct.Struct("=8BI")
_HOP, _NEXTHOP = struct.Struct("=HBBi"), struct.Struct("=4BI")
_FAMILIES = {"IPv4": socket.AF_INET, "IPv6": socket.AF_INET6}


def default_routes(family: str) -> list[DefaultRoute]:
    """The default routes of a family, IPv4 or IPv6, that lead out of the host, best first.

    NetworkError where the kernel does not tell them.
    """
    try:
        return _default_routes(_FAMILIES[family])
    except OSError as error:
        raise NetworkError(f"the {family} routes of this host cannot be read: {error.strerror}") from error


def _default_routes(number: int) -> list[DefaultRoute]:
    found = [
        _read_route(body)
        for body in dump(_GETROUTE, _NEWROUTE, struct.pack("=B11x", number))
        # Most of a large table ends here.
        if body[0] == number and body[1] == 0 and body[7] == _UNICAST
    ]
    objects = _next_hops() if any(object_id for _route, object_id in found) else {}
    routes = [
        DefaultRoute(route.table, route.metric, expanded(object_id, objects)) if object_id else route
        for route, object_id in found
    ]
    # Equal ones keep the kernel's order.
    return sorted((route for route in routes if route.table != _LOCAL_TABLE), key=DefaultRoute.order)


def _read_route(body: bytes) -> tuple[DefaultRoute, int]:
    """A route, and the id of its next-hop object, 0: it has none."""
    attributes = read_attributes(body[_ROUTE.size :])
    hops = []
    if _MULTIPATH in attributes:
        hops = list(_multipath(attributes[_MULTIPATH], body[0]))
    elif _OIF in attributes:
        hops = [_hop(attributes, body[0], u32(attributes[_OIF]))]
    route = DefaultRoute(number_of(attributes, _TABLE, body[4]), number_of(attributes, _PRIORITY), tuple(hops))
    return route, number_of(attributes, _NH_ID)


def _multipath(data: bytes, family: int) -> Iterator[Hop]:
    while len(data) >= _HOP.size:
        length, flags, _weight, interface = _HOP.unpack_from(data)
        if not flags & _LOST:
            yield _hop(read_attributes(data[_HOP.size : length]), family, interface)
        data = data[max(aligned(length), _HOP.size) :]


def _hop(attributes: Mapping[int, bytes], family: int, interface: int) -> Hop:
    if _VIA in attributes:
        # An IPv4 route through an IPv6 neighbour (RFC 5549).
        via = attributes[_VIA]
        family = struct.unpack_from("=H", via)[0]
        return Hop(_text(family, via[2:]), interface)
    return Hop(_text(family, attributes[_GATEWAY]) if _GATEWAY in attributes else "", interface)


def _next_hops() -> dict[int, Hop | Group]:
    """Next-hop objects by id; those that lead nowhere are not among them."""
    found: dict[int, Hop | Group] = {}
    for body in dump(_GETNEXTHOP, _NEWNEXTHOP, bytes(8)):
        family, _scope, _protocol, _reserved, flags = _NEXTHOP.unpack_from(body)
        attributes = read_attributes(body[_NEXTHOP.size :])
        number = u32(attributes[_NHA_ID])
        if _NHA_GROUP in attributes:
            members = attributes[_NHA_GROUP]
            found[number] = Group(tuple(u32(members[at : at + 4]) for at in range(0, len(members), 8)))
        elif _NHA_OIF in attributes:
            gateway = attributes.get(_NHA_GATEWAY)
            text = _text(family, gateway) if gateway else ""
            found[number] = Hop(text, u32(attributes[_NHA_OIF]), lost=bool(flags & _LOST))
    return found


def _text(family: int, packed: bytes) -> str:
    return socket.inet_ntop(family, packed[: 16 if family == socket.AF_INET6 else 4])
