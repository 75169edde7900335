# SPDX-License-Identifier: GPL-3.0-or-later
"""Real connections through a real balancer: every byte of 10 MB both ways, and thousands of requests, none lost.

Client, router, balancer and real each have a network of their own. The client's link carries 1500 bytes, those of
balancer and real 1600, so that the path from end to end carries 1500 in any tunnel.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._engine.info import gather_info
from ansible_collections.katran.fleet.plugins.module_utils._kernel.xdp import Interfaces
from ansible_collections.katran.fleet.tests.engine import transfers
from ansible_collections.katran.fleet.tests.engine.host import apply, real, vip
from ansible_collections.katran.fleet.tests.engine.life import program_of
from ansible_collections.katran.fleet.tests.engine.sandbox import compiled_once, ensure_balancer, request, run, sandbox
from ansible_collections.katran.fleet.tests.engine.transfers import REALS, VIPS

COLLECTIONS = Path(__file__).resolve().parents[2] / "collections"
OWN = ("192.0.2.250", "2001:db8:2::250")
TUNNELS = ("172.16.0.0/16", "100::/64", *OWN)
OFF = ("tx", "off", "tso", "off", "gso", "off", "gro", "off")
"""What a veth would leave to hardware that is not there: a balancer takes packets as they are on the wire."""

KEPT, NEW = 8000, 2000
TIMESTAMPS, MSS = 12, 1380
ROUTER = "router"


def started(*arguments: str, prefix: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*prefix, sys.executable, transfers.__file__, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(COLLECTIONS)},
    )


def in_router(*command: str) -> str:
    return run("ip", "netns", "exec", ROUTER, *command)


def in_client(*command: str) -> str:
    return run("ip", "netns", "exec", "client", *command)


def mac_of(interface: str) -> str:
    return str(json.loads(run("ip", "-j", "link", "show", interface))[0]["address"])


def wire() -> str:
    """Router and client, and the balancer's way to the router; the MAC of the balancer's gateway."""
    fd = program_of(2)
    with Interfaces() as links:
        # veth moves what XDP sends only to a peer that has a program too.
        links.replace("lb0-peer", fd, "native", None)
    os.close(fd)
    gateway = mac_of("lb0-peer")
    run("ip", "link", "set", "lo", "up")
    for name in (ROUTER, "client"):
        run("ip", "netns", "add", name)
    run("ip", "link", "set", "lb0-peer", "netns", ROUTER)
    run("ip", "link", "add", "r-client", "netns", ROUTER, "type", "veth", "peer", "name", "eth1", "netns", "client")
    run("ip", "link", "add", "r-real", "netns", ROUTER, "mtu", "1600", "type", "veth", "peer", "name", transfers.LINK)
    run("ip", "link", "set", transfers.LINK, "mtu", "1600")
    run("ip", "link", "set", "lb0", "mtu", "1600")
    in_router("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
    in_router("sysctl", "-qw", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.default.rp_filter=0")
    in_router("ip", "link", "set", "lb0-peer", "mtu", "1600")
    for number, name in enumerate(("lb0-peer", "r-real", "r-client"), 1):
        in_router("sysctl", "-qw", f"net.ipv4.conf.{name}.rp_filter=0")
        in_router("ethtool", "-K", name, *OFF)
        in_router("ip", "link", "set", name, "up")
        in_router("ip", "addr", "add", f"198.18.{number}.1/24", "dev", name)
        in_router("ip", "addr", "add", f"fd00:{number}::1/64", "dev", name, "nodad")
    run("ethtool", "-K", "lb0", *OFF)
    in_client("ethtool", "-K", "eth1", *OFF)
    in_client("ip", "link", "set", "eth1", "up")
    # Two thousand connections at once would else wait for ports that have just been used.
    in_client("sysctl", "-qw", "net.ipv4.ip_local_port_range=10000 65000", "net.ipv4.tcp_tw_reuse=1")
    for address, router, length in (("198.18.3.2", "198.18.3.1", 24), ("fd00:3::2", "fd00:3::1", 64)):
        in_client("ip", "addr", "add", f"{address}/{length}", "dev", "eth1", *(["nodad"] if ":" in address else []))
        in_client("ip", "route", "add", "default", "via", router)
    for place, address, length in ((VIPS[0], "198.18.1.2", 24), (VIPS[1], "fd00:1::2", 64)):
        run("ip", "addr", "add", f"{address}/{length}", "dev", "lb0", *(["nodad"] if ":" in address else []))
        in_router("ip", "route", "add", place, "via", address)
    return gateway


class World(NamedTuple):
    """The MAC of the balancer's gateway, and the real's process."""

    gateway: str
    real: subprocess.Popen[str]

    def limit(self, mtu: int, mss: int) -> None:
        """Another MTU of the links of balancer and real, and the MSS that VIPs announce; 0: the link's own."""
        run("ip", "link", "set", "lb0", "mtu", str(mtu))
        for name in ("lb0-peer", "r-real"):
            in_router("ip", "link", "set", name, "mtu", str(mtu))
        tell(self.real, f"{mtu} {mss}", "done")


def tell(real: subprocess.Popen[str], line: str, answer: str) -> None:
    assert real.stdin
    assert real.stdout
    real.stdin.write(f"{line}\n")
    real.stdin.flush()
    assert real.stdout.readline() == f"{answer}\n"


