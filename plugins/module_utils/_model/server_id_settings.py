# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of module server_id_option, validated."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping
from dataclasses import dataclass

from .faults import Faults
from .options import SOURCE_DIR, Spec
from .server_id_record import ENTRIES, LARGEST_ID, MOST_ENTRIES, ServerIdRecord
from .shape import is_number
from .unit_names import unit_fault

SERVER_ID_OPTION: Spec = {
    "state": {"type": "str", "choices": ["attached", "absent"], "default": "attached"},
    "units": {"type": "list", "elements": "str", "default": []},
    "id": {"type": "int", "default": 0},
    "fallback_id": {"type": "int", "default": 0},
    "entries": {"type": "int", "default": ENTRIES},
    "restart": {"type": "bool", "default": False},
    "source_dir": SOURCE_DIR,
}


@dataclass(frozen=True)
class ServerIdSettings:
    """What module server_id_option is asked for. `server_id`, `fallback_id`: 0 is none.

    `entries`: connections of clients that have an id to echo at a time. `restart`: start services anew that listened
    before the program was there. `source_dir` "": the bytecode of the last run, as at boot.
    """

    units: tuple[str, ...]
    server_id: int = 0
    fallback_id: int = 0
    entries: int = ENTRIES
    restart: bool = False
    source_dir: str = ""

    @property
    def names(self) -> bool:
        """Whether servers on this host name themselves."""
        return bool(self.server_id or self.fallback_id)


def units_faults(units: t.Iterable[t.Any], name: str) -> list[str]:
    """What is wrong with a list of units, by entry. `name`: what it is called."""
    found: list[str] = []
    seen: set[str] = set()
    for index, each in enumerate(map(str, units)):
        wrong = unit_fault(each)
        if wrong or each in seen:
            found.append(f"{name}[{index}]: {wrong or f'{each} is listed twice'}")
        seen.add(each)
    return found


_RANGES = {"id": (0, LARGEST_ID), "fallback_id": (0, LARGEST_ID), "entries": (1, MOST_ENTRIES)}


def range_faults(numbers: Mapping[str, t.Any], prefix: str = "") -> list[str]:
    """What is wrong with numbers of the module, by option. `prefix`: of the names by which they are told."""
    return [
        f"{prefix}{name}: {value} is not in {_RANGES[name][0]} to {_RANGES[name][1]}"
        for name, value in numbers.items()
        if not is_number(value, *_RANGES[name])
    ]


def parse_server_id(params: Mapping[str, t.Any]) -> ServerIdSettings:
    """The options of module server_id_option, validated. ConfigError lists all faults."""
    faults = Faults()
    for line in units_faults(params["units"], "units"):
        faults.add(*line.split(": ", 1))
    if not params["units"]:
        faults.add("units", "state attached needs at least one unit")
    for line in range_faults({name: params[name] for name in _RANGES}):
        faults.add(*line.split(": ", 1))
    faults.check()
    return ServerIdSettings(
        tuple(map(str, params["units"])),
        params["id"],
        params["fallback_id"],
        params["entries"],
        params.get("restart", False),
        params["source_dir"],
    )


def kept_settings(record: ServerIdRecord) -> ServerIdSettings | None:
    """The settings of the last run, without sources: its bytecode is kept. None where there was none."""
    kept = record.settings
    if kept is None:
        return None
    return ServerIdSettings(tuple(record.wanted), kept.server_id, kept.fallback_id, kept.entries)
