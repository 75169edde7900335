# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from jinja2.runtime import Undefined

from ansible_collections.katran.fleet.plugins.filter import (
    faults,
    features,
    readiness,
    reals,
    server_ids,
    starved_vips,
    still_sending,
)


class Omitted:
    """What Ansible's `omit` is to a plugin, which knows it by the name of its type."""


Omitted.__name__ = "_OmitType"
OMIT = Omitted()
RAW = {"factless": {"katran_real_address": "{{ ansible_default_ipv4.address }}"}}


class Hostvars(dict[str, dict[str, Any]]):
    """Ansible's variable of that name."""

    def raw_get(self, host: str) -> dict[str, Any]:
        """A host's variables as they are written, where they are not what they are once templated."""
        return RAW.get(host, {})


HOSTVARS = Hostvars(
    {
        "web1": {"katran_real_address": "10.0.0.1", "katran_server_id": 1},
        "web2": {
            "katran_real_address": ["10.0.0.2", "fc00::2"],
            "katran_real_weight": 5,
            "katran_real_state": "draining",
            "katran_server_id": "2",
        },
        "web3": {"katran_real_address": "fc00::3", "katran_real_weight": 0, "katran_server_id": 3},
        "client": {},
        "empty": {"katran_real_address": [], "katran_server_id": 4},
        "undefined": {"katran_real_address": Undefined(name="nowhere")},
        "named": {"katran_real_address": "10.0.0.9", "katran_server_id": "nine"},
        "factless": {"katran_real_address": Undefined(name="ansible_default_ipv4")},
        "none": {"katran_real_address": "10.0.0.8", "katran_server_id": 0},
        "omitting": {
            "katran_real_address": ["10.0.0.7", OMIT],
            "katran_real_weight": OMIT,
            "katran_real_state": OMIT,
            "katran_server_id": OMIT,
        },
    }
)
CONTEXT: Any = {"hostvars": HOSTVARS}


def test_filters_are_registered() -> None:
    for module, name in (
        (faults, "faults"),
        (features, "features"),
        (reals, "reals"),
        (server_ids, "server_ids"),
        (starved_vips, "starved_vips"),
        (readiness, "readiness"),
        (still_sending, "still_sending"),
    ):
        assert module.FilterModule().filters() == {name: getattr(module, name)}


def test_faults() -> None:
    vip = {"address": "198.51.100.1", "port": 443, "protocol": "tcp"}
    flagged = {**vip, "flags": ["global_lru"]}
    balancer = {"interfaces": ["eth0"]}
    for told in (
        {},
        {"decap": {"interfaces": ["eth0"], "vips": None}},
        {"balancer": balancer, "vips": [vip], "server_ids": []},
        {"balancer": {**balancer, "features": "global_lru", "sizes": {"vips": "4"}}, "vips": [flagged]},
        {"balancer": {"interfaces": [], "root_array": {"path": "/sys/fs/bpf/x", "position": 1}}},
    ):
        assert faults.faults(told) == []
    for told, sentence in (
        ({"balancer": balancer, "vips": [flagged]}, "vips[0].flags: global_lru needs feature global_lru"),
        ({"balancer": {**balancer, "sizes": {"vips": 0}}}, "sizes.vips: 0 is not in 1 to 65536"),
        (
            {"balancer": {**balancer, "gateway_mac": "nope"}},
            "gateway_mac: nope is neither auto nor a unicast MAC address",
        ),
        ({"balancer": {**balancer, "mode": "fast"}}, "value of mode must be one of: native, generic, auto, got: fast"),
        ({"decap": {"interfaces": ["eth0"], "gue_port": "70000"}}, "gue_port: 70000 is not in 1 to 65535"),
    ):
        assert faults.faults(told) == [sentence]
    assert faults.faults({"balancer": {**balancer, "sizes": "big"}, "vips": [flagged]}) == [
        "sizes: big is not a mapping"
    ]
    assert failure(faults.faults, [vip]) == "katran.fleet.faults: the input is not a mapping of options"


def test_reals() -> None:
    assert reals.reals(CONTEXT, ["web2", "web1"]) == [
        {"address": "10.0.0.2", "weight": 5, "state": "draining"},
        {"address": "fc00::2", "weight": 5, "state": "draining"},
        {"address": "10.0.0.1"},
    ]
    assert reals.reals(CONTEXT, ["web3"]) == [{"address": "fc00::3", "weight": 0}]
    assert reals.reals(CONTEXT, []) == []


def test_reals_of_a_family() -> None:
    hosts = ["web1", "web2", "web3"]
    assert [real["address"] for real in reals.reals(CONTEXT, hosts, "ipv4")] == ["10.0.0.1", "10.0.0.2"]
    assert [real["address"] for real in reals.reals(CONTEXT, hosts, family="ipv6")] == ["fc00::2", "fc00::3"]


