# SPDX-License-Identifier: GPL-3.0-or-later
"""Routes of VIPs in the kernel's table: held to what is ready whoever changes them, and withdrawn before a VIP goes."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._agent.announcer import Announcer, others_of
from ansible_collections.katran.fleet.plugins.module_utils._engine.balancer import Balancer
from ansible_collections.katran.fleet.plugins.module_utils._engine.drain import clear_drain, read_drain, set_drain
from ansible_collections.katran.fleet.plugins.module_utils._engine.info import gather_info
from ansible_collections.katran.fleet.plugins.module_utils._engine.resource import apply_resource
from ansible_collections.katran.fleet.plugins.module_utils._engine.withdraw import withdrawn
from ansible_collections.katran.fleet.plugins.module_utils._kernel import bpf
from ansible_collections.katran.fleet.plugins.module_utils._kernel.state_files import StateFile
from ansible_collections.katran.fleet.plugins.module_utils._kernel.state_folder import STATE_ROOT
from ansible_collections.katran.fleet.plugins.module_utils._model.announcement import DRAINING, PROTOCOL, READY, Drain
from ansible_collections.katran.fleet.plugins.module_utils._model.announcing import Seen, SeenVip
from ansible_collections.katran.fleet.plugins.module_utils._model.entries import Asked
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import EngineError
from ansible_collections.katran.fleet.plugins.module_utils._model.ready_file import ReadyFile
from ansible_collections.katran.fleet.plugins.module_utils._model.vips import VipKey
from ansible_collections.katran.fleet.tests.engine.sandbox import (
    BPFFS,
    compiled_once,
    ensure_balancer,
    request,
    run,
    sandbox,
)

RUN = Path("/run/katran-fleet/default")
PLACES = ["198.51.100.1", "198.51.100.2", "203.0.113.0/24", "2001:db8::1", "2001:db8:5::/64"]


@pytest.fixture(autouse=True)
def host() -> Iterator[None]:
    with sandbox("eth0"), compiled_once():
        run("ip", "link", "set", "lo", "up")
        yield


def seen(*places: str, **more: Any) -> Seen:
    names = (f"[{place}]:443/tcp" if ":" in place else f"{place}:443/tcp" for place in places)
    return Seen(tuple(SeenVip(VipKey.read(name)) for name in names), **more)


def routes(table: int = 198) -> dict[str, int]:
    """Place → metric, of routes of protocol 98, as ip shows them."""
    found = {}
    for family in ("-4", "-6"):
        for line in shown(family, str(table)):
            if "proto 98" not in line:
                continue
            words = line.split()
            assert words[1:3] == ["dev", "lo"], line
            found[words[0]] = int(words[words.index("metric") + 1])
    return found


def shown(family: str = "-4", table: str = "198") -> list[str]:
    """The routes of a table; one that has none does not exist."""
    command = ("ip", family, "route", "show", "table", table)
    return subprocess.run(command, check=False, capture_output=True, text=True).stdout.splitlines()


def texts(lines: list[Any]) -> list[str]:
    return [line.text for line in lines]


@pytest.mark.parametrize("table", [198, 1, 252, 256, 4294967295])
def test_routes_are_what_is_ready(table: int) -> None:
    announcer = Announcer("default", table)
    assert texts(announcer.update(seen(*PLACES), 1000.0)) == [
        "198.51.100.1, 198.51.100.2, 203.0.113.0/24 and 2 more are announced"
    ]
    assert routes(table) == dict.fromkeys(PLACES, READY)
    assert {place: ready.metric for place, ready in announcer.ready.items()} == routes(table)
    assert announcer.update(seen(*PLACES), 1001.0) == []
    drained = announcer.update(seen(*PLACES[1:], drain=Drain("now", "anna")), 1002.0)
    assert texts(drained) == [
        "198.51.100.2, 203.0.113.0/24, 2001:db8::1 and 1 more are announced as draining: drained by anna since now",
        "198.51.100.1 is withdrawn: no VIP is there any more",
    ]
    assert not any(line.wrong for line in drained)
    assert routes(table) == dict.fromkeys(PLACES[1:], DRAINING)
    announcer.stop({}, 1003.0)
    assert routes(table) == {}


def no_change(work: Callable[[], object]) -> None:
    """Do it, and see that the kernel tells of no change of a route of ours; links have it make its own at any time."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE) as told:
        told.bind((0, 0x40 | 0x400))  # routes of IPv4, and of IPv6
        work()
        protocols = []
        with contextlib.suppress(BlockingIOError):
            while True:
                # rtm_protocol, after the header of 16 bytes.
                protocols.append(told.recv(65536)[16 + 5])
        assert PROTOCOL not in protocols


