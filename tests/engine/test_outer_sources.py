# SPDX-License-Identifier: GPL-3.0-or-later
"""From where a real takes tunnels, as the roles find it out: by the inventory, and by asking balancers."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.katran.fleet.tests.engine.playbooks import ROOT, run_playbook
from ansible_collections.katran.fleet.tests.engine.sandbox import run, sandbox

PLAY = """
- hosts: balancers
  gather_facts: false
  tasks:
    - ansible.builtin.setup: {gather_subset: ["!all", "!min", "network"]}
      ignore_unreachable: true
      when: inventory_hostname in groups.asked
- hosts: reals
  gather_facts: false
  tasks:
    - ansible.builtin.include_role: {name: katran.fleet.real, tasks_from: preflight}
    - ansible.builtin.include_vars: {file: "ROOT/roles/real/defaults/main.yml"}
    - ansible.builtin.include_vars: {file: "ROOT/roles/real/vars/main.yml"}
    - ansible.builtin.copy:
        content: "{{ [real_sources, real_known.unknown] | to_json }}"
        dest: "{{ playbook_dir }}/told.json"
        mode: "0600"
"""
PRINTED = tuple[list[str], list[str]]


def found(
    folder: Path, balancers: dict[str, Any], variables: dict[str, Any], real: dict[str, Any], *asked: str
) -> PRINTED:
    """What the role of the only real would take: its sources, and the balancers that it does not know them of."""
    vip = {"address": "198.51.100.1", "port": 80, "protocol": "tcp", "reals": [{"address": "10.0.0.1"}]}
    inventory = {
        "all": {
            "vars": {"katran_interfaces": ["eth0"], "katran_vips": [vip], **variables},
            "children": {
                "balancers": {"hosts": balancers},
                "asked": {"hosts": {name: {} for name in asked}},
                "reals": {"hosts": {"r1": {"katran_real_address": "10.0.0.1", **real}}},
            },
        }
    }
    (folder / "hosts.json").write_text(json.dumps(inventory))
    (folder / "play.yml").write_text(PLAY.replace("ROOT", str(ROOT)))
    environment = {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections")}
    done = run_playbook("-c", "local", "-i", "hosts.json", "play.yml", cwd=folder, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    sources, unknown = json.loads((folder / "told.json").read_text())
    return sources, unknown


IPIP = ["100::/64", "172.16.0.0/16"]
GUE = {"katran_encapsulation": "gue"}
HERE = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
AWAY = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1, "ansible_ssh_timeout": 2}
LB1 = {"katran_source_ipv4": "192.0.2.1", "katran_source_ipv6": "2001:DB8::1"}


@pytest.mark.parametrize(
    ("balancers", "variables", "real", "expected"),
    [
        ({"lb1": {}, "lb2": {}}, {}, {}, IPIP),
        ({"lb1": LB1}, {}, {}, IPIP),
        (
            {"lb1": {"katran_source_prefix_ipv4": "10.9.0.0/16"}, "lb2": {"katran_source_prefix_ipv6": "fc00::/64"}},
            {},
            {},
            ["10.9.0.0/16", "100::/64", "172.16.0.0/16", "fc00::/64"],
        ),
        ({"lb1": LB1}, GUE, {}, ["192.0.2.1/32", "2001:db8::1/128"]),
        ({"lb1": {**LB1, **GUE}, "lb2": {}}, {}, {}, ["100::/64", "172.16.0.0/16", "192.0.2.1/32", "2001:db8::1/128"]),
        ({"lb1": {}}, {"katran_healthcheck_sources": ["192.0.2.7"]}, {}, [*IPIP, "192.0.2.7/32"]),
        ({"lb1": {}}, GUE, {"katran_real_sources": ["0.0.0.0/0", "::/0"]}, ["0.0.0.0/0", "::/0"]),
        ({}, {}, {}, IPIP),
    ],
)
def test_by_the_inventory(
    balancers: dict[str, Any], variables: dict[str, Any], real: dict[str, Any], expected: list[str], tmp_path: Path
) -> None:
    assert found(tmp_path, balancers, variables, real) == (expected, [])


def test_balancers_that_alone_know_it_are_asked(tmp_path: Path) -> None:
    """By facts, before anything is installed there; one that does not answer is told."""
    with sandbox("eth0"):
        run("ip", "link", "set", "lo", "up")
        for address in ("192.0.2.5/24", "2001:db8::5/64", "fe80::5/64"):
            run("ip", "addr", "add", address, "dev", "eth0", "nodad")
        run("ip", "addr", "add", "192.0.2.6/32", "dev", "eth0")
        balancers = {"lb1": HERE, "lb2": AWAY, "lb3": LB1, "lb4": {**HERE, "katran_source_ipv4": "192.0.2.4"}}
        sources, unknown = found(tmp_path, balancers, GUE, {}, "lb1", "lb2", "lb4")
        assert found(tmp_path, balancers, GUE, {})[1] == ["lb1", "lb2", "lb4"]
    known = {"192.0.2.1/32", "192.0.2.4/32", "192.0.2.5/32", "192.0.2.6/32", "2001:db8::1/128", "2001:db8::5/128"}
    assert (set(sources), unknown) == (known, ["lb2"])
