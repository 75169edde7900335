# SPDX-License-Identifier: GPL-3.0-or-later
"""Gateways of every kind of default route, and of several interfaces: two uplinks, each with a router behind it."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._engine.balancer import Balancer
from ansible_collections.katran.fleet.plugins.module_utils._engine.restore import refresh_gateway
from ansible_collections.katran.fleet.plugins.module_utils._engine.run import run_locked
from ansible_collections.katran.fleet.plugins.module_utils._kernel import bpf, network
from ansible_collections.katran.fleet.plugins.module_utils._kernel.network import gateway_mac, own_address
from ansible_collections.katran.fleet.plugins.module_utils._kernel.state_files import StateFile
from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import NetworkError
from ansible_collections.katran.fleet.tests.engine.life import LINK, MAPS, ensure, wanted
from ansible_collections.katran.fleet.tests.engine.sandbox import BPFFS, compiled_once, run, sandbox

OTHER = "lb1"
FIRST, SECOND, THIRD = (f"02:00:00:00:00:f{last}" for last in (1, 2, 3))
LINKS = {LINK: ("1", FIRST), OTHER: ("2", SECOND)}
BOTH = [LINK, OTHER]


@pytest.fixture(autouse=True)
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """lb0 is in 192.0.1.0/24 and fd00:1::/64, lb1 in 192.0.2.0/24 and fd00:2::/64; routers have 1, the host has 7."""
    monkeypatch.setattr(network, "_RESOLVE_SECONDS", 1.0)
    monkeypatch.setattr(network, "_CONFIRM_SECONDS", 1.0)
    with sandbox(*LINKS), compiled_once():
        for link, (net, mac) in LINKS.items():
            peer, space = f"{link}-peer", f"router{net}"
            run("ip", "netns", "add", space)
            run("ip", "link", "set", peer, "netns", space)
            run("ip", "-n", space, "link", "set", peer, "address", mac, "up")
            for address in (f"192.0.{net}.1/24", f"192.0.{net}.2/24", f"10.9.{net}.9/32"):
                run("ip", "-n", space, "addr", "add", address, "dev", peer)
            run("ip", "-n", space, "addr", "add", f"fd00:{net}::1/64", "nodad", "dev", peer)
            run("ip", "link", "set", link, "addrgenmode", "eui64")
            run("ip", "addr", "add", f"192.0.{net}.7/24", "dev", link)
            run("ip", "addr", "add", f"fd00:{net}::7/64", "nodad", "dev", link)
        yield


def ip(commands: str) -> None:
    """Commands of ip, one a line."""
    for line in filter(None, map(str.strip, commands.splitlines())):
        run("ip", *line.split())


def mac() -> str:
    """The MAC that packets are sent to."""
    with bpf.open_map(f"{MAPS}/ctl_array") as control:
        return layout.parse_mac(control.lookup(layout.u32(layout.CTL_GATEWAY_MAC)) or b"")


ROUTES = {
    "a next-hop object": """
        nexthop add id 10 via 192.0.1.1 dev lb0
        route add default nhid 10""",
    "a group of objects": """
        nexthop add id 10 via 192.0.2.1 dev lb1
        nexthop add id 11 via 192.0.1.1 dev lb0
        nexthop add id 20 group 10/11,3
        route add default nhid 20""",
    "an object of IPv6": """
        nexthop add id 10 via fd00:1::1 dev lb0
        route add default nhid 10""",
    "an IPv6 route by an object": """
        nexthop add id 10 via fd00:1::1 dev lb0
        -6 route add default nhid 10""",
    "an IPv6 group": """
        nexthop add id 10 via fd00:2::1 dev lb1
        nexthop add id 11 via fd00:1::1 dev lb0
        nexthop add id 20 group 10/11
        -6 route add default nhid 20""",
    "via inet6": "route add default via inet6 fd00:1::1 dev lb0",
    "multipath via inet6": "route add default nexthop via inet6 fd00:2::1 dev lb1 nexthop via inet6 fd00:1::1 dev lb0",
    "another table": "route add default via 192.0.1.1 table 1000",
    "on-link": "route add default via 10.9.1.9 dev lb0 onlink",
    "on-link after another's": """
        route add default via 192.0.2.1
        route add default via 10.9.1.9 dev lb0 onlink metric 50""",
    "an object on-link": """
        nexthop add id 10 via 10.9.1.9 dev lb0 onlink
        route add default nhid 10""",
    "IPv6 alone": """
        addr flush dev lb0 scope global
        addr add fd00:1::7/64 nodad dev lb0
        -6 route add default via fd00:1::1""",
    "a metric": """
        route add default via 192.0.1.1 metric 100
        route add default via 192.0.2.1 metric 10""",
    "beside one that leads nowhere": """
        route add unreachable default metric 4294967295
        route add default via 192.0.1.1""",
    "beside an object that leads nowhere": """
        link set lo up
        -4 nexthop add id 9 blackhole
        route add default nhid 9 metric 5
        route add default via 192.0.1.1 metric 9""",
}


@pytest.mark.parametrize("compatible", ["0", "1"])
@pytest.mark.parametrize("kind", ROUTES)
def test_a_default_route_resolves(kind: str, compatible: str) -> None:
    Path("/proc/sys/net/ipv4/nexthop_compat_mode").write_text(compatible, encoding="ascii")
    ip(ROUTES[kind])
    assert gateway_mac([LINK]) == FIRST


def test_one_interface_takes_its_best_gateway() -> None:
    ip("neigh replace 192.0.1.8 lladdr 02:00:00:00:00:f8 dev lb0")
    ip("neigh replace 192.0.1.9 lladdr 02:00:00:00:00:f9 dev lb0")
    ip("route add default via 192.0.1.1 table 1000")
    assert gateway_mac([LINK]) == FIRST
    # Table main comes before others, and in it the lowest metric, though it came last.
    ip("route add default via 192.0.1.8 metric 20")
    assert gateway_mac([LINK]) == "02:00:00:00:00:f8"
    ip("route add default via 192.0.1.9 metric 10")
    assert gateway_mac([LINK]) == "02:00:00:00:00:f9"
    # Of several next hops, the first that answers.
    ip("route replace default metric 10 nexthop via 192.0.1.99 dev lb0 nexthop via 192.0.1.8 dev lb0 weight 9")
    assert [gateway_mac([LINK]) for _time in range(3)] == ["02:00:00:00:00:f8"] * 3


def test_a_link_to_another_namespace_is_above_none_of_this_one() -> None:
    """The kernel tells of a veth which number its peer has, and numbers count in each namespace from 1."""
    run("ip", "netns", "add", "elsewhere")
    for number, link in enumerate(LINKS):
        index = str(socket.if_nametoindex(link))
        run(*f"ip link add other{number} type veth peer name far{number} index {index} netns elsewhere".split())
        ip(f"addr add 192.0.{number + 8}.7/24 dev other{number}\nlink set other{number} up")
        ip(f"neigh replace 192.0.{number + 8}.1 lladdr {THIRD} dev other{number}")
        ip(f"route add default via 192.0.{number + 8}.1 metric {number}")
    ip("route add default via 192.0.1.1 metric 20\nroute add default via 192.0.2.1 metric 30")
    assert gateway_mac([LINK]) == FIRST
    assert gateway_mac([OTHER]) == SECOND


def test_what_leaves_by_a_tunnel_or_by_a_peer_is_not_behind_their_interfaces() -> None:
    run("ip", "link", "add", "tunnel", "type", "vxlan", "id", "9", "dev", LINK, "dstport", "4789")
    run("ip", "link", "add", "near", "type", "veth", "peer", "name", "next")
    for net, link in (("8", "tunnel"), ("9", "near")):
        ip(f"addr add 192.0.{net}.7/24 dev {link}\nlink set {link} up")
        ip(f"neigh replace 192.0.{net}.1 lladdr {THIRD} dev {link}\nroute add default via 192.0.{net}.1 metric {net}")
    for name in (LINK, "next"):
        with pytest.raises(NetworkError, match=f"no IPv4 default route over {name}, no IPv6 default route"):
            gateway_mac([name])


def test_one_that_sends_by_the_interface_leads_on() -> None:
    run("ip", "link", "add", "link", LINK, "name", "above", "type", "macvlan")
    ip("addr add 192.0.9.7/24 dev above\nlink set above up")
    ip(f"neigh replace 192.0.9.1 lladdr {THIRD} dev above\nroute add default via 192.0.9.1")
    assert gateway_mac([LINK]) == THIRD


def test_a_route_without_gateway() -> None:
    ip("route add default dev lb0")
    reason = "the IPv4 default route over lb0 has no gateway, no IPv6 default route"
    with pytest.raises(NetworkError, match=f"^gateway_mac auto: {reason}; give the MAC as gateway_mac$"):
        gateway_mac([LINK])
    assert own_address(network.FAMILIES["IPv4"], []) == "192.0.1.7"
    # IPv6 may have one.
    ip("-6 route add default via fd00:1::1")
    assert gateway_mac([LINK]) == FIRST


TWO = {
    "metrics": "route add default via 192.0.1.1 metric 10\nroute add default via 192.0.2.1 metric 20",
    "multipath": "route add default nexthop via 192.0.1.1 nexthop via 192.0.2.1",
    "a group of objects": """
        nexthop add id 1 via 192.0.1.1 dev lb0
        nexthop add id 2 via 192.0.2.1 dev lb1
        nexthop add id 3 group 1/2
        route add default nhid 3""",
    "tables": "route add default via 192.0.1.1\nroute add default via 192.0.2.1 table 100",
}


@pytest.mark.parametrize("kind", TWO)
def test_gateways_with_different_macs_are_refused(kind: str) -> None:
    ip(TWO[kind])
    sentence = (
        f"gateway_mac auto: lb0 leads to 192.0.1.1 ({FIRST}) and lb1 leads to 192.0.2.1 ({SECOND}), but a balancer"
        " sends to one MAC, out of the interface that a packet came from: give gateway_mac if one MAC will do for all,"
        " or each interface an instance of its own"
    )
    for check in (True, False):
        with pytest.raises(NetworkError, match=f"^{re.escape(sentence)}$"):
            ensure(check, gateway_mac="auto", interfaces=BOTH)
    # Either way out.
    ensure(gateway_mac=THIRD, interfaces=BOTH)
    assert mac() == THIRD
    ensure(gateway_mac="auto", interfaces=[LINK])
    assert mac() == FIRST
    ensure(gateway_mac="auto", interfaces=[OTHER], instance="second")
    with bpf.open_map(MAPS.replace("default", "second") + "/ctl_array") as control:
        assert layout.parse_mac(control.lookup(layout.u32(layout.CTL_GATEWAY_MAC)) or b"") == SECOND


def test_families_may_lead_apart_too() -> None:
    ip("route add default via 192.0.1.1\n-6 route add default via fd00:2::1")
    with pytest.raises(NetworkError, match=r"lb0 leads to 192\.0\.1\.1 .* and lb1 leads to fd00:2::1 "):
        ensure(gateway_mac="auto", interfaces=BOTH)


def test_one_mac_behind_both_is_no_fault() -> None:
    run("ip", "-n", "router2", "link", "set", "lb1-peer", "address", FIRST)
    ip(TWO["metrics"])
    done = ensure(gateway_mac="auto", interfaces=BOTH)
    assert (mac(), done.warnings) == (FIRST, [])
    assert not ensure(gateway_mac="auto", interfaces=BOTH).changed


def test_the_refresh_keeps_what_runs_where_gateways_come_apart() -> None:
    run("ip", "-n", "router2", "link", "set", "lb1-peer", "address", FIRST)
    ip(TWO["metrics"])
    ensure(gateway_mac="auto", interfaces=BOTH)
    run("ip", "-n", "router2", "link", "set", "lb1-peer", "address", SECOND)
    ip("neigh flush dev lb1")
    with pytest.raises(NetworkError, match=r"lb0 leads to .* and lb1 leads to "):
        refresh_gateway(StateFile("default", BPFFS))
    assert mac() == FIRST
    # Both at once: it follows.
    for net in "12":
        run("ip", "-n", f"router{net}", "link", "set", f"lb{int(net) - 1}-peer", "address", THIRD)
    ip("neigh flush dev lb0\nneigh flush dev lb1")
    assert refresh_gateway(StateFile("default", BPFFS)) == [f"gateway MAC {FIRST} → {THIRD}"]


@pytest.mark.parametrize(
    ("route", "reason"),
    [
        ("", "no IPv4 default route over lb1, no IPv6 default route"),
        (
            "route add default via 192.0.2.99 metric 20",
            "the IPv4 gateway 192.0.2.99 does not answer, no IPv6 default route",
        ),
    ],
)
def test_an_interface_whose_gateway_is_not_known_is_told(route: str, reason: str) -> None:
    ip(f"route add default via 192.0.1.1 metric 10\n{route}")
    done = ensure(gateway_mac="auto", interfaces=BOTH)
    assert mac() == FIRST
    assert done.warnings == [
        f"gateway_mac auto: {reason}: what comes in by lb1 is sent to {FIRST} there, the gateway of lb0"
    ]


def test_a_gateway_that_is_forgotten_while_a_run_waits() -> None:
    ip("route add default via 192.0.1.1\n-6 route add default via fd00:1::1")
    job = Balancer("default", BPFFS).ensuring(wanted(gateway_mac="auto"))
    job.prepare()
    ip("neigh flush dev lb0 nud all")
    run_locked(job, False)
    assert mac() == FIRST
