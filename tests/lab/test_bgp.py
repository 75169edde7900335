# SPDX-License-Identifier: GPL-3.0-or-later
"""VIPs announced by BGP to a router that spreads flows by ECMP: how soon it hears of a change, and who notices; FRR."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from fleetlab import routes, traffic
from fleetlab.announced import (
    BOTH,
    CONF,
    IPV4,
    IPV6,
    PASSWORD,
    PROTOCOL,
    READ,
    TABLE,
    announce,
    established,
    everywhere,
    run_bgp,
    told_by_router,
    until,
    withdraw,
)
from fleetlab.flows import Target, open_flow
from fleetlab.network import pinned
from fleetlab.plan import ROUTER, Lab
from fleetlab.runs import Fleet, on_host
from fleetlab.system import ip, run
from fleetlab.system import network as entered

ALONE = True


@dataclass
class Asking(threading.Thread):
    """A client that makes a new connection every few milliseconds, and notes when each began and how long it took."""

    lab: Lab
    target: Target
    asked: list[tuple[float, float, bool]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(daemon=True)
        self._ended = threading.Event()

    __hash__ = threading.Thread.__hash__

    def run(self) -> None:
        with entered(self.lab.namespace_path(self.lab.host("client"))):
            asyncio.run(self._ask())

    async def _ask(self) -> None:
        running: set[asyncio.Task[None]] = set()
        while not self._ended.is_set():
            task = asyncio.create_task(self._one())
            running.add(task)
            task.add_done_callback(running.discard)
            await asyncio.sleep(0.01)
        await asyncio.gather(*running)

    async def _one(self) -> None:
        begin = time.monotonic()
        flow = await open_flow(self.target, timeout=3.0)
        self.asked.append((begin, time.monotonic() - begin, flow.real is not None))

    def end(self) -> None:
        self._ended.set()
        self.join()

    def disturbed(self) -> list[float]:
        """When those began that were not answered at once: a packet that is lost is sent again after a second."""
        return sorted(begin for begin, took, good in self.asked if not good or took > 0.7)


@contextmanager
def asking(lab: Lab, address: str) -> Iterator[Asking]:
    one = Asking(lab, Target(address, 80, "tcp"))
    one.start()
    try:
        time.sleep(1)
        yield one
    finally:
        one.end()


def test_sessions_of_both_families_are_up_and_watched(bgp: Fleet) -> None:
    for host in BOTH:
        # Each family's routes may have come by the other's session already.
        until(lambda host=host: established(bgp.lab, host) == 2, 10)
        watched = on_host(bgp.lab, host, "birdc show bfd sessions")
        assert watched.count(" Up ") == 2
        assert "0.100    0.300" in watched
    assert established(bgp.lab, "router") == 4


def test_the_router_spreads_flows_over_both_balancers(bgp: Fleet) -> None:
    assert everywhere(bgp.lab, *BOTH)
    before = {host: bgp.received_packets(host) for host in BOTH}
    reports = traffic.send(bgp.lab, bgp.vips(), 200)
    assert not [flow for report in reports for flow in report.unanswered]
    assert not [pair for report in reports for pair in report.astray]
    received = {host: bgp.received_packets(host) - before[host] for host in BOTH}
    assert min(received.values()) > max(received.values()) / 2


def test_nothing_else_is_announced(bgp: Fleet) -> None:
    """Neither what another protocol put into the table, nor an address that is no VIP."""
    lab = bgp.lab
    where = lab.namespace(lab.host("lb1"))
    strange = [f"198.18.200.77 dev lo table {TABLE} proto 99", f"198.18.200.78 dev lo table {TABLE} proto {PROTOCOL}"]
    ip([f"route add {route}" for route in strange], where)
    try:
        time.sleep(1.5)
        assert set(routes.read(lab)) == {IPV4, IPV6}
    finally:
        ip([f"route del {route}" for route in strange], where)
    # Nor does a balancer learn anything.
    assert "bird" not in on_host(lab, "lb1", "ip route show table all; ip -6 route show table all")


def test_a_withdrawal_is_at_the_router_at_once(whole_bgp: Fleet) -> None:
    withdraw(whole_bgp.lab, "lb1")
    assert until(lambda: everywhere(whole_bgp.lab, "lb2"), 1.0) <= 1.0
    announce(whole_bgp.lab, "lb1")
    assert until(lambda: everywhere(whole_bgp.lab, *BOTH), 1.0) <= 1.0


@pytest.mark.parametrize("address", [IPV4, IPV6])
def test_a_withdrawal_loses_no_request(whole_bgp: Fleet, address: str) -> None:
    with asking(whole_bgp.lab, address) as client:
        withdraw(whole_bgp.lab, "lb1")
        time.sleep(2)
        announce(whole_bgp.lab, "lb1")
        time.sleep(1)
    assert len(client.asked) > 200
    assert client.disturbed() == []


@pytest.mark.parametrize("address", [IPV4, IPV6])
def test_traffic_leaves_a_balancer_that_drains(whole_bgp: Fleet, address: str) -> None:
    with asking(whole_bgp.lab, address) as client:
        announce(whole_bgp.lab, "lb1", metric=2)
        until(lambda: everywhere(whole_bgp.lab, "lb2"), 1.0)
        # It is announced all the same, for where nothing else is left (RFC 8326).
        told = told_by_router(whole_bgp.lab, address)
        assert "(65535,0)" in told
        assert told.count("BGP.community: (65001,80)") >= 2
        withdraw(whole_bgp.lab, "lb2")
        until(lambda: everywhere(whole_bgp.lab, "lb1"), 1.0)
        time.sleep(1)
    assert client.disturbed() == []


def drop(lab: Lab, host: str) -> None:
    """Have the router drop whatever goes to a host or comes from it, with the link up: nobody is told."""
    link = f"r-{host}"
    rules = (
        "add table inet dead",
        "add chain inet dead in { type filter hook prerouting priority -300; }",
        "add chain inet dead out { type filter hook postrouting priority 300; }",
        f"add rule inet dead in iifname {link} drop",
        f"add rule inet dead out oifname {link} drop",
    )
    with entered(lab.namespace_path(ROUTER)):
        run(["nft", "-f", "-"], "\n".join(rules) + "\n")


def undrop(lab: Lab) -> None:
    with entered(lab.namespace_path(ROUTER)):
        run(["nft", "delete", "table", "inet", "dead"])


@pytest.mark.parametrize("address", [IPV4, IPV6])
@pytest.mark.parametrize("how", ["link", "silence"])
def test_traffic_is_at_the_other_balancer_within_a_second_of_a_cut(whole_bgp: Fleet, how: str, address: str) -> None:
    lab = whole_bgp.lab
    with asking(lab, address) as client:
        cut = time.monotonic()
        if how == "link":
            ip(["link set eth1 down"], lab.namespace(lab.host("lb1")))
        else:
            drop(lab, "lb1")
        try:
            gone = until(lambda: everywhere(lab, "lb2"), 3.0)
            time.sleep(2)
        finally:
            if how == "link":
                up = ["link set eth1 up", f"addr replace {lab.host('lb1').ipv6}/64 dev eth1 nodad"]
                up += [f"route replace default via {gateway}" for gateway in _gateways(lab)]
                with pinned():
                    ip(up, lab.namespace(lab.host("lb1")))
            else:
                undrop(lab)
    lost = client.disturbed()
    last = max(lost, default=cut) - cut
    print(
        f"{how} cut, {address}: at the other after {gone:.2f} s; {len(lost)} of {len(client.asked)} requests disturbed"
    )
    assert gone <= 1.0
    assert last <= 1.0
    assert all(begin >= cut - 0.7 for begin in lost)


def _gateways(lab: Lab) -> tuple[str, str]:
    host = lab.host("lb1")
    return host.router_ipv4, host.router_ipv6


def test_a_wrong_password_makes_no_session(whole_bgp: Fleet) -> None:
    lab = whole_bgp.lab
    try:
        changed = run_bgp(whole_bgp, "lb2", "-e", "lab_bgp_password=not-the-routers")["changes"]
        assert changed == [f"rewrite {CONF}", READ]
        until(lambda: everywhere(lab, "lb1"), 3.0)
        time.sleep(12)
        assert established(lab, "lb2") == 0
        assert everywhere(lab, "lb1")
    finally:
        assert run_bgp(whole_bgp, "lb2")["changes"] == [f"rewrite {CONF}", READ]


def test_what_bird_does_not_take_changes_nothing(bgp: Fleet) -> None:
    """An interface that is not there is known before; a configuration that only bird refuses has to be made up."""
    config = {"as": 65001, "neighbors": [{"address": "fe80::1", "as": 65000, "interface": "eth7"}]}
    result = bgp.module("lb1", "katran.fleet.bgp", {"config": config})["lb1"]
    assert result["changed"] is False
    assert result["msg"] == "neighbors[0].interface: interface eth7 does not exist on this host"
    assert established(bgp.lab, "lb1") == 2


FRR = f"""\
frr defaults datacenter
log syslog informational
ip import-table {TABLE}
route-map as-bird permit 10
 set origin igp
 set metric 0
