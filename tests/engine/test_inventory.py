# SPDX-License-Identifier: GPL-3.0-or-later
"""What the real's role makes of an inventory, as Ansible itself reads it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.katran.fleet.tests.engine.playbooks import ROOT, Done, run_playbook

# As in the design: the VIPs are the balancers' variables, and the reals have none of them.
INVENTORY = """
all:
  children:
    balancers:
      hosts: {lb1: , lb2: }
      vars:
        katran_gue_port: 7000
        katran_vips:
          - {address: 198.51.100.1, port: 443, protocol: tcp, reals: "{{ groups['web'] | katran.fleet.reals }}"}
          - {address: 203.0.113.0/24, port: 443, protocol: tcp, reals: "{{ groups['web'] | katran.fleet.reals }}"}
        katran_vips__dns:
          - {address: 198.51.100.2, port: 53, protocol: udp, reals: "{{ ['r2'] | katran.fleet.reals }}"}
        katran_server_ids: "{{ groups['web'] | katran.fleet.server_ids }}"
    reals:
      children:
        web:
          hosts:
            r1: {katran_real_address: 10.0.0.1}
            r2: {katran_real_address: [10.0.0.2]}
        own:
          hosts:
            r3:
              katran_real_address: 10.0.0.3
              katran_gue_port: 8000
              katran_vips__mine:
                - {address: 198.51.100.3, port: 80, protocol: tcp, reals: [{address: 10.0.0.3}]}
            r4: {katran_real_vips: [198.51.100.9]}
"""
PLAY = """
- hosts: HOSTS
  gather_facts: false
  vars: {katran_real_interfaces: [eth0]}
  tasks:
    - ansible.builtin.include_role: {name: katran.fleet.real, tasks_from: preflight}
    - ansible.builtin.include_vars: {file: "ROOT/roles/real/defaults/main.yml"}
    - ansible.builtin.include_vars: {file: "ROOT/roles/real/vars/main.yml"}
    - ansible.builtin.debug: {msg: "{{ [real_vips, real_gue_port | int] | to_json }}"}
