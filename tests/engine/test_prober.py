# SPDX-License-Identifier: GPL-3.0-or-later
"""When probes are made: phases, rate, reloads, kicks, and stalls of the prober's own."""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterator

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._agent.pending import Aim
from ansible_collections.katran.fleet.plugins.module_utils._agent.prober import BURST, Prober
from ansible_collections.katran.fleet.plugins.module_utils._model.checks import Probe, Target
from ansible_collections.katran.fleet.plugins.module_utils._model.health import Answer
from ansible_collections.katran.fleet.plugins.module_utils._model.probe_path import Reach
from ansible_collections.katran.fleet.tests.engine.probing import WAY, balancer_and_real, reach_of, target
from ansible_collections.katran.fleet.tests.engine.services import HTTP, SILENT

LOOPBACK = "127.0.0.1"
READY, REFUSING = 9001, 9002
FOREVER = 1000.0


@pytest.fixture(autouse=True, scope="module")
def host() -> Iterator[None]:
    with balancer_and_real(), socket.create_server((LOOPBACK, READY), backlog=4096) as ready:
        # Connections without data are nobody's to accept: the kernel alone answers.
        ready.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 60)
        yield


def local(number: int, port: int = READY, **options: object) -> Aim:
    """One of many reals, all of which are this host."""
    probe = Probe("tcp", **options)  # type: ignore[arg-type]  # a test's own words
    return Aim("default", Target(f"10.0.{number // 250}.{number % 250}", LOOPBACK, port, probe))


def _regular(aim: Aim, _answer: Answer, started: float) -> float:
    return started + aim.target.probe.interval


def _once(_aim: Aim, _answer: Answer, started: float) -> float:
    return started + FOREVER


class Log:
    """What came, and when the next is due."""

    def __init__(self, due: Callable[[Aim, Answer, float], float] = _regular) -> None:
        self.due = due
        self.answers: dict[Aim, list[Answer]] = defaultdict(list)
        self.started: dict[Aim, list[float]] = defaultdict(list)
        self.began: list[float] = []

    def __call__(self, aim: Aim, answer: Answer, started: float, now: float) -> float:
        self.answers[aim].append(answer)
        self.started[aim].append(started)
        self.began.append(now - answer.took)
        return self.due(aim, answer, started)

    def states(self) -> Counter[tuple[str, str]]:
        return Counter(answer[:2] for answers in self.answers.values() for answer in answers)


def during(
    log: Log,
    work: Callable[[Prober], Awaitable[None]],
    reach: Callable[[Aim], Reach] = lambda _aim: Reach(),
    **bounds: float,
) -> Prober:
    """Work with a prober, at whose end no descriptor may be left."""

    async def do() -> Prober:
        before = descriptors()
        prober = Prober(log, reach, **bounds)  # type: ignore[arg-type]  # a test's own words
        try:
            await work(prober)
        finally:
            prober.stop()
        assert prober.under_way == 0
        assert descriptors() == before
        return prober

    return asyncio.run(do())


def through(aim: Aim) -> Reach:
    return reach_of(aim.target, WAY)


def now() -> float:
    return asyncio.get_running_loop().time()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def most_within(times: list[float], seconds: float) -> int:
    """Most of them in any span of that length."""
    ordered = sorted(times)
    most = begin = 0
    for end, moment in enumerate(ordered):
        while moment - ordered[begin] >= seconds:
            begin += 1
        most = max(most, end - begin + 1)
    return most


def test_phases_stay_spread_and_periods_exact() -> None:
    log = Log()

    async def work(prober: Prober) -> None:
        begin = now() + 0.1
        prober.set_targets({local(number, interval=0.5): begin + number / 400 for number in range(200)})
        await asyncio.sleep(2.6)

    prober = during(log, work)
    assert log.states().keys() == {("active", "")}
    for started in log.started.values():
        assert len(started) >= 4
        assert abs(started[-1] - started[0] - 0.5 * (len(started) - 1)) <= prober.stalled + 0.02
    # 400 a second: in step, there would be 200 in one of these.
    assert most_within(log.began, 0.05) <= 20 + 400 * (BURST + prober.stalled)


