# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The loop of the agent: what happens when, for all balancers of the host."""

from __future__ import annotations

import asyncio
import contextlib
import time
import typing as t
from collections.abc import Mapping, Sequence

from .._kernel.state_folder import instances
from .._model.errors import FleetError, StateError
from .._model.health import Answer
from .._model.probe_path import Reach
from .._model.snapshot import RootArray
from .._model.watch import Place, news
from .instance import Instance
from .journal import NOTICE, WARNING, Journal
from .kernel_told import Kernel
from .notify import notify, watchdog_seconds
from .prober import Aim, Prober
from .version import VERSION
from .view import View
from .worker import Worker

TICK_SECONDS = 0.1
_FILES_SECONDS = 0.2
_LOOK_SECONDS = 3.0
_FOLLOW_SECONDS = 15.0
"""So often program healthcheck and the gateway's MAC are compared although nothing was told."""

_NEWS_SECONDS = 1.0
"""What the kernel tells is followed no more often than this."""


class Agent:
    """Everything that lives as long as the process. `command`: what starts a worker, before its name."""

    def __init__(self, command: Sequence[str], journal: Journal, salt: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._journal, self._salt = journal, salt
        self._runs = Worker([*command, "runs"])
        self._looks = Worker([*command, "looks"])
        self._kernel = Kernel()
        self._prober = Prober(self._answered, self._reach)
        self._instances: dict[str, Instance] = {}
        self._places: dict[Place, str] = {}
        self._wrong = ""
        self._balancers: Mapping[str, Mapping[str, t.Any]] = {}
        self._follows: dict[str, str] = {}
        self._followed = 0.0
        self._reading = 0.0
        self._started = time.time()
        self._lag = 0.0
        self._answers: dict[str, int] = {}
        self.stopping = asyncio.Event()
        self.reloading = asyncio.Event()

    async def run(self) -> None:
        """Until `stopping` is set. Verdicts, routes and flows stay as they are."""
        self._read_all()
        notify("READY=1", f"STATUS={self._status()}")
        work = [
            self._loop.create_task(self._tick_forever(), name="ticks"),
            self._loop.create_task(self._look_forever(), name="looks"),
        ]
        if watchdog_seconds():
            work.append(self._loop.create_task(self._be_watched(), name="watchdog"))
        ending = self._loop.create_task(self.stopping.wait(), name="end")
        try:
            while not ending.done():
                every = [ending, *work, *(each.task for each in self._instances.values())]
                await asyncio.wait(every, timeout=1.0, return_when=asyncio.FIRST_COMPLETED)
                for task in every[1:]:
                    if task.done() and not task.cancelled():
                        # None of them ends by itself: what is left of the agent would be half of one.
                        task.result()
        finally:
            notify("STOPPING=1")
            for task in (*work, ending):
                task.cancel()
            await self._close()

    async def _close(self) -> None:
        self._prober.stop()
        self._kernel.close()
        for each in self._instances.values():
            await each.close()
        await asyncio.gather(self._runs.close(), self._looks.close())

    # Time

    async def _tick_forever(self) -> None:
        due = self._loop.time()
        while True:
            self._tick(self._loop.time())
            due = max(due + TICK_SECONDS, self._loop.time())
            await asyncio.sleep(due - self._loop.time())
            self._lag = max(self._loop.time() - due, self._lag * 0.99)

    def _tick(self, now: float) -> None:
        if self.reloading.is_set() or now - self._reading >= _FILES_SECONDS:
            self._reading = now
            self._read_all()
            if self.reloading.is_set():
                self.reloading.clear()
                self._kernel.told.set()
                notify("READY=1", f"STATUS={self._status()}")
        for each in self._instances.values():
            each.judge()
            each.write(now)
        self._journal.sum_up(time.monotonic())

    def _read_all(self) -> None:
        """What runs left, what others say, and whether somebody asks for all checks at once."""
        try:
            there = instances()
        except StateError as error:
            self._say(str(error))
            return
        for name in there:
            if name not in self._instances:
                self._instances[name] = Instance(name, self._salt, self._runs, self._journal, self._on_targets)
        for name in [name for name in self._instances if name not in there]:
            gone = self._instances.pop(name)
            self._loop.create_task(gone.close())
            self._on_targets(gone)
        for each in self._instances.values():
            each.refresh()
            if each.was_kicked():
                self._prober.kick([Aim(each.name, target) for target in each.checks.checked.pairs])

    def _say(self, sentence: str) -> None:
        if sentence != self._wrong:
            self._wrong = sentence
            if sentence:
                self._journal.tell(WARNING, sentence)

    async def _be_watched(self) -> None:
        """Tell systemd that the loop goes round, which only a loop that does can."""
        while True:
            notify("WATCHDOG=1", f"STATUS={self._status()}")
            await asyncio.sleep(watchdog_seconds())

    def _status(self) -> str:
        checked = sum(len(each.checks.checked.pairs) for each in self._instances.values())
        out = sum(len(each.checks.judged.verdicts) for each in self._instances.values())
        return f"{len(self._instances)} balancers, {checked} targets checked, {out} verdicts"

    # Probes

    def _on_targets(self, _instance: Instance) -> None:
        now = self._loop.time()
        self._prober.set_targets(
            {
                Aim(name, target): first
                for name, each in self._instances.items()
                for target, first in each.checks.first(now).items()
            }
        )

    def _answered(self, aim: Aim, answer: Answer, started: float, now: float) -> float:
        self._answers[answer.state] = self._answers.get(answer.state, 0) + 1
        instance = self._instances.get(aim.instance)
        if instance is None:
            return now + aim.target.probe.interval
        due = instance.checks.answered(aim.target, answer, started, now)
        if instance.checks.stale:
            # After what else is heard in this round of the loop: much may change at once.
            self._loop.call_soon(instance.judge)
        return due

    def _reach(self, aim: Aim) -> Reach:
        instance = self._instances.get(aim.instance)
        return instance.reach(aim.target) if instance else Reach(obstacle="the balancer is gone")

    # The kernel

    async def _look_forever(self) -> None:
        while True:
            told = self._kernel.told.is_set()
            self._kernel.told.clear()
            try:
                self._seen(await self._looks.ask("look"))
                await self._follow(told)
                self._say("")
            except FleetError as error:
                self._say(f"katran-agent cannot look at the kernel: {error}")
            began = self._loop.time()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._kernel.told.wait(), _LOOK_SECONDS)
            await asyncio.sleep(max(0.0, began + 0.2 - self._loop.time()))

    def _seen(self, look: Mapping[str, t.Any]) -> None:
        """Take a look, and tell where programs run no more, or again."""
        after = {
            Place(instance, program, RootArray(*where) if isinstance(where, list) else where): wrong
            for instance, program, where, wrong in look["places"]
        }
        for place, sentence in after.items():
            for wrong, line in news(self._places, {place: sentence}):
                fields = {"instance": place.instance, "program": place.program, "place": place.spot}
                self._journal.tell(WARNING if wrong else NOTICE, line, **fields)
        self._places = after
        for name, each in self._instances.items():
            mine = {place: wrong for place, wrong in after.items() if place.instance == name}
            each.see(look["balancers"].get(name, {}), mine, self._loop.time())
        self._balancers = look["balancers"]

    async def _follow(self, told: bool) -> None:
        """Have the gateway's MAC followed where it is another, and program healthcheck where something was told."""
        now = self._loop.time()
        every = now - self._followed >= _FOLLOW_SECONDS or (told and now - self._followed >= _NEWS_SECONDS)
        if every:
            self._followed = now
        for name, look in self._balancers.items():
            known = look.get("gateway", "")
            moved = bool(known) and look.get("sure", False) and known != look.get("mac")
            balancer = bool(known) and (moved or every)
            checker = bool(look.get("checker_follows")) and (moved or every)
            if balancer or checker:
                await self._follow_one(name, balancer, checker)

    async def _follow_one(self, name: str, balancer: bool, checker: bool) -> None:
        try:
            lines = await self._looks.ask("follow", instance=name, balancer=balancer, checker=checker)
        except FleetError as error:
            if not getattr(error, "locked", False) and self._follows.get(name) != str(error):
                self._follows[name] = str(error)
                self._journal.tell(WARNING, str(error), instance=name)
            return
        self._follows.pop(name, None)
        for line in lines:
            self._journal.tell(NOTICE, line, instance=name)
        if lines:
            self._kernel.told.set()

    # What others are shown

    def view(self) -> View:
        """What is known at this moment."""
        found = {name: each.view() for name, each in self._instances.items()}
        return View(time.time(), VERSION, found, self._started, self._lag, dict(self._answers))