"""


def play(*arguments: str) -> Done:
    return run_playbook("-c", "local", *arguments)


Defaults = dict[str, tuple[list[str] | None, int]]


def real_defaults(folder: Path, inventory: Path, *arguments: str) -> tuple[Defaults, str]:
    """Host → (VIPs, GUE port) that role real would take, and what Ansible printed."""
    (folder / "play.yml").write_text(PLAY.replace("ROOT", str(ROOT)).replace("HOSTS", "reals"))
    done = play("-i", str(inventory), *arguments, str(folder / "play.yml"))
    found: Defaults = {}
    host = ""
    for line in done.stdout.splitlines():
        if line.startswith("ok: ["):
            host = line.split("[")[1].split("]")[0]
        elif line.strip().startswith("msg: '["):
            vips, port = json.loads(line.strip().removeprefix("msg: '").removesuffix("'"))
            found[host] = (vips, port)
    return found, done.stdout + done.stderr


def test_vips_of_the_balancers_reach_the_reals_that_they_list(tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_text(INVENTORY)
    found, printed = real_defaults(tmp_path, tmp_path / "hosts.yml")
    assert found == {
        "r1": (["198.51.100.1"], 7000),
        "r2": (["198.51.100.1", "198.51.100.2"], 7000),
        "r3": (["198.51.100.3"], 8000),
        "r4": (["198.51.100.9"], 7000),
    }, printed


def test_a_real_keeps_its_vips_where_nobody_says_which(tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_text(INVENTORY)
    found, printed = real_defaults(tmp_path, tmp_path / "hosts.yml", "-e", "katran_balancers_group=nobody")
    own = {"r3": (["198.51.100.3"], 8000), "r4": (["198.51.100.9"], 6080)}
    assert found == {"r1": (None, 6080), "r2": (None, 6080), **own}, printed
    # A pattern is as good as a name.
    (tmp_path / "hosts.yml").write_text(INVENTORY)
    found, printed = real_defaults(tmp_path, tmp_path / "hosts.yml", "-e", "katran_balancers_group=balancers:!lb1")
    assert found["r1"] == (["198.51.100.1"], 7000), printed
    # Balancers that balance nothing said so.
    (tmp_path / "hosts.yml").write_text("all: {vars: {katran_vips__none: []}, children: {reals: {hosts: {r1: }}}}")
    found, printed = real_defaults(tmp_path, tmp_path / "hosts.yml")
    assert found == {"r1": ([], 6080)}, printed


def test_the_example(tmp_path: Path) -> None:
    found, printed = real_defaults(tmp_path, ROOT / "inventories/example")
    web = (["198.51.100.1", "2001:db8::1"], 6080)
    assert found == {
        **dict.fromkeys((f"web{number}.example.net" for number in (1, 2, 3)), web),
        **dict.fromkeys(("dns1.example.net", "dns2.example.net"), (["198.51.100.53"], 6080)),
    }, printed


# Preflight

VIP = {"address": "198.51.100.1", "port": 80, "protocol": "tcp"}
WEB = {"address": "10.0.0.1"}
OMITTED = "{{ nope | default(omit) }}"


@pytest.mark.parametrize(
    ("role", "variables", "sentence"),
    [
        (
            "balancer",
            {},
            "katran_interfaces is empty: list the interfaces whose packets localhost balances",
        ),
        (
            "balancer",
            {"katran_interfaces": ["eth0"], "katran_vips": [{**VIP, "reals": []}]},
            "katran_min_active is 1, but too few reals are active behind 198.51.100.1 80 tcp",
        ),
        (
            "balancer",
            {
                "katran_interfaces": ["eth0"],
                "katran_min_active": 2,
                "katran_vips__a": [{**VIP, "reals": [WEB, {"address": "10.0.0.2", "state": "draining"}]}],
                "katran_vips__b": [{**VIP, "port": 81, "reals": [WEB, {"address": "10.0.0.2"}]}],
            },
            "katran_min_active is 2, but too few reals are active behind 198.51.100.1 80 tcp",
        ),
        (
            "balancer",
            {
                "katran_interfaces": ["eth0"],
                "katran_vips": [{**VIP, "reals": [WEB]}, {**VIP, "reals": [WEB, {"address": "10.0.0"}]}],
                "katran_source_routes": [{"prefix": "192.0.2.0/24", "real": "nowhere"}],
            },
            "vips[1]: 198.51.100.1:80/tcp is listed twice (also vips[0]); source_routes[0].real: nowhere is not an IP",
        ),
        (
            "balancer",
            {
                "katran_interfaces": ["eth0"],
                "katran_vips": [],
                "katran_server_ids__a": [],
                "katran_source_routes": None,
            },
            "katran_vips, katran_source_routes, katran_server_ids: the list is empty and would remove every entry; set",
        ),
        ("balancer", {"katran_interfaces": ["eth0"], "katran_vips": [], "katran_allow_empty": True}, None),
        (
            "balancer",
            {
                "katran_interfaces": ["eth0"],
                "katran_check_defaults": {"interval": 2, "fall": "{{ 1 + 1 }}"},
                "katran_vips": [{**VIP, "reals": [WEB], "check": {"type": "http", "host": OMITTED, "status": 200}}],
            },
            None,
        ),
        (
            "balancer",
            {
                "katran_interfaces": ["eth0"],
                "katran_check_defaults": {"intervall": 2},
                "katran_vips": [
                    {**VIP, "reals": [WEB], "check": {"type": "http", "path": "healthz", "interval": "{{ 1 / 20 }}"}}
                ],
            },
            (
                "check_defaults.intervall: there is no such option; did you mean interval?;"
                ' vips[0].check.path: "healthz" does not begin with /; vips[0].check.interval: 0.05 is not a number of'
            ),
        ),
        (
            "balancer",
            {"katran_interfaces": ["eth0"], "katran_vips": {**VIP, "reals": [WEB]}, "katran_source_routes__a": "x"},
            "katran_vips, katran_source_routes__a must be a list",
        ),
        (
            "balancer",
            {"katran_interfaces": ["eth0"], "katran_encapsulation": "vxlan", "katran_sizes": "big"},
            "value of encapsulation must be one of: ipip, gue, got: vxlan",
        ),
        (
            "balancer",
            {"katran_interfaces": ["eth0"], "katran_gateway_mac": "nope", "katran_gue_port": "70000"},
            "gateway_mac: nope is neither auto nor a unicast MAC address; gue_port: 70000 is not in 1 to 65535",
        ),
        (
            "balancer",
            {"katran_interfaces": ["eth0"], "katran_vips": [{**VIP, "reals": [{**WEB, "weight": OMITTED}, OMITTED]}]},
            None,
        ),
        (
            "balancer",
            {
                "katran_interfaces": ["eth0"],
                "katran_vips": [{**VIP, "flags": OMITTED, "reals": [WEB]}],
                **dict.fromkeys(
                    (
                        *("katran_gateway_mac", "katran_min_active", "katran_purge_flows", "katran_udp_timeout"),
                        *("katran_sizes", "katran_features", "katran_source_routes", "katran_instance"),
                    ),
                    OMITTED,
                ),
            },
            None,
        ),
        (
            "balancer",
            {"katran_interfaces": ["eth0"], "katran_min_active": OMITTED, "katran_vips": [{**VIP, "reals": []}]},
            "katran_min_active is 1, but too few reals are active behind 198.51.100.1 80 tcp",
        ),
        (
            "balancer",
            {"katran_interfaces": ["eth0"], "katran_source_ipv4": "{{ ansible_default_ipv4.address }}"},
            "katran_source_ipv4: 'ansible_default_ipv4' is undefined: facts were not gathered, and the plays",
        ),
        (
            "balancer",
            {"katran_interfaces": ["eth0"], "katran_gateway_mac": 41135085296},
            "gateway_mac: 41135085296 is a number: YAML reads 52:54:00:12:34:56 without quotes as one of base 60",
        ),
        (
            "balancer",
            {"katran_interfaces": ["eth0"], "katran_vips": [{**VIP, "reals": [{"address": "10.0.0.1\r"}]}]},
            r"vips[0].reals[0].address: '10.0.0.1\r' has a carriage return in it (line ends of DOS)",
        ),
        (
            "balancer",
            {"katran_interfaces": ["eth0"], "katran_vips": [{**VIP, "address": "10.0.0.0/8", "reals": [WEB]}]},
            "vips[0].address: 10.0.0.0/8:80/tcp covers the real 10.0.0.1: ",
        ),
        (
            "balancer",
            {
                "katran_interfaces": ["eth0"],
                "katran_allow_own_addresses": True,
                "katran_vips": [{**VIP, "address": "10.0.0.0/8", "reals": [WEB]}],
            },
            None,
        ),
        ("balancer", {"katran_interfaces": ["eth0"], "katran_instance": "a b"}, "instance: 'a b' must begin with"),
        ("real", {"katran_interfaces": ["eth0"], "katran_real_vips": ["127.0.0.1"]}, "127.0.0.1 is a loopback address"),
        ("real", {"katran_interfaces": ["eth0"], "katran_real_vips": OMITTED, "katran_gue_port": OMITTED}, None),
        ("balancer", {"katran_interfaces": ["eth0"], "katran_min_active": "abc"}, "abc is not a whole number"),
        ("balancer", {"katran_interfaces": ["eth0"], "katran_vips": [{**VIP, "reals": [WEB]}]}, None),
        ("balancer", {"katran_root_array": {"path": "/sys/fs/bpf/x", "position": 1}}, None),
        (
            "real",
            {},
            "katran_real_interfaces is empty: list the interfaces on which balancers' packets reach localhost",
        ),
        (
            "real",
            {"katran_interfaces": ["eth0", "eth1; reboot"]},
            "katran_real_interfaces: eth1; reboot cannot be the name of an interface",
        ),
        ("real", {"katran_interfaces": ["eth0.7"]}, None),
        (
            "real",
            {"katran_interfaces": ["eth0"], "katran_gue_port": 0, "katran_real_vips": ["10.0.0"]},
            "vips[0]: 10.0.0 is not an IP address; gue_port: 0 is not in 1 to 65535",
        ),
    ],
)
def test_preflight(role: str, variables: dict[str, Any], sentence: str | None, tmp_path: Path) -> None:
    book = tmp_path / "preflight.yml"
    task = {"ansible.builtin.include_role": {"name": f"katran.fleet.{role}", "tasks_from": "preflight"}}
    book.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "vars": variables, "tasks": [task]}]))
    done = play(str(book))
    assert (done.returncode == 0) == (sentence is None), done.stdout
    assert sentence is None or sentence in " ".join(done.stdout.split())


# The whole fleet


GOOD = """
all:
  children:
    balancers:
      hosts: {lb1: , lb2: }
      vars:
        katran_interfaces: [eth0]
        katran_vips:
          - {address: 198.51.100.1, port: 443, protocol: tcp, reals: "{{ groups['web'] | katran.fleet.reals }}"}
    reals:
      vars: {katran_real_interfaces: [eth0]}
      children:
        web:
          hosts: {r1: {katran_real_address: 10.0.0.1}, r2: {katran_real_address: 10.0.0.2}}
    others:
      hosts: {db1: {katran_nonsense: 1}}
