# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Verdicts from healths, words of others, and what was said before."""

from __future__ import annotations

import math
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.katran.fleet.plugins.module_utils._model.checks import Check, Probe, Target
from ansible_collections.katran.fleet.plugins.module_utils._model.checks_record import ChecksRecord
from ansible_collections.katran.fleet.plugins.module_utils._model.external import Word, whole
from ansible_collections.katran.fleet.plugins.module_utils._model.health import Answer, Change, Health
from ansible_collections.katran.fleet.plugins.module_utils._model.judging import (
    Checked,
    Judged,
    carried,
    epoch,
    iso,
    judge,
    targets_of,
    unmatched,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.overlay import Overlay
from ansible_collections.katran.fleet.plugins.module_utils._model.state import State
from ansible_collections.katran.fleet.plugins.module_utils._model.verdicts import (
    STARTING,
    WAITING,
    Verdict,
    Words,
    by_vip,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.vips import Vip, VipKey, VipReal
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils._model.probed import fed

NOW = 1.8e9
R1, R2, R3 = "10.0.0.1", "10.0.0.2", "10.0.0.3"
TCP = Check(Probe("tcp"))
SLOW = Check(Probe("tcp"), slow_start=90.0)
ASKS_NOBODY = Check(Probe("external"))
WEB, WEB_UDP, DNS = "198.51.100.1:443/tcp", "198.51.100.1:443/udp", "198.51.100.2:53/udp"


def vip(name: str = WEB, check: Check | None = TCP, *reals: VipReal) -> Vip:
    return Vip(VipKey.read(name), reals=reals or (VipReal(R1), VipReal(R2)), check=check)


def checked(*vips: Vip) -> Checked:
    return Checked.of({each.key: each for each in vips})


def target(real: str = R1, name: str = WEB, check: Check = TCP) -> Target:
    key = VipKey.read(name)
    return Target(real, key.address, key.port, check.probe)


def down(since: float = NOW - 5) -> Health:
    return Health("down", since, "connection refused")


ACTIVE, DRAINING = Health("active", NOW - 9), Health("draining", NOW - 7, "status 503")


def verdict_of(real: str = R1, state: str = "down", name: str = WEB, **options: t.Any) -> Verdict:
    plain = {"since": iso(NOW - 5), "reason": "connection refused"}
    return Verdict(name, real, state, **{**plain, **options})


def judged_of(
    known: Checked,
    healths: dict[Target, Health],
    stored: t.Sequence[Verdict] = (),
    words: dict[str, list[Word]] | None = None,
    overlay: dict[str, Overlay] | None = None,
    now: float = NOW,
) -> Judged:
    return judge(known, overlay or {}, healths, words or {}, stored, now)


# Targets


def test_equal_questions_are_asked_once() -> None:
    shared = Check(Probe("http", address="198.51.100.9", port=80))
    one, other, own = vip(WEB, shared), vip(DNS, shared), vip(WEB_UDP, TCP)
    found = targets_of({each.key: each for each in (one, other, own, vip("198.51.100.7:1/tcp", None))})
    assert len(found) == 6
    assert found[one.key, R1] is found[other.key, R1]
    assert found[one.key, R1] == Target(R1, "198.51.100.9", 80, Probe("http"))
    assert found[own.key, R1] == Target(R1, "198.51.100.1", 443, TCP.probe)
    assert set(Checked.of({one.key: one, other.key: other}).pairs) == {found[one.key, R1], found[one.key, R2]}


def test_a_vip_that_is_there_itself_asks_the_same() -> None:
    elsewhere, there = vip(WEB, Check(Probe("tcp", address="198.51.100.9", port=53))), vip("198.51.100.9:53/tcp", TCP)
    found = targets_of({each.key: each for each in (elsewhere, there)})
    assert found[elsewhere.key, R1] is found[there.key, R1]


def test_what_differs_in_policy_alone_is_one_question() -> None:
    found = targets_of({each.key: each for each in (vip(WEB, TCP), vip(WEB_UDP, Check(TCP.probe, min_healthy=0)))})
    assert len(set(found.values())) == 2


def test_external_checks_ask_nobody_and_those_out_are_asked_too() -> None:
    out = vip(WEB, TCP, VipReal(R1, state="down"), VipReal(R2, weight=0), VipReal(R3, state="draining"))
    found = targets_of({each.key: each for each in (out, vip(DNS, ASKS_NOBODY))})
    assert sorted(each.real for each in found.values()) == [R1, R2, R3]


def test_vips_that_ask_nobody_hide_no_others() -> None:
    found = targets_of({each.key: each for each in (vip(WEB_UDP, None), vip(DNS, ASKS_NOBODY), vip(WEB, TCP))})
    assert list(found) == [(VipKey.read(WEB), R1), (VipKey.read(WEB), R2)]


# Verdicts


def test_plainly_active_is_no_verdict() -> None:
    found = judged_of(checked(vip()), {target(R1): ACTIVE, target(R2): ACTIVE})
    assert found == Judged((), math.inf, frozenset())


def test_before_the_first_verdict_nothing_is_said() -> None:
    known = checked(vip())
    key = VipKey.read(WEB)
    found = judged_of(known, {target(R1): Health(streak="down", count=3)})
    assert found == Judged((), math.inf, frozenset({(key, R1), (key, R2)}))
    # Where there is a verdict already, it holds, and nothing of it changes.
    stored = [verdict_of(R1)]
    assert judged_of(known, {}, stored) == Judged(tuple(stored), math.inf, frozenset({(key, R2)}))


def test_one_health_is_a_verdict_in_each_vip() -> None:
    shared = Check(Probe("tcp", address="198.51.100.9", port=80))
    known = checked(vip(DNS, shared), vip(WEB, shared))
    (asked,) = [each for each in known.pairs if each.real == R1]
    found = judged_of(known, {asked: down()})
    assert found.verdicts == (verdict_of(), verdict_of(name=DNS))


def test_verdicts_are_sorted_as_state_json_has_them() -> None:
    far = "10.0.0.10"
    known = checked(vip(DNS, TCP, VipReal(R2), VipReal(far)), vip(WEB, TCP))
    found = judged_of(known, {each: down() for each in known.pairs}).verdicts
    assert [(each.vip, each.real) for each in found] == [(WEB, R1), (WEB, R2), (DNS, far), (DNS, R2)]
    assert [each._asdict() for each in found] == Words({}, by_vip(found)).listed()


def test_a_verdict_keeps_its_time_while_its_state_holds() -> None:
    known = checked(vip())
    stored = [verdict_of(since="2026-01-01T00:00:00+00:00", reason="timed out")]
    (found,) = judged_of(known, {target(): down()}, stored).verdicts
    assert found == verdict_of(since="2026-01-01T00:00:00+00:00")
    (found,) = judged_of(known, {target(): DRAINING}, stored).verdicts
    assert found == verdict_of(state="draining", since=iso(NOW - 7), reason="status 503")


def test_a_check_that_is_gone_has_no_verdict() -> None:
    stored = [verdict_of(), verdict_of(R3), verdict_of(name=DNS), verdict_of(name="nonsense")]
    assert judged_of(checked(vip(DNS, None), vip(WEB, TCP)), {target(): ACTIVE}, stored).verdicts == ()
    assert judged_of(checked(vip(DNS, None)), {}, stored).verdicts == ()


def test_what_was_asked_until_lately_says_nothing() -> None:
    assert judged_of(checked(vip()), {target(name=DNS): down()}).verdicts == ()


# Words of others


def word(place: str = WEB, real: str = R1, state: str = "down", until: float = NOW + 60) -> Word:
    return Word(place, real, state, until)


def test_the_strictest_word_holds() -> None:
    known = checked(vip())
    draining = {"consul.json": [word(state="draining")]}
    found = judged_of(known, {target(): ACTIVE}, words=draining)
    assert found.verdicts == (verdict_of(state="draining", since=iso(NOW), reason="draining by consul"),)
    assert found.due == NOW + 60
    found = judged_of(known, {target(): down()}, words=draining)
    assert found.verdicts == (verdict_of(),)
    found = judged_of(known, {target(): DRAINING}, words={"a.json": [word()], "b.json": [word(state="draining")]})
    assert found.verdicts == (verdict_of(since=iso(NOW), reason="down by a"),)
    # Nobody's word makes a real active that its probes find down.
    assert judged_of(known, {target(): down()}, words={"a.json": [word(state="active")]}).verdicts == (verdict_of(),)


def test_an_external_check_knows_no_more_than_its_words() -> None:
    known = checked(vip(DNS, ASKS_NOBODY))
    assert judged_of(known, {}) == Judged((), math.inf, frozenset())
    words = {"k8s.json": [word("198.51.100.2", until=NOW + 1)]}
    found = judged_of(known, {}, words=words)
    assert found.verdicts == (verdict_of(name=DNS, since=iso(NOW), reason="down by k8s"),)
    later = judged_of(known, {}, found.verdicts, words, now=NOW + 0.5)
    assert later.verdicts == found.verdicts
    # What expired ends by itself, and what is stored does not hold without it.
    assert judged_of(known, {}, found.verdicts, words, now=NOW + 1) == Judged((), math.inf, frozenset())


@pytest.mark.parametrize(
    ("place", "names"),
    [
        (WEB, [WEB]),
        ("198.51.100.1", [WEB, WEB_UDP]),
        ("198.51.100.1:443", [WEB, WEB_UDP]),
        ("198.51.100.1:80", []),
        ("198.51.100.1:0", []),
        ("198.51.100.0/24", []),
        ("198.51.100.3", []),
    ],
)
def test_whom_a_word_is_about(place: str, names: list[str]) -> None:
    known = checked(vip(WEB, TCP), vip(WEB_UDP, ASKS_NOBODY), vip(DNS, TCP))
    words = {"a.json": [word(place)]}
    found = judged_of(known, dict.fromkeys(known.pairs, ACTIVE), words=words)
    assert [each.vip for each in found.verdicts] == names
    sentences = [] if names else [f"verdicts.d/a.json: no VIP with a check is {place} and has the real {R1}"]
    assert whole(unmatched(known, words, NOW)) == sentences
    assert whole(unmatched(known, words, NOW + 60)) == []


def test_a_word_about_nothing_we_check_changes_nothing() -> None:
    known = checked(vip(WEB, None), vip(DNS, TCP))
    words = {"a.json": [word(WEB), word(DNS, R3)]}
    found = judged_of(known, dict.fromkeys(known.pairs, ACTIVE), words=words)
    assert (found.verdicts, found.due) == ((), math.inf)
    assert len(whole(unmatched(known, words, NOW))) == 2


def test_many_words_about_nothing_are_told_in_few_sentences() -> None:
    known = checked(vip(WEB, TCP))
    words = {"a.json": [word(WEB, f"10.9.0.{number}") for number in range(1, 201)]}
    sentences = whole(unmatched(known, words, NOW))
    assert len(sentences) == 6
    assert sentences[-1] == "verdicts.d/a.json: so it is with 195 more words"
    few = words["a.json"][:5]
    assert [
        sentence.split(":")[0] for sentence in whole(unmatched(known, {"b.json": few, "c.json": few[:1]}, NOW))
    ] == [
        *["verdicts.d/b.json"] * 5,
        "verdicts.d/c.json",
    ]


@given(st.text(max_size=200), st.text(max_size=200))
def test_whatever_services_and_feeders_say_can_be_written_down(said: str, feeder: str) -> None:
    """What a real puts into its answer never makes state.json, without which nothing can be changed, unreadable."""
    known = checked(vip())
    health = fed(Health("active"), *[Answer("down", said, 0.1, 2e9)] * 4)
    words = {f"{feeder}.json": [word(real=R2)]}
    found = judged_of(known, {target(): health, target(R2): ACTIVE}, words=words)
    state = State("default", "/sys/fs/bpf", verdicts=[each._asdict() for each in found.verdicts])
    assert State.from_json(state.to_json(), "state.json").verdicts == state.verdicts
    record = ChecksRecord({target(): health}, {}, {}, words)
    assert ChecksRecord.from_json(record.to_json(), "checks.json").healths == record.healths
    assert [len(each.reason) <= 120 for each in found.verdicts] == [True, True]


# Slow start


def slow(*reals: VipReal) -> Checked:
    return checked(vip(WEB, SLOW, *reals))


def starting(share: int, since: float, reason: str = STARTING) -> Verdict:
    return verdict_of(state="active", since=iso(since), reason=reason, share=share)


def test_one_that_recovers_starts_slowly() -> None:
    known, asked = slow(), target(check=SLOW)
    healths = {asked: ACTIVE, target(R2, check=SLOW): ACTIVE}
    stored: tuple[Verdict, ...] = (verdict_of(),)
    at, shares = NOW, []
    while True:
        found = judged_of(known, healths, stored, now=at)
        if not found.verdicts:
            break
        assert found.verdicts == (starting(found.verdicts[0].share, NOW),)
        shares.append(found.verdicts[0].share)
        # Between two steps, and after a restart of the agent, the same comes out.
        assert judged_of(known, healths, found.verdicts, now=at + 0.01) == found
        assert judged_of(known, {}, found.verdicts, now=at + 0.01).verdicts == found.verdicts
        stored, at = found.verdicts, found.due
    assert shares == list(range(10, 100, 10))
    assert at == pytest.approx(NOW + 90)


def test_one_that_was_drained_by_its_probes_too() -> None:
    found = judged_of(slow(), {target(check=SLOW): ACTIVE}, [verdict_of(state="draining")])
    assert found.verdicts == (starting(10, NOW),)


def test_a_real_that_is_new_starts_at_once() -> None:
    assert judged_of(slow(), {target(check=SLOW): ACTIVE}).verdicts == ()


def test_without_slow_start_a_real_is_back_at_once() -> None:
    assert judged_of(checked(vip()), {target(): ACTIVE}, [verdict_of()]).verdicts == ()
    # Also where it was set to nothing in between.
    assert judged_of(checked(vip()), {target(): ACTIVE}, [starting(30, NOW - 20)]).verdicts == ()


@pytest.mark.parametrize("stored", [(), (verdict_of(),), (starting(10, NOW - 5, WAITING),)])
def test_without_slow_start_nobody_waits_for_it(stored: tuple[Verdict, ...]) -> None:
    out = checked(vip(WEB, TCP, VipReal(R1, state="draining")))
    assert judged_of(out, {target(): ACTIVE}, stored) == Judged((), math.inf, frozenset())


def test_a_second_of_slow_start_is_one() -> None:
    check = Check(Probe("tcp"), slow_start=1.0)
    known, healths = checked(vip(DNS, TCP), vip(WEB, check, VipReal(R1))), {target(check=check): ACTIVE}
    found = judged_of(known, healths, [verdict_of()])
    assert found.verdicts == (starting(10, NOW),)
    assert found.due == pytest.approx(NOW + 1 / 9)
    # Also beside a VIP that has none.
    assert judged_of(known, healths, overlay={R1: Overlay(R1, "down")}).verdicts == (starting(10, NOW, WAITING),)


def test_one_that_falls_again_while_it_starts_is_down() -> None:
    found = judged_of(slow(), {target(check=SLOW): down()}, [starting(30, NOW - 20)])
    assert found == Judged((verdict_of(),), math.inf, frozenset({(VipKey.read(WEB), R2)}))


@pytest.mark.parametrize(
    ("real", "overlay"),
    [
        (VipReal(R1, state="draining"), {}),
        (VipReal(R1, state="down"), {}),
        (VipReal(R1, weight=0), {}),
        (VipReal(R1), {R1: Overlay(R1, "draining")}),
    ],
)
def test_one_that_people_have_out_waits_to_start_slowly(real: VipReal, overlay: dict[str, Overlay]) -> None:
    known = slow(real)
    healths = {target(check=SLOW): ACTIVE}
    waiting = judged_of(known, healths, overlay=overlay)
    assert waiting.verdicts == (starting(10, NOW, WAITING),)
    assert judged_of(known, healths, waiting.verdicts, overlay=overlay, now=NOW + 1e6).verdicts == waiting.verdicts
    # Let in a long time later, it has its first step, and the others follow.
    later = judged_of(slow(VipReal(R1)), healths, waiting.verdicts, now=NOW + 1e6)
    assert later.verdicts == (starting(10, NOW + 1e6),)
    assert later.due == pytest.approx(NOW + 1e6 + 10)
    # Nothing is said of one that was never asked.
    assert judged_of(known, {}, overlay=overlay).verdicts == ()


def test_people_take_one_out_while_it_starts() -> None:
    overlay = {R1: Overlay(R1, "draining")}
    found = judged_of(slow(), {target(check=SLOW): ACTIVE}, [starting(50, NOW - 40)], overlay=overlay)
    assert found.verdicts == (starting(10, NOW, WAITING),)


def test_a_clock_that_went_back_holds_up_no_start() -> None:
    healths = {target(check=SLOW): ACTIVE}
    found = judged_of(slow(), healths, [starting(50, NOW + 7200)])
    assert found.verdicts == (starting(50, NOW - 40),)
    assert found.due == pytest.approx(NOW + 10)


@pytest.mark.parametrize(
    ("old", "slow_start", "share", "since"),
    [
        # The agent was away, or the clock jumped ahead: one step, and the others in their time.
        (starting(50, NOW - 3600), 90.0, 60, NOW - 50),
        (starting(90, NOW - 3600), 90.0, 100, 0.0),
        (starting(50, NOW)._replace(since="?"), 90.0, 60, NOW - 50),
        # The clock went back by less than the start has taken.
        (starting(50, NOW - 20), 90.0, 50, NOW - 40),
        (starting(10, NOW + 7200), 90.0, 10, NOW),
        # Another slow_start.
        (starting(50, NOW - 40), 9.0, 60, NOW - 5),
        (starting(50, NOW - 40), 900.0, 50, NOW - 400),
        # Somebody else's share.
        (starting(3, NOW - 5), 90.0, 10, NOW - 5),
        (starting(57, NOW - 5), 90.0, 50, NOW - 40),
        (starting(57, NOW - 45), 90.0, 50, NOW - 45),
        (starting(0, NOW - 45), 90.0, 10, NOW),
    ],
)
def test_no_step_is_larger_and_none_goes_back(old: Verdict, slow_start: float, share: int, since: float) -> None:
    check = Check(Probe("tcp"), slow_start=slow_start)
    found = judged_of(checked(vip(WEB, check)), {target(check=check): ACTIVE}, [old])
    assert found.verdicts == (() if share == 100 else (starting(share, since),))
    assert share == 100 or NOW < found.due <= NOW + slow_start / 9 + 1e-6


def test_a_time_that_cannot_be_read_is_long_past() -> None:
    assert epoch("yesterday") == 0.0


# Carried over


def test_another_check_starts_with_the_verdict_of_the_last() -> None:
    http = Check(Probe("http"))
    before, after = checked(vip()), checked(vip(WEB, http, VipReal(R1), VipReal(R3)))
    history = (Change(1.0, "down", "x"),)
    healths = {target(R1): Health("down", NOW, "x", "down", 9, history=history), target(R2): ACTIVE}
    found = carried(before, after, healths)
    assert found == {
        target(R1, check=http): Health("down", NOW, "x", history=history),
        target(R3, check=http): Health(),
    }
    assert carried(before, before, healths) == healths
    assert set(carried(before, after, {}).values()) == {Health()}, "it was not asked yet"
    assert judged_of(after, found).waiting == {(VipKey.read(WEB), R3)}


def test_a_question_that_several_vips_come_to_share() -> None:
    shared = Check(Probe("tcp", address="198.51.100.9", port=80))
    before = checked(vip(WEB, TCP, VipReal(R1)), vip(DNS, TCP, VipReal(R1)))
    after = checked(vip(WEB, shared, VipReal(R1)), vip(DNS, shared, VipReal(R1)))
    one, other = target(R1, WEB), target(R1, DNS)
    (asked,) = after.pairs
    assert carried(before, after, {one: ACTIVE, other: ACTIVE})[asked].state == "active"
    assert carried(before, after, {one: ACTIVE, other: down()})[asked] == Health()
    # Where they disagree, what is stored holds for each.
    stored = [verdict_of(name=DNS)]
    assert judged_of(after, {asked: Health()}, stored).verdicts == tuple(stored)


# Whatever happens

states = st.sampled_from(["", "active", "draining", "down"])
stored_states = st.sampled_from(["", "active", "draining", "down"])
RANK = {"": 0, "active": 0, "draining": 1, "down": 2}


@given(states, stored_states, st.lists(st.tuples(states, st.booleans()), max_size=3), st.sampled_from([0.0, 90.0]))
def test_no_verdict_without_its_evidence(state: str, was: str, said: list[tuple[str, bool]], slow_start: float) -> None:
    check = Check(Probe("tcp"), slow_start=slow_start)
    known = checked(vip(WEB, check, VipReal(R1)))
    healths = {target(check=check): Health(state, NOW - 5, "connection refused")}
    stored = [verdict_of(state=was, share=100 if was != "active" else 20)] if was else []
    words = {
        f"{number}.json": [word(state=each, until=NOW + (1 if counts else -1))]
        for number, (each, counts) in enumerate(said)
        if each
    }
    found = judged_of(known, healths, stored, words)
    evidence = [state or was, *(each for each, counts in said if counts)]
    strict = max(evidence, key=RANK.__getitem__)
    if RANK[strict]:
        assert [(each.state, each.share) for each in found.verdicts] == [(strict, 100)]
    else:
        assert all(each.state == "active" and each.share < 100 and was and slow_start for each in found.verdicts)
    assert found.due > NOW
    # What follows from it is itself.
    again = judged_of(known, healths, found.verdicts, words)
    assert again.verdicts == found.verdicts
    assert again.due == found.due


@given(st.permutations([(WEB, R1), (WEB, R2), (DNS, R1), (DNS, R2)]))
def test_the_order_of_what_is_known_is_irrelevant(order: list[tuple[str, str]]) -> None:
    known = checked(vip(WEB), vip(DNS))
    plain = judged_of(known, {target(real, name): down() for name, real in sorted(order)})
    healths = {target(real, name): down() for name, real in order}
    stored = [verdict_of(real, name=name) for name, real in order]
    assert judged_of(known, healths).verdicts == plain.verdicts
    assert judged_of(known, healths, stored).verdicts == plain.verdicts


def test_times_in_words() -> None:
    assert iso(NOW) == "2027-01-15T08:00:00.000+00:00"
    assert epoch(iso(NOW + 0.25)) == NOW + 0.25
    assert iso(-1e300) == "1970-01-01T00:00:00.000+00:00"
    assert iso(1e300) == "9999-12-30T00:00:00.000+00:00"
