# SPDX-License-Identifier: GPL-3.0-or-later
"""A rolling upgrade of four balancers under load, and a program with a planted fault, in a laboratory of its own.

Requests over HTTP and a hundred long connections, both families, while programs are swapped one balancer after another,
each drained before. Then a program that drops what it has counted for one VIP: found by the gate, gone back from, the
other balancers untouched, and the next run resumes. Prints the figures, and writes them between their two marks into
docs/performance.md. PYTHONPATH has to have tests/lab. Exit status 1 where a target is missed.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fleetlab import flows, lifecycle, routes
from fleetlab.client import in_client
from fleetlab.flows import Connection, Flow, Target
from fleetlab.plan import PROJECT, Lab, hosts_of, lab_named
from fleetlab.planted import plant
from fleetlab.runs import Fleet
from fleetlab.system import Progress, network
from performance_page import machine, write_figures

NAME = os.environ.get("KATRAN_ROLLING_LAB", "kfroll")
BALANCERS, CONNECTIONS = 4, 100
# The swap's own canary refuses a program that drops a twentieth of all packets: this is the gate's turn.
SHARE_OF_FAULTY = 40
MOST_SECONDS = 30.0


@dataclass
class Load:
    """What the clients saw."""

    requests: list[Flow] = field(default_factory=list)
    kept: int = 0
    broken: list[str] = field(default_factory=list)

    @property
    def failed(self) -> list[Flow]:
        return [flow for flow in self.requests if flow.error]

    def __str__(self) -> str:
        return (
            f"{len(self.requests)} requests, {len(self.failed)} failed;"
            f" {self.kept} long connections, {len(self.broken)} broken"
        )


def write_inventory(folder: Path, lab: Lab) -> Path:
    """The laboratory's inventory, with all balancers of this one."""
    inventory = folder / "lab"
    subprocess.run(["cp", "-r", str(PROJECT / "inventories/lab"), str(inventory)], check=True)
    connection = inventory / "group_vars/all/connection.yml"
    text = connection.read_text(encoding="utf-8").replace("{{ inventory_dir }}/../..", str(PROJECT))
    connection.write_text(text, encoding="utf-8")
    hosts = inventory / "hosts.yml"
    known = hosts.read_text(encoding="utf-8")
    more = "".join(
        f'        {host.name}:\n          lab_router: [{host.router_ipv4}, "{host.router_ipv6}"]\n'
        for host in lab.with_role("balancer")
        if f"        {host.name}:\n" not in known
    )
    hosts.write_text(known.replace("    reals:\n", f"{more}    reals:\n", 1), encoding="utf-8")
    return inventory


def keep_connections(targets: list[Target], load: Load, ready: threading.Event, over: threading.Event) -> None:
    """Long connections, over each of which a request is made every second or so."""
    connections = [Connection(targets[index % len(targets)], 30.0) for index in range(CONNECTIONS)]
    names = {index: connection.ask() for index, connection in enumerate(connections)}
    load.kept = len(names)
    ready.set()
    while not over.wait(1.0):
        for index in list(names):
            try:
                answered = connections[index].ask()
                trouble = "" if answered == names[index] else f"{names[index]} → {answered}"
            except (OSError, ValueError) as error:
                trouble = repr(error)
            if trouble:
                load.broken.append(trouble)
                del names[index]
    for connection in connections:
        connection.close()


@contextmanager
def under_load(lab: Lab, targets: list[Target], lasting: list[Target]) -> Iterator[Load]:
    """Requests to `targets` in turn and connections to `lasting`; figures are complete after the with block."""
    load, ready, over = Load(), threading.Event(), threading.Event()
    with ThreadPoolExecutor(2) as pool:
        kept = pool.submit(in_client, lab, lambda: keep_connections(lasting, load, ready, over))
        while not ready.wait(0.1) and not kept.done():
            pass
        asking = flows.keep_asking(targets, 20, 500, over.is_set)
        asked = pool.submit(in_client, lab, lambda: asyncio.run(asking))
        try:
            yield load
        finally:
            over.set()
            load.requests = asked.result(timeout=300)
            kept.result(timeout=120)


def run(fleet: Fleet, name: str, collections: Path | None = None, **variables: Any) -> tuple[int, str, float]:
    """A playbook over the balancers, one after the other: status, what it printed, seconds."""
    extra = json.dumps({"katran_serial": [1], "katran_gate_seconds": 5, **variables})
    began = time.monotonic()
    done = fleet.ansible("ansible-playbook", name, "--limit", "balancers", "-e", extra, collections=collections)
    return done.returncode, done.stdout, time.monotonic() - began


