# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which probe is made when: spread phases, a bound on their rate, and no verdict from a stall of our own."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import select
import typing as t
from collections.abc import Iterable, Mapping

from .._model.checks import Probe
from .._model.health import Answer
from .._model.probe_path import LOOPBACK, Reach
from .pending import STALL, Aim, Deadlines, Entry, Stalls
from .probes.plans import plan_of
from .probes.talk import Finding, Plan, Talk, failure

GRAIN = 0.004
"""Seconds in which starts gather: waking up for each would cost more than the probe."""

BURST = 0.02
"""Seconds of the rate that may be made up for at once."""

HEARTBEAT = 0.05
"""Seconds at most between two looks at the clock while a probe is under way: what is longer was a stall."""

_MOST_EVENTS = 512


class Answered(t.Protocol):
    """Who is told of answers."""

    def __call__(self, aim: Aim, answer: Answer, started: float, now: float) -> float:
        """When the next probe is due.

        All times are the loop's own. `started`: when the probe was due, or when it began if that was much later: to
        count from it keeps a period exact.
        """


class Prober:
    """Makes probes in an asyncio loop, without a task for each.

    `answered`: told of each answer, says when the next is due; `reach`: how an aim is reached at present; `rate`: most
    probes a second, over all targets; `most`: probes under way at once. Where more is due, what waited longest comes
    first, later than it should: a probe's timeout counts from when it really begins.
    """

    def __init__(
        self, answered: Answered, reach: t.Callable[[Aim], Reach], rate: float = 2000.0, most: int = 4096
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._answered = answered
        self._reach = reach
        self.rate = rate
        self._most = most
        self._entries: dict[Aim, Entry] = {}
        self._due: list[tuple[float, int, Entry]] = []
        self._deadlines = Deadlines()
        self._numbers = itertools.count()
        self._open: dict[int, Entry] = {}
        self._slot = 0.0
        self._stalls = Stalls()
        self._timer: asyncio.TimerHandle | None = None
        self._wake = 0.0
        self._draining: asyncio.Future[None] | None = None
        self._epoll: select.epoll | None = select.epoll()
        self._loop.add_reader(self._epoll.fileno(), self._on_events)
        self.started = self.unproven = 0

    @property
    def under_way(self) -> int:
        """Probes at this moment."""
        return len(self._open)

    @property
    def stalled(self) -> float:
        """Seconds in which the loop did not run although it had to, since the start."""
        return self._stalls.total

    @property
    def behind(self) -> float:
        """Seconds since the longest due probe was due, 0 where none waits."""
        return max(0.0, self._loop.time() - self._due[0][0]) if self._due else 0.0

    def set_targets(self, wanted: Mapping[Aim, float]) -> None:
        """Probe these from here on: aim → when first, in the loop's time.

        One that is probed already goes on as it does; one that is not among them ends, without an answer.
        """
        for aim in [aim for aim in self._entries if aim not in wanted]:
            entry = self._entries.pop(aim)
            entry.gone = True
            self._close(entry)
        plans = {entry.aim.target.probe: entry.plan for entry in self._entries.values()}
        for aim, first in wanted.items():
            if aim not in self._entries:
                probe = aim.target.probe
                if probe not in plans:
                    plans[probe] = _planned(probe)
                self._entries[aim] = entry = Entry(aim, first, plans[probe])
                self._push(entry)
        self._due = [each for each in self._due if not each[2].gone]
        heapq.heapify(self._due)
        self._arm()

    def kick(self, aims: Iterable[Aim] | None = None) -> None:
        """All (or these) are due at once, in the order in which they would have been, as fast as the rate allows.

        One that is under way is asked again: what it finds may be of before.
        """
        now = self._loop.time()
        for aim in self._entries if aims is None else aims:
            entry = self._entries.get(aim)
            if not entry:
                continue
            entry.urgent = entry.talk is not None
            entry.due = min(entry.due, now)
        waiting = sorted(self._due)
        self._due = [(each[2].due, next(self._numbers), each[2]) for each in waiting]
        heapq.heapify(self._due)
        self._arm()

    async def drain(self) -> None:
        """Start no more, and wait for what is under way."""
        self._due.clear()
        if self._open:
            self._draining = self._loop.create_future()
            await self._draining
        self.stop()

    def stop(self) -> None:
        """End at once, whatever is under way."""
        if not self._epoll:
            return
        for entry in list(self._open.values()):
            self._close(entry)
        self._due.clear()
        if self._timer:
            self._timer.cancel()
            self._timer = None
        self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()
        self._epoll = None

    # Time

    def _push(self, entry: Entry) -> None:
        heapq.heappush(self._due, (entry.due, next(self._numbers), entry))

    def _arm(self) -> None:
        """Wake up for what comes next."""
        now = self._loop.time()
        wake = now + HEARTBEAT if self._open else float("inf")
        if self._due and len(self._open) < self._most:
            wake = min(wake, max(self._due[0][0], self._slot, now + GRAIN))
        wake = min(wake, max(self._deadlines.first(), now + GRAIN))
        if self._timer:
            if self._wake <= wake:
                return
            self._timer.cancel()
            self._timer = None
        if wake < float("inf") and self._epoll:
            self._wake = wake
            self._timer = self._loop.call_at(wake, self._on_time)

    def _on_time(self) -> None:
        self._timer = None
        now = self._loop.time()
        self._stalls.note(self._wake, now)
        try:
            self._start_due(now)
            if self._deadlines.first() <= now:
                # What has arrived by now is no timeout, however late we come to look.
                self._on_events()
                self._end_late(self._loop.time())
        finally:
            self._arm()

    def _start_due(self, now: float) -> None:
        while self._due and self._due[0][0] <= now and self._slot <= now and len(self._open) < self._most:
            entry = heapq.heappop(self._due)[2]
            if not entry.gone:
                self._slot = max(self._slot, now - BURST) + 1.0 / self.rate
                self._start(entry)

    def _start(self, entry: Entry) -> None:
        target = entry.aim.target
        entry.began = now = self._loop.time()
        # A little late, it keeps its place; more so, the next would follow on its heels.
        gap = min(target.probe.fast_interval, target.probe.interval)
        entry.started = entry.due if now - entry.due < max(STALL, gap / 2) else now
        entry.extended = self._stalls.total
        self.started += 1
        reach = self._reach(entry.aim)
        plan = entry.plan
        if reach.obstacle or isinstance(plan, str):
            self._end(entry, Finding("", f"not asked: {reach.obstacle or plan}"), now)
            return
        try:
            entry.talk = talk = plan(target, reach)
        except OSError as error:
            # On lo, no route says that the VIP is not there.
            self._end(entry, failure(error, opening=reach.device != LOOPBACK), now)
            return
        except Exception as error:  # noqa: BLE001  # as in _go_on
            self._end(entry, self._own_fault(error), now)
            return
        entry.number = talk.socket.fileno()
        self._open[entry.number] = entry
        t.cast(select.epoll, self._epoll).register(entry.number, talk.EDGES)
        self._deadlines.add(entry, now + target.probe.timeout, len(self._open))

    def _end_late(self, now: float) -> None:
        for entry in self._deadlines.over(now):
            stalled = self._stalls.total - entry.extended
            if stalled > 0.0 and self._stalls.longest_since(entry.began) <= self._bearable(entry):
                entry.extended = self._stalls.total
                self._deadlines.add(entry, entry.deadline + stalled, len(self._open))
            elif entry.talk:
                self._end(entry, Finding("down", entry.talk.late), now)

    # Events

    def _on_events(self) -> None:
        """Whatever sockets have to say."""
        if not self._epoll:
            return
        now = self._loop.time()
        if self._timer:
            self._stalls.note(self._wake, now)
            self._wake = max(self._wake, now)
        for number, events in self._epoll.poll(0, _MOST_EVENTS):
            entry = self._open.get(number)
            if entry and entry.talk:
                finding = self._go_on(entry.talk, events)
                if finding:
                    self._end(entry, finding, self._loop.time())

    def _go_on(self, talk: Talk, events: int) -> Finding | None:
        try:
            return talk.ready(events)
        except OSError as error:
            return failure(error)
        except Exception as error:  # noqa: BLE001  # whatever a stranger's bytes set off: other probes go on
            return self._own_fault(error)

    def _own_fault(self, error: Exception) -> Finding:
        self._tell("a probe ended in an error of its own", error)
        return Finding("", f"not asked: {type(error).__name__}")

    def _end(self, entry: Entry, finding: Finding, now: float) -> None:
        """A probe is over: tell, and ask when the next is due."""
        self._close(entry)
        if finding.state != "active" and self._stalls.longest_since(entry.began) > self._bearable(entry):
            finding = Finding("", f"this host stalled ({finding.reason})", finding.expires)
        self.unproven += not finding.state
        answer = Answer(finding.state, finding.reason, now - entry.began, finding.expires)
        due = entry.started + entry.aim.target.probe.interval
        try:
            due = self._answered(entry.aim, answer, entry.started, now)
        except Exception as error:  # noqa: BLE001  # one listener's fault is no reason to probe no more
            self._tell("nobody could be told of an answer", error)
        entry.due = now if entry.urgent else due
        entry.urgent = False
        if not entry.gone and not self._draining:
            self._push(entry)
            self._arm_for(entry.due)

    def _arm_for(self, due: float) -> None:
        """Most answers come while a timer is set that is early enough."""
        if not self._timer or due < self._wake:
            self._arm()

    def _close(self, entry: Entry) -> None:
        if entry.talk:
            del self._open[entry.number]
            entry.talk.close()
            entry.talk = None
            if self._draining and not self._open and not self._draining.done():
                self._draining.set_result(None)

    @staticmethod
    def _bearable(entry: Entry) -> float:
        """Seconds of one stall that a probe gets added to its time; of a longer one, the other side may have tired."""
        return max(entry.aim.target.probe.timeout / 2, 0.25)

    def _tell(self, what: str, error: BaseException) -> None:
        self._loop.call_exception_handler({"message": what, "exception": error})


def _planned(probe: Probe) -> Plan | str:
    """How such a probe is made, or why it cannot."""
    try:
        return plan_of(probe)
    except ValueError as error:
        return str(error)
