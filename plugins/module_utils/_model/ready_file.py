# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a balancer announces and why, and what runs that take something away are told: the content of ready.json."""

from __future__ import annotations

import json
import typing as t
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from .announcement import DRAINING, TABLE, Drain, Past, Ready
from .hold_down import Hold
from .records import Optional, flag, many, named, number, parse_record, record, seconds, text

SCHEMA = 1
GRACE_SECONDS = 1.0
"""A laboratory's router stops sending 20 to 60 ms after a route is withdrawn, hardware after some hundreds."""

_LARGEST = 0xFFFFFFFF
_ANEW = "the agent writes it anew"
_DRAIN_ANEW = "drain or undrain the balancer again"


@dataclass(frozen=True)
class ReadyFile:
    """What a balancer announces.

    `table`: where the routes are; `grace`: seconds from a withdrawal to what makes the VIP unready; `places`: address
    or prefix → its announcement.
    """

    table: int = TABLE
    grace: float = GRACE_SECONDS
    places: Mapping[str, Past] = field(default_factory=dict)

    def to_json(self) -> str:
        """The file's text: one line per place."""
        places = [f"{json.dumps(place)}: {json.dumps(_past_data(past))}" for place, past in self.places.items()]
        head = json.dumps({"schema": SCHEMA, "table": self.table, "grace": self.grace})
        return head.removesuffix("}") + ', "places": {\n' + ",\n".join(places) + "\n}}\n"

    @classmethod
    def from_json(cls, source: str, path: str) -> ReadyFile:
        """Read the file's text; StateError names the file and the field at fault."""
        found = parse_record(source, path, _FILE, _ANEW)
        return replace(found, places={place: _past(place, **each) for place, each in found.places.items()})


def _past_data(past: Past) -> dict[str, t.Any]:
    """The file's form."""
    told = past.ready._asdict()
    del told["place"]
    return {**told, **past.hold._asdict()}


def _past(place: str, went: float, came: float, level: int, **told: t.Any) -> Past:
    ready = {name: tuple(value) if isinstance(value, list) else value for name, value in told.items()}
    return Past(Ready(place, **ready), 0.0, Hold(went, came, level))


_PAST = record(
    dict,
    metric=number(0, DRAINING),
    reasons=many(text),
    since=seconds,
    vips=many(text),
    went=seconds,
    came=seconds,
    level=number(0, 100),
)
_FILE = record(
    lambda schema, **fields: ReadyFile(**fields),
    schema=number(SCHEMA, SCHEMA),
    table=number(1, _LARGEST),
    grace=seconds,
    places=named(_PAST),
)


def drain_to_json(drain: Drain) -> str:
    """The text of drain.json."""
    return json.dumps({"schema": SCHEMA, **drain._asdict()}) + "\n"


def drain_from_json(source: str, path: str) -> Drain:
    """Read the text of drain.json; StateError names the file and the field at fault."""
    return parse_record(source, path, _DRAIN, _DRAIN_ANEW)


_DRAIN = record(
    lambda since, by, withdraw=False, **_schema: Drain(since, by, withdraw),
    schema=number(SCHEMA, SCHEMA),
    since=text,
    by=text,
    withdraw=Optional(flag),
)
