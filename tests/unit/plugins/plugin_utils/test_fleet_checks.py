# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks, their defaults and bounds, and katran_sync, before any host is reached."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.template import trust_as_template

from ansible_collections.katran.fleet.plugins.filter.features import FilterModule
from ansible_collections.katran.fleet.tests.unit.plugins.plugin_utils.test_fleet import LB, VIP, faults_of, fleet

features = FilterModule().filters()["features"]
CHECKED = {**VIP, "check": {"type": "https", "path": "/healthz"}}
SYNC = {"katran_sync": True, "katran_sync_key": bytes(range(32)).hex(), "katran_sync_peers": ["192.0.2.12"]}
NAMESAKE = {**VIP, "protocol": "udp", "flags": ["quic"]}


def test_checks_are_valid_and_bring_no_feature() -> None:
    one = fleet({"lb1": {**LB, "katran_vips": [{**CHECKED, "announce": {"communities": ["65001:80"]}}]}})
    assert one.balancer("lb1")["features"] == []
    assert one.faults == {"lb1": []}


def test_faults_of_checks_are_told_with_all_others() -> None:
    found = faults_of(
        katran_mode="fast",
        katran_vips=[
            {**VIP, "port": "https"},
            VIP,
            {**VIP, "address": "224.0.0.1"},
            {**VIP, "port": 80, "check": {"type": "http", "path": "healthz", "intervall": 1}},
            {**VIP, "port": 81, "check": {"type": "icmp"}, "announce": {"communities": ["x"]}},
        ],
        katran_source_routes=[{"prefix": "10.0.0.1/8", "real": "10.0.0.1"}],
    )
    told = [line for sentence in found for line in sentence.split("; ")]
    assert 'vips[3].check.path: "healthz" does not begin with /' in told
    assert "vips[3].check.intervall: there is no such option" in told
    assert any(line.startswith("vips[4].check.type: icmp is none of tcp") for line in told)
    assert any(line.startswith("vips[4].announce.communities: x is not a community") for line in told)
    beginnings = ("vips[0].port: https", "vips[2].address: 224.0.0.1", "source_routes[0].prefix: 10.0.0.1/8")
    assert all(any(line.startswith(beginning) for line in told) for beginning in beginnings)
    assert any("mode" in line for line in told)


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"katran_check_defaults": "fast"}, "check_defaults: fast is not a mapping"),
        (
            {"katran_check_defaults": {"intervall": 2}},
            "check_defaults.intervall: there is no such option; did you mean interval?",
        ),
        (
            {"katran_check_defaults": {"interval": 0.05}},
            "check_defaults.interval: 0.05 is not a number of seconds from 0.1 to 3600",
        ),
        ({"katran_check_defaults": {"type": "ping"}}, "check_defaults.type: ping is none of"),
        ({"katran_max_probes": 0}, "max_probes: 0 is not a number of probes a second (1 to 100000)"),
        ({"katran_max_probes": -5}, "max_probes: -5 is not a number of probes a second (1 to 100000)"),
        ({"katran_max_probes": True}, "max_probes: True is not a whole number"),
        ({"katran_max_probes": "many"}, "unable to convert to int"),
        ({"katran_max_probes": "02000"}, "max_probes: 02000 begins with 0"),
        (
            {"katran_max_probes": 1, "katran_vips": [CHECKED]},
            "vips: the checks of 2 services at reals make 2 probes a second, but max_probes is 1: give them a longer",
        ),
        (
            {"katran_max_probes": 19, "katran_check_defaults": {"interval": 0.1}, "katran_vips": [CHECKED]},
            "vips: the checks of 2 services at reals make 20 probes a second, but max_probes is 19",
        ),
        (
            {"katran_check_default": {}},
            "katran_check_default: there is no such variable; did you mean katran_check_defaults?",
        ),
        ({"katran_max_probe": 1}, "katran_max_probe: there is no such variable; did you mean katran_max_probes?"),
        ({"katran_sync": "perhaps"}, "argument 'sync' is of type str and we were unable to convert to bool"),
    ],
)
def test_one_sentence_for_each(variables: dict[str, Any], sentence: str) -> None:
    [found] = faults_of(**variables)
    assert sentence in found


