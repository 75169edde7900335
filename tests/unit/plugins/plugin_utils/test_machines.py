# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two balancers of an inventory on one host: what they share, and what each has to have of its own."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from ansible_collections.katran.fleet.plugins.plugin_utils.fleet import Fleet
from ansible_collections.katran.fleet.plugins.plugin_utils.host_variables import HostVariables

REALS = [{"address": "10.0.0.1"}]
BGP = {"as": 65001, "neighbors": [{"address": "192.0.2.1", "as": 65000}]}
KEY = bytes(range(32)).hex()
EAST: dict[str, Any] = {"ansible_host": "192.0.2.10", "katran_instance": "east", "katran_interfaces": ["eth1"]}
WEST: dict[str, Any] = {"ansible_host": "192.0.2.10", "katran_instance": "west", "katran_interfaces": ["eth2"]}


def vip(address: str) -> dict[str, Any]:
    return {"katran_vips": [{"address": address, "port": 80, "protocol": "tcp", "reals": REALS}]}


class Hosts:
    """What Ansible's variable hostvars is to HostVariables."""

    def __init__(self, hosts: dict[str, dict[str, Any]]) -> None:
        self.hosts = hosts

    def raw_get(self, host: str) -> dict[str, Any]:
        return {"inventory_hostname": host, **self.hosts[host]}


def told(**hosts: dict[str, Any]) -> tuple[dict[str, dict[str, Any]], dict[str, list[str]]]:
    """What each is told, and the faults that two on one host make."""
    roles = {
        name: {
            **values,
            **{
                f"balancer_{key.removeprefix('katran_')}": value
                for key, value in values.items()
                if key != "katran_vips"
            },
        }
        for name, values in hosts.items()
    }
    one = Fleet(HostVariables(Templar(DataLoader()), Hosts(roles)), list(hosts))
    found = {name: one.balancer(name) for name in hosts}
    return found, {host: [each for each in lines if "same host" in each] for host, lines in one.faults.items()}


def test_one_bird_announces_what_is_of_all() -> None:
    found, faults = told(
        east={**EAST, **vip("198.51.100.1"), "katran_bgp": BGP},
        west={**WEST, **vip("198.51.100.2"), "katran_bgp": BGP},
        far={**EAST, **vip("198.51.100.3"), "katran_bgp": BGP, "ansible_host": "192.0.2.11"},
    )
    both = ["198.51.100.1/32", "198.51.100.2/32"]
    assert {host: [each["place"] for each in one["places"]] for host, one in found.items()} == {
        "east": both,
        "west": both,
        "far": ["198.51.100.3/32"],
    }
    assert faults == {"east": [], "west": [], "far": []}


def test_who_announces_nothing_adds_nothing() -> None:
    found, _faults = told(east={**EAST, **vip("198.51.100.1"), "katran_bgp": BGP}, west={**WEST, **vip("198.51.100.2")})
    assert [each["place"] for each in found["east"]["places"]] == ["198.51.100.1/32"]
    assert found["west"]["announces"] is False


def test_nobody_says_where_the_vips_of_one_are() -> None:
    found, _faults = told(east={**EAST, **vip("198.51.100.1"), "katran_bgp": BGP}, west={**WEST, "katran_bgp": BGP})
    assert found["east"]["places"] is None


def test_the_agent_stays_for_whoever_has_it() -> None:
    found, _faults = told(east={**EAST, "katran_agent": False}, west=WEST)
    assert (found["east"]["beside"], found["west"]["beside"]) == (
        {"agent": True, "sync": False},
        {"agent": False, "sync": False},
    )


def test_a_balancer_tells_no_other_of_its_own_host_of_flows() -> None:
    sync = {"katran_sync": True, "katran_sync_key": KEY}
    others = {"ansible_host": "192.0.2.11", "katran_sync_port": 9464}
    found, faults = told(
        east={**EAST, **sync, "katran_sync_port": 9464},
        west={**WEST, **sync, "katran_sync_port": 9465},
        east2={**EAST, **sync, **others},
        west2={**WEST, **sync, **others, "katran_sync_port": 9465},
    )
    assert found["east"]["peers"] == found["west"]["peers"] == ["192.0.2.11"]
    assert found["east2"]["peers"] == ["192.0.2.10"]
    assert not any(faults.values())


def test_the_address_of_another_may_be_made_of_variables() -> None:
    sync = {"katran_sync": True, "katran_sync_key": KEY}
    other = {**EAST, "ansible_host": trust_as_template("192.0.{{ '2' }}.11")}
    found, faults = told(east={**EAST, **sync}, east2={**other, **sync})
    assert found["east"]["peers"] == ["192.0.2.11"]
    assert not any(faults.values())


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        ({"katran_instance": "east"}, "katran_instance east is that of east, which is on the same host"),
        ({"katran_interfaces": ["eth2", "eth1"]}, "katran_interfaces: eth1 is in those of east"),
        ({"katran_bgp": {**BGP, "as": 65002}}, "katran_bgp is another than that of east"),
        ({"katran_announce_table": 200}, "katran_announce_table 200 is another than that of east"),
        ({"katran_sync_port": 9464}, "katran_sync_port 9464 is that of east"),
        ({"katran_sync_port": 9464, "katran_sync_address": "192.0.2.9"}, ""),
        ({"ansible_port": 2222, "katran_instance": "east"}, ""),
        ({"ansible_host": "192.0.2.11", "katran_instance": "east"}, ""),
        ({"ansible_host": trust_as_template("{{ 'east' and '192.0.2.10' }}")}, ""),
        ({}, ""),
    ],
)
def test_what_each_has_to_have_of_its_own(more: dict[str, Any], fault: str) -> None:
    common = {"katran_bgp": BGP, "katran_sync": True, "katran_sync_key": KEY}
    _found, faults = told(
        east={**EAST, **common, "katran_sync_port": 9464, "katran_sync_address": "192.0.2.10"},
        west={**WEST, **common, "katran_sync_port": 9465, "katran_sync_address": "192.0.2.10", **more},
    )
    if fault:
        (line,) = faults["west"]
        assert line.startswith(fault)
        # It is of both.
        assert len(faults["east"]) == 1
    else:
        assert faults == {"east": [], "west": []}


def test_slots_of_one_root_program() -> None:
    array = {"path": "/sys/fs/bpf/katran/east/maps/root_array", "position": 0}
    own: dict[str, Any] = {"katran_interfaces": [], "katran_root_array": array}
    _found, faults = told(east={**EAST, **own}, west={**WEST, **own})
    assert faults["west"][0].startswith(f"katran_root_array: slot 0 of {array['path']} is that of east")
    other = {**own, "katran_root_array": {**array, "position": 1}}
    found, faults = told(east={**EAST, **own}, west={**WEST, **other})
    assert faults == {"east": [], "west": []}
    # The first one passes on what is not for it.
    assert {host: each["features"] for host, each in found.items()} == {"east": ["chain"], "west": []}
