# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Taking the place of a running Katran on the same host, with its flows, and giving it back.

It is held by a pin before the first interface changes over, its flows are copied before (so that none misses) and after
(those that it learned meanwhile), and where a run is killed between, the next one copies the rest.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, replace

from .balancer_snapshot import BalancerSnapshot
from .balancer_steps import ConcludeState
from .errors import ProgramError
from .program_plan import ProgramPlan
from .slot_plan import occupant
from .snapshot import Attachment
from .state import Foreign, State
from .steps import Attach, Phase, TakeSlot
from .wanted import Wanted


@dataclass(frozen=True)
class HoldForeign:
    """Write down which Katran is about to be replaced, and pin it."""

    phase: t.ClassVar[Phase] = Phase.MAKE_WAY
    foreign: Foreign


@dataclass(frozen=True)
class CopyFlows:
    """Copy the flows of a Katran to our tables; `back`: ours to its."""

    phase: t.ClassVar[Phase] = Phase.MAKE_WAY
    program: int
    back: bool = False


@dataclass(frozen=True)
class SettleFlows:
    """Copy what was learned between that and the change-over."""

    phase: t.ClassVar[Phase] = Phase.SETTLE_TABLES
    program: int
    back: bool = False


@dataclass(frozen=True)
class UseForeign:
    """What is attached from here on is the Katran that is held."""

    phase: t.ClassVar[Phase] = Phase.LOAD


@dataclass(frozen=True)
class LetForeignGo:
    """Hold the Katran that was replaced no longer."""

    phase: t.ClassVar[Phase] = Phase.FORGET


def waits_for_vips(wanted: Wanted, state: State, seen: BalancerSnapshot) -> str:
    """Why a Katran is not replaced yet: a program without VIPs would leave its packets to the host. "" where it may be.

    In a deploy the VIPs come after the program is loaded.
    """
    busy = {number: vips for number, vips in seen.katrans.items() if vips}
    if wanted.after_vips or state.vips or not wanted.attaches or not busy:
        return ""
    places = sorted(name for name in wanted.interfaces if name in seen.attachments)
    number, vips = next(iter(busy.items()))
    where = f" on {', '.join(places)}" if places else ""
    return (
        f"the Katran{where} (program {number}, {vips} VIPs) stays until VIPs are applied here; then run this again with"
        " after_vips: true, as role balancer does"
    )


def stays_returned(wanted: Wanted, state: State, seen: BalancerSnapshot) -> str:
    """Why a Katran that was gone back to by hand is not replaced again. "" where it may be."""
    foreign = state.program.foreign
    # It may have been started anew since, as after a reboot: a person's word is about a Katran, not about an id.
    if foreign is None or not foreign.returned or wanted.ends_rollback or not seen.katrans:
        return ""
    return (
        f"the Katran (program {min(seen.katrans)}) was gone back to by hand and stays; end_rollback: true"
        " (katran_end_rollback) takes its place again"
    )


def plan_take_over(plan: ProgramPlan, state: State, seen: BalancerSnapshot) -> None:
    """Hold the Katran whose place is taken, and copy its flows. ProgramError where there are several."""
    known = state.program.foreign
    taken = [step for step in plan.of(Attach, TakeSlot) if _there(step) in seen.katrans]
    numbers = {_there(step) for step in taken}
    if len(numbers) > 1:
        raise ProgramError(
            f"different Katrans run where this balancer is to (programs {', '.join(map(str, sorted(numbers)))}): give"
            " each an instance of its own"
        )
    if not taken:
        missed = known is not None and not known.copied and seen.held is not None and seen.held.id == known.id
        # Where it runs again, nothing was missed.
        if known is not None and missed and known.id not in _running(known, seen):
            plan.add(SettleFlows(known.id), f"copy the rest of the flows of the Katran (program {known.id})")
        return
    number = numbers.pop()
    interfaces = {step.there.interface: step.there.mode for step in taken if isinstance(step, Attach) and step.there}
    slot = next((step.slot for step in taken if isinstance(step, TakeSlot)), None)
    if known is not None and known.id == number:
        # Of a run that was killed amid its interfaces.
        interfaces, slot = {**known.interfaces, **interfaces}, slot or known.slot
    foreign = Foreign(number, seen.running[number].tag, interfaces, slot)
    plan.add(HoldForeign(foreign), f"hold the Katran that runs there (program {number}), to go back to it")
    plan.add(CopyFlows(number), f"copy its flows (program {number})")
    plan.add(SettleFlows(number))


def _running(foreign: Foreign, seen: BalancerSnapshot) -> set[int]:
    """The ids of the programs that run where a Katran ran."""
    slot = None if foreign.slot is None else occupant(seen.slots, foreign.slot)
    return {*seen.at(foreign.interfaces), *(() if slot is None else (slot,))}


def _there(step: Attach | TakeSlot) -> int:
    """The id of the program whose place is taken; 0 where there is none."""
    if isinstance(step, TakeSlot):
        return step.there or 0
    return step.there.program_id if step.there else 0


def can_give_back(state: State) -> bool:
    """Whether what comes before the present program is the Katran whose place it took."""
    program = state.program
    return program.foreign is not None and program.previous is None and not program.rolled_back_from


def plan_giving_back(plan: ProgramPlan, instance: str, state: State, seen: BalancerSnapshot) -> None:
    """Let the Katran run again where it ran, with the flows that were learned meanwhile. ProgramError if it is gone."""
    foreign = state.program.foreign
    if foreign is None or seen.held is None or seen.held.id != foreign.id:
        raise ProgramError(
            f"balancer {instance} has no Katran to go back to: what it replaced is no longer pinned"
            f" ({seen.directory}/balancer_foreign)"
        )
    plan.need(seen.attached)
    ours = seen.ours_by(state.program)
    for name, mode in sorted(foreign.interfaces.items()):
        there: Attachment | None = seen.attachments.get(name)
        if there is not None and there.program_id == foreign.id:
            continue
        if there is not None and there.program_id not in ours:
            raise ProgramError(
                f"interface {name} has an XDP program that is neither ours nor the Katran's (id {there.program_id});"
                " detach it first"
            )
        plan.add(Attach(name, mode, there), f"attach the Katran (program {foreign.id}) to {name} in {mode} mode again")
    if foreign.slot is not None and (holder := occupant(seen.slots, foreign.slot)) != foreign.id:
        line = f"put the Katran (program {foreign.id}) into slot {foreign.slot.position} of {foreign.slot.path} again"
        plan.add(TakeSlot(foreign.slot, holder), line)
    if plan.of(Attach, TakeSlot):
        plan.add(UseForeign())
        plan.add(CopyFlows(foreign.id, back=True), "copy the flows that were learned meanwhile")
    elif not foreign.returned:
        plan.changes.append("record that the Katran runs again")
    settings = {**state.settings, "state": "loaded"}
    if plan.changes:
        plan.add(SettleFlows(foreign.id, back=True))
        plan.after = settings
        plan.add(ConcludeState(settings, "", ((), None), False))


def plan_letting_go(plan: ProgramPlan, state: State) -> None:
    """Once our own previous program can be gone back to, the Katran no longer is: its tables' memory is freed."""
    foreign = state.program.foreign
    if foreign is not None:
        plan.add(LetForeignGo(), f"let go of the Katran that was replaced (program {foreign.id})")


def settled(foreign: Foreign, back: bool) -> Foreign:
    """With all of its flows copied; `back`: ours to it, which runs again."""
    return replace(foreign, copied=True, returned=back)
