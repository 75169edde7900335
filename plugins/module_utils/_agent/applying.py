# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The runs that one balancer needs: the newest of what is wanted, one after another, again where one failed."""

from __future__ import annotations

import asyncio
import contextlib
import time
import typing as t
from collections.abc import Callable, Mapping, Sequence

from .._model.errors import FleetError
from .._model.verdicts import Verdict
from .journal import NOTICE, WARNING, Journal
from .troubles import Troubles
from .worker import RunFailedError, Worker

_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 30.0
"""Seconds until a run that failed is tried again; each failure doubles them, up to the longest."""

_PATIENCE = 30.0
"""Seconds that another run may hold the lock before that is told."""

Told = Callable[[str], None]


class Runs:
    """Has the marks of probes and verdicts brought to the maps.

    `marked`: real → mark, as last made; `done`, `failed`: how many runs; `drift`: lines of what somebody else changed.
    """

    def __init__(self, instance: str, worker: Worker, troubles: Troubles, journal: Journal) -> None:
        self.instance = instance
        self.marked: Mapping[str, int] = {}
        self.done = self.failed = self.drift = 0
        self._worker, self._troubles, self._journal = worker, troubles, journal
        self._wanted = asyncio.Event()
        self._bpffs = ""
        self._marks: Mapping[str, int] | None = None
        self._verdicts: tuple[Verdict, ...] = ()
        self._there: tuple[tuple[Verdict, ...], bool] = (), False
        self._tried: t.Any = None
        self._marked_at = 0.0
        self._task: asyncio.Task[None] | None = None

    def start(self, ended: Told) -> asyncio.Task[None]:
        """Begin. `ended`: told of each run that ended well, by what it was about."""
        self._task = asyncio.get_running_loop().create_task(self._forever(ended), name=f"runs of {self.instance}")
        return self._task

    async def close(self) -> None:
        """Make none any more."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def saw(self, marks: Mapping[str, int], began: float) -> None:
        """Which marks lead to reals, as a look found that began at this loop time; a run since then knows better."""
        if began >= self._marked_at:
            self.marked = marks

    def want(
        self,
        bpffs: str,
        marks: Mapping[str, int] | None,
        verdicts: tuple[Verdict, ...],
        stored: tuple[Verdict, ...],
        interrupted: bool,
    ) -> None:
        """What is to be.

        `marks` None: there is no program for them; `stored`: the verdicts that are applied; `interrupted`: whether a
        run may have been killed, and left a ring between two verdicts.
        """
        self._bpffs, self._marks, self._verdicts = bpffs, marks, verdicts
        self._there = stored, interrupted
        if self._is_marking or self._is_applying:
            self._wanted.set()

    @property
    def _is_marking(self) -> bool:
        return self._marks is not None and self._marks != self.marked

    @property
    def _is_applying(self) -> bool:
        # What a run does not take, such as a verdict on a VIP that is gone, is not asked for over and over.
        return self._there != (self._verdicts, False) and (self._verdicts, self._there) != self._tried

    async def _forever(self, ended: Told) -> None:
        pause: float | None = None
        while True:
            # Something else that is wanted before the pause is over may well succeed.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wanted.wait(), pause)
            self._wanted.clear()
            marked = not self._is_marking or await self._make("marks", self._mark, ended)
            wanted = self._verdicts
            applied = not self._is_applying or await self._make("verdicts", self._apply, ended)
            if applied:
                self._tried = wanted, self._there
            if marked and applied:
                pause = None
            else:
                pause = min((pause or _FIRST_PAUSE / 2) * 2, _LONGEST_PAUSE)
                await asyncio.sleep(_FIRST_PAUSE)

    async def _make(self, what: str, run: Callable[[], t.Awaitable[None]], ended: Told) -> bool:
        """Whether a run did not fail. One that only met another run is told of once that goes on for long."""
        try:
            await run()
        except FleetError as error:
            self.failed += 1
            locked = isinstance(error, RunFailedError) and error.locked
            self._troubles.begin(what, str(error), _PATIENCE if locked else 0.0)
            return False
        self.done += 1
        self._troubles.end(what)
        ended(what)
        return True

    async def _mark(self) -> None:
        marks = self._marks or {}
        await self._ask("marks", marks=marks)
        self.marked, self._marked_at = marks, asyncio.get_running_loop().time()

    async def _apply(self) -> None:
        began = time.monotonic()
        answer = await self._ask("verdicts", verdicts=self._verdicts)
        written = sum(answer["writes"].values())
        if written:
            took = round(time.monotonic() - began, 3)
            self._journal.change(
                time.monotonic(),
                NOTICE,
                f"verdicts applied, {written} entries written",
                instance=self.instance,
                writes=written,
                seconds=took,
            )

    async def _ask(self, job: str, **arguments: t.Any) -> t.Any:
        answer = await self._worker.ask(job, instance=self.instance, bpffs=self._bpffs, **arguments)
        self._tell_drift(answer["drift"])
        return answer

    def _tell_drift(self, lines: Sequence[str]) -> None:
        self.drift += len(lines)
        for line in lines:
            self._journal.change(time.monotonic(), WARNING, line, instance=self.instance)
