# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Verdicts from answers: what counts, what does not, and when the next question is due."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.katran.fleet.plugins.module_utils._model.checks import Probe, Target
from ansible_collections.katran.fleet.plugins.module_utils._model.health import (
    HISTORY,
    LONGEST_REASON,
    Answer,
    Change,
    Health,
    first_due,
    is_pressing,
    next_due,
    phase,
    resumed,
    shortened,
    step,
    strictest,
)
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils._model.probed import (
    DRAIN,
    OK,
    REFUSED,
    TCP,
    UNMADE,
    fed,
    judged,
)

answers = st.sampled_from([OK, DRAIN, REFUSED, UNMADE])
limits = st.integers(1, 5)
RANK = {"active": 0, "draining": 1, "down": 2}


@pytest.mark.parametrize(
    ("start", "given_answers", "state"),
    [
        ("", [OK] * 2, ""),
        ("", [OK] * 3, "active"),
        ("", [REFUSED] * 3, ""),
        ("", [REFUSED] * 4, "down"),
        ("", [DRAIN] * 2, ""),
        ("", [DRAIN] * 3, "draining"),
        ("active", [REFUSED] * 3, "active"),
        ("active", [REFUSED] * 4, "down"),
        ("active", [DRAIN] * 2, "active"),
        ("active", [DRAIN] * 3, "draining"),
        ("draining", [OK] * 2, "draining"),
        ("draining", [OK] * 3, "active"),
        ("draining", [REFUSED] * 3, "draining"),
        ("draining", [REFUSED] * 4, "down"),
        ("down", [OK] * 2, "down"),
        ("down", [OK] * 3, "active"),
        ("down", [DRAIN] * 2, "down"),
        ("down", [DRAIN] * 3, "draining"),
        # In a row, not over a life.
        ("active", [REFUSED, REFUSED, REFUSED, OK] * 50, "active"),
        ("down", [OK, OK, REFUSED] * 50, "down"),
        # What could not be asked neither counts nor breaks a row.
        ("active", [REFUSED, UNMADE, REFUSED, UNMADE, REFUSED, REFUSED], "down"),
        ("active", [REFUSED, REFUSED, UNMADE, UNMADE, REFUSED], "active"),
        ("", [UNMADE] * 100, ""),
        ("down", [OK, UNMADE, OK, UNMADE, OK], "active"),
        # Answers that agree on the direction alone.
        ("active", [DRAIN, REFUSED, DRAIN], "active"),
        ("active", [DRAIN, REFUSED, DRAIN, REFUSED], "draining"),
        ("active", [DRAIN, REFUSED, OK, DRAIN, REFUSED, OK], "active"),
        ("", [REFUSED, DRAIN, REFUSED], ""),
        ("", [REFUSED, DRAIN, REFUSED, DRAIN], "draining"),
        ("", [REFUSED, OK] * 10, ""),
        ("", [OK, DRAIN] * 10, ""),
        ("down", [DRAIN, OK], "down"),
        ("down", [DRAIN, OK, DRAIN], "draining"),
        ("down", [OK, DRAIN, OK, OK, OK], "active"),
        ("draining", [DRAIN, REFUSED, DRAIN, REFUSED] * 5, "draining"),
        ("draining", [DRAIN, OK] * 5, "draining"),
    ],
)
def test_a_verdict_follows_from_answers_in_a_row(start: str, given_answers: list[Answer], state: str) -> None:
    assert fed(Health(state=start), *given_answers).state == state


def test_what_is_told_of_a_change() -> None:
    health = fed(judged(), REFUSED, REFUSED, REFUSED, Answer("down", "timed out", 0.5))
    assert (health.state, health.since, health.reason) == ("down", 103.0, "timed out")
    assert (health.streak, health.count, health.asked) == ("down", 4, 103.0)
    assert health.history == (Change(103.0, "down", "timed out"),)
    # While the verdict holds, so do its reason and its time.
    after = fed(health, REFUSED, REFUSED, OK, UNMADE)
    assert (after.state, after.since, after.reason) == ("down", 103.0, "timed out")
    assert (after.last, after.asked, after.streak, after.count) == (UNMADE, 103.0, "active", 1)


