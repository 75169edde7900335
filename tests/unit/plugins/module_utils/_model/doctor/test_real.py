# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Findings of a real that strips tunnels by the kernel's devices; tests/engine/test_doctor_real.py plants others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model.decap_plan import DecapSnapshot
from ansible_collections.katran.fleet.plugins.module_utils._model.decap_record import KERNEL, DecapKept, DecapRecord
from ansible_collections.katran.fleet.plugins.module_utils._model.doctor.firewall import Ruleset
from ansible_collections.katran.fleet.plugins.module_utils._model.doctor.real import real_findings, service_findings
from ansible_collections.katran.fleet.plugins.module_utils._model.doctor.real_seen import Link, Listener, RealSeen, Way
from ansible_collections.katran.fleet.plugins.module_utils._model.host_addresses import HostAddress
from ansible_collections.katran.fleet.plugins.module_utils._model.snapshot import EgressPlace, Filter, ProgramInfo

VIP, OWN, PORT = "198.51.100.1", "10.0.0.11", 6080
DEVICE = "katran-ipip"


def sound() -> RealSeen:
    info = ProgramInfo(3, 7, "tag", 10, 10, (), "decap_tunnel")
    decap = DecapSnapshot(
        current=info,
        pins=frozenset({7}),
        running={7: info},
        vips=(VIP,),
        sources=("172.16.0.0/16",),
        addresses=(HostAddress("lo", VIP, 32, quiet=True), HostAddress("eth1", OWN, 24)),
        places={DEVICE: EgressPlace(5, None, "clsact", (Filter(1, 1, 7, "decap"),))},
    )
    kept = DecapKept([VIP], ["172.16.0.0/16"], 0, [VIP], PORT)
    record = DecapRecord(interfaces=["eth1"], tag="tag", way=KERNEL, tunnels=[DEVICE], settings=kept)
    links = {"lo": Link(65536), "eth1": Link(1600, True, 2, 1), DEVICE: Link(1480, True, 2, 1)}
    return RealSeen("default", record, decap, links=links, ways={False: Way("unicast", ("eth1",))}, rules=Ruleset([]))


def named(seen: RealSeen) -> list[tuple[str, str, bool]]:
    return [(each.name, each.about, each.error) for each in real_findings(seen)]


def chain(*rules: list[dict[str, Any]]) -> Ruleset:
    """A chain of input that drops what these do not accept."""
    base = {"family": "inet", "table": "t", "name": "c", "hook": "input", "prio": 0, "policy": "drop"}
    told = [{"family": "inet", "table": "t", "chain": "c", "handle": 1, "expr": rule} for rule in rules]
    return Ruleset([{"chain": base}, *({"rule": rule} for rule in told)])


def accepts(left: dict[str, Any], right: Any) -> list[dict[str, Any]]:
    return [{"match": {"op": "==", "left": left, "right": right}}, {"accept": None}]


L4, UDP_PORT = {"meta": {"key": "l4proto"}}, {"payload": {"protocol": "udp", "field": "dport"}}
TO_VIP = accepts({"payload": {"protocol": "ip", "field": "daddr"}}, VIP)


def test_nothing_is_wrong_with_a_sound_one() -> None:
    assert named(sound()) == []


@pytest.mark.parametrize(
    ("changed", "finding"),
    [
        ({"links": {"lo": Link(65536), "eth1": Link(1600, True, 2, 1)}}, ("decap_missing", DEVICE, True)),
        ({"links": {**sound().links, DEVICE: Link(1480, False, 2, 1)}}, ("decap_missing", DEVICE, True)),
        ({"links": {**sound().links, DEVICE: Link(1480, True, 1, 1)}}, ("rp_filter", DEVICE, True)),
        ({"links": {**sound().links, "eth1": Link(1600, False, 2, 1)}}, ("interface_down", "eth1", True)),
        (
            {"links": {**sound().links, "eth1": Link(1600, True, 2, 1, False)}},
            ("interface_down", "eth1", True),
        ),
        # The kernel takes the default route away with the link.
        (
            {"links": {**sound().links, "eth1": Link(1600, False, 2, 1)}, "ways": {False: Way()}},
            ("interface_down", "eth1", True),
        ),
        ({"ways": {False: Way()}}, ("source_unreachable", "IPv4", True)),
        ({"ways": {False: Way(others=3)}}, ("source_unreachable", "IPv4", False)),
        ({"rules": chain(TO_VIP)}, ("firewall_drops", OWN, True)),
        ({"listeners": [Listener(6, "", 80, waiting=5, most=4)]}, ("service_silent", "*:80/tcp", True)),
    ],
)
def test_a_fault_is_found_by_name(changed: dict[str, Any], finding: tuple[str, str, bool]) -> None:
    assert named(replace(sound(), **changed)) == [finding]


@pytest.mark.parametrize("accept", [accepts(L4, "ipencap"), accepts(UDP_PORT, PORT), accepts(L4, {"set": ["tcp", 4]})])
def test_one_kind_of_tunnel_is_enough(accept: list[dict[str, Any]]) -> None:
    assert named(replace(sound(), rules=chain(TO_VIP, accept))) == []


def test_a_device_without_the_program() -> None:
    seen = sound()
    decap = replace(seen.decap, places={DEVICE: EgressPlace(5, None, "clsact")})
    assert named(replace(seen, decap=decap)) == [("decap_missing", DEVICE, True)]


def test_many_vips_without_an_address_are_one_finding() -> None:
    seen = sound()
    vips = [VIP, *(f"198.51.100.{number}" for number in range(10, 30))]
    kept = replace(seen.kept, vips=vips)
    (finding,) = real_findings(replace(seen, record=replace(seen.record, settings=kept)))
    assert finding.name == "vip_not_on_lo"
    assert "more" in finding.about
    assert "likewise the others" in finding.remedy


def test_a_firewall_that_drops_several_vips_is_told_once() -> None:
    seen, other = sound(), "198.51.100.2"
    kept = replace(seen.kept, vips=[VIP, other])
    addresses = (*seen.decap.addresses, HostAddress("lo", other, 32, quiet=True))  # type: ignore[misc]  # no Missing here
    both = replace(
        seen,
        record=replace(seen.record, settings=kept),
        decap=replace(seen.decap, addresses=addresses, vips=(VIP, other)),
        rules=chain(),
        deaf=True,
    )
    abouts = [each.about for each in real_findings(both) if each.name == "firewall_drops"]
    assert f"{VIP}, {other}" in abouts
    assert service_findings(both, [(VIP, 6, 80), (other, 6, 80)]) == []


@pytest.mark.parametrize(("arp", "findings"), [(True, [("vip_answers_arp", VIP, False)]), (False, [])])
def test_a_vip_on_a_link_that_balancers_do_not_use(arp: bool, findings: list[tuple[str, str, bool]]) -> None:
    seen = sound()
    addresses = (*seen.decap.addresses, HostAddress("eth0", VIP, 24))  # type: ignore[misc]  # no Missing here
    links = {**seen.links, "eth0": Link(1500, arp=arp)}
    assert named(replace(seen, decap=replace(seen.decap, addresses=addresses), links=links)) == findings
