# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames that really come and go: through a veth pair for each core, in a network of its own.

A core's generator sends the packets of many flows (BPF_PROG_TEST_RUN, live frames) into the balancer's interface, where
the program is attached natively; what it sends on by XDP_TX is counted at the other end, and dropped. Two things are
measured, of ours, of the yardstick of the shared bench, and of a program that sends all back as it is. (1) Rates: each
core does all of it, one after the other, as fast as it goes; with one core and with both. Nothing can be lost there
but by a fault. (2) The highest rate without loss: one core sends, another has the balancer and counts, found by
halving as RFC 2544 does. All this comes before all else that the machine does, for half a second at a time: a veth
keeps no more than 256 frames, and a core that does something else meanwhile loses them. Needs root and Linux 5.18, two
cores, clang, bpftool, libbpf-dev.
"""

from __future__ import annotations

import argparse
import json
import os
import struct
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from ansible_collections.katran.fleet.plugins.module_utils._kernel import bpf
from ansible_collections.katran.fleet.plugins.module_utils._kernel.cpus import possible_cpus
from ansible_collections.katran.fleet.plugins.module_utils._kernel.xdp import Interfaces
from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.map_specs import ARRAY, LRU_HASH, PERCPU_ARRAY
from ansible_collections.katran.fleet.tests.bench.flows import (
    KINDS,
    MEET,
    UNTIL_NEVER,
    WALK,
    YARDSTICK,
    Kind,
    Yardstick,
    bench_program,
    walk,
)
from ansible_collections.katran.fleet.tests.bench.packets import balancer
from ansible_collections.katran.fleet.tests.bench.performance_page import write_figures
from ansible_collections.katran.fleet.tests.engine.sandbox import sandbox

LIVE_FRAMES, BATCH = 2, 64
"""A flag of BPF_PROG_TEST_RUN; BATCH as in replay/live.bpf.c."""
NOTHING = "sent back as it is"
ENOUGH = 0.05
"""Two rates no further apart than that are one."""
TRIES = 3
"""A trial that lost something is made again: on a shared machine a core stands still now and then."""
SEARCHED = (NOTHING, YARDSTICK, KINDS[0].name, KINDS[-1].name)
BURST, PAUSE = 0.5, 0.2
"""Seconds for which a trial comes before all others, and for which they may go on; Linux lets them after 0.95."""


@dataclass
class Sent:
    """What came of some frames: how many, how many of them arrived, and in how many seconds they were sent."""

    frames: int
    arrived: int
    seconds: float

    @property
    def rate(self) -> float:
        return self.frames / self.seconds

    @property
    def lost(self) -> int:
        return self.frames - self.arrived


class Wire:
    """The veth pair NAME (the balancer's end) and NAME-peer (the generator's), with a generator and a counter."""

    def __init__(self, name: str) -> None:
        self.name, self.peer = name, f"{name}-peer"
        self._maps = {
            "walk": bpf.Map(bpf.create_map(ARRAY, 4, WALK, 1)),
            "pace": bpf.Map(bpf.create_map(ARRAY, 4, 16, 1)),
            "counted": bpf.Map(bpf.create_map(PERCPU_ARRAY, 4, 8, 2)),
            "expected": bpf.Map(bpf.create_map(ARRAY, 4, 4, 1)),
        }
        self._sends, counts = (self._load(name) for name in ("live", "arrived"))
        with Interfaces() as links:
            self._index = links.index(self.peer)
            links.replace(self.peer, counts, "native", None)

    def _load(self, name: str) -> int:
        code = bench_program(name, {})
        return bpf.load_program(code.bind({each: self._maps[each].fd for each in code.maps}), name=name)

    def attach(self, fd: int) -> None:
        """Let the balancer's end run another program."""
        with Interfaces() as links:
            links.replace(self.name, -1, "native", self._attached if self._attached >= 0 else None)
            links.replace(self.name, fd, "native", None)
        self._attached = fd

    _attached = -1

    def arrived(self) -> tuple[int, int]:
        """Frames so far that were as long as expected; and others."""
        found = []
        for kind in range(2):
            value = self._maps["counted"].lookup(layout.u32(kind))
            assert value is not None
            found.append(sum(struct.unpack(f"={len(value) // 8}Q", value)))
        return found[0], found[1]

    def send(self, program: Program, flows: int, frames: int, rate: float = 0) -> Sent:
        """Frames at so many a second, from the CPU at hand; 0: as fast as it goes."""
        frames = max(BATCH, round(frames / BATCH) * BATCH)
        data = program.kind.frame
        self._maps["walk"].update(layout.u32(0), walk(program.kind, flows, MEET))
        self._maps["pace"].update(layout.u32(0), struct.pack("=QQ", 0, round(BATCH * 1e9 / rate) if rate else 0))
        self._maps["expected"].update(layout.u32(0), layout.u32(len(data) + program.grows))
        context = struct.pack("=6I", 0, len(data), 0, self._index, 0, 0)
        before, wrong_before = self.arrived()
        clock = time.monotonic()
        bpf.test_run(self._sends, data, frames, context, LIVE_FRAMES, BATCH)
        clock = time.monotonic() - clock
        arrived, wrong = self._settled()
        if wrong != wrong_before:
            raise SystemExit(f"{program.name}: {wrong - wrong_before} frames came that are of another length")
        return Sent(frames, arrived - before, clock)

    def _settled(self) -> tuple[int, int]:
        """What has arrived once nothing comes any more."""
        found = self.arrived()
        while True:
            time.sleep(0.02)
            now = self.arrived()
            if now == found:
                return now
            found = now


