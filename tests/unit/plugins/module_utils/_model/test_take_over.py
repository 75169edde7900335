# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a Katran is replaced, held and gone back to."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model.balancer_plan import BalancerPlan
from ansible_collections.katran.fleet.plugins.module_utils._model.balancer_snapshot import BalancerSnapshot
from ansible_collections.katran.fleet.plugins.module_utils._model.balancer_steps import ConcludeState
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ProgramError
from ansible_collections.katran.fleet.plugins.module_utils._model.settings import parse_settings
from ansible_collections.katran.fleet.plugins.module_utils._model.snapshot import Attachment, ProgramInfo, RootArray
from ansible_collections.katran.fleet.plugins.module_utils._model.state import Foreign, Previous, ProgramRecord, State
from ansible_collections.katran.fleet.plugins.module_utils._model.steps import Attach, TakeSlot
from ansible_collections.katran.fleet.plugins.module_utils._model.take_over import (
    CopyFlows,
    HoldForeign,
    LetForeignGo,
    SettleFlows,
    UseForeign,
    can_give_back,
    plan_giving_back,
    plan_letting_go,
    plan_take_over,
    settled,
    stays_returned,
    waits_for_vips,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.wanted import Wanted
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils.stored import SETTINGS, stored_vip

THEIRS, OURS, OTHER = 7, 8, 9
WANTED = Wanted(parse_settings({**SETTINGS, "replace_foreign": True}), "attached", "/usr/lib/katran-fleet/bpf")
NAME = WANTED.interfaces[0]
SLOT = RootArray("/sys/fs/bpf/root_array", 1)
HELD = Foreign(THEIRS, "aa", {NAME: "native"})


def info(number: int, tag: str = "aa") -> ProgramInfo:
    return ProgramInfo(6, number, tag, 1, 1, (), "balancer")


def at(number: int, name: str = NAME, mode: str = "native") -> Attachment:
    return Attachment(name, 3, number, mode)


def seen(*there: Attachment, katrans: dict[int, int] | None = None, **more: Any) -> BalancerSnapshot:
    running = {each.program_id: info(each.program_id) for each in there}
    attached = {each.interface: each for each in there}
    found = {"running": running, "attached": attached, "pins": frozenset({OURS}), "held": info(THEIRS), **more}
    return BalancerSnapshot(katrans=katrans or {}, directory="/sys/fs/bpf/katran/default", **found)


def state(foreign: Foreign | None = None, **more: Any) -> State:
    program = ProgramRecord(tag="bb", interfaces=[NAME], foreign=foreign)
    return State("default", "/sys/fs/bpf", settings=dict(SETTINGS), program=program, **more)


def test_it_waits_for_vips_where_katran_has_some_and_we_have_none() -> None:
    there = seen(at(THEIRS), katrans={THEIRS: 5})
    assert f"the Katran on {NAME} (program 7, 5 VIPs) stays until VIPs are applied" in waits_for_vips(
        WANTED, state(), there
    )
    assert not waits_for_vips(WANTED, state(vips=[stored_vip("198.51.100.1")]), there)
    assert not waits_for_vips(replace(WANTED, after_vips=True), state(), there)
    assert not waits_for_vips(replace(WANTED, state="loaded"), state(), there)
    assert not waits_for_vips(WANTED, state(), seen(at(THEIRS), katrans={THEIRS: 0}))
    assert not waits_for_vips(WANTED, state(), seen(at(THEIRS)))


def test_what_was_gone_back_to_by_hand_stays() -> None:
    there = seen(at(THEIRS), katrans={THEIRS: 5})
    gone_back = state(replace(HELD, returned=True))
    assert "end_rollback: true" in stays_returned(WANTED, gone_back, there)
    assert not stays_returned(replace(WANTED, ends_rollback=True), gone_back, there)
    assert not stays_returned(WANTED, state(HELD), there)
    assert not stays_returned(WANTED, state(), there)
    # It was started anew since.
    assert "(program 9)" in stays_returned(WANTED, gone_back, seen(at(OTHER), katrans={OTHER: 5}))
    assert not stays_returned(WANTED, gone_back, seen(at(OTHER)))


def test_it_is_held_before_its_place_is_taken_and_its_flows_are_copied_before_and_after() -> None:
    plan = BalancerPlan()
    plan.add(Attach(NAME, "native", at(THEIRS)))
    plan_take_over(plan, state(), seen(at(THEIRS), katrans={THEIRS: 5}))
    kinds = [type(step) for step in plan.ordered()]
    assert kinds == [HoldForeign, CopyFlows, Attach, SettleFlows]
    assert plan.of(HoldForeign) == [HoldForeign(HELD)]
    assert plan.of(CopyFlows) == [CopyFlows(THEIRS)]
    assert plan.of(SettleFlows) == [SettleFlows(THEIRS)]
    assert plan.changes == [
        "hold the Katran that runs there (program 7), to go back to it",
        "copy its flows (program 7)",
    ]


def test_of_a_killed_run_all_interfaces_are_remembered() -> None:
    plan = BalancerPlan()
    plan.add(Attach("eth9", "generic", at(THEIRS, "eth9", "generic")))
    plan_take_over(plan, state(HELD), seen(at(THEIRS, "eth9"), katrans={THEIRS: 5}))
    (step,) = plan.of(HoldForeign)
    assert step.foreign.interfaces == {NAME: "native", "eth9": "generic"}
    # What was held before was another one.
    plan = BalancerPlan()
    plan.add(TakeSlot(SLOT, THEIRS))
    plan_take_over(plan, state(replace(HELD, id=OTHER)), seen(at(THEIRS), katrans={THEIRS: 5}))
    assert plan.of(HoldForeign) == [HoldForeign(Foreign(THEIRS, "aa", {}, SLOT))]


def test_two_katrans_are_refused_and_what_is_none_is_not_held() -> None:
    plan = BalancerPlan()
    plan.add(Attach(NAME, "native", at(THEIRS)))
    plan.add(Attach("eth9", "native", at(OTHER, "eth9")))
    both = seen(at(THEIRS), at(OTHER, "eth9"), katrans={THEIRS: 5, OTHER: 5})
    with pytest.raises(ProgramError, match=r"different Katrans run .*\(programs 7, 9\)"):
        plan_take_over(plan, state(), both)
    plan = BalancerPlan()
    plan.add(Attach(NAME, "native", at(OTHER)))
    plan.add(Attach("eth9", "native"))
    plan_take_over(plan, state(), seen(at(OTHER)))
    assert not plan.of(HoldForeign, CopyFlows, SettleFlows)


@pytest.mark.parametrize(
    ("foreign", "there", "copies"),
    [
        (HELD, seen(at(OURS)), True),
        (replace(HELD, copied=True), seen(at(OURS)), False),
        # It runs again.
        (HELD, seen(at(THEIRS)), False),
        (replace(HELD, interfaces={}, slot=SLOT), seen(slots={SLOT.path: {1: THEIRS}}), False),
        (replace(HELD, interfaces={}, slot=SLOT), seen(slots={SLOT.path: {1: OURS}}), True),
        # It is gone.
        (HELD, seen(at(OURS), held=None), False),
        (HELD, seen(at(OURS), held=info(OTHER)), False),
        (None, seen(at(OURS)), False),
    ],
)
def test_what_a_killed_run_missed_is_copied(foreign: Foreign | None, there: BalancerSnapshot, copies: bool) -> None:
    plan = BalancerPlan()
    plan_take_over(plan, state(foreign), there)
    assert plan.of(SettleFlows) == ([SettleFlows(THEIRS)] if copies else [])
    assert plan.changes == (["copy the rest of the flows of the Katran (program 7)"] if copies else [])


def give_back(foreign: Foreign | None, there: BalancerSnapshot, **more: Any) -> BalancerPlan:
    known = state(foreign)
    for name, value in more.items():
        setattr(known.program if hasattr(known.program, name) else known, name, value)
    plan = BalancerPlan(before=known.settings, after=known.settings)
    plan_giving_back(plan, "default", known, there)
    return plan


def test_it_is_given_back_with_what_was_learned() -> None:
    plan = give_back(replace(HELD, copied=True), seen(at(OURS)))
    kinds = [type(step) for step in plan.ordered()]
    assert kinds == [UseForeign, CopyFlows, Attach, SettleFlows, ConcludeState]
    assert plan.of(Attach) == [Attach(NAME, "native", at(OURS))]
    assert plan.of(CopyFlows, SettleFlows) == [CopyFlows(THEIRS, back=True), SettleFlows(THEIRS, back=True)]
    assert plan.changes == [
        f"attach the Katran (program 7) to {NAME} in native mode again",
        "copy the flows that were learned meanwhile",
    ]
    assert plan.after["state"] == "loaded"
    assert plan.of(ConcludeState)[0].places == ((), None)
    # Where nothing runs, nothing is in the way.
    assert give_back(HELD, seen()).of(Attach) == [Attach(NAME, "native", None)]


def test_its_slot_is_given_back() -> None:
    foreign = replace(HELD, interfaces={}, slot=SLOT)
    plan = give_back(foreign, seen(slots={SLOT.path: {1: OURS}}))
    assert plan.of(TakeSlot) == [TakeSlot(SLOT, OURS)]
    assert plan.changes[0] == f"put the Katran (program 7) into slot 1 of {SLOT.path} again"
    assert not give_back(foreign, seen(slots={SLOT.path: {1: THEIRS}})).of(TakeSlot)


def test_once_given_back_nothing_is_left_to_do() -> None:
    gone_back = {"settings": {**SETTINGS, "state": "loaded"}, "interfaces": []}
    assert not give_back(replace(HELD, returned=True), seen(at(THEIRS)), **gone_back).steps
    # A run that was killed before it wrote that down.
    plan = give_back(HELD, seen(at(THEIRS)))
    assert plan.changes == ["record that the Katran runs again"]
    assert [type(step) for step in plan.ordered()] == [SettleFlows, ConcludeState]


def test_what_is_gone_or_in_the_way_is_a_sentence() -> None:
    for foreign, there in ((None, seen()), (HELD, seen(held=None)), (HELD, seen(held=info(OTHER)))):
        with pytest.raises(ProgramError, match="balancer default has no Katran to go back to"):
            give_back(foreign, there)
    with pytest.raises(ProgramError, match=rf"interface {NAME} has an XDP program that is neither ours .*\(id 9\)"):
        give_back(HELD, seen(at(OTHER)))


def test_a_previous_program_of_ours_comes_before_it() -> None:
    known = state(HELD)
    assert can_give_back(known)
    known.program.previous = Previous("dd", "cc", dict(SETTINGS), "")
    assert not can_give_back(known)
    known.program.previous, known.program.rolled_back_from = None, "dd"
    assert not can_give_back(known)
    assert not can_give_back(state())


def test_it_is_let_go() -> None:
    plan = BalancerPlan()
    plan_letting_go(plan, state(HELD))
    assert plan.of(LetForeignGo)
    assert plan.changes == ["let go of the Katran that was replaced (program 7)"]
    plan = BalancerPlan()
    plan_letting_go(plan, state())
    assert not plan.steps


def test_what_is_settled_is_on_record() -> None:
    assert settled(HELD, False) == replace(HELD, copied=True)
    assert settled(HELD, True) == replace(HELD, copied=True, returned=True)
    slotted = state(replace(HELD, slot=SLOT))
    again = State.from_json(slotted.to_json(), "state.json")
    assert again.program.foreign == slotted.program.foreign