def failure(filter_: Any, *arguments: Any, **options: Any) -> str:
    with pytest.raises(AnsibleFilterError) as caught:
        filter_(*arguments, **options)
    return str(caught.value)


@pytest.mark.parametrize("host", ["client", "empty", "undefined"])
def test_reals_without_address(host: str) -> None:
    assert failure(reals.reals, CONTEXT, ["web1", host]) == (
        f"katran.fleet.reals: host {host} has no katran_real_address"
    )


def test_reals_of_what_is_no_host() -> None:
    assert failure(reals.reals, CONTEXT, ["web9"]) == "katran.fleet: web9 is not a host of the inventory"
    assert failure(reals.reals, CONTEXT, "web") == (
        "katran.fleet.reals: web is not a list of hosts; give groups['NAME']"
    )
    assert failure(reals.reals, CONTEXT, ["web1"], "inet") == "katran.fleet.reals: family inet is neither ipv4 nor ipv6"


def test_server_ids() -> None:
    hosts = ["web1", "client", "web2", "web3"]
    assert server_ids.server_ids(CONTEXT, hosts) == [
        {"id": 1, "real": "10.0.0.1"},
        {"id": 2, "real": "10.0.0.2"},
        {"id": 3, "real": "fc00::3"},
    ]
    assert server_ids.server_ids(CONTEXT, ["web2"], "ipv6") == [{"id": 2, "real": "fc00::2"}]


@pytest.mark.parametrize(
    ("host", "family", "sentence"),
    [
        ("empty", None, "katran.fleet.server_ids: host empty has no katran_real_address"),
        ("web1", "ipv6", "katran.fleet.server_ids: host web1 has no katran_real_address of ipv6"),
        ("web1", "inet", "katran.fleet.server_ids: family inet is neither ipv4 nor ipv6"),
        ("named", None, "katran.fleet.server_ids: host named: katran_server_id 'nine' is not a number"),
    ],
)
def test_faults_of_server_ids(host: str, family: str | None, sentence: str) -> None:
    assert failure(server_ids.server_ids, CONTEXT, [host], family) == sentence


def test_features() -> None:
    cidr = {"address": "198.51.100.0/24", "port": 443, "protocol": "tcp"}
    quic = {"address": "198.51.100.1", "port": 443, "protocol": "udp", "flags": ["quic"]}
    assert features.features({}) == []
    assert features.features({"katran_vips": None, "katran_source_routes": []}) == []
    assert features.features({"katran_vips": [quic], "katran_vips__team": [cidr]}) == ["cidr_vips"]
    assert features.features(
        {
            "katran_vips": [cidr],
            "katran_server_ids": [{"id": 1, "real": "10.0.0.1"}],
            "katran_source_routes__b": [{"prefix": "192.0.2.0/24", "real": "10.0.0.1"}],
            "katran_decap_destinations": [{"address": "10.0.0.1"}],
            "katran_extra_features": ["vlan", "cidr_vips"],
            "katran_vipsomething": "else",
        }
    ) == ["cidr_vips", "inline_decap", "source_routing", "tcp_server_id", "vlan"]


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ([], "katran.fleet.features: the input is not a mapping of variables"),
        ({"katran_vips": {"address": "10.0.0.1"}}, "katran.fleet.features: katran_vips is not a list"),
        ({"katran_vips": "10.0.0.1"}, "katran.fleet.features: katran_vips is not a list"),
        ({"katran_vips__a": [{}, "10.0.0.1"]}, "katran.fleet.features: katran_vips__a[1] is not a mapping"),
    ],
)
def test_faults_of_features(variables: Any, sentence: str) -> None:
    assert failure(features.features, variables) == sentence


def test_unknown_extra_feature() -> None:
    assert failure(features.features, {"katran_extra_features": ["warp"]}).startswith(
        "katran.fleet.features: katran_extra_features: warp is none of source_routing, "
    )


def test_starved_vips() -> None:
    full = {"reals": [{"address": "10.0.0.1"}, {"address": "10.0.0.2", "weight": None, "state": None}]}
    drained = {"reals": [{"address": "10.0.0.1", "weight": 0}, {"address": "10.0.0.2", "state": "draining"}]}
    empty: dict[str, Any] = {"reals": []}
    bare: dict[str, Any] = {}
    assert starved_vips.starved_vips([full, drained, empty, bare], 1) == [drained, empty, bare]
    assert starved_vips.starved_vips([full], 3) == [full]
    assert starved_vips.starved_vips([full], 3.0) == [full]
    assert starved_vips.starved_vips([empty, drained], 0) == []


def test_starved_vips_leaves_nonsense_to_the_module() -> None:
    assert starved_vips.starved_vips([{"reals": ["web1"]}], 1) == []
    assert features.features({"katran_vips": [{"reals": ["web1"]}]}) == []
    assert failure(starved_vips.starved_vips, ["web1"], 1) == "katran.fleet.starved_vips: entry 0 is not a mapping"


