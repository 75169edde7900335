# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What operations are counted as."""

from __future__ import annotations

from array import array

from ansible_collections.katran.fleet.plugins.module_utils._model.operations import (
    BlankSlots,
    Delete,
    DeleteDownSet,
    Operation,
    PurgeFlows,
    Put,
    PutDownSet,
    PutRing,
    SharedSlots,
    ZeroCounters,
    count,
    digest,
)


def test_counts_tell_entries_and_slots_but_not_resets() -> None:
    operations: list[Operation] = [
        Put("vip_map", ((b"a", b"b"), (b"c", b"d"))),
        Delete("vip_map", (b"e",)),
        PutRing(1, None, (), 5),
        BlankSlots(2, frozenset({1}), 3),
        PutDownSet(b"a", frozenset()),
        DeleteDownSet(b"b"),
        PurgeFlows(frozenset({1})),
        ZeroCounters("stats", (1, 2)),
        Delete("reals", ()),
    ]
    assert count(operations) == {"ch_rings": 8, "vip_map": 3, "vip_to_down_reals_map": 2}


def test_slots_of_rings_that_are_shared_are_those_of_each() -> None:
    shared = SharedSlots(3)
    rings = [array("B", [0, 1, each % 2]) for each in range(20)]
    for _turn in range(2):
        for number, ring in enumerate(rings):
            for ids in ((1, 2), (number + 1, number + 2)):
                put = PutRing(number, ring, ids, 3)
                assert (shared.of(put), shared.digest(put)) == (put.slots(3), digest(put.slots(3)))
    first, again = PutRing(1, rings[0], (1, 2), 3), PutRing(2, rings[0], (1, 2), 3)
    assert shared.of(first) is shared.of(again)
    assert shared.of(PutRing(3, None, (), 3)) == bytes(24)


def test_a_ring_that_is_gone_lends_its_place_to_no_other() -> None:
    shared = SharedSlots(3)
    for each in range(200):
        # The arrays are freed at once, so that many get the same place in memory.
        put = PutRing(1, array("B", [each % 3] * 3), (5, 6, 7), 3)
        assert shared.of(put) == put.slots(3)
