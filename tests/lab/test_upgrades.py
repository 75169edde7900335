# SPDX-License-Identifier: GPL-3.0-or-later
"""The program is replaced again and again, back and forth, and with other sizes, and nobody notices."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from fleetlab import flows
from fleetlab.client import in_client
from fleetlab.flows import Connection, Flow, Target
from fleetlab.runs import Fleet, on_host
from fleetlab.stream import PORT, Passage, stream
from fleetlab.system import network, run

from ansible_collections.katran.fleet.tests.doses import dose

ALONE = True
UPGRADES = int(os.environ.get("KATRAN_UPGRADES", dose(4, 8)))
"""A multiple of 4; `make lab-upgrades` makes 20, for which the suite has no time."""
ROLLBACKS = UPGRADES // 4
RATE = 6500
CONNECTIONS = 100
FEATURES: tuple[list[str], ...] = (["vlan"], ["icmp_too_big", "udp_stable_routing"], ["cidr_vips", "tcp_server_id"])
SIZES = {"vips": 600, "reals": 5000, "ring": 65539, "flows": 1_200_000, "server_ids": 20_000}
DEFAULTS = {"vips": 512, "reals": 4096, "ring": 65537, "flows": 1_000_000, "server_ids": 16_777_214}

Step = dict[str, Any]


def steps() -> list[Step]:
    """Upgrades, each to features that are neither the present ones nor those just rolled back, and rollbacks."""
    found: list[Step] = []
    current, before, left = -1, -1, -1
    while len(found) < UPGRADES + ROLLBACKS:
        if len(found) % (UPGRADES // ROLLBACKS + 1) == UPGRADES // ROLLBACKS:
            found.append({"state": "rolled_back", "features": []})
            left, current, before = current, before, current
            continue
        following = next(index for index in range(len(FEATURES)) if index not in (current, left))
        before, current, left = current, following, -1
        found.append({"state": "attached", "features": FEATURES[following]})
    return found


# Run on a balancer with the library that is installed there, as fast as it goes.
CHANGER = """
import json, sys
sys.path.insert(0, "/usr/lib/katran-fleet")
from ansible_collections.katran.fleet.plugins.module_utils._engine.balancer import Balancer
from ansible_collections.katran.fleet.plugins.module_utils._kernel.state_files import StateFile
from ansible_collections.katran.fleet.plugins.module_utils._model.settings import parse_settings
from ansible_collections.katran.fleet.plugins.module_utils._model.wanted import Wanted

balancer = Balancer("default", "/sys/fs/bpf")
settings = StateFile("default", "/sys/fs/bpf").read().settings
for step in json.loads(sys.argv[1]):
    if step["state"] == "rolled_back":
        done = balancer.roll_back(False, 30)
    else:
        wanted = Wanted(parse_settings({**settings, **step}), step["state"], settings["source_dir"])
        done = balancer.ensure(wanted, False, 30)
    assert done.changed, step
"""


@dataclass
class Load:
    """What the clients saw."""

    requests: list[Flow] = field(default_factory=list)
    kept: dict[int, str] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    asked: int = 0
    passage: Passage | None = None
    kernel: int = 0
    """Packets that never reached a balancer: the router's end of a veth had no room for them."""

    def verdict(self) -> str:
        """Its figures in one line."""
        assert self.passage is not None
        failed = [flow for flow in self.requests if flow.error]
        return (
            f"{len(self.requests)} requests ({len(failed)} failed), {len(self.kept)} connections with {self.asked}"
            f" requests ({len(self.broken)} broken), {self.passage.entered} datagrams at {self.passage.rate:.0f}/s"
            f" ({len(self.passage.lost)} lost, {self.kernel} of them before a balancer, {self.passage.unseen} unseen)"
        )


def keep_connections(targets: list[Target], load: Load, over: threading.Event) -> None:
    """A hundred connections, over each of which a request is made every second or so."""
    connections = [Connection(targets[index % len(targets)]) for index in range(CONNECTIONS)]
    load.kept = {index: connection.ask() for index, connection in enumerate(connections)}
    while not over.is_set():
        began = time.monotonic()
        for index, connection in enumerate(connections):
            if index not in load.kept:
                continue
            try:
                name = connection.ask()
                load.asked += 1
                if name != load.kept[index]:
                    load.broken.append(f"connection {index}: {load.kept[index]} → {name}")
            except (OSError, ValueError) as error:
                load.broken.append(f"connection {index}: {error!r}")
                del load.kept[index]
        over.wait(max(1.0 - (time.monotonic() - began), 0))
    for connection in connections:
        connection.close()


def dropped_before(fleet: Fleet) -> int:
    """What the router's links to balancers dropped so far.

    A veth holds 256 packets for the other end, which is 80 ms of the stream: where compilers keep both cores from the
    kernel's own thread for as long, what comes on top is dropped there. No program of a balancer has seen it.
    """
    links = json.loads(on_host(fleet.lab, "router", "ip -s -j link"))
    return sum(link["stats64"]["tx"]["dropped"] for link in links if link["ifname"] in ("r-lb1", "r-lb2"))


