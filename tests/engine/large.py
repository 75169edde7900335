# SPDX-License-Identifier: GPL-3.0-or-later
"""A balancer of 512 VIPs that share 100 reals, with its agent; one real dies, and every ring is watched."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ansible_collections.katran.fleet.plugins.module_utils._kernel import bpf
from ansible_collections.katran.fleet.plugins.module_utils._kernel.state_files import StateFile
from ansible_collections.katran.fleet.plugins.module_utils._model.map_specs import DEFAULT_SIZES
from ansible_collections.katran.fleet.tests.engine import agents, farm
from ansible_collections.katran.fleet.tests.engine.sandbox import BPFFS, compiled_once, run, sandbox

VIPS, REALS = 512, [f"10.0.0.{number}" for number in range(1, 101)]
SERVICE = "198.51.100.1"
"""Where every VIP's check asks: so each real has one target, whatever the number of VIPs."""

NICE = ("nice", "-n", "-5")
ALONE = ("chrt", "--rr", "1")
"""As if nobody else had work for the machine."""

WAYS = {"refuses": "refuse", "silent": "mute"}
LOOK_SECONDS = 0.005
LONGEST = 30.0
INTERVAL = 1.0
_TICK = os.sysconf("SC_CLK_TCK")


class Reals:
    """All of them: a process in a namespace of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.pid = process.pid
        self._process = process

    def tell(self, *words: str) -> Any:
        """Say something to the process; its answer."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(" ".join(words) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


@contextlib.contextmanager
def _reals(prefix: Sequence[str]) -> Iterator[Reals]:
    """The reals, one hop behind the balancer's link."""
    name, peer = "farm", f"{agents.LINK}-peer"
    run("ip", "link", "set", "lo", "up")
    run("ip", "netns", "add", name)
    run("ip", "link", "set", peer, "netns", name)
    run("ip", "addr", "add", f"{agents.OWN}/24", "dev", agents.LINK)
    run("ip", "route", "add", "default", "via", agents.GATEWAY)
    settings = [f"net.ipv4.conf.{each}.rp_filter=0" for each in ("all", "default", peer)]
    agents.in_namespace(name, "sysctl", "-qw", *settings)
    agents.in_namespace(name, "ip", "addr", "add", f"{agents.GATEWAY}/24", "dev", peer)
    for device in ("lo", peer):
        agents.in_namespace(name, "ip", "link", "set", device, "up")
    command = [*prefix, "ip", "netns", "exec", name, sys.executable, farm.__file__, SERVICE, *REALS]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
            yield Reals(process)
        finally:
            process.kill()


def config() -> list[dict[str, Any]]:
    """VIPs of all the reals, weights 1 to 10, each checked at the same place."""
    reals = [{"address": address, "weight": 1 + number % 10} for number, address in enumerate(REALS)]
    check = {"type": "tcp", "address": SERVICE, "port": farm.PORT}
    return [
        {
            "address": f"198.18.{number // 250}.{number % 250 + 1}",
            "port": 443,
            "protocol": "tcp",
            "reals": reals,
            "check": check,
        }
        for number in range(VIPS)
    ]


class Rings:
    """Every slot of every VIP, as the kernel has it this moment."""

    def __init__(self) -> None:
        with bpf.open_map(f"{agents.MAPS}/ch_rings") as opened:
            self._memory = opened.mmap(writable=False)
        state = StateFile("default", BPFFS).read()
        self.ids = dict(state.real_ids.assigned)
        numbers = sorted(state.vip_numbers.assigned.values())
        assert len(numbers) == VIPS
        slots = np.frombuffer(self._memory, dtype="<u8").reshape(-1, DEFAULT_SIZES["ring"])
        self._rings = [slots[number] for number in numbers]

    def close(self) -> None:
        self._rings.clear()
        self._memory.close()

    def counts(self, real: str) -> list[int]:
        """How many slots a real has in each."""
        return [int(np.count_nonzero(ring == self.ids[real])) for ring in self._rings]

    def digest(self) -> int:
        """What differs once any slot does."""
        found = 0
        for ring in self._rings:
            found = zlib.adler32(ring, found)
        return found

    def until(self, real: str, counts: Sequence[int]) -> float:
        """Wait until a real has so many slots in each; when (time.monotonic) the last of them came to that.

        One ring is looked at until it is so, and then the next: that is enough to see the end, and takes little CPU
        from those who are measured.
        """
        number, end = self.ids[real], time.monotonic() + LONGEST
        while True:
            for ring, count in zip(self._rings, counts, strict=True):
                while np.count_nonzero(ring == number) != count:
                    assert time.monotonic() < end, f"{real}: not within {LONGEST:g} s"
                    time.sleep(LOOK_SECONDS)
            found = time.monotonic()
            if self.counts(real) == list(counts):
                return found


