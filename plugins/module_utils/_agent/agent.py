# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The loop of the agent: what happens when, for all balancers of the host."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from .._kernel.agent_lock import hold
from .._kernel.run_files import RunFiles
from .._kernel.state_folder import instances
from .._model.agent_settings import AgentSettings
from .._model.checks import Target
from .._model.errors import StateError
from .._model.health import Answer
from .._model.marks import MOST_BALANCERS, number_for
from .._model.probe_path import Reach
from .announcer import others_of
from .instance import Instance, Part
from .journal import NOTICE, Journal
from .looks import Looks
from .notify import notify, watchdog_seconds
from .pending import Aim
from .prober import Prober
from .services import MetricsService
from .settings_files import SettingsFiles
from .troubles import Troubles, unexpected
from .version import VERSION
from .view import View
from .worker import Worker

_TICK_SECONDS = 0.1
_FILES_SECONDS = 0.2
_ANNOUNCE_SECONDS = 0.5


class Agent:
    """Everything that lives as long as the process. `command`: what starts a worker, before its name."""

    def __init__(self, command: Sequence[str], journal: Journal, salt: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._journal, self._salt = journal, salt
        self._instances: dict[str, Instance] = {}
        self._settings = SettingsFiles(Troubles(journal))
        self._troubles = Troubles(journal)
        self._runs = Worker([*command, "runs"])
        self._looks = Looks(Worker([*command, "looks"]), journal, self._instances)
        self._prober = Prober(self._answered, self._reach)
        self._metrics = MetricsService(self.view, lambda name: self._instances[name].bpffs, journal)
        self._closing: set[asyncio.Task[None]] = set()
        self._read_at = self._announced_at = 0.0
        self._started = time.time()
        self._lag = 0.0
        self._answers: dict[str, int] = {}
        self.stopping = asyncio.Event()
        self.reloading = asyncio.Event()

    async def run(self) -> None:
        """Until `stopping` is set. Verdicts, routes and flows stay as they are."""
        self._read_all()
        work = [
            self._loop.create_task(self._tick_forever(), name="ticks"),
            self._loop.create_task(self._looks.forever(), name="looks"),
            self._loop.create_task(self._serve_forever(), name="services"),
        ]
        if watchdog_seconds():
            work.append(self._loop.create_task(self._be_watched(), name="watchdog"))
        notify("READY=1", f"STATUS={self._status()}")
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
        self._looks.close()
        await self._metrics.close()
        for each in self._instances.values():
            await each.close()
        await asyncio.gather(self._runs.close(), self._looks.worker.close(), *self._closing)

    # Time

    async def _tick_forever(self) -> None:
        due = self._loop.time()
        while True:
            await self._tick(self._loop.time())
            due = max(due + _TICK_SECONDS, self._loop.time())
            await asyncio.sleep(due - self._loop.time())
            self._lag = max(self._loop.time() - due, self._lag * 0.99)

    async def _tick(self, now: float) -> None:
        """What is due. With hundreds of VIPs a step takes tens of milliseconds: probes go on between two."""
        reloading = self.reloading.is_set()
        if reloading or now - self._read_at >= _FILES_SECONDS:
            self._read_at = now
            self._read_all()
            await asyncio.sleep(0)
        for step in (self._judge, self._combine, self._write):
            for each in list(self._instances.values()):
                self._guarded(each, step)
                await asyncio.sleep(0)
        if reloading or now - self._announced_at >= _ANNOUNCE_SECONDS:
            self._announced_at = now
            self._announce()
        if reloading:
            self.reloading.clear()
            self._looks.hurry()
            self._journal.tell(NOTICE, "settings read again")
            notify("READY=1", f"STATUS={self._status()}")
        self._journal.sum_up(time.monotonic())

    def _judge(self, each: Instance) -> None:
        each.judge()

    def _combine(self, each: Instance) -> None:
        each.combine()

    def _write(self, each: Instance) -> None:
        each.write(self._loop.time())

    async def _serve_forever(self) -> None:
        """Have metrics and flow exceptions follow the settings."""
        while True:
            every = {name: each.settings for name, each in self._instances.items()}
            await self._metrics.keep(every, self._loop.time())
            for each in list(self._instances.values()):
                await each.sync.keep(each.settings if each.bpffs else None, each.bpffs)
            await asyncio.sleep(_ANNOUNCE_SECONDS)

    async def _be_watched(self) -> None:
        """Tell systemd that the loop goes round, which only a loop that does can."""
        while True:
            notify("WATCHDOG=1", f"STATUS={self._status()}")
            await asyncio.sleep(watchdog_seconds())

    def _status(self) -> str:
        targets = sum(len(each.checks.checked.pairs) for each in self._instances.values())
        verdicts = sum(len(each.checks.judged.verdicts) for each in self._instances.values())
        return f"balancers: {len(self._instances)}, targets checked: {targets}, verdicts: {verdicts}"

    # Files

    def _read_all(self) -> None:
        """What runs left, what others say, and whether somebody asks for all checks at once."""
        try:
            there = instances()
            self._troubles.end("instances")
        except StateError as error:
            self._troubles.begin("instances", str(error))
            return
        self._settle(there)
        for each in self._instances.values():
            self._guarded(each, self._read)

    def _read(self, each: Instance) -> None:
        each.refresh()
        if each.was_kicked():
            self._kick(each.name, each.checks.checked.pairs)

    def _guarded(self, each: Instance, step: Callable[[Instance], None]) -> None:
        """Take a step for one balancer; whatever it stumbles over, the others go on."""
        about = f"step {step.__name__}"
        try:
            step(each)
        # pylint: disable-next=broad-exception-caught
        except Exception as error:  # noqa: BLE001  # what nobody thought of is told, and no reason to leave the rest
            each.troubles.begin(about, unexpected(f"balancer {each.name}", error))
        else:
            each.troubles.end(about)

    def _settle(self, there: Sequence[str]) -> None:
        """Take part in the balancers that have settings, and in no others."""
        wanted = self._settings.read(there)
        for name, settings in wanted.items():
            each = self._instances.get(name)
            if each is None:
                self._take_part(name, settings)
            elif each.settings != settings:
                each.adjust(settings, time.time())
        gone = [name for name in self._instances if name not in wanted]
        for name in gone:
            task = self._loop.create_task(self._instances.pop(name).close(kept=False))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
        if gone:
            self._on_targets()
        self._prober.rate = float(sum(each.max_probes for each in wanted.values()) or 1)

    def _take_part(self, name: str, settings: AgentSettings) -> None:
        """Begin with a balancer, unless another agent takes part in it."""
        about = f"take part in {name}"
        number = number_for(name, {each.number for each in self._instances.values()})
        if number is None:
            self._troubles.begin(about, f"balancer {name} is left alone: this agent has {MOST_BALANCERS} already")
            return
        try:
            held = hold(RunFiles(name).folder)
        except StateError as error:
            self._troubles.begin(about, str(error))
            return
        if held is None:
            self._troubles.begin(about, f"another agent takes part in balancer {name}: this one leaves it alone")
            return
        self._troubles.end(about)
        kick = partial(self._kick, name)
        self._instances[name] = Instance(
            name, settings, Part(number, held), self._salt, self._runs, self._journal, self._on_targets, kick
        )

    def _announce(self) -> None:
        """Hold every balancer's routes to what it is ready for."""
        announcers = [each.announcer for each in self._instances.values()]
        places = (
            {
                name: {vip.key.address for vip in each.checks.known.vips.values()}
                for name, each in self._instances.items()
            }
            if len(announcers) > 1
            else {}
        )

        def announce(each: Instance) -> None:
            each.announce(others_of(announcers, places, each.name), time.time())

        for each in self._instances.values():
            self._guarded(each, announce)
        if any(each.wants_news for each in announcers):
            self._looks.hurry()

    # Probes

    def _kick(self, name: str, targets: Iterable[Target]) -> None:
        """Have these asked at once."""
        self._prober.kick([Aim(name, target) for target in targets])

    def _on_targets(self) -> None:
        now = self._loop.time()
        self._prober.set_targets(
            {
                Aim(name, target): first
                for name, each in self._instances.items()
                for target, first in each.checks.first(now).items()
            }
        )
        self._loop.call_soon(_pass_over)

    def _answered(self, aim: Aim, answer: Answer, started: float, now: float) -> float:
        self._answers[answer.state] = self._answers.get(answer.state, 0) + 1
        instance = self._instances.get(aim.instance)
        if instance is None:
            return now + aim.target.probe.interval
        due = instance.checks.answered(aim.target, answer, started, now)
        if instance.checks.stale and not instance.judging:
            # Much may change at once: what is heard meanwhile is judged with it.
            instance.judging = True
            self._loop.call_later(instance.patience, self._guarded, instance, self._judge)
        return due

    def _reach(self, aim: Aim) -> Reach:
        instance = self._instances.get(aim.instance)
        return instance.reach(aim.target) if instance else Reach(obstacle="the balancer is gone")

    # What others are shown

    def view(self) -> View:
        """What is known at this moment."""
        found = {name: each.view() for name, each in list(self._instances.items())}
        return View(time.time(), VERSION, found, self._started, self._lag, dict(self._answers))


def _pass_over() -> None:
    """Have the collector of cycles pass over what there is by now.

    The VIPs of a state stay, and to look through hundreds of them would hold probes up again and again. What was passed
    over before is looked through once more: nothing is left for good.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()
