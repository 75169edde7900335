# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sessions between balancers, over a network that loses, repeats and reorders, with an attacker who records."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.katran.fleet.plugins.module_utils._model import layout, sync_session
from ansible_collections.katran.fleet.plugins.module_utils._model.sealed import (
    ACCEPT,
    ACK,
    DATA,
    OPEN,
    RefusedError,
    read_header,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.sync_ledger import Holdings
from ansible_collections.katran.fleet.plugins.module_utils._model.sync_records import SET, WITHDRAW, Statement
from ansible_collections.katran.fleet.plugins.module_utils._model.sync_session import Identity, Receiver, Sender

# A busy machine is no fault of what is tested.
PATIENT = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])

KEY = bytes(range(32))
REALS = [(layout.pack_address(f"10.0.0.{number}"), False) for number in range(1, 6)]


def flow(number: int) -> bytes:
    return layout.flow_key(
        layout.pack_address(f"192.0.2.{number % 250}"), layout.pack_address("198.51.100.1"), number, 80, 6
    )


def statement(number: int, real: int, word: int = SET) -> Statement:
    return Statement(word, flow(number), *REALS[real])


def identity(name: str, key: bytes = KEY) -> Identity:
    noise = random.Random(name)
    return Identity(key, noise.randbytes(16), lambda: noise.randbytes(16))


class Near:
    """The sending balancer: what is so, of flows."""

    def __init__(self, name: str = "near", now: float = 0.0, key: bytes = KEY) -> None:
        self.truth: dict[bytes, Statement] = {}
        self.sender = Sender(identity(name, key), self.truth.values, now)

    def say(self, statements: Iterable[Statement]) -> None:
        told = list(statements)
        for each in told:
            self.truth[each.key] = each
        self.sender.tell(told)

    @property
    def held(self) -> dict[bytes, Any]:
        """What the other balancer should hold."""
        return {key: each.address for key, each in self.truth.items() if each.word != WITHDRAW}

    def take(self, datagram: bytes, now: float) -> None:
        header = read_header(datagram)
        if header.kind == ACCEPT:
            self.sender.accepted(header, datagram, now)
        else:
            assert header.kind == ACK
            self.sender.confirmed(header, datagram, now)


class Far:
    """The receiving balancer, and why it refused."""

    def __init__(self, name: str = "far", key: bytes = KEY) -> None:
        self.receiver = Receiver(identity(name, key))
        self.holdings = Holdings(10_000)
        self.refused: Counter[str] = Counter()

    def take(self, datagram: bytes, now: float) -> list[bytes]:
        try:
            header = read_header(datagram)
            if header.kind == OPEN:
                return [self.receiver.asked(header, datagram)]
            assert header.kind == DATA
            told = self.receiver.told(header, datagram, now)
        except RefusedError as error:
            self.refused[error.cause] += 1
            return []
        self.holdings.apply("near", told.statements, now, lambda real: REALS.index(real) + 1, lambda _key: True)
        return self.receiver.acknowledge(len(self.holdings.flows))

    @property
    def held(self) -> dict[bytes, Any]:
        return {key: held.real for key, held in self.holdings.flows.items()}


Net = Callable[[list[bytes]], list[bytes]]


def converse(near: Near, far: Far, start: float, seconds: float, there: Net = list, back: Net = list) -> list[bytes]:
    """Let time go by, 50 ms at a time; every datagram that the sender sent."""
    seen = []
    for step in range(int(seconds * 20)):
        now = start + step / 20
        sent = near.sender.tick(now)
        seen += sent
        answers = [answer for datagram in there(sent) for answer in far.take(datagram, now)]
        for answer in back(answers):
            # What repeats or comes late is refused.
            try:
                near.take(answer, now)
            except RefusedError as error:
                far.refused[f"near {error.cause}"] += 1
    return seen


