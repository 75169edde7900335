# SPDX-License-Identifier: GPL-3.0-or-later
"""A Kubernetes node as real: a CNI's bridge with a pod, forwarding, and NAT rules as kube-proxy makes them beside us.

docs/reals.md says what to set. client → tunnel → VIP → DNAT → pod → the answer from the VIP straight to the client.
"""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ansible_collections.katran.fleet.tests.engine.real import (
    LINK,
    PORT,
    REAL6,
    A,
    C,
    Tunnel,
    carried,
    ensure,
    real_host,
    send,
)
from ansible_collections.katran.fleet.tests.engine.sandbox import run
from ansible_collections.katran.fleet.tests.engine.tunnelled import CLIENT, CLIENT6

POD = {4: "10.244.0.7", 6: "fd00:244::7"}
BRIDGE = {4: "10.244.0.1", 6: "fd00:244::1"}
POD_PORT = 8053
ROUTER = "02:00:00:00:00:fe"
_ECHO = """
import socket, sys
found = [(socket.AF_INET, sys.argv[1]), (socket.AF_INET6, sys.argv[2])]
sockets = [socket.socket(family, socket.SOCK_DGRAM) for family, _ in found]
for each, (_, address) in zip(sockets, found): each.bind((address, int(sys.argv[3])))
print("ready", flush=True)
import select
while True:
    for each in select.select(sockets, [], [])[0]:
        data, source = each.recvfrom(2048)
        each.sendto(source[0].encode(), source)
"""

# As kube-proxy has them for a Service of type LoadBalancer; masquerade stands for externalTrafficPolicy: Cluster.
_NAT = """
table inet kube {{
  chain prerouting {{
    type nat hook prerouting priority dstnat;
    ip daddr {a} udp dport {port} {mark} dnat ip to {pod4}:{pod_port}
    ip6 daddr {c} udp dport {port} {mark} dnat ip6 to [{pod6}]:{pod_port}
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat;
    meta mark 0x4000 masquerade
    ip saddr 10.244.0.0/16 ip daddr != 10.244.0.0/16 masquerade
    ip6 saddr fd00:244::/64 ip6 daddr != fd00:244::/64 masquerade
  }}
  chain forward {{
    type filter hook forward priority filter; policy drop;
    ct state invalid drop
    ct status dnat accept
    ct state established,related accept
    iifname "cni0" accept
  }}
}}
"""