@contextmanager
def under_load(fleet: Fleet) -> Iterator[Load]:
    """Everything at once for the length of the with block; figures are complete after it."""
    targets = [vip.target for vip in fleet.vips() if vip.target.protocol == "tcp"]
    address = next(target.address for target in targets if "." in target.address)
    load, over, before = Load(), threading.Event(), dropped_before(fleet)
    with stream(fleet.lab, address, RATE) as datagrams, ThreadPoolExecutor(2) as pool:
        asking = flows.keep_asking(targets, 50, 2000, over.is_set)
        requests = pool.submit(in_client, fleet.lab, lambda: asyncio.run(asking))
        connected = pool.submit(in_client, fleet.lab, lambda: keep_connections(targets, load, over))
        try:
            while len(load.kept) < CONNECTIONS and not connected.done():
                time.sleep(0.1)
            yield load
        finally:
            over.set()
            load.requests = requests.result(timeout=120)
            connected.result(timeout=60)
        load.passage = datagrams.stop()
    load.kernel = dropped_before(fleet) - before


@pytest.fixture(scope="module")
def streaming(fleet: Fleet) -> Iterator[Fleet]:
    """The fleet with a VIP for the stream, whose reals have nobody who would answer."""
    config = fleet.config()
    udp = next(vip for vip in config if vip["protocol"] == "udp" and "." in vip["address"])
    fleet.deploy([*config, {**udp, "port": PORT}])
    yield fleet
    # After the last rollback and the last size a program is loaded that no inventory names.
    fleet.deploy()


def change(fleet: Fleet, what: list[Step]) -> float:
    """Have both balancers take these steps at the same time; the seconds that took."""
    command = f"/usr/bin/python3 - '{json.dumps(what)}'"
    began = time.monotonic()
    options = json.dumps({"cmd": command, "stdin": CHANGER})
    done = fleet.ansible("ansible", "balancers", "-m", "ansible.builtin.shell", "-a", options)
    assert done.returncode == 0, done.stdout
    return time.monotonic() - began


def resize(fleet: Fleet, sizes: dict[str, int]) -> None:
    """Have both balancers take other sizes, by the module."""
    options = {"interfaces": ["eth1"], "sizes": sizes, "accept_rehash": True}
    for host, result in fleet.module("balancers", "katran.fleet.balancer", options).items():
        assert result["changed"], (host, result)


def dropped_by_the_laboratory(fleet: Fleet) -> dict[str, int]:
    """Frames for which a veth's ring had no room, by the balancer's own counters: not the balancer's doing."""
    found = {}
    for host in fleet.lab.with_role("balancer"):
        with network(fleet.lab.namespace_path(host)):
            words = run(["ethtool", "-S", "eth1"]).replace(":", " ").split()
        found[host.name] = sum(
            int(words[index + 1]) for index, word in enumerate(words) if word.endswith(("xdp_tx_errors", "_drops"))
        )
    return found


def counters(fleet: Fleet) -> dict[str, int]:
    """Packets that used the fallback table, by balancer."""
    info = fleet.module("balancers", "katran.fleet.balancer_info", {"gather": ["counters"]})
    return {host: result["counters"]["global"]["fallback_cache"] for host, result in info.items()}


def judge(load: Load) -> None:
    print(load.verdict())
    assert [flow for flow in load.requests if flow.error] == []
    assert load.broken == []
    assert len(load.kept) == CONNECTIONS
    passage = load.passage
    assert passage is not None
    assert passage.unseen == 0
    assert passage.rate >= 5000
    # No more than a stall of 50 ms of one balancer explains: a program that is missing would cost more.
    assert load.kernel <= 160
    assert len(passage.lost) <= load.kernel


@pytest.mark.dosed
def test_nothing_is_lost_by_upgrades_and_rollbacks(streaming: Fleet) -> None:
    what = steps()
    assert [step["state"] for step in what].count("attached") == UPGRADES
    before = dropped_by_the_laboratory(streaming)
    with under_load(streaming) as load:
        seconds = change(streaming, what)
    print(f"{len(what)} changes in {seconds:.0f} s;", json.dumps(dropped_by_the_laboratory(streaming)), before)
    judge(load)
    assert counters(streaming) == {"lb1": 0, "lb2": 0}


def test_nothing_is_lost_by_a_migration_of_sizes(streaming: Fleet) -> None:
    with under_load(streaming) as load:
        resize(streaming, SIZES)
        # And back, which also leaves the fleet as the inventory has it.
        resize(streaming, DEFAULTS)
    judge(load)
    assert counters(streaming) == {"lb1": 0, "lb2": 0}
