# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which weights a Maglev ring was made of: the ring is all that a running Katran keeps of them.

With maglev_v2, a real of weight w has taken ⌊n·w/D⌋ slots after n rounds, D being the largest weight, and a ring ends
amid a round N: reals up to the one that took the last slot had N rounds, those behind it N − 1. So each real's count
bounds w/D to an interval of about 1/N, and the smallest D for which every interval has a w/D is tried first. With
maglev_v1 a real has its weight and one slot for each later round. Whatever is found is proven by building its ring.
"""

from __future__ import annotations

import typing as t
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from math import gcd

from .hashing import AnyAddress
from .ring import build_ring, hash_order
from .vips import MAX_WEIGHT

MOST_RINGS = 24
"""How many rings are built for one before it is given up as made of no weights."""

Build = Callable[[Sequence[tuple[AnyAddress, int]], int, str], "array[int]"]


@dataclass(frozen=True)
class RingWeights:
    """What a ring was made of: address → weight, and the hash. `differ`: how many of its slots these do not explain.

    `empty`: how many lead to no real.
    """

    weights: Mapping[str, int]
    hash: str
    differ: int = 0
    empty: int = 0


def weights_of(owners: array[int], addresses: Mapping[int, str], build: Build = build_ring) -> RingWeights:
    """The smallest weights that give this ring; where none do, those that come nearest.

    `owners`: slot → real id; `addresses`: id → address of the reals that there are.
    """
    counts = Counter(owners)
    known = {number: count for number, count in counts.items() if number in addresses}
    empty = len(owners) - sum(known.values())
    if not known:
        return RingWeights({}, "maglev_v2", 0 if counts.keys() <= {0} else empty, empty)
    ring = _Ring(owners, known, addresses)
    best: RingWeights | None = None
    tried = set()
    for weights, ring_hash in islice(ring.candidates(), MOST_RINGS):
        if (tuple(weights), ring_hash) in tried:
            continue
        tried.add((tuple(weights), ring_hash))
        differ = ring.compare(weights, ring_hash, build)
        if best is None or differ < best.differ:
            best = RingWeights(dict(zip(ring.addresses, weights, strict=True)), ring_hash, differ, empty)
        if not differ:
            break
    assert best is not None  # there is always a first guess
    return best


class _Ring:
    """A ring and the reals in it, in the order in which they take turns."""

    def __init__(self, owners: array[int], known: Mapping[int, int], addresses: Mapping[int, str]) -> None:
        self.owners = owners
        self.size = len(owners)
        order = hash_order({number: addresses[number] for number in known}, self.size)
        self.ids = [number for number, _offset, _skip in order]
        self.walks = [(offset, skip) for _number, offset, skip in order]
        self.addresses = [addresses[number] for number in self.ids]
        self.counts = [known[number] for number in self.ids]

    def compare(self, weights: Sequence[int], ring_hash: str, build: Build) -> int:
        """How many slots are not as these weights have them."""
        built = build(list(zip(self.addresses, weights, strict=True)), self.size, ring_hash)
        table = array("I", [*self.ids, 0])
        made = array("I", map(table.__getitem__, built))
        if made == self.owners:
            return 0
        return sum(map(int.__ne__, made, self.owners))

    def candidates(self) -> Iterator[tuple[list[int], str]]:
        """Weights that may have made the ring, the smallest first."""
        if max(self.counts) - min(self.counts) <= 1:
            yield [1] * len(self.counts), "maglev_v2"
        for weights in self._by_counts():
            yield weights, "maglev_v2"
        last = self._last_takers()
        for weights in islice(self._by_rounds(last), MOST_RINGS // 2):
            yield weights, "maglev_v2"
        for weights in self._of_v1(last):
            yield weights, "maglev_v1"
        yield self._proportional(), "maglev_v2"

    def _by_counts(self) -> Iterator[list[int]]:
        """Whoever took the last slot: as long as D is so small that each interval holds one number or none."""
        largest = max(self.counts)
        for rounds in (largest, largest + 1):
            pairs = sorted({(count, rounds) for count in self.counts})
            for top in range(1, min(rounds // 2, MAX_WEIGHT) + 1):
                found: dict[int, int] | None = {}
                for count, _rounds in pairs:
                    weight = max(-(-count * top // rounds), 1)
                    # Under (count + 1)/(rounds − 1), which it has only where it ends a round earlier.
                    if weight * (rounds - 1) >= (count + 1) * top or weight > top:
                        found = None
                        break
                    found[count] = weight
                if found is None or top not in found.values():
                    continue
                yield from self._settled([found[count] for count in self.counts], top, rounds)

    def _settled(self, weights: list[int], top: int, rounds: int) -> Iterator[list[int]]:
        """These, or the next ones up where only those have the counts."""
        if _counts(weights, self.size) == self.counts:
            yield weights
            return
        higher = [
            weight + 1
            if (weight + 1) * (rounds - 1) < (count + 1) * top and weight < top
            else weight
            for weight, count in zip(weights, self.counts, strict=True)
        ]
        if higher != weights and _counts(higher, self.size) == self.counts:
            yield higher

    def _last_takers(self) -> list[int]:
        """The places in the order of those who may have taken the last slot of all, which nobody else stepped over."""
        size = self.size
        inverses = [pow(skip, -1, size) for _offset, skip in self.walks]
        place = {number: index for index, number in enumerate(self.ids)}
        ranks = [-1] * len(self.ids)
        slots = [0] * len(self.ids)
        for slot, number in enumerate(self.owners):
            index = place.get(number)
            if index is not None:
                rank = (slot - self.walks[index][0]) * inverses[index] % size
                if rank > ranks[index]:
                    ranks[index], slots[index] = rank, slot
        found = []
        for taker, slot in enumerate(slots):
            if all(
                other == taker or (slot - self.walks[other][0]) * inverses[other] % size > ranks[other]
                for other in range(len(slots))
            ):
                found.append(taker)
        return found

    def _by_rounds(self, last: Sequence[int]) -> Iterator[list[int]]:
        """The smallest D of all that agree with one of those who may have taken the last slot."""
        largest = max(self.counts)
        pairs = [
            [(count, rounds - (index > taker)) for index, count in enumerate(self.counts)]
            for taker in last
            for rounds in (largest, largest + 1)
            # Whoever has the largest weight took a slot in each of its rounds.
            if any(count == rounds - (index > taker) for index, count in enumerate(self.counts))
        ]
        for top in range(1, MAX_WEIGHT + 1):
            for each in pairs:
                weights = []
                for count, rounds in each:
                    weight = max(-(-count * top // max(rounds, 1)), 1)
                    if weight * rounds >= (count + 1) * top or weight > top:
                        break
                    weights.append(weight)
                else:
                    if _counts(weights, self.size) == self.counts:
                        yield weights

    def _of_v1(self, last: Sequence[int]) -> Iterator[list[int]]:
        """Weights of maglev_v1: what is left of each count once the later rounds are taken away."""
        for rounds in range(min(self.counts), -1, -1):
            for taker in last:
                weights = [count - rounds - (index <= taker) for index, count in enumerate(self.counts)]
                if min(weights) >= 1 and max(weights) <= MAX_WEIGHT:
                    yield weights
        if max(self.counts) <= MAX_WEIGHT:
            yield list(self.counts)

    def _proportional(self) -> list[int]:
        """The counts themselves, as small as they can be."""
        divisor = gcd(*self.counts)
        counts = [count // divisor for count in self.counts]
        over = -(-max(counts) // MAX_WEIGHT)
        return [max(count // over, 1) for count in counts]


def _counts(weights: Sequence[int], size: int) -> list[int]:
    """How many slots of a ring each real has, with maglev_v2; in the order in which they take turns."""
    top, total = max(weights), sum(weights)
    rounds = size * top // total

    def after(number: int) -> list[int]:
        return [number * weight // top for weight in weights]

    while sum(after(rounds)) < size:
        rounds += 1
    while rounds and sum(after(rounds - 1)) >= size:
        rounds -= 1
    taken, full = after(rounds - 1), after(rounds)
    left = size - sum(taken)
    for index, (before, now) in enumerate(zip(taken, full, strict=True)):
        if now > before and left:
            taken[index] += 1
            left -= 1
    return taken
