# SPDX-License-Identifier: GPL-3.0-or-later
"""A balancer dies after a change of reals: with flow exceptions no connection to a real that remains is broken."""

from __future__ import annotations

import shutil
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
from fleetlab.names import TESTED
from fleetlab.plan import PROJECT, ROUTER, VIPS_IPV4, Lab, hosts_of, lab_named
from fleetlab.runs import Fleet, agents_said, on_host
from fleetlab.system import Progress, ip, network

NAME = f"{TESTED[:9]}s"
VIP = "198.18.200.1"
BEFORE, AFTER = (1, 2, 3, 4, 5), (1, 2, 3, 4, 6)
CONNECTIONS = 1000
KEY = "5a0c6f0e9b1d4f7783a2c4e6f8091b2d3c4e5f60718293a4b5c6d7e8f9012345"
VICTIM, PEER = "lb1", "lb2"


def write_inventory(folder: Path, lab: Lab) -> None:
    """The laboratory's inventory with as many reals as this one has, and the addresses that balancers are peers by."""
    shutil.copytree(PROJECT / "inventories/lab", folder)
    connection = folder / "group_vars/all/connection.yml"
    here = connection.read_text(encoding="utf-8").replace("{{ inventory_dir }}/../..", str(PROJECT))
    connection.write_text(here, encoding="utf-8")
    lines = ["all:", "  children:", "    balancers:", "      hosts:"]
    for host in lab.with_role("balancer"):
        lines += [
            f"        {host.name}:",
            f'          lab_router: [{host.router_ipv4}, "{host.router_ipv6}"]',
            f"          katran_sync_address: {host.ipv4}",
        ]
    lines += ["    reals:", "      children:", "        web:", "          hosts:"]
    for host in lab.with_role("real"):
        lines += [f"            {host.name}:", f'              katran_real_address: [{host.ipv4}, "{host.ipv6}"]']
    lines += ["    clients: {hosts: {client: }}", "    routers: {hosts: {router: }}"]
    (folder / "hosts.yml").write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture(scope="module")
def six(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A laboratory of two balancers and six reals."""
    lab, progress = lab_named(NAME, plan=hosts_of(2, 6)), Progress(NAME)
    lifecycle.down(lab, progress)
    inventory = tmp_path_factory.mktemp("inventory") / "lab"
    write_inventory(inventory, lab)
    try:
        lifecycle.up(lab, progress)
        route_by(lab, VICTIM, PEER)
        yield Fleet(lab, inventory)
    finally:
        lifecycle.down(lab, progress)


def route_by(lab: Lab, *balancers: str) -> None:
    """Have the router send what is for the VIP to these balancers, whatever they announce.

    What is tested is not the announcement: on a busy machine BFD takes either of them for dead now and then, and flows
    that move to and fro are another test.
    """
    on_host(lab, ROUTER.name, "systemctl stop lab-router.service")
    hops = " ".join(f"nexthop via {lab.host(name).ipv4}" for name in balancers)
    ip([f"route replace {VIPS_IPV4} {hops}"], lab.namespace(ROUTER))


def variables(fleet: Fleet, reals: tuple[int, ...], sync: bool) -> dict[str, Any]:
    """One VIP over these reals, each with the same weight; without checks, whose verdicts would change rings too."""
    addresses = [fleet.lab.host(f"real{number}").ipv4 for number in reals]
    vip = {
        "address": VIP,
        "port": 80,
        "protocol": "tcp",
        "reals": [{"address": address, "weight": 1} for address in addresses],
    }
    return {"katran_vips": [vip], "katran_sync": sync, "katran_sync_key": KEY if sync else ""}


def deploy(fleet: Fleet, reals: tuple[int, ...], sync: bool) -> None:
    fleet.playbook("katran.fleet.deploy", variables(fleet, reals, sync))


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
    return [each for each in crowd.broken.values() if not each.startswith("real5")]


def kill(fleet: Fleet, name: str) -> None:
    """End a balancer as a power cut does: nothing of it says or does anything any more."""
    host = fleet.lab.host(name)
    cgroup.kill(fleet.lab, host)
    with network(fleet.lab.namespace_path(host)):
        xdp_pass.detach("eth1")
    route_by(fleet.lab, PEER)


def replace_and_kill(fleet: Fleet, sync: bool) -> tuple[int, list[str], int]:
    """(connections to reals that remain, which of them broke, flows that the other balancer held)."""
    deploy(fleet, BEFORE, sync)
    # Long enough for what is lost to be sent again several times on a busy machine.
    crowd, over = Crowd(40.0 if sync else 10.0), threading.Event()
    held = 0
    with ThreadPoolExecutor(1) as pool:
        try:
            in_client(fleet.lab, lambda: crowd.connect(Target(VIP, 80, "tcp")))
        except BaseException:
            crowd.close()
            raise
        remaining = sum(name != "real5" for _connection, name in crowd.kept.values())
        asking = pool.submit(in_client, fleet.lab, lambda: crowd.keep_asking(over))
        try:
            deploy(fleet, AFTER, sync)
            changed = time.monotonic()
            if sync:
                held = held_by(fleet, PEER)
            time.sleep(max(changed + 30.0 - time.monotonic(), 0.0))
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
    lifecycle.power_cycle(fleet.lab, fleet.lab.host(VICTIM), Progress(NAME))
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


def test_no_connection_to_a_real_that_remains_breaks_when_a_balancer_dies(six: Fleet) -> None:
    remaining, broken, held = replace_and_kill(six, sync=True)
    print(
        f"{CONNECTIONS} connections, a real of five replaced, a balancer killed 30 s later, with katran_sync:"
        f" {len(broken)} of {remaining} connections to reals that remain broke; the other held {held} flows"
    )
    assert broken == []
    assert remaining > CONNECTIONS * 0.7
    assert held > 0
    # What it held goes back to the one that is there again.
    wait_until_in_sync(six, VICTIM)


def wait_until_in_sync(fleet: Fleet, name: str) -> None:
    end = time.monotonic() + 60
    while "in sync with the peers" not in on_host(fleet.lab, name, "journalctl -b -u katran-agent --no-pager"):
        assert time.monotonic() < end
        time.sleep(1.0)


def test_without_flow_exceptions_some_break(six: Fleet) -> None:
    """The control: the same change and the same death."""
    remaining, broken, _held = replace_and_kill(six, sync=False)
    print(f"the same without katran_sync: {len(broken)} of {remaining} connections to reals that remain broke")
    assert broken, "nothing was in danger: then the test above shows nothing"
