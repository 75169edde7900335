# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The routes that say which VIPs a balancer is to be reached for: values, and what is told of them in /run. Pure."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from .faults import Faults
from .records import many, named, number, parse_record, record, seconds, text

TABLE = 198
"""The kernel's table of routes that routing daemons learn, unless another is named."""

PROTOCOL = 98
"""The routing protocol that the routes bear."""

READY, DRAINING = 1, 2
"""Metrics of routes: that of a VIP that is to be reached, and of one that traffic should leave."""

GRACE_SECONDS = 1.0
"""A laboratory's router stops sending 20 to 60 ms after a route is withdrawn, hardware after some hundreds."""

DRAIN_FILE = "drain.json"
"""Beside state.json: what a person said of the balancer."""

NOT_WANTED = "none of its VIPs is to be announced (announce.enabled)"
"""The reason of a place that is not announced, and is not to be."""

DRAINED, WITHDRAWN = "drained", "withdrawn"
"""How the reason begins that a person's word is."""

WRITTEN_ANEW = "the agent writes it anew"
"""What to do about a damaged ready.json."""

_SYSTEM_TABLES = {253: "default", 254: "main", 255: "local"}
LAST_TABLE = 0xFFFFFFFF


class Ready(t.NamedTuple):
    """Whether an address or prefix is announced.

    `metric`: 0 where it is not; `reasons`: why it is not, or is all the same; `since`: seconds since the epoch; `vips`:
    the names of the VIPs there.
    """

    place: str
    metric: int
    reasons: tuple[str, ...] = ()
    since: float = 0.0
    vips: tuple[str, ...] = ()


class Route(t.NamedTuple):
    """A route of ours. `place`: address or prefix; `loopback`: whether it leads out of lo, as ours do."""

    place: str
    metric: int
    loopback: bool = True


class RouteChange(t.NamedTuple):
    """A route that is added, or removed."""

    route: Route
    adds: bool


class Drain(t.NamedTuple):
    """A person's word that a balancer is to be left. `since`: ISO 8601; `withdraw`: whether its routes are to go."""

    since: str
    by: str
    withdraw: bool = False


def drain_effect(withdraw: bool) -> str:
    """What a drain does to the balancer's routes, in a few words."""
    return "its routes are withdrawn" if withdraw else "traffic is asked to leave"


def is_left(ready: Ready) -> bool:
    """Whether a person's word is why a place is not to be reached, or not first."""
    return any(reason.startswith((f"{DRAINED} by ", f"{WITHDRAWN} by ")) for reason in ready.reasons)


@dataclass(frozen=True)
class Told:
    """What ready.json tells others than the agent.

    `table`: where the routes are; `grace`: seconds from a withdrawal to what makes a VIP unready; `places`: address or
    prefix → its announcement.
    """

    table: int = TABLE
    grace: float = GRACE_SECONDS
    places: Mapping[str, Ready] = field(default_factory=dict)

    @classmethod
    def from_json(cls, source: str, path: str) -> Told:
        """Read the file's text; StateError names the file and the field at fault."""
        found = parse_record(source, path, _TOLD, WRITTEN_ANEW)
        return replace(found, places={place: ready._replace(place=place) for place, ready in found.places.items()})


def _ready(metric: int, reasons: list[str], since: float, vips: list[str]) -> Ready:
    """An announcement of the place that it stands under."""
    return Ready("", metric, tuple(reasons), since, tuple(vips))


_TOLD = record(
    Told,
    table=number(1, LAST_TABLE),
    grace=seconds,
    places=named(record(_ready, metric=number(0, DRAINING), reasons=many(text), since=seconds, vips=many(text))),
)


def parse_table(value: t.Any, name: str, faults: Faults) -> int:
    """The number of a table of routes that can be ours alone."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= LAST_TABLE:
        faults.add(name, f"{value} is not the number of a routing table (1 to {LAST_TABLE})")
        return TABLE
    if value in _SYSTEM_TABLES:
        faults.add(name, f"{value} is the kernel's table {_SYSTEM_TABLES[value]}, not one for routes to announce")
        return TABLE
    return value
