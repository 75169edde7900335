# SPDX-License-Identifier: GPL-3.0-or-later
"""A deploy whose inventory is wrong for one host, as Ansible runs it: no host is reached."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.katran.fleet.tests.engine.playbooks import ROOT, Done, run_playbook

# Every module would fail: a host that is reached shows.
INVENTORY = """
all:
  vars:
    ansible_connection: local
    ansible_python_interpreter: /bin/false
    katran_become: false
    katran_interfaces: [nowhere0]
  children:
    balancers:
      hosts: {lb1: , lb2: , lb3: }
      vars:
        katran_vips:
          - {address: 198.51.100.1, port: 443, protocol: tcp, reals: "{{ groups['reals'] | katran.fleet.reals }}"}
    reals:
      hosts:
        r1: {katran_real_address: 10.0.0.1}
        r2: {katran_real_address: 10.0.0.2}
"""


def deploy(folder: Path, *wrong: str) -> Done:
    """Deploy; `wrong`: variables of hosts, each as HOST NAME VALUE."""
    (folder / "hosts.yml").write_text(INVENTORY)
    (folder / "host_vars").mkdir()
    for each in wrong:
        host, name, value = each.split(" ", 2)
        (folder / "host_vars" / f"{host}.yml").write_text(f"{name}: {value}\n")
    return run_playbook("-i", folder / "hosts.yml", "katran.fleet.deploy")


def plays_of(printed: str) -> list[str]:
    return re.findall(r"^PLAY \[([^\]]+)\]", printed, re.MULTILINE)


@pytest.mark.parametrize(
    "wrong",
    [
        "lb2 katran_min_active 3",
        "lb3 katran_udp_timeout -1",
        "r2 katran_gue_port 70000",
        "r1 katran_real_adress x",
        "lb1 katran_serial [1, half]",
    ],
)
def test_a_fault_of_one_host_ends_the_run_of_all(tmp_path: Path, wrong: str) -> None:
    done = deploy(tmp_path, wrong)
    assert done.returncode == 2, done.stdout
    assert plays_of(done.stdout) == ["Check the fleet"]
    assert wrong.split()[1].removeprefix("katran_") in done.stdout


def test_without_a_fault_the_reals_are_reached_first(tmp_path: Path) -> None:
    done = deploy(tmp_path)
    assert done.returncode == 2, done.stdout
    # None could be prepared: no balancer is to send to any of them.
    assert plays_of(done.stdout) == ["Check the fleet", "Ask balancers from where they send", "Prepare the reals"]
    assert re.search(r"^r1 .*failed=1", done.stdout, re.MULTILINE), done.stdout
    assert re.search(r"^lb1 .*failed=0", done.stdout, re.MULTILINE), done.stdout


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ("katran_rollback_to=last", "katran_rollback_to is not the number of an applied configuration"),
        (
            "katran_rollback_run=../x katran_rollback_to=1",
            "katran_rollback_run and katran_rollback_to exclude each other",
        ),
        ("katran_serial=0%", "katran_serial: 0% is not the size of a batch"),
    ],
)
def test_a_rollback_to_nowhere_reaches_no_host(tmp_path: Path, said: str, sentence: str) -> None:
    (tmp_path / "hosts.yml").write_text(INVENTORY)
    done = run_playbook("-i", tmp_path / "hosts.yml", "katran.fleet.rollback", "-e", said)
    assert done.returncode == 2, done.stdout
    assert sentence in done.stdout
    assert "/bin/false" not in done.stdout


def test_the_batches_of_a_rollback_are_those_of_the_inventory(tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_text(INVENTORY.replace("hosts: {lb1: ,", "hosts: {lb1: {katran_serial: half},"))
    done = run_playbook("-i", tmp_path / "hosts.yml", "katran.fleet.rollback")
    assert done.returncode == 2, done.stdout
    assert "katran_serial: half is not the size of a batch" in done.stdout
    assert "'rollback_decided' | katran.fleet.batches" in (ROOT / "playbooks/rollback.yml").read_text()


@pytest.mark.parametrize("name", ["drain", "undrain", "drain_real", "undrain_real", "rollback", "restart_agents"])
def test_a_limit_that_leaves_no_balancer_is_an_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "hosts.yml").write_text(INVENTORY)
    more = ("--limit", "r1", "-e", "katran_real=r1 katran_drain=lb1")
    done = run_playbook("-i", tmp_path / "hosts.yml", f"katran.fleet.{name}", *more)
    assert done.returncode == 2, done.stdout
    assert "--limit r1 leaves no balancer" in done.stdout


def delegated(node: Any) -> Iterator[dict[str, Any]]:
    """The tasks that another host does, of what a file of tasks or plays says."""
    if isinstance(node, list):
        for each in node:
            yield from delegated(each)
    elif isinstance(node, dict):
        if "delegate_to" in node:
            yield node
        for value in node.values():
            yield from delegated(value)


WAY = ("ansible_host", "ansible_port", "ansible_user", "ansible_ssh_private_key_file")


def test_a_task_for_another_host_does_not_lead_back_to_this_one() -> None:
    """What is made of `inventory_hostname` would: where a task is delegated, that is this host's."""
    files = [*ROOT.glob("roles/*/tasks/*.yml"), *ROOT.glob("playbooks/*.yml")]
    tasks = [task for path in files for task in delegated(yaml.safe_load(path.read_text(encoding="utf-8")))]
    assert tasks
    for task in tasks:
        asked = task["delegate_to"].strip("{} ")
        for name in WAY:
            assert f"hostvars[{asked}].{name} " in task.get("vars", {}).get(name, ""), task["name"]


