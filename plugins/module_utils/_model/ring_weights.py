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

import sys
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from math import gcd
from operator import ne

from .hashing import AnyAddress
from .ring import build_ring, hash_order
from .vips import MAX_WEIGHT

_LAST_TURNS = 150
"""So many of the last turns tell who took the last slot of all."""

_GUESSES = (1, 10, 100)
"""Weights up to each of these are guessed for a ring that none explain."""

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
    """Small weights that give this ring; where none are found, those that come nearest.

    `owners`: slot → real id; `addresses`: id → address of the reals that there are.
    """
    counts = Counter(owners)
    known = {number: count for number, count in counts.items() if number in addresses}
    empty = len(owners) - sum(known.values())
    if not known:
        return RingWeights({}, "maglev_v2", 0 if counts.keys() <= {0} else empty, empty)
    ring = _Ring(owners, known, addresses)
    best = RingWeights({}, "maglev_v2", len(owners) + 1)
    tried = set()
    for weights, ring_hash in ring.candidates():
        if (tuple(weights), ring_hash) in tried:
            continue
        tried.add((tuple(weights), ring_hash))
        differ = ring.compare(weights, ring_hash, build)
        if differ < best.differ:
            best = RingWeights(dict(zip(ring.addresses, weights, strict=True)), ring_hash, differ, empty)
        if not differ:
            break
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
        return differing(built, self.ids, self.owners)

    def candidates(self) -> Iterator[tuple[list[int], str]]:
        """Weights that may have made the ring, the likeliest first, and then those that come near it."""
        if max(self.counts) - min(self.counts) <= 1:
            yield [1] * len(self.counts), "maglev_v2"
        for weights in islice(self._by_counts(), 3):
            yield weights, "maglev_v2"
        ranks = self._ranks()
        last = self._last_takers(ranks)
        for weights in islice(self._of_v1(last, ranks), 16):
            yield weights, "maglev_v1"
        for weights in islice(self._by_rounds(last), 24):
            yield weights, "maglev_v2"
        for weights in self._near():
            yield weights, "maglev_v2"

    def _by_counts(self) -> Iterator[list[int]]:
        """Whoever took the last slot: as long as D is so small that each interval holds one number or none."""
        largest = max(self.counts)
        for rounds in (largest, largest + 1):
            distinct = sorted(set(self.counts))
            for top in range(1, min(rounds // 2, MAX_WEIGHT) + 1):
                found: dict[int, int] = {}
                for count in distinct:
                    weight = max(-(-count * top // rounds), 1)
                    # Under (count + 1)/(rounds − 1), which it has only where it ends a round earlier.
                    if weight * (rounds - 1) >= (count + 1) * top or weight > top:
                        break
                    found[count] = weight
                else:
                    if top in found.values():
                        yield from self._settled([found[count] for count in self.counts], top, rounds)

    def _settled(self, weights: list[int], top: int, rounds: int) -> Iterator[list[int]]:
        """These, or the next ones up where only those have the counts."""
        if _counts(weights, self.size) == self.counts:
            yield weights
            return
        higher = [
            weight + 1 if (weight + 1) * (rounds - 1) < (count + 1) * top and weight < top else weight
            for weight, count in zip(weights, self.counts, strict=True)
        ]
        if higher != weights and _counts(higher, self.size) == self.counts:
            yield higher

    def _ranks(self) -> list[list[tuple[int, int]]]:
        """For each real, (which of its wishes, slot) of what it has, sorted: in this order it took them."""
        size = self.size
        place = {number: index for index, number in enumerate(self.ids)}
        found: list[list[tuple[int, int]]] = [[] for _number in self.ids]
        walks = [(offset, pow(skip, -1, size)) for offset, skip in self.walks]
        for slot, number in enumerate(self.owners):
            index = place.get(number)
            if index is not None:
                offset, inverse = walks[index]
                found[index].append(((slot - offset) * inverse % size, slot))
        for each in found:
            each.sort()
        return found

    def _rank(self, index: int, slot: int) -> int:
        """Which of a real's wishes a slot is."""
        offset, skip = self.walks[index]
        return (slot - offset) * pow(skip, -1, self.size) % self.size

    def _last_takers(self, ranks: Sequence[Sequence[tuple[int, int]]]) -> list[int]:
        """The places in the order of those who may have taken the last slot of all, which nobody else stepped over."""
        everybody = range(len(self.ids))
        ends = [each[-1] for each in ranks]
        return [
            taker
            for taker in everybody
            if all(other == taker or self._rank(other, ends[taker][1]) > ends[other][0] for other in everybody)
        ]

    def _turns_before(self, taker: int, ranks: Sequence[Sequence[tuple[int, int]]]) -> int:
        """How many of the last turns may have been one for each real by turns, `taker` having the last of all.

        Backwards: none of the slots that were taken later may have been a wish that came before the one taken.
        """
        everybody = len(self.ids)
        later: list[int] = []
        left = list(map(len, ranks))
        for turn in range(min(_LAST_TURNS, self.size)):
            index = (taker - turn) % everybody
            if not left[index]:
                return turn
            left[index] -= 1
            rank, slot = ranks[index][left[index]]
            offset, skip = self.walks[index]
            inverse = pow(skip, -1, self.size)
            if any((each - offset) * inverse % self.size < rank for each in later):
                return turn
            later.append(slot)
        return _LAST_TURNS

    def _begins_with(self, weights: Sequence[int]) -> bool:
        """Whether the first round may have been of these weights: whoever is first takes whatever it wishes."""
        taken = bytearray(self.size)
        for (offset, skip), number, weight in zip(self.walks, self.ids, weights, strict=True):
            slot = offset
            for _turn in range(weight):
                while taken[slot]:
                    slot = (slot + skip) % self.size
                if self.owners[slot] != number:
                    return False
                taken[slot] = 1
        return True

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

    def _of_v1(self, last: Sequence[int], ranks: Sequence[Sequence[tuple[int, int]]]) -> Iterator[list[int]]:
        """Weights of maglev_v1: what is left of each count once the later rounds are taken away."""
        turns = {taker: self._turns_before(taker, ranks) for taker in last}
        for rounds in range(min(self.counts) - 1, -1, -1):
            for taker in last:
                if turns[taker] < min(_LAST_TURNS, rounds * len(self.ids) + taker + 1):
                    continue
                weights = [count - rounds - (index <= taker) for index, count in enumerate(self.counts)]
                if min(weights) >= 1 and max(weights) <= MAX_WEIGHT and self._begins_with(weights):
                    yield weights
        if max(self.counts) <= MAX_WEIGHT and self._begins_with(self.counts):
            yield list(self.counts)

    def _near(self) -> Iterator[list[int]]:
        """Small weights that come near the counts, and the counts themselves."""
        largest = max(self.counts)
        guesses = []
        for top in range(1, _GUESSES[-1] + 1):
            weights = [max(round(count * top / largest), 1) for count in self.counts]
            counts = _counts(weights, self.size)
            guesses.append((sum(abs(one - two) for one, two in zip(counts, self.counts, strict=True)), top, weights))
        # Of a ring that is slightly off, the counts themselves may be those of other weights than it was made of.
        yield from (min(guesses[:most])[2] for most in _GUESSES)
        divisor = gcd(*self.counts)
        counts = [count // divisor for count in self.counts]
        over = -(-max(counts) // MAX_WEIGHT)
        yield [max(count // over, 1) for count in counts]


def differing(ring: array[int], ids: Sequence[int], owners: array[int]) -> int:
    """How many slots lead elsewhere. `ring`: build_ring's answer; `ids`: of its reals; `owners`: slot → id."""
    table = [*ids, 0]
    if ring.itemsize == 1:
        # Column by column, all of it in C: most rings are as they should be, and so compared for nothing else.
        indices, made = ring.tobytes(), bytearray(4 * len(ring))
        for byte in range(4):
            column = bytes(each >> 8 * (byte if sys.byteorder == "little" else 3 - byte) & 0xFF for each in table)
            made[byte::4] = indices.translate(column.ljust(256, b"\0"))
        if made == memoryview(owners).cast("B"):
            return 0
    return sum(map(ne, map(table.__getitem__, ring), owners))


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