@contextmanager
def served() -> Iterator[World]:
    """All four."""
    with sandbox("lb0"), compiled_once():
        end = started("serve", *TUNNELS)
        assert end.stdin
        assert end.stdout
        try:
            assert end.stdout.readline() == "here\n"
            gateway = wire()
            run("ip", "link", "set", transfers.LINK, "netns", str(end.pid))
            tell(end, "", "ready")
            yield World(gateway, end)
        finally:
            end.stdin.close()
            end.wait()
            end.stdout.close()


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with served() as found:
        yield found


def balance(world: World, encapsulation: str, *features: str, **lists: dict[str, list[str]]) -> None:
    """A balancer for these VIPs. `lists`: allow or deny, by VIP."""
    ensure_balancer(
        "attached",
        interfaces=["lb0"],
        encapsulation=encapsulation,
        features=list(features),
        source_ipv4=OWN[0],
        source_ipv6=OWN[1],
        gateway_mac=world.gateway,
    )
    more = {place: {name: prefixes[place] for name, prefixes in lists.items()} for place in VIPS}
    apply("vips", [vip(place, real(end), **more[place]) for place, end in zip(VIPS, REALS, strict=True)])


@pytest.fixture(params=["ipip", "gue"])
def balancing(request: pytest.FixtureRequest, world: World) -> str:
    balance(world, request.param)
    return str(request.param)


def asked(place: str, kept: int, new: int) -> dict[str, Any]:
    client = started("ask", place, str(kept), str(new), prefix=("ip", "netns", "exec", "client"))
    try:
        answer, _errors = client.communicate(timeout=90)
    finally:
        client.kill()
    assert client.returncode == 0
    found: dict[str, Any] = json.loads(answer)
    return found


def balanced(place: str) -> dict[str, int]:
    """What the balancer counted of a VIP."""
    rows = gather_info(request(), ["counters"])["counters"]["vips"]
    return next(row for row in rows if place in row["vip"])


def headers(place: str) -> int:
    """Of IP and TCP."""
    return 60 if ":" in place else 40


@pytest.mark.parametrize("place", VIPS, ids=["ipv4", "ipv6"])
def test_ten_megabytes_each_way_and_ten_thousand_requests(balancing: str, place: str) -> None:
    before = balanced(place)
    found = asked(place, KEPT, NEW)
    print(balancing, place, found["seconds"])
    assert found["down"] == found["up"] == found["wanted"]
    assert (found["answered"], found["errors"]) == (KEPT + NEW, [])
    # A request has a packet at least, and a connection four.
    assert balanced(place)["packets"] - before["packets"] > KEPT + 4 * NEW
    # Packets as long as the client's link takes them, to the byte.
    assert found["segment"] == 1500 - headers(place) - TIMESTAMPS


@pytest.mark.parametrize("place", VIPS, ids=["ipv4", "ipv6"])
def test_links_of_1500_bytes_carry_all_where_vips_announce_a_smaller_mss(
    balancing: str, place: str, world: World
) -> None:
    world.limit(1500, MSS)
    try:
        found = asked(place, 100, 100)
    finally:
        world.limit(1600, 0)
    assert found["down"] == found["up"] == found["wanted"]
    assert (found["answered"], found["errors"]) == (200, [])
    assert found["segment"] == MSS - TIMESTAMPS


CLIENTS = {VIPS[0]: "198.18.3.2", VIPS[1]: "fd00:3::2"}
NETWORKS = {VIPS[0]: "198.18.3.0/24", VIPS[1]: "fd00:3::/64"}
STRANGERS = {VIPS[0]: "198.18.3.9", VIPS[1]: "fd00:3::9"}
CONNECT = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
with socket.socket(family) as one:
    one.settimeout(1)
    one.bind((sys.argv[2], 0))
    print(one.connect_ex((sys.argv[1], 80)))
"""


@pytest.fixture(scope="module")
def filtering(world: World) -> World:
    """VIPs that take one client alone: neither a router nor anybody else is in a list."""
    for address, length in zip(STRANGERS.values(), (24, 64), strict=True):
        # Only who names it comes from it.
        last = ["nodad", "preferred_lft", "0"] if ":" in address else []
        in_client("ip", "addr", "add", f"{address}/{length}", "dev", "eth1", *last)
    balance(world, "ipip", "source_filter", allow={place: [client] for place, client in CLIENTS.items()})
    return world


@pytest.mark.parametrize("place", VIPS, ids=["ipv4", "ipv6"])
def test_a_list_of_one_client_lets_no_other_in_and_keeps_no_router_out(place: str, filtering: World) -> None:
    """The path to the client is narrower than its own link: only an error of the router tells the real so."""
    del filtering
    in_router("ip", "route", "del", NETWORKS[place], "dev", "r-client")
    in_router("ip", "route", "add", NETWORKS[place], "dev", "r-client", "mtu", "1400")
    found = asked(place, 100, 100)
    assert found["down"] == found["up"] == found["wanted"]
    assert (found["answered"], found["errors"]) == (200, [])
    named = gather_info(request(), ["counters"])["counters"]["global"]
    assert named["icmpv6_too_big_received" if ":" in place else "icmpv4_frag_needed_received"] >= 1
    assert balanced(place)["denied_packets"] == 0
    assert int(in_client(sys.executable, "-c", CONNECT, place, STRANGERS[place])) != 0
    assert int(in_client(sys.executable, "-c", CONNECT, place, CLIENTS[place])) == 0
    assert balanced(place)["denied_packets"] >= 1