OTHERS = """
all:
  vars: {ansible_ssh_executable: SSH, numbers: {lb1: 2201, lb2: 2202}}
  children:
    made:
      vars:
        ansible_host: "{{ inventory_hostname }}.example.net"
        ansible_port: "{{ numbers[inventory_hostname] }}"
        ansible_user: "user-{{ inventory_hostname }}"
        ansible_ssh_private_key_file: "/keys/{{ inventory_hostname }}"
      hosts: {lb1: , lb2: }
    plain:
      hosts: {lb3: }
"""
ASK = """
- name: Ask others
  hosts: lb1
  gather_facts: false
  tasks:
    - name: Each
      ansible.builtin.include_tasks: ROOT/roles/balancer/tasks/words_elsewhere.yml
      loop: [lb2, lb3]
      loop_control: {loop_var: balancer_elsewhere}
"""


def asked_of(tmp_path: Path, others: str, ask: str, *options: str) -> list[str]:
    """How ssh was called for each of them."""
    ssh = tmp_path / "ssh"
    ssh.write_text(f'#!/bin/sh\necho "$*" >> {tmp_path}/asked\nexit 255\n')
    ssh.chmod(0o755)
    (tmp_path / "hosts.yml").write_text(others.replace("SSH", str(ssh)))
    (tmp_path / "ask.yml").write_text(ask.replace("ROOT", str(ROOT)))
    run_playbook("-i", tmp_path / "hosts.yml", str(tmp_path / "ask.yml"), *options)
    return (tmp_path / "asked").read_text().splitlines()


def test_another_host_is_reached_as_its_own_variables_say(tmp_path: Path) -> None:
    made, plain = asked_of(tmp_path, OTHERS, ASK, "-u", "somebody")
    for word in (" lb2.example.net ", "Port=2202 ", 'User="user-lb2"', 'IdentityFile="/keys/lb2"'):
        assert word in made
    # What it does not say is as for any host.
    assert " lb3 " in plain
    assert 'User="somebody"' in plain
    assert "Port=" not in plain
    assert "IdentityFile=" not in plain


def test_what_a_play_says_of_the_way_wins_over_the_inventory(tmp_path: Path) -> None:
    way = "{ansible_user: admin, ansible_port: 2022, ansible_ssh_private_key_file: /keys/admin}"
    others = OTHERS.replace("lb3: ", "lb3: {ansible_port: 2203, ansible_user: third}")
    for line in asked_of(tmp_path, others, ASK.replace("  tasks:", f"  vars: {way}\n  tasks:")):
        for word in ("Port=2022 ", 'User="admin"', 'IdentityFile="/keys/admin"'):
            assert word in line


def test_what_the_command_line_says_of_the_way_does_not_win(tmp_path: Path) -> None:
    own = "{ansible_port: 2203, ansible_user: third, ansible_ssh_private_key_file: /keys/3}"
    others = OTHERS.replace("lb3: ", f"lb3: {own}")
    # The host that asks has neither user nor key of its own.
    others = others.replace("hosts: {lb1: , lb2: }", "hosts: {lb2: }").replace("hosts: {lb3", "hosts: {lb1: , lb3")
    _made, plain = asked_of(tmp_path, others, ASK, "-u", "somebody", "--private-key", "/keys/somebody")
    for word in (" lb3 ", "Port=2203 ", 'User="third"', 'IdentityFile="/keys/3"'):
        assert word in plain


def test_an_empty_port_is_none(tmp_path: Path) -> None:
    _made, plain = asked_of(tmp_path, OTHERS.replace("lb3: ", "lb3: {ansible_port: ''}"), ASK)
    assert " lb3 " in plain
    assert "Port=" not in plain
