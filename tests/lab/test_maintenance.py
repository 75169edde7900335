# SPDX-License-Identifier: GPL-3.0-or-later
"""A balancer is taken out of service and comes back, as the agent announces it, and no client notices."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from fleetlab import flows, network, routes
from fleetlab.announced import until
from fleetlab.flows import Connection, Target
from fleetlab.planted import rebuild
from fleetlab.runs import TOOL, Fleet, agents_said, on_host
from fleetlab.system import network as entered
from fleetlab.system import run

from ansible_collections.katran.fleet.tests.doses import dose

ALONE = True
REQUESTS = dose(5000, 20_000)
CONNECTIONS = 100
ROUTER, PATIENT = "/etc/lab/router.conf", "/run/bird/patient.conf"
MOST_BROKEN = 10
"""From more broken connections on, nobody waits for the others, ten seconds each."""
ADDRESSES = ("198.18.200.1", "fd6b:6174:7261:200::1")
BOTH = ("lb1", "lb2")


def forget(fleet: Fleet) -> None:
    """Of the client's ports, few are left that no test has used while the rings were others: docs/readiness.md."""
    for name in BOTH:
        fleet.module(name, "katran.fleet.flows", {"allow_all": True})


@pytest.fixture(scope="module")
def announced(fleet: Fleet) -> Iterator[Fleet]:
    """The fleet as its agents announce it; the router knows no other way to the VIPs."""
    fleet.apply()
    forget(fleet)
    # On a busy machine, BFD misses 300 ms now and then: with one of two away, that would be nobody's way to the VIPs.
    on_host(
        fleet.lab,
        "router",
        f"sed 's/interval 100 ms/interval 2 s/' {ROUTER} > {PATIENT}; birdc configure '\"{PATIENT}\"'",
    )
    network.route_as_announced(fleet.lab)
    try:
        routes.wait(fleet.lab, ADDRESSES, BOTH)
        yield fleet
    finally:
        network.route_statically(fleet.lab)
        on_host(fleet.lab, "router", f"birdc configure '\"{ROUTER}\"'")


def ways(fleet: Fleet, *hosts: str, seconds: float = 20.0) -> float:
    """Wait until the router sends both addresses to these balancers alone; the seconds it took."""
    began = time.monotonic()
    while not all(routes.read(fleet.lab).get(address) == list(hosts) for address in ADDRESSES):
        assert time.monotonic() - began < seconds, routes.read(fleet.lab)
        time.sleep(0.05)
    return time.monotonic() - began


def keep(targets: list[Target], over: threading.Event, ready: threading.Event) -> list[str]:
    """A hundred long connections with a request a second on each; what broke."""
    with ExitStack() as closed:
        links: list[Connection] = []
        for number in range(CONNECTIONS):
            links.append(Connection(targets[number % len(targets)]))
            closed.callback(links[-1].close)
        names = [link.ask() for link in links]
        broken: list[str] = []
        ready.set()
        alive = set(range(CONNECTIONS))
        while not over.wait(1.0):
            for number in sorted(alive):
                try:
                    if links[number].ask() != names[number]:
                        broken.append(f"connection {number} came to another real")
                except (OSError, ValueError) as error:
                    broken.append(f"connection {number}: {error!r}")
                    alive.discard(number)
                if len(alive) < CONNECTIONS - MOST_BROKEN:
                    return broken
        return broken


def under_load(fleet: Fleet, requests: int, during: Callable[[], None]) -> None:
    """So many requests at least, and long connections, over both families, while something is done; nobody notices."""
    targets = [vip.target for vip in fleet.vips() if vip.target.protocol == "tcp"]
    over, ready = threading.Event(), threading.Event()

    def inside(call: Callable[[], object]) -> object:
        with entered(fleet.lab.namespace_path(fleet.lab.host("client"))):
            return call()

    asking = flows.keep_asking(targets, 50, requests, over.is_set)
    with ThreadPoolExecutor(2) as pool:
        kept = pool.submit(inside, lambda: keep(targets, over, ready))
        asked = pool.submit(inside, lambda: asyncio.run(asking))
        try:
            end = time.monotonic() + 60
            while not ready.wait(0.1):
                if kept.done():
                    # Raises what went wrong.
                    kept.result()
                assert time.monotonic() < end, "the long connections are not there"
            during()
        finally:
            over.set()
        found, broken = asked.result(timeout=600), kept.result(timeout=60)
    assert isinstance(found, list)
    assert isinstance(broken, list)
    failed = [flow for flow in found if flow.error]
    if failed or broken:
        print(*failed[:5], *broken[:5], agents_said(fleet.lab, *BOTH), sep="\n")
    print(f"{len(found)} requests, {len(failed)} failed; {CONNECTIONS} long connections, {len(broken)} broken")
    assert failed == []
    assert broken == []


def answering(fleet: Fleet, number: int) -> set[str | None]:
    """The reals that answer so many new connections, those of the target's own address included."""
    targets = [vip.target for vip in fleet.vips() if vip.target.protocol == "tcp"]
    with entered(fleet.lab.namespace_path(fleet.lab.host("client"))):
        return {flow.real for flow in asyncio.run(flows.keep_asking(targets, 20, number, lambda: True))}


