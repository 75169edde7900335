# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Playbooks of maintenance: what is wrong is told before a host is reached, and a real is drained before all else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
TASKS = ROOT / "roles/balancer/tasks"
ON_CONTROLLER = {"ansible.builtin.set_fact", "ansible.builtin.fail"}


def tasks_of(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return found


def play(name: str) -> dict[str, Any]:
    """The play over balancers, before which one sees that a balancer is meant."""
    meant, found = tasks_of(ROOT / "playbooks" / f"{name}.yml")
    assert [task["ansible.builtin.import_role"]["tasks_from"] for task in meant["tasks"]] == ["somebody"]
    return found


@pytest.mark.parametrize(("name", "state"), [("drain_real", None), ("undrain_real", "deleted")])
def test_one_task_on_every_host_drains_and_none_comes_before_it(name: str, state: str | None) -> None:
    first, second = play(name)["tasks"][:2]
    assert first["ansible.builtin.import_role"] == {"name": "katran.fleet.balancer", "tasks_from": "named_reals"}
    for task in tasks_of(TASKS / "named_reals.yml"):
        assert ON_CONTROLLER.intersection(task)
        assert task["run_once"] is True
    assert second["katran.fleet.reals"].get("state") == state
    # One that is away, or refuses, does not keep the others from hearing of it.
    assert (second["ignore_unreachable"], second["ignore_errors"]) == (True, True)
    assert "serial" not in play(name)


@pytest.mark.parametrize("name", ["drain", "undrain"])
def test_who_is_meant_is_clear_before_a_balancer_is_asked(name: str) -> None:
    assert play(name)["tasks"][0]["ansible.builtin.import_role"]["tasks_from"] == "departing"
    first, second, own, others, last = tasks_of(TASKS / "departing.yml")
    for task in (first, second):
        assert ON_CONTROLLER.intersection(task)
        assert task["run_once"] is True
    # What nobody may answer counts for nothing.
    assert others["ansible.builtin.include_tasks"] == "departing_elsewhere.yml"
    _way, elsewhere, _note = tasks_of(TASKS / "departing_elsewhere.yml")
    assert [task["ignore_unreachable"] for task in (own, elsewhere)] == [True, True]
    assert "ansible.builtin.fail" in last


@pytest.mark.parametrize("name", ["departing_elsewhere", "words_elsewhere", "words_told"])
def test_another_balancer_that_cannot_be_reached_ends_no_run(name: str) -> None:
    """Of a task that runs once, Ansible fails every host for one that is unreachable, unless errors are ignored."""
    delegated = [task for task in tasks_of(TASKS / f"{name}.yml") if "delegate_to" in task]
    assert delegated
    for task in delegated:
        assert (task["run_once"], task["ignore_errors"], task["ignore_unreachable"]) == (True, True, True)


def test_a_drain_that_fails_anywhere_ends_the_run() -> None:
    assert play("drain")["any_errors_fatal"] is True
    assert "any_errors_fatal" not in play("undrain")


@pytest.mark.parametrize("name", ["drain", "undrain", "drain_real", "undrain_real"])
def test_hosts_hear_who_does_it(name: str) -> None:
    found = play(name)
    assert found["environment"].endswith("| default({}) | katran.fleet.audit }}")
    assert found["hosts"] == "{{ katran_balancers_group | default('balancers') }}"
    assert found["become"] == "{{ katran_become | default(true) }}"
