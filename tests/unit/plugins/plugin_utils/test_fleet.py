# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What hosts are told, and every fault of every host at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from ansible_collections.katran.fleet.plugins.module_utils._model.layout import VIP_FLAGS
from ansible_collections.katran.fleet.plugins.module_utils._model.map_specs import DEFAULT_SIZES
from ansible_collections.katran.fleet.plugins.plugin_utils.fleet import Fleet, message, option_faults, report
from ansible_collections.katran.fleet.plugins.plugin_utils.host_variables import HostVariables

ROOT = Path(__file__).resolve().parents[4]
WEB = [{"address": "10.0.0.1"}, {"address": "10.0.0.2"}]
VIP = {"address": "198.51.100.1", "port": 443, "protocol": "tcp", "reals": WEB}
LB = {"katran_interfaces": ["eth0"], "katran_vips": [VIP]}


class Hosts:
    """What Ansible's variable hostvars is to HostVariables."""

    def __init__(self, hosts: dict[str, dict[str, Any]]) -> None:
        self.hosts = hosts

    def raw_get(self, host: str) -> dict[str, Any]:
        return {"inventory_hostname": host, **self.hosts[host]}


def role(name: str, kind: str) -> dict[str, Any]:
    path = str(ROOT / "roles" / name / kind / "main.yml")
    return dict(DataLoader().load_from_file(path, unsafe=True, trusted_as_template=True))


def fleet(balancers: dict[str, dict[str, Any]], reals: dict[str, dict[str, Any]] | None = None) -> Fleet:
    variables = HostVariables(Templar(DataLoader()), Hosts({**balancers, **(reals or {})}))
    for name, hosts in (("balancer", balancers), ("real", reals or {})):
        for host in hosts:
            variables.use(host, {**role(name, "defaults"), **variables.raw(host), **role(name, "vars")})
    return Fleet(variables, list(balancers))


def faults_of(**variables: Any) -> list[str]:
    one = fleet({"lb1": {**LB, **variables}})
    one.balancer("lb1")
    return one.faults.get("lb1", [])


def test_what_a_balancer_is_told() -> None:
    more = {"katran_vips__dns": [{**VIP, "protocol": "udp", "flags": ["quic"]}], "katran_decap_destinations": []}
    one = fleet({"lb1": {**LB, **more, "katran_allow_empty": True, "katran_extra_features": ["vlan"]}})
    told = one.balancer("lb1")
    assert told == {
        "features": ["vlan"],
        "sizes": DEFAULT_SIZES,
        "resources": "0",
        "untouched": ["source_routes", "server_ids"],
    }
    vips = [VIP, {**VIP, "protocol": "udp", "flags": ["quic"]}]
    assert one.resources == {"0": {"vips": vips, "decap_destinations": []}}
    assert one.faults == {"lb1": []}
    # Who lists the features means these.
    assert fleet({"lb1": {**LB, "katran_features": []}}).balancer("lb1")["untouched"] == []


@pytest.mark.parametrize(
    ("variables", "faults"),
    [
        ({}, []),
        (
            {"katran_interfaces": []},
            ["katran_interfaces is empty: list the interfaces whose packets the host balances"],
        ),
        ({"katran_interfaces": [], "katran_root_array": {"path": "/sys/fs/bpf/x", "position": 1}}, []),
        (
            {"katran_real_weigth": 6},
            ["katran_real_weigth: there is no such variable; did you mean katran_real_weight?"],
        ),
        ({"katran_features": []}, []),
        ({"katran_features": [], "katran_source_routes": []}, ["katran_source_routes: the list is empty and would"]),
        # A feature that is missing because it was not listed.
        (
            {"katran_features": ["vlan"], "katran_vips": [{**VIP, "flags": ["global_lru"]}]},
            ["vips[0].flags: global_lru needs feature global_lru"],
        ),
        ({"katran_sizes": {"ring": 65536}}, ["sizes.ring: 65536 is not a prime"]),
        ({"katran_instance": "a b"}, ["instance: 'a b' must begin with a lower case letter or digit"]),
        (
            {"katran_lock_timeout": "soon"},
            ["argument 'lock_timeout' is of type str and we were unable to convert to int"],
        ),
        ({"katran_purge_flows": "perhaps"}, ["argument 'purge_flows' is of type str and we were unable to convert"]),
        (
            {"katran_extra_features": ["fast"]},
            ["katran_extra_features: fast is none of", "features must be one or more"],
        ),
    ],
)
def test_faults_of_a_balancer(variables: dict[str, Any], faults: list[str]) -> None:
    found = faults_of(**variables)
    assert len(found) == len(faults), found
    for sentence, beginning in zip(found, faults, strict=True):
        assert beginning in sentence


