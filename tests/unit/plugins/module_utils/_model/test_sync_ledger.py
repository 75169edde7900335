# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What peers were told, and what is held for them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.katran.fleet.plugins.module_utils._model import layout, sync_ledger
from ansible_collections.katran.fleet.plugins.module_utils._model.exceptions import Known
from ansible_collections.katran.fleet.plugins.module_utils._model.sync_ledger import (
    KEEP_TCP,
    KEEP_UDP,
    Holdings,
    Ledger,
    one_each,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.sync_records import (
    REFRESH,
    RELAY,
    SET,
    WITHDRAW,
    Statement,
)

# A busy machine is no fault of what is tested.
PATIENT = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])

REALS = {number: (layout.pack_address(f"10.0.0.{number}"), False) for number in range(1, 6)}
NUMBERS = {real: number for number, real in REALS.items()}


def flow(number: int, protocol: int = 6) -> bytes:
    return layout.flow_key(layout.pack_address("192.0.2.7"), layout.pack_address("198.51.100.1"), number, 80, protocol)


def known(number: int, real: int, is_exception: bool = True, atime: int = 0) -> Known:
    return Known(flow(number), real, is_exception, atime)


def update(ledger: Ledger, *found: Known, now: float = 0.0) -> list[tuple[int, int, int]]:
    """(word, flow, real) of what is to be told."""
    return readable(ledger.update(found, REALS, now))


def readable(statements: Iterable[Statement]) -> list[tuple[int, int, int]]:
    return [(each.word, int.from_bytes(each.key[32:34], "big"), NUMBERS[each.address]) for each in statements]


def test_an_exception_is_told_once_and_refreshed_while_it_lives() -> None:
    ledger = Ledger()
    assert update(ledger, known(1, 2), known(2, 3)) == [(SET, 1, 2), (SET, 2, 3)]
    assert update(ledger, known(1, 2), known(2, 3)) == []
    assert readable(ledger.refreshed()) == [(REFRESH, 1, 2), (REFRESH, 2, 3)]
    assert ledger.live == 2
    # It has ended, or its packets go by another balancer.
    assert update(ledger, known(1, 2)) == []
    assert readable(ledger.all()) == [(REFRESH, 1, 2)]
    assert update(ledger, known(1, 2), known(2, 3)) == [(SET, 2, 3)]


def test_one_with_another_real_is_told_anew_or_withdrawn() -> None:
    ledger = Ledger()
    update(ledger, known(1, 2), known(2, 2))
    assert update(ledger, known(1, 3), known(2, 4, is_exception=False)) == [(SET, 1, 3), (WITHDRAW, 2, 2)]
    assert readable(ledger.all()) == [(WITHDRAW, 2, 2), (REFRESH, 1, 3)], "also to who could not be reached"
    assert readable(ledger.refreshed()) == [(REFRESH, 1, 3)]
    assert update(ledger, known(1, 3), known(2, 5)) == [(SET, 2, 5)]
    assert readable(ledger.all()) == [(REFRESH, 1, 3), (REFRESH, 2, 5)]


def test_one_that_the_ring_would_choose_again_is_not_withdrawn() -> None:
    ledger = Ledger()
    update(ledger, known(1, 2))
    assert update(ledger, known(1, 2, is_exception=False)) == []
    assert list(ledger.all()) == []
    # Even long after it was last told: it is known that it was.
    assert update(ledger, known(1, 3, is_exception=False)) == [(WITHDRAW, 1, 2)]


def test_what_was_told_is_forgotten_when_peers_have() -> None:
    ledger = Ledger()
    update(ledger, known(1, 2), known(2, 2))
    update(ledger, known(2, 3, is_exception=False), now=10.0)
    update(ledger, now=KEEP_TCP)
    assert set(ledger.flows) == {flow(1)}
    assert set(ledger.withdrawn) == {flow(2)}
    update(ledger, now=KEEP_TCP + 1.0)
    assert set(ledger.flows) == set()
    update(ledger, now=KEEP_TCP + 11.0)
    assert ledger.withdrawn == {}


def test_how_long_ago_it_was_is_all_that_counts() -> None:
    ledger, now = Ledger(), 1.8e9
    update(ledger, known(1, 2), known(2, 2), now=now)
    update(ledger, known(2, 3, is_exception=False), now=now)
    update(ledger, now=now + KEEP_TCP)
    assert (set(ledger.flows), set(ledger.withdrawn)) == ({flow(1)}, {flow(2)})
    update(ledger, now=now + KEEP_TCP + 1.0)
    assert (ledger.flows, ledger.withdrawn) == ({}, {})


