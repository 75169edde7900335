# SPDX-License-Identifier: GPL-3.0-or-later
"""A service dies, and nobody is needed: how soon no ring leads there, what clients meet, and what the floor holds."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fleetlab import flows, reaction
from fleetlab.flows import Flow
from fleetlab.live import rings_of
from fleetlab.runs import Fleet, on_host
from fleetlab.system import network

from ansible_collections.katran.fleet.tests.doses import dose

ALONE = True
TRIALS = dose(18, 40)
"""Of each way to die half as many are made; `make bench-reaction` makes a hundred of each."""

REFUSED_SECONDS, SILENT_SECONDS, BACK_SECONDS = 2.0, 4.0, 4.0
FLAPPING, KILLS = dose(12, 20), dose(4, 10)
CHECKS = {80: {"type": "http"}, 7: {"type": "udp", "payload": "check"}}


def checked(fleet: Fleet, **options: Any) -> list[dict[str, Any]]:
    """The inventory's VIPs with a check each."""
    return [{**vip, "check": {**CHECKS[vip["port"]], **options}} for vip in fleet.config()]


@pytest.fixture(scope="module")
def watched(fleet: Fleet) -> Iterator[Fleet]:
    """The fleet with checks at default settings; as the inventory has it again at the end."""
    fleet.apply(checked(fleet))
    yield fleet
    reaction.mend(fleet.lab)
    fleet.apply()


@pytest.fixture
def whole(watched: Fleet) -> Iterator[Fleet]:
    """Every real in every ring, before and after."""
    reaction.mend(watched.lab)
    wait_for_all(watched)
    yield watched
    reaction.mend(watched.lab)
    wait_for_all(watched)


