# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Verdicts in simulated time: how long they take at worst, and what loss, flapping and restarts make of them."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.katran.fleet.plugins.module_utils._model.checks import Probe
from ansible_collections.katran.fleet.plugins.module_utils._model.health import Answer, Health, next_due, resumed, step
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils._model.probed import TCP, Probed, judged

phases = st.floats(0.0, 0.999)
delays = st.floats(0.0, 0.1)


def steadily(does: str, after: float, later: str) -> Probed:
    return Probed(lambda at: does if at < after else later, TCP)


@given(phases, st.floats(10.0, 20.0), delays)
def test_one_that_refuses_is_down_within_two_seconds(phase: float, dies: float, took: float) -> None:
    target = Probed(lambda at: "active" if at < dies else "refuse", due=phase, took=took).run(40.0)
    assert [change.state for change in target.changes] == ["active", "down"]
    assert target.became("down") - dies <= 1.6 + took + 1e-6


@given(phases, st.floats(10.0, 20.0))
def test_one_that_is_silent_is_down_within_four(phase: float, dies: float) -> None:
    target = Probed(lambda at: "active" if at < dies else "silent", due=phase).run(40.0)
    assert [change.state for change in target.changes] == ["active", "down"]
    assert target.became("down") - dies <= 3.0 + 1e-6


@given(phases, st.floats(10.0, 20.0), delays)
def test_one_that_drains_is_drained_within_two_seconds(phase: float, drains: float, took: float) -> None:
    target = Probed(lambda at: "active" if at < drains else "draining", due=phase, took=took).run(40.0)
    assert [change.state for change in target.changes] == ["active", "draining"]
    assert target.became("draining") - drains <= 1.4 + took + 1e-6


@given(phases, st.floats(10.0, 20.0), st.sampled_from(["refuse", "silent", "draining"]), delays)
def test_one_that_answers_again_is_back_within_four(phase: float, returns: float, was: str, took: float) -> None:
    target = Probed(lambda at: was if at < returns else "active", due=phase, took=took).run(40.0)
    assert target.changes[-1].state == "active"
    assert target.became("active") - returns <= 3.0 + took + 1e-6


@given(phases, st.sampled_from(["active", "refuse", "silent"]))
def test_the_first_verdict_takes_no_longer(phase: float, does: str) -> None:
    target = Probed(lambda _at: does, due=phase).run(10.0)
    assert target.changes[0].at <= 1.0 + {"active": 0.4, "refuse": 0.6, "silent": 2.0}[does] + 1e-6


@given(phases, st.floats(0.5, 1.99), st.floats(0.0, 5.0))
def test_one_that_never_answers_for_two_seconds_stays_out(phase: float, up: float, offset: float) -> None:
    """Up for less than (rise − 1) × interval, then down for a second, over and over: out once, and never back."""
    target = Probed(lambda at: "active" if (at + offset) % (up + 1.0) < up else "refuse", due=phase)
    target.health = judged("down")
    target.run(600.0)
    assert target.changes == []


@given(phases, st.floats(0.0, 2.0), st.sampled_from(["refuse", "silent"]))
def test_one_that_flaps_every_second_changes_a_ring_once_at_most(phase: float, offset: float, does: str) -> None:
    """Up for a second, away for a second, for ten minutes.

    One that refuses while it is away is out within five seconds. One that is silent never misses four answers in a
    second, of which each takes half: it stays in.
    """
    target = Probed(lambda at: "active" if (at + offset) % 2.0 < 1.0 else does, due=phase)
    target.health = judged()
    target.run(600.0)
    assert [change.state for change in target.changes] in ([], ["down"])
    if does == "silent":
        assert target.changes == []
    else:
        assert target.became("down") <= 5.0


@settings(deadline=None)
@given(st.integers(0, 2**32), st.floats(0.2, 0.8))
def test_no_flapping_changes_a_ring_more_often_than_the_bound(seed: int, share: float) -> None:
    """Whatever the service does, two changes lie as far apart as the intervals and counts say."""
    chance = random.Random(seed)
    target = Probed(lambda _at: "active" if chance.random() < share else "refuse")
    target.health = judged()
    target.run(1000.0)
    for earlier, later in zip(target.changes, target.changes[1:], strict=False):
        least = 2.0 if later.state == "active" else 0.6
        assert later.at - earlier.at >= least - 1e-6
    assert len(target.changes) <= 2 * math.ceil(1000.0 / 2.6)


