# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a fleet as a whole is found to have: nothing where it is sound, and of each planted fault the cause alone."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model.doctor.answers import Answered, report_of
from ansible_collections.katran.fleet.plugins.module_utils._model.doctor.correlate import Diagnosis, diagnose
from ansible_collections.katran.fleet.plugins.module_utils._model.doctor.expected import inventory_of, services_of
from ansible_collections.katran.fleet.plugins.module_utils._model.doctor.finding import Finding

WEB, WEB6, ECHO = "198.51.100.1:80/tcp", "[2001:db8::1]:80/tcp", "198.51.100.1:7/udp"
REALS = {"real1": ["10.0.0.11", "fd00::11"], "real2": ["10.0.0.12", "fd00::12"]}
Told = dict[str, Any]


def preflight() -> Told:
    def vip(address: str, port: int, protocol: str) -> Told:
        reals = [{"address": each, "weight": 1} for pair in REALS.values() for each in pair]
        return {
            "address": address,
            "port": port,
            "protocol": protocol,
            "reals": [real for real in reals if (":" in real["address"]) == (":" in address)],
        }

    vips = [vip("198.51.100.1", 80, "tcp"), vip("2001:db8::1", 80, "tcp"), vip("198.51.100.1", 7, "udp")]
    return {
        "balancers": {"lb1": {"resources": "0"}, "lb2": {"resources": "0"}},
        "reals": {host: {"addresses": addresses} for host, addresses in REALS.items()},
        "resources": {"0": {"vips": vips}},
    }


def ring(*reals: str, **changed: list[Any]) -> Told:
    rows = {address: changed.get(address, [1, ""]) for address in reals}
    return {"digest": repr(sorted(rows.items())), "settings": ["maglev_v2", 65537], "reals": rows}


def fleet() -> dict[str, Told]:
    """The answers of a sound fleet."""
    hosts: dict[str, Told] = {}
    v4, v6 = ([pair[index] for pair in REALS.values()] for index in (0, 1))
    for name in ("lb1", "lb2"):
        results = [
            {"vip": vip, "real": real, "result": "answered", "detail": ""}
            for vip, reals in ((WEB, v4), (ECHO, v4), (WEB6, v6))
            for real in reals
        ]
        shared = {
            "encapsulation": "ipip",
            "gue_port": 6080,
            "max_frame": 1514,
            "sources": {"ipv4": ["172.16.0.0/16"], "ipv6": ["100::/64"]},
            "vips": {WEB: ring(*v4), ECHO: ring(*v4), WEB6: ring(*v6)},
            "server_ids": {"1": "10.0.0.11", "2": "10.0.0.12"},
        }
        hosts[name] = answer({"balancer": {"probes": {"results": results}}, "shared": shared})
    for number, (name, addresses) in enumerate(REALS.items(), 1):
        real = {
            "vips": ["198.51.100.1", "2001:db8::1"],
            "sources": ["100::/64", "172.16.0.0/16"],
            "addresses": ["127.0.0.1", "fe80::1", *addresses],
            "gue_ports": [6080],
            "interfaces": {"eth1": 1600},
            "server_id": number,
            "mss": 0,
            "counters": {"decap_v4": 10, "decap_v6": 5},
        }
        hosts[name] = answer({"real": real, "shared": {}})
    return hosts


def answer(seen: Told) -> Told:
    return {"installed": True, "findings": [], "seen": {"at": 1000.5, **seen}, "asked": 1000.0, "answered": 1001.0}


def found(hosts: dict[str, Told], told: Told | None = None, after: dict[str, Told] | None = None) -> Diagnosis:
    told = preflight() if told is None else told
    answered = [
        Answered(name, ["balancer" if name.startswith("lb") else "real"], result, (after or {}).get(name))
        for name, result in hosts.items()
    ]
    arrived = {each.host: number for each in answered if (number := each.arrived) is not None}
    return diagnose(inventory_of(told), [report_of(each) for each in answered], arrived)


