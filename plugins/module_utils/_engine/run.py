# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The way that every run goes: lock, finish what a killed run began, read, plan, and in check mode no further; do."""

from __future__ import annotations

import typing as t
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from .._kernel.lock import locked
from .._kernel.state_folder import StateFolder
from .._model.program_plan import ProgramPlan
from .._program.requirements import require_capabilities
from .request import Result

S = t.TypeVar("S")
P = t.TypeVar("P", bound="Plan")


class Plan(t.Protocol):
    """What a run is going to do."""

    def require(self) -> None:
        """Raise where the host lacks something that it takes."""


def _nothing() -> None:
    return None


@dataclass(frozen=True)
class Job(t.Generic[S, P]):
    """One run's parts. Only `recover` and `execute` change anything.

    `prepare`: what may take seconds, before the lock is taken; `recover`: finish or undo what a killed run began;
    `read`: a snapshot of all that the plan depends on; `plan`: pure; `preview`: what the plan is going to do.
    """

    read: Callable[[], S]
    plan: Callable[[S], P]
    preview: Callable[[P], Result]
    execute: Callable[[P], Result]
    recover: Callable[[], None] = _nothing
    prepare: Callable[[], None] = _nothing


def run(
    job: Job[t.Any, t.Any],
    file: StateFolder,
    check: bool,
    timeout: float,
    around: Callable[[Callable[[], Result]], Result] = lambda work: work(),
) -> Result:
    """Do a job, or in check mode only say what that takes. Every failure is an exception with one sentence.

    `around`: does it, and what is to be done beside it under the lock.
    """
    require_capabilities()
    job.prepare()
    with locked(file.instance, not check, timeout):
        closed = file.close(check)
        result = around(partial(run_locked, job, check))
        result.changes[:0] = closed
        return result


def run_locked(job: Job[t.Any, t.Any], check: bool) -> Result:
    """The same for a caller that holds the lock."""
    if check:
        return job.preview(job.plan(job.read()))
    job.recover()
    plan = job.plan(job.read())
    plan.require()
    return job.execute(plan)


def told(plan: ProgramPlan) -> Result:
    """What a program's plan says of itself."""
    return Result(
        changes=list(plan.changes),
        operations=plan.operations,
        before=plan.before,
        after=plan.after,
        warnings=list(plan.warnings),
        missing=list(plan.missing),
    )


def preview(plan: ProgramPlan) -> Result:
    """The same of a review, which passes over what the host lacks."""
    result = told(plan)
    result.warnings = plan.reviewed()
    return result
