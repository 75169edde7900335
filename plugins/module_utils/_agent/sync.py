# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Flow exceptions of one balancer, as the agent sees them: a process of their own that it starts, asks and reads."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
import typing as t
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from .._model.handed_over import ACKNOWLEDGED, UNREACHABLE, WAITING
from .._model.sync_settings import SyncSettings

_MODULE = "ansible_collections.katran.fleet.plugins.module_utils._agent.sync_process"
# Not resolved: in a clone the collection is a link.
_ROOT = str(Path(__file__).absolute().parents[6])
_AGAIN = 2.0
"""Seconds until a process that ended is started anew."""

_LONGEST_WAIT = 75.0
"""Seconds after which nobody waits for the process to say that it is in sync."""

_LINE = 1 << 20


def command(root: str = _ROOT) -> list[str]:
    """What starts the process. `root`: the folder that ansible_collections is in."""
    return [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {root!r}); from {_MODULE} import main; main()"]


class Sync:
    """The exceptions of one instance. `told` gets a sentence for each thing that changed for the worse or the better.

    Without start() nothing is listened to; nor is there a Sync without settings, and so without a key.
    """

    def __init__(
        self,
        instance: str,
        bpffs: str,
        settings: SyncSettings,
        told: Callable[[str], None] = lambda _sentence: None,
        starter: Sequence[str] | None = None,
    ) -> None:
        self._settings = settings
        self._first = {
            "instance": instance,
            "bpffs": bpffs,
            "settings": {
                "address": settings.address,
                "port": settings.port,
                "peers": list(settings.peers),
                "key": settings.key.hex(),
            },
        }
        self._told = told
        self._starter = list(starter or command())
        self._process: Process | None = None
        self._task: asyncio.Task[None] | None = None
        self._report: dict[str, t.Any] = {}
        self._changed = asyncio.Event()
        self._number = 0
        self._restarts = 0
        self._started: float | None = None
        self._handing = 0
        self._failure = ""

    async def start(self) -> None:
        """Start the process, and anew whenever it ends."""
        if self._task is None:
            self._started = time.monotonic()
            self._task = asyncio.create_task(self._keep(), name="flow exceptions")

    async def stop(self) -> None:
        """End the process. What peers were told they keep, and the global tables stay as they are."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def ring_changed(self) -> None:
        """A ring may have changed: look for exceptions now."""
        self._number += 1
        self._order()

    async def hand_over(self, timeout: float, patience: float | None = None) -> dict[str, bool]:
        """Before a balancer goes: scan, and wait until each peer has acknowledged everything. Peer → whether it has.

        `patience`: seconds after which a peer that does not answer at all is waited for no more; as long as the others
        by default.
        """
        self.ring_changed()
        self._handing = self._number
        until = time.monotonic() + (timeout if patience is None else patience)

        async def done() -> None:
            while not self._is_handed(time.monotonic() >= until):
                self._changed.clear()
                # The process reports every second, changed or not; one that has ended does not.
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), 1.0)

        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(done(), timeout)
        return {peer: state == ACKNOWLEDGED for peer, state in self.handed().items()}

    def handed(self) -> dict[str, str]:
        """Peer → what it did of what was last to be handed over: one of the words of `_model/handed_over.py`."""
        scanned = self._report.get("scanned", -1) >= self._handing
        reached: Mapping[str, bool] = self._report.get("reached", {})
        return {
            peer: ACKNOWLEDGED
            if scanned and acknowledged
            else WAITING
            if reached.get(peer) or not scanned
            else UNREACHABLE
            for peer, acknowledged in self._done().items()
        }

    def _is_handed(self, impatient: bool) -> bool:
        """Whether nobody is to be waited for; who cannot be reached is, unless `impatient`."""
        enough = {ACKNOWLEDGED, UNREACHABLE} if impatient else {ACKNOWLEDGED}
        return enough.issuperset(self.handed().values()) and self._report.get("scanned", -1) >= self._handing

    def stats(self) -> Mapping[str, float]:
        """Counters by name: those that only grow end in _total."""
        found: dict[str, float] = dict(self._report.get("stats", {}))
        found["restarts_total"] = self._restarts
        found["running"] = float(self._process is not None)
        return found

    def in_sync(self) -> bool:
        """Whether this balancer holds what its peers had to tell when it began, so that it may take flows over."""
        waited = time.monotonic() - self._started if self._started is not None else 0.0
        # Exceptions that cannot be had are no reason to serve nobody.
        return bool(self._report.get("in_sync", False)) or not self._settings.peers or waited > _LONGEST_WAIT

    def _done(self) -> dict[str, bool]:
        told: Mapping[str, bool] = self._report.get("done", {})
        return {peer: bool(told.get(peer, False)) for peer in self._settings.peers}

    def _order(self) -> None:
        process = self._process
        if process is not None and process.stdin is not None and not process.stdin.is_closing():
            process.stdin.write(json.dumps({"scan": self._number}).encode() + b"\n")

    async def _keep(self) -> None:
        while True:
            try:
                await self._run()
            except OSError as error:
                self._tell_failure(f"the process of flow exceptions cannot be started: {error.strerror}")
            except ValueError as error:
                self._tell_failure(f"the process of flow exceptions said what is no report: {error}")
            self._restarts += 1
            await asyncio.sleep(_AGAIN)

    async def _run(self) -> None:
        process = await asyncio.create_subprocess_exec(*self._starter, stdin=PIPE, stdout=PIPE, limit=_LINE)
        self._process = process
        try:
            into = t.cast("asyncio.StreamWriter", process.stdin)
            out = t.cast("asyncio.StreamReader", process.stdout)
            # By a pipe: a command line and an environment are everybody's to read.
            into.write(json.dumps(self._first).encode() + b"\n")
            self._order()
            while line := await out.readline():
                self._take(json.loads(line))
            self._tell_failure(f"the process of flow exceptions ended (exit status {await process.wait()})")
        finally:
            self._process = None
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()

    def _take(self, report: dict[str, t.Any]) -> None:
        if "failed" in report:
            self._tell_failure(report["failed"])
            return
        trouble = report.get("trouble", "")
        if trouble:
            self._tell_failure(f"flow exceptions: {trouble}")
        elif report.get("scanned", 0) >= 0:
            self._failure = ""
        before, self._report = self._report, report
        if report.get("in_sync") and not before.get("in_sync"):
            held = int(report["stats"].get("held", 0))
            self._told(f"flow exceptions: in sync with the peers, {held} flows held for them")
        self._changed.set()

    def _tell_failure(self, sentence: str) -> None:
        """Once, however often it is tried."""
        if sentence != self._failure:
            self._failure = sentence
            self._told(sentence)
        self._changed.set()
