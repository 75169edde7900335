# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host tells of itself to whoever compares all hosts."""

from __future__ import annotations

import time
import typing as t
from collections.abc import Sequence

from ..._kernel.state_folder import StateFolder
from ..._model.errors import EngineError
from ..request import Request
from .real import counters
from .run import examine
from .shared import shared_view


def told_to_fleet(request: Request, probes: bool, services: Sequence[tuple[str, int, int]]) -> dict[str, t.Any]:
    """Findings and what was seen, JSON-able. `installed`: whether the host has the instance at all.

    `services`: (address, protocol, port) of VIPs that are to be served here.
    """
    if not StateFolder(request.instance, request.bpffs).exists():
        return {"installed": False, "findings": [], "seen": {"at": time.time()}}
    try:
        found = examine(request, probes, services)
    except EngineError as error:
        return {"installed": False, "findings": [], "seen": {"at": time.time()}, "why": str(error)}
    seen = {**found.seen, "shared": shared_view(request)}
    return {"installed": True, "findings": [each._asdict() for each in found.findings], "seen": seen}


def only_counters(request: Request) -> dict[str, t.Any]:
    """A real's counters, to be compared with those of before."""
    return {"counters": counters(request)}