def test_no_more_than_the_rate_and_everybody_has_a_turn() -> None:
    """What fails is asked again at once; that takes nobody else's turn, nor is being late a failure."""
    rate = 300.0
    log = Log(lambda _aim, answer, started: started + (0.0 if answer.state == "down" else 1.0))
    well = [local(number, timeout=0.2) for number in range(150)]
    ill = [local(number, REFUSING, timeout=0.2) for number in range(150)]

    async def work(prober: Prober) -> None:
        begin = now()
        prober.set_targets(dict.fromkeys((*ill, *well), begin))
        await asyncio.sleep(4.2)
        assert prober.behind > 0

    during(log, work, rate=rate)
    assert most_within(log.began, 1.0) <= rate * (1 + BURST) + 1
    assert len(log.began) >= 4 * rate * 0.8
    assert all(log.answers[aim] for aim in ill)
    assert all(len(log.answers[aim]) >= 2 for aim in well)
    assert {answer.state for aim in well for answer in log.answers[aim]} == {"active"}


def test_no_more_under_way_than_allowed() -> None:
    log = Log()
    most = 0

    async def work(prober: Prober) -> None:
        nonlocal most
        aims = [Aim("default", target(SILENT, "tcp", timeout=0.1 + number / 1e6)) for number in range(60)]
        prober.set_targets(dict.fromkeys(aims, now()))
        while len(log.began) < 60:
            most = max(most, prober.under_way)
            await asyncio.sleep(0.005)

    during(log, work, through, most=20)
    assert most == 20
    assert {reason for _state, reason in log.states()} == {"timeout: no connection"}


def test_a_kick_asks_all_as_fast_as_the_rate_allows() -> None:
    log = Log(_once)
    aims = [local(number) for number in range(100)]
    slow = Aim("default", target(HTTP, path="/slow"))

    async def work(prober: Prober) -> None:
        prober.set_targets({**{aim: now() + 1 + number for number, aim in enumerate(aims)}, slow: now()})
        await asyncio.sleep(0.1)
        assert not log.began
        assert prober.under_way == 1
        kicked = now()
        prober.kick()
        await asyncio.sleep(0.2)
        assert sum(map(len, log.answers.values())) <= 200 * 0.25 + 200 * BURST + 2
        await asyncio.sleep(0.9)
        assert all(log.answers[aim] for aim in aims)
        assert max(log.began) - kicked >= 0.4
        order = sorted(aims, key=lambda aim: log.started[aim][-1])
        assert order == aims
        # What was under way began before the kick.
        assert len(log.answers[slow]) == 2
        prober.kick([aims[7]])
        await asyncio.sleep(0.05)
        assert len(log.answers[aims[7]]) == len(log.answers[aims[8]]) + 1

    during(log, work, lambda aim: through(aim) if aim == slow else Reach(), rate=200.0)


def test_a_reload_disturbs_nobody() -> None:
    log = Log()
    stays, goes, comes = (local(number, interval=0.2) for number in range(3))
    silent = Aim("default", target(SILENT, "tcp", timeout=5.0))

    async def work(prober: Prober) -> None:
        prober.set_targets({stays: now(), goes: now(), silent: now()})
        await asyncio.sleep(0.3)
        assert prober.under_way == 1
        prober.set_targets({stays: now()})
        assert prober.under_way == 0
        for _again in range(20):
            # A first time is for those that come: the others keep theirs.
            prober.set_targets({stays: now() + FOREVER, comes: now()})
            await asyncio.sleep(0.05)

    prober = during(log, work, lambda aim: through(aim) if aim == silent else Reach())
    assert len(log.answers[goes]) in (1, 2)
    assert silent not in log.answers
    assert len(log.answers[comes]) >= 5
    gaps = [later - earlier for earlier, later in itertools.pairwise(log.started[stays])]
    assert len(gaps) >= 5
    assert all(abs(gap - 0.2) <= prober.stalled + 0.02 for gap in gaps)


