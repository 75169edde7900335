# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Balancers that were away for a word about a real, or for its end, come to what the others know."""

from __future__ import annotations

import typing as t

from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.katran.fleet.plugins.module_utils._model.entries import Asked
from ansible_collections.katran.fleet.plugins.module_utils._model.lagging import Behind, lagging
from ansible_collections.katran.fleet.plugins.module_utils._model.limits import UNLIMITED
from ansible_collections.katran.fleet.plugins.module_utils._model.overlay import (
    Overlay,
    ended_after,
    fleet_words,
    is_later,
    moment,
    resolve_reals,
)

A, B = "10.0.0.1", "fc00::1"


def at(second: int) -> str:
    return f"2026-11-28T10:00:{second:02}.000+00:00"


def word(address: str, second: int, state: str = "draining") -> dict[str, str]:
    return {"address": address, "state": state, "since": at(second)}


def end(address: str, second: int) -> dict[str, str]:
    return {"address": address, "since": at(second)}


def knows(*words: dict[str, str], ended: t.Sequence[dict[str, str]] = ()) -> dict[str, t.Any]:
    return {"words": list(words), "ended": list(ended)}


def test_who_knows_the_same_is_told_nothing() -> None:
    assert lagging({}) == []
    assert lagging({"lb1": knows(word(A, 1)), "lb2": knows(word(A, 2))}) == []
    # The end of a word that never came here is no news.
    assert lagging({"lb1": knows(ended=[end(A, 2)]), "lb2": knows()}) == []


def test_who_was_away_is_told_the_newest() -> None:
    told = {"lb1": knows(word(A, 3), ended=[end(B, 5)]), "lb2": knows(word(B, 4)), "lb3": knows(word(A, 2, "down"))}
    assert lagging(told) == [
        Behind("lb2", "merged", [word(A, 3)]),
        Behind("lb2", "deleted", [end(B, 5)]),
        Behind("lb3", "merged", [word(A, 3)]),
    ]
    # Said anew since it ended.
    assert lagging({"lb1": knows(ended=[end(A, 2)]), "lb2": knows(word(A, 3))}) == [
        Behind("lb1", "merged", [word(A, 3)])
    ]


def test_moments() -> None:
    assert is_later("2026-11-28T11:00:01+01:00", "2026-11-28T10:00:00+00:00")
    assert not is_later(at(1), at(1))
    assert is_later(at(1), "")
    assert is_later(at(1), "long ago")
    assert not is_later("", "")
    assert moment("2026-11-28T10:00:00") is None
    assert moment(None) is None


Balancer = tuple[dict[str, Overlay], dict[str, str]]


def hear(balancer: Balancer, state: str, config: list[dict[str, str]], newest: bool) -> Balancer:
    """What module reals makes of it."""
    asked = Asked(config, state, limits=UNLIMITED, newest=newest)
    was, ended = balancer
    now, _warnings = resolve_reals(was, asked, at(59), (A, B), ended if newest else None)
    return now, ended_after(was, now, asked, at(59), ended)


EVENTS = st.lists(
    st.tuples(
        st.sampled_from((A, B)), st.sampled_from(("draining", "down", "")), st.sets(st.integers(0, 2), min_size=1)
    ),
    max_size=8,
)


@given(EVENTS)
def test_whoever_was_away_when_all_come_to_the_newest(events: list[tuple[str, str, set[int]]]) -> None:
    balancers: list[Balancer] = [({}, {})] * 3
    newest: dict[str, str] = {}
    for second, (address, state, there) in enumerate(events):
        for number in there:
            one, verb = (word(address, second, state), "merged") if state else (end(address, second), "deleted")
            balancers[number] = hear(balancers[number], verb, [one], newest=False)
        newest[address] = state
    for _run in range(2):
        for behind in lagging({str(number): fleet_words(*each) for number, each in enumerate(balancers)}):
            number = int(behind.host)
            balancers[number] = hear(balancers[number], behind.state, behind.config, newest=True)
    assert lagging({str(number): fleet_words(*each) for number, each in enumerate(balancers)}) == []
    expected = {address: state for address, state in newest.items() if state}
    assert [{address: each.state for address, each in words.items()} for words, _ended in balancers] == [expected] * 3
