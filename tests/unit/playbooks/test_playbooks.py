# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a deploy tells its roles: nothing newly leads to a real that is not ready, none gives up what is still sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

PLAYBOOKS = Path(__file__).resolve().parents[3] / "playbooks"


def plays(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load((PLAYBOOKS / f"{name}.yml").read_text(encoding="utf-8"))
    return found


def flat(tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Tasks, and those in their blocks, in the order in which they run; those of rescue are left out."""
    return [each for task in tasks for each in (flat(task["block"]) if "block" in task else [task])]


def applying(play: dict[str, Any]) -> list[dict[str, Any]]:
    """The tasks of a play that bring hosts to what the inventory says, by roles of ours."""
    around = ("look", "gate", "judge")
    roles = [task for task in flat(play["tasks"]) if "ansible.builtin.import_role" in task]
    return [task for task in roles if task["ansible.builtin.import_role"]["tasks_from"] not in around]


def role(play: dict[str, Any]) -> dict[str, Any]:
    """The first of them."""
    return applying(play)[0]


def roles(play: dict[str, Any]) -> list[dict[str, Any]]:
    """Which roles of ours a play runs, and what of them."""
    return [task["ansible.builtin.import_role"] for task in applying(play)]


def role_tasks(name: str) -> list[dict[str, Any]]:
    """The tasks of a file of role balancer."""
    path = PLAYBOOKS.parent / f"roles/balancer/tasks/{name}.yml"
    found: list[dict[str, Any]] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize("name", ["deploy", "preflight"])
def test_the_inventory_is_checked_once_and_for_all(name: str) -> None:
    """A task that runs once and fails ends the run of every host, as any_errors_fatal would for all of a play."""
    first = plays(name)[0]
    assert first["hosts"] == "all"
    assert first["gather_facts"] is False
    task = first["tasks"][0]
    # No argument: the whole fleet, not the host alone that happens to run it.
    assert task["katran.fleet.preflight"] is None
    assert task["run_once"] is True
    assert "ignore_errors" not in task


def test_the_order_of_a_deploy() -> None:
    assert [
        (play["hosts"], role(play)["ansible.builtin.import_role"]["name"], role(play)["ansible.builtin.import_role"])
        for play in plays("deploy")[2:5]
    ] == [
        (f"{{{{ katran_{group}_group | default('{group}') }}}}", f"katran.fleet.{name}", task)
        for group, name, task in (
            ("reals", "real", {"name": "katran.fleet.real", "tasks_from": "apply"}),
            ("balancers", "balancer", {"name": "katran.fleet.balancer", "tasks_from": "apply"}),
            ("reals", "real", {"name": "katran.fleet.real", "tasks_from": "withdraw"}),
        )
    ]
    # What a balancer is ready for is announced once it balances it; the rest comes of readiness, not of an order.
    assert [len(roles(play)) for play in plays("deploy")] == [0, 2, 1, 2, 1, 1]
    assert roles(plays("deploy")[3])[1] == {"name": "katran.fleet.bgp", "tasks_from": "apply"}
    for play in plays("deploy")[1:5]:
        assert play["become"] == "{{ katran_become | default(true) }}"
        # A host that fails, or a real that does, is no reason to leave the others as they are.
        assert not {"any_errors_fatal", "max_fail_percentage", "ignore_errors", "ignore_unreachable"} & set(play)


def test_a_balancer_that_cannot_be_asked_ends_nothing() -> None:
    asking = plays("deploy")[1]
    assert asking["hosts"] == "{{ katran_balancers_group | default('balancers') }}"
    ask, review = asking["tasks"]
    assert ask["ansible.builtin.import_role"] == {"name": "katran.fleet.balancer", "tasks_from": "ask"}
    [task] = role_tasks("ask")
    assert task["when"] == "inventory_hostname in balancer_preflight.ask"
    assert (task["failed_when"], task["ignore_unreachable"]) == (False, True)
    assert review["ansible.builtin.import_role"] == {"name": "katran.fleet.bgp", "tasks_from": "review"}


def test_somebody_elses_routing_daemon_ends_the_run_before_any_host_changes() -> None:
    path = PLAYBOOKS.parent / "roles/bgp/tasks/review.yml"
    [task] = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert task["any_errors_fatal"] is True
    assert (task["check_mode"], task["changed_when"], task["ignore_unreachable"]) == (True, False, True)
    [apply] = yaml.safe_load(path.with_name("apply.yml").read_text(encoding="utf-8"))
    assert (task["katran.fleet.bgp"], task["when"]) == (apply["katran.fleet.bgp"], apply["when"])


def test_what_a_deploy_tells_its_roles() -> None:
    _check, _ask, reals, balancers, withdraw, _sum = plays("deploy")
    told = "{{ deploy_preflight }}"
    # Until no balancer sends there, a real goes on serving what it serves.
    assert role(reals)["vars"] == {"real_preflight": told, "real_keep_vips": True}
    assert balancers["vars"]["balancer_preflight"] == told
    assert role(balancers)["vars"] == {
        "balancer_unready_reals": "{{ deploy_readiness.unready }}",
        "balancer_unseen_reals": "{{ deploy_readiness.unseen }}",
    }
    assert role(withdraw)["vars"] == {"real_preflight": told}


def test_what_a_deploy_knows_of_the_hosts_that_are_done() -> None:
    check, _ask, reals, balancers, withdraw, _sum = plays("deploy")
    assert check["tasks"][0]["register"] == "deploy_preflight"
    *done, noted = reals["tasks"]
    assert [task["ansible.builtin.import_role"] for task in done] == roles(reals)
    # Only after the role, and of the hosts that it did not fail on; the run tells it from a note of one before.
    assert noted["ansible.builtin.set_fact"] == {
        "deploy_prepared": {"run": "{{ deploy_preflight.run }}", "hosts": "{{ ansible_play_hosts }}"}
    }
    assert noted["run_once"] is True
    assert balancers["vars"]["deploy_readiness"] == "{{ deploy_preflight | katran.fleet.readiness('deploy_prepared') }}"
    # Of balancers, batch by batch: a note that named all that have not failed would name those whose turn is to come.
    judged, on = role_tasks("judge")[:2]
    assert (on["ansible.builtin.meta"], on["when"]) == ("end_batch", "balancer_batch.failures | length == 0")
    assert (judged["register"], judged["run_once"]) == ("balancer_batch", True)
    assert withdraw["vars"] == {
        "deploy_senders": "{{ deploy_preflight | katran.fleet.still_sending('balancer_batch', 'balancer_applied') }}"
    }
    # The note that filter still_sending asks for.
    run = yaml.safe_load((PLAYBOOKS.parent / "roles/balancer/tasks/run.yml").read_text(encoding="utf-8"))
    assert [task.get("register") for task in run if "katran.fleet.vips" in task] == ["balancer_applied"]
    assert role(withdraw)["when"] == ["deploy_preflight.balancers | length > 0", "deploy_senders | length == 0"]


def test_batches() -> None:
    """Each is looked at before anything changes, watched before it is announced, and judged last."""
    balancers = plays("deploy")[3]
    assert balancers["serial"] == "{{ 'deploy_preflight' | katran.fleet.batches }}"
    parts = [task["ansible.builtin.import_role"] for task in flat(balancers["tasks"])]
    assert [(each["name"].removeprefix("katran.fleet."), each["tasks_from"]) for each in parts] == [
        ("balancer", "look"),
        ("balancer", "apply"),
        ("balancer", "gate"),
        ("bgp", "apply"),
        ("balancer", "judge"),
    ]
    rolled = balancers["tasks"][0]
    assert [task["ansible.builtin.import_role"]["tasks_from"] for task in rolled["rescue"]] == ["failed"]
    # Who does not answer is asked for nothing more, and counts as one that failed.
    [look] = role_tasks("look")
    assert look["ignore_unreachable"] is True
    assert rolled["block"][1]["when"] == "not (balancer_before.unreachable | default(false))"


def test_what_changes_a_host_is_registered_for_the_gate() -> None:
    """A run that changes nothing waits for no gate; one that changes something does."""
    path = PLAYBOOKS.parent / "roles/balancer/vars/main.yml"
    changed = yaml.safe_load(path.read_text(encoding="utf-8"))["balancer_changed"]
    for name in ("attach", "run", "tables", "agent"):
        for task in role_tasks(name):
            if any(key.startswith("katran.fleet.") for key in task) and "absent" not in str(task):
                assert f"{task['register']} | default" in changed, task["name"]
    [gate] = role_tasks("gate")
    assert gate["when"] == ["not ansible_check_mode", "balancer_changed"]


def test_a_review_waits_for_no_gate_and_takes_nothing_back() -> None:
    [look], back = role_tasks("look"), role_tasks("judge")[2:]
    assert look["when"] == "not ansible_check_mode"
    for task in back[:3]:
        assert "not ansible_check_mode" in task["when"]