@dataclass(frozen=True)
class Program:
    """What runs at the balancer's end, the packets that it gets, and by how many bytes it makes them longer."""

    name: str
    fd: int
    kind: Kind
    grows: int


GROWS = {("ipip", 4): 20, ("ipip", 6): 40, ("gue", 4): 28}


@contextmanager
def programs(room: int) -> Iterator[list[Program]]:
    """Ours by kind, with a table of so many flows on each CPU, the yardstick and a program that does nothing."""
    with ExitStack() as stack:
        # Its two instructions return XDP_TX.
        nothing = bpf.load_program(struct.pack("=BBhiBBhi", 0xB7, 0, 0, 3, 0x95, 0, 0, 0), name="nothing")
        yardstick = stack.enter_context(closing(Yardstick()))
        found = [Program(NOTHING, nothing, KINDS[0], 0), Program(YARDSTICK, yardstick.fd, KINDS[0], 20)]
        for kind in KINDS:
            made = stack.enter_context(balancer(kind.encapsulation, balancer={"udp_timeout": UNTIL_NEVER}))
            for cpu in range(possible_cpus()):
                tables = [made.maps["lru_mapping"]]
                # The first kind's flows are the yardstick's, too.
                tables += [yardstick.maps["lru_mapping"]] if kind is KINDS[0] else []
                with bpf.Map(bpf.create_map(LRU_HASH, 40, 16, room)) as table:
                    for each in tables:
                        each.update(layout.u32(cpu), layout.u32(table.fd))
            found.append(Program(kind.name, made.prog_fd, kind, GROWS[kind.encapsulation, kind.version]))
        # The yardstick's flows have to be known before it has its turn.
        found.append(found.pop(1))
        yield found


def on_cpu(cpu: int) -> None:
    """This thread's alone."""
    os.sched_setaffinity(0, {cpu})


@contextmanager
def before_all_others() -> Iterator[None]:
    """This thread."""
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


# Rates


