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
from ansible_collections.katran.fleet.plugins.plugin_utils.fleet import Fleet, message, report
from ansible_collections.katran.fleet.plugins.plugin_utils.host_variables import HostVariables
from ansible_collections.katran.fleet.plugins.plugin_utils.role_options import option_faults

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
    return Fleet(variables, list(balancers), reals=list(reals or {}))


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
        "sources": [],
        "ask": [],
        "families": ["ipv4"],
        "mss": 0,
        "announces": False,
        "places": [{"place": "198.51.100.1/32", "communities": []}],
        "checked": False,
        "peers": [],
        "beside": {"agent": False, "sync": False},
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
        # What YAML makes of yes and of .inf, and digits that Python does not read.
        (
            {"katran_extra_features": True},
            ["katran_extra_features: True is none of", "features must be one or more"],
        ),
        ({"katran_vips": [{**VIP, "flags": True}]}, ["vips[0].flags: True is not a list"]),
        ({"katran_lock_timeout": float("inf")}, ["lock_timeout: inf is not a whole number"]),
        ({"katran_sizes": {"flows": float("inf")}}, ["sizes.flows: inf is not a whole number"]),
        ({"katran_sizes": {"flows": "9" * 5000}}, ["sizes.flows: a number of 5000 digits is none"]),
        ({"katran_max_frame": "9" * 5000}, ["max_frame: a number of 5000 digits is none"]),
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
    reals: dict[str, dict[str, Any]] = {
        "r1": {"katran_real_interfaces": ["eth0"], "katran_real_address": "10.0.0.1"},
        "r3": {"katran_interfaces": ["eth0"], "katran_real_address": ["10.0.0.3"]},
        "all": {"katran_interfaces": ["eth0"]},
        "own": {"katran_interfaces": ["eth0"], "katran_vips__own": [{**VIP, "address": "198.51.100.9"}]},
    }
    one = fleet(balancers, reals)
    told = {host: one.real(host) for host in reals}
    both = ["198.51.100.1", "2001:db8::1"]
    more = {"gue_port": 7000, "sources": ["100::/64", "172.16.0.0/16"], "ask": [], "attach": True, "probes_from": []}
    tunnel = {"encapsulation": "ipip", "max_frame": 1514, "ipv6": False}
    assert told["r1"] == {"addresses": ["10.0.0.1"], "vips": both, "tunnel": tunnel, **more}
    assert told["r3"] == {"addresses": ["10.0.0.3"], "vips": [], "tunnel": tunnel, **more}
    assert told["all"]["vips"] == both
    assert told["own"]["vips"] == ["198.51.100.9"]
    assert not any(one.faults.values())
    alone = fleet({}, {"r1": reals["r1"]})
    assert alone.real("r1") == {"addresses": ["10.0.0.1"], "vips": None, "tunnel": None, **more, "gue_port": 6080}


def test_a_host_that_is_balancer_and_real_on_one_interface() -> None:
    both = {**LB, "katran_real_address": "10.0.0.1"}
    hosts = {
        "shared": both,
        "apart": {**both, "katran_real_interfaces": ["eth1"]},
        "partly": {**both, "katran_real_interfaces": ["eth1", "eth0"]},
    }
    one = fleet({**hosts, "lb1": LB}, {**hosts, "r1": {"katran_interfaces": ["eth0"]}})
    expected = {"shared": False, "apart": True, "partly": False, "r1": True}
    assert {host: one.real(host)["attach"] for host in expected} == expected
    inline = {host: "inline_decap" in one.balancer(host)["features"] for host in (*hosts, "lb1")}
    assert inline == {"shared": True, "apart": False, "partly": True, "lb1": False}
    assert one.balancer("shared")["sources"] == ["100::/64", "172.16.0.0/16"]
    assert not any(one.faults.values())


def test_a_balancer_that_is_a_real_and_asks_others() -> None:
    both = {**LB, "katran_interfaces": ["eth0", "eth1"], "katran_real_address": "10.0.0.1"}
    for check, probes_from in (("tcp", ["eth0"]), ("external", []), (None, [])):
        hosts = {"both": {**both, "katran_vips": [{**VIP, **({"check": {"type": check}} if check else {})}]}}
        one = fleet(hosts, {**hosts, "r1": {"katran_interfaces": ["eth0"]}})
        assert one.real("both")["probes_from"] == probes_from
        assert one.real("r1")["probes_from"] == []
        assert not any(one.faults.values())


