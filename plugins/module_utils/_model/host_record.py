# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host's settings are to be at boot, and what they were before they were ours: the content of host.json."""

from __future__ import annotations

import json
import re
import typing as t
from dataclasses import dataclass, field

from .host_plan import RealHost
from .records import (
    Fault,
    Optional,
    Reader,
    address,
    distinct,
    interface,
    maybe,
    named,
    number,
    parse_record,
    record,
    text,
)

SCHEMA = 1
_ANEW = "move it away, and the next run compares the host anew"
_LARGEST = 65535
_VALUE = re.compile(r"[0-9]{1,10}", re.ASCII)


@dataclass(frozen=True)
class HostRecord:
    """`real`: the settings of the last run. `before`: parameter or interface → its value before the first run."""

    real: RealHost | None = None
    before: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """The file's text."""
        real = None
        if self.real is not None:
            vips = None if self.real.vips is None else list(self.real.vips)
            real = {"interfaces": list(self.real.interfaces), "mtu": self.real.mtu, "mss": self.real.mss, "vips": vips}
            if self.real.probes_from:
                real["probes_from"] = list(self.real.probes_from)
        return json.dumps({"schema": SCHEMA, "real": real, "before": self.before}, indent=1, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, source: str, path: str) -> HostRecord:
        """Read the file's text; StateError names the file and the field at fault."""
        return parse_record(source, path, _RECORD, _ANEW)


def _value(value: t.Any, where: str) -> str:
    """A parameter's or an MTU's value."""
    if not _VALUE.fullmatch(text(value, where)):
        raise Fault(where, f"{value} is not a whole number")
    return t.cast("str", value)


def _many(read: Reader[str]) -> Reader[tuple[str, ...]]:
    return lambda value, where: tuple(distinct(read)(value, where))


_REAL = record(
    RealHost,
    interfaces=_many(interface),
    mtu=number(0, _LARGEST),
    mss=number(0, _LARGEST),
    vips=Optional(maybe(_many(address))),
    probes_from=Optional(_many(interface)),
)
_RECORD = record(
    lambda before, real=None, **_schema: HostRecord(real, before),
    schema=number(SCHEMA, SCHEMA),
    real=Optional(maybe(_REAL)),
    before=named(_value),
)
