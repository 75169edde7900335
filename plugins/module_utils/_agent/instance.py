# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One balancer in the agent: what it knows, the runs that it wants, and the files that it keeps in /run."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
import typing as t
from collections.abc import Callable, Mapping, Sequence

from .._kernel.run_files import RunFiles
from .._model.checks import Target
from .._model.errors import FleetError, StateError
from .._model.marks import marks_of
from .._model.probe_path import Reach, Way, reach_of
from .._model.verdicts import Verdict, Words, by_vip, degraded
from .._model.vips import VipKey
from .._model.watch import Place
from .checking import Checks, told
from .journal import NOTICE, WARNING, Journal
from .known import StateReader
from .view import InstanceView
from .worker import RunFailedError, Worker

_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 30.0
"""Seconds until a run that failed is tried again; each failure doubles them."""

_PATIENCE = 30.0
"""Seconds that another run may hold the lock before that is told."""

_UNRESOLVED_SECONDS = 5.0
"""As long the kernel may look for the gateway's MAC before it counts as unknown: meanwhile the last one will do."""

NOTHING_SEEN = Way("", attached=False, marks={}, own=frozenset())


class Instance:
    """One balancer. `changed`: called where targets are others than before; `kicked`: where all are to be asked."""

    def __init__(
        self, name: str, salt: str, worker: Worker, journal: Journal, changed: Callable[[Instance], None]
    ) -> None:
        self.name = name
        self.files = RunFiles(name)
        self.checks = Checks(self.files, salt, lambda sentence: self.tell(WARNING, sentence))
        self.way = NOTHING_SEEN
        self.places: Mapping[Place, str] = {}
        self.gateway = ""
        self.pins: Sequence[str] = ()
        self.drift = self.runs = self.failed_runs = 0
        self._reader = StateReader(name)
        self._worker, self._journal, self._changed = worker, journal, changed
        self._wanted = asyncio.Event()
        self._stored: tuple[Verdict, ...] = ()
        self._tried: t.Any = None
        self._marked: Mapping[str, int] = {}
        self._degraded: Mapping[VipKey, str] = {}
        self._unresolved_since = 0.0
        self._kicked = self.files.kicked()
        self._written = 0.0
        self._dirty = True
        self._failures: dict[str, tuple[float, str]] = {}
        self._task = asyncio.get_running_loop().create_task(self._run_forever(), name=f"runs of {name}")
        self.checks.resume()

    @property
    def task(self) -> asyncio.Task[None]:
        """What has runs made; it ends with the instance alone."""
        return self._task

    @property
    def bpffs(self) -> str:
        """Where its maps are pinned."""
        return self.checks.known.bpffs

    def tell(self, priority: int, message: str, **fields: str | float) -> None:
        """An entry of the journal about this balancer."""
        self._journal.tell(priority, message, instance=self.name, **fields)

    async def close(self) -> None:
        """Have no more runs made, and write down what is known."""
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self._write_checks()

    # What there is

    def refresh(self) -> None:
        """Look whether state.json, others' words or the kick are others than before."""
        try:
            known = self._reader.read()
            self._settled("state")
        except StateError as error:
            self._failed("state", str(error))
            known = None
        if known is not None:
            before = self.checks.checked
            self._stored = tuple(known.verdicts)
            self.checks.take(known)
            if self.checks.checked is not before:
                self._changed(self)
            self._wanted.set()
        self.checks.read_words()

    def was_kicked(self) -> bool:
        """Whether somebody asks for all checks at once, since this was last asked."""
        before, self._kicked = self._kicked, self.files.kicked()
        return self._kicked not in (0, before)

    def reach(self, target: Target) -> Reach:
        """How a probe gets to its target at present."""
        return reach_of(target, self.way)

    def see(self, look: Mapping[str, t.Any], places: Mapping[Place, str], now: float) -> None:
        """Take what a look found. `now`: loop time."""
        self.places = places
        self.pins = look.get("pins", ())
        own = frozenset(look.get("own", ()))
        marks = self._marked if look.get("attached") else {}
        self.way = Way(look.get("checker", ""), bool(look.get("attached")), marks, own)
        mac = look.get("mac", "")
        if look.get("gateway", mac):
            self._unresolved_since = 0.0
        elif not self._unresolved_since:
            self._unresolved_since = now
        lost = bool(self._unresolved_since) and now - self._unresolved_since > _UNRESOLVED_SECONDS
        before, self.gateway = self.gateway, "" if lost else mac
        if lost and before:
            why = look.get("gateway_wrong", "")
            self.tell(WARNING, f"the gateway's MAC is not known: {why}", gateway="", reason=why)
        elif self.gateway and before != self.gateway and before:
            self.tell(NOTICE, f"gateway MAC {before} → {self.gateway}", gateway=self.gateway)
        if self._wanted_marks() != self._marked:
            self._wanted.set()

    def _wanted_marks(self) -> dict[str, int]:
        reals = {target.real for target in self.checks.checked.pairs} - self.way.own
        return marks_of(reals, self.checks.known.real_ids) if self.way.device and self.way.attached else {}

    # Verdicts

    def judge(self) -> None:
        """Judge anew where something may have changed, tell it, and have it applied."""
        if not self.checks.due(time.time()):
            return
        changes = self.checks.judge(self._stored)
        for line, fields in told(changes):
            priority = NOTICE if fields["state"] == "active" else WARNING
            self._journal.change(time.monotonic(), priority, line, instance=self.name, **fields)
        self._dirty = True
        if self.checks.judged.verdicts != self._stored:
            self._wanted.set()

    async def _run_forever(self) -> None:
        """Have made what is wanted, the newest of it, and again after a pause where that failed."""
        pause: float | None = None
        while True:
            # Something else that is wanted by then may well succeed.
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._wanted.wait(), pause)
            self._wanted.clear()
            if await self._make("marks", self._mark) & await self._make("verdicts", self._apply):
                pause = None
            else:
                pause = min((pause or _FIRST_PAUSE / 2) * 2, _LONGEST_PAUSE)
                await asyncio.sleep(_FIRST_PAUSE)

    async def _make(self, what: str, run: Callable[[], t.Awaitable[None]]) -> bool:
        """Whether a run did not fail. One that met another run is told of only where that goes on."""
        try:
            await run()
        except FleetError as error:
            self.failed_runs += 1
            self._failed(what, str(error), _PATIENCE if isinstance(error, RunFailedError) and error.locked else 0.0)
            return False
        self._settled(what)
        return True

    async def _mark(self) -> None:
        marks = self._wanted_marks()
        if marks == self._marked:
            return
        await self._ask("marks", marks=marks)
        self._marked = marks
        self.way = self.way._replace(marks=marks if self.way.attached else {})

    async def _apply(self) -> None:
        wanted = self.checks.judged.verdicts
        if wanted == self._stored or (wanted, self._stored) == self._tried or not self.checks.known.loaded:
            return
        began = time.monotonic()
        answer = await self._ask("verdicts", verdicts=wanted)
        self.refresh()
        # What a run does not take, such as a verdict about a VIP that is gone, is not asked for over and over.
        self._tried = wanted, self._stored
        for line in answer["drift"]:
            self.tell(WARNING, line)
        took = round(time.monotonic() - began, 3)
        slots = sum(answer["writes"].values())
        self.tell(NOTICE, f"verdicts applied: {slots} entries written", writes=slots, seconds=took)
        self._dirty = True

    async def _ask(self, job: str, **arguments: t.Any) -> t.Any:
        answer = await self._worker.ask(job, instance=self.name, bpffs=self.bpffs, **arguments)
        self.runs += 1
        self.drift += len(answer["drift"])
        return answer

    def _failed(self, what: str, sentence: str, patience: float = 0.0) -> None:
        """Tell why something cannot be done, once, and not before it could not for so many seconds."""
        since, before = self._failures.get(what, (time.monotonic(), ""))
        tell = before != sentence and time.monotonic() - since >= patience
        self._failures[what] = since, sentence if tell else before
        if tell:
            self.tell(WARNING, sentence, job=what)

    def _settled(self, what: str) -> None:
        if self._failures.pop(what, (0.0, ""))[1]:
            self.tell(NOTICE, f"{what}: done again", job=what)

    # What others are shown

    def words(self) -> Words:
        """What was said of reals, by hand and by checks as applied."""
        return Words(self.checks.known.overlay, by_vip(self._stored))

    def write(self, now: float) -> None:
        """Write checks.json, at most once a second and where nothing changed every other second. `now`: loop time."""
        if now - self._written >= (1.0 if self._dirty else 2.0):
            self._written, self._dirty = now, False
            self._write_checks()

    def _write_checks(self) -> None:
        vips = self.checks.known.vips
        self._degraded = degraded(vips, self.words()) if self._stored else {}
        record = self.checks.record({str(key): why for key, why in self._degraded.items()})
        try:
            self.files.write(self.files.checks, record.to_json())
            self._settled("checks.json")
        except StateError as error:
            self._failed("checks.json", str(error))

    def view(self) -> InstanceView:
        """What it knows at this moment."""
        known, words = self.checks.known, self.words()
        active = {
            key: sum(real.state == "active" and real.weight > 0 for real in words.combined(vip).reals)
            for key, vip in known.vips.items()
        }
        return InstanceView(
            self.name,
            known.vips,
            self.checks.checked.targets,
            dict(self.checks.healths),
            self._stored,
            active=active,
            degraded=self._degraded,
            places=self.places,
            gateway=self.gateway,
            pins=self.pins,
            drift=self.drift,
            runs=self.runs,
            failed_runs=self.failed_runs,
        )


def remove_run_files(name: str) -> None:
    """Remove what the agent keeps of an instance in /run."""
    files = RunFiles(name)
    for path in (files.checks, files.ready, files.kick):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
