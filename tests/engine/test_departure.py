# SPDX-License-Identifier: GPL-3.0-or-later
"""Module drain: a balancer is taken out of service and put back, with its agent, without it, and with peers."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._agent.handing import Handing
from ansible_collections.katran.fleet.plugins.module_utils._agent.journal import Journal
from ansible_collections.katran.fleet.plugins.module_utils._agent.services import SyncService
from ansible_collections.katran.fleet.plugins.module_utils._agent.sync import Sync
from ansible_collections.katran.fleet.plugins.module_utils._agent.troubles import Troubles
from ansible_collections.katran.fleet.plugins.module_utils._engine.agent import ensure_agent
from ansible_collections.katran.fleet.plugins.module_utils._engine.departure import Departure, Wish, leave
from ansible_collections.katran.fleet.plugins.module_utils._engine.drain import read_drain
from ansible_collections.katran.fleet.plugins.module_utils._engine.request import Request
from ansible_collections.katran.fleet.plugins.module_utils._kernel.agent_lock import hold
from ansible_collections.katran.fleet.plugins.module_utils._kernel.run_files import RunFiles
from ansible_collections.katran.fleet.plugins.module_utils._kernel.state_folder import STATE_ROOT, StateFolder
from ansible_collections.katran.fleet.plugins.module_utils._model.agent_settings import AGENT, parse_agent
from ansible_collections.katran.fleet.tests.engine import agents
from ansible_collections.katran.fleet.tests.engine import two_balancers as two
from ansible_collections.katran.fleet.tests.engine.agents import OTHER_VIP, VIP, apply, until, vip
from ansible_collections.katran.fleet.tests.engine.host import module_here as module
from ansible_collections.katran.fleet.tests.engine.sandbox import BPFFS, compiled_once, sandbox
from ansible_collections.katran.fleet.tests.engine.two_balancers import ADDRESSES, EAST, KEY, WEST

DRAIN = Path(STATE_ROOT, "default", "drain.json")
DONE = {"withdraw": True, "by": "anna", "wait": 20}


@pytest.fixture(name="lone")
def balancer() -> Iterator[None]:
    with sandbox(agents.LINK), compiled_once(), agents.network(0):
        agents.install()
        agents.balance()
        apply(vip("10.0.0.1"), vip("10.0.0.1", address=OTHER_VIP))
        yield


def test_a_balancer_leaves_and_comes_back(lone: None) -> None:
    both = {VIP: 1, OTHER_VIP: 1}
    with agents.agent() as agent:
        until(lambda: agents.routes() == both)
        told = module("drain", DONE, check=True, diff=True)
        assert not DRAIN.exists()
        done = module("drain", DONE, diff=True)
        assert done["changes"] == told["changes"] == [
            "balancer default: traffic is asked to leave, by anna, and its routes are withdrawn"
        ]  # fmt: skip
        assert (done["still"], done["routes"], done["peers"], done["falling"]) == (True, [], {}, "0 packets/s")
        assert agents.routes() == {}
        for check in (True, False):
            again = module("drain", {**DONE, "by": "bob", "wait": 0}, check=check)
            assert (again["changed"], again["drained"]["by"]) == (False, "anna")
        back = {"state": "undrained", "wait": 20}
        assert module("drain", back, check=True)["changes"] == ["balancer default: traffic may come back"]
        found = module("drain", back)
        assert (found["changed"], found["missing"], found["drained"]) == (True, [], None)
        assert agents.routes() == both
        assert not module("drain", back)["changed"]
        # A VIP that cannot be announced is waited for, and told with its reason.
        apply(vip("10.0.0.1"), vip(address=OTHER_VIP))
        until(lambda: "none of its reals" in (agents.RUN / "ready.json").read_text(encoding="utf-8"))
        (left,) = module("drain", {"state": "undrained", "wait": 0.5})["missing"]
        assert left == {"place": OTHER_VIP, "reason": f"vip {OTHER_VIP}:80/tcp: none of its reals takes flows"}
        agent.process.kill()
    began = time.monotonic()
    # Routes outlive the agent, and nobody takes them away: that is told at once.
    assert module("drain", {**DONE, "wait": 0}).msg.startswith("the agent does not run, so nobody hears of it yet")
    assert time.monotonic() - began < 5
    assert json.loads(DRAIN.read_text(encoding="utf-8"))["withdraw"]


def test_what_cannot_be_is_told(lone: None) -> None:
    assert module("drain", {"wait": -1}).msg == "wait: -1 is not a number of seconds (0 to 86400)"
    assert module("drain", {"instance": "other"}).msg == "there is no balancer other on this host"


@pytest.fixture(name="pair")
def two_that_share() -> Iterator[None]:
    with two.two_balancers():
        for instance in (EAST, WEST):
            two.apply(instance, two.vips(1, 2, 3, 4, 5))
        params = {name: option.get("default") for name, option in AGENT.items()}
        params |= {"sync": True, "sync_key": KEY.hex(), "sync_address": ADDRESSES[EAST], "metrics_listen": []}
        ensure_agent(Request(EAST, BPFFS, 5, False), parse_agent({**params, "sync_peers": [ADDRESSES[WEST]]}))
        yield


async def depart(east: Sync, answers: bool = True, seconds: float = 20.0) -> Departure:
    """Module drain's work on one balancer, while a task of the agent's looks for questions."""
    files, journal = RunFiles(EAST), Journal()
    lock = hold(files.folder)
    assert lock is not None
    service = SyncService(EAST, journal)
    service._sync = east
    handing = Handing(files, service, Troubles(journal))
    wish = Wish("anna", withdraw=True, hand_over=seconds)
    leaving = asyncio.create_task(asyncio.to_thread(leave, Request(EAST, BPFFS, 5, False), wish))
    try:
        while not leaving.done():
            if answers:
                handing.look()
            await asyncio.sleep(0.05)
        return leaving.result()
    finally:
        await handing.close()
        os.close(lock)


def is_withdrawn() -> bool:
    drain = read_drain(StateFolder(EAST, BPFFS))
    return drain is not None and drain.withdraw


def test_peers_hold_its_flows_before_its_routes_go(pair: None) -> None:
    keys = two.make_keys(1500)
    two.learn(EAST, keys)
    before = two.by_ring(EAST, keys)

    async def work(east: Sync, west: Sync) -> None:
        await two.in_touch(east, west)
        for instance in (WEST, EAST):
            two.apply(instance, two.vips(1, 2, 3, 4, 6))
        found = await depart(east)
        expected = two.exceptions(EAST, keys, before)
        assert (found.trouble, found.peers) == ("", {ADDRESSES[WEST]: "acknowledged"})
        assert is_withdrawn()
        assert len(expected) > 100
        assert two.held(WEST) == expected

    two.together(work)


def test_a_peer_that_does_not_confirm_keeps_the_routes(pair: None) -> None:
    async def work(east: Sync, west: Sync) -> None:
        await two.in_touch(east, west)
        assert west._process is not None
        os.kill(west._process.pid, 19)
        try:
            keys = two.make_keys(500)
            two.learn(EAST, keys)
            two.apply(EAST, two.vips(1, 2, 3, 4, 6))
            found = await depart(east, seconds=1.5)
        finally:
            os.kill(west._process.pid, 18)
        assert found.trouble == (
            f"{ADDRESSES[WEST]} has not acknowledged all flow exceptions in 1.5 s: the routes stay, with metric 2"
        )
        assert not is_withdrawn()
        silent = await depart(east, answers=False, seconds=0.5)
        assert silent.trouble == (
            "the agent has not begun to hand flow exceptions over in 0.5 s: its routes stay, with metric 2"
        )
        assert (await depart(east)).trouble == ""
        assert is_withdrawn()

    two.together(work)


def test_a_peer_that_is_gone_is_told_and_holds_up_nothing(pair: None) -> None:
    async def work() -> None:
        east = two.sync(EAST)
        await east.start()
        try:
            found = await depart(east)
        finally:
            await east.stop()
        assert (found.trouble, found.peers) == ("", {ADDRESSES[WEST]: "unreachable"})
        assert is_withdrawn()

    asyncio.run(work())