def test_a_second_look_writes_nothing() -> None:
    announcer = Announcer("default")
    announcer.update(seen(*PLACES), 1000.0)
    before = (RUN / "ready.json").stat()
    no_change(lambda: [announcer.update(seen(*PLACES), 1001.0 + at) for at in range(10)])
    assert (RUN / "ready.json").stat().st_ino == before.st_ino


def test_ready_json_says_why() -> None:
    announcer = Announcer("default")
    announcer.update(seen("198.51.100.1", wrong=("the gateway's MAC is not known",)), 1000.0)
    path = RUN / "ready.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert RUN.stat().st_mode & 0o777 == 0o700
    ready = ReadyFile.from_json(path.read_text(encoding="utf-8"), str(path)).places["198.51.100.1"].ready
    assert ready == announcer.ready["198.51.100.1"]
    assert ready[1:] == (0, ("the gateway's MAC is not known",), 1000.0, ("198.51.100.1:443/tcp",))


class TestWhoeverElseChangesTheTable:
    def test_a_route_that_is_gone_is_put_back(self) -> None:
        announcer = Announcer("default")
        announcer.update(seen(*PLACES), 1000.0)
        run("ip", "route", "del", "198.51.100.1", "table", "198")
        run("ip", "-6", "route", "flush", "table", "198")
        assert texts(announcer.update(seen(*PLACES), 1001.0)) == [
            "198.51.100.1, 2001:db8::1, 2001:db8:5::/64 are announced again: somebody had removed the route"
        ]
        assert routes() == dict.fromkeys(PLACES, READY)

    def test_a_route_that_nobody_asked_for_goes(self) -> None:
        announcer = Announcer("default")
        announcer.update(seen("198.51.100.1"), 1000.0)
        run("ip", "route", "add", "192.0.2.9", "dev", "lo", "proto", "98", "metric", "1", "table", "198")
        run("ip", "route", "add", "blackhole", "198.51.100.1", "proto", "98", "metric", "7", "table", "198")
        run("ip", "-6", "route", "add", "blackhole", "2001:db8::9", "proto", "98", "metric", "1", "table", "198")
        assert texts(announcer.update(seen("198.51.100.1"), 1001.0)) == [
            "routes that nobody asked for are removed: 192.0.2.9, 198.51.100.1, 2001:db8::9"
        ]
        assert routes() == {"198.51.100.1": READY}

    def test_foreign_routes_stay_and_are_told_once(self) -> None:
        run("ip", "route", "add", "192.0.2.9", "dev", "lo", "proto", "static", "table", "198")
        run("ip", "route", "add", "198.51.100.1", "dev", "lo", "proto", "static", "metric", "1", "table", "198")
        announcer = Announcer("default")
        lines = texts(announcer.update(seen("198.51.100.1", "198.51.100.2"), 1000.0))
        assert lines == [
            (
                "198.51.100.1 is not announced: the kernel does not take its route: somebody else has a route there"
                " with metric 1"
            ),
            "198.51.100.2 is announced",
            "table 198 has 2 routes of others (protocol 4), which routing daemons learn from it as well",
        ]
        assert announcer.ready["198.51.100.1"].metric == 0
        assert announcer.update(seen("198.51.100.1", "198.51.100.2"), 1001.0) == []
        announcer.stop({}, 1002.0)
        assert len(run("ip", "route", "show", "table", "198").splitlines()) == 2

    def test_a_rule_into_the_table_is_told(self) -> None:
        announcer = Announcer("default")
        announcer.update(seen("198.51.100.1"), 1000.0)
        run("ip", "-6", "rule", "add", "table", "198")
        (line,) = announcer.update(seen("198.51.100.1"), 1001.0)
        assert line.wrong
        assert line.text.startswith("1 rule of routing on this host may send packets into table 198")

    def test_lo_that_is_down(self) -> None:
        run("ip", "link", "set", "lo", "down")
        announcer = Announcer("default")
        (line,) = announcer.update(seen("198.51.100.1", "198.51.100.2"), 1000.0)
        assert line.text.endswith("the kernel does not take its route: lo is down (ip link set lo up)")
        assert announcer.update(seen("198.51.100.1", "198.51.100.2"), 1001.0) == []
        run("ip", "link", "set", "lo", "up")
        assert texts(announcer.update(seen("198.51.100.1", "198.51.100.2"), 1002.0)) == [
            "198.51.100.1, 198.51.100.2 are announced"
        ]


