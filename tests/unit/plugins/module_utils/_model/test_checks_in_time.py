# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A balancer's checks as a whole, in simulated time: probes, verdicts, what is written, restarts and reboots."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.katran.fleet.plugins.module_utils._model.checks import Check, Probe, Target
from ansible_collections.katran.fleet.plugins.module_utils._model.checks_record import ChecksRecord
from ansible_collections.katran.fleet.plugins.module_utils._model.health import (
    Answer,
    Health,
    first_due,
    next_due,
    phase,
    step,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.judging import Checked, carried, judge
from ansible_collections.katran.fleet.plugins.module_utils._model.verdicts import Verdict, by_vip, combine
from ansible_collections.katran.fleet.plugins.module_utils._model.vips import Vip, VipKey, VipReal

WALL = 1.8e9
REALS = tuple(f"10.0.0.{number}" for number in range(1, 11))
NAMES = ("198.51.100.1:443/tcp", "198.51.100.1:80/tcp")
Service = Callable[[str, float], str]
"""Real, time → what it does then."""


def vips_with(check: Check) -> dict[VipKey, Vip]:
    keys = [VipKey.read(name) for name in NAMES]
    return {key: Vip(key, reals=tuple(map(VipReal, REALS)), check=check) for key in keys}


@dataclass
class Balancer:
    """The agent's loop, and what it leaves: state.json's verdicts and checks.json. `writes`: when verdicts changed."""

    service: Service
    check: Check = field(default_factory=lambda: Check(Probe("tcp")))
    now: float = 0.0
    stored: tuple[Verdict, ...] = ()
    writes: list[tuple[float, tuple[Verdict, ...]]] = field(default_factory=list)
    healths: dict[Target, Health] = field(default_factory=dict)
    wall: Callable[[float], float] = lambda at: WALL + at

    def __post_init__(self) -> None:
        self.vips = vips_with(self.check)
        self.start({})

    def start(self, known: dict[Target, Health]) -> None:
        """As an agent does that begins."""
        self.checked = Checked.of(self.vips)
        self.healths = carried(Checked.of({}), self.checked, known)
        self.due = {target: first_due(target, "lb1", self.now) for target in self.checked.pairs}
        self.judged_at = self._judge()

    def restart(self) -> None:
        """The agent ends and begins: it has its file in /run."""
        text = ChecksRecord(self.healths, at=self.wall(self.now)).to_json()
        self.start(ChecksRecord.from_json(text, "checks.json").resumed())

    def reboot(self) -> None:
        """/run is lost; state.json is not."""
        self.start({})

    def run(self, until: float) -> Balancer:
        while True:
            target = min(self.due, key=self.due.__getitem__)
            if self.judged_at < min(self.due[target], until):
                self.now = max(self.now, self.judged_at)
                self.judged_at = self._judge()
                continue
            if self.due[target] > until:
                self.now = until
                return self
            self.now = started = self.due[target]
            does = self.service(target.real, started)
            took = target.probe.timeout if does == "silent" else 0.001
            answer = Answer("down" if does in ("silent", "refuse") else does, does, took)
            before = self.healths[target]
            health = step(before, target.probe, answer, self.wall(started + took))
            self.healths[target] = health
            self.due[target] = next_due(health, target.probe, started, started + took, phase(target, "lb1"))
            if health.state != before.state:
                self.judged_at = self._judge()

    def _judge(self) -> float:
        """Have what changed applied; when to judge again."""
        judged = judge(self.checked, {}, self.healths, {}, self.stored, self.wall(self.now))
        if judged.verdicts != self.stored:
            self.stored = judged.verdicts
            self.writes.append((self.now, self.stored))
        return self.now + max(judged.due - self.wall(self.now), 0.001)

    def out(self) -> set[str]:
        """The reals that the first VIP's ring lacks."""
        vip = self.vips[VipKey.read(NAMES[0])]
        return set(combine(vip, {}, by_vip(self.stored).get(NAMES[0], {})).out)


def dies(real: str, at: float, does: str = "refuse") -> Service:
    return lambda each, now: does if each == real and now >= at else "active"


def test_nothing_happens_nothing_is_written() -> None:
    balancer = Balancer(lambda _real, _now: "active").run(600.0)
    balancer.restart()
    balancer.run(700.0)
    balancer.reboot()
    balancer.run(800.0)
    assert balancer.writes == []


@pytest.mark.parametrize("does", ["refuse", "silent"])
def test_one_dies_and_comes_back(does: str) -> None:
    def service(real: str, now: float) -> str:
        return does if real == REALS[0] and 50 <= now < 100 else "active"

    balancer = Balancer(service).run(90.0)
    assert balancer.out() == {REALS[0]}
    # Each VIP asks for itself, at its own port.
    assert len(balancer.writes) == 2
    assert balancer.writes[-1][0] - 50 <= (1.6 if does == "refuse" else 3.0)
    balancer.run(200.0)
    assert balancer.stored == ()
    assert len(balancer.writes) == 4
    assert balancer.writes[-1][0] - 100 <= 3.0


@given(st.lists(st.tuples(st.floats(20.0, 60.0), st.booleans()), max_size=5))
@settings(deadline=None, max_examples=30)
def test_restarts_and_reboots_lose_no_verdict_and_write_nothing(events: list[tuple[float, bool]]) -> None:
    balancer = Balancer(dies(REALS[3], 5.0)).run(15.0)
    stored, writes = balancer.stored, list(balancer.writes)
    assert [verdict.real for verdict in stored] == [REALS[3]] * 2
    for at, whole in sorted(events):
        balancer.run(at)
        if whole:
            balancer.reboot()
        else:
            balancer.restart()
        assert balancer.stored == stored
    balancer.run(120.0)
    if not any(whole for _at, whole in events):
        assert balancer.writes == writes
    assert [verdict._replace(reason="") for verdict in balancer.stored] == [each._replace(reason="") for each in stored]


@given(st.integers(0, 2**32))
@settings(deadline=None, max_examples=10)
def test_all_flap_every_second_and_rings_are_written_a_bounded_number_of_times(seed: int) -> None:
    """Each of ten reals is away for a second in every two, each at its own time, for five minutes."""
    chance = random.Random(seed)
    offsets = {real: chance.random() * 2 for real in REALS}
    balancer = Balancer(lambda real, now: "active" if (now + offsets[real]) % 2 < 1 else "refuse").run(300.0)
    # Each goes out once, in each of the two VIPs, and none comes back.
    assert len(balancer.writes) <= 20
    assert all(verdict.state == "down" for verdict in balancer.stored)
    # The floor keeps half of them.
    assert len(balancer.out()) == 5


def test_half_of_all_and_then_all_die() -> None:
    def service(real: str, now: float) -> str:
        first = REALS.index(real) < 5
        return "refuse" if now >= (50 if first else 100) else "active"

    balancer = Balancer(service).run(60.0)
    assert balancer.out() == set(REALS[:5])
    balancer.run(110.0)
    # Those that failed first stay out, those that failed last stay in.
    assert len(balancer.stored) == 20
    assert balancer.out() == set(REALS[:5])


def test_a_slow_start_over_restarts_reboots_and_clocks() -> None:
    def service(real: str, now: float) -> str:
        return "refuse" if real == REALS[0] and 20 <= now < 40 else "active"

    balancer = Balancer(service, Check(Probe("tcp"), slow_start=90.0)).run(60.0)
    balancer.restart()
    balancer.run(75.0)
    balancer.reboot()
    balancer.run(85.0)
    # An hour back: it goes on from where it is. Then a day ahead, and the agent away for a while: one step at a time.
    balancer.wall = lambda at: WALL + at - 3600
    balancer.restart()
    balancer.run(105.0)
    balancer.wall = lambda at: WALL + at + 86400
    balancer.now = 125.0
    balancer.due = dict.fromkeys(balancer.due, 125.0)
    balancer.restart()
    balancer.run(200.0)
    steps = [
        (at, {verdict.share for verdict in stored if verdict.real == REALS[0] and verdict.state == "active"})
        for at, stored in balancer.writes
    ]
    shares = [min(share) for _at, share in steps if share]
    assert sorted(shares) == shares
    assert sorted(set(shares)) == list(range(10, 100, 10))
    assert balancer.stored == ()
    began = next(at for at, share in steps if share)
    assert 40 < began <= 43
    assert balancer.writes[-1][0] - began > 90.0