def _processes(pid: int) -> Iterator[int]:
    """A process and all below it."""
    yield pid
    with contextlib.suppress(FileNotFoundError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split():
            yield from _processes(int(child))


def _cpu(pid: int) -> float:
    """CPU seconds of a process, its children and those that it has seen end."""
    total = 0
    for each in _processes(pid):
        with contextlib.suppress(FileNotFoundError):
            words = Path(f"/proc/{each}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
            total += sum(map(int, words[11:15]))
    return total / _TICK


def _memory(pid: int) -> list[float]:
    """Anonymous megabytes of a process, and of each below it."""
    found = []
    for each in _processes(pid):
        words = Path(f"/proc/{each}/status").read_text(encoding="ascii").split()
        found.append(int(words[words.index("RssAnon:") + 1]) / 1024)
    return found


def _lateness(times: Sequence[float]) -> float:
    """How much later than an interval after its last probe a real was asked, at worst (s).

    What is asked again sooner is on its way back to its place in the interval.
    """
    return max(later - earlier for earlier, later in itertools.pairwise(times)) - INTERVAL


@dataclass(frozen=True)
class Trial:
    """Seconds: until out of every ring; until it had all its slots again; as late as another real was asked at most."""

    out: float
    back: float
    late: float


@dataclass(frozen=True)
class Large:
    """The balancer at work."""

    reals: Reals
    rings: Rings
    agent: agents.Agent

    def lateness(self) -> float:
        """As late as a real was asked at most that answered all the time, since this was last asked (s)."""
        return max(_lateness(times) for times in self.reals.tell("arrivals").values() if len(times) > 2)

    def idle(self, seconds: float) -> tuple[float, list[float], float]:
        """While nothing happens: share of a core, megabytes of each process, lateness (s)."""
        self.reals.tell("arrivals")
        cpu, began = _cpu(self.agent.process.pid), time.monotonic()
        time.sleep(seconds)
        share = (_cpu(self.agent.process.pid) - cpu) / (time.monotonic() - began)
        return share, _memory(self.agent.process.pid), self.lateness()

    def trial(self, real: str, way: str, chance: random.Random) -> Trial:
        """One real dies, at any phase of its checks, and answers again."""
        whole, counts = self.rings.digest(), self.rings.counts(real)
        assert all(counts)
        self.reals.tell("arrivals")
        time.sleep(1.0 + chance.random())
        began = time.monotonic()
        self.reals.tell(WAYS[way], real)
        gone = self.rings.until(real, [0] * VIPS)
        time.sleep(chance.random())
        answered = time.monotonic()
        self.reals.tell("serve", real)
        back = self.rings.until(real, counts)
        assert self.rings.digest() == whole
        times = self.reals.tell("arrivals")
        late = max(_lateness(each) for other, each in times.items() if other != real)
        return Trial(gone - began, back - answered, late)


@contextlib.contextmanager
def large(prefix: Sequence[str] = NICE) -> Iterator[Large]:
    """The balancer with every real asked and active, for the length of a with block.

    `prefix`: what starts the agent, and the reals; they are nice as the agent's unit has it, or as ALONE.
    """
    with sandbox(agents.LINK), compiled_once(), _reals(prefix) as reals:
        agents.install()
        agents.balance(sizes=DEFAULT_SIZES)
        agents.apply(*config())
        rings = Rings()
        try:
            with agents.agent(prefix=prefix) as agent:
                agents.until(_all_active, 30)
                if prefix == ALONE:
                    # Its workers stay below it, as they are by their niceness.
                    for pid in (agent.process.pid, reals.pid):
                        os.sched_setscheduler(pid, os.SCHED_RR, os.sched_param(2))
                yield Large(reals, rings, agent)
        finally:
            rings.close()


def _all_active() -> bool:
    found = agents.checks()
    return len(found) == len(REALS) and all(each["state"] == "active" for each in found.values())


def trials(one: Large, way: str, number: int, told: Callable[[Trial], None]) -> list[Trial]:
    """Trials of one way to die, each of a real at random."""
    chance, found = random.Random(way), []
    for _each in range(number):
        found.append(one.trial(chance.choice(REALS), way, chance))
        told(found[-1])
    return found