def test_a_balancer_in_shared_mode_that_is_a_real_and_asks_others() -> None:
    """Which of these its root program is on, and so which it asks by, is found out on the host."""
    array = {"path": "/sys/fs/bpf/katran/default/maps/root_array", "position": 1}
    lb = {name: value for name, value in LB.items() if name != "katran_interfaces"}
    both = {
        **lb,
        "katran_root_array": array,
        "katran_real_address": "10.0.0.1",
        "katran_real_interfaces": ["eth1", "eth2"],
    }
    for check, probes_from in (("tcp", ["eth1", "eth2"]), ("external", [])):
        hosts = {"both": {**both, "katran_vips": [{**VIP, "check": {"type": check}}]}}
        one = fleet(hosts, hosts)
        assert one.real("both")["probes_from"] == probes_from
        assert not any(one.faults.values())


GUE = {**LB, "katran_encapsulation": "gue", "katran_source_ipv4": "192.0.2.1"}


def test_from_where_a_real_takes_tunnels() -> None:
    r1 = {"katran_interfaces": ["eth0"]}
    one = fleet({"lb1": GUE, "lb2": LB, "lb3": {**GUE, "katran_source_ipv6": "fc00::1"}}, {"r1": r1})
    told = one.real("r1")
    assert told["sources"] == ["100::/64", "172.16.0.0/16", "192.0.2.1/32", "fc00::1/128"]
    assert told["ask"] == ["lb1"]
    probed = {**r1, "katran_healthcheck_sources": ["192.0.2.9", "fc00:9::/64"]}
    told = fleet({"lb1": {**GUE, "katran_source_ipv6": "fc00::1"}}, {"r1": probed}).real("r1")
    assert (told["sources"], told["ask"]) == (["192.0.2.1/32", "192.0.2.9/32", "fc00:9::/64", "fc00::1/128"], [])
    said = fleet({"lb1": GUE}, {"r1": {**r1, "katran_real_sources": ["0.0.0.0/0"]}}).real("r1")
    assert (said["sources"], said["ask"]) == ([], [])


def test_from_where_a_balancer_takes_tunnels() -> None:
    """From its peers, and only where tunnels end; of either encapsulation, as its peers change after or before it."""
    inline = {"katran_extra_features": ["inline_decap"]}
    balancers = {
        "lb1": {**GUE, **inline},
        "lb2": GUE,
        "lb3": {**LB, **inline, "katran_decap_any": True},
        "lb4": {**LB, **inline, "katran_decap_sources": ["10.0.0.0/8"]},
    }
    one = fleet(balancers)
    told = {host: one.balancer(host) for host in balancers}
    assert told["lb1"]["sources"] == ["100::/64", "172.16.0.0/16", "192.0.2.1/32"]
    assert told["lb1"]["ask"] == ["lb1", "lb2"]
    assert all((told[host]["sources"], told[host]["ask"]) == ([], []) for host in ("lb2", "lb3", "lb4"))
    assert not any(one.faults.values())
    wrong = fleet({"lb1": {**LB, **inline, "katran_decap_sources": ["10.0.0.1/8"]}})
    wrong.balancer("lb1")
    assert wrong.faults["lb1"] == [
        "decap_sources[0]: 10.0.0.1/8 has host bits set; the network is 10.0.0.0/8",
    ]


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
                "vips[0]: 10.0.0 is not an IP address; sources[0]: x is neither an IP address nor a prefix",
            ],
        ),
        ({"katran_real_mtu": "big"}, ["argument 'mtu' is of type str"]),
        ({"katran_server_id": True}, ["server_id: True is not a whole number: YAML reads yes, no, on and off"]),
        ({"katran_real_mtu": "01500"}, ["mtu: 01500 begins with 0, by which YAML means base 8; write 1500"]),
        ({"katran_real_address": "127.0.0.1"}, ["katran_real_address[0]: 127.0.0.1 is a loopback address"]),
        (
            {"katran_real_address": ["10.0.0.1", "fe80::1\r"]},
            [r"katran_real_address[1]: 'fe80::1\r' has a carriage return in it"],
        ),
        ({"katran_real_address": 10.1}, ["katran_real_address[0]: 10.1 is not an IP address"]),
        ({"katran_server_id": -1}, ["server_id: -1 is not in 0 to 4294967295"]),
        (
            {"katran_server_id_fallback": -3, "katran_server_id_entries": 0},
            ["katran_server_id_fallback: -3 is not in 0 to", "katran_server_id_entries: 0 is not in 1 to"],
        ),
    ],
)
def test_faults_of_a_real(variables: dict[str, Any], faults: list[str]) -> None:
    one = fleet({"lb1": LB}, {"r1": {"katran_real_interfaces": ["eth0"], **variables}})
    one.real("r1")
    found = one.faults["r1"]
    assert len(found) == len(faults), found
    for sentence, beginning in zip(found, faults, strict=True):
        assert beginning in sentence


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"katran_server_id_units": True}, "katran_server_id_units[0]: True is not the name of a unit"),
        ({"katran_server_id": "9" * 5000}, "server_id: a number of 5000 digits is none that is meant here"),
        ({"katran_server_id": float("inf")}, "server_id: inf is not a whole number"),
        ({"katran_real_mss": "9" * 5000}, "mss: a number of 5000 digits is none that is meant here"),
    ],
)
def test_what_is_no_id_is_told_by_a_review_too(variables: dict[str, Any], sentence: str) -> None:
    one = fleet({"lb1": LB}, {"r1": {"katran_real_interfaces": ["eth0"], **variables}})
    one.balancer("lb1")
    one.real("r1")
    one.review(["lb1"], ["r1"])
    assert [each for each in one.faults["r1"] if sentence in each], one.faults


