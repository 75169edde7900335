# SPDX-License-Identifier: GPL-3.0-or-later
"""VIPs announced by BGP to a router that spreads flows by ECMP: bird on the balancers, and FRR on one of them.

The routes are the tests' own: the agent, which would put back what a test takes away, rests meanwhile.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from fleetlab import network, routes, traffic
from fleetlab.flows import Target, open_flow
from fleetlab.plan import ROUTER, Lab
from fleetlab.runs import Fleet, on_host, recaps
from fleetlab.system import ip, run
from fleetlab.system import network as entered

IPV4, IPV6 = "198.18.200.1", "fd6b:6174:7261:200::1"
BOTH = ["lb1", "lb2"]
TABLE, PROTOCOL = 198, 98
AGENT, UNITS = "katran-agent.service", "/etc/systemd/system"
CONF = "/etc/bird/bird.conf"
PASSWORD = "laboratory-only"  # noqa: S105  # of inventories/lab, which everybody may read
RESTORE = "/usr/lib/katran-fleet/katran-restore"
READ = f"have bird read {CONF}"


def announce(lab: Lab, host: str, metric: int = 1, addresses: tuple[str, ...] = (IPV4, IPV6)) -> None:
    """What the agent does of a VIP that the balancer is ready for: the new route first, so that there always is one."""
    for address in addresses:
        ip(
            [f"route replace {address} dev lo table {TABLE} proto {PROTOCOL} metric {metric}"],
            lab.namespace(lab.host(host)),
        )
        withdraw(lab, host, 3 - metric, (address,))


def withdraw(lab: Lab, host: str, metric: int | None = None, addresses: tuple[str, ...] = (IPV4, IPV6)) -> None:
    """Take away the routes of this metric, or of both."""
    with entered(lab.namespace_path(lab.host(host))):
        for address in addresses:
            family = "-6" if ":" in address else "-4"
            there = json.loads(
                run(["ip", "-j", family, "route", "show", "table", "all", "proto", str(PROTOCOL)]) or "[]"
            )
            for route in there:
                if route["dst"] == address and metric in (None, route["metric"]):
                    words = ["del", address, "table", str(TABLE), "metric", str(route["metric"])]
                    run(["ip", family, "route", *words])


def until(true: Callable[[], bool], seconds: float) -> float:
    """Wait for something; the seconds it took. A test fails where it does not come."""
    begin = time.monotonic()
    while not true():
        assert time.monotonic() - begin < seconds, f"not within {seconds} s"
        time.sleep(0.02)
    return time.monotonic() - begin


def everywhere(lab: Lab, *hosts: str) -> bool:
    """Whether the router sends flows to both VIPs to just these balancers."""
    known = routes.read(lab)
    return all(known.get(address) == (list(hosts) or None) for address in (IPV4, IPV6))


def sessions(lab: Lab, host: str) -> dict[str, list[str]]:
    """Session → state, since when, and what bird says of it."""
    lines = on_host(lab, host, "birdc show protocols").splitlines()
    rows = [line.split(None, 5) for line in lines if " BGP " in line]
    return {row[0]: [row[3], row[4], row[5] if len(row) > 5 else ""] for row in rows}


def established(lab: Lab, host: str) -> int:
    return sum(row[2].strip() == "Established" for row in sessions(lab, host).values())


def told_by_router(lab: Lab, address: str) -> str:
    """All that the router's bird knows of an address."""
    return on_host(lab, "router", f"birdc 'show route all where net = {address}/{128 if ':' in address else 32}'")


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


@pytest.fixture(scope="module")
def bgp(fleet: Fleet) -> Iterator[Fleet]:
    """The fleet, its VIPs announced by both balancers; the router knows no other way to them."""
    for host in BOTH:
        # A deploy leaves a unit alone that is masked.
        on_host(fleet.lab, host, f"systemctl stop {AGENT}; rm -f {UNITS}/{AGENT}; ln -s /dev/null {UNITS}/{AGENT}")
        on_host(fleet.lab, host, "systemctl daemon-reload")
        announce(fleet.lab, host)
    network.route_as_announced(fleet.lab)
    try:
        routes.wait(fleet.lab, [IPV4, IPV6], BOTH)
        yield fleet
    finally:
        network.route_statically(fleet.lab)
        for host in BOTH:
            withdraw(fleet.lab, host)
            on_host(fleet.lab, host, f"rm {UNITS}/{AGENT}; systemctl daemon-reload")
        fleet.deploy(None, "--limit", "balancers")


@pytest.fixture
def whole(bgp: Fleet) -> Iterator[Fleet]:
    """The same, and put right after a test."""
    yield bgp
    for host in BOTH:
        announce(bgp.lab, host)
    routes.wait(bgp.lab, [IPV4, IPV6], BOTH)


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


def test_a_withdrawal_is_at_the_router_at_once(whole: Fleet) -> None:
    withdraw(whole.lab, "lb1")
    assert until(lambda: everywhere(whole.lab, "lb2"), 1.0) <= 1.0
    announce(whole.lab, "lb1")
    assert until(lambda: everywhere(whole.lab, *BOTH), 1.0) <= 1.0