def test_the_host_itself_takes_no_packet_by_these_routes() -> None:
    for family, own, gateway, place in (
        ("-4", "192.0.2.1/24", "192.0.2.9", "198.51.100.1"),
        ("-6", "2001:db8:9::1/64", "2001:db8:9::9", "2001:db8::1"),
    ):
        run("ip", family, "addr", "add", own, "dev", "eth0", *(("nodad",) if family == "-6" else ()))
        run("ip", family, "route", "add", "default", "via", gateway)
        before = run("ip", family, "route", "get", place)
        Announcer("default").update(seen("198.51.100.1", "2001:db8::1"), 1000.0)
        assert run("ip", family, "route", "get", place) == before
        assert f"via {gateway} dev eth0" in before


def test_routes_outlive_the_agent_and_the_next_goes_on() -> None:
    Announcer("default").update(seen(*PLACES), 1000.0)
    waits = tuple(vip._replace(waiting="no verdict", patience=9.0) for vip in seen(*PLACES).vips)
    second = Announcer("default")
    no_change(lambda: second.update(Seen(waits), 1001.0))
    assert second.ready["198.51.100.1"].since == 1000.0
    # Also where what the first one knew is lost, or damaged.
    (RUN / "ready.json").write_text('{"schema": 1}', encoding="utf-8")
    third = Announcer("default")
    lines: list[str] = []
    no_change(lambda: lines.extend(texts(third.update(Seen(waits), 1002.0))))
    assert lines[-1] == f"{RUN}/ready.json is damaged (table: is missing): the agent writes it anew"
    # A program that is off is no reason to wait.
    third.update(Seen(waits, wrong=("off",)), 1003.0)
    assert routes() == {}


def test_another_table_takes_the_routes_along() -> None:
    Announcer("default").update(seen(*PLACES), 1000.0)
    Announcer("default", 300).update(seen(*PLACES[:2]), 1001.0)
    assert routes() == {}
    assert routes(300) == dict.fromkeys(PLACES[:2], READY)


def test_two_balancers_of_one_host() -> None:
    blue, red = Announcer("blue"), Announcer("red")
    places = {"blue": ["198.51.100.1", "198.51.100.9"], "red": ["198.51.100.2", "198.51.100.9"]}

    def look(now: float, **more: dict[str, Any]) -> None:
        for each in (blue, red):
            others = others_of([blue, red], places, each.instance)
            each.update(seen(*places[each.instance], others=others, **more.get(each.instance, {})), now)

    look(1000.0)
    assert routes() == {"198.51.100.1": 1, "198.51.100.2": 1, "198.51.100.9": 1}
    # An address that both have is announced while one of them is ready for it.
    look(1001.0, blue={"wrong": ("off",)})
    look(1002.0, blue={"wrong": ("off",)})
    assert routes() == {"198.51.100.2": 1, "198.51.100.9": 1}
    # A second agent that has not heard of one of them leaves that one's routes.
    others = others_of([], places, "red")
    Announcer("red").update(seen("198.51.100.2", others=others), 1003.0)
    assert routes() == {"198.51.100.2": 1, "198.51.100.9": 1}
    red.stop(others_of([blue, red], {"blue": places["blue"]}, "red"), 1004.0)
    assert routes() == {"198.51.100.9": 1}