def test_types_and_values_and_resources_are_told_in_one_go() -> None:
    found = faults_of(
        katran_encapsulaton="gue",
        katran_mode="fast",
        katran_gateway_mac="nope",
        katran_vips=[{**VIP, "reals": [{"address": "10.0.0"}]}],
        katran_server_ids__a=[{"id": 0, "real": "10.0.0.1"}],
        katran_source_routes={},
        katran_min_active=2,
    )
    assert [sentence.partition(":")[0] for sentence in found] == [
        "katran_encapsulaton",
        "katran_source_routes must be a list",
        "value of mode must be one of",
        "katran_min_active is 2, but too few reals are active behind 198.51.100.1 443 tcp",
        "gateway_mac",
        "vips[0].reals[0].address",
        "server_ids[0].id",
    ]


def test_a_variable_that_cannot_be_templated_is_one_fault_among_others() -> None:
    undefined = trust_as_template("{{ nowhere }}")
    found = faults_of(katran_vips=[{**VIP, "address": undefined}], katran_gue_port=undefined, katran_numa="x")
    assert len(found) == 3
    # Jinja's default(), which the role's defaults use, would pass over the port.
    assert found[0].startswith("katran_gue_port: 'nowhere' is undefined")
    assert found[1].startswith("katran_vips: 'nowhere' is undefined")
    assert "value of numa must be one of: auto, none, got: x" in found[2]


def test_what_a_real_is_told() -> None:
    balancers = {
        "lb1": {**LB, "katran_gue_port": 7000},
        "lb2": {**LB, "katran_vips": [{**VIP, "address": "2001:db8::1"}]},
    }
    reals = {
        "r1": {"katran_real_interfaces": ["eth0"], "katran_real_address": "10.0.0.1"},
        "r3": {"katran_interfaces": ["eth0"], "katran_real_address": ["10.0.0.3"]},
        "all": {"katran_interfaces": ["eth0"]},
        "own": {"katran_interfaces": ["eth0"], "katran_vips__own": [{**VIP, "address": "198.51.100.9"}]},
    }
    one = fleet(balancers, reals)
    told = {host: one.real(host) for host in reals}
    both = ["198.51.100.1", "2001:db8::1"]
    assert told["r1"] == {"addresses": ["10.0.0.1"], "vips": both, "gue_port": 7000}
    assert told["r3"] == {"addresses": ["10.0.0.3"], "vips": [], "gue_port": 7000}
    assert told["all"]["vips"] == both
    assert told["own"]["vips"] == ["198.51.100.9"]
    assert not any(one.faults.values())
    alone = fleet({}, {"r1": reals["r1"]})
    assert alone.real("r1") == {"addresses": ["10.0.0.1"], "vips": None, "gue_port": 6080}


