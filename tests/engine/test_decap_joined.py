# SPDX-License-Identifier: GPL-3.0-or-later
"""Segments of TCP that the kernel joins before tc sees them (GRO): stripped as one, each byte arrives once."""

from __future__ import annotations

import contextlib
import ctypes
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model.checksum import checksum
from ansible_collections.katran.fleet.tests.engine.real import LINK, REAL, REAL6, A, carried, ensure, real_host
from ansible_collections.katran.fleet.tests.engine.sandbox import run
from ansible_collections.katran.fleet.tests.engine.tunnelled import CLIENT, ipv6

Service = Callable[[], AbstractContextManager[socket.socket]]

SYN, ACK = 2, 16
CLIENT_PORT, PORT = 40000, 8080
SEGMENTS, BYTES = 12, 1200


def unfragmented(source: str, destination: str, protocol: int, payload: bytes) -> bytes:
    """An IPv4 packet as TCP sends them: GRO joins those that must not be fragmented."""
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 0, 0x4000, 64, protocol, 0)
    header += socket.inet_aton(source) + socket.inet_aton(destination)
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + payload


def segment(number: int, acknowledged: int, flags: int, payload: bytes = b"") -> bytes:
    """An inner packet of the client's."""
    ends = socket.inet_aton(CLIENT) + socket.inet_aton(A)
    header = struct.pack("!HHIIBBHHH", CLIENT_PORT, PORT, number, acknowledged, 0x50, flags, 65535, 0, 0)
    summed = checksum(ends + struct.pack("!HH", 6, 20 + len(payload)) + header + payload)
    return unfragmented(CLIENT, A, 6, header[:16] + struct.pack("!H", summed) + header[18:] + payload)


@pytest.fixture(autouse=True)
def host() -> Iterator[None]:
    with real_host():
        run("ip", "addr", "add", f"{REAL6}/64", "dev", LINK, "nodad")
        run("ip", "neigh", "add", "198.18.7.254", "lladdr", "02:00:00:00:00:fe", "dev", LINK)
        run("ip", "route", "add", "default", "via", "198.18.7.254")
        run("ethtool", "-K", f"{LINK}-peer", "tso", "off")
        run("ethtool", "-K", LINK, "gro", "on")
        for name, value in (("gro_flush_timeout", 50_000_000), ("napi_defer_hard_irqs", 100)):
            Path(f"/sys/class/net/{LINK}/{name}").write_text(str(value))
        yield


@contextmanager
def here() -> Iterator[socket.socket]:
    """A service on the VIP itself."""
    with socket.create_server((A, PORT)) as server:
        yield server


@contextmanager
def in_a_pod() -> Iterator[socket.socket]:
    """One in a namespace behind NAT: what was joined goes on by another interface."""
    run("sysctl", "-qw", "net.ipv4.ip_forward=1")
    run("ip", "netns", "add", "pod")
    run("ip", "link", "add", "veth0", "type", "veth", "peer", "name", "eth0")
    run("ip", "link", "set", "eth0", "netns", "pod")
    run("ip", "addr", "add", "10.244.0.1/24", "dev", "veth0")
    run("ip", "link", "set", "veth0", "up")
    run("ip", "-n", "pod", "addr", "add", "10.244.0.7/24", "dev", "eth0")
    run("ip", "-n", "pod", "link", "set", "eth0", "up")
    run("ip", "-n", "pod", "route", "add", "default", "via", "10.244.0.1")
    carried("pod", "eth0", "veth0")
    run("nft", "add table ip kube; add chain ip kube pre { type nat hook prerouting priority -100; }")
    run("nft", f"add rule ip kube pre ip daddr {A} tcp dport {PORT} dnat to 10.244.0.7:{PORT}")
    with open("/proc/thread-self/ns/net", "rb") as home, open("/run/netns/pod", "rb") as pod:
        # A socket stays in the namespace that it was made in.
        setns(pod.fileno())
        try:
            server = socket.create_server(("10.244.0.7", PORT))
        finally:
            setns(home.fileno())
    with server:
        yield server
    run("ip", "netns", "del", "pod")


def setns(descriptor: int) -> None:
    network = 0x40000000
    assert ctypes.CDLL(None).setns(descriptor, network) == 0


@pytest.mark.parametrize(("family", "service"), [(4, here), (6, here), (4, in_a_pod), (6, in_a_pod)])
def test_joined_segments_arrive_whole(family: int, service: Service) -> None:
    ensure(A, how="tc")
    every = socket.htons(3)
    with (
        service() as server,
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, every) as wire,
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, every) as inside,
    ):
        wire.bind((f"{LINK}-peer", 3))
        inside.bind((LINK, 3))
        server.settimeout(5)
        wire.settimeout(5)
        mac = bytes.fromhex(Path(f"/sys/class/net/{LINK}/address").read_text().strip().replace(":", ""))

        def send(inner: bytes) -> None:
            if family == 4:
                frame = b"\x08\x00" + unfragmented("172.16.1.1", REAL, 4, inner)
            else:
                frame = b"\x86\xdd" + ipv6("100::1", REAL6, 4, inner)
            wire.send(mac + bytes(6) + frame)

        send(segment(1000, 0, SYN))
        answer = b""
        while answer[26:34] != socket.inet_aton(A) + socket.inet_aton(CLIENT):
            answer = wire.recv(2048)
        theirs = struct.unpack_from("!I", answer, 38)[0] + 1
        send(segment(1001, theirs, ACK))
        connection, _client = server.accept()
        data = bytes(number % 251 for number in range(SEGMENTS * BYTES))
        for at in range(0, len(data), BYTES):
            send(segment(1001 + at, theirs, ACK, data[at : at + BYTES]))
        with connection:
            connection.settimeout(5)
            received = b""
            while len(received) < len(data):
                received += connection.recv(65536)
        assert received == data
        # What a tap sees ahead of tc shows that they were joined.
        inside.setblocking(False)
        longest = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                longest = max(longest, len(inside.recv(65536)))
        assert longest > 2 * BYTES
