# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is kept of program server_id_option: the content of server_id_option.json."""

from __future__ import annotations

from dataclasses import dataclass, field

from .program_file import ProgramFile
from .records import Fields, Optional, distinct, number, record, text
from .unit_names import unit

PROGRAM = "server_id_option"
OWN, SOCKETS, LISTENERS, COUNTERS = (
    "server_id_own",
    "server_id_of_socket",
    "server_id_listeners",
    "server_id_counters",
)
COUNTED = ("set", "read", "missing", "wrong")
"""What the program counts, in the order of the map's fields."""

LARGEST_ID = 0xFFFFFFFF
ENTRIES = 65_536
MOST_ENTRIES = 16_777_216


@dataclass(frozen=True)
class ServerIdKept:
    """The settings of the last run. `server_id`, `fallback_id`: 0 is none; `entries`: connections of clients."""

    server_id: int = 0
    fallback_id: int = 0
    entries: int = ENTRIES
    source_dir: str = ""


@dataclass
class ServerIdRecord(ProgramFile):
    """The content of server_id_option.json. `units`: those in whose groups it is, or, if a run was killed, may be.

    `wanted`: those where it is to be.
    """

    units: list[str] = field(default_factory=list)
    wanted: list[str] = field(default_factory=list)
    settings: ServerIdKept | None = None

    @classmethod
    def fields(cls) -> Fields:
        """How each field is read."""
        settings = record(
            ServerIdKept,
            server_id=number(0, LARGEST_ID),
            fallback_id=number(0, LARGEST_ID),
            entries=number(1, MOST_ENTRIES),
            source_dir=Optional(text),
        )
        return {
            **super().fields(),
            "units": Optional(distinct(unit)),
            "wanted": Optional(distinct(unit)),
            "settings": Optional(settings),
        }
