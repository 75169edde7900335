# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an operator asks to go back to, and which run of a fleet is the last."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ConfigError
from ansible_collections.katran.fleet.plugins.module_utils._model.fleet_revert import Aim, newest, read_aim, told_of
from ansible_collections.katran.fleet.plugins.module_utils._model.history import Entry, Step


@pytest.mark.parametrize(
    ("run", "to", "aim"),
    [
        (None, None, Aim()),
        ("0f2b6c1e", None, Aim("0f2b6c1e")),
        # YAML reads a number where an id has none but digits.
        (12345678, None, Aim("12345678")),
        (None, "7", Aim(to=7)),
        (None, 0, Aim(to=0)),
    ],
)
def test_what_can_be_meant(run: Any, to: Any, aim: Aim) -> None:
    assert read_aim(run, to) == aim


@pytest.mark.parametrize(
    ("run", "to", "fault"),
    [
        ("0f2b6c1e", 1, "exclude each other"),
        ("0f2b6c1", None, "katran_rollback_run is not the id of a run, or the first 8"),
        ("../../etc", None, "katran_rollback_run is not the id"),
        ("", None, "katran_rollback_run is not the id"),
        (None, "", "katran_rollback_to is not the number"),
        (None, "-1", "katran_rollback_to is not the number"),
        (None, "07", "katran_rollback_to is not the number"),
        (None, True, "katran_rollback_to is not the number"),
        (None, 1.5, "katran_rollback_to is not the number"),
        (None, "9" * 10, "katran_rollback_to is not the number"),
        (None, [1], "katran_rollback_to is not the number"),
    ],
)
def test_what_cannot(run: Any, to: Any, fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        read_aim(run, to)


def told(number: int, began: str, run: str, *modules: str, kind: str = "applied") -> dict[str, Any]:
    return told_of(Entry(number, kind, began, run, "jane", steps=[Step(each, began) for each in modules]))


def test_the_last_run_of_a_fleet() -> None:
    lb1 = [told(0, "1", "", kind="before"), told(1, "2", "one", "balancer", "vips"), told(2, "5", "hand", "reals")]
    lb2 = [
        told(1, "2", "one", "vips"),
        told(2, "4", "two", "vips", "reals"),
        told(3, "6", "back", "revert", kind="revert"),
    ]
    found = newest([lb1, lb2, []])
    assert found is not None
    assert (found["run"], found["number"], found["modules"]) == ("two", 2, ["reals", "vips"])
    assert newest([lb1]) == lb1[1]
    assert newest([[told(1, "9", "", "vips")]]) is None
    assert newest([]) is None
