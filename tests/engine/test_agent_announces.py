# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent's routes while runs, people and failures go on around it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._engine.drain import clear_drain, set_drain
from ansible_collections.katran.fleet.tests.engine import agents
from ansible_collections.katran.fleet.tests.engine.agents import OTHER_VIP, QUICK, VIP, Service, apply, until, vip
from ansible_collections.katran.fleet.tests.engine.sandbox import compiled_once, ensure_balancer, request, sandbox


@pytest.fixture(name="services", autouse=True)
def fleet() -> Iterator[dict[str, Service]]:
    with sandbox(agents.LINK), compiled_once(), agents.network(2) as reals:
        agents.install()
        agents.balance()
        services = {real: Service(real) for real in reals}
        apply(vip(*reals, check=QUICK), vip(*reals, address=OTHER_VIP))
        try:
            yield services
        finally:
            for each in services.values():
                each.kill()


@contextmanager
def announcing() -> Iterator[agents.Agent]:
    """The agent, once it announces both."""
    with agents.agent() as agent:
        until(lambda: agents.routes() == {VIP: 1, OTHER_VIP: 1}, 15)
        yield agent
        agent.end()


@contextmanager
def watched() -> Iterator[list[dict[str, int]]]:
    """All that the table had meanwhile, one after another."""
    found: list[dict[str, int]] = []
    over = threading.Event()

    def watch() -> None:
        while not over.is_set():
            there = agents.routes()
            if not found or found[-1] != there:
                found.append(there)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()


def test_a_vip_comes_and_goes_once(services: dict[str, Service]) -> None:
    with announcing(), watched() as found:
        apply(vip(*services, check=QUICK))
        time.sleep(5)
        # Nothing of what was seen before the run brings it back.
        assert found == [{VIP: 1, OTHER_VIP: 1}, {VIP: 1}]
        apply(vip(*services, check=QUICK), vip(*services, address=OTHER_VIP))
        until(lambda: agents.routes() == {VIP: 1, OTHER_VIP: 1}, 5)


def test_a_program_that_a_run_takes_off_is_withdrawn_first_and_stays_so(services: dict[str, Service]) -> None:
    with announcing(), watched() as found:
        ensure_balancer("loaded", source_ipv4="auto", source_ipv6="2001:db8::250")
        assert agents.routes() == {}
        time.sleep(5)
        assert found == [{VIP: 1, OTHER_VIP: 1}, {}]
        agents.balance()
        until(lambda: agents.routes() == {VIP: 1, OTHER_VIP: 1}, 8)


def test_a_drain_is_followed_and_survives_the_agent(services: dict[str, Service]) -> None:
    with announcing(), watched() as found:
        set_drain(request(), "anna")
        until(lambda: agents.routes() == {VIP: 2, OTHER_VIP: 2}, 3)
        # There was no moment without a route.
        assert all(set(each) == {VIP, OTHER_VIP} for each in found)
    with agents.agent() as agent:
        time.sleep(3)
        assert agents.routes() == {VIP: 2, OTHER_VIP: 2}
        set_drain(request(), "anna", withdraw=True)
        until(lambda: agents.routes() == {}, 3)
        clear_drain(request())
        until(lambda: agents.routes() == {VIP: 1, OTHER_VIP: 1}, 5)
        agent.end()


@pytest.mark.parametrize("kill", [lambda agent: agent.process.kill(), lambda agent: agent.end()])
def test_routes_outlive_the_agent(services: dict[str, Service], kill: Callable[[agents.Agent], Any]) -> None:
    with agents.agent() as agent:
        until(lambda: agents.routes() == {VIP: 1, OTHER_VIP: 1}, 15)
        kill(agent)
    with watched() as found:
        time.sleep(0.3)
        with agents.agent() as agent:
            time.sleep(5)
            agent.end()
    assert found == [{VIP: 1, OTHER_VIP: 1}]


def test_all_reals_that_refuse_keep_it_and_all_that_are_silent_ask_traffic_away(services: dict[str, Service]) -> None:
    with announcing() as agent:
        for each in services.values():
            each.kill()
        agent.said("announced all the same (last_resort)", 8)
        assert agents.routes() == {VIP: 1, OTHER_VIP: 1}
        # The router loses its way to them. That this balancer's own is broken would look the same.
        agents.in_namespace(agents.ROUTER, "ip", "link", "set", "br0", "down")
        until(lambda: agents.routes() == {VIP: 2, OTHER_VIP: 2}, 12)
        agents.in_namespace(agents.ROUTER, "ip", "link", "set", "br0", "up")
        for each in services.values():
            each.start()
        until(lambda: agents.routes() == {VIP: 1, OTHER_VIP: 1}, 15)
