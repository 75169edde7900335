# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program that state.json has on record, for whoever needs no more of that file."""

from __future__ import annotations

import json
from dataclasses import dataclass

from .snapshot import RootArray


@dataclass(frozen=True)
class ProgramOnRecord:
    """What state.json says of the program: no more is asked of it here."""

    tag: str | None = None
    interfaces: tuple[str, ...] = ()
    slot: RootArray | None = None
    next: object = None


def program_on_record(text: str | None) -> ProgramOnRecord:
    """The program on record; none where the file is damaged, which who needs the rest of it tells."""
    try:
        program = json.loads(text or "{}")["program"]
        slot = RootArray(**program["slot"]) if program.get("slot") else None
        return ProgramOnRecord(program.get("tag"), tuple(program.get("interfaces", ())), slot, program.get("next"))
    except (ValueError, TypeError, KeyError, AttributeError):
        return ProgramOnRecord()