def wait_for_all(fleet: Fleet, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    with rings_of(fleet.lab) as rings:
        for host in fleet.lab.with_role("real"):
            for name, each in rings.items():
                for number in each.numbers(80):
                    while not each.has([number], each.ids((host.ipv4, host.ipv6))):
                        assert time.monotonic() < end, f"{host.name} is not in ring {number} of {name}"
                        time.sleep(0.05)


@pytest.fixture
def floorless(watched: Fleet) -> Iterator[Fleet]:
    """Without a floor, so that trials at several reals do not meet."""
    watched.apply(checked(watched, min_healthy=0))
    wait_for_all(watched)
    yield watched
    reaction.mend(watched.lab)
    watched.apply(checked(watched))
    wait_for_all(watched)


@pytest.mark.dosed
def test_a_dead_real_is_out_within_seconds_and_back_within_seconds(floorless: Fleet) -> None:
    for way, limit in (("refuses", REFUSED_SECONDS), ("silent", SILENT_SECONDS)):
        found = reaction.measure(floorless.lab, way, TRIALS // 2)
        print(found)
        assert len(found.out) == TRIALS // 2
        for seconds, most in ((found.out, limit), (found.back, BACK_SECONDS)):
            # One trial may meet a machine that is busy with something else, as shared ones are.
            assert sorted(seconds)[-2] <= most, found
            assert found.worst(seconds) <= most + 1.0, found


def ask(fleet: Fleet, seconds: float, during: Any) -> tuple[list[tuple[float, Flow]], float, float]:
    """HTTP over 50 connections at once while `during` runs; (flows with their end, begin and end of `during`)."""
    targets = [vip.target for vip in fleet.vips() if vip.target.protocol == "tcp"]
    found: list[tuple[float, Flow]] = []
    over = time.monotonic() + seconds

    async def worker(number: int) -> None:
        while time.monotonic() < over:
            flow = await flows.open_flow(targets[number % len(targets)], timeout=2.0)
            found.append((time.monotonic(), flow))
            await asyncio.sleep(0.05)

    async def all_of_them() -> None:
        await asyncio.gather(*(worker(number) for number in range(50)))

    def load() -> None:
        with network(fleet.lab.namespace_path(fleet.lab.host("client"))):
            asyncio.run(all_of_them())

    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(load)
        time.sleep(1.0)
        began = time.monotonic()
        during()
        ended = time.monotonic()
        loading.result()
    return found, began, ended


def test_requests_fail_in_the_window_alone(whole: Fleet) -> None:
    host = whole.lab.host("real3")
    found, began, _ended = ask(whole, 10.0, lambda: reaction.refuse(whole.lab, host))
    failed = [(at - began, flow) for at, flow in found if flow.error]
    last = max((at for at, _flow in failed), default=0.0)
    print(f"{len(found)} requests, {len(failed)} failed, the last {last:.2f} s after")
    assert failed, "the real that died had no share"
    assert all(0 <= at <= REFUSED_SECONDS + 0.5 for at, _flow in failed), failed[-3:]
    assert all(flow.real != "real3" for at, flow in found if at - began > REFUSED_SECONDS + 0.5)


@pytest.mark.dosed
def test_a_real_that_flaps_every_second_moves_the_rings_a_few_times(whole: Fleet) -> None:
    host = whole.lab.host("real3")
    changes = 0
    over = time.monotonic() + FLAPPING

    def flap() -> None:
        while time.monotonic() < over:
            reaction.silence(whole.lab, host)
            time.sleep(1.0)
            reaction.speak(whole.lab, host)
            time.sleep(1.0)

    with ThreadPoolExecutor(1) as pool, rings_of(whole.lab) as rings:
        flapping = pool.submit(flap)
        one = rings["lb1"]
        number = one.numbers(80)[0]
        ids = one.ids((host.ipv4, host.ipv6))
        before = one.has([number], ids)
        while time.monotonic() < over:
            there = one.has([number], ids)
            changes += there != before
            before = there
            time.sleep(0.02)
        flapping.result()
    print(f"{changes} changes of a ring in {FLAPPING} s of a real that is up and down every second")
    assert changes <= 3


def told(fleet: Fleet, host: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(on_host(fleet.lab, host, "cat /run/katran-fleet/default/checks.json"))
    return found


def test_the_floor_holds_where_half_of_the_weight_dies_and_more(whole: Fleet) -> None:
    """Weights 3, 2, 1: without real1 half is left, which is the floor; real2 dies too, and stays in."""
    lab = whole.lab
    for name in ("real1", "real2"):
        reaction.refuse(lab, lab.host(name))
        time.sleep(5.0)
    with rings_of(lab) as rings:
        for each in rings.values():
            numbers = each.numbers(80)
            assert not each.has(numbers, each.ids((lab.host("real1").ipv4, lab.host("real1").ipv6)))
            for number in numbers:
                assert each.has([number], each.ids((lab.host("real2").ipv4, lab.host("real2").ipv6)))
                assert each.has([number], each.ids((lab.host("real3").ipv4, lab.host("real3").ipv6)))
    assert "198.18.200.1:80/tcp" in told(whole, "lb1")["degraded"]


def test_where_all_die_no_ring_is_left_empty(whole: Fleet) -> None:
    """The last resort: the floor keeps those in that failed last, and the VIP is announced."""
    lab = whole.lab
    for host in lab.with_role("real"):
        reaction.refuse(lab, host)
    time.sleep(6.0)
    with rings_of(lab) as rings:
        for each in rings.values():
            for number in each.numbers(80):
                assert any(each.has([number], each.ids((host.ipv4, host.ipv6))) for host in lab.with_role("real"))
    ready = json.loads(on_host(lab, "lb1", "cat /run/katran-fleet/default/ready.json"))
    assert "198.18.200.1" in json.dumps(ready)


@pytest.mark.dosed
def test_an_agent_that_dies_changes_nothing(whole: Fleet) -> None:
    """Killed again and again under load: not a slot differs, no request fails, and the lock is free."""
    lab = whole.lab

    def kill() -> None:
        for _each in range(KILLS):
            for name in ("lb1", "lb2"):
                on_host(
                    lab,
                    name,
                    "systemctl kill -s KILL katran-agent; sleep 0.2; systemctl reset-failed katran-agent; true",
                )

    with rings_of(lab) as rings:
        before = {name: bytes(each._slots) for name, each in rings.items()}
        found, _began, _ended = ask(whole, 2.5 * KILLS, kill)
        assert {name: bytes(each._slots) for name, each in rings.items()} == before
    assert [flow for _at, flow in found if flow.error] == []
    wait_for_agent(whole)
    wanted = {"config": checked(whole), "state": "overridden"}
    for result in whole.module("balancers", "katran.fleet.vips", wanted).values():
        assert result["changed"] is False, result


def wait_for_agent(fleet: Fleet) -> None:
    for name in ("lb1", "lb2"):
        end = time.monotonic() + 20
        while on_host(fleet.lab, name, "systemctl is-active katran-agent || true") != "active":
            assert time.monotonic() < end
            time.sleep(0.5)
