# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is kept of program healthcheck: the content of healthcheck.json."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from .errors import ConfigError
from .healthcheck_settings import parse_healthcheck
from .program_file import ProgramFile
from .records import (
    Fault,
    Fields,
    Optional,
    address,
    distinct,
    either,
    interface,
    mac,
    many,
    number,
    read_fields,
    text,
    word,
)

_PORT = 65535


@dataclass
class HealthcheckRecord(ProgramFile):
    """The content of healthcheck.json. `qdiscs`: the interfaces whose clsact is ours, or may be.

    `options`: those of the last run; `settings`: the same, with what auto stood for.
    """

    qdiscs: list[str] = field(default_factory=list)
    settings: dict[str, t.Any] = field(default_factory=dict)
    source_dir: str = ""
    options: dict[str, t.Any] = field(default_factory=dict)

    @classmethod
    def fields(cls) -> Fields:
        """How each field is read."""
        return {
            **super().fields(),
            "qdiscs": Optional(distinct(interface)),
            "settings": Optional(_resolved),
            "source_dir": Optional(text),
            "options": Optional(_options),
        }


_COUNTED: Fields = {"address": address, "port": number(1, _PORT), "protocol": word("tcp", "udp")}
_OPTIONS: Fields = {
    "interface": interface,
    "encapsulation": word("ipip", "gue"),
    "gue_port": number(1, _PORT),
    "source_ipv4": text,
    "source_ipv6": text,
    "source_mac": text,
    "gateway_mac": text,
    "max_frame": number(1, _PORT),
    "counted_vips": many(lambda value, where: read_fields(value, where, _COUNTED)),
}
_MAC, _ADDRESS = Optional(either("auto", mac)), Optional(either("auto", either("", address)))
_RESOLVED: Fields = {"source_mac": _MAC, "gateway_mac": _MAC, "source_ipv4": _ADDRESS, "source_ipv6": _ADDRESS}


def _resolved(value: t.Any, where: str) -> dict[str, t.Any]:
    read_fields(value, where, _RESOLVED)
    return t.cast("dict[str, t.Any]", value)


def _options(value: t.Any, where: str) -> dict[str, t.Any]:
    if value == {}:
        return {}
    found = read_fields(value, where, _OPTIONS)
    try:
        parse_healthcheck({**found, "source_dir": ""})
    except ConfigError as error:
        # The first of what may be many faults.
        name, _colon, sentence = str(error).partition("; ")[0].partition(": ")
        raise Fault(f"{where}.{name}", sentence) from error
    return found
