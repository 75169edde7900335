# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Both ends of a session between two balancers, as state machines: datagrams and time in, datagrams out.

A session is one sender's to one receiver. OPEN asks for it, ACCEPT answers with random bytes that no session had, and
what is sealed with both ends' random bytes proves that its sender is there: so nothing recorded earlier counts, and no
clocks need to agree. Within a session only what is newer than all before counts: an earlier datagram that comes late
is refused, and what it said is said again in a new one.
"""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from .sealed import ACCEPT, ACK, DATA, NOTHING, OPEN, Header, RefusedError, Window, seal, unseal
from .sync_records import (
    MAX_ACKED,
    RECORDS,
    Statement,
    Told,
    pack_ack,
    pack_told,
    parse_ack,
    parse_told,
)

WINDOW = 64
"""Datagrams that may be on their way: what a socket's buffer holds."""

RETRY = 0.25
SLOWEST_RETRY = 2.0
PING = 5.0
ABSENT = 15.0
"""Seconds: until an unacknowledged datagram is taken for lost, at first and at most; of silence until the other end is
asked; and until it is taken for gone."""

PENDING = 4
"""Sessions that a receiver has accepted and that have not begun."""

Random = Callable[[], bytes]


@dataclass(frozen=True)
class Identity:
    """The key that all balancers share, what names this process, and a source of RANDOM_BYTES random bytes."""

    key: bytes = field(repr=False)
    node: bytes = field(repr=False)
    random: Random = field(repr=False)


class _Flight(t.NamedTuple):
    """A datagram that is not acknowledged."""

    statements: tuple[Statement, ...]
    complete: bool
    due: float
    since: float


class Sender:
    """Tells a peer what it should hold. `everything`: what to tell one that has just been reached."""

    def __init__(self, identity: Identity, everything: Callable[[], Iterable[Statement]], now: float) -> None:
        self._identity = identity
        self._everything = everything
        self._retry = RETRY
        self._heard = self._told = now
        self._reopen_at = now
        self._counter = 0
        self._opening = NOTHING
        self._session: tuple[bytes, bytes] | None = None
        self._peer = NOTHING
        self._ask_at = now
        self._waiting: dict[bytes, Statement] = {}
        self._newest: dict[bytes, int] = {}
        self._flights: dict[int, _Flight] = {}
        self._completes = False
        self._acks = Window()
        self.sent = self.acknowledged = self.repeated = 0
        self.slowest = 0.0

    @property
    def is_open(self) -> bool:
        """Whether the peer answers."""
        return self._session is not None

    @property
    def unacknowledged(self) -> int:
        """Statements that the peer has not confirmed."""
        return len(self._waiting) + sum(len(each.statements) for each in self._flights.values())

    @property
    def is_done(self) -> bool:
        """Whether the peer has confirmed everything."""
        return self.is_open and not self._waiting and not self._flights and not self._completes

    def tell(self, statements: Iterable[Statement]) -> None:
        """Queue statements; of each flow the last one counts. One that cannot be reached gets everything later."""
        if self._session is not None:
            for each in statements:
                # To the end: what is told is in the order in which it became so.
                self._waiting.pop(each.key, None)
                self._waiting[each.key] = each

    def peer_is(self, node: bytes, now: float) -> None:
        """The peer's process asked for a session of its own: where it is another than the one reached, reach it.

        It may be a recorded one that asked; hence not for every such word.
        """
        reached = self._session is not None and self._opening == self._session[0]
        if reached and node != self._peer and now >= self._reopen_at:
            self._opening, self._ask_at, self._reopen_at = NOTHING, now, now + PING

    def tick(self, now: float) -> list[bytes]:
        """What to send at this moment."""
        found = self._ask(now)
        if self._session is None:
            return found
        if now - self._heard > ABSENT:
            self._close(now)
            return found
        lost = [counter for counter, flight in self._flights.items() if flight.due <= now]
        for counter in lost:
            self._again(counter)
        if lost:
            self._retry = min(self._retry * 2, SLOWEST_RETRY)
        session = self._session
        while self._waiting and len(self._flights) < WINDOW:
            chosen = tuple(self._waiting.pop(key) for key in list(_first(self._waiting, RECORDS)))
            complete = self._completes and not self._waiting
            found.append(self._data(session, chosen, complete, now))
        if self._completes and not self._waiting and len(self._flights) < WINDOW:
            found.append(self._data(session, (), True, now))
        if not self._flights and now - self._told >= PING:
            found.append(self._data(session, (), False, now))
        return found

    def next_tick(self, now: float) -> float:
        """When tick() has something to do next, if nothing happens."""
        if self._session is None or self._opening != self._session[0]:
            return self._ask_at
        if self._waiting and len(self._flights) < WINDOW:
            return now
        return min([self._told + PING, *(flight.due for flight in self._flights.values())])

    def accepted(self, header: Header, datagram: bytes, now: float) -> None:
        """An ACCEPT. RefusedError where it answers nothing that was asked."""
        unseal(self._identity.key, header, datagram)
        if header.opening != self._opening or NOTHING in (header.opening, header.answer):
            raise RefusedError("session")
        if self._session == (header.opening, header.answer):
            raise RefusedError("replayed")
        if self._session is not None and self._session[0] == header.opening:
            raise RefusedError("session")
        self._session, self._peer = (header.opening, header.answer), header.node
        self._counter, self._acks = 0, Window()
        self._heard, self._told, self._retry = now, now - PING, RETRY
        self._flights.clear()
        self._newest.clear()
        self._waiting = {each.key: each for each in self._everything()}
        self._completes = True

    def confirmed(self, header: Header, datagram: bytes, now: float) -> int:
        """An ACK; how many flows the peer holds for us. RefusedError where it is none of this session."""
        if self._session != (header.opening, header.answer):
            raise RefusedError("session")
        counters, held = parse_ack(unseal(self._identity.key, header, datagram))
        # What came is acknowledged in any order.
        if self._acks.judge(header.counter) == "replayed":
            raise RefusedError("replayed")
        self._heard, self._retry = now, RETRY
        for counter in counters:
            flight = self._flights.pop(counter, None)
            if flight is None:
                continue
            self.acknowledged += len(flight.statements)
            self.slowest = max(self.slowest, now - flight.since)
            for each in flight.statements:
                if self._newest.get(each.key) == counter:
                    del self._newest[each.key]
        return held

    def _ask(self, now: float) -> list[bytes]:
        """OPEN, where no session is, or one with another process is wanted."""
        if self._session is not None and self._opening == self._session[0]:
            return []
        if now < self._ask_at:
            return []
        if self._opening == NOTHING:
            self._opening = self._identity.random()
        self._ask_at = now + (RETRY if now - self._heard < ABSENT else SLOWEST_RETRY)
        # The same bytes each time: counter and payload are the same.
        return [seal(self._identity.key, Header(OPEN, self._identity.node, self._opening, NOTHING, 0), b"")]

    def _close(self, now: float) -> None:
        self._session, self._opening, self._ask_at = None, NOTHING, now
        self._waiting.clear()
        self._flights.clear()
        self._newest.clear()

    def _data(
        self, session: tuple[bytes, bytes], statements: tuple[Statement, ...], complete: bool, now: float
    ) -> bytes:
        self._counter += 1
        self._flights[self._counter] = _Flight(statements, complete, now + self._retry, now)
        self._newest.update((each.key, self._counter) for each in statements)
        self._completes = self._completes and not complete
        self._told = now
        self.sent += len(statements)
        header = Header(DATA, self._identity.node, *session, self._counter)
        return seal(self._identity.key, header, pack_told(statements, complete))

    def _again(self, counter: int) -> None:
        """Say again what a lost datagram said, unless something newer has been said of the flow since."""
        flight = self._flights.pop(counter)
        for each in flight.statements:
            if self._newest.get(each.key) == counter:
                del self._newest[each.key]
                self._waiting.setdefault(each.key, each)
                self.repeated += 1
        self._completes = self._completes or flight.complete


