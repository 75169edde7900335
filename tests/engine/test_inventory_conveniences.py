# SPDX-License-Identifier: GPL-3.0-or-later
"""Sites, weights from files, Kubernetes, dual stack and NetBox in an inventory, as Ansible and preflight read it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

from ansible_collections.katran.fleet.tests.engine.playbooks import ROOT, run_playbook

PLAY = """
- hosts: all
  gather_facts: false
  tasks:
    - katran.fleet.preflight:
      register: answer
      run_once: true
    - ansible.builtin.copy:
        content: "{{ answer | to_json }}"
        dest: "{{ playbook_dir }}/answer.json"
      delegate_to: localhost
      run_once: true
"""


def preflight(folder: Path, *inventories: str) -> tuple[dict[str, Any], str]:
    """What preflight answers, and what is printed."""
    (folder / "play.yml").write_text(PLAY)
    options = [word for each in inventories for word in ("-i", str(folder / each))]
    done = run_playbook(*options, folder / "play.yml")
    assert done.returncode == 0, done.stdout
    return json.loads((folder / "answer.json").read_text()), " ".join((done.stdout + done.stderr).split())


def reals_of(answer: dict[str, Any], balancer: str) -> dict[str, Any]:
    """VIP → its reals, as a balancer is told."""
    vips = answer["resources"][answer["balancers"][balancer]["resources"]]["vips"]
    return {f"{vip['address']} {vip['port']}": vip["reals"] for vip in vips}


HOSTS = """
all:
  children:
    balancers:
      hosts:
        lb1: {katran_zone: ams}
        lb2: {katran_zone: ams, katran_interfaces: [eth1]}
        lb3: {katran_zone: fra}
    reals:
      vars:
        katran_real_interfaces: [eth0]
        katran_weights_file: weights.csv
      hosts:
        a1: {katran_zone: ams, katran_real_address: [10.0.0.1, "fc00::1"]}
        a2: {katran_zone: ams, katran_real_address: [10.0.0.2, "fc00::2"], katran_real_state: down}
        f1: {katran_zone: fra, katran_real_address: [10.0.1.1, "fc00::11"], katran_real_weight: 5}
"""
BALANCERS = """
katran_interfaces: [eth0]
katran_vips__web:
  - addresses: [198.51.100.1, "2001:db8::1"]
    port: 443
    protocol: tcp
    reals: "{{ groups['reals'] | katran.fleet.reals(zone=katran_zone, spill=50) }}"
    check: {type: https, path: /healthz}
katran_vips__ingress:
  - address: 198.51.100.2
    port: 80
    protocol: tcp
    reals: "{{ query('katran.fleet.kubernetes_reals', inventory_dir ~ '/nodes.json', family='ipv4', max_age=0) }}"
"""


def test_conveniences(tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_text(HOSTS)
    (tmp_path / "group_vars").mkdir()
    (tmp_path / "group_vars" / "balancers.yml").write_text(BALANCERS)
    (tmp_path / "weights.csv").write_text("name,weight\na1,3\na2,7\n")
    node = {
        "kind": "Node",
        "metadata": {"name": "n1"},
        "spec": {"unschedulable": False},
        "status": {
            "conditions": [{"type": "Ready", "status": "True"}],
            "addresses": [{"type": "InternalIP", "address": "10.0.2.1"}],
        },
    }
    (tmp_path / "nodes.json").write_text(json.dumps({"kind": "NodeList", "items": [node]}))
    answer, printed = preflight(tmp_path, "hosts.yml")
    # 3 of 10 are active in ams, so fra helps; fra has all of its own.
    near = [{"weight": 3}, {"weight": 7, "state": "down"}, {"weight": 5}]
    assert reals_of(answer, "lb1") == {
        "198.51.100.1 443": [{"address": f"10.0.{each}", **near[i]} for i, each in enumerate(("0.1", "0.2", "1.1"))],
        "2001:db8::1 443": [{"address": f"fc00::{each}", **near[i]} for i, each in enumerate(("1", "2", "11"))],
        "198.51.100.2 80": [{"address": "10.0.2.1"}],
    }
    assert reals_of(answer, "lb2") == reals_of(answer, "lb1")
    assert [each["weight"] for each in reals_of(answer, "lb3")["198.51.100.1 443"]] == [0, 0, 5]
    assert answer["reals"]["a1"]["vips"] == ["198.51.100.1", "2001:db8::1"]
    assert answer["balancers"]["lb1"]["families"] == ["ipv4", "ipv6"]
    assert "f1: katran_weights_file weights.csv does not name this real: katran_real_weight, 5, counts" in printed
    # Another site's rings are another site's: no router sends to both.
    assert "breaks" not in printed


def netbox(name: str, role: str, site: str, status: str = "active", **more: Any) -> dict[str, Any]:
    """A host's variables as nb_inventory gives them."""
    fields = {"katran_weight": None, "katran_server_id": None, **more.pop("custom_fields", {})}
    known = {"sites": [site], "device_roles": [role], "custom_fields": fields, "tags": [], "is_virtual": False}
    return {**known, "status": {"value": status, "label": status.title()}, "ansible_host": name, **more}


def test_netbox(tmp_path: Path) -> None:
    """The blocks of docs/netbox.md, over hosts as its plugin gives them."""
    blocks = re.findall(r"```yaml\n# inventory/(\S+)\n(.*?)```", (ROOT / "docs" / "netbox.md").read_text(), re.DOTALL)
    (_plugin, plugin), (_variables, variables) = blocks
    known = yaml.safe_load(plugin)
    constructed = {"plugin": "ansible.builtin.constructed", "strict": True}
    constructed |= {name: known[name] for name in ("compose", "groups")}
    (tmp_path / "2.constructed.yml").write_text(yaml.safe_dump(constructed))
    (tmp_path / "group_vars").mkdir()
    (tmp_path / "group_vars" / "balancers.yml").write_text(variables)
    (tmp_path / "group_vars" / "reals.yml").write_text("katran_real_interfaces: [eth0]\n")
    hosts = {
        "lb1": netbox("lb1", "katran-balancer", "ams", primary_ip4="192.0.2.1"),
        "web1": netbox(
            *("web1", "katran-real", "ams"), primary_ip4="10.0.0.1", primary_ip6="fc00::1",
            custom_fields={"katran_weight": 4, "katran_server_id": 11},
        ),
        "web2": netbox("web2", "katran-real", "ams", "decommissioning", primary_ip4="10.0.0.2", primary_ip6="fc00::2"),
        "web3": netbox("web3", "katran-real", "fra", primary_ip4="10.0.0.3"),
        "web4": netbox("web4", "katran-real", "ams", "failed", primary_ip4="10.0.0.4", primary_ip6=None),
    }  # fmt: skip
    (tmp_path / "1.yml").write_text(yaml.safe_dump({"all": {"hosts": hosts}}))
    answer, _printed = preflight(tmp_path, "1.yml", "2.constructed.yml")
    assert reals_of(answer, "lb1") == {
        "198.51.100.1 443": [
            {"address": "10.0.0.1", "weight": 4, "state": "active"},
            {"address": "10.0.0.2", "state": "draining"},
            {"address": "10.0.0.3", "weight": 0, "state": "active"},
            {"address": "10.0.0.4", "state": "down"},
        ],
        "2001:db8::1 443": [
            {"address": "fc00::1", "weight": 4, "state": "active"},
            {"address": "fc00::2", "state": "draining"},
        ],
    }
    assert answer["resources"]["0"]["server_ids"] == [{"id": 11, "real": "10.0.0.1"}]