def test_drain_waits_for_what_is_under_way() -> None:
    log = Log()

    async def work(prober: Prober) -> None:
        prober.set_targets({Aim("default", target(HTTP, path="/slow")): now()})
        await asyncio.sleep(0.1)
        await prober.drain()

    during(log, work, through)
    assert log.states() == {("active", ""): 1}


def test_a_long_stall_of_our_own_proves_nothing() -> None:
    log = Log(_once)

    async def work(prober: Prober) -> None:
        slow = [Aim("default", target(HTTP, path="/slow", timeout=0.5 + number / 1000)) for number in range(20)]
        silent = [Aim("default", target(SILENT, kind)) for kind in ("tcp", "http", "tls")]
        prober.set_targets(dict.fromkeys((*slow, *silent), now()))
        await asyncio.sleep(0.1)
        assert prober.under_way == 23
        time.sleep(1.5)
        await asyncio.sleep(0.8)
        assert prober.stalled > 1.3

    during(log, work, through)
    # What came in meanwhile is an answer all the same.
    assert log.states() == {("active", ""): 20, ("", "this host stalled (timeout: no connection)"): 3}


def test_a_host_that_is_slow_all_the_time_still_tells_alive_from_dead() -> None:
    """As a CPU quota makes it: 60 ms of 80 are not ours."""
    log = Log(_once)

    async def work(prober: Prober) -> None:
        alive = [Aim("default", target(HTTP, path="/slow", timeout=0.5 + number / 1000)) for number in range(5)]
        silent = [Aim("default", target(SILENT, kind, timeout=0.3)) for kind in ("tcp", "http", "tls")]
        prober.set_targets(dict.fromkeys((*alive, *silent), now()))
        for _turn in range(40):
            time.sleep(0.06)
            await asyncio.sleep(0.02)

    during(log, work, through)
    assert log.states() == {("active", ""): 5, ("down", "timeout: no connection"): 3}
    assert all(answers[0].took > 0.4 for aim, answers in log.answers.items() if aim.target.port == SILENT)


def test_a_listener_that_fails_ends_nothing() -> None:
    told: list[str] = []

    def fail(aim: Aim, answer: Answer, started: float) -> float:
        raise RuntimeError("no")

    log = Log(fail)

    async def work(prober: Prober) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: told.append(context["message"]))
        prober.set_targets({local(0, interval=0.1): now(), local(1, interval=0.1): now()})
        await asyncio.sleep(0.35)

    during(log, work)
    assert [len(answers) >= 2 for answers in log.answers.values()] == [True, True]
    assert set(told) == {"nobody could be told of an answer"}


def test_a_listener_may_set_targets() -> None:
    """As when an answer makes the agent read its configuration again."""
    aims = [local(number, interval=0.1) for number in range(10)]
    held: list[Prober] = []

    def next_set(aim: Aim, answer: Answer, started: float) -> float:
        held[0].set_targets({each: now() for each in aims if each != aim})
        return started + 0.1

    log = Log(next_set)

    async def work(prober: Prober) -> None:
        held.append(prober)
        prober.set_targets(dict.fromkeys(aims, now()))
        await asyncio.sleep(0.3)

    during(log, work)
    assert len(log.answers) == 10


def test_fifty_thousand_probes_leak_nothing() -> None:
    count = Counter[str]()
    seen: list[int] = []

    def answered(aim: Aim, answer: Answer, started: float, _now: float) -> float:
        count[answer.state] += 1
        return started

    async def work() -> None:
        prober = Prober(answered, lambda _aim: Reach(mark=7), rate=1e6, most=200)
        ports = itertools.cycle((READY, REFUSING))
        prober.set_targets({local(number, next(ports)): now() for number in range(200)})
        deadline = now() + 60
        while sum(count.values()) < 50000 and now() < deadline:
            await asyncio.sleep(0.05)
            seen.append(descriptors())
        prober.stop()

    before = descriptors()
    asyncio.run(work())
    assert descriptors() == before
    assert max(seen) <= before + 200 + 8
    assert sum(count.values()) >= 50000
    assert count.keys() == {"active", "down"}