def warnings_of(**variables: Any) -> list[str]:
    one = fleet({"lb1": {**LB, **variables}})
    one.balancer("lb1")
    assert one.faults["lb1"] == []
    return one.warnings["lb1"]


def test_source_routes_that_no_vip_follows() -> None:
    routes = [{"prefix": "192.0.2.0/24", "real": "10.0.0.1"}]
    sentence = "source_routes: no packet follows them, as no VIP has flag source_routing"
    assert warnings_of(katran_source_routes=routes) == [sentence]
    assert warnings_of(katran_source_routes__a=routes) == [sentence]
    assert warnings_of() == []
    flagged = {**VIP, "port": 80, "flags": "no_lru,source_routing"}
    assert warnings_of(katran_source_routes=routes, katran_vips=[VIP, flagged]) == []
    # Of VIPs that no variable is about, only the host knows.
    alone = fleet({"lb1": {"katran_interfaces": ["eth0"], "katran_source_routes": routes}})
    alone.balancer("lb1")
    assert alone.warnings == {"lb1": []}


def test_a_port_that_looks_octal() -> None:
    assert warnings_of(katran_vips=[{**VIP, "port": 0o443}]) == [
        "vips[0].port: 291 is what YAML makes of 443 with a 0 before it; if 443 is meant, write it without"
    ]


def test_vips_may_cover_reals_where_that_is_meant() -> None:
    covering = [{**VIP, "address": "10.0.0.0/24"}]
    (fault,) = faults_of(katran_vips=covering)
    assert fault.startswith("vips[0].address: 10.0.0.0/24:443/tcp covers the real 10.0.0.1, 10.0.0.2: ")
    assert faults_of(katran_vips=covering, katran_allow_own_addresses=True) == []
    ssh = [{**VIP, "address": "10.0.0.2", "port": 2222, "reals": [{"address": "10.0.0.1"}]}, VIP]
    assert faults_of(katran_vips=ssh) == []
    (fault,) = faults_of(katran_vips=ssh, ansible_port=2222)
    assert fault.startswith("vips[0].address: 10.0.0.2:2222/tcp covers the real 10.0.0.2: ")


def test_what_is_omitted_is_not_set() -> None:
    omitted = trust_as_template("{{ nope | default(omit) }}")
    names = ("gateway_mac", "min_active", "purge_flows", "features", "source_routes", "vips__b", "sizes", "instance")
    variables = {f"katran_{name}": omitted for name in names}
    one = fleet({"lb1": {**LB, **variables}}, {"r1": {**LB, "katran_real_vips": omitted, "katran_gue_port": omitted}})
    told = one.balancer("lb1")
    assert told["untouched"] == ["source_routes", "server_ids", "decap_destinations"]
    assert one.real("r1")["vips"] == ["198.51.100.1"]
    assert one.faults == {"lb1": [], "r1": []}
    (fault,) = faults_of(katran_min_active=omitted, katran_vips=[{**VIP, "reals": []}])
    assert fault.startswith("katran_min_active is 1, but too few reals are active")


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
        "there are address, port, protocol, flags, hash, reals, down_reals, allow, deny, check, announce, quic_lb",
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


