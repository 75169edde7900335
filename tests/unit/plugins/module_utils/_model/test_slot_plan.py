# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which slot of a shared interface a program takes and leaves."""

from __future__ import annotations

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ProgramError
from ansible_collections.katran.fleet.plugins.module_utils._model.settings import RootArray
from ansible_collections.katran.fleet.plugins.module_utils._model.slot_plan import SlotPlan, plan_slot
from ansible_collections.katran.fleet.plugins.module_utils._model.snapshot import Missing

PATH = "/sys/fs/bpf/katran/default/maps/root_array"
OURS = {10, 11}


def plan(
    there: dict[int, int] | None,
    wanted: int | None,
    recorded: int | None = None,
    *,
    current: int | None = 10,
    replace_foreign: bool = False,
) -> SlotPlan:
    slots = {PATH: Missing(f"nothing is pinned at {PATH}") if there is None else there}
    slot = None if wanted is None else RootArray(PATH, wanted)
    before = None if recorded is None else RootArray(PATH, recorded)
    return plan_slot(slot, before, slots, OURS, current, replace_foreign)


def test_an_empty_slot_is_taken() -> None:
    found = plan({}, 1)
    assert found.put == RootArray(PATH, 1)
    assert found.changes == [f"put the program into slot 1 of {PATH}"]


def test_the_program_that_is_there_stays() -> None:
    assert plan({1: 10}, 1, 1) == SlotPlan()


@pytest.mark.parametrize("current", [10, None])
def test_our_older_program_is_replaced(current: int | None) -> None:
    assert plan({1: 11}, 1, 1, current=current).put == RootArray(PATH, 1)


def test_a_foreign_program_is_not_replaced_unless_told() -> None:
    with pytest.raises(ProgramError, match=r"slot 1 of .* already has a program that is not ours \(id 99\)"):
        plan({1: 99}, 1)
    assert plan({1: 99}, 1, replace_foreign=True).put == RootArray(PATH, 1)


def test_another_slot_is_taken_and_the_old_one_cleared() -> None:
    found = plan({0: 10}, 2, 0)
    assert (found.put, found.clear) == (RootArray(PATH, 2), [RootArray(PATH, 0)])
    assert found.changes == [f"put the program into slot 2 of {PATH}", f"clear slot 0 of {PATH}"]


def test_a_slot_that_somebody_else_took_over_is_not_cleared() -> None:
    assert plan({0: 99}, None, 0).clear == []
    assert plan({0: 10}, None, 0).clear == [RootArray(PATH, 0)]


def test_an_array_that_is_not_there_yet_matters_only_outside_check_mode() -> None:
    review = plan(None, 1)
    assert review.put == RootArray(PATH, 1)
    # What a run fails with.
    assert review.lacks == [Missing(f"nothing is pinned at {PATH}")]
    assert plan(None, None, 1).clear == []


def test_a_program_that_a_killed_move_left_in_two_slots_has_one() -> None:
    found = plan({1: 10, 2: 10}, 2, 1)
    assert (found.put, found.clear) == (None, [RootArray(PATH, 1)])
    assert plan({0: 99, 1: 11, 2: 10}, None, 1).clear == [RootArray(PATH, 1), RootArray(PATH, 2)]