def test_no_more_is_withdrawn_than_a_peer_is_to_bear(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync_ledger, "MOST_WITHDRAWN", 2)
    ledger = Ledger()
    update(ledger, *(known(number, 2) for number in range(1, 5)))
    assert len(update(ledger, *(known(number, 3, is_exception=False) for number in (1, 2)))) == 2
    assert set(ledger.withdrawn) == {flow(1), flow(2)}
    assert len(update(ledger, known(3, 3, is_exception=False))) == 1
    assert set(ledger.withdrawn) == {flow(2), flow(3)}, "the oldest goes first"


def test_flows_of_reals_that_are_gone_are_not_told() -> None:
    assert update(Ledger(), known(1, 9)) == []
    assert update(Ledger(), known(1, 9), known(2, 2)) == [(SET, 2, 2)]


def test_flows_that_never_were_exceptions_are_not_told() -> None:
    assert update(Ledger(), known(1, 2, is_exception=False), known(2, 2)) == [(SET, 2, 2)]


def test_no_more_is_told_than_a_peer_is_to_bear(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync_ledger, "MOST_TOLD", 3)
    ledger = Ledger()
    assert len(update(ledger, *(known(number, 2) for number in range(1, 6)))) == 3
    assert ledger.left_out == 2
    # What is told no more makes room.
    assert update(ledger, known(2, 2), known(3, 2), known(9, 2)) == []
    assert ledger.left_out == 1
    assert update(ledger, known(2, 2), known(3, 2), known(9, 2)) == [(SET, 9, 2)]
    assert ledger.left_out == 0


def test_of_several_entries_the_likelier_counts() -> None:
    later = known(1, 3, atime=9)
    assert one_each([known(1, 2, atime=5), later, known(1, 4, atime=7)]) == {flow(1): later}
    agreeing = known(1, 3, is_exception=False)
    for order in ([known(1, 2), agreeing], [agreeing, known(1, 2)]):
        assert one_each(order) == {flow(1): agreeing}


def holdings(room: int = 100) -> Holdings:
    return Holdings(room)


def hear(
    held: Holdings, owner: str, *told: tuple[int, int, int], now: float = 0.0, may: bool = True, age: int = 0
) -> dict[int, int | None]:
    """Take in (word, flow, real); flow → what is to be written."""
    statements = [Statement(word, flow(number), *_real(real), age) for word, number, real in told]
    writes = held.apply(owner, statements, now, NUMBERS.get, lambda _key: may)
    return {int.from_bytes(key[32:34], "big"): number for key, number in writes.items()}


def _real(number: int) -> tuple[bytes, bool]:
    return REALS.get(number, (layout.pack_address(f"10.9.9.{number}"), False))


def test_what_is_told_is_written_with_this_balancers_ids() -> None:
    held = holdings()
    assert hear(held, "a", (SET, 1, 2), (REFRESH, 2, 3)) == {1: 2, 2: 3}
    assert held.counts["a"] == 2
    assert hear(held, "a", (WITHDRAW, 1, 2), (WITHDRAW, 9, 2)) == {1: None}
    assert held.counts["a"] == 1


def test_what_cannot_be_held_is_counted_and_not_written() -> None:
    held = holdings(1)
    assert hear(held, "a", (SET, 1, 77)) == {}
    assert hear(held, "a", (SET, 1, 2), may=False) == {}
    assert hear(held, "a", (SET, 1, 2), (SET, 2, 2)) == {1: 2}
    assert held.refused == {"unknown_real": 1, "vip": 1, "full": 1}
    # A flow that now has a real which is none here must not go where it was.
    assert hear(held, "a", (SET, 1, 77)) == {1: None}
    assert held.flows == {}


def test_old_news_does_not_contest_what_another_peer_says_and_new_does() -> None:
    held = holdings()
    hear(held, "a", (SET, 1, 2))
    assert hear(held, "b", (REFRESH, 1, 3)) == {}
    assert hear(held, "b", (RELAY, 1, 3)) == {}
    assert held.refused == {"other": 2}
    assert hear(held, "b", (SET, 1, 3)) == {1: 3}
    assert hear(held, "a", (REFRESH, 1, 2)) == {}
    # Who no longer has it cannot withdraw it either.
    assert hear(held, "a", (WITHDRAW, 1, 2)) == {}
    assert hear(held, "b", (WITHDRAW, 1, 3)) == {1: None}
    assert held.counts == {"a": 0, "b": 0}