def named(diagnosis: Diagnosis) -> list[tuple[str, str, str]]:
    return [(each.host, each.name, each.about) for each in diagnosis.findings]


def say(
    hosts: dict[str, Told], host: str, name: str, about: str, cause: str = "it is so", *, error: bool = True
) -> None:
    hosts[host]["findings"].append(Finding(name, about, cause, "mend it", error)._asdict())


def silent(hosts: dict[str, Told], real: str, *vips: str) -> None:
    """Both balancers' probe flows to a real get no answer."""
    for host in ("lb1", "lb2"):
        for row in hosts[host]["seen"]["balancer"]["probes"]["results"]:
            if row["real"] == real and row["vip"] in vips:
                row["result"] = "silent"
        say(hosts, host, "service_silent", real, f"real {real} does not answer {', '.join(vips)}")


def test_nothing_is_wrong_with_a_sound_fleet() -> None:
    diagnosis = found(fleet())
    assert diagnosis.findings == ()
    assert diagnosis.summary == "OK: 3 VIPs over 2 balancers and 2 reals"
    assert diagnosis.lines == [diagnosis.summary]


def shared(hosts: dict[str, Told], host: str = "lb2") -> Any:
    return hosts[host]["seen"]["shared"]


def of_real(hosts: dict[str, Told], host: str = "real2") -> Any:
    return hosts[host]["seen"]["real"]


def put(where: Callable[[dict[str, Told]], Any], **values: Any) -> Callable[[dict[str, Told]], None]:
    return lambda hosts: where(hosts).update(values)


def replaced(name: str, value: Told) -> Callable[[dict[str, Told]], None]:
    return lambda hosts: shared(hosts)["vips"].update({name: value})


def clock(behind: float) -> Callable[[dict[str, Told]], None]:
    return lambda hosts: hosts["real2"]["seen"].update(at=1000.5 - behind)


BOTH = ("10.0.0.11", "10.0.0.12")
FAULTS = [
    (
        put(of_real, addresses=["10.0.0.99", "fd00::12"]),
        "real2",
        "real_address",
        "10.0.0.12",
        "katran_real_address",
        True,
    ),
    (replaced(WEB, ring("10.0.0.11")), "lb2", "rings_differ", WEB, "lb2 lacks 10.0.0.12", True),
    (
        replaced(WEB, {**ring(*BOTH), "digest": "x", "settings": ["maglev_v1", 65537]}),
        "lb2",
        "rings_differ",
        WEB,
        "size",
        True,
    ),
    (
        replaced(WEB, ring(*BOTH, **{"10.0.0.12": [3, ""]})),
        *("lb2", "rings_differ", WEB, "10.0.0.12 has weight 3 here, 1 there", True),
    ),
    (
        replaced(WEB, ring(*BOTH, **{"10.0.0.12": [1, "draining by hand, 2026-11-27"]})),
        *("lb2", "rings_differ", WEB, "katran undrain", True),
    ),
    (
        replaced(WEB, ring(*BOTH, **{"10.0.0.12": [1, "down by checks: refused"]})),
        *("lb2", "rings_differ", WEB, "katran checks on lb2 and lb1", False),
    ),
    (lambda hosts: shared(hosts)["vips"].pop(ECHO), "lb2", "rings_differ", ECHO, "it lacks", True),
    (put(of_real, server_id=1), "real1", "server_id_clash", "1", "real1, real2 all have server id 1", True),
    (lambda hosts: shared(hosts)["server_ids"].update({"9": "10.0.0.11"}), None, "", "", "", True),
    (put(of_real, sources=["100::/64"]), "real2", "decap_sources", "172.16.0.0/16", "katran_real_sources", True),
    (put(of_real, vips=["2001:db8::1"]), "real2", "decap_sources", "198.51.100.1", "does not serve", True),
    (put(of_real, interfaces={"eth1": 1500}), "real2", "mtu_real", "", "raise the MTU", True),
    (put(of_real, interfaces={"eth1": 1500}, mss=1400), None, "", "", "", True),
    (clock(10), "real2", "clock_unfit", "", "10 s behind", False),
    (clock(-100), "real2", "clock_unfit", "", "ahead of", True),
    (clock(0.4), None, "", "", "", True),
]


