# SPDX-License-Identifier: GPL-3.0-or-later
"""From where reals take tunnels in a fleet, also while its encapsulation changes, and whose address a real has."""

from __future__ import annotations

import contextlib
import json
import socket
import struct

from fleetlab import traffic
from fleetlab.plan import CLIENT
from fleetlab.runs import Fleet, on_host
from fleetlab.system import network

REALS = ("real1", "real2", "real3")
IPIP = {"172.16.0.0/16", "100::/64"}
# A port that no check asks.
INNER_SOURCE, VIP, PORT = "10.1.1.1", "198.18.200.1", 20007


def sources_on(fleet: Fleet, host: str) -> set[str]:
    text = on_host(fleet.lab, host, "cat /var/lib/katran-fleet/default/decap.json")
    return set(json.loads(text)["settings"]["sources"])


def all_answered(fleet: Fleet) -> None:
    for report in traffic.send(fleet.lab, fleet.vips(), 40):
        assert not report.unanswered, report.vip


def ipv4(source: str, destination: str, protocol: int, payload: bytes) -> bytes:
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 0, 0, 64, protocol, 0)
    header += socket.inet_aton(source) + socket.inet_aton(destination)
    total = sum(struct.unpack("!10H", header))
    total = (total & 0xFFFF) + (total >> 16)
    return header[:10] + struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF) + header[12:] + payload


def arrived(fleet: Fleet, source: str, count: int = 20) -> int:
    """How many of some datagrams in tunnels from this source, sent by the client, a service on real1 gets."""
    inner = ipv4(INNER_SOURCE, VIP, 17, struct.pack("!HHHH", 40000, PORT, 12, 0) + b"ping")
    with network(fleet.lab.namespace_path(fleet.lab.host("real1"))):
        service = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with service:
        service.bind((VIP, PORT))
        service.settimeout(0.5)
        with (
            network(fleet.lab.namespace_path(fleet.lab.host("client"))),
            socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as wire,
        ):
            for _time in range(count):
                wire.sendto(ipv4(source, "198.18.21.2", 4, inner), ("198.18.21.2", 0))
        seen = 0
        with contextlib.suppress(TimeoutError):
            while service.recv(64) == b"ping":
                seen += 1
        return seen


def test_a_stranger_sends_nothing_in_tunnels(fleet: Fleet) -> None:
    assert all(sources_on(fleet, host) == IPIP for host in REALS)
    assert arrived(fleet, CLIENT.ipv4) == 0
    assert arrived(fleet, "172.17.0.1") == 0
    # As a balancer would.
    assert arrived(fleet, "172.16.9.9") == 20


def test_an_address_of_another_host_is_refused(fleet: Fleet) -> None:
    """What the run before the refusal notes of the host, the next test's deploys put right."""
    before = on_host(fleet.lab, "real1", "cat /var/lib/katran-fleet/default/decap.json; ip addr show dev lo")
    wrong = {"katran_real_address": ["198.18.21.22"]}
    for check in ((), ("--check",)):
        done = fleet.ansible(
            "ansible-playbook", "katran.fleet.deploy", "-e", json.dumps(wrong), "--limit", "real1", *check
        )
        assert done.returncode != 0
        said = " ".join((done.stdout + done.stderr).split())
        assert "katran_real_address: 198.18.21.22 is no address of this host (it has " in said
        assert "198.18.21.2" in said
    assert on_host(fleet.lab, "real1", "cat /var/lib/katran-fleet/default/decap.json; ip addr show dev lo") == before


def test_a_change_of_encapsulation_loses_no_packet_for_its_source(fleet: Fleet) -> None:
    gue = {"katran_encapsulation": "gue"}
    addresses = {"198.18.11.2/32", "fd6b:6174:7261:11::2/128", "198.18.12.2/32", "fd6b:6174:7261:12::2/128"}
    try:
        # Nobody asks the balancers: what was taken before still is.
        fleet.playbook("katran.fleet.deploy", gue, "--limit", "reals")
        assert all(sources_on(fleet, host) >= IPIP for host in REALS)
        all_answered(fleet)
        fleet.playbook("katran.fleet.deploy", gue)
        all_answered(fleet)
        # The balancers' management addresses are theirs, too.
        found = sources_on(fleet, "real1")
        assert found >= addresses
        assert not found & IPIP
        recap = fleet.playbook("katran.fleet.deploy", gue, "--limit", "balancers:real1")
        assert {host: recap[host].changed for host in ("lb1", "lb2", "real1")} == {"lb1": 0, "lb2": 0, "real1": 0}
        assert arrived(fleet, "172.16.9.9") == 0
        assert arrived(fleet, "198.18.11.2") == 20
    finally:
        fleet.deploy()
    all_answered(fleet)
    assert all(sources_on(fleet, host) == IPIP for host in REALS)


def test_a_vip_is_no_source_of_a_real(fleet: Fleet) -> None:
    for host in REALS:
        lines = on_host(fleet.lab, host, f"ip route get {CLIENT.ipv4}; ip -6 route get {CLIENT.ipv6}")
        assert "198.18.200." not in lines
        assert "fd6b:6174:7261:200:" not in lines
        assert " src " in lines