@pytest.mark.parametrize(
    ("variables", "faults"),
    [
        ({}, []),
        ({"katran_real_interfaces": []}, ["katran_real_interfaces is empty: list the interfaces on which balancers'"]),
        ({"katran_real_interfaces": ["a b"]}, ["katran_real_interfaces: a b cannot be the name of an interface"]),
        (
            {"katran_real_vips": ["10.0.0"], "katran_real_mode": "fast", "katran_real_sources": ["x"]},
            [
                "value of mode must be one of",
                "vips[0]: 10.0.0 is not an IP address; sources[0]: x is not an IP address",
            ],
        ),
        ({"katran_real_mtu": "big"}, ["argument 'mtu' is of type str"]),
        ({"katran_server_id": -1}, ["server_id: -1 is not in 0 to 4294967295"]),
    ],
)
def test_faults_of_a_real(variables: dict[str, Any], faults: list[str]) -> None:
    one = fleet({"lb1": LB}, {"r1": {"katran_real_interfaces": ["eth0"], **variables}})
    one.real("r1")
    found = one.faults["r1"]
    assert len(found) == len(faults), found
    for sentence, beginning in zip(found, faults, strict=True):
        assert beginning in sentence


def test_what_many_hosts_share_is_told_once() -> None:
    hosts = {f"lb{number}": {**LB, "katran_gue_port": 0} for number in range(1, 8)}
    hosts["lb7"] = {**LB, "katran_gue_port": 0, "katran_vip": 1}
    one = fleet(hosts)
    for host in hosts:
        one.balancer(host)
    assert report(one.faults) == [
        {"fault": "gue_port: 0 is not in 1 to 65535", "hosts": list(hosts)},
        {"fault": "katran_vip: there is no such variable; did you mean katran_vips?", "hosts": ["lb7"]},
    ]
    assert message(one.faults).splitlines() == [
        "lb1, lb2, lb3 and 4 more: gue_port: 0 is not in 1 to 65535",
        "lb7: katran_vip: there is no such variable; did you mean katran_vips?",
    ]


def test_balancers_that_are_told_the_same_share_it() -> None:
    one = fleet({"lb1": LB, "lb2": LB, "lb3": {**LB, "katran_vips": [{**VIP, "port": 80}]}})
    assert [one.balancer(host)["resources"] for host in ("lb1", "lb2", "lb3")] == ["0", "0", "1"]


def test_options_that_are_wrong_take_their_defaults() -> None:
    spec: Any = {
        "size": {"type": "int", "default": 3},
        "name": {"type": "str", "choices": ["a"], "default": "a"},
        "deep": {"type": "dict", "default": {}},
    }
    assert option_faults({"size": "4", "name": None}, spec) == ({"size": 4, "name": "a", "deep": {}}, [])
    read, faults = option_faults({"size": "x", "name": "b", "deep": []}, spec)
    assert read == {"size": 3, "name": "a", "deep": {}}
    assert len(faults) == 3


def test_types_and_values_of_entries_are_told_in_one_go() -> None:
    found = faults_of(
        katran_vips=[
            {**VIP, "port": "https", "reals": [{"address": "10.0.0"}]},
            {
                **VIP,
                "weight": 1,
                "flags": ["warp"],
                "reals": [{"weight": "x"}, {"address": "10.0.0"}, {"address": "::"}],
            },
            "10.0.0.1",
            {**VIP, "address": "224.0.0.1"},
        ],
        katran_source_routes=[{"prefix": "10.0.0.1/8", "real": "10.0.0.1"}, {"prefix": {}}],
    )
    assert [fault for sentence in found for fault in sentence.split("; ")] == [
        "vips[0].port: https is not a whole number",
        "vips[1].weight: there is no such option",
        "there are address, port, protocol, flags, hash, reals, down_reals",
        f"vips[1].flags: warp is none of {', '.join(VIP_FLAGS)}",
        "vips[1].reals[0].address: is missing",
        "vips[1].reals[0].weight: x is not a whole number",
        "vips[2]: 10.0.0.1 is not a mapping",
        "vips[3].address: 224.0.0.1 is not a unicast address",
        "vips[1].reals[1].address: 10.0.0 is not an IP address",
        "vips[1].reals[2].address: :: is the unspecified address",
        "source_routes[1].prefix: {} is not a text",
        "source_routes[0].prefix: 10.0.0.1/8 has host bits set",
        "the network is 10.0.0.0/8",
    ]