def test_what_is_told_is_held_and_acknowledged_at_once() -> None:
    near, far = Near(), Far()
    near.say(statement(number, number % 3) for number in range(5000))
    converse(near, far, 0.0, 1.0)
    assert near.sender.is_done
    assert far.receiver.complete
    assert far.held == near.held
    near.say([statement(7, 4), statement(8, 2, WITHDRAW)])
    assert not near.sender.is_done
    converse(near, far, 1.0, 0.2)
    assert near.sender.is_done
    assert far.held[flow(7)] == REALS[4]
    assert flow(8) not in far.held
    assert not far.refused


def test_nothing_is_done_before_everything_is_acknowledged() -> None:
    near, far = Near(), Far()
    assert not near.sender.is_done
    converse(near, far, 0.0, 1.0, back=lambda answers: [each for each in answers if read_header(each).kind == ACCEPT])
    assert near.sender.is_open
    assert not near.sender.is_done


@given(st.integers(0, 2**32), st.floats(0, 0.4), st.floats(0, 0.4), st.floats(0, 0.6))
@PATIENT
def test_whatever_the_network_does_both_agree_in_the_end(
    seed: int, loss: float, repeat: float, disorder: float
) -> None:
    dice = random.Random(seed)

    def network() -> Net:
        later: list[bytes] = []

        def carry(datagrams: list[bytes]) -> list[bytes]:
            coming = list(later)
            later.clear()
            for each in datagrams:
                for _copy in range(1 + (dice.random() < repeat)):
                    if dice.random() >= loss:
                        (later if dice.random() < disorder else coming).append(each)
            dice.shuffle(coming)
            return coming

        return carry

    near, far, there, back = Near(), Far(), network(), network()
    for turn in range(10):
        told = []
        for number in dice.sample(range(200), 60):
            known = near.truth.get(flow(number))
            if known and known.word == SET and dice.random() < 0.3:
                told.append(known._replace(word=WITHDRAW))
            else:
                told.append(statement(number, dice.randrange(5)))
        near.say(told)
        converse(near, far, turn * 0.5, 0.5, there, back)
    converse(near, far, 5.0, 40.0, there, back)
    # A network that loses nearly half may have made them think that the other is gone: in the end it works.
    converse(near, far, 45.0, 30.0)
    assert near.sender.is_done
    assert far.held == near.held


def test_an_early_word_that_comes_late_changes_nothing() -> None:
    near, far = Near(), Far()
    converse(near, far, 0.0, 0.5)
    near.say([statement(1, 1)])
    early = near.sender.tick(0.6)
    near.say([statement(1, 2)])
    for datagram in near.sender.tick(0.65):
        far.take(datagram, 0.65)
    for datagram in early:
        assert far.take(datagram, 0.7) == []
    assert far.held[flow(1)] == REALS[2]
    assert far.refused == {"reordered": 1}
    # Nor does its repetition, once it is taken for lost.
    converse(near, far, 0.7, 5.0)
    assert far.held[flow(1)] == REALS[2]


def test_a_replay_changes_nothing() -> None:
    near, far = Near(), Far()
    near.say([statement(1, 1)])
    seen = converse(near, far, 0.0, 1.0)
    near.say([statement(1, 2)])
    seen += converse(near, far, 1.0, 1.0)
    before = dict(far.holdings.flows)
    data = [each for each in seen if read_header(each).kind == DATA]
    for datagram in data:
        assert far.take(datagram, 2.0) == []
    assert far.holdings.flows == before
    assert far.refused == {"replayed": len(data)}


def test_a_recorded_session_says_nothing_to_one_that_has_begun_anew() -> None:
    near, far = Near(), Far()
    near.say([statement(1, 1)])
    seen = converse(near, far, 0.0, 1.0)
    fresh = Far("far again")
    for datagram in seen * 2:
        for answer in fresh.take(datagram, 2.0):
            # It may be asked for a session: that alone tells nothing.
            assert read_header(answer).kind == ACCEPT
    assert fresh.held == {}
    assert fresh.refused["session"] == 2 * sum(read_header(each).kind == DATA for each in seen)
    assert not fresh.receiver.is_there(2.0)