def test_512_vips_take_no_time() -> None:
    places = [f"198.18.{number // 250}.{1 + number % 250}" for number in range(256)]
    places += [f"2001:db8::{number:x}" for number in range(1, 257)]
    announcer = Announcer("default")
    times = []
    # The best of three: other processes of the machine may come in between.
    for now in (1000.0, 2000.0, 3000.0):
        moments = [time.monotonic()]
        for at, more in enumerate(({}, {}, {"wrong": ("off",)})):
            announcer.update(seen(*places, **more), now + at)
            assert len(announcer.wanted or {}) == (0 if more else len(places))
            moments.append(time.monotonic())
        times.append([later - earlier for earlier, later in itertools.pairwise(moments)])
    # All added, all compared, all removed.
    assert max(map(min, zip(*times, strict=True))) < 0.2, times
    assert routes() == {}


# What runs take away


def vip(address: str = "198.51.100.1", **more: Any) -> dict[str, Any]:
    return {"address": address, "port": 443, "protocol": "tcp", "reals": [{"address": "10.0.0.11"}], **more}


def apply(*vips: dict[str, Any], check: bool = False) -> Any:
    return apply_resource("vips", request(check), Asked(list(vips), "overridden", allow_empty=True))


class Agent(threading.Thread):
    """Looks all the time, at the VIPs that state.json has."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.announcer = Announcer("default", grace=0.3)
        self.over = threading.Event()
        self.history: list[tuple[float, dict[str, int], set[str]]] = []
        self.failures: list[BaseException] = []

    def run(self) -> None:
        file = StateFile("default", BPFFS)
        while not self.over.wait(0.01):
            try:
                state = file.read()
                there = {entry["address"] for entry in state.vips if entry["reals"]}
                attached = bool(state.program.tag)
                self.announcer.update(seen(*sorted(there), wrong=() if attached else ("off",)), time.time())
                routes_now = {place: ready.metric for place, ready in self.announcer.ready.items() if ready.metric}
                self.history.append((time.monotonic(), routes_now, there))
            except BaseException as error:  # noqa: BLE001  # whatever it is, the test fails of it
                self.failures.append(error)
                return


@pytest.fixture(name="agent")
def look_all_the_time() -> Iterator[Agent]:
    agent = Agent()
    yield agent
    agent.over.set()
    if agent.is_alive():
        agent.join()
    assert agent.failures == []


def announced(*places: str) -> bool:
    """Whether these are announced within a second, and no others."""
    deadline = time.monotonic() + 1
    while time.monotonic() < deadline:
        if set(routes()) == set(places):
            return True
        time.sleep(0.01)
    return False


def in_kernel(address: str) -> bool:
    """Whether packets to a VIP are balanced."""
    packed = socket.inet_aton(address)
    with bpf.open_map(f"{BPFFS}/katran/default/maps/vip_map") as opened:
        return any(key.startswith(packed) for key, _value in opened.items())


def test_a_vip_that_goes_is_withdrawn_first(agent: Agent) -> None:
    ensure_balancer("loaded")
    apply(vip(), vip("198.51.100.2"))
    agent.start()
    assert announced("198.51.100.1", "198.51.100.2")
    gone: list[float] = []

    def watch() -> None:
        while "198.51.100.1" in routes():
            time.sleep(0.002)
        assert in_kernel("198.51.100.1")
        gone.append(time.monotonic())
        while in_kernel("198.51.100.1"):
            time.sleep(0.002)
        gone.append(time.monotonic())

    watcher = threading.Thread(target=watch)
    watcher.start()
    # Check mode says the same of a run, and withdraws nothing.
    planned = apply(vip("198.51.100.2"), check=True).changes
    assert set(routes()) == {"198.51.100.1", "198.51.100.2"}
    assert apply(vip("198.51.100.2")).changes == planned == ["vip 198.51.100.1:443/tcp: removed"]
    watcher.join()
    assert gone[1] - gone[0] >= 0.25, "the grace"
    assert announced("198.51.100.2")
    # Never was it announced again on the way.
    there = ["198.51.100.1" in places for _when, places, _vips in agent.history]
    assert sum(now and not before for before, now in itertools.pairwise([False, *there])) == 1


def test_a_vip_whose_last_real_goes_is_withdrawn_first(agent: Agent) -> None:
    ensure_balancer("loaded")
    apply(vip())
    agent.start()
    assert announced("198.51.100.1")
    began = time.monotonic()
    apply(vip(reals=[]))
    assert time.monotonic() - began >= 0.3
    assert announced()


def test_a_vip_whose_last_real_is_taken_down_by_hand_is_withdrawn_first(agent: Agent) -> None:
    ensure_balancer("loaded")
    apply(vip(reals=[{"address": "10.0.0.11"}, {"address": "10.0.0.12"}]))
    agent.start()
    assert announced("198.51.100.1")

    def by_hand(state: str) -> float:
        words = [{"address": f"10.0.0.{last}", "state": state} for last in (11, 12)]
        began = time.monotonic()
        apply_resource("reals", request(), Asked(words, "merged", allow_empty=True))
        return time.monotonic() - began

    # Draining reals keep old flows: nothing is taken away.
    agent.history.clear()
    by_hand("draining")
    assert all(there for _when, there, _vips in agent.history)
    assert by_hand("down") >= 0.3
    assert any(not there for _when, there, _vips in agent.history)


def test_what_stays_announced_is_not_waited_for(agent: Agent) -> None:
    ensure_balancer("loaded")
    apply(vip(), vip(port=80), vip("198.51.100.2"))
    agent.start()
    assert announced("198.51.100.1", "198.51.100.2")
    agent.history.clear()
    # One of two VIPs of an address, another real, a new VIP.
    apply(vip(reals=[{"address": "10.0.0.12"}]), vip("198.51.100.2"), vip("198.51.100.3"))
    assert announced("198.51.100.1", "198.51.100.2", "198.51.100.3")
    assert all("198.51.100.1" in there for _when, there, _vips in agent.history)


def test_the_program_goes_last(agent: Agent) -> None:
    ensure_balancer("attached", interfaces=["eth0"])
    apply(vip(), vip("198.51.100.2"))
    agent.start()
    assert announced("198.51.100.1", "198.51.100.2")
    order: list[str] = []

    def watch() -> None:
        while routes():
            time.sleep(0.002)
        order.append("withdrawn" if "prog/xdp" in run("ip", "link", "show", "eth0") else "detached first")

    watcher = threading.Thread(target=watch)
    watcher.start()
    ensure_balancer("loaded")
    watcher.join()
    assert order == ["withdrawn"]
    assert "prog/xdp" not in run("ip", "link", "show", "eth0")


def test_removing_a_balancer_withdraws_first(agent: Agent) -> None:
    ensure_balancer("attached", interfaces=["eth0"])
    apply(vip())
    agent.start()
    assert announced("198.51.100.1")
    set_drain(request(), "anna")
    began = time.monotonic()
    Balancer("default", BPFFS).remove(False, 5)
    assert time.monotonic() - began >= 0.3
    assert announced()
    assert not Path(STATE_ROOT, "default").exists()


def test_an_upgrade_withdraws_nothing(agent: Agent) -> None:
    ensure_balancer("attached", interfaces=["eth0"])
    apply(vip())
    agent.start()
    assert announced("198.51.100.1")
    agent.history.clear()
    no_change(lambda: ensure_balancer("attached", interfaces=["eth0"], features=["vlan"]))
    assert all(there for _when, there, _vips in agent.history)


def test_a_run_that_fails_or_is_killed_is_withdrawn_no_longer() -> None:
    announcer = Announcer("default", grace=0.01)
    announcer.update(seen("198.51.100.1"), 1000.0)

    def fail() -> None:
        with withdrawn("default", {"198.51.100.1"}):
            assert routes() == {}
            announcer.update(seen("198.51.100.1"), 1001.0)
            assert routes() == {}
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    announcer.update(seen("198.51.100.1"), 1002.0)
    # It may know the VIPs as they were while the run went on.
    assert routes() == {}
    announcer.update(seen("198.51.100.1"), 1003.0)
    assert routes() == {"198.51.100.1": READY}
    ready, tell = os.pipe()
    child = os.fork()
    if not child:
        with withdrawn("default", {"198.51.100.1"}):
            os.write(tell, b".")
            signal.pause()
    os.read(ready, 1)
    announcer.update(seen("198.51.100.1"), 1004.0)
    assert routes() == {}
    assert "a run takes it away" in announcer.ready["198.51.100.1"].reasons
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    announcer.update(seen("198.51.100.1"), 1005.0)
    announcer.update(seen("198.51.100.1"), 1006.0)
    assert routes() == {"198.51.100.1": READY}


def test_what_was_seen_before_a_run_ended_announces_nothing() -> None:
    announcer = Announcer("default", grace=0.01)
    announcer.update(seen("198.51.100.1"), 1000.0)
    looked = time.monotonic()
    with withdrawn("default", {"198.51.100.1"}):
        announcer.update(seen("198.51.100.1", read_at=looked), 1001.0)
    for at in range(3):
        announcer.update(seen("198.51.100.1", read_at=looked), 1002.0 + at)
        assert routes() == {}
        assert announcer.wants_news
    announcer.update(seen("198.51.100.1", read_at=time.monotonic()), 1005.0)
    assert routes() == {"198.51.100.1": READY}
    assert not announcer.wants_news


def test_where_no_agent_is_a_run_waits_for_nothing() -> None:
    ensure_balancer("loaded")
    apply(vip())
    assert apply().changes == ["vip 198.51.100.1:443/tcp: removed"]
    assert not RUN.exists()


def test_routes_of_an_agent_that_is_gone_are_withdrawn_all_the_same() -> None:
    ensure_balancer("loaded")
    apply(vip())
    Announcer("default", grace=0.01).update(seen("198.51.100.1", "198.51.100.2"), 1000.0)
    apply()
    assert routes() == {"198.51.100.2": READY}


# A person's word


def test_a_drain_is_kept_until_it_ends() -> None:
    ensure_balancer("loaded")
    file = StateFile("default", BPFFS)
    assert read_drain(file) is None
    assert set_drain(request(check=True), "anna").changed
    assert read_drain(file) is None
    first = set_drain(request(), "anna")
    assert first.changes == ["balancer default: traffic is asked to leave, by anna"]
    drain = read_drain(file)
    assert drain is not None
    assert (drain.by, drain.withdraw) == ("anna", False)
    assert not set_drain(request(), "bert").changed, "whose word came first holds"
    assert set_drain(request(), "bert", withdraw=True).changed
    assert read_drain(file) == drain._replace(withdraw=True)
    assert clear_drain(request()).changes == ["balancer default: traffic may come back"]
    assert not clear_drain(request()).changed
    assert read_drain(file) is None


def test_there_is_no_such_balancer_to_drain() -> None:
    with pytest.raises(EngineError, match="there is no balancer default on this host"):
        set_drain(request(), "anna")


def test_a_damaged_word_drains_too() -> None:
    ensure_balancer("loaded")
    file = StateFile("default", BPFFS)
    file.write_file("drain.json", "{}")
    drain = read_drain(file)
    assert drain is not None
    assert "drain.json is damaged (schema: is missing)" in drain.by
    announcer = Announcer("default")
    announcer.update(seen("198.51.100.1", drain=drain), 1000.0)
    assert routes() == {"198.51.100.1": DRAINING}
    clear_drain(request())
    assert read_drain(file) is None


def test_balancer_info_tells_what_is_announced() -> None:
    ensure_balancer("loaded")
    assert gather_info(request(), ["ready"])["ready"] == {"table": 198, "drained": None, "places": []}
    set_drain(request(), "anna", withdraw=True)
    drain = read_drain(StateFile("default", BPFFS))
    Announcer("default").update(seen("198.51.100.1", drain=drain), 1000.0)
    run("ip", "route", "add", "198.51.100.1", "dev", "lo", "proto", "98", "metric", "1", "table", "198")
    assert drain is not None
    (place,) = gather_info(request(), ["ready"])["ready"]["places"]
    assert place == {
        "place": "198.51.100.1",
        "state": "withdrawn",
        "since": "1970-01-01T00:16:40.000+00:00",
        "reasons": [f"withdrawn by anna since {drain.since}"],
        "vips": ["198.51.100.1:443/tcp"],
        "route": 1,
    }
    (RUN / "ready.json").write_text("{}", encoding="utf-8")
    found = gather_info(request(), ["ready"])
    assert found["ready"]["places"] == []
    assert found["ready"]["drained"] == drain._asdict()
    assert found["warnings"] == [f"{RUN}/ready.json is damaged (table: is missing): the agent writes it anew"]