def lost(probability: float, seed: int) -> Probed:
    chance = random.Random(seed)
    return Probed(lambda _at: "silent" if chance.random() < probability else "active")


def test_an_hour_with_one_probe_in_a_hundred_lost_takes_nobody_out() -> None:
    """200 targets, which is 720,000 probes.

    Four losses in a row begin at each of an hour's 3,600 probes with probability 0.99 × 0.01^4: 3.6e-5 per target and
    hour, so 0.7 per cent that any of the 200 goes down. The seeds are fixed, the result with them.
    """
    for seed in range(200):
        target = lost(0.01, seed)
        target.health = judged()
        target.run(3600.0)
        assert target.changes == []
        assert target.health.state == "active"


def test_four_losses_in_a_row_are_as_rare_as_reckoned() -> None:
    """The same at ten times the loss, where it can be counted: 3,240 × 0.9 × 0.1^4 ≈ 0.32 per target and hour."""
    downs = 0
    probes = 0
    for seed in range(150):
        target = lost(0.1, seed)
        target.health = judged()
        target.run(3600.0)
        downs += sum(change.state == "down" for change in target.changes)
        probes += len(target.starts)
    expected = probes * 0.9 * 0.1**4
    assert abs(downs - expected) < 4 * math.sqrt(expected), (downs, expected)


@given(st.integers(0, 2**32), st.floats(5.0, 60.0))
@settings(deadline=None)
def test_a_restart_in_the_middle_changes_no_verdict_by_itself(seed: int, restarts: float) -> None:
    chance = random.Random(seed)
    target = Probed(lambda _at: "active" if chance.random() < 0.7 else "refuse").run(restarts)
    before = target.health
    target.health = resumed(before)
    target.due = restarts + chance.random()
    changes = len(target.changes)
    target.run(restarts + 60.0)
    after = target.changes[changes:]
    if after and before.state:
        # Nothing that was counted before the restart makes one: 3 or 4 answers of its own time do.
        own = [start for start in target.starts if restarts <= start <= after[0].at]
        assert len(own) >= (4 if after[0].state == "down" else 3)


@pytest.mark.parametrize("jump", [-86400.0, -0.5, 0.5, 86400.0, 1e9])
def test_a_clock_that_jumps_changes_no_time(jump: float) -> None:
    steady = steadily("active", 15.0, "refuse").run(40.0)
    jumping = steadily("active", 15.0, "refuse")
    jumping.wall = lambda at: at if at < 15.3 else at + jump
    jumping.run(40.0)
    assert jumping.starts == steady.starts
    assert jumping.changes == steady.changes
    assert jumping.health.since == pytest.approx(steady.health.since + jump)


def test_one_that_is_away_is_asked_no_more_often_than_one_that_answers() -> None:
    """A dead network does not make a storm: once a target is down, it is asked at its interval."""
    target = Probed(lambda _at: "silent").run(600.0)
    assert len(target.starts) < 610
    # Nor does one that begins to fail over and over: at worst three more questions for each that is answered.
    count = iter(range(10**6))
    target = Probed(lambda _at: "active" if next(count) % 4 == 3 else "refuse")
    target.health = judged()
    target.run(600.0)
    assert target.changes == []
    assert len(target.starts) <= 600 / 1.5 * 4 + 4


@given(st.integers(1, 6), st.integers(1, 6), st.floats(0.1, 10.0), st.floats(0.05, 2.0), phases)
@settings(deadline=None)
def test_the_worst_times_of_any_setting(fall: int, rise: int, interval: float, fast: float, phase: float) -> None:
    probe = Probe("tcp", interval=interval, fast_interval=fast, timeout=0.5, fall=fall, rise=rise)
    quick = min(fast, interval)
    for does, each in (("refuse", quick), ("silent", max(quick, 0.5))):
        target = Probed(lambda at, does=does: "active" if at < 100.0 else does, probe, due=phase * interval)
        target.health = judged()
        target.run(100.0 + 20 * interval + 20)
        gap = max(interval, 0.5)
        ends = 0.5 if does == "silent" else 0.0
        assert target.became("down") - 100.0 <= gap + (fall - 1) * each + ends + 1e-6


def test_each_answer_in_a_full_life_is_told() -> None:
    health, due = Health(), 0.0
    for number in range(5):
        health = step(health, TCP, Answer("active", "", 0.01, 2e9), due)
        assert (health.count, health.asked) == (number + 1, due)
        assert health.last == Answer("active", "", 0.01, 2e9)
        due = next_due(health, TCP, due, due + 0.01)
