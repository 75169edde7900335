# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rings, beside recorded ones and their definition."""

from __future__ import annotations

import hashlib
import json
import os
import struct
from array import array
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ansible_collections.katran.fleet.plugins.module_utils._model.hashing import address_hash, murmur3, packed_address
from ansible_collections.katran.fleet.plugins.module_utils._model.ring import (
    RING_HASHES,
    _Maglev,
    _Turns,
    build_ring,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.ring_slots import ring_slots
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils.ring_reals import RING_SIZE, Reals, some_reals

RINGS_JSON = (
    Path(os.environ.get("KATRAN_CONFORMANCE", Path(__file__).resolve().parents[5].parent / "shared" / "conformance"))
    / "rings.json"
)


def plain_ring(reals: Reals, ring_size: int, ring_hash: str) -> list[int]:
    """The definition of datapath.md, step by step."""
    active = sorted((address_hash(address), index) for index, (address, weight) in enumerate(reals) if weight)
    if len(active) < 2:
        return [active[0][1] if active else len(reals)] * ring_size
    offsets = [murmur3(value, 42, 0) % ring_size for value, _index in active]
    skips = [murmur3(value, 2718281828, 2307) % (ring_size - 1) + 1 for value, _index in active]
    return plain_fill(
        offsets, skips, [index for _value, index in active], [w for _address, w in reals], ring_size, ring_hash
    )


def plain_fill(
    offsets: list[int], skips: list[int], order: list[int], weights: list[int], ring_size: int, ring_hash: str
) -> list[int]:
    largest = max(weights)
    accumulators = [0] * len(order)
    tried = [0] * len(order)
    ring = [-1] * ring_size
    left = ring_size
    first_round = True
    while left:
        for number, index in enumerate(order):
            if ring_hash == "maglev_v1":
                turns = weights[index] if first_round else 1
            else:
                accumulators[number] += weights[index]
                turns = accumulators[number] // largest
                accumulators[number] -= turns * largest
            for _turn in range(min(turns, left)):
                while True:
                    slot = (offsets[number] + tried[number] * skips[number]) % 2**32 % ring_size
                    tried[number] += 1
                    if ring[slot] < 0:
                        break
                ring[slot] = index
                left -= 1
        first_round = False
    return ring


def digest(reals: Reals, ring: array[int]) -> str:
    return hashlib.sha256("\n".join([reals[index][0] for index in ring]).encode()).hexdigest()


@pytest.mark.parametrize(
    ("count", "weight", "ring_size", "ring_hash", "expected"),
    [
        (2, 1, 65537, "maglev_v2", "0ad321d1d907c0c3cb0f36ce1ff06018ad34bc679ed42f8a4100aedae3d634b9"),
        (5, None, 65537, "maglev_v2", "1ae19410c3a1b34a21f04ff6ae932e3d4b413801e0c36c7915136db9c44196bb"),
        (100, None, 65537, "maglev_v2", "71d72a1c7c73c0e334a3785e0996cc394c37c44e265dc7d8f3c0735f655537ad"),
        (100, 1, 65537, "maglev_v1", "29769242b0a9eeb5c4da5a49bf9a935cd0acd45194019aea0daa824c87e0191e"),
        (100, None, 65537, "maglev_v1", "87be62c859fb3c59e2498e8c1fae1b3836526e84608b7a1838660adce1946088"),
        (700, None, 65537, "maglev_v2", "834ea664df6a51e8e3f8e42915d1a0f45f3004e8ca11cc003fb1dccc503f3295"),
        (40, None, 1009, "maglev_v2", "a852e1691e93ced67524388f7b4b92cba7536e8ae261b2c7aa76309c2b8551ce"),
        (3, None, 131071, "maglev_v2", "9d03932fcbdbf969f1d2a0cac1fe9905e1bd7289e7760c70844866f0c522f241"),
    ],
)
def test_ring_known_answers(count: int, weight: int | None, ring_size: int, ring_hash: str, expected: str) -> None:
    reals = some_reals(count, weight)
    ring = build_ring(reals, ring_size, ring_hash)
    assert digest(reals, ring) == expected
    assert ring.tolist() == plain_ring(reals, ring_size, ring_hash)


@pytest.mark.skipif(not RINGS_JSON.exists(), reason="the recorded rings are not here")
def test_recorded_rings() -> None:
    recorded = json.loads(RINGS_JSON.read_text())
    for case in recorded["address_hashes"]:
        assert address_hash(case["address"]) == case["hash"]
    assert len(recorded["rings"]) == 24
    for case in recorded["rings"]:
        reals = [(real["address"], real["weight"]) for real in case["reals"]]
        ring = build_ring(reals, case["ring_size"], case["hash"])
        assert [reals[index][0] for index in ring[:8]] == case["first_slots"]
        shares = Counter(reals[index][0] for index in ring)
        assert {address: shares[address] for address in case["share"]} == case["share"]
        assert digest(reals, ring) == case["sha256_of_addresses"]


PRIMES = [n for n in range(3, 5000) if all(n % d for d in range(2, int(n**0.5) + 1))]
WEIGHTS = st.one_of(st.integers(0, 3), st.integers(1, 100), st.integers(0, 10000))
ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str)