def test_how_many_in_a_row_were_apart_from_the_verdict() -> None:
    health, found = judged(), []
    for answer in (OK, DRAIN, REFUSED, UNMADE, REFUSED, OK, DRAIN, REFUSED, DRAIN, REFUSED, REFUSED):
        health = fed(health, answer)
        found.append((health.state, health.apart))
    assert found == [
        *[("active", apart) for apart in (0, 1, 2, 2, 3, 0, 1, 2, 3)],
        *[("draining", apart) for apart in (0, 1)],
    ]


def test_the_reason_where_answers_differ() -> None:
    assert fed(judged(), DRAIN, REFUSED, DRAIN, REFUSED).reason == "answers differ, the last: connection refused"
    assert fed(judged("down"), DRAIN, OK, OK).reason == "answers differ, the last: active"


def test_a_reason_is_bounded_and_can_be_seen() -> None:
    health = fed(judged(), *[Answer("down", "\0\ud800" + "x" * 500, 0.1, math.inf)] * 4)
    assert health.reason == f"\\x00\\ud800{'x' * 109}…"
    assert len(health.reason) == LONGEST_REASON
    assert health.last == Answer("down", health.reason, 0.1, 0.0)
    mixed = fed(judged(), *[DRAIN, Answer("down", "y" * 120)] * 2)
    assert mixed.reason == f"answers differ, the last: {'y' * 93}…"
    for said, told in (("z" * 121, "z" * 119 + "…"), ("line\nbreak", "line\\nbreak"), ("z" * 120, "z" * 120)):
        found = fed(judged(), *[Answer("down", said)] * 4)
        assert (found.reason, found.last) == (told, Answer("down", told))
    assert shortened("x" * 120) == "x" * 120
    assert shortened("x" * 121) == "x" * 119 + "…"


def test_the_last_twenty_changes() -> None:
    health = Health()
    for number in range(30):
        for _each in range(4):
            health = step(health, TCP, REFUSED if number % 2 else OK, float(number))
    assert HISTORY == 20
    assert [change.at for change in health.history] == [float(number) for number in range(10, 30)]
    assert health.history[-1] == Change(29.0, "down", "connection refused")


@given(st.sampled_from(["", "active", "draining", "down"]), st.lists(answers, max_size=40), limits, limits)
def test_no_verdict_without_its_evidence(start: str, given_answers: list[Answer], fall: int, rise: int) -> None:
    probe = Probe("tcp", fall=fall, rise=rise)
    health = Health(state=start)
    for number, answer in enumerate(given_answers):
        before, health = health, step(health, probe, answer, float(number))
        if health.state == before.state:
            continue
        proven = [each.state for each in given_answers[: number + 1] if each.state]
        if health.state == "down":
            assert proven[-fall:] == ["down"] * fall
        elif health.state == "active":
            assert proven[-rise:] == ["active"] * rise
        elif before.state == "down":
            assert len(proven) >= rise
            assert "down" not in proven[-rise:]
        else:
            needed = min(rise, fall)
            assert len(proven) >= needed
            assert "active" not in proven[-needed:]
        assert answer.state
        assert health.history[-1] == Change(float(number), health.state, health.reason)


@given(st.sampled_from(["", "active", "draining", "down"]), st.lists(answers, max_size=20), limits, limits)
def test_enough_in_a_row_is_enough(start: str, before: list[Answer], fall: int, rise: int) -> None:
    probe = Probe("tcp", fall=fall, rise=rise)
    health = fed(Health(state=start), *before, probe=probe)
    assert fed(health, *[REFUSED] * fall, probe=probe).state == "down"
    assert fed(health, *[OK] * rise, probe=probe).state == "active"
    assert fed(health, *[DRAIN] * rise, probe=probe).state == "draining"
    # Answers that never say active leave nothing active, however they differ.
    mixed = [REFUSED, DRAIN] * (fall + rise)
    assert fed(health, *mixed, probe=probe).state in ("draining", "down")


