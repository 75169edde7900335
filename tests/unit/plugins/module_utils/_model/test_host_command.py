# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command katran in a host's PATH: written, repaired and removed where it is ours."""

from __future__ import annotations

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model.host_command import LINKS, PATH, TEXT
from ansible_collections.katran.fleet.plugins.module_utils._model.host_plan import (
    HostSnapshot,
    HostWanted,
    Step,
    plan_absence,
    plan_host,
)

OLD = "#!/bin/sh\n# Written by katran.fleet: by an earlier version\n"
OTHERS = "#!/bin/sh\necho Written by katran.fleet\n"


@pytest.mark.parametrize(
    ("there", "steps"),
    [
        (None, [Step("command", PATH, TEXT, f"write {PATH}")]),
        (TEXT, []),
        (OLD, [Step("command", PATH, TEXT, f"rewrite {PATH}")]),
        (f"{TEXT}# mode 0644\n", [Step("command", PATH, TEXT, f"rewrite {PATH}")]),
        (OTHERS, []),
        ("", []),
    ],
)
def test_it_is_there(there: str | None, steps: list[Step]) -> None:
    plan = plan_host(HostWanted({}, command=True), HostSnapshot(command=there))
    assert plan.steps == steps
    warning = f"{PATH} is somebody else's, and stays so: python3 -I /usr/lib/katran-fleet/katran is ours"
    assert plan.warnings == ([warning] if there in (OTHERS, "") else [])


def test_it_is_left_alone_where_nobody_wants_it() -> None:
    assert plan_host(HostWanted(), HostSnapshot(command=OLD)).steps == []


@pytest.mark.parametrize(("there", "goes"), [(None, False), (TEXT, True), (OLD, True), (OTHERS, False)])
def test_it_goes_where_it_is_ours(there: str | None, goes: bool) -> None:
    plan = plan_absence(HostSnapshot(command=there))
    assert plan.steps == ([Step("command", PATH, "", f"remove {PATH}")] if goes else [])
    assert plan.warnings == []


MAN, BASH = LINKS


@pytest.mark.parametrize(
    ("there", "steps", "warnings"),
    [
        ({}, [], []),
        (dict(LINKS), [], []),
        ({MAN: None}, [Step("page", MAN, LINKS[MAN], f"link {MAN}")], []),
        ({BASH: "/tmp/x"}, [Step("page", BASH, LINKS[BASH], f"link {BASH}, which led to /tmp/x")], []),
        ({MAN: ""}, [], [f"{MAN} is somebody else's, and stays so: {LINKS[MAN]} is ours"]),
    ],
)
def test_its_pages_are_there(there: dict[str, str | None], steps: list[Step], warnings: list[str]) -> None:
    plan = plan_host(HostWanted({}, command=True), HostSnapshot(command=TEXT, pages=there))
    assert (plan.steps, plan.warnings) == (steps, warnings)


@pytest.mark.parametrize(("target", "goes"), [(LINKS[MAN], True), ("/tmp/x", False), ("", False), (None, False)])
def test_its_pages_go_where_they_are_ours(target: str | None, goes: bool) -> None:
    plan = plan_absence(HostSnapshot(pages={MAN: target}))
    assert plan.steps == ([Step("page", MAN, "", f"remove {MAN}")] if goes else [])
