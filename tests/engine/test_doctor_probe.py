# SPDX-License-Identifier: GPL-3.0-or-later
"""Probe flows of katran doctor, through the tunnel to a real in a network of its own, whose faults they tell."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._engine.doctor.examiner import Probing
from ansible_collections.katran.fleet.plugins.module_utils._engine.doctor.run import Examination, examine
from ansible_collections.katran.fleet.plugins.module_utils._kernel import bpf
from ansible_collections.katran.fleet.plugins.module_utils._kernel.agent_lock import hold
from ansible_collections.katran.fleet.plugins.module_utils._model.addresses import Address, read_address
from ansible_collections.katran.fleet.plugins.module_utils._model.doctor import probe_packets as packets
from ansible_collections.katran.fleet.plugins.module_utils._model.doctor.finding import Finding
from ansible_collections.katran.fleet.plugins.module_utils._model.layout import pack_address
from ansible_collections.katran.fleet.tests.engine import services
from ansible_collections.katran.fleet.tests.engine.host import apply, real, vip
from ansible_collections.katran.fleet.tests.engine.probing import attach, balancer_and_real
from ansible_collections.katran.fleet.tests.engine.sandbox import BPFFS, GATEWAY, ensure_balancer, request, run

V4, V6 = services.VIPS
R4, R6 = services.REALS
NOBODY = "198.18.7.99"
WEB = vip(V4, real(R4), port=services.HTTP)
QUICK = Probing(seconds=0.1)


@pytest.fixture(scope="module", autouse=True)
def host() -> Iterator[None]:
    with balancer_and_real(1600):
        # As in a container: the clock is somebody else's.
        Path("/run/systemd").mkdir()
        Path("/run/systemd/container").write_text("test", encoding="ascii")
        yield


@pytest.fixture(autouse=True)
def _balancer(host: None) -> None:
    del host
    load()


def load(**options: Any) -> None:
    sources = {"source_ipv4": services.BALANCER[0], "source_ipv6": services.BALANCER[1]}
    settings: dict[str, Any] = {"interfaces": ["out"], "gateway_mac": "auto", "encapsulation": "gue", **sources}
    ensure_balancer("attached", **{**settings, **options})


def served(*vips: dict[str, Any], probing: Probing = QUICK) -> Examination:
    """What is found with these VIPs."""
    apply("vips", vips)
    return examine(request(True), probing)


def only(*vips: dict[str, Any]) -> Finding:
    findings = served(*vips).findings
    assert len(findings) == 1, findings
    return findings[0]


def probed(examination: Examination) -> dict[str, Any]:
    found = examination.seen["balancer"]["probes"]
    assert isinstance(found, dict)
    return found


def inside(*command: str) -> str:
    """Run a command in the real's network."""
    child = Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii").split()[0]
    return run("nsenter", "-t", child, "-n", *command)


def test_all_is_well() -> None:
    examination = served(
        WEB,
        vip(V4, real(R4), port=services.UDP, protocol="udp"),
        vip(V4, real(R4), port=0),
        vip(V6, real(R6), port=services.HTTP),
        vip(V6, real(R6), port=services.UDP, protocol="udp"),
        probing=Probing(),
    )
    assert examination.findings == ()
    found = probed(examination)
    assert [row["result"] for row in found["results"]] == ["ok"] * 5
    assert "the service answers in" in found["results"][1]["detail"]
    assert found["outer_sources"] == sorted(services.BALANCER)
    assert found["left"] == 0
    # No trace: neither in the tables of the program, nor at the real.
    assert {pair[0] for pair in examination.seen["balancer"]["flows"].values()} == {0}
    assert inside("ss", "-Htn", "state", "syn-recv") == ""


def test_a_part_of_them() -> None:
    vips = [vip(V4, real(R4), port=port) for port in (services.HTTP, services.MUTE, services.TLS)]
    examination = served(*vips, probing=Probing(most=2, seconds=0.1))
    assert (len(probed(examination)["results"]), probed(examination)["left"]) == (2, 1)
    examination = served(*vips, probing=Probing(vip=f"{V4}:{services.TLS}/tcp", seconds=0.1))
    assert [row["vip"] for row in probed(examination)["results"]] == [f"{V4}:{services.TLS}/tcp"]
    assert probed(served(*vips, probing=Probing(real=NOBODY)))["results"] == []


def test_a_service_that_refuses() -> None:
    finding = only(WEB, vip(V4, real(R4), port=services.REFUSED), vip(V4, real(R4), port=99, protocol="udp"))
    assert (finding.name, finding.about) == ("service_refuses", R4)
    assert f"{V4}:{services.REFUSED}/tcp" in finding.cause
    assert f"{V4}:99/udp" in finding.cause
    assert "ss -lnp" in finding.remedy


