# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a balancer announces and why, and what runs that take something away are told: the content of ready.json."""

from __future__ import annotations

import json
import typing as t
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from .announcement import DRAINING, GRACE_SECONDS, LAST_TABLE, TABLE, WRITTEN_ANEW, Ready
from .announcing import Past
from .hold_down import MOST, Hold
from .records import Fields, many, named, number, parse_record, read_fields, record, seconds, text

SCHEMA = 1


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
        found = parse_record(source, path, lambda value, where: read_fields(value, where, _FILE), WRITTEN_ANEW)
        return cls(found["table"], found["grace"], {place: make(place) for place, make in found["places"].items()})


def _past_data(past: Past) -> dict[str, t.Any]:
    """The file's form."""
    told = past.ready._asdict()
    del told["place"]
    return {**told, **past.hold._asdict()}


def _past(
    metric: int, reasons: list[str], since: float, vips: list[str], went: float, came: float, level: int
) -> Callable[[str], Past]:
    """What is remembered of the place that it is told."""
    return lambda place: Past(Ready(place, metric, tuple(reasons), since, tuple(vips)), 0.0, Hold(went, came, level))


_PAST = record(
    _past,
    metric=number(0, DRAINING),
    reasons=many(text),
    since=seconds,
    vips=many(text),
    went=seconds,
    came=seconds,
    level=number(0, MOST),
)
_FILE: Fields = {
    "schema": number(SCHEMA, SCHEMA),
    "table": number(1, LAST_TABLE),
    "grace": seconds,
    "places": named(_PAST),
}