def _first(waiting: dict[bytes, Statement], count: int) -> Iterable[bytes]:
    for index, key in enumerate(waiting):
        if index == count:
            return
        yield key


class Receiver:
    """Listens to a peer. `complete`: it has told everything; `heard`: when it was last there, None: never."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._pending: dict[bytes, bytes] = {}
        self._session: tuple[bytes, bytes] | None = None
        self._window = Window()
        self._owed: list[int] = []
        self._acks = 0
        self.complete = False
        self.heard: float | None = None

    def asked(self, header: Header, datagram: bytes) -> bytes:
        """An OPEN: the ACCEPT that answers it. Whoever sent it has yet to prove that it is there."""
        unseal(self._identity.key, header, datagram)
        if header.opening == NOTHING or header.answer != NOTHING:
            raise RefusedError("malformed")
        if self._session is not None and header.opening == self._session[0]:
            answer = self._session[1]
        else:
            if header.opening not in self._pending:
                while len(self._pending) >= PENDING:
                    del self._pending[next(iter(self._pending))]
                self._pending[header.opening] = self._identity.random()
            answer = self._pending[header.opening]
        return seal(self._identity.key, Header(ACCEPT, self._identity.node, header.opening, answer, 0), b"")

    def told(self, header: Header, datagram: bytes, now: float) -> Told:
        """DATA: what it says, which is to be acknowledged. RefusedError says why it counts for nothing."""
        session = (header.opening, header.answer)
        begins = session != self._session
        if begins and (header.answer == NOTHING or self._pending.get(header.opening) != header.answer):
            raise RefusedError("session")
        payload = unseal(self._identity.key, header, datagram)
        if begins:
            self._session, self._window, self._owed, self._acks = session, Window(), [], 0
            self._pending.clear()
            self.complete = False
        verdict = self._window.judge(header.counter)
        if verdict != "new":
            raise RefusedError(verdict)
        found = parse_told(payload)
        self.heard = now
        self.complete = self.complete or found.complete
        self._owed.append(header.counter)
        return found

    def acknowledge(self, held: int) -> list[bytes]:
        """The ACKs that are owed. `held`: flows that are held for the peer."""
        found = []
        while self._owed and self._session is not None:
            counters, self._owed = self._owed[:MAX_ACKED], self._owed[MAX_ACKED:]
            self._acks += 1
            header = Header(ACK, self._identity.node, *self._session, self._acks)
            found.append(seal(self._identity.key, header, pack_ack(counters, held)))
        return found

    def is_there(self, now: float) -> bool:
        """Whether the peer was heard lately."""
        return self.heard is not None and now - self.heard <= ABSENT
