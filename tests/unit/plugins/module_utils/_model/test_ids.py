# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which id a real or a VIP gets, and when a freed one comes back."""

from __future__ import annotations

from ansible_collections.katran.fleet.plugins.module_utils._model.ids import Ids


def test_ids_are_kept_and_new_ones_are_the_lowest_never_used() -> None:
    ids = Ids(1, {"a": 2})
    assert ids.assign(["a", "b", "c"], 10) == []
    assert ids.assigned == {"a": 2, "b": 1, "c": 3}


def test_a_freed_id_is_reused_last_and_oldest_first() -> None:
    ids = Ids(1)
    ids.assign(["a", "b", "c"], 6)
    assert ids.free("b") == 2
    assert ids.free("a") == 1
    assert ids.assign(["d", "e", "f"], 6) == []
    assert ids.assigned == {"c": 3, "d": 4, "e": 5, "f": 2}
    assert ids.reused() == [2]
    assert ids.settled().quarantine == [1]


def test_keys_without_room_are_named() -> None:
    ids = Ids(1)
    assert ids.assign(["a", "b", "c"], 3) == ["c"]


def test_a_freed_id_that_the_maps_have_no_place_for_any_more_waits() -> None:
    """The sizes became smaller since it was freed."""
    ids = Ids(1, {"a": 1, "b": 2}, [3, 5])
    assert ids.assign(["c", "d"], 4) == ["d"]
    assert ids.assigned == {"a": 1, "b": 2, "c": 3}
    assert ids.assign(["d"], 5) == []
    assert ids.assigned["d"] == 4


def test_a_number_that_is_never_given_out_is_not_adopted() -> None:
    """Id 0 in a map of reals is no real."""
    assert Ids(1).adopted([("a", 0), ("b", 1)]).assigned == {"b": 1}
    assert Ids(0).adopted([("a", 0)]).assigned == {"a": 0}
