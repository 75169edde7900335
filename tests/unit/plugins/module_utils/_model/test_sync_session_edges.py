# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sessions between balancers, datagram by datagram: when each is sent, what it says, and what is refused."""

from __future__ import annotations

import itertools

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model.sealed import (
    ACCEPT,
    NOTHING,
    OPEN,
    Header,
    RefusedError,
    read_header,
    seal,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.sync_records import RECORDS, SET, Statement, Told
from ansible_collections.katran.fleet.plugins.module_utils._model.sync_session import (
    ABSENT,
    PING,
    RETRY,
    SLOWEST_RETRY,
    Identity,
    Receiver,
    Sender,
)

KEY = bytes(range(32))
NOW = 1.8e9


def identity(name: bytes) -> Identity:
    """A process whose random bytes count on from its name."""
    numbers = iter(range(1, 1000))
    return Identity(KEY, name * 16, lambda: name * 8 + next(numbers).to_bytes(8, "big"))


def statement(number: int) -> Statement:
    return Statement(SET, number.to_bytes(4, "big") + bytes(12) + b"dest" + bytes(16) + b"\x06\0\0\0", b"r" * 16, True)


class Pair:
    """Two balancers and what one has to say."""

    def __init__(self, number: int = 0) -> None:
        self.everything = [statement(each) for each in range(number)]
        self.sender = Sender(identity(b"n"), lambda: self.everything, NOW)
        self.receiver = Receiver(identity(b"f"))

    def open(self, now: float = NOW) -> Pair:
        (asking,) = self.sender.tick(now)
        answer = self.receiver.asked(read_header(asking), asking)
        self.sender.accepted(read_header(answer), answer, now)
        return self

    def hear(self, datagram: bytes, now: float) -> Told:
        return self.receiver.told(read_header(datagram), datagram, now)

    def acknowledge(self, now: float, held: int = 0) -> list[int]:
        """The counters of the acknowledgements."""
        owed = self.receiver.acknowledge(held)
        for each in owed:
            assert self.sender.confirmed(read_header(each), each, now) == held
        return [read_header(each).counter for each in owed]

    def settled(self, now: float = NOW) -> Pair:
        """With everything told and acknowledged."""
        self.open(now)
        for datagram in self.sender.tick(now):
            self.hear(datagram, now)
        self.acknowledge(now)
        assert self.sender.is_done
        return self


def cause(sender: Sender, datagram: bytes) -> str:
    """Why an ACCEPT is refused."""
    with pytest.raises(RefusedError) as caught:
        sender.accepted(read_header(datagram), datagram, NOW)
    return caught.value.cause


def test_who_does_not_answer_is_asked_often_at_first_and_seldom_later() -> None:
    sender, asked = Pair().sender, []
    now = NOW
    while now < NOW + ABSENT + 10.0:
        assert sender.next_tick(now) == now
        assert [read_header(each).kind for each in sender.tick(now)] == [OPEN]
        assert sender.tick(now) == []
        asked.append(now)
        now = sender.next_tick(now)
    gaps = [later - earlier for earlier, later in itertools.pairwise(asked)]
    assert gaps == [RETRY] * round(ABSENT / RETRY) + [SLOWEST_RETRY] * 4


def test_the_last_datagram_of_everything_says_that_it_is() -> None:
    pair = Pair(2 * RECORDS + 1).open()
    assert pair.sender.next_tick(NOW) == NOW
    sent = pair.sender.tick(NOW)
    assert [read_header(each).counter for each in sent] == [1, 2, 3]
    told = [pair.hear(each, NOW) for each in sent]
    assert [(len(each.statements), each.complete) for each in told] == [(RECORDS, False), (RECORDS, False), (1, True)]
    # What is told after it is not everything anew.
    pair.sender.tell([statement(0)])
    (more,) = pair.sender.tick(NOW)
    assert pair.hear(more, NOW) == Told([statement(0)], False)


def test_who_has_nothing_to_say_says_that_at_once() -> None:
    pair = Pair().open()
    assert pair.sender.next_tick(NOW) == NOW
    (only,) = pair.sender.tick(NOW)
    assert pair.hear(only, NOW) == Told([], True)
    assert pair.sender.tick(NOW) == []


def test_it_is_not_complete_before_everything_came() -> None:
    pair = Pair(2 * RECORDS)
    assert not pair.receiver.complete
    first, last = pair.open().sender.tick(NOW)
    pair.hear(first, NOW)
    assert not pair.receiver.complete
    pair.hear(last, NOW)
    assert pair.receiver.complete
    # Who begins anew tells everything anew.
    pair.sender = Sender(identity(b"m"), lambda: pair.everything, NOW)
    first, last = pair.open().sender.tick(NOW)
    pair.hear(first, NOW)
    assert not pair.receiver.complete
    # Its last datagram was lost, and is said again as the last.
    (again,) = [each for each in pair.sender.tick(NOW + RETRY) if pair.hear(each, NOW + RETRY).complete]
    assert read_header(again).counter > 2


def test_what_is_lost_is_said_again_after_ever_longer() -> None:
    pair = Pair().settled()
    pair.sender.tell([statement(7)])
    now, gaps = NOW, []
    assert len(pair.sender.tick(now)) == 1
    for _each in range(5):
        due = pair.sender.next_tick(now)
        assert pair.sender.tick(due - 0.01) == []
        assert len(pair.sender.tick(due)) == 1
        gaps.append(due - now)
        now = due
    assert gaps == [RETRY, 2 * RETRY, 4 * RETRY, SLOWEST_RETRY, SLOWEST_RETRY]


def test_the_other_end_is_asked_in_silence_and_given_up() -> None:
    pair = Pair().settled()
    assert pair.sender.next_tick(NOW) == NOW + PING
    assert pair.sender.tick(NOW + PING - 0.01) == []
    (asking,) = pair.sender.tick(NOW + PING)
    assert pair.hear(asking, NOW + PING) == Told([], False)
    assert pair.receiver.is_there(NOW + PING + ABSENT)
    assert not pair.receiver.is_there(NOW + PING + ABSENT + 0.01)
    pair.acknowledge(NOW + PING)
    pair.sender.tick(NOW + PING + ABSENT)
    assert pair.sender.is_open
    pair.sender.tick(NOW + PING + ABSENT + 0.01)
    assert not pair.sender.is_open


def test_acknowledgements_count_from_one() -> None:
    pair = Pair().open()
    found = []
    for turn in range(3):
        pair.sender.tell([statement(turn)])
        for datagram in pair.sender.tick(NOW + turn):
            pair.hear(datagram, NOW + turn)
        found += pair.acknowledge(NOW + turn, turn)
    assert found == [1, 2, 3]
    assert Pair().receiver.acknowledge(1) == []


def test_what_asks_for_a_session_that_is_open_gets_its_answer_again() -> None:
    pair = Pair()
    (asking,) = pair.sender.tick(NOW)
    answer = pair.receiver.asked(read_header(asking), asking)
    assert read_header(answer).counter == 0
    assert len(answer) == len(asking)
    assert pair.receiver.asked(read_header(asking), asking) == answer
    pair.sender.accepted(read_header(answer), answer, NOW)
    for datagram in pair.sender.tick(NOW):
        pair.hear(datagram, NOW)
    assert pair.receiver.asked(read_header(asking), asking) == answer


@pytest.mark.parametrize(("opening", "answer"), [(NOTHING, NOTHING), (b"o" * 16, b"a" * 16), (NOTHING, b"a" * 16)])
def test_what_asks_for_no_session_is_malformed(opening: bytes, answer: bytes) -> None:
    datagram = seal(KEY, Header(OPEN, b"n" * 16, opening, answer, 0), b"")
    with pytest.raises(RefusedError, match=r"^malformed$"):
        Pair().receiver.asked(read_header(datagram), datagram)


def test_of_two_answers_the_first_counts() -> None:
    pair = Pair()
    (asking,) = pair.sender.tick(NOW)
    opening = read_header(asking).opening
    answers = {
        answer: seal(KEY, Header(ACCEPT, b"f" * 16, opening, answer, 0), b"")
        for answer in (NOTHING, b"a" * 16, b"b" * 16)
    }
    assert cause(pair.sender, answers[NOTHING]) == "session"
    strange = seal(KEY, Header(ACCEPT, b"f" * 16, b"o" * 16, b"a" * 16, 0), b"")
    assert cause(pair.sender, strange) == "session"
    pair.sender.accepted(read_header(answers[b"a" * 16]), answers[b"a" * 16], NOW)
    assert cause(pair.sender, answers[b"a" * 16]) == "replayed"
    assert cause(pair.sender, answers[b"b" * 16]) == "session"
    assert {read_header(each).answer for each in pair.sender.tick(NOW)} == {b"a" * 16}