PREFLIGHT: dict[str, Any] = {
    "run": "this",
    "seen": ["web1", "web2", "lb1", "lb2"],
    "reals": {
        "web1": {"addresses": ["10.0.0.1"]},
        "web2": {"addresses": ["10.0.0.2", "fc00::2"]},
        "web3": {"addresses": []},
    },
    "balancers": {"lb1": {"resources": "0"}, "lb2": {"resources": "0"}},
    "resources": {"0": {"vips": []}},
}


def context(**hosts: dict[str, Any]) -> Any:
    names = (*PREFLIGHT["reals"], *PREFLIGHT["balancers"])
    return {"hostvars": {name: hosts.get(name, {}) for name in names}}


def test_readiness() -> None:
    note = {"ready": {"run": "this", "hosts": ["web1"]}}
    assert readiness.readiness(context(web1=note, web2=note), PREFLIGHT, "ready") == {
        "unready": ["10.0.0.2", "fc00::2"],
        "unseen": [],
    }
    # A note of a run before says nothing of this one.
    old = {"ready": {"run": "before", "hosts": ["web1", "web2"]}}
    assert readiness.readiness(context(web1=old, web2=note), PREFLIGHT, "ready")["unready"] == ["10.0.0.2", "fc00::2"]
    assert readiness.readiness(context(web1=old), PREFLIGHT, "ready")["unready"] == ["10.0.0.1", "10.0.0.2", "fc00::2"]
    left_out = {**PREFLIGHT, "seen": ["lb1"]}
    assert readiness.readiness(context(), left_out, "ready") == {
        "unready": [],
        "unseen": ["10.0.0.1", "10.0.0.2", "fc00::2"],
    }


def test_who_still_sends() -> None:
    nothing = {"references": {"source_routes": [], "server_ids": []}}
    note = {"run": "this", "hosts": ["lb1", "lb2"]}
    done = {"done": note, "applied": nothing}
    assert still_sending.still_sending(context(lb1=done, lb2=done), PREFLIGHT, "done", "applied") == []
    assert still_sending.still_sending(
        context(lb1=done, lb2={"applied": {"skipped": True}}), PREFLIGHT, "done", "applied"
    ) == ["lb2"]
    assert still_sending.still_sending(context(lb1={"applied": nothing}), PREFLIGHT, "done", "applied") == [
        "lb1",
        "lb2",
    ]
    routed = {**done, "applied": {"references": {"source_routes": ["10.0.0.9"], "server_ids": []}}}
    assert still_sending.still_sending(context(lb1=done, lb2=routed), PREFLIGHT, "done", "applied") == ["lb2"]


def test_what_is_omitted_is_not_there() -> None:
    assert reals.reals(CONTEXT, ["omitting"]) == [{"address": "10.0.0.7"}]
    assert server_ids.server_ids(CONTEXT, ["omitting"]) == []
    vip = {"address": "198.51.100.1", "port": 443, "protocol": "tcp", "flags": OMIT}
    behind = [{"address": "10.0.0.1", "weight": OMIT}, OMIT]
    assert features.features({"katran_vips": [{**vip, "reals": behind}, OMIT], "katran_server_ids": OMIT}) == []
    (starved,) = starved_vips.starved_vips([{**vip, "reals": behind}], 2)
    assert starved == {
        **{name: vip[name] for name in ("address", "port", "protocol")},
        "reals": [{"address": "10.0.0.1"}],
    }
    told = {"balancer": {"interfaces": ["eth0"], "gateway_mac": OMIT}, "vips": [{**vip, "reals": behind}]}
    assert faults.faults(told) == []


def test_server_id_0_is_none() -> None:
    assert server_ids.server_ids(CONTEXT, ["none", "web1"]) == [{"id": 1, "real": "10.0.0.1"}]


def test_facts_that_were_not_gathered() -> None:
    assert failure(reals.reals, CONTEXT, ["factless"]) == (
        "katran.fleet: host factless: katran_real_address: 'ansible_default_ipv4' is undefined: facts were not"
        " gathered, and the plays of katran.fleet gather none; put a play with gather_facts: true before them in the"
        " same playbook, or write the value itself"
    )


def test_a_weight_of_0_takes_no_flow_however_it_is_written() -> None:
    vip = {"address": "198.51.100.1", "port": 443, "protocol": "tcp"}
    for weight in (0, "0"):
        assert starved_vips.starved_vips([{**vip, "reals": [{"address": "10.0.0.1", "weight": weight}]}], 1)


