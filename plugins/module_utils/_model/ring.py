# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Maglev ring of a VIP, computed without a kernel.

The same reals give the same ring on every host and on the original balancer.
"""

from __future__ import annotations

import re
from array import array
from collections import Counter, deque
from collections.abc import Generator, Mapping, Sequence
from functools import lru_cache
from itertools import chain, cycle, islice, repeat
from math import gcd, log

from .hashing import U32, AnyAddress, address_hash, murmur3

# (reals, ring_size, ring_hash) as build_ring takes them.
Job = tuple[Sequence[tuple[AnyAddress, int]], int, str]
RING_HASHES = ("maglev_v2", "maglev_v1")
_IS_ZERO = b"\1".ljust(256, b"\0")
_ONES = re.compile(b"\1").finditer


@lru_cache(maxsize=16384)
def _permutation(address: AnyAddress, ring_size: int) -> tuple[int, int, int]:
    """Return (hash, offset, skip) of a real: its k-th wish is ``(offset + k·skip mod 2^32) % ring_size``."""
    value = address_hash(address)
    return value, murmur3(value, 42, 0) % ring_size, murmur3(value, 2718281828, 2307) % (ring_size - 1) + 1


def build_ring(reals: Sequence[tuple[AnyAddress, int]], ring_size: int, ring_hash: str = "maglev_v2") -> array[int]:
    """Build a VIP's Maglev ring.

    *reals* are (address, weight) in any order; a real of weight 0 gets no slot. *ring_size* must be prime, from 3 on;
    *ring_hash* is maglev_v2 or maglev_v1 (ValueError for another). Returns *ring_size* indices into *reals*, in an
    array of the smallest typecode that fits (B, H or I). Where no real has weight, every slot holds ``len(reals)``,
    which stands for no real.
    """
    if ring_hash not in RING_HASHES:
        raise ValueError(f"{ring_hash} is not a ring hash")
    active = sorted(
        (*_permutation(address, ring_size), weight, index) for index, (address, weight) in enumerate(reals) if weight
    )
    typecode = ring_typecode(len(reals))
    if len(active) < 2:
        return array(typecode, [active[0][4] if active else len(reals)]) * ring_size
    _hashes, offsets, skips, weights, indices = zip(*active, strict=True)
    slots = _Maglev(offsets, skips, ring_size).fill(_Turns(weights, ring_size, ring_hash))
    if typecode == "B":
        return array(typecode, bytes(slots).translate(bytes((0, *indices)).ljust(256, b"\0")))
    return array(typecode, map((0, *indices).__getitem__, slots))


def hash_order(reals: Mapping[int, AnyAddress], ring_size: int) -> list[tuple[int, int, int]]:
    """(id, offset, skip) of each real, by id, in the order in which they take their turns."""
    found = sorted((*_permutation(address, ring_size), number) for number, address in reals.items())
    return [(number, offset, skip) for _hash, offset, skip, number in found]


def ring_typecode(reals: int) -> str:
    return "B" if reals < 256 else "H" if reals < 65536 else "I"


class _Turns:
    """Whose turn it is, by position in hash order: *first*, once, then *period* over and over."""

    def __init__(self, weights: Sequence[int], ring_size: int, ring_hash: str) -> None:
        self.first: list[int] = []
        self.period = list(range(len(weights)))
        self.shares = [1 / len(weights)] * len(weights)
        if ring_hash == "maglev_v1":
            if max(weights) > 1:
                self.first = list(islice(chain.from_iterable(map(repeat, self.period, weights)), ring_size))
        elif min(weights) < max(weights):
            self.period = self._weighted(weights, ring_size)
            total = sum(weights)
            self.shares = [weight / total for weight in weights]

    @staticmethod
    def _weighted(weights: Sequence[int], ring_size: int) -> list[int]:
        """Return maglev_v2's order: in round n = 1, 2, … a real takes a turn if n·weight/largest reaches an integer."""
        divisor = gcd(*weights)
        largest = max(weights) // divisor
        count = len(weights)
        # The whole period, or enough for the ring: rounding down costs each real less than a turn.
        rounds = min(largest, (ring_size + count) * largest * divisor // sum(weights) + 1)
        turns: list[int] = []
        for real, weight in enumerate(weights):
            # Its j-th turn comes in round ⌈j·largest/weight⌉; sorting by (round, real) replaces a walk over all rounds.
            step = weight // divisor
            turns += [-(-turn * largest // step) * count + real for turn in range(1, rounds * step // largest + 1)]
        turns.sort()
        return [turn % count for turn in turns]

    def after(self, taken: int, turns: int) -> tuple[list[int], list[int]]:
        """Return the *turns* turns that follow the first *taken* ones: some once, then others over and over."""
        once = self.first[taken : taken + turns]
        start = max(0, taken - len(self.first)) % len(self.period)
        period = self.period[start:] + self.period[:start]
        if len(period) > turns:
            return once + period[: turns - len(once)], []
        return once, period

    def counts(self, taken: int, turns: int) -> list[float]:
        """Return about how many of the next *turns* turns each real has."""
        first = Counter(self.first[taken : taken + turns])
        later = turns - first.total()
        return [first[real] + share * later for real, share in enumerate(self.shares)]


class _Maglev:
    """One ring while it is filled.

    A real is a generator that takes one slot for it each time it is resumed, and leaves its last wish in *wishes* when
    it is closed. A plain walk tries about M·ln M wishes for M slots, most of them for the last few percent of slots.
    From there on, stretches of a real's wishes are gathered by strided slices, and what is taken in them is skipped in
    C; for the last few slots the distance to each is computed. Both need wishes affine in k, below 2^32.
    """

    def __init__(self, offsets: Sequence[int], skips: Sequence[int], ring_size: int) -> None:
        self.size = ring_size
        self.skips = skips
        # Each real's wish that it took last or tries next, % ring_size or before.
        self.wishes = list(offsets)
        # Of each slot 1 + the number of its real, 0 while it is free.
        self.ring = [0] * ring_size

    def fill(self, turns: _Turns) -> list[int]:
        """Give every slot to a real; return for each slot 1 + the number of its real."""
        size, reals = self.size, range(len(self.skips))
        if any(wish + size * skip > U32 for wish, skip in zip(self.wishes, self.skips, strict=True)):
            self._take(turns, size, 0, [self._walk_restarting(real) for real in reals])
        else:
            # Below this number of free slots, a turn costs less by distances than by wishes.
            few = int((size / 5) ** 0.5) + 1
            # Gathering costs some microseconds per real, and saves as much only where a real has many wishes to try.
            more = size // 20 if len(reals) * few < size else few
            self._take(turns, size, more, [self._walk(real) for real in reals])
            if few < more:
                lengths = self._lengths(turns, more, few)
                free = self._free() * 2
                self._take(turns, more, few, [self._leap(real, lengths[real], free) for real in reals])
            self._finish(turns)
        return self.ring

    def _free(self) -> bytes:
        """Return one byte per slot: 1 if it is free, else 0."""
        return bytes(self.ring if len(self.skips) < 256 else map(bool, self.ring)).translate(_IS_ZERO)

    def _take(self, turns: _Turns, left: int, goal: int, takers: list[Generator[None, None, None]]) -> None:
        """Take turns from *left* free slots down to *goal*."""
        once, period = turns.after(self.size - left, left - goal)
        whose = chain([takers[real] for real in once], cycle([takers[real] for real in period]))
        deque(map(next, islice(whose, max(0, left - goal))), maxlen=0)
        for taker in takers:
            taker.close()

    def _walk_restarting(self, real: int) -> Generator[None, None, None]:
        """Wish by wish, for wishes that pass 2^32.

        Above 2^16 slots there are skips that lead past free slots for ages, if not for ever. A real that tried 64 times
        as many wishes as there are slots, several times what the last free slot of all takes, gets the first free ones.
        """
        ring, size, skip, wish = self.ring, self.size, self.skips[real], self.wishes[real]
        for _try in repeat(None, 64 * size):
            if not ring[wish % size]:
                ring[wish % size] = real + 1
                yield
            wish = wish + skip & U32
        slot = 0
        while True:
            slot = ring.index(0, slot)
            ring[slot] = real + 1
            yield

    def _walk(self, real: int) -> Generator[None, None, None]:
        """Wish by wish."""
        ring, size, skip, at = self.ring, self.size, self.skips[real], self.wishes[real]
        owner = real + 1
        try:
            while True:
                while ring[at]:
                    at += skip
                    if at >= size:
                        at -= size
                ring[at] = owner
                yield
        finally:
            self.wishes[real] = at

    def _leap(self, real: int, length: int, free: bytes) -> Generator[None, None, None]:
        """From free wish to free wish, *length* wishes at a time; *free*: the slots free so far, two times."""
        ring, size, skip, wish = self.ring, self.size, self.skips[real], self.wishes[real]
        try:
            while True:
                start = wish
                for found in _ONES(_gather(free, start % size, skip, length)):
                    wish = start + found.start() * skip
                    if not ring[wish % size]:
                        ring[wish % size] = real + 1
                        yield
                wish = start + length * skip
        finally:
            self.wishes[real] = wish

    def _lengths(self, turns: _Turns, left: int, goal: int) -> list[int]:
        """Return how many wishes each real tries, about, from *left* free slots down to *goal*.

        A turn's waiting time is geometric with mean M/left; the answer is the sum's mean and one standard deviation.
        """
        size = self.size
        mean = size * log(left / goal) / (left - goal)
        variance = size * size * (1 / goal - 1 / left) / (left - goal)
        counts = turns.counts(size - left, left - goal)
        return [min(size, int(count * mean + (count * variance) ** 0.5 + mean)) for count in counts]

    def _finish(self, turns: _Turns) -> None:
        """Take the turns that are left, computing how many wishes away each free slot is."""
        ring, size = self.ring, self.size
        free = [found.start() for found in _ONES(self._free())]
        inverses = [0] * len(self.skips)
        once, period = turns.after(size - len(free), len(free))
        for real in islice(chain(once, cycle(period)), len(free)):
            skip, wish = self.skips[real], self.wishes[real]
            inverse = inverses[real] = inverses[real] or pow(skip, -1, size)
            slot = (wish + min([(slot - wish) * inverse % size for slot in free]) * skip) % size
            free.remove(slot)
            ring[slot] = real + 1
            self.wishes[real] = slot


def _stride(skip: int, ring_size: int, length: int) -> tuple[int, int]:
    """Return (columns, step) with ``columns·skip ≡ step (mod ring_size)``, |step| small: how to slice *length* wishes.

    Every columns-th wish lies step slots further, so *length* wishes are columns interleaved strided slices, or several
    times as many when the ring ends before. The candidates are the convergents of skip/ring_size; the one that needs
    the fewest slices is returned.
    """
    best, columns, step = length + 1, 1, skip
    last, this, before, now, sign = ring_size, skip, 0, 1, 1
    while this and now < best:
        slices = now * -(-length // (now * (ring_size // this)))
        if slices < best:
            best, columns, step = slices, now, sign * this
        quotient = last // this
        last, this = this, last - quotient * this
        before, now = now, before + quotient * now
        sign = -sign
    return columns, step


def _gather(twice: bytes, start: int, skip: int, length: int) -> bytearray:
    """Return ``twice[(start + k·skip) % ring_size]`` for k < *length*; *twice* has one byte per slot, two times."""
    size = len(twice) // 2
    columns, step = _stride(skip, size, length)
    rows = min(size // abs(step), -(-length // columns))
    block = bytearray(columns * rows)
    gathered = bytearray()
    while len(gathered) < length:
        for column, at in enumerate(range(start, start + columns * skip, skip)):
            first = at % size if step > 0 else at % size + size
            block[column::columns] = twice[first : first + rows * step : step]
        start = (start + columns * rows * skip) % size
        gathered += block
    del gathered[length:]
    return gathered


def build_each(jobs: Sequence[Job]) -> Generator[array[int], None, None]:
    """Build the ring of each job, one after another; equal jobs share one array, which is not to be changed."""
    rings: dict[Job, array[int]] = {}
    for key in map(hashable_job, jobs):
        if key not in rings:
            rings[key] = build_ring(*key)
        yield rings[key]


def hashable_job(job: Job) -> Job:
    """A job with its reals as a tuple, to be the key of a dictionary."""
    reals, ring_size, ring_hash = job
    return tuple(reals), ring_size, ring_hash