@pytest.mark.parametrize("address", [IPV4, IPV6])
def test_a_withdrawal_loses_no_request(whole: Fleet, address: str) -> None:
    with asking(whole.lab, address) as client:
        withdraw(whole.lab, "lb1")
        time.sleep(2)
        announce(whole.lab, "lb1")
        time.sleep(1)
    assert len(client.asked) > 200
    assert client.disturbed() == []


@pytest.mark.parametrize("address", [IPV4, IPV6])
def test_traffic_leaves_a_balancer_that_drains(whole: Fleet, address: str) -> None:
    with asking(whole.lab, address) as client:
        announce(whole.lab, "lb1", metric=2)
        until(lambda: everywhere(whole.lab, "lb2"), 1.0)
        # It is announced all the same, for where nothing else is left (RFC 8326).
        told = told_by_router(whole.lab, address)
        assert "(65535,0)" in told
        assert told.count("BGP.community: (65001,80)") >= 2
        withdraw(whole.lab, "lb2")
        until(lambda: everywhere(whole.lab, "lb1"), 1.0)
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
def test_traffic_is_at_the_other_balancer_within_a_second_of_a_cut(whole: Fleet, how: str, address: str) -> None:
    lab = whole.lab
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


def test_a_second_deploy_changes_nothing(bgp: Fleet) -> None:
    for recap in (bgp.deploy(), bgp.deploy(None, "--check")):
        assert not any(counts.changed or counts.failed for counts in recap.values())


