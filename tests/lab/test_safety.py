# SPDX-License-Identifier: GPL-3.0-or-later
"""No packet of the laboratory leaves the machine, whatever is misconfigured."""

from __future__ import annotations

import ipaddress
import select
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fleetlab.plan import RANGE_IPV4, RANGE_IPV6, Lab
from fleetlab.runs import Fleet

RANGES = (ipaddress.ip_network(RANGE_IPV4), ipaddress.ip_network(RANGE_IPV6))
NO_PROXY = "-F none -o ControlPath=none -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"


class Sniffer(threading.Thread):
    """Counts packets of the laboratory on every interface of the machine's own namespace."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.seen: list[str] = []
        self._ended = threading.Event()
        every_protocol = 0x0003
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(every_protocol))

    def run(self) -> None:
        while not self._ended.is_set():
            if not select.select([self._socket], [], [], 0.1)[0]:
                continue
            packet, where = self._socket.recvfrom(65535)
            addresses: list[ipaddress.IPv4Address | ipaddress.IPv6Address] = []
            if where[1] == 0x0800 and len(packet) >= 20:
                addresses = [ipaddress.IPv4Address(packet[at : at + 4]) for at in (12, 16)]
            elif where[1] == 0x86DD and len(packet) >= 40:
                addresses = [ipaddress.IPv6Address(packet[at : at + 16]) for at in (8, 24)]
            if any(address in network for address in addresses for network in RANGES):
                self.seen.append(f"{where[0]}: {addresses[0]} > {addresses[1]}")

    def end(self) -> list[str]:
        self._ended.set()
        self.join()
        self._socket.close()
        return self.seen


@pytest.fixture
def sniffer() -> Iterator[Sniffer]:
    one = Sniffer()
    one.start()
    yield one
    one.end()


@pytest.mark.parametrize("address", [None, "198.18.0.11", "198.18.11.2", "198.18.200.1", "198.19.255.254"])
def test_without_the_proxy_a_run_fails_at_once(
    lab: Lab, inventory: Path, sniffer: Sniffer, address: str | None
) -> None:
    variables = ["-e", f"ansible_ssh_common_args='{NO_PROXY}'"]
    if address:
        variables += ["-e", f"ansible_host={address}"]
    begin = time.monotonic()
    done = Fleet(lab, inventory).ansible("ansible", "lb1", "-m", "ping", *variables)
    seconds = time.monotonic() - begin
    assert done.returncode != 0
    assert "UNREACHABLE" in done.stdout
    assert "pong" not in done.stdout
    # A connection that is tried and not answered would take ten seconds.
    assert seconds < 8
    assert sniffer.end() == []


@pytest.mark.parametrize("address", ["198.18.200.1", "fd6b:6174:7261:200::1", "fd6b:6174:7261:11::2", "198.19.1.1"])
@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
@pytest.mark.usefixtures("lab")
def test_a_packet_from_the_machine_goes_nowhere(sniffer: Sniffer, address: str, kind: int) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, kind) as one, pytest.raises(OSError, match=r"No route to host|unreachable"):
        one.connect((address, 80))
    assert sniffer.end() == []


def test_a_run_with_the_proxy_shows_nothing_on_the_machines_own_interfaces(
    lab: Lab, inventory: Path, sniffer: Sniffer
) -> None:
    done = Fleet(lab, inventory).ansible("ansible", "all", "-m", "ping")
    assert done.returncode == 0, done.stdout
    assert sniffer.end() == []


def test_the_sniffer_sees_what_there_is() -> None:
    """A watcher that sees nothing proves nothing: the loopback carries such a packet when asked to."""
    from fleetlab.names import BESIDE
    from fleetlab.system import ip, network, run

    run(["ip", "netns", "add", f"{BESIDE}-machine"])
    try:
        with network(f"/run/netns/{BESIDE}-machine"):
            ip(["link set lo up", "addr add 198.18.9.9/32 dev lo"])
            one = Sniffer()
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.sendto(b"x", ("198.18.9.9", 9))
        one.start()
        time.sleep(0.3)
        assert one.end()
    finally:
        run(["ip", "netns", "del", f"{BESIDE}-machine"])