@settings(deadline=None, max_examples=150)
@given(
    reals=st.lists(st.tuples(ADDRESSES, WEIGHTS), max_size=40, unique_by=lambda real: packed_address(real[0])),
    ring_size=st.sampled_from(PRIMES),
    ring_hash=st.sampled_from(RING_HASHES),
)
@example(reals=[], ring_size=3, ring_hash="maglev_v2")
@example(reals=[("10.0.0.1", 0), ("10.0.0.2", 0)], ring_size=3, ring_hash="maglev_v1")
@example(reals=[("10.0.0.1", 1), ("10.0.0.2", 10000)], ring_size=4999, ring_hash="maglev_v2")
@example(reals=[("10.0.0.1", 4999), ("10.0.0.2", 10000)], ring_size=4999, ring_hash="maglev_v1")
@example(reals=some_reals(300), ring_size=4999, ring_hash="maglev_v1")
@example(reals=some_reals(300), ring_size=4999, ring_hash="maglev_v2")
def test_ring_equals_its_definition(reals: Reals, ring_size: int, ring_hash: str) -> None:
    assert build_ring(reals, ring_size, ring_hash).tolist() == plain_ring(reals, ring_size, ring_hash)


@pytest.mark.parametrize("count", [2, 3, 7])
@pytest.mark.parametrize("ring_size", [131101, 200003])
def test_wishes_that_pass_2_to_the_32(ring_size: int, count: int) -> None:
    reals = some_reals(count)
    assert build_ring(reals, ring_size).tolist() == plain_ring(reals, ring_size, "maglev_v2")


def test_a_skip_that_leads_past_every_free_slot_ends() -> None:
    # Multiples of 2^31 mod 2^32 are two wishes; the original walks them for ever.
    ring = _Maglev([0, 0], [2**31, 1], 7).fill(_Turns([1, 1], 7, "maglev_v2"))
    assert sorted(Counter(ring).values()) == [3, 4]


@pytest.mark.parametrize("weights", [(1, 1), (1, 2, 3), (51, 14, 62, 82, 52, 8), tuple(range(1, 101)), (1,) * 1000])
def test_slots_are_within_one_percent_of_the_weights_share(weights: tuple[int, ...]) -> None:
    reals = [(f"10.1.{i // 250}.{i % 250}", weight) for i, weight in enumerate(weights)]
    slots = Counter(build_ring(reals, RING_SIZE))
    for index, (_address, weight) in enumerate(reals):
        share = RING_SIZE * weight / sum(weights)
        assert abs(slots[index] - share) <= max(1, share / 100)


@pytest.mark.parametrize("weight", [1, None])
def test_a_hundredth_real_moves_at_most_one_percent_of_slots_beyond_its_share(weight: int | None) -> None:
    reals = some_reals(100, weight)
    before = build_ring(reals[:-1], RING_SIZE)
    after = build_ring(reals, RING_SIZE)
    moved = sum(map(int.__ne__, before, after))
    assert 0 < moved <= after.count(99) + RING_SIZE // 100


def test_ring_is_the_same_for_any_order_of_reals() -> None:
    reals = some_reals(20)
    turned = [*reals[7:], *reals[:7]]
    assert digest(reals, build_ring(reals, 4999)) == digest(turned, build_ring(turned, 4999))


def test_equal_weights_give_one_ring_under_both_hashes() -> None:
    for weight in (1, 10):
        reals = some_reals(30, weight)
        assert build_ring(reals, 4999, "maglev_v2") == build_ring(some_reals(30, 1), 4999, "maglev_v1")


def test_ring_without_active_real_holds_no_real() -> None:
    assert set(build_ring([("10.0.0.1", 0)], 13)) == {1}
    assert set(build_ring([], 13)) == {0}
    assert ring_slots(build_ring([("10.0.0.1", 0)], 13), [77]) == bytes(8 * 13)


def test_ring_of_unknown_hash() -> None:
    with pytest.raises(ValueError, match=r"^maglev_v3 is not a ring hash$"):
        build_ring([("10.0.0.1", 1)], 13, "maglev_v3")


@pytest.mark.parametrize(("count", "typecode"), [(3, "B"), (255, "B"), (256, "H"), (300, "H")])
def test_ring_slots(count: int, typecode: str) -> None:
    reals = some_reals(count)
    ids = [(7 + i * 65521) % 2**32 for i in range(count)]
    ring = build_ring(reals, 4999)
    assert ring.typecode == typecode
    assert ring_slots(ring, ids) == b"".join(struct.pack("<Q", ids[index]) for index in ring)