@pytest.mark.dosed
def test_maintenance_is_noticed_by_nobody(announced: Fleet) -> None:
    def maintain() -> None:
        time.sleep(2.0)
        began = time.monotonic()
        # Its routes go, a second after the router was asked to prefer the other one; then its packets end.
        announced.playbook("katran.fleet.drain", {"katran_drain": "lb1", "katran_drain_timeout": 60})
        print(f"drained after {time.monotonic() - began:.2f} s")
        ways(announced, "lb2", seconds=5.0)
        before = announced.received_packets("lb1")
        time.sleep(3.0)
        assert announced.received_packets("lb1") - before < 200, "traffic still comes"
        # Nobody would be left.
        refused = announced.ansible("ansible-playbook", "katran.fleet.drain", "--limit", "lb2")
        assert refused.returncode == 2
        assert "only lb2 announces it as ready" in " ".join(refused.stdout.split())
        # A real meanwhile: its connections go on.
        drained = {"katran_real": "real1", "katran_drain_timeout": 5, "katran_on_timeout": "go_on"}
        done = announced.ansible("ansible-playbook", "katran.fleet.drain_real", "-e", json.dumps(drained))
        assert done.returncode == 0, done.stdout
        assert "the run goes on (katran_on_timeout: go_on)" in " ".join(done.stdout.split())
        assert answering(announced, 300) == {"real2", "real3"}
        announced.playbook("katran.fleet.undrain_real", {"katran_real": "real1"})
        announced.playbook("katran.fleet.undrain", None, "--limit", "lb1")
        ways(announced, *BOTH, seconds=5.0)
        time.sleep(2.0)

    under_load(announced, REQUESTS, maintain)


def agents(fleet: Fleet) -> dict[str, str]:
    """Balancer → the process of its agent."""
    return {name: on_host(fleet.lab, name, "systemctl show -p MainPID --value katran-agent") for name in BOTH}


def ways_until(fleet: Fleet, done: Callable[[], bool]) -> list[list[str]]:
    """To which balancers the router sent an address meanwhile, one after another."""
    seen: list[list[str]] = []
    while not done():
        now = routes.read(fleet.lab).get(ADDRESSES[0], [])
        if now not in seen[-1:]:
            seen.append(now)
        time.sleep(0.2)
    return seen


def test_an_upgrade_swaps_programs_without_traffic_and_agents_restart_unnoticed(
    announced: Fleet, tmp_path: Path
) -> None:
    """One balancer after the other: traffic leaves, its program becomes another, traffic is back before the next."""
    forget(announced)
    before = announced.programs()
    other = rebuild(tmp_path)
    one_by_one = json.dumps({"katran_serial": 1, "katran_gate_seconds": 2, "katran_drain_timeout": 60})

    def upgrade() -> None:
        with ThreadPoolExecutor(1) as pool:
            run = pool.submit(
                announced.ansible, "ansible-playbook", "katran.fleet.upgrade", "-e", one_by_one, collections=other
            )
            seen = ways_until(announced, run.done)
        assert run.result().returncode == 0, run.result().stdout[-6000:]
        assert seen == [[*BOTH], ["lb2"], [*BOTH], ["lb1"], [*BOTH]]
        after = announced.programs()
        for name in BOTH:
            assert after[name][0] != before[name][0]
            assert after[name][1] != before[name][1]
        processes = agents(announced)
        done = announced.ansible("ansible-playbook", "katran.fleet.restart_agents", "-e", one_by_one)
        assert done.returncode == 0, done.stdout[-6000:]
        restarted = agents(announced)
        assert all(restarted[name] != processes[name] for name in BOTH)
        assert announced.programs() == after
        ways(announced, *BOTH, seconds=5.0)

    under_load(announced, 500, upgrade)
    # Back to the collection's own program; one is as an upgrade leaves it that ends in the middle.
    word = {"state": "drained", "by": "katran.fleet.upgrade", "withdraw": True}
    announced.module("lb2", "katran.fleet.drain", word)
    announced.playbook("katran.fleet.upgrade")
    ways(announced, *BOTH)
    assert [tag for _id, tag in announced.programs().values()] == [tag for _id, tag in before.values()]


def announced_at(fleet: Fleet, name: str) -> list[float]:
    """When a balancer's agent said since its boot that addresses are announced: seconds on the host's own clock."""
    entries = on_host(fleet.lab, name, "journalctl -b -o json -u katran-agent --no-pager").splitlines()
    told = [(str(entry["MESSAGE"]), entry["__MONOTONIC_TIMESTAMP"]) for entry in map(json.loads, entries)]
    return [int(at) / 1e6 for text, at in told if "announced" in text and "not announced" not in text]


def test_a_balancer_that_boots_is_announced_soon_after_it_is_ready(announced: Fleet) -> None:
    """From the moment at which its program runs again and its agent starts, to the first packet."""
    on_host(announced.lab, "lb1", "ip link set eth1 xdp off")
    run([TOOL, "--lab", announced.lab.prefix, "power-cycle", "lb1"])
    # A host that boots fast is back before the router has missed it, whose routes say nothing then.
    until(lambda: bool(announced_at(announced, "lb1")), 90.0)
    ways(announced, *BOTH, seconds=90.0)
    shown = on_host(announced.lab, "lb1", "systemctl show -p ExecMainExitTimestampMonotonic katran-restore --value")
    restored = int(shown.rpartition("=")[2]) / 1e6
    assert json.loads(on_host(announced.lab, "lb1", "cat /run/katran-fleet/default/ready.json"))
    first = min(announced_at(announced, "lb1"))
    print(f"announced {first - restored:.1f} s after the balancer was restored")
    assert 0 < restored < first <= restored + 10.0
