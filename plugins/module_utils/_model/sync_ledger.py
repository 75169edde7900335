# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The exceptions of one balancer: what it has told its peers of its own flows, and what it holds for theirs."""

from __future__ import annotations

import typing as t
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from .exceptions import Known
from .sync_records import REFRESH, RELAY, SET, WITHDRAW, Statement

KEEP_TCP = 24 * 3600
KEEP_UDP = 3600
"""Seconds that an exception is held after its balancer told it last.

Long, because a balancer that has gone tells nothing more, and what it told is needed just then: a packet that finds its
real in the global table leaves no other trace. It may be: a TCP connection that begins anew is not looked up there, and
what nobody uses makes room for what is new.
"""

MOST_WITHDRAWN = 20_000
MOST_TOLD = 100_000
"""Exceptions that a balancer tells of at once: beyond them a ring changed so much that there is more to it."""

Real = tuple[bytes, bool]
"""A packed address of 16 bytes, and whether it is IPv6."""


def keep_for(key: bytes) -> int:
    """Seconds that a flow is held unrefreshed."""
    return KEEP_UDP if key[36] == 17 else KEEP_TCP


class Told(t.NamedTuple):
    """What was told of a flow. `since`: when a scan last found it so."""

    real: Real
    live: bool
    since: float


@dataclass
class Ledger:
    """What peers were told of this balancer's own flows; flow key → what.

    A flow that a scan does not find any more, or that the ring would choose as it is, is told no more, and not
    withdrawn: its packets may go by another balancer already, or by one whose ring is still another. It is withdrawn
    where it has another real since, so that nobody brings its new connection to the old one; `withdrawn`: flow key →
    what was told and when, for peers that could not be reached then.
    """

    flows: dict[bytes, Told] = field(default_factory=dict)
    withdrawn: dict[bytes, Told] = field(default_factory=dict)
    left_out: int = 0

    def update(self, found: Iterable[Known], reals: Mapping[int, Real], now: float) -> list[Statement]:
        """Take in a scan; what is to be told because of it. `reals`: id → real."""
        statements: list[Statement] = []
        seen = one_each(found)
        self.left_out = 0
        for key, known in seen.items():
            real, before = reals.get(known.real), self.flows.get(key)
            if real is None:
                continue
            if known.is_exception:
                if before is None and len(self.flows) >= MOST_TOLD and not self._make_room():
                    self.left_out += 1
                    continue
                self.flows[key] = Told(real, True, now)
                self.withdrawn.pop(key, None)
                if before is None or not before.live or before.real != real:
                    statements.append(Statement(SET, key, *real))
            elif before is not None and before.real != real:
                statements.append(Statement(WITHDRAW, key, *before.real))
                self.withdrawn[key] = Told(before.real, False, now)
                del self.flows[key]
            elif before is not None and before.live:
                self.flows[key] = before._replace(live=False)
        self._age(seen, now)
        return statements

    def _age(self, seen: Mapping[bytes, Known], now: float) -> None:
        """What was not seen is told no more; what was told long enough ago is forgotten."""
        for key, before in list(self.flows.items()):
            if before.live and key not in seen:
                self.flows[key] = before._replace(live=False)
            elif not before.live and now - before.since > keep_for(key):
                del self.flows[key]
        for key, before in list(self.withdrawn.items()):
            if now - before.since > keep_for(key) or len(self.withdrawn) > MOST_WITHDRAWN:
                del self.withdrawn[key]

    def _make_room(self) -> bool:
        """Forget a flow that is told no more."""
        gone = next((key for key, told in self.flows.items() if not told.live), None)
        if gone is not None:
            del self.flows[gone]
        return gone is not None

    def all(self) -> Iterator[Statement]:
        """Everything that still is so, after what is so no more."""
        yield from (Statement(WITHDRAW, key, *told.real) for key, told in self.withdrawn.items())
        yield from (Statement(REFRESH, key, *told.real) for key, told in self.flows.items() if told.live)

    def refreshed(self) -> Iterator[Statement]:
        """Everything that still is so."""
        return (Statement(REFRESH, key, *told.real) for key, told in self.flows.items() if told.live)

    @property
    def live(self) -> int:
        """How many flows are exceptions."""
        return sum(told.live for told in self.flows.values())


def one_each(found: Iterable[Known]) -> dict[bytes, Known]:
    """One entry of each flow, of those that tables of several CPUs have of it.

    UDP has a time: the later one. TCP has none, and a flow has more than one entry only since its packets come to
    another CPU: what agrees with the ring is the likelier to be the newer, and changes nothing for a peer.
    """
    seen: dict[bytes, Known] = {}
    for known in found:
        other = seen.get(known.key)
        if other is None or (known.atime, not known.is_exception) > (other.atime, not other.is_exception):
            seen[known.key] = known
    return seen