@pytest.mark.parametrize(("plant", "host", "name", "about", "words", "error"), FAULTS)
def test_a_fault_between_hosts_is_found_by_name(
    plant: Callable[[dict[str, Told]], object], host: str | None, name: str, about: str, words: str, error: bool
) -> None:
    hosts = fleet()
    plant(hosts)
    diagnosis = found(hosts)
    if host is None:
        assert diagnosis.findings == ()
        return
    balancers = {(each.name, each.about) for each in diagnosis.findings}
    assert balancers == {(name, about)}
    first = diagnosis.findings[0]
    assert (first.host, first.error) == (host, error)
    assert words in f"{first.cause}; {first.remedy}"
    assert diagnosis.lines[0].startswith(f"{host}: {name}")


def test_gue_to_a_port_that_decap_does_not_take() -> None:
    hosts = fleet()
    shared(hosts, "lb1").update(encapsulation="gue", gue_port=6081, sources={"ipv4": ["172.16.5.1/32"], "ipv6": []})
    assert {(each.host, each.name, each.about) for each in found(hosts).findings} == {
        ("real1", "decap_sources", "port 6081"),
        ("real2", "decap_sources", "port 6081"),
    }


def test_two_server_ids_for_one_real_and_one_for_two() -> None:
    hosts = fleet()
    shared(hosts)["server_ids"]["1"] = "10.0.0.12"
    assert {(each.name, each.about) for each in found(hosts).findings} == {("server_id_clash", "1")}


def test_what_the_inventory_tells_apart_may_differ() -> None:
    told = preflight()
    told["resources"]["1"] = copy.deepcopy(told["resources"]["0"])
    told["resources"]["1"]["vips"][0]["reals"].pop()
    told["resources"]["1"]["vips"].pop()
    told["balancers"]["lb2"]["resources"] = "1"
    hosts = fleet()
    shared(hosts)["vips"] = {WEB: ring("10.0.0.11"), WEB6: ring("fd00::11", "fd00::12")}
    assert found(hosts, told).findings == ()


def test_without_an_inventory_hosts_are_compared_with_each_other_alone() -> None:
    hosts = fleet()
    replaced(WEB, ring("10.0.0.11"))(hosts)
    assert named(found(hosts, {"failed": True, "msg": "wrong"})) == [("lb2", "rings_differ", WEB)]


@pytest.mark.parametrize(
    ("name", "about", "vips"),
    [
        ("vip_not_on_lo", "198.51.100.1", (WEB, ECHO)),
        ("decap_missing", "eth1", (WEB, ECHO)),
        ("firewall_drops", WEB, (WEB,)),
        ("firewall_drops", "198.51.100.1", (WEB, ECHO)),
        ("rp_filter", "eth1", (WEB,)),
        ("source_unreachable", "IPv4", (WEB, ECHO)),
        ("service_silent", "*:80/tcp", (WEB,)),
    ],
)
def test_a_cause_at_the_real_stands_for_what_all_balancers_say(name: str, about: str, vips: tuple[str, ...]) -> None:
    hosts = fleet()
    say(hosts, "real2", name, about)
    silent(hosts, "10.0.0.12", *vips)
    replaced(WEB, ring(*BOTH, **{"10.0.0.12": [1, "down by checks: timeout"]}))(hosts)
    diagnosis = found(hosts)
    assert named(diagnosis) == [("real2", name, about)]
    assert len(diagnosis.explained) == 3


