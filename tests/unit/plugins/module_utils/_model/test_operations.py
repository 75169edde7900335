# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What operations are counted as."""

from __future__ import annotations

from ansible_collections.katran.fleet.plugins.module_utils._model.operations import (
    BlankSlots,
    Delete,
    DeleteDownSet,
    Operation,
    PurgeFlows,
    Put,
    PutDownSet,
    PutRing,
    ZeroCounters,
    count,
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