"""


def preflight(folder: Path, inventory: str, *arguments: str) -> tuple[int, str]:
    """Exit status and all that the documented offline check prints, in one line."""
    (folder / "hosts.yml").write_text(inventory)
    done = play("-i", str(folder / "hosts.yml"), "katran.fleet.preflight", *arguments)
    return done.returncode, " ".join((done.stdout + done.stderr).split())


def test_a_fleet_without_fault(tmp_path: Path) -> None:
    status, printed = preflight(tmp_path, GOOD)
    assert status == 0, printed
    assert "2 balancers and 2 reals: nothing is wrong with their variables" in printed
    # One host runs both tasks for all.
    assert printed.count("ok=2") == 1
    # It needs no collection but ours, no host and no root; a review of one host looks at all.
    status, printed = preflight(tmp_path, GOOD, "--limit", "r2", "--check", "--diff")
    assert (status, "2 balancers and 2 reals" in printed) == (0, True), printed


@pytest.mark.parametrize(
    ("was", "becomes", "sentences"),
    [
        (
            "katran_interfaces: [eth0]",
            "katran_interfaces: [eth0]\n        katran_encapsulaton: gue",
            ["lb1, lb2: katran_encapsulaton: there is no such variable; did you mean katran_encapsulation?"],
        ),
        (
            "{katran_real_address: 10.0.0.1}",
            "{katran_real_address: 10.0.0.1, katran_real_weigth: 6}",
            ["r1: katran_real_weigth: there is no such variable; did you mean katran_real_weight?"],
        ),
        (
            "        katran_vips:",
            "        katran_vip:",
            ["lb1, lb2: katran_vip: there is no such variable; did you mean katran_vips?"],
        ),
        (
            "    balancers:",
            "    balancer:",
            ["no host is in balancers (katran_balancers_group); did you mean the group balancer?"],
        ),
        (
            "    reals:",
            "    real:",
            ["no host is in reals (katran_reals_group); did you mean the group real?"],
        ),
        (
            "groups['web']",
            "groups['wbe']",
            ["lb1, lb2: katran_vips:", "wbe"],
        ),
        # Types, values and what is missing, of several hosts, in one report.
        (
            "hosts: {lb1: , lb2: }",
            (
                "hosts: {lb1: {katran_mode: fast, katran_gue_port: 0}, lb2: {katran_sizes: {ring: 10}},"
                " lb3: {katran_vips__x: 1}}"
            ),
            [
                "lb1: value of mode must be one of: native, generic, auto, got: fast; gue_port: 0 is not in 1 to 65535",
                "lb2: sizes.ring: 10 is not a prime",
                "lb3: katran_vips__x must be a list",
            ],
        ),
        (
            "{katran_real_address: 10.0.0.2}",
            "{}",
            ["lb1, lb2: katran_vips: katran.fleet.reals: host r2 has no katran_real_address"],
        ),
    ],
)
def test_every_fault_of_the_fleet_in_one_report(was: str, becomes: str, sentences: list[str], tmp_path: Path) -> None:
    assert was in GOOD
    status, printed = preflight(tmp_path, GOOD.replace(was, becomes))
    assert status != 0
    for sentence in sentences:
        assert sentence in printed


def test_what_is_wrong_elsewhere_is_a_warning(tmp_path: Path) -> None:
    faulty = GOOD.replace("hosts: {lb1: ,", "hosts: {lb1: {katran_gue_port: 0},")
    status, printed = preflight(tmp_path, faulty, "--limit", "lb2,r1")
    assert status == 0, printed
    assert "left out of this run, lb1: gue_port: 0 is not in 1 to 65535" in printed
    status, printed = preflight(tmp_path, faulty, "--limit", "lb1")
    assert status != 0
    # A slip in the inventory itself concerns every host.
    status, printed = preflight(tmp_path, GOOD.replace("    reals:", "    real:"), "--limit", "lb2")
    assert (status != 0, "did you mean the group real?" in printed) == (True, True), printed


def test_a_deploy_reaches_no_host_of_an_inventory_that_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_text(GOOD.replace("{katran_real_address: 10.0.0.2}", "{katran_real_weight: 1}"))
    done = play("-i", str(tmp_path / "hosts.yml"), "katran.fleet.deploy")
    assert done.returncode != 0
    assert "host r2 has no katran_real_address" in done.stdout
    assert done.stdout.count("TASK [") == 1
