# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import random
from array import array
from collections.abc import Sequence
from math import gcd

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.katran.fleet.plugins.module_utils._model.ring import build_ring
from ansible_collections.katran.fleet.plugins.module_utils._model.ring_weights import RingWeights, weights_of

ADDRESSES = [f"10.0.{number}.{number * 7 % 250 + 1}" for number in range(20)] + [f"fc00::{n:x}" for n in range(1, 20)]


def found_of(weights: Sequence[int], size: int, ring_hash: str) -> tuple[RingWeights, dict[str, int]]:
    """What is told back of a ring of these weights, whose ids are none of 1, 2, 3; and the weights by address."""
    given_ = dict(zip(ADDRESSES, weights, strict=False))
    ids = [number * 3 % 101 + 5 for number in range(1, len(weights) + 1)]
    owners = array("I", map([*ids, 0].__getitem__, build_ring(list(given_.items()), size, ring_hash)))
    return weights_of(owners, dict(zip(ids, given_, strict=True))), given_


@settings(deadline=None, max_examples=150)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=12), st.sampled_from([1009, 4093]))
def test_any_weights_give_a_ring_and_that_ring_gives_weights_of_the_same_ring(weights: list[int], size: int) -> None:
    found, given_ = found_of(weights, size, "maglev_v2")
    assert found.differ == found.empty == 0
    back = [(address, found.weights[address]) for address in given_]
    assert build_ring(back, size, found.hash) == build_ring(list(given_.items()), size, "maglev_v2")
    # Of all weights that give the ring none is much larger than it takes.
    assert gcd(*found.weights.values()) == 1
    assert max(found.weights.values()) < size


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 20), min_size=2, max_size=8))
def test_so_it_is_with_maglev_v1(weights: list[int]) -> None:
    found, given_ = found_of(weights, 4093, "maglev_v1")
    assert found.differ == 0
    back = [(address, found.weights[address]) for address in given_]
    assert build_ring(back, 4093, found.hash) == build_ring(list(given_.items()), 4093, "maglev_v1")


@pytest.mark.parametrize(
    ("weights", "ring_hash", "told"),
    [
        ([1, 1, 1], "maglev_v2", [1, 1, 1]),
        ([5, 5, 5], "maglev_v1", [1, 1, 1]),
        ([10, 20, 30], "maglev_v2", [1, 2, 3]),
        ([100, 73, 41], "maglev_v2", [100, 73, 41]),
        ([1, 2, 4], "maglev_v1", [1, 2, 4]),
    ],
)
def test_the_smallest_weights_are_told(weights: list[int], ring_hash: str, told: list[int]) -> None:
    found, given_ = found_of(weights, 4093, ring_hash)
    assert [found.weights[address] for address in given_] == told


def test_a_ring_that_is_slightly_off_tells_how_far() -> None:
    ring = array("I", (5 + index for index in build_ring([(each, 1) for each in ADDRESSES[:4]], 4093)))
    for slot in random.Random(3).sample(range(4093), 40):
        ring[slot] = 5 + (ring[slot] - 4) % 4
    found = weights_of(ring, {5 + number: address for number, address in enumerate(ADDRESSES[:4])})
    assert found.weights == dict.fromkeys(ADDRESSES[:4], 1)
    assert found.differ == 40


def test_slots_without_a_real_are_counted() -> None:
    assert weights_of(array("I", [0] * 1009), {5: "10.0.0.1"}) == RingWeights({}, "maglev_v2", 0, 1009)
    ring = array("I", [5] * 1009)
    ring[7] = 0
    ring[8] = 99
    assert weights_of(ring, {5: "10.0.0.1"}) == RingWeights({"10.0.0.1": 1}, "maglev_v2", 2, 2)
    # Of reals of which none is known, every slot leads nowhere that it should.
    assert weights_of(array("I", [9] * 11), {5: "10.0.0.1"}).differ == 11
