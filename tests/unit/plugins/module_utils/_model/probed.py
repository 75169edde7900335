# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A service that is probed in simulated time: no clock, no network, an hour in some milliseconds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ansible_collections.katran.fleet.plugins.module_utils._model.checks import Probe
from ansible_collections.katran.fleet.plugins.module_utils._model.health import Answer, Change, Health, next_due, step

Service = Callable[[float], str]
"""Time → what it does then: active, draining, refuse, silent; "" where no probe can be made."""

TCP = Probe("tcp")
OK, DRAIN, REFUSED = Answer("active", "", 0.001), Answer("draining", "status 503"), Answer("down", "connection refused")
UNMADE = Answer("", "no tunnel")


@dataclass
class Probed:
    """One target and the loop around its health. `wall`: what the clock on the wall shows at a time.

    `due`: when it is asked first, and so where in its interval it is asked.
    """

    service: Service
    probe: Probe = TCP
    health: Health = field(default_factory=Health)
    due: float = 0.0
    took: float = 0.0
    wall: Callable[[float], float] = float
    changes: list[Change] = field(default_factory=list)
    starts: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.place = self.due / self.probe.interval

    def run(self, until: float) -> Probed:
        """Probe until a time."""
        while self.due <= until:
            started = self.due
            self.starts.append(started)
            answer = self._answer(started)
            ended = started + answer.took
            before = self.health.state
            self.health = step(self.health, self.probe, answer, self.wall(ended))
            if self.health.state != before:
                self.changes.append(Change(ended, self.health.state, self.health.reason))
            self.due = next_due(self.health, self.probe, started, ended, self.place)
        return self

    def _answer(self, at: float) -> Answer:
        does = self.service(at)
        if does == "silent":
            return Answer("down", "timed out", self.probe.timeout)
        if does == "refuse":
            return Answer("down", "connection refused", self.took)
        return Answer(does, "", self.took)

    def became(self, state: str) -> float:
        """When it became so last."""
        return max(change.at for change in self.changes if change.state == state)


def judged(state: str = "active") -> Health:
    """A health with a verdict, and nothing counted yet."""
    return Health(state=state, since=1.0, reason="before")


def fed(health: Health, *answers: Answer, probe: Probe = TCP) -> Health:
    """A health after answers, a second apart."""
    for number, answer in enumerate(answers):
        health = step(health, probe, answer, 100.0 + number)
    return health
