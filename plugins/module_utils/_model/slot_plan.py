# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The balancer's place in the array of program root."""

from __future__ import annotations

import typing as t
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from .errors import ProgramError
from .snapshot import Missing, Resident, RootArray

Slots = Mapping[str, t.Union[Mapping[int, int], Missing]]
"""Path of an array → position → the id of the program that runs there."""


@dataclass
class SlotPlan:
    """What it takes to have a program in its slot alone. `there`: the id of the one that has the slot to be had."""

    put: RootArray | None = None
    there: int | None = None
    clear: list[RootArray] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)
    lacks: list[Missing] = field(default_factory=list)


def plan_slot(
    wanted: RootArray | None,
    recorded: RootArray | None,
    slots: Slots,
    ours: Collection[int],
    current: int | None,
    replace_foreign: bool,
    residents: Mapping[int, Resident] = MappingProxyType({}),
) -> SlotPlan:
    """Compare the slots with what is wanted; ProgramError where another program has the slot.

    `recorded`: the slot that the last run put the program into. `ours`: the ids of programs that are this one.
    `current`: that which is to run; None where it is yet to be loaded. `residents`: id → which other program of ours.
    """
    plan = SlotPlan()
    if wanted is not None:
        array = slots[wanted.path]
        if isinstance(array, Missing):
            plan.lacks.append(array)
        there = occupant(slots, wanted)
        resident = residents.get(there) if there is not None and there not in ours else None
        if resident is not None:
            raise ProgramError(
                f"root_array: slot {wanted.position} of {wanted.path} already has our program {resident.program} of"
                f" instance {resident.instance}; choose another position"
            )
        if there is not None and there not in ours and not replace_foreign:
            raise ProgramError(
                f"root_array: slot {wanted.position} of {wanted.path} already has a program that is not ours"
                f" (id {there}); choose another position, or give replace_foreign: true"
            )
        if there is None or there != current:
            plan.put, plan.there = wanted, there
            plan.changes.append(f"put the program into slot {wanted.position} of {wanted.path}")
    # Any other slot that it has: a run killed amid a move leaves it in two.
    for path in dict.fromkeys(each.path for each in (recorded, wanted) if each is not None):
        array = slots[path]
        # An array that is not there may have gone with its root program.
        places = [] if isinstance(array, Missing) else [RootArray(path, each) for each in array if array[each] in ours]
        plan.clear += [place for place in sorted(places) if place != wanted]
    plan.changes += [f"clear slot {place.position} of {place.path}" for place in plan.clear]
    return plan


def occupant(slots: Slots, slot: RootArray) -> int | None:
    """The id of the program in a slot, None where it is empty or there is no array."""
    array = slots[slot.path]
    return None if isinstance(array, Missing) else array.get(slot.position)