def test_an_earlier_session_of_the_same_peer_says_nothing_any_more() -> None:
    near, far = Near(), Far()
    near.say([statement(1, 1)])
    seen = converse(near, far, 0.0, 1.0)
    again = Near("near again", 2.0)
    again.say([statement(1, 3)])
    converse(again, far, 2.0, 1.0)
    for datagram in seen:
        far.take(datagram, 3.0)
    assert far.held[flow(1)] == REALS[3]
    # And who asked for it in vain does not keep the real one out.
    again.say([statement(2, 4)])
    converse(again, far, 3.0, 1.0)
    assert far.held[flow(2)] == REALS[4]


def test_another_key_gets_no_answer() -> None:
    near, far = Near(key=bytes(range(1, 33))), Far()
    near.say([statement(1, 1)])
    converse(near, far, 0.0, 5.0)
    assert far.held == {}
    assert far.refused.keys() == {"key"}
    assert not near.sender.is_open


def test_answers_to_nothing_that_was_asked_are_refused() -> None:
    near, far = Near(), Far()
    stranger = Near("another")
    opening = stranger.sender.tick(0.0)
    accept = far.take(opening[0], 0.0)[0]
    near.sender.tick(0.0)
    with pytest.raises(RefusedError, match=r"^session$"):
        near.take(accept, 0.0)
    stranger.take(accept, 0.0)
    with pytest.raises(RefusedError, match=r"^replayed$"):
        stranger.take(accept, 0.0)
    acknowledgement = far.take(stranger.sender.tick(0.1)[0], 0.1)[0]
    with pytest.raises(RefusedError, match=r"^session$"):
        near.take(acknowledgement, 0.1)
    stranger.take(acknowledgement, 0.1)
    with pytest.raises(RefusedError, match=r"^replayed$"):
        stranger.take(acknowledgement, 0.1)


def test_a_peer_that_began_anew_is_told_everything_at_once() -> None:
    near, far = Near(), Far()
    near.say(statement(number, 1) for number in range(100))
    converse(near, far, 0.0, 1.0)
    fresh = Far("far again")
    # It asks for a session of its own, and so is known to be another.
    asking = Sender(identity("far again"), list, 1.0).tick(1.0)[0]
    near.sender.peer_is(read_header(asking).node, 1.0)
    converse(near, fresh, 1.0, 0.5)
    assert len(fresh.held) == 100
    assert fresh.receiver.complete


def test_only_another_process_is_reached_anew_and_seldom() -> None:
    near, far = Near(), Far()
    other = identity("another").node

    def asks(node: bytes, now: float) -> bool:
        near.sender.peer_is(node, now)
        return any(read_header(each).kind == OPEN for each in near.sender.tick(now))

    opening = near.sender.tick(0.0)
    near.sender.peer_is(other, 0.1)
    assert near.sender.tick(0.3) == opening, "what was asked is asked on"
    converse(near, far, 0.5, 1.0)
    reached = identity("far").node
    assert not asks(reached, 10.0)
    assert asks(other, 10.0)
    converse(near, far, 10.3, 0.5)
    assert not asks(other, 14.9), "it may be a recorded one that asks"
    assert not asks(reached, 15.0)
    assert asks(other, 15.0)


def test_what_is_newer_is_said_again_although_what_is_older_came() -> None:
    near, far = Near(), Far()
    converse(near, far, 0.0, 0.5)
    near.say([statement(1, 1)])
    early = near.sender.tick(0.6)
    near.say([statement(1, 2)])
    near.sender.tick(0.65)
    for datagram in early:
        for answer in far.take(datagram, 0.7):
            near.take(answer, 0.7)
    assert far.held[flow(1)] == REALS[1]
    converse(near, far, 0.7, 3.0)
    assert far.held[flow(1)] == REALS[2]


