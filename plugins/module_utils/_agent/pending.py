# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a prober has under way: targets and their probes, deadlines, and when it could not run."""

from __future__ import annotations

import heapq
import itertools
import typing as t
from collections import deque
from collections.abc import Iterator

from .._model.checks import Target
from .probes.talk import Plan, Talk

STALL = 0.02
"""Seconds by which a timer is late before that counts as a stall."""

_FEW = 1024


class Aim(t.NamedTuple):
    """A target, and the balancer that it is of: its marks lead there."""

    instance: str
    target: Target


class Entry:
    """A target and its probe."""

    __slots__ = ("aim", "began", "deadline", "due", "extended", "gone", "number", "plan", "started", "talk", "urgent")

    def __init__(self, aim: Aim, due: float, plan: Plan | str) -> None:
        self.aim = aim
        self.plan = plan
        self.due = due
        self.began = self.started = self.deadline = self.extended = 0.0
        self.talk: Talk | None = None
        self.number = -1
        self.gone = self.urgent = False


class Stalls:
    """When the loop did not run although it had to.

    A probe's time is the time in which the loop ran.
    """

    def __init__(self) -> None:
        self.total = 0.0
        self._ends: deque[tuple[float, float]] = deque(maxlen=256)

    def note(self, planned: float, now: float) -> None:
        """The loop came by at `now` instead of `planned`."""
        if now - planned > STALL:
            self.total += now - planned
            self._ends.append((now, now - planned))

    def longest_since(self, began: float) -> float:
        """Seconds of the longest that ended after this."""
        longest = 0.0
        for end, length in reversed(self._ends):
            if end < began:
                break
            longest = max(longest, length)
        return longest


class Deadlines:
    """When probes under way have had their time. One that ends by itself needs not be taken out."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Entry]] = []
        self._numbers = itertools.count()

    def add(self, entry: Entry, deadline: float, under_way: int) -> None:
        """The time of a probe; `under_way`: how many are."""
        entry.deadline = deadline
        if len(self._heap) > 4 * under_way + _FEW:
            # What ended in time lies behind one probe with a long timeout.
            self._heap = [each for each in self._heap if self._stands(each)]
            heapq.heapify(self._heap)
        heapq.heappush(self._heap, (deadline, next(self._numbers), entry))

    @staticmethod
    def _stands(each: tuple[float, int, Entry]) -> bool:
        deadline, _number, entry = each
        return entry.talk is not None and entry.deadline == deadline

    def first(self) -> float:
        """The next deadline of a probe that is under way; infinity where none is."""
        while self._heap and not self._stands(self._heap[0]):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else float("inf")

    def over(self, now: float) -> Iterator[Entry]:
        """Those whose time is over, taken out."""
        while self.first() <= now:
            yield heapq.heappop(self._heap)[2]
