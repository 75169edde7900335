# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Another program where one is to run: which may be replaced, and what is said of the others."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ProgramError
from ansible_collections.katran.fleet.plugins.module_utils._model.program_plan import (
    Places,
    ProgramPlan,
    plan_interfaces,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.snapshot import Attachment, Resident
from ansible_collections.katran.fleet.plugins.module_utils._model.steps import Attach
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils._model.test_decap_plan_steps import GOOD, plan

THERE = {"eth0": Attachment("eth0", 9, 99, "native")}
START = "interface eth0 already has our program"


@pytest.mark.parametrize(
    ("program", "remedy"),
    [
        ("balancer", "detach it first (module balancer, state: loaded)"),
        ("decap", "detach it first (module decap, state: absent)"),
        ("root", "detach it first (module xdp_root, state: absent)"),
    ],
)
def test_another_program_of_ours(program: str, remedy: str) -> None:
    places = Places(["eth0"], "native", "balancer", residents={99: Resident(program, "blue")})
    with pytest.raises(ProgramError) as told:
        plan_interfaces(ProgramPlan(), places, THERE, {77}, 77)
    assert str(told.value) == f"{START} {program} of instance blue; {remedy}"
    # Of others of ours it is said what to do instead.
    with pytest.raises(ProgramError) as told:
        plan_interfaces(ProgramPlan(), replace(places, way_out={program: "give another"}), THERE, {77}, 77)
    assert str(told.value) == f"{START} {program} of instance blue; give another"
    # Even where what is foreign may be replaced, one of ours may not.
    with pytest.raises(ProgramError):
        plan_interfaces(ProgramPlan(), replace(places, foreign=None), THERE, {77}, 77)
    taken = ProgramPlan()
    plan_interfaces(taken, replace(places, takes_over=[program]), THERE, {77}, 77)
    assert taken.of(Attach) == [Attach("eth0", "native", THERE["eth0"])]


def test_a_foreign_program() -> None:
    places = Places(["eth0"], "native", "balancer")
    with pytest.raises(ProgramError) as told:
        plan_interfaces(ProgramPlan(), places, THERE, {77}, 77)
    assert str(told.value) == ("interface eth0 already has an XDP program that is not ours (id 99); detach it first")
    taken = ProgramPlan()
    plan_interfaces(taken, replace(places, foreign=None), THERE, {77}, 77)
    assert taken.of(Attach) == [Attach("eth0", "native", THERE["eth0"])]


@pytest.mark.parametrize("program", ["balancer", "root"])
def test_a_real_where_a_balancer_is(program: str) -> None:
    seen = replace(GOOD, attached=THERE, residents={99: Resident(program, "green")})
    with pytest.raises(ProgramError) as told:
        plan(seen)
    assert str(told.value) == (
        f"{START} {program} of instance green; one program can do both: give attach: false here (katran_real_attach:"
        " false), and the balancer feature inline_decap (katran_extra_features)"
    )
