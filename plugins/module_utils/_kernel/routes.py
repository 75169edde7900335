# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Default routes of every table, with their next hops, from rtnetlink (linux/rtnetlink.h, linux/nexthop.h).

pyroute2 0.7 knows no next-hop objects, and with net.ipv4.nexthop_compat_mode=0 a route says nothing but its object's
id. Of a full table of the internet's routes, only those of length 0 are taken apart.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator, Mapping

from .._model.gateways import DefaultRoute, Group, Hop, expanded

_NEWROUTE, _GETROUTE, _NEWNEXTHOP, _GETNEXTHOP = 24, 26, 104, 106
_DUMP = 0x01 | 0x300
"""NLM_F_REQUEST and NLM_F_DUMP."""

_INTERRUPTED = 0x10
"""NLM_F_DUMP_INTR: something changed while it was read."""

_ERROR, _DONE = 2, 3
_OIF, _GATEWAY, _PRIORITY, _MULTIPATH, _TABLE, _VIA, _NH_ID = 4, 5, 6, 9, 15, 18, 30
_NHA_ID, _NHA_GROUP, _NHA_OIF, _NHA_GATEWAY = 1, 2, 5, 6
_UNICAST, _LOCAL_TABLE = 1, 255
_LOST = 0x01 | 0x10
"""Flags of one of several next hops that carries nothing: dead, link down."""

_ATTEMPTS = 5
_HEADER, _ROUTE = struct.Struct("=IHHII"), struct.Struct("=8BI")
_HOP, _NEXTHOP = struct.Struct("=HBBi"), struct.Struct("=4BI")
_FAMILIES = {"IPv4": socket.AF_INET, "IPv6": socket.AF_INET6}


def default_routes(family: str) -> list[DefaultRoute]:
    """The default routes of a family, IPv4 or IPv6, that lead out of the host, best first."""
    number = _FAMILIES[family]
    found = [
        _read_route(body)
        for body in _dump(_GETROUTE, _NEWROUTE, struct.pack("=B11x", number))
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
    attributes = _attributes(body[_ROUTE.size :])
    table = _u32(attributes[_TABLE]) if _TABLE in attributes else body[4]
    metric = _u32(attributes[_PRIORITY]) if _PRIORITY in attributes else 0
    hops = []
    if _MULTIPATH in attributes:
        hops = list(_multipath(attributes[_MULTIPATH], body[0]))
    elif _OIF in attributes:
        hops = [_hop(attributes, body[0], _u32(attributes[_OIF]))]
    return DefaultRoute(table, metric, tuple(hops)), _u32(attributes[_NH_ID]) if _NH_ID in attributes else 0


def _multipath(data: bytes, family: int) -> Iterator[Hop]:
    while len(data) >= _HOP.size:
        length, flags, _weight, interface = _HOP.unpack_from(data)
        if not flags & _LOST:
            yield _hop(_attributes(data[_HOP.size : length]), family, interface)
        data = data[max(_aligned(length), _HOP.size) :]


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
    for body in _dump(_GETNEXTHOP, _NEWNEXTHOP, bytes(8)):
        family, _scope, _protocol, _reserved, flags = _NEXTHOP.unpack_from(body)
        attributes = _attributes(body[_NEXTHOP.size :])
        number = _u32(attributes[_NHA_ID])
        if _NHA_GROUP in attributes:
            members = attributes[_NHA_GROUP]
            found[number] = Group(tuple(_u32(members[at : at + 4]) for at in range(0, len(members), 8)))
        elif _NHA_OIF in attributes:
            gateway = attributes.get(_NHA_GATEWAY)
            text = _text(family, gateway) if gateway else ""
            found[number] = Hop(text, _u32(attributes[_NHA_OIF]), lost=bool(flags & _LOST))
    return found


def _text(family: int, packed: bytes) -> str:
    return socket.inet_ntop(family, packed[: 16 if family == socket.AF_INET6 else 4])


# Messages


def _u32(data: bytes) -> int:
    return int(struct.unpack_from("=I", data)[0])


def _aligned(length: int) -> int:
    return (length + 3) & ~3


def _attributes(data: bytes) -> dict[int, bytes]:
    found = {}
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        # The two highest bits say that it is nested, or in network order.
        found[kind & 0x3FFF] = data[4:length]
        data = data[max(_aligned(length), 4) :]
    return found


def _dump(request: int, answer: int, body: bytes) -> list[bytes]:
    """The bodies of all answers. A kernel that does not know the request has none."""
    for _attempt in range(_ATTEMPTS):
        bodies, whole = _dump_once(request, answer, body)
        if whole:
            break
    return bodies


def _dump_once(request: int, answer: int, body: bytes) -> tuple[list[bytes], bool]:
    """The same, and whether nothing changed meanwhile."""
    found: list[bytes] = []
    whole = True
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0) as link:
        link.bind((0, 0))
        link.send(_HEADER.pack(_HEADER.size + len(body), request, _DUMP, 1, 0) + body)
        while True:
            data = link.recv(1 << 18)
            at = 0
            while at + _HEADER.size <= len(data):
                length, kind, flags, _sequence, _port = _HEADER.unpack_from(data, at)
                message = data[at + _HEADER.size : at + length]
                whole = whole and not flags & _INTERRUPTED
                if kind == _DONE:
                    return found, whole
                if kind == _ERROR:
                    code = -struct.unpack_from("=i", message)[0]
                    if code in (errno.EOPNOTSUPP, errno.EINVAL):
                        return [], True
                    raise OSError(code, os.strerror(code))
                if kind == answer:
                    found.append(message)
                at += max(_aligned(length), _HEADER.size)
