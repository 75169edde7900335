# SPDX-License-Identifier: GPL-3.0-or-later
"""Batches as Ansible runs them, with tasks that stand in for what changes hosts; no host is reached."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from ansible_collections.katran.fleet.tests.engine.playbooks import run_playbook

INVENTORY = """
all:
  vars: {ansible_connection: local, ansible_python_interpreter: /usr/bin/python3}
  children:
    balancers: {hosts: {lb1: , lb2: , lb3: , lb4: }}
"""
PLAYBOOK = """
- hosts: all
  gather_facts: false
  tasks:
    - name: Stand in for preflight
      ansible.builtin.set_fact:
        told: {run: now, rollout: {serial: "{{ sizes }}", max_failed: "{{ most | int }}"}}
      run_once: true
- name: Batch
  hosts: balancers
  serial: "{{ 'told' | katran.fleet.batches }}"
  gather_facts: false
  tasks:
    - name: Change
      block:
        - name: Change a host
          ansible.builtin.fail: {msg: broken}
          when: inventory_hostname in failing
      rescue:
        - ansible.builtin.set_fact:
            balancer_failed: {run: now, task: "{{ ansible_failed_task.name }}", why: "{{ ansible_failed_result.msg }}"}
    - name: Judge
      katran.fleet.batch: {preflight: "{{ told }}"}
      register: balancer_batch
      run_once: true
    - ansible.builtin.meta: end_batch
      when: balancer_batch.failures | length == 0
    - name: Revert
      ansible.builtin.set_fact:
        balancer_reverted: {run: now, why: ""}
      when: inventory_hostname in balancer_batch.revert
    - name: End
      katran.fleet.batch: {preflight: "{{ told }}", phase: end}
      run_once: true
- name: Sum
  hosts: balancers
  gather_facts: false
  tasks:
    - katran.fleet.batch: {preflight: "{{ told }}", phase: sum}
      run_once: true
"""


def play(folder: Path, sizes: str, most: int, *failing: str) -> tuple[int, str, list[list[str]]]:
    """The exit status, what was printed, and which hosts went back in each batch."""
    (folder / "hosts.yml").write_text(INVENTORY)
    (folder / "play.yml").write_text(PLAYBOOK)
    extra = f'{{"sizes": {sizes}, "most": {most}, "failing": {json.dumps(failing)}}}'
    done = run_playbook("-i", folder / "hosts.yml", folder / "play.yml", "-e", extra)
    turns = re.split(r"^PLAY \[Batch\]", done.stdout, flags=re.MULTILINE)[1:]
    back = [
        re.findall(r"^ok: \[(lb\d)\]", turn.partition("TASK [Revert]")[2].partition("TASK [End]")[0], re.MULTILINE)
        for turn in turns
    ]
    return done.returncode, " ".join(done.stdout.split()), back


@pytest.mark.parametrize(
    ("sizes", "most", "failing", "back"),
    [
        ('["1", "50%", "100%"]', 0, [], [[], [], []]),
        # The batch goes back whole, the one after is untouched.
        ("[1, 2, 1]", 0, ["lb3"], [[], ["lb2", "lb3"]]),
        # One may fail; the second is one too many, though it is in another batch.
        ("[2, 2]", 1, ["lb2", "lb3"], [["lb2"], ["lb3", "lb4"]]),
        # Two may, also where they are all of a batch.
        ("[1, 1, 2]", 2, ["lb1", "lb2"], [["lb1"], ["lb2"], []]),
    ],
)
def test_batches(tmp_path: Path, sizes: str, most: int, failing: list[str], back: list[list[str]]) -> None:
    status, said, found = play(tmp_path, sizes, most, *failing)
    assert found == back, said
    assert status == (2 if failing else 0)
    if len(failing) > most:
        last = failing[-1]
        assert f"{last} failed: Change a host: broken" in said
        assert f"{', '.join(back[-1])}: program, VIPs and tables are again what they were before this run" in said
        assert ("untouched: lb4" in said) == (sizes == "[1, 2, 1]")
    elif failing:
        assert f"balancers that failed, no more than katran_max_failed lets: {len(failing)} (lb1: Change a host" in said
