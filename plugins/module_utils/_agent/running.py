# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The runs of the engine that the agent has made: those of verdicts, and those of the marks that probes bear."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence

from .._engine.probe_destinations import keep_probe_destinations
from .._engine.request import Request, Result
from .._engine.verdicts import apply_verdicts
from .._model.verdicts import Verdict
from .jobs_server import Jobs

LOCK_SECONDS = 1.0
"""As long a run waits for another one: then the agent asks again, for what is wanted by then."""


def jobs() -> Jobs:
    """Name → job."""
    return {"verdicts": _apply, "marks": _mark}


def _apply(instance: str, bpffs: str, verdicts: Sequence[Sequence[t.Any]]) -> dict[str, t.Any]:
    """Bring the rings to these verdicts."""
    result = apply_verdicts(Request(instance, bpffs, LOCK_SECONDS, check=False), [Verdict(*each) for each in verdicts])
    return _told(result)


def _mark(instance: str, bpffs: str, marks: Mapping[str, int]) -> dict[str, t.Any]:
    """Let these marks, real → mark, lead to reals, and no others of the agent's."""
    return _told(keep_probe_destinations(Request(instance, bpffs, LOCK_SECONDS, check=False), marks))


def _told(result: Result) -> dict[str, t.Any]:
    return {"changes": result.changes, "drift": result.drift, "warnings": result.warnings, "writes": result.operations}
