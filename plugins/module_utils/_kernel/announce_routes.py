# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel's table of routes that say what this balancer is to be reached for; a routing daemon learns it.

Each is a unicast route out of lo, with our protocol number. Daemons learn no route of type local; and no rule leads
into the table, so the host sends nothing that way and takes nothing in.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence

from .._model.announcement import DRAINING, PROTOCOL, READY, Route, RouteChange
from .._model.errors import NetworkError
from .rtnetlink import attribute, dump, dump_once, exchange, number_of, read_attributes

_NEWROUTE, _DELROUTE, _GETROUTE = 24, 25, 26
_CREATE_EXCLUSIVELY = 0x400 | 0x200
_DST, _OIF, _PRIORITY, _TABLE = 1, 4, 6, 15
_COMPATIBLE, _LARGEST_SHORT = 252, 255
"""RT_TABLE_COMPAT stands in the byte of a header where a table's number does not fit."""

_ANY, _UNICAST = 0, 1
_UNIVERSE, _LINK, _NOWHERE = 0, 253, 255
_LOOPBACK = 1
"""lo is the first interface of every network namespace."""

_ROUTE = struct.Struct("=8BI")
FAMILIES = (socket.AF_INET, socket.AF_INET6)
_LENGTHS: Mapping[int, int] = {socket.AF_INET: 32, socket.AF_INET6: 128}


def read_routes(table: int) -> tuple[Route, ...]:
    """Our routes of a table. NetworkError where the kernel does not tell all of them.

    The kernel leaves out those of others: a table that somebody else has a hundred thousand in costs it the time to
    walk past them.
    """
    return tuple(_read(body, found) for body, found in routes_of(table, PROTOCOL) if body[5] == PROTOCOL)


def routes_of(table: int, protocol: int, most: int | None = None) -> Iterator[tuple[bytes, dict[int, bytes]]]:
    """The routes of a table, of one protocol or (0) of all, each with its attributes. `most`: of a family, about."""
    for family in FAMILIES:
        asked = _ROUTE.pack(family, 0, 0, 0, 0, protocol, 0, 0, 0) + attribute(_TABLE, struct.pack("=I", table))
        try:
            bodies = (
                dump(_GETROUTE, _NEWROUTE, asked, strict=True, nothing=())
                if most is None
                else dump_once(_GETROUTE, _NEWROUTE, asked, True, most)[0]
            )
        except OSError as error:
            # A table without a route does not exist.
            if error.errno in (errno.ENOENT, errno.EAFNOSUPPORT):
                continue
            raise NetworkError(f"table {table} cannot be read: {error.strerror}") from error
        for body in bodies:
            found = read_attributes(body[_ROUTE.size :])
            # A kernel that leaves nothing out, and one that was started without a family, tell other routes too.
            if body[0] == family and number_of(found, _TABLE, body[4]) == table:
                yield body, found


def _read(body: bytes, found: Mapping[int, bytes]) -> Route:
    family, length = body[0], body[1]
    size = _LENGTHS[family] // 8
    address = socket.inet_ntop(family, found.get(_DST, bytes(size))[:size])
    place = address if length == size * 8 else f"{address}/{length}"
    loopback = number_of(found, _OIF) == _LOOPBACK and body[7] == _UNICAST
    return Route(place, number_of(found, _PRIORITY), loopback)


def change_table(table: int, changes: Sequence[RouteChange]) -> dict[RouteChange, str]:
    """Add and remove routes of ours, in order; those changes that the kernel did not take, with the reason.

    One that is gone already is no failure. NetworkError where the kernel cannot be asked at all.
    """
    requests = [
        (_NEWROUTE, _CREATE_EXCLUSIVELY, _body(table, route)) if adds else (_DELROUTE, 0, _body(table, route))
        for route, adds in changes
    ]
    try:
        answers = exchange(requests)
    except OSError as error:
        raise NetworkError(f"table {table} cannot be changed: {error.strerror}") from error
    return {
        change: _failure(change, code)
        for change, code in zip(changes, answers, strict=True)
        if code and (change.adds or code not in (errno.ESRCH, errno.ENOENT))
    }


def _failure(change: RouteChange, code: int) -> str:
    if change.adds and code == errno.EEXIST:
        return f"somebody else has a route there with metric {change.route.metric}"
    if change.adds and code == errno.ENETDOWN:
        return "lo is down (ip link set lo up)"
    return os.strerror(code)


def _body(table: int, route: Route) -> bytes:
    """What names a route of ours. One that leads out of another interface is only ever removed, whatever it is like."""
    address, _slash, prefix = route.place.partition("/")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    length = int(prefix) if prefix else _LENGTHS[family]
    kind, scope = (_UNICAST, _LINK) if route.loopback else (_ANY, _NOWHERE)
    if family == socket.AF_INET6:
        scope = _UNIVERSE
    short = table if table <= _LARGEST_SHORT else _COMPATIBLE
    body = _ROUTE.pack(family, length, 0, 0, short, PROTOCOL, scope, kind, 0)
    body += attribute(_DST, socket.inet_pton(family, address))
    body += attribute(_PRIORITY, struct.pack("=I", route.metric)) + attribute(_TABLE, struct.pack("=I", table))
    return body + (attribute(_OIF, struct.pack("=I", _LOOPBACK)) if route.loopback else b"")


def by_place(routes: Iterable[Route]) -> dict[str, int]:
    """Place → the metric of its route, the best where there are several. One that no agent made is no place's."""
    found: dict[str, int] = {}
    for route in routes:
        if route.loopback and route.metric in (READY, DRAINING):
            found[route.place] = min(route.metric, found.get(route.place, route.metric))
    return found
