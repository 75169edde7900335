# SPDX-License-Identifier: GPL-3.0-or-later
"""A balancer dies after a change of reals: with flow exceptions no connection to a real that remains is broken."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from fleetlab import cgroup, lifecycle, xdp_pass
from fleetlab.client import in_client
from fleetlab.flows import Connection, Target
from fleetlab.network import route_statically
from fleetlab.plan import ROUTER, VIPS_IPV4, Lab
from fleetlab.runs import Fleet, agents_said, on_host
from fleetlab.system import Progress, ip, network

from ansible_collections.katran.fleet.tests.doses import dose

VIP = "198.18.200.1"
GONE = "real2"
BEFORE, AFTER = ("real1", GONE), ("real1", "real3")
SECONDS = dose(10, 30)
"""Between the change and the death: by then, what endangers a flow has long been told and is told again."""
CONNECTIONS = 1000
KEY = "5a0c6f0e9b1d4f7783a2c4e6f8091b2d3c4e5f60718293a4b5c6d7e8f9012345"
VICTIM, PEER = "lb1", "lb2"


@pytest.fixture(scope="module")
def routed(fleet: Fleet) -> Iterator[Fleet]:
    """The fleet, to whose balancers the router sends what is for the VIP, whatever they announce."""
    route_by(fleet.lab, VICTIM, PEER)
    try:
        yield fleet
    finally:
        on_host(fleet.lab, ROUTER.name, "systemctl start lab-router.service")
        route_statically(fleet.lab)
        fleet.deploy()


def route_by(lab: Lab, *balancers: str) -> None:
    """Have the router send what is for the VIP to these balancers, whatever they announce.

    What is tested is not the announcement: on a busy machine BFD takes either of them for dead now and then, and flows
    that move to and fro are another test.
    """
    on_host(lab, ROUTER.name, "systemctl stop lab-router.service")
    hops = " ".join(f"nexthop via {lab.host(name).ipv4}" for name in balancers)
    ip([f"route replace {VIPS_IPV4} {hops}"], lab.namespace(ROUTER))


def vips(fleet: Fleet, reals: tuple[str, ...]) -> list[dict[str, Any]]:
    """One VIP over these reals, each with the same weight; without checks, whose verdicts would change rings too."""
    chosen = [{"address": fleet.lab.host(name).ipv4, "weight": 1} for name in reals]
    return [{"address": VIP, "port": 80, "protocol": "tcp", "reals": chosen}]


def deploy(fleet: Fleet, reals: tuple[str, ...], sync: bool, inventory: Path) -> None:
    """Deploy to the balancers, which are told the addresses that they are peers by."""
    peers = {host.name: {"katran_sync_address": host.ipv4} for host in fleet.lab.with_role("balancer")}
    inventory.write_text(json.dumps({"balancers": {"hosts": peers}}), encoding="utf-8")
    words = {"katran_vips": vips(fleet, reals), "katran_sync": sync, "katran_sync_key": KEY if sync else ""}
    fleet.playbook("katran.fleet.deploy", words, "-i", str(inventory), "--limit", "balancers")


@dataclass
class Crowd:
    """Long connections, over each of which a request is made every few seconds."""

    # In seconds; one request is made after another, so that each connection that hangs holds all others up for as long.
    patience: float
    kept: dict[int, tuple[Connection, str]] = field(default_factory=dict)
    broken: dict[int, str] = field(default_factory=dict)
    rounds: int = 0

    def connect(self, target: Target) -> None:
        for number in range(CONNECTIONS):
            connection = Connection(target, timeout=self.patience)
            self.kept[number] = connection, connection.ask()

    def ask(self) -> None:
        """One request over each, of those that live."""
        for number, (connection, name) in list(self.kept.items()):
            try:
                answered = connection.ask()
                trouble = "" if answered == name else f"{name} → {answered}"
            except (OSError, ValueError) as error:
                trouble = f"{name}: {error!r}"
            if trouble:
                self.broken[number] = f"{trouble} in round {self.rounds} at {time.strftime('%T')}"
                del self.kept[number]
                connection.close()
        self.rounds += 1

    def keep_asking(self, over: threading.Event) -> None:
        while not over.is_set():
            self.ask()
            over.wait(1.0)

    def close(self) -> None:
        for connection, _name in self.kept.values():
            connection.close()


def to_remaining(crowd: Crowd) -> list[str]:
    """What broke of connections to reals that stay."""
    return [each for each in crowd.broken.values() if not each.startswith(GONE)]


def kill(fleet: Fleet, name: str) -> None:
    """End a balancer as a power cut does: nothing of it says or does anything any more."""
    host = fleet.lab.host(name)
    cgroup.kill(fleet.lab, host)
    with network(fleet.lab.namespace_path(host)):
        xdp_pass.detach("eth1")
    route_by(fleet.lab, PEER)


def replace_and_kill(fleet: Fleet, sync: bool, inventory: Path) -> tuple[int, list[str], int]:
    """(connections to reals that remain, which of them broke, flows that the other balancer held)."""
    deploy(fleet, BEFORE, sync, inventory)
    # Long enough for what is lost to be sent again several times on a busy machine.
    crowd, over = Crowd(40.0 if sync else 10.0), threading.Event()
    held = 0
    with ThreadPoolExecutor(1) as pool:
        try:
            in_client(fleet.lab, lambda: crowd.connect(Target(VIP, 80, "tcp")))
        except BaseException:
            crowd.close()
            raise
        remaining = sum(name != GONE for _connection, name in crowd.kept.values())
        asking = pool.submit(in_client, fleet.lab, lambda: crowd.keep_asking(over))
        try:
            # Of a deploy, katran_sync sets the flag.
            flags = ["global_lru"] if sync else []
            fleet.apply([{**vip, "flags": flags} for vip in vips(fleet, AFTER)])
            changed = time.monotonic()
            if sync:
                held = held_by(fleet, PEER)
            time.sleep(max(changed + SECONDS - time.monotonic(), 0.0))
            assert to_remaining(crowd) == [], f"before the balancer died\n{agents_said(fleet.lab, VICTIM, PEER)}"
            rounds = crowd.rounds
            kill(fleet, VICTIM)
            end = time.monotonic() + 600
            while crowd.rounds < rounds + 4:
                assert time.monotonic() < end, f"round {crowd.rounds} has no end: {list(crowd.broken.values())[-20:]}"
                time.sleep(0.5)
        finally:
            over.set()
            asking.result(timeout=600)
            crowd.close()
    lifecycle.power_cycle(fleet.lab, fleet.lab.host(VICTIM), Progress(fleet.lab.prefix))
    route_by(fleet.lab, VICTIM, PEER)
    return remaining, to_remaining(crowd), held


def held_by(fleet: Fleet, name: str) -> int:
    """Flows in a balancer's global table, once there are any."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        info = fleet.module(name, "katran.fleet.flows_info", {"limit": 0})[name]
        found = [each["entries"] for each in info["tables"] if each["table"] == "global_lru_maps"]
        if found and max(found):
            return max(found)
        time.sleep(1.0)
    return 0