class Held(t.NamedTuple):
    """A flow that is held for a peer. `number`: the real's id here; `until`: on the clock of `now`."""

    owner: str
    real: Real
    number: int
    until: float


Writes = dict[bytes, t.Union[int, None]]
"""Flow key → the real's id that the global tables are to have, None for no entry."""

FindReal = Callable[[Real], t.Union[int, None]]
RECORD_CAUSES = ("unknown_real", "vip", "full", "other")
"""Why a flow is not held: its real or VIP is none here, there is no room, or another peer told of another real."""


@dataclass
class Holdings:
    """The flows that are held for peers. `room`: how many at most; `refused`: how many were not, by cause."""

    room: int
    flows: dict[bytes, Held] = field(default_factory=dict)
    refused: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    _reals: dict[Real, Real] = field(default_factory=dict)

    def adopt(self, there: Mapping[bytes, int], reals: Mapping[int, Real], now: float) -> None:
        """Take over what the tables have from before this process began: nobody's until somebody tells of it."""
        for key, number in there.items():
            if number in reals and len(self.flows) < self.room:
                self._hold(key, Held("", reals[number], number, now + keep_for(key)))

    def apply(
        self,
        owner: str,
        statements: Iterable[Statement],
        now: float,
        find_real: FindReal,
        may_hold: Callable[[bytes], bool],
    ) -> Writes:
        """Take in what a peer tells; what is to be written because of it."""
        writes: Writes = {}
        for each in statements:
            before = self.flows.get(each.key)
            mine = before is not None and before.owner == owner
            if each.word == WITHDRAW:
                # Of nobody's, held since before this process began, the real tells that it was this one's.
                if mine or (before is not None and not before.owner and before.real == each.address):
                    self._drop(each.key)
                    writes[each.key] = None
                continue
            number = find_real(each.address)
            cause = "unknown_real" if number is None else "" if may_hold(each.key) else "vip"
            if cause and mine:
                self._drop(each.key)
                writes[each.key] = None
            cause = cause or self._contested(owner, each, before)
            if cause or number is None:
                self.refused[cause] += 1
                continue
            until = now + keep_for(each.key) - 60 * each.age
            if each.word == RELAY:
                owner_now, until = (before.owner, max(until, before.until)) if before else ("", until)
            else:
                owner_now = owner
            if until > now:
                self._hold(each.key, Held(owner_now, each.address, number, until))
                writes[each.key] = number
        return writes

    def _contested(self, owner: str, each: Statement, before: Held | None) -> str:
        """Why a flow is not held as told, although it could be."""
        if before is None:
            return "full" if len(self.flows) >= self.room else ""
        if before.real == each.address or each.word == SET:
            return ""
        # What is old news to its teller does not contest what another says.
        return "other" if each.word == RELAY or before.owner not in ("", owner) else ""

    def forget(self, keys: Iterable[bytes]) -> None:
        """Hold these no longer, which somebody has taken out of the tables."""
        for key in keys:
            self._drop(key)

    def _hold(self, key: bytes, held: Held) -> None:
        before = self.flows.get(key)
        if before is not None:
            self.counts[before.owner] -= 1
        self.counts[held.owner] += 1
        real = self._reals.setdefault(held.real, held.real)
        self.flows[key] = held._replace(real=real)

    def _drop(self, key: bytes) -> None:
        self.counts[self.flows.pop(key).owner] -= 1

    def review(self, now: float, find_real: FindReal, may_hold: Callable[[bytes], bool]) -> Writes:
        """Drop what nobody refreshed, and what has no real or VIP any more; a real may have another id."""
        writes: Writes = {}
        for key, held in list(self.flows.items()):
            number = find_real(held.real)
            if number is None or held.until <= now or not may_hold(key):
                self._drop(key)
                writes[key] = None
            elif number != held.number:
                self.flows[key] = held._replace(number=number)
                writes[key] = number
        return writes

    def relayed(self, absent: Callable[[str], bool], now: float) -> Iterator[Statement]:
        """What peers had told that are gone, for one that may not know. `absent`: whether a peer is.

        Also what that one told itself, before it began anew and lost its tables.
        """
        for key, held in self.flows.items():
            if not held.owner or absent(held.owner):
                age = max(keep_for(key) - (held.until - now), 0) / 60
                yield Statement(RELAY, key, *held.real, int(age))