@given(st.lists(answers, max_size=30), st.lists(st.floats(-1e12, 1e12), min_size=31, max_size=31))
def test_a_clock_that_jumps_changes_no_verdict(given_answers: list[Answer], clock: list[float]) -> None:
    steady, jumping = Health(), Health()
    for number, answer in enumerate(given_answers):
        steady, jumping = step(steady, TCP, answer, float(number)), step(jumping, TCP, answer, clock[number])
        assert (steady.state, steady.reason, steady.streak, steady.count) == (
            jumping.state,
            jumping.reason,
            jumping.streak,
            jumping.count,
        )
        assert next_due(steady, TCP, 5.0, 5.1) == next_due(jumping, TCP, 5.0, 5.1)


@given(st.lists(st.tuples(st.integers(0, 2), answers), max_size=30), st.randoms(use_true_random=False))
def test_the_order_between_targets_is_irrelevant(events: list[tuple[int, Answer]], random: object) -> None:
    """What happens to one target says nothing of another, so only the order of each one's own answers counts."""
    together = [Health() for _each in range(3)]
    for place, answer in events:
        together[place] = step(together[place], TCP, answer, 1.0)
    for place in range(3):
        alone = Health()
        for answer in (answer for where, answer in events if where == place):
            alone = step(alone, TCP, answer, 1.0)
        assert alone == together[place]


@given(st.lists(answers, max_size=20), st.lists(answers, max_size=3))
def test_a_restart_keeps_the_verdict_and_counts_afresh(before: list[Answer], after: list[Answer]) -> None:
    health = fed(Health(), *before)
    again = resumed(health)
    assert (again.state, again.since, again.reason, again.history) == (
        health.state,
        health.since,
        health.reason,
        health.history,
    )
    assert (again.streak, again.count, again.apart) == ("", 0, 0)
    # Fewer than `rise` and `fall` change nothing, whatever was counted before.
    assert fed(again, *after[:2]).state == health.state
    assert fed(again, REFUSED, REFUSED, REFUSED).state == health.state


@pytest.mark.parametrize(
    ("health", "gap"),
    [
        (judged(), 1.0),
        (fed(judged(), OK), 1.0),
        (fed(judged(), REFUSED), 0.2),
        (fed(judged(), DRAIN), 0.2),
        (fed(judged(), REFUSED, OK), 1.0),
        (fed(judged(), UNMADE), 1.0),
        (fed(judged(), REFUSED, UNMADE), 1.0),
        (fed(judged(), *[REFUSED] * 4), 1.0),
        (fed(judged("down"), OK), 1.0),
        (fed(judged("down"), REFUSED), 1.0),
        (fed(judged("draining"), DRAIN), 1.0),
        (fed(judged("draining"), OK), 1.0),
        (fed(judged("draining"), REFUSED), 0.2),
        (fed(Health(), OK), 0.2),
        (fed(Health(), REFUSED), 0.2),
        (fed(Health(), UNMADE), 1.0),
        (Health(), 1.0),
    ],
)
def test_when_the_next_question_is_due(health: Health, gap: float) -> None:
    assert next_due(health, TCP, 50.0, 50.001) == 50.0 + gap
    assert is_pressing(health) is (gap == 0.2)
    # Not before the last one has ended.
    assert next_due(health, TCP, 50.0, 51.5) == 51.5


def test_a_fast_interval_is_no_slower() -> None:
    assert next_due(fed(judged(), REFUSED), Probe("tcp", interval=0.1, fast_interval=0.2), 5.0, 5.0) == 5.1


def test_what_could_not_be_asked_is_asked_soon() -> None:
    slow, quick = Probe("tcp", interval=60.0), Probe("tcp", interval=0.5)
    assert next_due(fed(judged(), UNMADE), slow, 5.0, 5.0) == 6.0
    assert next_due(fed(judged(), OK), slow, 5.0, 5.0) == 65.0
    assert next_due(fed(judged(), UNMADE), quick, 5.0, 5.0) == 5.5


