# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent with real programs, real services and a real network: what is down is out, and nothing else changes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ansible_collections.katran.fleet.tests.engine import agents
from ansible_collections.katran.fleet.tests.engine.agents import QUICK, Service, apply, checks, slots, until, vip
from ansible_collections.katran.fleet.tests.engine.sandbox import compiled_once, sandbox


@pytest.fixture(name="services", autouse=True)
def fleet() -> Iterator[dict[str, Service]]:
    with sandbox(agents.LINK), compiled_once(), agents.network(3) as reals:
        agents.install()
        agents.balance()
        services = {real: Service(real) for real in reals}
        try:
            yield services
        finally:
            for each in services.values():
                each.kill()


def test_a_service_that_dies_is_out_and_comes_back(services: dict[str, Service]) -> None:
    apply(vip(*services, check=QUICK))
    whole = slots()
    with agents.agent() as agent:
        until(lambda: len(checks()) == 3 and all(each["state"] == "active" for each in checks().values()), 10)
        services["10.0.0.2"].kill()
        until(lambda: "10.0.0.2" not in slots())
        agent.said("vip 198.51.100.1:80/tcp: real 10.0.0.2 active → down (connection refused)")
        services["10.0.0.2"].start()
        until(lambda: slots() == whole)
        agent.said("vip 198.51.100.1:80/tcp: real 10.0.0.2 down → active")
        assert agent.end() == 0
    assert slots() == whole