def test_what_is_not_refreshed_is_dropped_but_not_soon() -> None:
    held = holdings()
    hear(held, "a", (SET, 1, 2), (SET, 2, 2))
    udp = Statement(SET, flow(3, 17), *REALS[2])
    held.apply("a", [udp], 0.0, NUMBERS.get, lambda _key: True)

    def review(now: float) -> set[bytes]:
        return {key for key, number in held.review(now, NUMBERS.get, lambda _key: True).items() if number is None}

    assert review(KEEP_UDP - 1.0) == set()
    assert review(float(KEEP_UDP)) == {flow(3, 17)}
    hear(held, "a", (REFRESH, 2, 2), now=1000.0)
    assert review(float(KEEP_TCP)) == {flow(1)}
    assert review(KEEP_TCP + 1000.0) == {flow(2)}


def test_what_was_taken_out_of_the_tables_is_held_no_longer() -> None:
    held = holdings()
    hear(held, "a", (SET, 1, 2), (SET, 2, 3))
    held.forget([flow(1)])
    assert set(held.flows) == {flow(2)}
    assert held.counts["a"] == 1


def test_reals_that_go_or_come_back_with_another_id() -> None:
    held = holdings()
    hear(held, "a", (SET, 1, 2), (SET, 2, 3), (SET, 3, 4))
    moved = {REALS[2]: 9, REALS[4]: 4}
    assert held.review(1.0, moved.get, lambda _key: True) == {flow(1): 9, flow(2): None}
    assert held.review(1.0, moved.get, lambda key: key != flow(3)) == {flow(3): None}


def test_what_was_there_before_is_nobodys_until_it_is_told() -> None:
    held = holdings(2)
    held.adopt({flow(1): 2, flow(2): 9, flow(3): 3, flow(4): 3}, REALS, 0.0)
    assert set(held.flows) == {flow(1), flow(3)}
    assert {each.until for each in held.flows.values()} == {KEEP_TCP}
    assert held.review(KEEP_TCP - 1.0, NUMBERS.get, lambda _key: True) == {}
    assert hear(held, "a", (WITHDRAW, 1, 3)) == {}, "of another real, it was another's"
    assert hear(held, "a", (WITHDRAW, 1, 2)) == {1: None}
    assert hear(held, "a", (REFRESH, 3, 4)) == {3: 4}


def test_what_a_peer_that_is_gone_had_told_is_passed_on_with_its_age() -> None:
    held = holdings()
    hear(held, "gone", (SET, 1, 2))
    hear(held, "there", (SET, 2, 2))
    passed = list(held.relayed(lambda owner: owner == "gone", 7200.0))
    assert passed == [Statement(RELAY, flow(1), *REALS[2], 120)]
    other = holdings()
    assert other.apply("a", passed, 0.0, NUMBERS.get, lambda _key: True) == {flow(1): 2}
    assert other.flows[flow(1)].until == KEEP_TCP - 7200.0
    # However often it goes round, nothing lives longer by it.
    back = list(other.relayed(lambda _owner: True, 600.0))
    held.apply("b", back, 7800.0, NUMBERS.get, lambda _key: True)
    assert held.flows[flow(1)].until == KEEP_TCP
    assert held.flows[flow(1)].owner == "gone"
    assert hear(held, "b", (RELAY, 5, 2), age=KEEP_TCP // 60) == {}


WORDS = st.tuples(
    st.sampled_from(["a", "b"]), st.sampled_from([SET, REFRESH, WITHDRAW, RELAY]), st.integers(1, 6), st.integers(1, 7)
)


@given(st.lists(WORDS, max_size=60), st.integers(0, 6))
@PATIENT
def test_the_tables_have_what_is_held_and_nothing_else(words: list[Any], room: int) -> None:
    held, table = holdings(room), dict[bytes, int | None]()
    for owner, word, number, real in words:
        writes = held.apply(
            owner, [Statement(word, flow(number), *_real(real))], 0.0, NUMBERS.get, lambda key: key != flow(6)
        )
        table.update(writes)
        there = {key: number for key, number in table.items() if number is not None}
        assert there == {key: each.number for key, each in held.flows.items()}
        assert len(held.flows) <= room
        assert flow(6) not in held.flows
        assert sum(held.counts.values()) == len(held.flows)
        assert all(REALS[each.number] == each.real for each in held.flows.values())