def test_the_strictest_state() -> None:
    for one, other in itertools.product(RANK, repeat=2):
        assert strictest([one, other]) == max(one, other, key=RANK.__getitem__)
    assert strictest([]) == "active"


def test_balancers_and_vips_are_not_in_step() -> None:
    """50 balancers × 40 VIPs that check one real: no tenth of a second has far more than its share of the starts."""
    tenths = [0] * 10
    for balancer, vip in itertools.product(range(50), range(40)):
        target = Target("10.0.0.1", f"198.51.100.{vip}", 443, TCP)
        place = phase(target, f"balancer {balancer}")
        assert 0 <= place < 1
        tenths[math.floor(place * 10)] += 1
    # 200 expected; six standard deviations of a binomial distribution are 80.
    assert all(120 < number < 280 for number in tenths), tenths


def test_a_phase_is_the_same_at_each_start() -> None:
    target = Target("10.0.0.1", "198.51.100.1", 443, Probe("tcp", interval=2.0))
    assert phase(target, "a") == phase(Target("10.0.0.1", "198.51.100.1", 443, Probe("tcp", interval=2.0)), "a")
    assert phase(target, "a") != phase(target, "b")
    assert phase(target, "a") != phase(target._replace(port=80), "a")
    assert phase(target, "a") != phase(target._replace(probe=TCP), "a")
    assert first_due(target, "a", 1000.0) == pytest.approx(1000.0 + 2.0 * phase(target, "a"))
    assert 1000.0 < first_due(target, "a", 1000.0) <= 1002.0


@given(st.floats(0.1, 60.0), st.floats(0.0, 1e6))
def test_a_target_is_asked_first_at_its_place(interval: float, now: float) -> None:
    target = Target("10.0.0.1", "198.51.100.1", 443, Probe("tcp", interval=interval))
    due = first_due(target, "a", now)
    assert now <= due <= now + interval
    off = (due / interval - phase(target, "a")) % 1.0
    assert min(off, 1 - off) < 1e-6


@given(st.floats(0.0, 0.9999), st.floats(0.1, 60.0), st.floats(0.0, 1e7))
def test_a_target_comes_back_to_its_place(place: float, interval: float, started: float) -> None:
    probe = Probe("tcp", interval=interval)
    healthy, due = fed(judged(), *[OK] * 10), started
    for number in range(20):
        later = next_due(healthy, probe, due, due, place)
        assert 0.9 - 1e-4 <= (later - due) / interval <= 1 + 1e-4
        due = later
        if number >= 10:
            off = (due / interval - place) % 1.0
            assert min(off, 1 - off) < 1e-4


def test_one_that_may_flap_is_out_or_not_judged_is_asked_from_start_to_start() -> None:
    for health, gap in (
        (fed(judged(), *[OK] * 9), 1.0),
        (fed(judged(), *[OK] * 20, UNMADE), 1.0),
        (fed(judged("down"), OK), 1.0),
        (fed(judged("draining"), *[DRAIN] * 20), 1.0),
        (fed(judged("down"), *[REFUSED] * 20), 1.0),
        (fed(judged(), REFUSED), 0.2),
        (Health(), 1.0),
    ):
        assert next_due(health, TCP, 10.5, 10.5, 0.0) == 10.5 + gap


def test_who_was_asked_all_at_once_is_out_of_step_soon() -> None:
    targets = [Target("10.0.0.1", f"198.51.100.{number}", 443, TCP) for number in range(200)]
    due, settled = dict.fromkeys(targets, 1000.0), fed(judged(), *[OK] * 10)
    for _each in range(11):
        due = {target: next_due(settled, TCP, at, at, phase(target, "lb1")) for target, at in due.items()}
    tenths = Counter(math.floor(at * 10) % 10 for at in due.values())
    assert max(tenths.values()) < 45
    # Without a place they would go on together.
    assert {next_due(settled, TCP, 1000.0, 1000.0) for _target in targets} == {1001.0}
