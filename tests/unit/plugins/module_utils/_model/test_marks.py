# SPDX-License-Identifier: GPL-3.0-or-later
"""Marks: of a balancer's reals, and of no other balancer's of the host."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.katran.fleet.plugins.module_utils._model.marks import (
    MARK_BASE,
    MARK_LAST,
    MOST_BALANCERS,
    is_ours,
    marks_of,
    number_for,
)

NAMES = st.lists(st.from_regex(r"[a-z0-9][a-z0-9_-]{0,31}", fullmatch=True), unique=True, max_size=MOST_BALANCERS + 2)
IDS = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, (1 << 20) - 1), min_size=1)


@given(NAMES)
def test_balancers_of_one_host_have_numbers_of_their_own(names: list[str]) -> None:
    taken: dict[str, int] = {}
    for name in names:
        number = number_for(name, taken.values())
        if len(taken) == MOST_BALANCERS:
            assert number is None
        else:
            assert number is not None
            assert 0 <= number < MOST_BALANCERS
            assert number not in taken.values()
            taken[name] = number


def test_the_one_balancer_of_most_hosts_has_the_first() -> None:
    assert number_for("default", ()) == 0
    assert number_for("default", [0, 1]) == 2


@given(IDS, IDS, st.sampled_from(range(MOST_BALANCERS)), st.sampled_from(range(MOST_BALANCERS)))
def test_no_mark_leads_to_reals_of_two_balancers(
    ids: dict[str, int], others: dict[str, int], number: int, other: int
) -> None:
    mine = marks_of(ids, ids, number)
    assert set(mine) == set(ids)
    assert all(is_ours(mark) and MARK_BASE <= mark <= MARK_LAST for mark in mine.values())
    assert [mark & 0xFFFFF for mark in mine.values()] == [ids[real] for real in mine]
    if number != other:
        assert not set(mine.values()) & set(marks_of(others, others, other).values())


def test_a_real_without_an_id_has_no_mark() -> None:
    assert marks_of(["10.0.0.1", "10.0.0.2"], {"10.0.0.2": 7}, 3) == {"10.0.0.2": MARK_BASE + (3 << 20) + 7}
