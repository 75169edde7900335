# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The runs of the engine that the agent has made: those of verdicts, and those of the marks that probes bear."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence

from .._engine.known_tables import known_table
from .._engine.request import Request, Result
from .._engine.resource import apply_locked
from .._engine.verdicts import apply_verdicts
from .._kernel.lock import locked
from .._kernel.state_folder import StateFolder
from .._model.entries import Asked
from .._model.marks import is_ours
from .._model.tables import TABLES
from .._model.verdicts import Verdict
from .._program.requirements import require_capabilities
from .jobs_server import Jobs

LOCK_SECONDS = 1.0
"""As long a run waits for another one: then the agent asks again, for what is wanted by then."""

_DESTINATIONS = TABLES["healthcheck_destinations"]


def jobs() -> Jobs:
    """Name → job."""
    return {"verdicts": _apply, "marks": _mark}


def _apply(instance: str, bpffs: str, verdicts: Sequence[Sequence[t.Any]]) -> dict[str, t.Any]:
    """Bring the rings to these verdicts."""
    result = apply_verdicts(Request(instance, bpffs, LOCK_SECONDS, check=False), [Verdict(*each) for each in verdicts])
    return _told(result)


def _mark(instance: str, bpffs: str, marks: Mapping[str, int]) -> dict[str, t.Any]:
    """Let these marks, real → mark, lead to reals, and no others of the agent's."""
    require_capabilities()
    request = Request(instance, bpffs, LOCK_SECONDS, check=False)
    with locked(instance, True, LOCK_SECONDS):
        rows = [{"mark": mark, "real": real} for real, mark in marks.items()]
        result = _told(apply_locked(_DESTINATIONS.name, request, Asked(rows, "merged")))
        there = known_table(_DESTINATIONS, StateFolder(instance, bpffs), None, {"hc_reals_map": {}})
        stale = [{"mark": mark} for mark in there if is_ours(mark) and mark not in marks.values()]
        if stale:
            gone = _told(apply_locked(_DESTINATIONS.name, request, Asked(stale, "deleted")))
            result["changes"] += gone["changes"]
        return result


def _told(result: Result) -> dict[str, t.Any]:
    return {"changes": result.changes, "drift": result.drift, "warnings": result.warnings, "writes": result.operations}