@pytest.mark.dosed
def test_no_connection_to_a_real_that_remains_breaks_when_a_balancer_dies(routed: Fleet, tmp_path: Path) -> None:
    remaining, broken, held = replace_and_kill(routed, True, tmp_path / "peers.yml")
    print(
        f"{CONNECTIONS} connections, one real of two replaced, a balancer killed {SECONDS} s later, with katran_sync:"
        f" {len(broken)} of {remaining} connections to reals that remain broke; the other held {held} flows"
    )
    assert broken == []
    assert remaining > CONNECTIONS * 0.4
    assert held > 0
    # What it held goes back to the one that is there again.
    wait_until_in_sync(routed, VICTIM)


def wait_until_in_sync(fleet: Fleet, name: str) -> None:
    end = time.monotonic() + 60
    while "in sync with the peers" not in on_host(fleet.lab, name, "journalctl -b -u katran-agent --no-pager"):
        assert time.monotonic() < end
        time.sleep(1.0)


@pytest.mark.proof
def test_without_flow_exceptions_some_break(routed: Fleet, tmp_path: Path) -> None:
    """The control: the same change and the same death. That the other balancer held flows above says as much."""
    remaining, broken, _held = replace_and_kill(routed, False, tmp_path / "peers.yml")
    print(f"the same without katran_sync: {len(broken)} of {remaining} connections to reals that remain broke")
    assert broken, "nothing was in danger: then the test above shows nothing"
