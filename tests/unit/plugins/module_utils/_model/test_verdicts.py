# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the inventory's word, a person's and the checks' meet: the rule's bounds, and what is said of it."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.katran.fleet.plugins.module_utils._model.checks import Check, Probe
from ansible_collections.katran.fleet.plugins.module_utils._model.overlay import Overlay, effective_state
from ansible_collections.katran.fleet.plugins.module_utils._model.ring import build_ring
from ansible_collections.katran.fleet.plugins.module_utils._model.state import State
from ansible_collections.katran.fleet.plugins.module_utils._model.verdicts import (
    NO_WORDS,
    Combined,
    Verdict,
    Words,
    by_check,
    by_vip,
    combine,
    degraded,
    newly_down,
    out_by_check,
    that_count,
    told_degraded,
    words_of,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.vip_plan import down_members, ring_members
from ansible_collections.katran.fleet.plugins.module_utils._model.vips import Vip, VipKey, VipReal

NAME = "198.51.100.1:443/tcp"
KEY = VipKey.read(NAME)
REALS = [f"10.0.0.{last}" for last in range(1, 8)]
STRICT = {"active": 0, "draining": 1, "down": 2}
STATES = st.sampled_from(list(STRICT))
SINCE = [f"2026-11-27T12:00:0{second}+00:00" for second in range(4)]


def vip(*reals: VipReal, min_healthy: int = 50, **options: object) -> Vip:
    return replace(Vip(KEY, reals=reals, check=Check(Probe("tcp"), min_healthy)), **options)


def equal(number: int, **options: object) -> Vip:
    return vip(*map(VipReal, REALS[:number]), **options)


def verdict(real: str, state: str = "down", since: str = SINCE[0], share: int = 100) -> Verdict:
    return Verdict(NAME, real, state, since, "refused", share)


def badness(each: Verdict) -> tuple[int, str]:
    return -STRICT[each.state], each.since


def said(*verdicts: Verdict) -> Mapping[str, Verdict]:
    return by_vip(verdicts).get(NAME, {})


def states(combined: Combined) -> dict[str, str]:
    return {real.address: real.state for real in combined.reals}


def weight_of(combined: Combined, vip_: Vip) -> int:
    """How much of the weight that the VIP's reals have takes new flows."""
    weights = {real.address: real.weight for real in vip_.reals}
    return sum(weights[real.address] for real in combined.reals if real.state == "active")


REAL = st.builds(VipReal, st.just(""), st.integers(0, 20), STATES)
VIPS = st.builds(
    lambda reals, minimum, kind: vip(
        *(real._replace(address=address) for address, real in zip(REALS, reals, strict=False)),
        min_healthy=minimum,
        hash=kind,
    ),
    st.lists(REAL, max_size=len(REALS)),
    st.sampled_from([0, 1, 33, 50, 99, 100]),
    st.sampled_from(["maglev_v2", "maglev_v1"]),
)
OVERLAYS = st.dictionaries(st.sampled_from(REALS), STATES, max_size=3).map(
    lambda words: {address: Overlay(address, state) for address, state in words.items()}
)
VERDICT = st.builds(
    Verdict,
    st.just(NAME),
    st.sampled_from(REALS),
    STATES,
    st.sampled_from(SINCE),
    st.sampled_from(["refused", "timeout"]),
    st.sampled_from([0, 1, 50, 100]),
)
VERDICTS = st.lists(VERDICT, max_size=10)
many = settings(max_examples=400, derandomize=True, database=None, deadline=None)


@many
@given(VIPS, OVERLAYS, VERDICTS)
def test_never_below_the_floor_and_never_more_lenient(
    one: Vip, overlay: dict[str, Overlay], verdicts: list[Verdict]
) -> None:
    before, after = combine(one, overlay, {}), combine(one, overlay, said(*verdicts))
    # A person's word stands in the place of the inventory's.
    expected = {real.address: effective_state(real.address, real.state, overlay) for real in one.reals}
    assert states(before) == expected
    assert one.check is not None
    assert weight_of(after, one) * 100 >= one.check.min_healthy * weight_of(before, one)
    for address, state in states(after).items():
        assert STRICT[state] >= STRICT[expected[address]]
        if address in after.out:
            assert state == after.out[address].state
        else:
            assert state == expected[address]
    assert not set(after.out) & set(after.held)
    if weight_of(before, one) and one.check.min_healthy:
        assert ring_members(one, Words(overlay, by_vip(verdicts)))


@many
@given(VIPS, OVERLAYS, VERDICTS)
def test_a_real_goes_out_exactly_where_there_is_room_and_the_last_to_fail_stay(
    one: Vip, overlay: dict[str, Overlay], verdicts: list[Verdict]
) -> None:
    found = combine(one, overlay, said(*verdicts))
    base = {real.address: real for real in combine(one, overlay, {}).reals}
    total = sum(real.weight for real in base.values() if real.state == "active")
    floor = one.check.min_healthy * total if one.check else 0
    for held in found.held.values():
        assert base[held.real].state == "active"
        assert base[held.real].weight
        # Without those that failed worse, and with it, less than the floor would be left.
        worse = [out for out in found.out.values() if badness(out) <= badness(held)]
        gone = sum(base[out.real].weight for out in worse if base[out.real].state == "active")
        assert (total - gone - base[held.real].weight) * 100 < floor
    # Of equal weights, what stays in failed last.
    if len({real.weight for real in base.values()}) == 1:
        taken = [out for out in found.out.values() if base[out.real].state == "active" and base[out.real].weight]
        for out in taken:
            for held in found.held.values():
                assert badness(out) <= badness(held)


@many
@given(VIPS, OVERLAYS, VERDICTS, VERDICT)
def test_a_stricter_word_never_makes_a_real_less_strict(
    one: Vip, overlay: dict[str, Overlay], verdicts: list[Verdict], more: Verdict
) -> None:
    before = said(*verdicts)
    old = before.get(more.real)
    since = old.since if old is not None else more.since
    if old is not None and STRICT[more.state] < STRICT[old.state]:
        return
    after = {**before, more.real: more._replace(since=since)}
    was, now = (states(combine(one, overlay, each)).get(more.real, "down") for each in (before, after))
    assert STRICT[now] >= STRICT[was]


@many
@given(VIPS, OVERLAYS, VERDICTS, st.randoms(use_true_random=False))
def test_their_order_is_irrelevant(
    one: Vip, overlay: dict[str, Overlay], verdicts: list[Verdict], chance: random.Random
) -> None:
    shuffled = list(verdicts)
    chance.shuffle(shuffled)
    assert by_vip(shuffled) == by_vip(verdicts)
    assert combine(one, overlay, said(*shuffled)) == combine(one, overlay, said(*verdicts))


@many
@given(VIPS, OVERLAYS, VERDICTS)
def test_what_does_not_count_changes_nothing(one: Vip, overlay: dict[str, Overlay], verdicts: list[Verdict]) -> None:
    unchecked = replace(one, check=None)
    assert combine(unchecked, overlay, said(*verdicts)) == combine(unchecked, overlay, {})
    vips = {KEY: one}
    counting = that_count(by_vip(verdicts), vips)
    assert combine(one, overlay, counting.get(NAME, {})) == combine(one, overlay, said(*verdicts))
    strange = [Verdict("198.51.100.9:443/tcp", REALS[0], "down", SINCE[0]), verdict("10.9.9.9")]
    assert that_count(by_vip([*verdicts, *strange]), vips) == counting
    assert that_count(by_vip(verdicts), {KEY: unchecked}) == {}


@many
@given(VIPS, OVERLAYS, VERDICTS)
def test_members_of_the_ring_keep_their_proportions(
    one: Vip, overlay: dict[str, Overlay], verdicts: list[Verdict]
) -> None:
    words = Words(overlay, by_vip(verdicts))
    members = dict(ring_members(one, words))
    weights = {real.address: real.weight for real in one.reals}
    found = words.combined(one)
    active = {real.address for real in found.reals if real.state == "active" and weights[real.address]}
    assert set(members) == active
    shares = {
        address: max(each.share, 1) if each.state == "active" else 100
        for address in active
        for each in [words.verdicts.get(NAME, {}).get(address, verdict(address, "active"))]
    }
    slow = one.hash == "maglev_v2" and any(share < 100 for share in shares.values())
    assert members == {address: weights[address] * (shares[address] if slow else 1) for address in active}


@pytest.mark.parametrize(
    ("minimum", "out", "held"),
    [
        (0, REALS[:4], []),
        (1, REALS[:3], REALS[3:4]),
        (25, REALS[:3], REALS[3:4]),
        (26, REALS[:2], REALS[2:4]),
        (50, REALS[:2], REALS[2:4]),
        (75, REALS[:1], REALS[1:4]),
        (100, [], REALS[:4]),
    ],
)
def test_the_floor(minimum: int, out: list[str], held: list[str]) -> None:
    found = combine(equal(4, min_healthy=minimum), {}, said(*map(verdict, REALS[:4])))
    assert (list(found.out), list(found.held)) == (out, held)


def test_a_third_less_is_less_than_67_per_cent() -> None:
    found = combine(equal(3, min_healthy=67), {}, said(verdict(REALS[0])))
    assert (list(found.out), list(found.held)) == ([], REALS[:1])


def test_what_failed_at_once_goes_in_the_order_of_addresses() -> None:
    far = "10.0.0.10"
    one = vip(VipReal(far), VipReal(REALS[2]), VipReal(REALS[1]), min_healthy=33)
    words = Words({}, by_vip(map(verdict, (far, REALS[2], REALS[1]))))
    found = words.combined(one)
    assert (list(found.out), list(found.held)) == ([REALS[1], REALS[2]], [far])
    later = by_vip([verdict(far, since=SINCE[1]), verdict(REALS[1], since=SINCE[0]), verdict(REALS[2], "draining")])
    words = Words({}, later)
    assert degraded({KEY: replace(one, check=Check(Probe("tcp"), 100))}, words) == {
        KEY: (
            "10.0.0.2 (down: refused), 10.0.0.10 (down: refused), 10.0.0.3 (draining: refused)"
            " stay in: min_healthy is 100 %"
        )
    }


def test_of_two_words_the_stricter_counts() -> None:
    kinds = [
        verdict(REALS[0]),
        verdict(REALS[0], "draining"),
        verdict(REALS[0], "active", share=10),
        verdict(REALS[0], "active", share=50),
    ]
    for place, strict in enumerate(kinds):
        for lax in kinds[place:]:
            assert said(strict, lax) == said(lax, strict) == {REALS[0]: strict}


def test_what_is_plainly_active_is_not_kept() -> None:
    words = by_vip([verdict(REALS[0], "active"), verdict(REALS[1], "active", share=90), verdict(REALS[2])])
    assert list(that_count(words, {KEY: equal(3)})[NAME]) == REALS[1:3]


def test_words_are_reckoned_once_for_each_vip() -> None:
    one = equal(2)
    assert NO_WORDS.combined(one) == Combined(one.reals, {}, {})
    words = Words({}, by_vip([verdict(REALS[0])]))
    found = words.combined(one)
    assert words.combined(one) is found
    # The same by name, and another by what it has.
    assert set(words.combined(equal(2, min_healthy=100)).held) == {REALS[0]}
    assert words.combined(equal(2)) == found
    assert Words({REALS[0]: Overlay(REALS[0], "down")}).combined(one).reals[0].state == "down"


def test_words_are_read_from_a_state() -> None:
    bad = verdict(REALS[0])
    state = State("default", "/sys/fs/bpf", verdicts=[bad._asdict()])
    state.overlay = [Overlay(REALS[1], "draining", SINCE[0])._asdict()]
    assert words_of(state) == Words({REALS[1]: Overlay(REALS[1], "draining", SINCE[0])}, {NAME: {REALS[0]: bad}})


def test_worst_first() -> None:
    verdicts = said(
        verdict(REALS[0], "draining", SINCE[0]),
        verdict(REALS[1], "down", SINCE[2]),
        verdict(REALS[2], "down", SINCE[1]),
        verdict(REALS[3], "down", SINCE[1]),
    )
    found = combine(equal(4, min_healthy=0), {}, verdicts)
    assert list(found.out) == [REALS[2], REALS[3], REALS[1], REALS[0]]
    assert states(found) == {REALS[0]: "draining", **dict.fromkeys(REALS[1:4], "down")}


def test_one_that_is_too_heavy_to_go_keeps_no_other_in() -> None:
    heavy = vip(VipReal(REALS[0], 6), VipReal(REALS[1], 2), VipReal(REALS[2], 2))
    found = combine(heavy, {}, said(verdict(REALS[0]), verdict(REALS[1], since=SINCE[1])))
    assert (set(found.out), set(found.held)) == ({REALS[1]}, {REALS[0]})


def test_what_takes_no_new_flow_anyway_is_never_held() -> None:
    """A real that is drained is down for good once checks say so: its old flows are moved."""
    one = vip(VipReal(REALS[0]), VipReal(REALS[1], state="draining"), VipReal(REALS[2], weight=0), min_healthy=100)
    found = combine(one, {}, said(*map(verdict, REALS[:3])))
    assert states(found) == {REALS[0]: "active", REALS[1]: "down", REALS[2]: "down"}
    assert down_members(one, Words({}, by_vip(map(verdict, REALS[:3])))) == {REALS[1], REALS[2]}


def test_by_hand_active_is_no_word_against_a_check() -> None:
    by_hand = {REALS[0]: Overlay(REALS[0], "active")}
    found = combine(vip(VipReal(REALS[0], state="draining"), VipReal(REALS[1])), by_hand, said(verdict(REALS[0])))
    assert states(found) == {REALS[0]: "down", REALS[1]: "active"}


@pytest.mark.parametrize("kind", ["maglev_v2", "maglev_v1"])
def test_slow_start(kind: str) -> None:
    words = Words({}, by_vip([verdict(REALS[0], "active", share=10)]))
    members = ring_members(equal(3, hash=kind), words)
    if kind == "maglev_v1":
        assert members == [(each, 1) for each in REALS[:3]]
        return
    assert members == [(REALS[0], 10), (REALS[1], 100), (REALS[2], 100)]
    ring = build_ring(members, 1009)
    assert 0 < list(ring).count(0) < 1009 / 15
    # Once it has all of its weight, the ring is the one of before.
    full = [(each, 100) for each in REALS[:3]]
    assert build_ring(full, 1009) == build_ring(ring_members(equal(3), NO_WORDS), 1009)


def test_a_share_of_nothing_is_still_some() -> None:
    words = Words({}, by_vip([verdict(REALS[0], "active", share=0)]))
    assert ring_members(equal(2), words) == [(REALS[0], 1), (REALS[1], 100)]


def test_in_words() -> None:
    other = replace(equal(4), key=VipKey.read("198.51.100.2:443/tcp"))
    vips = {KEY: equal(4), other.key: other}
    verdicts = [verdict(real, since=SINCE[number]) for number, real in enumerate(REALS[:3])]
    verdicts += [each._replace(vip=str(other.key)) for each in verdicts[:1]]
    words = Words({}, by_vip(verdicts))
    assert out_by_check(vips, words) == [
        f"real 10.0.0.1 is out of vips {NAME}, 198.51.100.2:443/tcp by check since {SINCE[0]} (refused)",
        f"real 10.0.0.2 is out of vip {NAME} by check since {SINCE[1]} (refused)",
        f"vip {NAME} is degraded: 10.0.0.3 (down: refused) stays in: min_healthy is 50 %",
    ]
    assert degraded(vips, words) == {KEY: "10.0.0.3 (down: refused) stays in: min_healthy is 50 %"}
    assert out_by_check(vips, NO_WORDS) == []


def test_without_a_reason_none_is_told() -> None:
    bad = [verdict(real)._replace(reason="") for real in REALS[:3]]
    assert by_check(bad[0]) == "down by check"
    assert by_check(verdict(REALS[0], "draining")) == "draining by check (refused)"
    assert out_by_check({KEY: equal(4)}, Words({}, by_vip(bad))) == [
        f"real 10.0.0.1 is out of vip {NAME} by check since {SINCE[0]}",
        f"real 10.0.0.2 is out of vip {NAME} by check since {SINCE[0]}",
        f"vip {NAME} is degraded: 10.0.0.3 (down) stays in: min_healthy is 50 %",
    ]


def test_reals_are_told_in_the_order_of_their_addresses() -> None:
    addresses = ["10.0.0.10", "10.0.0.9"]
    bad = [verdict(each)._replace(reason=reason) for each, reason in zip(addresses, ["a", "b"], strict=True)]
    one = vip(*map(VipReal, addresses), min_healthy=0)
    lines = out_by_check({KEY: one}, Words({}, by_vip(bad)))
    assert [line.split()[1] for line in lines] == ["10.0.0.9", "10.0.0.10"]


def test_many_degraded_vips_are_told_in_few_lines() -> None:
    keys = [VipKey.read(f"198.51.100.{last}:443/tcp") for last in range(1, 24)]
    vips = {key: replace(equal(1, min_healthy=100), key=key) for key in keys}
    words = Words({}, by_vip(verdict(REALS[0])._replace(vip=str(key)) for key in keys))
    lines = told_degraded(vips, words)
    assert lines[0] == "vip 198.51.100.1:443/tcp is degraded: 10.0.0.1 (down: refused) stays in: min_healthy is 100 %"
    assert lines[20:] == ["and 3 more VIPs that are degraded"]


def test_many_are_told_in_few_lines() -> None:
    addresses = [f"10.1.0.{last}" for last in range(1, 51)]
    one = vip(*map(VipReal, addresses), min_healthy=20)
    lines = out_by_check({KEY: one}, Words({}, by_vip(verdict(each) for each in addresses)))
    assert lines[20] == "and 20 more reals that are out by check"
    assert lines[21].startswith(f"vip {NAME} is degraded: 10.1.0.41 (down: refused), ")
    assert lines[21].endswith("and 5 more stay in: min_healthy is 20 %")
    assert len(lines) == 22


def test_words_are_kept_in_one_order() -> None:
    other = replace(equal(2), key=VipKey.read("198.51.100.10:443/tcp"))
    verdicts = [verdict(real) for real in REALS[:3]]
    verdicts.append(verdict(REALS[1])._replace(vip=str(other.key)))
    listed = Words({}, that_count(by_vip(reversed(verdicts)), {other.key: other, KEY: equal(3)})).listed()
    assert listed == [each._asdict() for each in verdicts]


def test_whose_flows_are_removed() -> None:
    def gone(one: Vip, before: list[Verdict], after: list[Verdict], old: Vip | None = None) -> set[str]:
        known = {KEY: old or one}
        found = newly_down((known, Words({}, by_vip(before))), ({KEY: one}, Words({}, by_vip(after))))
        return set(found.get(KEY, ()))

    bad = [verdict(real, since=since) for real, since in zip(REALS, SINCE, strict=False)]
    four = equal(4)
    assert gone(four, [], bad[:1]) == {REALS[0]}
    assert gone(four, bad[:1], bad[:2]) == {REALS[1]}
    assert gone(four, bad[:2], bad[:2]) == set()
    # The floor keeps the third in, until less of it is asked for.
    assert gone(four, bad[:2], bad[:3]) == set()
    assert gone(equal(4, min_healthy=0), bad[:3], bad[:3], four) == {REALS[2]}
    # One that drains has its flows; once it is down it has not.
    draining = [verdict(REALS[0], "draining")]
    assert (gone(four, [], draining), gone(four, draining, bad[:1])) == (set(), {REALS[0]})
    # Flows to what a person took down go as well once it does not answer.
    by_hand = {REALS[0]: Overlay(REALS[0], "down")}
    dead = ({KEY: four}, Words(by_hand, by_vip(bad[:1])))
    assert newly_down(({KEY: four}, Words(by_hand)), dead) == {KEY: {REALS[0]}}
    assert newly_down(dead, dead) == {}
    keeping = replace(four, check=Check(Probe("tcp"), on_down="keep"))
    assert gone(keeping, [], bad[:1]) == set()
    # A VIP that keeps its flows says nothing of the next, which is new.
    other = replace(four, key=VipKey.read("198.51.100.2:443/tcp"))
    both = by_vip([bad[0], bad[0]._replace(vip=str(other.key))])
    assert newly_down(({KEY: keeping}, NO_WORDS), ({KEY: keeping, other.key: other}, Words({}, both))) == {
        other.key: {REALS[0]}
    }
    udp = VipKey.read("198.51.100.1:443/udp")
    for flags, moved in (("quic",), False), (("udp_flow_migration",), True):
        one = replace(four, key=udp, flags=flags)
        words = Words({}, by_vip([bad[0]._replace(vip=str(udp))]))
        before, after = ({udp: one}, NO_WORDS), ({udp: one}, words)
        assert newly_down(before, after) == ({} if moved else {udp: {REALS[0]}})
        assert newly_down(before, after, moves=False) == {udp: {REALS[0]}}