def test_what_leads_to_a_drained_or_vanished_real_is_told() -> None:
    vip = {**VIP, "flags": ["source_routing"], "reals": [{"address": "10.0.0.1"}, {"address": "10.0.0.2", "weight": 0}]}
    tables = {
        "katran_source_routes": [
            {"prefix": "192.0.2.0/24", "real": "10.0.0.2"},
            # A host of the inventory, though no VIP has it.
            {"prefix": "192.0.3.0/24", "real": "10.0.0.3"},
        ],
        "katran_server_ids": [{"id": 7, "real": "10.0.0.4"}, {"id": 8, "real": "10.0.0.1"}, "no mapping"],
    }
    balancers = {name: {**LB, "katran_vips": [vip], **tables} for name in ("lb1", "lb2")}
    one = fleet({**balancers, "lb3": LB}, {"r3": {"katran_real_address": "10.0.0.3"}})
    one.review(["lb1", "lb2", "lb3"], ["r3"])
    lines = [
        (
            "source_routes: 192.0.2.0/24 leads to 10.0.0.2, which is weight 0 in 198.51.100.1:443/tcp:"
            " their clients still go there"
        ),
        "server_ids: 7 leads to 10.0.0.4, which no VIP has: packets that carry them still go there",
    ]
    moved = "goes to another real and breaks"
    rings = {
        host: f"katran_vips: the reals of 198.51.100.1 443 tcp are not those that they have on {other}, to which the"
        f" same router may send: a connection that comes to the other balancer {moved}"
        for host, other in (("lb1", "lb3"), ("lb2", "lb3"), ("lb3", "lb1"))
    }
    assert one.warnings == {"lb1": [*lines, rings["lb1"]], "lb2": [*lines, rings["lb2"]], "lb3": [rings["lb3"]]}
    # Of VIPs that are wrong, their faults tell.
    wrong = fleet({"lb1": {**LB, "katran_vips": [{**vip, "port": 70000}], **tables}})
    wrong.review(["lb1"], [])
    assert wrong.warnings == {}


def test_server_ids_are_compared_over_the_fleet() -> None:
    units = {"katran_server_id_units": ["web.service"]}
    reals = {
        "r1": {"katran_real_address": "10.0.0.1", "katran_server_id": 7, **units},
        "r2": {"katran_real_address": "10.0.0.2", "katran_server_id": "7"},
        "r3": {"katran_real_address": "10.0.0.3", **units},
    }
    one = fleet({"lb1": {**LB, "katran_server_ids": [{"id": 8, "real": "10.0.0.1"}]}}, reals)
    one.review(["lb1"], list(reals))
    assert {host: one.faults[host] for host in ("r1", "r2")} == {
        "r1": ["katran_server_id 7 is r2's too: an id names one host"],
        "r2": ["katran_server_id 7 is r1's too: an id names one host"],
    }
    assert set(one.warnings) >= {"r1", "r3"}
    one.real("r3")
    assert not [line for line in one.faults["r3"] if "units" in line]


def test_units_that_are_none_are_told() -> None:
    wrong = {
        "katran_real_interfaces": ["eth0"],
        "real_interfaces": ["eth0"],
        "real_server_id_units": ["web", "a.socket"],
    }
    one = fleet({}, {"r1": wrong})
    one.real("r1")
    assert [line.partition(":")[0] for line in one.faults["r1"] if "units" in line] == [
        "katran_server_id_units[0]",
        "katran_server_id_units[1]",
    ]


def test_what_links_are_to_carry() -> None:
    vip = {**VIP, "address": "2001:db8::1", "reals": [{"address": "fc00::1"}, "no mapping"]}
    balancers = {
        "lb1": {**LB, "katran_max_frame": 1514, "katran_encapsulation": "gue"},
        "lb2": {**LB, "katran_max_frame": "1520"},
        "lb3": {**LB, "katran_max_frame": "x", "katran_vips": [VIP, vip]},
        "lb4": {**LB, "katran_vips": ["no mapping"], "katran_server_ids": [{"id": 7, "real": "fc00::1"}]},
    }
    reals: dict[str, dict[str, Any]] = {
        "r1": {"katran_real_address": "10.0.0.1"},
        "r2": {"katran_real_address": ["10.0.0.2", "fc00::2"]},
    }
    one = fleet(balancers, reals)
    assert [one.balancer(host)["families"] for host in balancers] == [["ipv4"], ["ipv4"], ["ipv4", "ipv6"], ["ipv6"]]
    # GUE takes 8 bytes more of each packet, which here is more than the frames of others.
    tunnels = [one.real(host)["tunnel"] for host in reals]
    assert tunnels == [{"encapsulation": "gue", "max_frame": 1514, "ipv6": ipv6} for ipv6 in (False, True)]
    assert "katran_mtu_check" not in str(one.faults)
    assert "value of mtu_check must be one of: warn, fail, off, got: maybe" in faults_of(katran_mtu_check="maybe")