@contextmanager
def echoing(*prefix: str, addresses: tuple[str, str], port: int) -> Iterator[None]:
    """A service that says who asks, in a process of its own."""
    command = [*prefix, sys.executable, "-c", _ECHO, *addresses, str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as service:
        assert service.stdout is not None
        assert service.stdout.readline() == "ready\n"
        try:
            yield
        finally:
            service.kill()


@pytest.fixture(autouse=True)
def node() -> Iterator[None]:
    """A node with a bridge, a pod behind it, and a router to the clients."""
    with real_host():
        for name in ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"):
            run("sysctl", "-qw", f"{name}=1")
        # As module host sets them on a real, beside what a distribution has: strict for all would be too strict.
        for name, value in (
            ("all.rp_filter", 1),
            (f"{LINK}.rp_filter", 2),
            ("all.arp_ignore", 1),
            ("all.arp_announce", 2),
        ):
            run("sysctl", "-qw", f"net.ipv4.conf.{name}={value}")
        run("ip", "addr", "add", f"{REAL6}/64", "dev", LINK, "nodad")
        run("ip", "neigh", "add", "198.18.7.254", "lladdr", ROUTER, "dev", LINK)
        run("ip", "neigh", "add", "2001:db8:7::fe", "lladdr", ROUTER, "dev", LINK)
        run("ip", "route", "add", "default", "via", "198.18.7.254")
        run("ip", "-6", "route", "add", "default", "via", "2001:db8:7::fe")
        # Without a link-local address, which it may not use while it looks for others with it, the bridge finds no pod.
        no_search = ("sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0", "net.ipv6.conf.all.accept_dad=0")
        run(*no_search)
        run("ip", "link", "add", "cni0", "type", "bridge")
        run("ip", "link", "add", "veth0", "type", "veth", "peer", "name", "eth0")
        run("ip", "netns", "add", "pod")
        run("ip", "netns", "exec", "pod", *no_search)
        run("ip", "link", "set", "eth0", "netns", "pod")
        run("ip", "link", "set", "veth0", "master", "cni0", "up")
        run("ip", "link", "set", "cni0", "up")
        inside = ("ip", "-n", "pod")
        for family, length in ((4, 16), (6, 64)):
            more = ["nodad"] if family == 6 else []
            run("ip", "addr", "add", f"{BRIDGE[family]}/{length}", "dev", "cni0", *more)
            run(*inside, "addr", "add", f"{POD[family]}/{length}", "dev", "eth0", *more)
        run(*inside, "link", "set", "eth0", "up")
        for family in (4, 6):
            run(*inside, f"-{family}", "route", "add", "default", "via", BRIDGE[family])
        carried("pod", "eth0", "veth0", "cni0")
        yield
        run("ip", "netns", "del", "pod")


def nat(mark: str = "") -> None:
    names = {"a": A, "c": C, "port": PORT, "pod4": POD[4], "pod6": POD[6], "pod_port": POD_PORT, "mark": mark}
    subprocess.run(["nft", "-f", "-"], input=_NAT.format(**names), text=True, check=True)


def answer(vip: str, tunnel: Tunnel) -> str | None:
    """Who the service says has asked, once the answer comes from the VIP's port straight to the client's."""
    v6 = ":" in vip
    source, client = (
        socket.inet_pton(socket.AF_INET6 if v6 else socket.AF_INET, each) for each in (vip, CLIENT6 if v6 else CLIENT)
    )
    at = 14 + (40 if v6 else 20)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as wire:
        wire.bind((f"{LINK}-peer", 3))
        wire.settimeout(0.5)
        send(tunnel.packet(vip))
        deadline = time.monotonic() + 3
        while time.monotonic() < deadline:
            try:
                frame, address = wire.recvfrom(2048)
            except TimeoutError:
                return None
            addresses = frame[22:54] if v6 else frame[26:34]
            if address[2] == 4 or addresses != source + client:
                continue
            assert frame[:6].hex(":") == ROUTER
            assert struct.unpack_from("!HH", frame, at) == (PORT, 40000)
            return frame[at + 8 :].rstrip(b"\0").decode()
    return None


WAYS = [(A, Tunnel(4)), (A, Tunnel(6, "gue")), (C, Tunnel(6)), (C, Tunnel(4, "gue"))]


@pytest.mark.parametrize("how", ["xdp", "tc"])
def test_a_pod_answers_from_the_vip(how: str) -> None:
    ensure(A, C, how=how)
    nat()
    with echoing("ip", "netns", "exec", "pod", addresses=(POD[4], POD[6]), port=POD_PORT):
        # externalTrafficPolicy: Local, so the pod sees the client.
        assert [answer(*each) for each in WAYS] == [CLIENT, CLIENT, CLIENT6, CLIENT6]
    assert not ensure(A, C, how=how).changed


def test_a_cluster_wide_service_hides_the_client() -> None:
    ensure(A, C)
    nat("meta mark set 0x4000")
    with echoing("ip", "netns", "exec", "pod", addresses=(POD[4], POD[6]), port=POD_PORT):
        assert [answer(*each) for each in WAYS] == [BRIDGE[4], BRIDGE[4], BRIDGE[6], BRIDGE[6]]


@pytest.mark.parametrize("how", ["xdp", "tc"])
def test_a_service_of_the_hosts_network(how: str) -> None:
    ensure(A, C, how=how)
    with echoing(addresses=("0.0.0.0", C), port=PORT):
        # Bound to all addresses, a service answers UDP from what the route says: it is asked at the VIP alone.
        assert answer(C, Tunnel(6)) == CLIENT6
    with echoing(addresses=(A, C), port=PORT):
        assert [answer(*each) for each in WAYS] == [CLIENT, CLIENT, CLIENT6, CLIENT6]
    assert Path(f"/proc/sys/net/ipv4/conf/{LINK}/rp_filter").read_text().strip() == "2"


def test_a_tunnel_between_pods_is_left_alone() -> None:
    """Such as a CNI's own IPIP, which this host forwards or another device of it takes."""
    ensure(A, C)
    nat()
    with echoing("ip", "netns", "exec", "pod", addresses=(POD[4], POD[6]), port=POD_PORT):
        assert answer(A, Tunnel(end=POD[4])) is None
        assert answer(A, Tunnel(source="198.18.7.9")) is None
        assert answer(A, Tunnel()) == CLIENT