@pytest.mark.parametrize(
    ("name", "about"),
    [
        ("vip_not_on_lo", "2001:db8::1"),
        ("firewall_drops", ECHO),
        ("source_unreachable", "IPv6"),
        ("service_silent", "*:7/udp"),
    ],
)
def test_a_cause_that_is_about_another_vip_explains_nothing(name: str, about: str) -> None:
    hosts = fleet()
    say(hosts, "real2", name, about)
    silent(hosts, "10.0.0.12", WEB)
    assert set(named(found(hosts))) == {
        ("real2", name, about),
        ("lb1", "service_silent", "10.0.0.12"),
    }


def test_a_service_that_fails_its_check_is_told_once_and_explains_its_vip() -> None:
    hosts = fleet()
    for host in ("lb1", "lb2"):
        for row in hosts[host]["seen"]["balancer"]["probes"]["results"]:
            if (row["vip"], row["real"]) == (WEB, "10.0.0.12"):
                row["result"] = "failing"
        say(hosts, host, "service_silent", "10.0.0.12", f"packets to {WEB} arrive at real 10.0.0.12")
        say(hosts, host, "health_and_overlay", WEB, f"vip {WEB} is degraded: 10.0.0.12 (down: timeout) stays in")
    assert named(found(hosts)) == [("lb1", "service_silent", "10.0.0.12")]


def test_a_symptom_without_a_cause_is_told_once_with_what_the_real_counted() -> None:
    hosts = fleet()
    silent(hosts, "10.0.0.12", WEB)
    (first,) = found(hosts, after={"real2": {"counters": {"decap_v4": 10, "decap_v6": 5}}}).findings
    assert first.host == "lb1"
    assert first.cause.endswith(
        "(lb2 too); at real2, nothing came out of a tunnel: what is sent is lost on the way there"
    )
    (first,) = found(hosts, after={"real2": {"counters": {"decap_v4": 16, "decap_v6": 5}}}).findings
    assert first.cause.endswith("at real2, 6 packets came out of tunnels meanwhile")


def test_a_link_that_is_too_small_for_all_is_told_once() -> None:
    hosts = fleet()
    put(of_real, interfaces={"eth1": 1500})(hosts)
    (finding,) = found(hosts).findings
    assert "(by lb1, lb2)" in finding.cause


def test_what_arrives_at_a_real_may_be_another_balancer_s() -> None:
    hosts = fleet()
    silent(hosts, "10.0.0.12", WEB)
    hosts["lb2"]["findings"] = []
    (finding,) = found(hosts, after={"real2": {"counters": {"decap_v4": 16, "decap_v6": 5}}}).findings
    assert finding.cause.endswith("6 packets came out of tunnels meanwhile, of other balancers or of this one")


@pytest.mark.parametrize(
    ("name", "explains"),
    [("vip_answers_arp", False), ("vip_not_on_lo", False), ("decap_missing", False), ("interface_down", True)],
)
def test_a_real_that_answers_nowhere_has_a_cause_that_keeps_it_from_that(name: str, explains: bool) -> None:
    hosts = fleet()
    say(hosts, "real2", name, "eth1" if name != "vip_not_on_lo" else "198.51.100.1")
    for row in hosts["lb2"]["seen"]["balancer"]["probes"]["results"]:
        if row["real"] == "10.0.0.12":
            row["result"] = "unreachable"
    say(hosts, "lb2", "real_unreachable", "10.0.0.12", "real 10.0.0.12 does not answer")
    told = {each for _host, each, _about in named(found(hosts))}
    assert told == ({name} if explains else {name, "real_unreachable"})


def test_a_host_that_does_not_answer_is_a_finding_and_explains_its_silence() -> None:
    hosts = fleet()
    hosts["real2"] = {"unreachable": True, "msg": "Failed to connect:\n no route"}
    silent(hosts, "10.0.0.12", WEB, ECHO)
    diagnosis = found(hosts)
    assert named(diagnosis) == [("real2", "host_unreachable", "")]
    assert "Failed to connect: no route" in diagnosis.findings[0].cause
    assert diagnosis.summary == "1 error and 0 warnings (3 VIPs over 2 balancers and 1 real)"