def upgrade(fleet: Fleet, targets: list[Target], missed: list[str]) -> str:
    """A rolling upgrade to another feature."""
    before = fleet.programs()
    with under_load(fleet.lab, targets, targets) as load:
        status, said, seconds = run(fleet, "katran.fleet.upgrade", katran_extra_features=["icmp_too_big"])
    drained = len(re.findall(r"TASK \[katran.fleet.balancer : Let traffic leave\] \*+\s+changed", said))
    after = fleet.programs()
    if status or any(before[host][1] == after[host][1] for host in before):
        missed.append(f"the upgrade failed: {said[-3000:]}")
    if load.failed or load.broken:
        missed.append(f"the upgrade was noticed: {load.failed[:3]} {load.broken[:3]}")
    return f"upgrade of {len(before)} balancers, {drained} drained before: {seconds:.0f} s; {load}"


def fault(fleet: Fleet, targets: list[Target], bad: Target, folder: Path, missed: list[str]) -> list[str]:
    """A planted fault, and the run that resumes."""
    collections, before = plant(folder, bad.address), fleet.programs()
    sound = [target for target in targets if target.address != bad.address]
    load_on = [sound[index % len(sound)] for index in range(SHARE_OF_FAULTY - 1)] + [bad]
    swapped: list[float] = []
    over = threading.Event()

    def watch() -> None:
        # When the canary's program becomes another, and when it is the one before again.
        first = _tag(fleet.lab)
        while not over.wait(0.2) and len(swapped) < 2:
            if (_tag(fleet.lab) != first) == (not swapped):
                swapped.append(time.monotonic())

    with ThreadPoolExecutor(1) as pool, under_load(fleet.lab, load_on, sound) as load:
        watched = pool.submit(watch)
        status, said, seconds = run(fleet, "katran.fleet.deploy", collections)
        over.set()
        watched.result()
    after, to_bad = fleet.programs(), [flow for flow in load.requests if flow.target == bad]
    lost = [flow for flow in load.failed if flow.target == bad]
    gone_for = swapped[1] - swapped[0] if len(swapped) == 2 else float("inf")
    if status != 2 or "the gate found: vip" not in said or "untouched: lb2, lb3, lb4" not in " ".join(said.split()):
        missed.append(f"the fault was not found: {said[-3000:]}")
    if {host: tag for host, (_id, tag) in after.items()} != {host: tag for host, (_id, tag) in before.items()} or any(
        before[host] != after[host] for host in before if host != "lb1"
    ):
        missed.append(f"not as before: {before} {after}")
    if gone_for > MOST_SECONDS or len(load.failed) > len(lost) or len(lost) * BALANCERS > len(to_bad):
        missed.append(f"{gone_for:.1f} s, {len(lost)} of {len(to_bad)} failed to the VIP, {len(load.failed)} in all")
    lines = [
        f"planted fault: the canary had it for {gone_for:.1f} s of {MOST_SECONDS:g}, the run took {seconds:.0f} s",
        f"of {len(to_bad)} requests to the VIP {len(lost)} failed (the canary's share is {len(to_bad) // BALANCERS})",
        f"in all {load}",
    ]
    with under_load(fleet.lab, targets, targets) as load:
        status, said, seconds = run(fleet, "katran.fleet.deploy")
    if status or load.failed or load.broken:
        missed.append(f"the run that resumes: {load} {said[-3000:]}")
    return [*lines, f"the next run resumes: {seconds:.0f} s; {load}"]


def _tag(lab: Lab) -> str:
    """The tag of the canary's program, by its own network namespace."""
    with network(lab.namespace_path(lab.host("lb1"))):
        found = subprocess.run(["ip", "-d", "link", "show", "eth1"], capture_output=True, text=True, check=True).stdout
    tag = re.search(r"prog/xdp id \d+ .*?tag ([0-9a-f]+)", found, re.DOTALL)
    return tag[1] if tag else ""


def main() -> None:
    lab, progress = lab_named(NAME, plan=hosts_of(BALANCERS, 3)), Progress(NAME)
    lines = [f"{machine()}, load {os.getloadavg()[0]:.1f} before", ""]
    missed: list[str] = []
    lifecycle.up(lab, progress)
    try:
        with tempfile.TemporaryDirectory() as folder:
            fleet = Fleet(lab, write_inventory(Path(folder), lab))
            fleet.deploy()
            targets = [vip.target for vip in fleet.vips() if vip.target.protocol == "tcp"]
            names = [host.name for host in lab.with_role("balancer")]
            routes.wait(lab, {target.address for target in targets}, names)
            lines.append(upgrade(fleet, targets, missed))
            bad = next(target for target in targets if "." in target.address)
            lines += fault(fleet, targets, bad, Path(folder), missed)
    finally:
        lifecycle.down(lab, progress)
    print("\n".join(lines))
    if missed:
        sys.exit("\n".join(missed))
    write_figures("rolling.py", lines)


if __name__ == "__main__":
    main()
