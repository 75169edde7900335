# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person said of a balancer: the content of drain.json. Pure."""

from __future__ import annotations

import json

from .announcement import Drain
from .records import Optional, flag, number, parse_record, record, text

SCHEMA = 1
_ANEW = "drain or undrain the balancer again"


def drain_to_json(drain: Drain) -> str:
    """The text of drain.json."""
    return json.dumps({"schema": SCHEMA, **drain._asdict()}) + "\n"


def drain_from_json(source: str, path: str) -> Drain:
    """Read the text of drain.json; StateError names the file and the field at fault."""
    return parse_record(source, path, _DRAIN, _ANEW)


_DRAIN = record(
    lambda since, by, withdraw=False, **_schema: Drain(since, by, withdraw),
    schema=number(SCHEMA, SCHEMA),
    since=text,
    by=text,
    withdraw=Optional(flag),
)