def test_a_service_that_is_silent() -> None:
    finding = only(WEB, vip(V4, real(R4), port=services.SILENT))
    assert (finding.name, finding.about, finding.error) == ("service_silent", R4, True)
    assert "answers an echo in the tunnel" in finding.cause
    assert "firewall" in finding.remedy


def test_a_real_that_is_not_there() -> None:
    before = json.loads(run("ip", "-j", "neigh", "show", "198.18.7.254"))[0]["lladdr"]
    run("ip", "neigh", "replace", "198.18.7.254", "lladdr", GATEWAY, "dev", "out")
    try:
        load()
        finding = only(vip(V4, real(NOBODY), port=services.HTTP))
    finally:
        run("ip", "neigh", "replace", "198.18.7.254", "lladdr", before, "dev", "out")
    assert (finding.name, finding.about) == ("real_unreachable", NOBODY)
    assert "katran_real_address" in finding.remedy


def test_a_real_that_does_not_take_the_sources() -> None:
    # Its program takes tunnels from the balancer's own address alone.
    load(encapsulation="ipip")
    finding = only(WEB)
    assert (finding.name, finding.about) == ("service_silent", R4)
    assert "does not take this balancer's sources" in finding.cause
    assert "katran doctor on the real" in finding.remedy


def test_a_real_that_takes_no_tunnel() -> None:
    load(gue_port=6081)
    finding = only(WEB)
    assert (finding.name, finding.about) == ("decap_missing", R4)
    assert "gue_port" in finding.cause


def test_links_that_are_too_small() -> None:
    inside("ip", "link", "set", services.LINK, "mtu", "1520")
    try:
        # The real's routes announce the MSS of a larger link.
        inside("ip", "route", "change", "198.18.7.0/24", "dev", services.LINK, "advmss", "1460")
        finding = only(WEB)
        assert (finding.name, finding.about) == ("mtu_real", R4)
        assert "packets of 1500 bytes" in finding.cause
        assert "1528" in finding.remedy
        # With a smaller MSS, all that clients send gets through.
        inside("ip", "route", "change", "198.18.7.0/24", "dev", services.LINK, "advmss", "1400")
        assert served(WEB).findings == ()
    finally:
        inside("ip", "link", "set", services.LINK, "mtu", "1600")
        inside("ip", "route", "change", "198.18.7.0/24", "dev", services.LINK)
    run("ip", "link", "set", "out", "mtu", "1500")
    try:
        finding = only(WEB)
        assert (finding.name, finding.about) == ("mtu_balancer", "out")
        assert "1528" in finding.cause
    finally:
        run("ip", "link", "set", "out", "mtu", "1600")


def test_a_drained_real_is_left_in_peace() -> None:
    apply("vips", [vip(V4, real(R4), real(NOBODY), port=services.HTTP)])
    apply("reals", [{"address": NOBODY, "state": "draining"}])
    try:
        examination = examine(request(True), QUICK)
    finally:
        apply("reals", [])
    assert examination.findings == ()
    assert [row["real"] for row in probed(examination)["results"]] == [R4]


@pytest.mark.parametrize("encapsulation", ["ipip", "gue"])
def test_the_tunnel_is_the_programs(encapsulation: str) -> None:
    """What a probe is wrapped in is, byte for byte, what the program wraps it in."""
    load(encapsulation=encapsulation)
    apply("vips", [WEB, vip(V6, real(R6), port=services.HTTP), vip("198.51.100.2", real(R6), port=services.HTTP)])
    way = packets.Way(6080, pack_address("172.16.0.0"), pack_address("100::"), *map(pack_address, services.BALANCER))
    fd = bpf.open_pin(f"{BPFFS}/katran/default/balancer")
    try:
        for source, target, behind in (
            ("192.0.2.7", V4, R4),
            ("2001:db8:7::9:1", V6, R6),
            ("192.0.2.7", "198.51.100.2", R6),
        ):
            inner = packets.segment(_address(source), _address(target), (31337, services.HTTP), 77)
            kind = b"\x86\xdd" if ":" in source else b"\x08\x00"
            sent = bpf.test_run(fd, bytes(12) + kind + inner).data[14:]
            assert packets.tunnelled(way, encapsulation, inner, _address(behind), 31337).hex() == sent.hex()
    finally:
        os.close(fd)


def _address(text: str) -> Address:
    found = read_address(text)
    assert found is not None
    return found


def test_without_program_healthcheck() -> None:
    apply("vips", [vip(V4, real(R4), port=services.HTTP, check={"type": "http"})])
    folder = "/run/katran-fleet/default"
    os.makedirs(folder, mode=0o700, exist_ok=True)
    held = hold(folder)
    assert held is not None
    try:
        assert examine(request(True), False).findings == ()
        run("tc", "filter", "del", "dev", "out", "egress")
        (finding,) = examine(request(True), False).findings
        assert (finding.name, finding.about) == ("program_detached", "healthcheck on out")
    finally:
        os.close(held)
        attach()
