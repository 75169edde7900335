# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The balancer's place in the array of program root."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from .._kernel.root_array import clear_slot, put_program, slots
from .._model.errors import ProgramError
from .._model.settings import RootArray


@dataclass
class SlotPlan:
    """What it takes to have a program in its slot, and in no other."""

    put: RootArray | None = None
    clear: RootArray | None = None
    changes: list[str] = field(default_factory=list)

    def execute(self, fd: int) -> None:
        """Put the program into its slot, then clear the slot that it leaves.

        The kernel replaces a slot's program atomically, but has no compare-and-replace for it.
        """
        if self.put is not None:
            put_program(self.put, fd)
        if self.clear is not None:
            clear_slot(self.clear)


def plan_slot(
    wanted: RootArray | None,
    recorded: RootArray | None,
    owns: Callable[[int], bool],
    current: int | None,
    replace_foreign: bool,
    check: bool,
) -> SlotPlan:
    """Compare the slots with what is wanted; ProgramError where another program has the slot.

    `recorded`: the slot that the last run put the program into. `owns` says whether a program id is one of ours.
    `current`: the id of the program that is to run; None where it is yet to be loaded.
    """
    plan = SlotPlan()
    if wanted is not None:
        occupant = _occupant(wanted, check)
        if occupant is not None and not owns(occupant) and not replace_foreign:
            raise ProgramError(
                f"root_array: slot {wanted.position} of {wanted.path} already has a program that is not ours"
                f" (id {occupant}); choose another position, or give replace_foreign: true"
            )
        if occupant is None or occupant != current:
            plan.put = wanted
            plan.changes.append(f"put the program into slot {wanted.position} of {wanted.path}")
    if recorded is not None and recorded != wanted:
        # The array may have gone with its root program.
        occupant = _occupant(recorded, True)
        if occupant is not None and owns(occupant):
            plan.clear = recorded
            plan.changes.append(f"clear slot {recorded.position} of {recorded.path}")
    return plan


def _occupant(slot: RootArray, tolerant: bool) -> int | None:
    """The id of the program in a slot, None where it is empty. `tolerant`: also where there is no array."""
    try:
        found = slots(slot.path)
    except ProgramError:
        # In check mode on a fresh host module xdp_root has not made the array: it would.
        if tolerant:
            return None
        raise
    return found.get(slot.position)