def bgp_changes(fleet: Fleet, host: str, *arguments: str) -> list[str]:
    """What a deploy of a balancer did to bird, or would in a review."""
    done = fleet.ansible(
        "ansible-playbook", "katran.fleet.deploy", "-v", "--limit", host, *arguments, json_results=True
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert PASSWORD not in done.stdout + done.stderr
    task = done.stdout.partition("TASK [katran.fleet.bgp : Announce the VIPs]")[2]
    changed = task.partition(f"changed: [{host}] => ")
    if not changed[1] or "TASK [" in changed[0]:
        return []
    found: list[str] = json.JSONDecoder().raw_decode(changed[2])[0]["changes"]
    return found


def run_bgp(fleet: Fleet, host: str, *arguments: str, **options: Any) -> dict[str, Any]:
    """The module alone, with the inventory's katran_bgp and no word of VIPs."""
    words = json.dumps({"config": "{{ katran_bgp }}", **options})
    done = fleet.ansible("ansible", host, "-m", "katran.fleet.bgp", "-a", words, *arguments, json_results=True)
    assert PASSWORD not in done.stdout + done.stderr
    answer: dict[str, Any] = json.JSONDecoder().raw_decode(done.stdout[done.stdout.index("=> ") + 3 :])[0]
    return answer


def test_what_somebody_changed_is_predicted_and_put_right(whole: Fleet) -> None:
    run_bgp(whole, "lb2")
    for command, expected in (
        # As a run leaves it that is killed between the two.
        (f"touch {CONF}", [READ]),
        (f"echo '# mine' >> {CONF}", [f"rewrite {CONF}", READ]),
        (f"chmod 644 {CONF}", [f"give {CONF} to root and group bird alone"]),
        (f"chown bird {CONF}", [f"give {CONF} to root and group bird alone"]),
        (f"rm {CONF}", [f"write {CONF}", READ]),
        ("systemctl stop bird", ["start bird.service"]),
        ("systemctl disable -q bird 2>/dev/null", ["enable bird.service"]),
        ("true", []),
    ):
        on_host(whole.lab, "lb2", command)
        assert run_bgp(whole, "lb2", "--check", "--diff")["changes"] == expected, command
        assert run_bgp(whole, "lb2", "--diff", "-vvv")["changes"] == expected, command
    assert on_host(whole.lab, "lb2", f"stat -c '%U %G %a' {CONF}") == "root bird 640"
    assert bgp_changes(whole, "lb2", "--diff") == [f"rewrite {CONF}", READ]
    assert bgp_changes(whole, "lb2") == []


def test_a_change_of_services_leaves_sessions_alone(whole: Fleet) -> None:
    lab = whole.lab
    begin = on_host(lab, "lb1", "date +@%s")
    more: list[dict[str, Any]] = whole.config()
    more[0]["announce"] = {"communities": ["65001:443", "4200000000:1:2"]}
    more.append({**more[0], "address": "198.18.200.2", "announce": {"communities": ["65001:2"]}})
    try:
        whole.deploy(more, "--limit", "balancers")
        announce(lab, "lb1", addresses=("198.18.200.2",))
        until(lambda: "lb1" in routes.read(lab).get("198.18.200.2", ()), 60.0)
        until(lambda: "community: (65001,80) (65001,443)" in told_by_router(lab, IPV4), 60.0)
        until(lambda: "large_community: (4200000000, 1, 2)" in told_by_router(lab, IPV4), 60.0)
    finally:
        withdraw(lab, "lb1", None, ("198.18.200.2",))
        whole.deploy(None, "--limit", "balancers")
    for host in BOTH:
        said = on_host(lab, host, f"journalctl -u bird -o cat --no-pager --since {begin}")
        assert said.count("Reconfigured") >= 2
        # A machine that is busy with other things may have BFD miss packets; a reconfiguration resets nothing.
        assert not [word for word in ("Restarting protocol", "Removing protocol", "Shutting down") if word in said]
        since = {row[1].partition(".")[0] for row in sessions(lab, host).values()}
        assert "bfd" in said.lower() or max(since) < on_host(lab, host, f"date -d {begin} +%H:%M:%S")
    until(lambda: "(65001,443)" not in told_by_router(lab, IPV4), 60.0)


def test_somebody_elses_file_is_refused_before_any_host_changes(whole: Fleet) -> None:
    lab = whole.lab
    on_host(lab, "real1", f"echo '# mine' >> {RESTORE}")
    on_host(lab, "lb2", f"mv {CONF} /root/ours && printf 'router id 1.2.3.4;\\nprotocol device {{}}\\n' > {CONF}")
    try:
        for arguments in (("--check",), ()):
            done = whole.ansible("ansible-playbook", "katran.fleet.deploy", *arguments)
            assert done.returncode != 0
            said = " ".join(done.stdout.split())
            assert f"{CONF} was not written by katran.fleet and stays as it is" in said
            assert not any(counts.changed for counts in recaps(done.stdout).values())
        assert "# mine" in on_host(lab, "real1", f"tail -1 {RESTORE}")
        assert on_host(lab, "lb2", f"head -1 {CONF}") == "router id 1.2.3.4;"
    finally:
        on_host(lab, "lb2", f"mv /root/ours {CONF}")
        whole.deploy()
    until(lambda: established(lab, "lb2") == 2, 60.0)


def test_a_wrong_password_makes_no_session(whole: Fleet) -> None:
    lab = whole.lab
    try:
        changed = run_bgp(whole, "lb2", "-e", "lab_bgp_password=not-the-routers")["changes"]
        assert changed == [f"rewrite {CONF}", READ]
        until(lambda: everywhere(lab, "lb1"), 3.0)
        time.sleep(12)
        assert established(lab, "lb2") == 0
        assert everywhere(lab, "lb1")
    finally:
        assert run_bgp(whole, "lb2")["changes"] == [f"rewrite {CONF}", READ]


def test_absence_brings_back_what_was_and_the_next_deploy_announces_again(whole: Fleet) -> None:
    lab = whole.lab
    result = whole.module("lb2", "katran.fleet.bgp", {"state": "absent"})["lb2"]
    assert result["changes"] == [
        f"make {CONF} the package's own again",
        "stop bird.service",
        "disable bird.service",
    ]
    assert everywhere(lab, "lb1")
    assert on_host(lab, "lb2", f"cmp {CONF} /usr/share/bird2/bird.conf; systemctl is-enabled bird; true") == "disabled"
    assert whole.module("lb2", "katran.fleet.bgp", {"state": "absent"})["lb2"]["changed"] is False
    assert run_bgp(whole, "lb2")["changes"] == [f"write {CONF}", "enable bird.service", "start bird.service"]


def test_somebody_elses_file_comes_back_after_it_was_replaced(whole: Fleet) -> None:
    lab = whole.lab
    theirs = "router id 1.2.3.4;\\nprotocol device {}\\n"
    assert whole.module("lb2", "katran.fleet.bgp", {"state": "absent"})["lb2"]["changed"]
    on_host(lab, "lb2", f"printf '{theirs}' > {CONF} && systemctl enable --now -q bird 2>/dev/null")
    config = {"as": 65001, "neighbors": [{"address": "198.18.12.1", "as": 65000}], "replace_foreign": True}
    result = whole.module("lb2", "katran.fleet.bgp", {"config": config})["lb2"]
    kept = f"{CONF}.before-katran"
    assert result["changes"] == [f"keep somebody else's {CONF} as {kept}", f"write {CONF}", READ]
    assert whole.module("lb2", "katran.fleet.bgp", {"config": config})["lb2"]["changed"] is False
    result = whole.module("lb2", "katran.fleet.bgp", {"state": "absent"})["lb2"]
    assert result["changes"] == [f"bring back {CONF} from {kept}", READ]
    assert (
        on_host(lab, "lb2", f"cat {CONF}; systemctl is-active bird") == "router id 1.2.3.4;\nprotocol device {}\nactive"
    )
    on_host(lab, "lb2", f"rm {CONF}; systemctl disable --now -q bird 2>/dev/null")
    assert run_bgp(whole, "lb2")["changes"] == [f"write {CONF}", "enable bird.service", "start bird.service"]


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


def test_frr_announces_the_same_table(whole: Fleet) -> None:
    """FRR 8.4 imports tables of IPv4 alone; see docs/bgp.md."""
    lab = whole.lab
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