!
bfd
 profile fast
  transmit-interval 100
  receive-interval 100
  detect-multiplier 3
!
router bgp 65001
 bgp router-id 198.18.12.2
 no bgp ebgp-requires-policy
 neighbor 198.18.12.1 remote-as 65000
 neighbor 198.18.12.1 password {PASSWORD}
 neighbor 198.18.12.1 bfd profile fast
 neighbor 198.18.12.1 timers 3 9
 address-family ipv4 unicast
  redistribute table {TABLE} route-map as-bird
 exit-address-family
!
"""


def test_frr_announces_the_same_table(whole_bgp: Fleet) -> None:
    """FRR 8.4 imports tables of IPv4 alone; see docs/bgp.md."""
    lab = whole_bgp.lab
    on_host(lab, "lb2", "systemctl stop bird")
    until(lambda: everywhere(lab, "lb1"), 3.0)
    on_host(lab, "lb2", f"printf '%s' '{FRR}' > /etc/frr/frr.conf")
    on_host(lab, "lb2", "sed -i 's/^bgpd=no/bgpd=yes/;s/^bfdd=no/bfdd=yes/' /etc/frr/daemons && systemctl start frr")
    try:
        until(lambda: routes.read(lab).get(IPV4) == BOTH, 60.0)
        withdraw(lab, "lb2")
        until(lambda: routes.read(lab).get(IPV4) == ["lb1"], 2.0)
        announce(lab, "lb2")
        until(lambda: routes.read(lab).get(IPV4) == BOTH, 2.0)
    finally:
        on_host(lab, "lb2", "systemctl stop frr && systemctl start bird")