def all_at_once(
    wires: Sequence[Wire], cpus: Sequence[int], program: Program, options: argparse.Namespace
) -> list[Sent]:
    """Every core does all of its wire's work, at the same time as the others."""
    found: list[Sent] = []
    ready = threading.Barrier(len(cpus))

    def work(wire: Wire, cpu: int) -> None:
        on_cpu(cpu)
        wire.send(program, options.flows, options.flows)
        with before_all_others():
            probe = wire.send(program, options.flows, 1 << 17)
        time.sleep(PAUSE)
        ready.wait()
        with before_all_others():
            found.append(wire.send(program, options.flows, round(probe.rate * BURST)))

    threads = [threading.Thread(target=work, args=pair) for pair in zip(wires, cpus, strict=False)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(found) != len(cpus):
        raise SystemExit(f"{program.name}: a generator failed")
    return found


def rates(
    wires: Sequence[Wire], cpus: Sequence[int], each: Sequence[Program], options: argparse.Namespace
) -> list[dict[str, Any]]:
    """Of every program with one core and with all, which take turns; the best: others slow virtual cores down."""
    found: dict[tuple[str, int], list[list[Sent]]] = {}
    for _round in range(options.rounds):
        for program in each:
            for wire in wires:
                wire.attach(program.fd)
            for count in sorted({1, len(cpus)}):
                found.setdefault((program.name, count), []).append(all_at_once(wires, cpus[:count], program, options))
    rows = []
    for (name, count), runs in found.items():
        rows.append(
            {
                "program": name,
                "cores": count,
                "frames_per_second": max(sum(sent.rate for sent in run) for run in runs),
                "ns": min(1e9 / sent.rate for run in runs for sent in run),
                "lost": sum(sent.lost for run in runs for sent in run),
                "frames": sum(sent.frames for run in runs for sent in run),
            }
        )
    return rows


def lines_of_rates(rows: Sequence[dict[str, Any]], cores: int) -> list[str]:
    """Rates, what the second core adds, ns of one core for a frame, and what of them is the program's."""
    title = "each core sends, balances and counts"
    lines = [f"{title:<38}{'1 core':>12}{f'{cores} cores':>12}{'':>7}{'a frame':>9}{'program':>9}{'lost':>6}"]
    floor = next(row["ns"] for row in rows if row["program"] == NOTHING and row["cores"] == 1)
    for name in dict.fromkeys(row["program"] for row in rows):
        one, *_, every = [row for row in rows if row["program"] == name]
        single, both = (row["frames_per_second"] / 1e6 for row in (one, every))
        lines.append(
            f"{name:<38}{single:>7.2f} Mpps{both:>7.2f} Mpps  x{both / single:4.2f}"
            f"{one['ns']:>6.0f} ns{one['ns'] - floor:>6.0f} ns{one['lost'] + every['lost']:>6}"
        )
    return lines


# The highest rate without loss


@contextmanager
def another_core(wire: Wire, cpu: int) -> Iterator[None]:
    """The balancer's interface is served by a thread of the kernel, on a core where the generator is not."""
    switch = Path(f"/sys/class/net/{wire.name}/threaded")
    switch.write_text("1")
    try:
        deadline = time.monotonic() + 5
        while not (found := _kernel_threads(f"napi/{wire.name}-")):
            if time.monotonic() > deadline:
                raise SystemExit(f"{wire.name}: no thread serves it")
            time.sleep(0.01)
        for thread in found:
            os.sched_setaffinity(thread, {cpu})
            os.sched_setscheduler(thread, os.SCHED_FIFO, os.sched_param(1))
        yield
    finally:
        switch.write_text("0")


def _kernel_threads(begin: str) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/comm"):
        try:
            name = path.read_text()
        except OSError:
            continue
        if name.startswith(begin[:15]):
            found.append(int(path.parent.name))
    return found


def bursts(wire: Wire, program: Program, rate: float, seconds: float, flows: int) -> Sent:
    """Frames at a rate, for so long in all."""
    whole = Sent(0, 0, 0.0)
    for _burst in range(max(1, round(seconds / BURST))):
        time.sleep(PAUSE)
        with before_all_others():
            sent = wire.send(program, flows, round(rate * BURST), rate)
        whole = Sent(*(one + more for one, more in zip(astuple(whole), astuple(sent), strict=True)))
    return whole


def without_loss(wire: Wire, program: Program, allowed: float, options: argparse.Namespace) -> tuple[float, bool]:
    """(frames a second of which at most this share is lost; whether the generator sends no faster)."""

    def holds(rate: float, seconds: float) -> float:
        """The rate that there was, 0 where more is lost."""
        for _try in range(TRIES):
            sent = bursts(wire, program, rate, seconds, options.flows)
            if sent.lost <= allowed * sent.frames:
                return sent.rate
        return 0

    with before_all_others():
        low, high = 0.0, wire.send(program, options.flows, 1 << 18).rate
    fastest = high
    if not holds(high, BURST):
        while high - low > ENOUGH * high:
            middle = (low + high) / 2
            low, high = (middle, high) if holds(middle, BURST) else (low, middle)
    else:
        low = high
    # What held for one burst must hold for a whole trial.
    rate = low
    while rate and not (found := holds(rate, options.seconds)):
        rate *= 1 - ENOUGH
    return (found if rate else 0.0), rate == fastest


def searches(
    wire: Wire, cpus: Sequence[int], each: Sequence[Program], options: argparse.Namespace
) -> list[dict[str, Any]]:
    """The highest rates of every program: nothing lost, and next to nothing."""
    on_cpu(cpus[0])
    rows = []
    for program in each:
        wire.attach(program.fd)
        with another_core(wire, cpus[1]):
            wire.send(program, options.flows, options.flows * 2, 200_000)
            row: dict[str, Any] = {"program": program.name}
            for name, allowed in (("none", 0.0), ("some", options.loss)):
                row[name], row[f"{name}_is_generator"] = without_loss(wire, program, allowed, options)
        rows.append(row)
        print(_line_of_search(row), file=sys.stderr, flush=True)
    return rows


def _line_of_search(row: dict[str, Any]) -> str:
    words = [
        f"{'>=' if row[f'{name}_is_generator'] else '':>4}{row[name] / 1e6:5.2f} Mpps" for name in ("none", "some")
    ]
    return f"{row['program']:<38}{words[0]:>18}{words[1]:>18}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flows", type=int, default=1 << 16, help="a power of two, of each core")
    parser.add_argument("--seconds", type=float, default=2.0, help="of a trial; a search's steps are shorter")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--loss", type=float, default=0.001, help="the share that the second search allows")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--write", action="store_true", help="write docs/performance.md")
    options = parser.parse_args()
    cpus = sorted(os.sched_getaffinity(0), reverse=True)[:2]
    if len(cpus) < 2:
        raise SystemExit("one core sends and another balances: this takes two")
    names = [f"lb{number}" for number in range(len(cpus))]
    with sandbox(*names), programs(options.flows * 4) as each:
        wires = [Wire(name) for name in names]
        measured = rates(wires, cpus, each, options)
        frames = f"frames of {len(KINDS[0].frame)} bytes, {options.flows:,} flows a core"
        lines = [
            f"Linux {os.uname().release}, {os.cpu_count()} cores; {frames}; the best of {options.rounds} rounds",
            "",
        ]
        lines += lines_of_rates(measured, len(cpus))
        print("\n".join(lines), flush=True)
        searched = searches(wires[0], cpus, [one for one in each if one.name in SEARCHED], options)
    more = ["", f"{'one core sends, another balances':<38}{'nothing lost':>18}{f'{100 * options.loss:g} % lost':>18}"]
    more += [_line_of_search(row) for row in searched]
    print("\n".join(more))
    if options.json:
        options.json.write_text(json.dumps({"rates": measured, "searches": searched}, indent=1) + "\n")
    if options.write:
        write_figures("live.py", lines + more)
    return 0


if __name__ == "__main__":
    sys.exit(main())