def test_faults_are_those_of_both_kinds() -> None:
    balancer = {"interfaces": ["eth0"], "udp_timeout": 0}
    vip = {"address": "127.0.0.1", "port": 443, "protocol": "tcp"}
    assert faults.faults({"balancer": balancer, "vips": [vip]}) == [
        "udp_timeout: 0 is not in 1 to 86400",
        "vips[0].address: 127.0.0.1 is a loopback address",
    ]
    assert faults.faults({"balancer": balancer, "decap": {"interfaces": []}}) == [
        "udp_timeout: 0 is not in 1 to 86400",
        "interfaces: state attached needs at least one interface",
    ]


ZONED = Hostvars(
    {
        "a1": {"katran_real_address": ["10.0.0.1", "fc00::1"], "katran_zone": "ams", "katran_real_state": "draining"},
        "a2": {"katran_real_address": "10.0.0.2", "katran_zone": "ams"},
        "f1": {"katran_real_address": "10.0.0.3", "katran_zone": "fra", "katran_real_weight": 4},
        "f2": {"katran_real_address": "10.0.0.4", "katran_zone": "fra", "katran_real_zones": {"ams": {"weight": 9}}},
        "nowhere": {"katran_real_address": "10.0.0.5"},
        "wrong": {"katran_real_address": "10.0.0.6", "katran_zone": "ams", "katran_real_zones": 3},
    }
)


def zoned(hosts: list[str], **options: Any) -> list[dict[str, Any]]:
    found = reals.reals({"hostvars": ZONED}, hosts, **options)  # type: ignore[arg-type]  # as Jinja's own, a mapping
    return list(found)


def test_reals_of_a_site() -> None:
    drained = [{"address": each, "state": "draining"} for each in ("10.0.0.1", "fc00::1")]
    far = [{"address": "10.0.0.4", "weight": 9}]
    assert zoned(["a1", "a2", "f1", "f2"], zone="ams", spill=50) == [
        *(*drained, {"address": "10.0.0.2"}, {"address": "10.0.0.3", "weight": 0}, *far)
    ]
    helped = [*drained, {"address": "10.0.0.2"}, {"address": "10.0.0.3", "weight": 4}]
    assert zoned(["a1", "a2", "f1"], zone="ams", spill=51) == helped
    assert zoned(["a1", "a2", "f1"], zone="ams", spill="51", fallback=["fra"]) == helped
    assert zoned(["a1", "a2", "f1"], zone="ams", family="ipv6") == [drained[1]]


@pytest.mark.parametrize(
    ("hosts", "options", "sentence"),
    [
        (["nowhere"], {"zone": "ams"}, "host nowhere has no katran_zone"),
        (["wrong"], {"zone": "ams"}, "host wrong: katran_real_zones: 3 is no mapping of zones"),
        (["a1"], {"zone": 3}, "zone 3 is not the name of a zone"),
        (["a1"], {"zone": "ams", "spill": 101}, "spill 101 is not a per cent (0 to 100)"),
        (["a1"], {"zone": "ams", "spill": "half"}, "spill half is not a per cent (0 to 100)"),
        (["a1"], {"zone": "ams", "fallback": "fra"}, "fallback fra is not a list of zones"),
        (["a1"], {"zone": "ams", "fallback": [3]}, "fallback 3 is not the name of a zone"),
    ],
)
def test_what_is_no_site(hosts: list[str], options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(AnsibleFilterError) as error:
        zoned(hosts, **options)
    assert sentence in str(error.value)


def test_weights_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "w.yml").write_text("web1: 7\n")
    more = {"katran_weights_file": "w.yml", "inventory_dir": str(tmp_path)}
    hosts = Hostvars({name: {**HOSTVARS[name], **more} for name in ("web1", "web2")})
    found = reals.reals({"hostvars": hosts}, ["web1", "web2"], "ipv4")  # type: ignore[arg-type]  # as Jinja's own
    assert [each.get("weight") for each in found] == [7, 5]
    (tmp_path / "w.yml").write_text("web1: -7\n")
    with pytest.raises(AnsibleFilterError, match=r"host web1: katran_weights_file: .*w\.yml: web1: -7 is not a weight"):
        reals.reals({"hostvars": hosts}, ["web1"])  # type: ignore[arg-type]  # as Jinja's own


def test_each_address_of_a_vip_can_be_starved() -> None:
    vip = {
        "addresses": ["198.51.100.1", "2001:db8::1"],
        "port": 80,
        "protocol": "tcp",
        "reals": [{"address": "10.0.0.1"}],
    }
    assert [each["address"] for each in starved_vips.starved_vips([vip], 1)] == ["2001:db8::1"]


def test_features_of_a_vip_with_several_addresses() -> None:
    vip = {"addresses": ["198.51.100.0/24", "2001:db8::1"], "port": 80, "protocol": "tcp", "reals": []}
    assert features.features({"katran_vips": [vip]}) == ["cidr_vips"]
