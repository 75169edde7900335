# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ids at the edges: the last free number, the oldest freed one, and what the kernel says against the record."""

from __future__ import annotations

from ansible_collections.katran.fleet.plugins.module_utils._model.ids import Ids


def test_a_key_that_has_a_number_does_not_end_the_others_turn() -> None:
    ids = Ids(1, {"b": 2}, [1])
    assert ids.assign(["a", "b", "c", "d", "e"], 4) == ["d", "e"]
    assert ids.assigned == {"b": 2, "a": 3, "c": 1}


def test_numbers_below_the_limit_are_given_out_to_the_last() -> None:
    ids = Ids(0)
    assert ids.assign(["a", "b", "c"], 2) == ["c"]
    assert ids.assigned == {"a": 0, "b": 1}
    assert Ids(3).assign(["a"], 3) == ["a"]


def test_a_freed_number_beyond_the_limit_stays_freed() -> None:
    ids = Ids(0, {"a": 0}, [3, 2, 1])
    assert ids.assign(["b", "c"], 3) == []
    assert ids.assigned == {"a": 0, "b": 2, "c": 1}
    assert ids.quarantine == [3, 2, 1]
    assert ids.reused() == [1, 2]


def test_a_number_that_was_given_out_again_is_not_given_out_once_more() -> None:
    ids = Ids(0, {"a": 1}, [1, 0])
    assert ids.assign(["b", "c"], 2) == ["c"]
    assert ids.assigned == {"a": 1, "b": 0}


def test_what_is_freed_again_is_the_latest() -> None:
    ids = Ids(0, {"a": 1, "b": 0}, [1, 2])
    assert ids.free("a") == 1
    assert ids.quarantine == [2, 1]
    assert ids.free("b") == 0
    assert ids.quarantine == [2, 1, 0]
    assert ids.free("z") is None
    assert ids == Ids(0, {}, [2, 1, 0])


def test_a_copy_is_independent() -> None:
    ids = Ids(4, {"a": 4}, [5])
    copied = ids.copy()
    assert copied == ids
    copied.assigned["b"] = 6
    copied.quarantine.append(7)
    assert ids == Ids(4, {"a": 4}, [5])
    settled = Ids(4, {"a": 4}, [4, 5]).settled()
    assert settled == Ids(4, {"a": 4}, [5])


def test_what_the_kernel_has_is_adopted_where_neither_is_taken() -> None:
    ids = Ids(1, {"a": 1, "z": 5}, [2, 3])
    found = ids.adopted([("low", 0), ("a", 9), ("other", 1), ("b", 2), ("b", 4), ("c", 2), ("d", 6)])
    assert found == Ids(1, {"a": 1, "z": 5, "b": 2, "d": 6}, [3])
    assert ids == Ids(1, {"a": 1, "z": 5}, [2, 3])


def test_a_number_that_was_only_promised_goes_back_to_whom_the_kernel_shows() -> None:
    ids = Ids(1, {"new": 1, "here": 2}, [1, 2])
    assert ids.adopted([("old", 1), ("late", 1), ("here", 2), ("gone", 2)]) == Ids(1, {"here": 2, "old": 1}, [2])
    assert ids.adopted(iter([("old", 1), ("here", 2)])) == Ids(1, {"here": 2, "old": 1}, [2])
