# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What bird was before it was ours, and which file it has read: the content of bgp.json."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from .records import Optional, flag, maybe, number, parse_record, path, record, text

SCHEMA = 1
_ANEW = "move it away, and the next run compares bird anew"


@dataclass(frozen=True)
class BirdRecord:
    """`read`: the file that bird read last, "" where that is not known; `router_id`: of the last run.

    `enabled`, `active`: whether the unit was before the first run; `backup`: where somebody else's bird.conf is kept.
    """

    read: str = ""
    router_id: str = ""
    enabled: bool = False
    active: bool = False
    backup: str | None = None

    def to_json(self) -> str:
        """The file's text."""
        return json.dumps({"schema": SCHEMA, **asdict(self)}, indent=1, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, source: str, where: str) -> BirdRecord:
        """Read the file's text; StateError names the file and the field at fault."""
        return parse_record(source, where, _RECORD, _ANEW)


_RECORD = record(
    lambda read, router_id, enabled, active, backup=None, **_schema: BirdRecord(
        read, router_id, enabled, active, backup
    ),
    schema=number(SCHEMA, SCHEMA),
    read=text,
    router_id=text,
    enabled=flag,
    active=flag,
    backup=Optional(maybe(path)),
)