def test_a_bound_that_is_enough() -> None:
    assert faults_of(katran_max_probes=2, katran_vips=[CHECKED]) == []
    assert faults_of(katran_max_probes="1", katran_vips=[CHECKED], katran_check_defaults={"interval": 2}) == []


@pytest.mark.parametrize("sync", [True, "yes"])
def test_sync_brings_feature_and_flag(sync: Any) -> None:
    vips = [CHECKED, NAMESAKE, {**VIP, "port": 80, "flags": "no_lru,global_lru"}]
    told = fleet({"lb1": {**LB, **SYNC, "katran_sync": sync, "katran_vips": vips}, "lb2": {**LB, "katran_vips": vips}})
    assert told.balancer("lb1")["features"] == ["global_lru"]
    # Whose list it is as well, is not touched.
    assert told.balancer("lb2")["features"] == ["global_lru"]
    assert told.resources[told.balancer("lb2")["resources"]]["vips"] == vips
    assert [vip["flags"] for vip in told.resources[told.balancer("lb1")["resources"]]["vips"]] == [
        ["global_lru"],
        ["quic", "global_lru"],
        "no_lru,global_lru",
    ]
    assert told.faults == {"lb1": [], "lb2": []}


def test_without_sync_all_stays_as_it_is() -> None:
    for more in ({}, {"katran_sync": False}, {"katran_sync": "no"}):
        one = fleet({"lb1": {**LB, **more}})
        assert one.balancer("lb1")["features"] == []
        assert one.resources == {"0": {"vips": [VIP]}}


def test_sync_without_vips_brings_the_feature_alone() -> None:
    one = fleet({"lb1": {"katran_interfaces": ["eth0"], **SYNC}})
    assert one.balancer("lb1")["features"] == ["global_lru"]
    assert one.resources == {"0": {}}


def test_sync_beside_a_list_of_features() -> None:
    assert faults_of(**SYNC, katran_features=["vlan"]) == [
        "katran_sync needs feature global_lru, which katran_features leaves out"
    ]
    one = fleet({"lb1": {**LB, **SYNC, "katran_features": ["global_lru"]}})
    one.balancer("lb1")
    assert one.faults == {"lb1": []}
    assert one.resources["0"]["vips"] == [{**VIP, "flags": ["global_lru"]}]


def sync_without_peers(**second: Any) -> tuple[list[str], list[str]]:
    """What the first of two balancers is told of its peers, and its faults."""
    told = fleet({"lb1": {**LB, **SYNC, "katran_sync_peers": []}, "lb2": {**LB, **SYNC, **second}})
    return told.balancer("lb1")["peers"], told.faults["lb1"]


def test_a_peer_is_told_at_the_address_by_which_ansible_reaches_it() -> None:
    templated = {"ansible_host": trust_as_template("{{ site }}.12"), "site": "192.0.2"}
    assert sync_without_peers(**templated) == (["192.0.2.12"], [])
    assert sync_without_peers(**templated, katran_sync_address="192.0.2.99") == (["192.0.2.99"], [])


def test_a_peer_without_an_address_is_named_with_what_is_missing() -> None:
    rest = "by which Ansible reaches it, is not an IP address: write the one at which it is told of flows"
    for variables, name in (
        ({}, "lb2"),
        ({"ansible_host": trust_as_template("lb2.{{ site }}"), "site": "example.net"}, "lb2.example.net"),
    ):
        assert sync_without_peers(**variables) == ([], [f"katran_sync_address: lb2 has none, and {name}, {rest}"])


def test_sync_with_entries_that_are_none() -> None:
    found = faults_of(katran_sync=True, katran_vips=["x", {**VIP, "flags": {"quic": True}}])
    assert "vips[0]: x is not a mapping; vips[1].flags: {'quic': True} is not a list" in found


def test_the_filter_knows_sync_too() -> None:
    assert features({"katran_vips": [VIP], "katran_sync": True}) == ["global_lru"]
    assert features({"katran_vips": [CHECKED], "katran_sync": False, "katran_extra_features": ["vlan"]}) == ["vlan"]