def test_an_acknowledgement_of_what_is_long_known_hides_no_other() -> None:
    near, far = Near(), Far()
    converse(near, far, 0.0, 0.5)
    near.say([statement(1, 1)])
    (lost,) = near.sender.tick(1.0)
    (again,) = near.sender.tick(1.5)
    far.receiver.told(read_header(lost), lost, 1.5)
    far.receiver.told(read_header(again), again, 1.5)
    # Of the first, which was taken for lost, nothing is known here any more.
    (both,) = far.receiver.acknowledge(1)
    assert not near.sender.is_done
    near.take(both, 1.5)
    assert near.sender.is_done


def test_what_is_counted() -> None:
    near, far = Near(), Far()
    converse(near, far, 100.0, 0.5)
    assert (near.sender.sent, near.sender.acknowledged, near.sender.repeated) == (0, 0, 0)
    for turn in range(2):
        start = 101.0 + 10 * turn
        near.say([statement(1, 1), statement(2, 1), statement(3, 1)])
        near.sender.tick(start)
        (again,) = near.sender.tick(start + 1.5)
        for answer in far.take(again, start + 1.5):
            near.take(answer, start + 1.75)
    assert (near.sender.sent, near.sender.acknowledged, near.sender.repeated) == (12, 6, 6)
    assert near.sender.slowest == 0.25


def test_while_no_more_may_be_on_its_way_there_is_nothing_to_do() -> None:
    near, far = Near(), Far()
    converse(near, far, 0.0, 0.5)
    near.say(statement(number, 1) for number in range(10_000))
    assert near.sender.next_tick(1.0) == 1.0
    near.sender.tick(1.0)
    assert near.sender.next_tick(1.0) == 1.0 + sync_session.RETRY


def test_one_that_says_nothing_is_given_up_and_found_again() -> None:
    near, far = Near(), Far()
    near.say([statement(1, 1)])
    converse(near, far, 0.0, 1.0)
    converse(near, far, 1.0, 20.0, there=lambda _datagrams: [])
    assert not near.sender.is_open
    assert not far.receiver.is_there(21.0)
    near.say([statement(2, 2)])
    fresh = Far("far again")
    converse(near, fresh, 21.0, 4.0)
    assert near.sender.is_done
    assert fresh.held == {flow(1): REALS[1], flow(2): REALS[2]}


def test_no_counter_is_used_twice() -> None:
    near, far = Near(), Far()
    dice = random.Random(1)
    near.say(statement(number, 1) for number in range(500))
    seen = converse(near, far, 0.0, 30.0, there=lambda sent: [each for each in sent if dice.random() < 0.5])
    headers = [read_header(each) for each in seen]
    data = [(each.opening, each.answer, each.counter) for each in headers if each.kind == DATA]
    assert len(set(data)) == len(data)
    # What asks is the same to the byte.
    asking = {each for each in seen if read_header(each).kind == OPEN}
    assert len(asking) == len({each.opening for each in headers if each.kind == OPEN})


def test_no_more_is_on_its_way_than_a_buffer_holds() -> None:
    near, far = Near(), Far()
    converse(near, far, 0.0, 0.5)
    near.say(statement(number, 1) for number in range(50_000))
    assert len(near.sender.tick(1.0)) == sync_session.WINDOW
    assert near.sender.tick(1.01) == []
    assert near.sender.unacknowledged == 50_000


def test_it_keeps_quiet_while_there_is_nothing_to_say() -> None:
    near, far = Near(), Far()
    converse(near, far, 0.0, 1.0)
    seen = converse(near, far, 1.0, 60.0)
    assert 10 <= len(seen) <= 14
    assert near.sender.next_tick(61.0) > 61.0


def test_pending_sessions_are_few() -> None:
    far = Far()
    asked = [Near(f"near {number}").sender.tick(0.0)[0] for number in range(50)]
    for datagram in asked:
        assert len(far.take(datagram, 0.0)) == 1
    assert len(far.receiver._pending) == sync_session.PENDING
