# SPDX-License-Identifier: GPL-3.0-or-later
"""katran doctor on real hosts: nothing on a healthy fleet under load, and what takes systemd, bird or a real to plant.

The other faults are planted where that is cheaper, in tests/engine/test_doctor*.py.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from fleetlab import flows
from fleetlab.flows import Flow
from fleetlab.runs import Fleet, on_host
from fleetlab.system import network

RUNS = int(os.environ.get("KATRAN_TRIALS", "2"))
"""`make doctor-trials` makes 20."""

HOSTS = ("lb1", "lb2", "real1", "real2", "real3")
IPV4 = "198.18.200.1"


def doctor(fleet: Fleet, host: str, options: str = "") -> list[dict[str, Any]]:
    """What doctor finds on a host, which is the truth in words and in its exit status."""
    said = on_host(fleet.lab, host, f"katran doctor --json {options}; echo $?")
    text, status = said.rsplit("\n", 1)
    found = [finding for each in json.loads(text) for finding in each["findings"]]
    assert (status == "0") == (not found), said
    return found


def lasting(fleet: Fleet, host: str, options: str = "") -> list[dict[str, Any]]:
    """The same, without BGP sessions that are down: BFD's 300 ms end them in truth where this machine is too slow."""
    found = doctor(fleet, host, options)
    return [each for each in found if each["name"] != "route_filtered" or "is not established" not in each["cause"]]


def until(true: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.2)


@pytest.fixture(scope="module")
def well(fleet: Fleet) -> Fleet:
    """The fleet as deployed, with its checks judged."""
    for host in ("lb1", "lb2"):
        until(partial(says, fleet, host, "katran checks > /dev/null; echo $?", "0"))
    return fleet


def says(fleet: Fleet, host: str, command: str, expected: str) -> bool:
    return on_host(fleet.lab, host, f"{command} || true") == expected


@contextmanager
def load(fleet: Fleet) -> Iterator[list[Flow]]:
    """Requests of a client all the while; those that were made, in the end."""
    over, made = threading.Event(), []

    def ask() -> list[Flow]:
        targets = [vip.target for vip in fleet.vips()]
        with network(fleet.lab.namespace_path(fleet.lab.host("client"))):
            return asyncio.run(flows.keep_asking(targets, 20, 0, over.is_set, 600))

    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask)
        try:
            yield made
        finally:
            over.set()
            made += asking.result()


def test_nothing_is_found_on_a_healthy_fleet_under_load(well: Fleet, record_property: Any) -> None:
    times = []
    with load(well) as made:
        for _run in range(RUNS):
            for host in HOSTS:
                began = time.monotonic()
                assert lasting(well, host) == [], host
                times.append(time.monotonic() - began)
    assert made
    assert not [flow for flow in made if flow.error]
    figures = (
        f"{RUNS} runs on {len(HOSTS)} hosts under {len(made)} requests: nothing; a host {max(times):.1f} s at most"
    )
    record_property("figures", figures)
    print(figures)
    assert sorted(times)[len(times) // 2] < 3


def test_words_for_people(well: Fleet) -> None:
    said = on_host(well.lab, "lb1", "katran doctor || true")
    assert said.splitlines()[-1].startswith("balancer: ")
    # A flow to each real of each VIP.
    assert said.count(" ok ") == 12, said


@contextmanager
def spoiled(fleet: Fleet, host: str, spoil: str, mend: str) -> Iterator[None]:
    on_host(fleet.lab, host, spoil)
    try:
        yield
    finally:
        on_host(fleet.lab, host, mend)


def test_an_agent_that_is_stopped(well: Fleet) -> None:
    with spoiled(well, "lb1", "systemctl stop katran-agent", "systemctl start katran-agent"):
        (finding,) = lasting(well, "lb1", "--no-probes")
    assert finding["name"] == "agent_down"
    assert "systemctl start katran-agent" in finding["remedy"]


def test_a_routing_daemon_that_is_stopped(well: Fleet) -> None:
    with spoiled(well, "lb2", "systemctl stop bird", "systemctl start bird"):
        (finding,) = doctor(well, "lb2", "--no-probes")
    assert (finding["name"], finding["about"]) == ("route_filtered", "bird")
    assert "systemctl start bird" in finding["remedy"]


def test_a_service_that_is_stopped(well: Fleet) -> None:
    with spoiled(well, "real2", "systemctl stop nginx", "systemctl start nginx"):
        found = lasting(well, "lb1", f"--vip {IPV4}:80/tcp")
    assert [(each["name"], each["about"]) for each in found] == [
        ("service_refuses", well.lab.host("real2").ipv4),
    ]