def test_a_host_that_answers_with_a_fault_is_not_called_unreachable() -> None:
    hosts = fleet()
    hosts["real2"] = {"failed": False, "failed_when_result": False, "msg": "sudo: a password is required", "rc": 1}
    hosts["real1"] = {"failed": True, "module_stderr": "Traceback\nImportError: no module x\n"}
    diagnosis = found(hosts)
    assert set(named(diagnosis)) == {("real1", "not_examined", ""), ("real2", "not_examined", "")}
    causes = {each.host: each.cause for each in diagnosis.findings}
    assert "a password is required" in causes["real2"]
    assert "ImportError: no module x" in causes["real1"]


def test_a_host_that_hangs_is_unreachable() -> None:
    hosts = fleet()
    hosts["real2"] = {"failed": False, "timedout": {"period": 90}, "msg": "Timed out after 90 seconds"}
    assert named(found(hosts)) == [("real2", "host_unreachable", "")]


def test_what_a_real_says_of_its_own_maps_is_told_once() -> None:
    hosts = fleet()
    say(hosts, "real2", "decap_sources", "198.51.100.1")
    put(of_real, vips=["2001:db8::1"])(hosts)
    assert named(found(hosts)) == [("real2", "decap_sources", "198.51.100.1")]
    hosts = fleet()
    say(hosts, "real2", "decap_sources", "172.16.0.0/16")
    put(of_real, sources=["100::/64"])(hosts)
    assert named(found(hosts)) == [("real2", "decap_sources", "172.16.0.0/16")]


def test_a_balancer_whose_checks_do_not_leave_explains_rings() -> None:
    hosts = fleet()
    say(hosts, "lb1", "source_unreachable", "IPv4")
    replaced(WEB, ring(*BOTH, **{"10.0.0.12": [1, "down by checks: timeout"]}))(hosts)
    assert named(found(hosts)) == [("lb1", "source_unreachable", "IPv4")]


def test_a_host_without_anything_of_ours() -> None:
    hosts = fleet()
    hosts["lb1"] = hosts["real1"] = {"installed": False, "findings": [], "seen": {"at": 1000.5}}
    assert set(named(found(hosts))) == {("lb1", "program_detached", ""), ("real1", "decap_missing", "")}


def test_what_an_interface_that_is_down_brings_about() -> None:
    hosts = fleet()
    say(hosts, "real2", "interface_down", "eth1")
    say(hosts, "real2", "source_unreachable", "IPv4")
    of_real(hosts)["addresses"].remove("fd00::12")
    assert named(found(hosts)) == [("real2", "interface_down", "eth1")]


def test_a_drain_by_hand_that_is_told_stands_for_the_difference() -> None:
    hosts = fleet()
    say(hosts, "lb2", "drained_by_hand", "10.0.0.12", error=False)
    replaced(WEB, ring(*BOTH, **{"10.0.0.12": [1, "draining by hand, 2026-11-27"]}))(hosts)
    assert named(found(hosts)) == [("lb2", "drained_by_hand", "10.0.0.12")]


def test_what_a_real_has_to_serve() -> None:
    assert services_of(preflight(), "real1") == [WEB, WEB6, ECHO]
    assert services_of(preflight(), "lb1") == []
    assert services_of({"failed": True}, "real1") == []


def test_a_real_that_the_floor_keeps_in_is_told_with_its_cause_alone() -> None:
    hosts = fleet()
    for balancer in ("lb1", "lb2"):
        say(hosts, balancer, "health_and_overlay", WEB, f"vip {WEB} is degraded: 10.0.0.12 (down: refused) stays in")
    assert named(found(hosts)) == [("lb1", "health_and_overlay", WEB)]
    say(hosts, "real2", "service_refuses", WEB)
    assert named(found(hosts)) == [("real2", "service_refuses", WEB)]
