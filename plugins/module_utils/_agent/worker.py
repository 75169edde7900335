# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs of the engine in a process of their own, so that probes go on meanwhile.

The process lives as long as the agent: it dies with it, and with it the lock that a run holds. Requests and answers are
lines of JSON, one answer for each request.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import typing as t
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence

from .._model.errors import FleetError

_LARGEST = 64 << 20
"""Bytes of one line: 51,200 verdicts take 8 MB."""

_LONGEST_RUN = 180.0
"""Seconds after which a process that does not answer is given up."""


class RunFailedError(FleetError):
    """A run said in one sentence why it could not be; `locked`: only because another run is at work."""

    def __init__(self, sentence: str, locked: bool = False) -> None:
        super().__init__(sentence)
        self.locked = locked


class Worker:
    """One such process; it is started when it is first needed, and again if it died. `command`: what starts it."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command
        self._process: Process | None = None
        self._turn = asyncio.Lock()
        self._owes = False
        self.started = 0
        """How many times the process was started."""

    @property
    def pid(self) -> int | None:
        """The process's id, None while there is none."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    async def ask(self, job: str, **arguments: t.Any) -> t.Any:
        """Have a job done; its answer. RunFailedError where it failed, or where the process died of it."""
        async with self._turn:
            if self._owes:
                # What it has still to say would be taken for the answer to this request.
                await self._end()
            self._owes = True
            try:
                answer = await asyncio.wait_for(self._asked(job, arguments), _LONGEST_RUN)
            except TimeoutError as error:
                await self._end()
                raise RunFailedError(f"the run took longer than {_LONGEST_RUN:g} s and was ended") from error
            self._owes = False
            if "error" in answer:
                raise RunFailedError(answer["error"], answer.get("locked", False))
            return answer["result"]

    async def _asked(self, job: str, arguments: dict[str, t.Any]) -> t.Any:
        try:
            into, out = await self._running()
            into.write(json.dumps([job, arguments]).encode() + b"\n")
            await into.drain()
            line = await out.readline()
        except (OSError, ValueError) as error:
            await self._end()
            raise RunFailedError(f"the process of runs does not answer: {error}") from error
        if not line.endswith(b"\n"):
            raise RunFailedError(f"the process of runs ended in the middle of one ({_ending(await self._ended())})")
        return json.loads(line)

    async def _running(self) -> tuple[asyncio.StreamWriter, asyncio.StreamReader]:
        """The two ends of the process that is there, or else of a new one."""
        process = self._process
        if process is None or process.returncode is not None:
            process = await asyncio.create_subprocess_exec(*self._command, stdin=PIPE, stdout=PIPE, limit=_LARGEST)
            self._process = process
            self.started += 1
        return t.cast("asyncio.StreamWriter", process.stdin), t.cast("asyncio.StreamReader", process.stdout)

    async def _ended(self) -> int | None:
        """The exit status of a process that says no more.

        To kill it asks whether it has ended, and whoever waits for it at the same time loses its exit status.
        """
        if self._process is not None:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._process.wait(), 1.0)
        return await self._end()

    async def _end(self) -> int | None:
        """End the process at once; its exit status."""
        process, self._process, self._owes = self._process, None, False
        if process is None:
            return None
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        return await process.wait()

    async def close(self, seconds: float = 10.0) -> None:
        """Let the run at work end, and then the process; after so many seconds end it where it is."""
        process = self._process
        if process is None or process.returncode is not None or process.stdin is None:
            return
        process.stdin.close()
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(process.wait(), seconds)
        await self._end()


def _ending(status: int | None) -> str:
    if status is not None and status < 0:
        with contextlib.suppress(ValueError):
            return signal.Signals(-status).name
    return f"exit status {status}"
