# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import yaml

from ansible_collections.katran.fleet.plugins.plugin_utils.katran_inventory import inventory_of


def told(*notes: str, **variables: Any) -> dict[str, Any]:
    return {"variables": variables, "notes": list(notes), "stale": []}


def vip(address: str, *weights: int) -> dict[str, Any]:
    reals = [{"address": f"10.0.0.{number}", "weight": weight} for number, weight in enumerate(weights, 1)]
    return {"address": address, "port": 443, "protocol": "tcp", "reals": reals}


def test_what_is_the_same_goes_to_the_group_and_the_rest_to_hosts() -> None:
    one, other = vip("198.51.100.1", 1, 2), vip("198.51.100.2", 3)
    written = inventory_of(
        {
            "lb2": told("a note", katran_mode="native", katran_vips=[one, other]),
            "lb1": told("a note", "its own", katran_mode="native", katran_vips=[one]),
        },
        "balancers",
    )
    files = {name: yaml.safe_load(text) for name, text in written.files.items() if name.endswith(".yml")}
    assert files == {
        "hosts.yml": {"all": {"children": {"balancers": {"hosts": {"lb1": None, "lb2": None}}}}},
        "group_vars/balancers.yml": {"katran_mode": "native"},
        "host_vars/lb1.yml": {"katran_vips": [one]},
        "host_vars/lb2.yml": {"katran_vips": [one, other]},
    }
    assert written.notes == [
        "a note",
        "lb1: its own",
        "katran_vips differs between hosts, and is in host_vars: on lb2 198.51.100.2:443/tcp",
    ]
    assert written.vips == {"lb1": [one], "lb2": [one, other]}


def test_a_file_reads_well() -> None:
    variables = {"katran_interfaces": ["eth0"], "katran_sizes": {"vips": 512}, "katran_vips": [vip("198.51.100.1", 1)]}
    written = inventory_of({"lb1": told(**variables)}, "lbs")
    assert written.files["group_vars/lbs.yml"] == (
        "# Written by katran.fleet.import_katran of what runs on lb1.\n---\n"
        "katran_interfaces: [eth0]\n"
        "katran_sizes: {vips: 512}\n"
        "katran_vips:\n"
        "- address: 198.51.100.1\n  port: 443\n  protocol: tcp\n  reals:\n  - {address: 10.0.0.1, weight: 1}\n"
    )