@pytest.mark.parametrize(("sizes", "told"), [((1400, 1300), 1400), ((1400, None), 0), ((0, 1400), 0), ((), 0)])
def test_a_bound_on_the_mss_counts_where_every_real_has_one(sizes: tuple[int | None, ...], told: int) -> None:
    reals = {f"r{size}": {} if size is None else {"katran_real_mss": size} for size in sizes}
    one = fleet({"lb1": LB}, reals)
    one.reals = list(reals)
    assert one.balancer("lb1")["mss"] == told


def test_defaults_stay_as_they_are_described() -> None:
    sizes: dict[str, Any] = {"type": "dict", "default": {}, "options": {"flows": {"type": "int", "default": 7}}}
    assert option_faults({}, {"sizes": sizes}) == ({"sizes": {"flows": 7}}, [])
    assert sizes["default"] == {}


def test_a_vip_that_takes_ssh_from_a_real_of_which_no_vip_knows() -> None:
    taking = {"address": "10.0.0.9", "port": 22, "protocol": "tcp", "reals": [{"address": "10.0.0.1"}]}
    lb = {**LB, "katran_vips": [taking]}
    for real, known in (("10.0.0.9", True), ("10.0.0.8", False)):
        one = fleet({"lb1": lb}, {"r1": {"katran_interfaces": ["eth0"], "katran_real_address": real}})
        one.balancer("lb1")
        found = [line for line in one.faults.get("lb1", []) if "10.0.0.9:22/tcp covers the real 10.0.0.9" in line]
        assert bool(found) == known


BGP: dict[str, Any] = {"as": 65001, "neighbors": [{"address": "10.0.0.254", "as": 65000, "password": "hunter2"}]}


def test_what_a_balancer_is_told_of_its_announcements() -> None:
    vips = [{**VIP, "announce": {"communities": ["65001:80"]}}, {**VIP, "port": 80, "announce": {"enabled": False}}]
    one = fleet({"lb1": {**LB, "katran_vips": vips, "katran_bgp": BGP, "katran_announce_table": 77}})
    told = one.balancer("lb1")
    assert (told["announces"], told["places"]) == (True, [{"place": "198.51.100.1/32", "communities": ["65001:80"]}])
    assert one.faults == {"lb1": []}
    # What is printed of a run has no password.
    assert "hunter2" not in str(told)
    # Where nobody says which VIPs there are, whatever the balancer has is announced.
    without = fleet({"lb1": {"katran_interfaces": ["eth0"], "katran_bgp": BGP}}).balancer("lb1")
    assert (without["announces"], without["places"]) == (True, None)


@pytest.mark.parametrize(
    ("variables", "fault"),
    [
        ({"katran_bgp": {**BGP, "as": 0}}, "katran_bgp.as: AS 0 is reserved"),
        ({"katran_bgp": {"as": 65001, "neighbors": [{"address": "10.0.0.254"}]}}, "neighbors[0].as: is missing"),
        ({"katran_bgp": "10.0.0.254"}, "katran_bgp: str is not a mapping"),
        ({"katran_bgp": BGP, "katran_announce_table": 254}, "katran_announce_table: 254 is the kernel's table main"),
        ({"katran_bpg": BGP}, "katran_bpg: there is no such variable; did you mean katran_bgp?"),
    ],
)
def test_what_is_wrong_with_announcements_is_told(variables: dict[str, Any], fault: str) -> None:
    [told] = faults_of(**variables)
    assert fault in told
    assert "hunter2" not in told


def test_what_may_surprise_of_announcements_is_told() -> None:
    one = fleet({"lb1": {**LB, "katran_bgp": {**BGP, "local_pref": 50}}})
    one.balancer("lb1")
    assert [line for line in one.warnings["lb1"] if line.startswith("katran_bgp.local_pref: it goes to neighbors")]
