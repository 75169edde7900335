# SPDX-License-Identifier: GPL-3.0-or-later
"""ns per packet against the number of flows that a core has, each packet of another flow than the one before.

With few flows all that a packet needs is in the core's caches; with a million, as in production, it waits for memory.
BPF_PROG_TEST_RUN runs the program as it is deployed, one core, on a table of flows that it has learned itself; the
yardstick of the shared bench ($KATRAN_BENCH, or ../shared/bench) has the same flows and takes turns with it. What
replaying costs is taken off. --tables tells, by programs that do nothing else, what the table's form costs. Needs
root, clang, bpftool, libbpf-dev; --write needs matplotlib.
"""

from __future__ import annotations

import argparse
import ipaddress
import json
import os
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

from scapy.packet import Packet

from ansible_collections.katran.fleet.plugins.module_utils._kernel import bpf
from ansible_collections.katran.fleet.plugins.module_utils._kernel.cpus import possible_cpus
from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.bytecode import Bytecode
from ansible_collections.katran.fleet.plugins.module_utils._model.map_specs import ARRAY, LRU_HASH, PROG_ARRAY
from ansible_collections.katran.fleet.plugins.module_utils._program import compiler
from ansible_collections.katran.fleet.tests.bench.packets import KEPT, balancer, frame, tcp, udp
from ansible_collections.katran.fleet.tests.bench.performance_page import write_figures
from ansible_collections.katran.fleet.tests.conformance.provision import ACTIONS, ROOT, Balancer

BENCH = Path(os.environ.get("KATRAN_BENCH", ROOT.parent / "shared" / "bench"))
TABLE = 1 << 21
"""Entries of a core's table. At most half are used: the kernel evicts before an LRU table is full."""
SIZES = tuple(4**power for power in range(11))
CLIENTS4 = int(ipaddress.ip_address("198.18.0.0"))
PORTS, FIRST_PORT = 16, 40000
"""As in replay/flows.bpf.c: the ports that a client has."""
SOURCE = {4: 26, 6: 34}
"""Where in a frame the source address' last four bytes are."""
PORT = {4: 34, 6: 54}
LEARN, MEET = 0x2545F491, 0x5BD1E995
"""Seeds of two orders: met in the order in which they were learned, flows would lie in memory one behind the other."""
UNTIL_NEVER = 1 << 20
"""Seconds after which UDP flows are forgotten: a round lasts longer than the default."""


@dataclass(frozen=True)
class Kind:
    """A kind of packet and the program's encapsulation."""

    name: str
    encapsulation: str
    packet: Packet

    @property
    def frame(self) -> bytes:
        return frame(self.packet)

    @property
    def version(self) -> int:
        return int(self.packet.version)


PLAIN = tcp("198.51.100.1")
KINDS = (
    Kind("TCP, IPv4", "ipip", PLAIN),
    Kind("TCP, IPv6", "ipip", tcp("2001:db8:1::1")),
    Kind("UDP, IPv4", "ipip", udp("198.51.100.1")),
    Kind("TCP, any port", "ipip", tcp("198.51.100.3")),
    Kind("TCP, IPv4, GUE", "gue", PLAIN),
)
YARDSTICK = "yardstick (TCP, IPv4)"


def bench_program(name: str, macros: Mapping[str, int]) -> Bytecode:
    """Compile one of the programs in replay/, which use headers of bpf/."""
    with tempfile.TemporaryDirectory() as folder:
        replay = Path(__file__).with_name("replay")
        shutil.copy(replay / f"{name}.bpf.c", folder)
        for headers in ("include", "kernel"):
            shutil.copytree(ROOT / "bpf" / headers, Path(folder, headers))
        shutil.copy(replay / "walk.h", Path(folder, "include"))
        return compiler.compile_program(folder, name, macros)


WALK = 40 + KEPT
"""Bytes of struct walk."""


def walk(kind: Kind, flows: int, seed: int, first: int = 0) -> bytes:
    """A struct walk of replay/walk.h."""
    # The client's address is that of the range of tests, whatever the frame's.
    base = CLIENTS4 if kind.version == 4 else 0
    shift = max(1, (flows.bit_length() - 1) // 2)
    places = (SOURCE[kind.version], PORT[kind.version])
    data = kind.frame
    return struct.pack("=QQIIIIHH4x", len(data), first, flows - 1, seed, shift, base, *places) + data[:KEPT]


class FlowReplay:
    """Runs the packets of many flows through a program: replay/flows.bpf.c."""

    def __init__(self) -> None:
        self._walk = bpf.Map(bpf.create_map(ARRAY, 4, WALK, 1, 0, "walk"))
        self._target = bpf.Map(bpf.create_map(PROG_ARRAY, 4, 4, 1, 0, "under_test"))
        code = bench_program("flows", {})
        self._fd = bpf.load_program(code.bind({"walk": self._walk.fd, "under_test": self._target.fd}), name="flows")
        # Its two instructions return XDP_TX.
        self.nothing = bpf.load_program(struct.pack("=BBhiBBhi", 0xB7, 0, 0, 3, 0x95, 0, 0, 0), name="nothing")

    def run(self, fd: int, kind: Kind, flows: int, packets: int, seed: int = MEET, first: int = 0) -> bpf.TestRun:
        """So many packets of `flows` flows, a power of two, from the `first` of the seed's order on."""
        self._walk.update(layout.u32(0), walk(kind, flows, seed, first))
        self._target.update(layout.u32(0), layout.u32(fd))
        return bpf.test_run(self._fd, kind.frame, packets)

    def time(self, fd: int, kind: Kind, flows: int, packets: int) -> float:
        """ns per packet of the program alone, in the middle of what it does all day: it has met all flows before."""
        empty = self.run(self.nothing, kind, flows, packets).nanoseconds
        self.run(fd, kind, flows, flows)
        result = self.run(fd, kind, flows, packets)
        if ACTIONS[result.value] != "XDP_TX":
            raise SystemExit(f"{kind.name}: {ACTIONS[result.value]}, not XDP_TX")
        return result.nanoseconds - empty


def client(version: int, number: int) -> tuple[bytes, int]:
    """(address as in a flow's key, port) of the flow with this number."""
    last = (CLIENTS4 if version == 4 else 0) + number // PORTS
    if version == 4:
        return layout.pack_address(str(ipaddress.ip_address(last))), FIRST_PORT + number % PORTS
    return layout.pack_address("2001:db8:c::")[:12] + struct.pack(">I", last), FIRST_PORT + number % PORTS


# Programs under test


def roomy_table(made: Balancer, entries: int = TABLE) -> bpf.Map:
    """Give every CPU of a balancer a table of so many flows; that of this one."""
    here = min(os.sched_getaffinity(0))
    for cpu in range(possible_cpus()):
        table = bpf.Map(bpf.create_map(LRU_HASH, 40, 16, entries if cpu == here else 1000))
        made.maps["lru_mapping"].update(layout.u32(cpu), layout.u32(table.fd))
        if cpu == here:
            found = table
        else:
            table.close()
    return found


class Yardstick:
    """The program of the shared bench, with maps of its own."""

    def __init__(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            made = Path(folder, "yardstick.o")
            headers = f"-I/usr/include/{os.uname().machine}-linux-gnu"
            source = BENCH / "yardstick.bpf.c"
            command = ["clang", "-O2", "-g", "-target", "bpf", headers, "-c", str(source), "-o", str(made)]
            subprocess.run(command, check=True)
            pins = Path(folder, "bpffs")
            pins.mkdir()
            subprocess.run(["mount", "-t", "bpf", "bpf", str(pins)], check=True)
            try:
                command = ["bpftool", "prog", "load", str(made), str(pins / "prog"), "type", "xdp"]
                subprocess.run([*command, "pinmaps", str(pins)], check=True)
                self.fd = bpf.open_program(str(pins / "prog"))
                self.maps = {
                    name: bpf.open_map(str(pins / name)) for name in ("vip_map", "reals", "lru_mapping", "stats")
                }
            finally:
                subprocess.run(["umount", str(pins)], check=True)
        self.maps["vip_map"].update(
            layout.vip_definition(layout.pack_address("198.51.100.1"), 80, layout.PROTOCOLS["tcp"]),
            layout.vip_meta(0, 3),
        )
        for number in range(1, 64):
            address = layout.pack_address(f"10.0.0.{number}")
            self.maps["reals"].update(layout.u32(number), layout.real_definition(address, 0))
        self.table = bpf.Map(bpf.create_map(LRU_HASH, 40, 16, TABLE))
        for cpu in range(possible_cpus()):
            self.maps["lru_mapping"].update(layout.u32(cpu), layout.u32(self.table.fd))

    def learn(self, known: bpf.Map) -> None:
        """The flows of another table; not in its order, which is that of its hash."""
        flows = list(known.items())
        Random("learn").shuffle(flows)
        self.table.update_many(flows)

    def close(self) -> None:
        for opened in (*self.maps.values(), self.table):
            opened.close()
        os.close(self.fd)


@dataclass(frozen=True)
class Job:
    """A program and the packets that it gets."""

    fd: int
    kind: Kind


@contextmanager
def programs(replay: FlowReplay) -> Iterator[tuple[dict[str, Job], Callable[[int], None]]]:
    """Name -> job; and what lets all of them know so many flows."""
    with ExitStack() as stack:
        yardstick = stack.enter_context(closing(Yardstick()))
        jobs = {YARDSTICK: Job(yardstick.fd, KINDS[0])}
        tables = {}
        for kind in KINDS:
            made = stack.enter_context(balancer(kind.encapsulation, balancer={"udp_timeout": UNTIL_NEVER}))
            tables[kind.name] = stack.enter_context(closing(roomy_table(made)))
            jobs[kind.name] = Job(made.prog_fd, kind)

        def learn(flows: int) -> None:
            for kind in KINDS:
                replay.run(jobs[kind.name].fd, kind, flows, flows, LEARN)
                known = sum(count for _keys, _values, count in tables[kind.name].batches())
                if known != flows:
                    raise SystemExit(f"{kind.name}: the table knows {known} flows, not {flows}")
            yardstick.learn(tables[KINDS[0].name])

        yield jobs, learn


# Tables of other forms


@dataclass(frozen=True)
class Form:
    """A table of flows: its key and value, and how many entries it has room for."""

    name: str
    key: int
    value: int
    entries: int = TABLE

    @property
    def entry(self) -> int:
        """Bytes of an entry with the 48 that the kernel keeps in front of the key (struct htab_elem)."""
        return 48 + self.key + self.value


FORMS = (
    Form("as it is", 40, 16),
    Form("key of 16 bytes", 16, 16),
    Form("key and value of 8 bytes", 8, 8),
    Form("value of 40 bytes: entries of two lines", 40, 40),
    Form("room for 5/8 of that", 40, 16, TABLE * 5 // 8),
    Form("room for four times that", 40, 16, TABLE * 4),
)
MEMORY = "one read of memory"


@contextmanager
def forms() -> Iterator[tuple[dict[str, Job], Callable[[int], None]]]:
    """Name -> job: looks into a table of each form, and reads of an array as large."""
    with ExitStack() as stack:
        jobs = {}
        replay = FlowReplay()
        for form in FORMS:
            table = stack.enter_context(closing(bpf.Map(bpf.create_map(LRU_HASH, form.key, form.value, form.entries))))
            code = bench_program("table", {"KEY_WORDS": form.key // 8, "VALUE_WORDS": form.value // 8})
            fd = bpf.load_program(code.bind({"flow_table": table.fd}), name="table")
            jobs[form.name] = Job(fd, KINDS[0])
        places = max(SIZES)
        array = stack.enter_context(closing(bpf.Map(bpf.create_map(ARRAY, 4, 128, places))))
        code = bench_program("memory", {"PLACES": places})
        jobs[MEMORY] = Job(bpf.load_program(code.bind({"places": array.fd}), name="memory"), KINDS[0])

        def learn(flows: int) -> None:
            for job in jobs.values():
                replay.run(job.fd, job.kind, flows, flows, LEARN)

        yield jobs, learn


# Measuring, printing

Rounds = dict[str, dict[int, list[float]]]
"""Name -> number of flows -> ns per packet of each round."""


def measure(
    replay: FlowReplay, jobs: Mapping[str, Job], learn: Callable[[int], None], options: argparse.Namespace
) -> Rounds:
    """Every job with every number of flows, of those that the tables know; in a round all take turns."""
    found: Rounds = {name: {} for name in jobs}
    learn(max(options.flows))
    for number in range(options.rounds):
        for flows in options.flows:
            for name, job in jobs.items():
                value = replay.time(job.fd, job.kind, flows, max(options.repeat, flows))
                found[name].setdefault(flows, []).append(value)
        print(f"round {number + 1} of {options.rounds}", file=sys.stderr, flush=True)
    return found


def ratio(values: Sequence[float], others: Sequence[float]) -> float:
    """Of what took turns, round by round."""
    return statistics.median(one / other for one, other in zip(values, others, strict=True))


def head(options: argparse.Namespace) -> str:
    cpu = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name"))
    cache = Path("/sys/devices/system/cpu/cpu0/cache/index3/size")
    shared = f", third-level cache {cache.read_text().strip()}" if cache.exists() else ""
    return (
        f"Linux {os.uname().release}, {cpu.partition(': ')[2]}{shared}, one core; medians of {options.rounds} rounds;"
        f" table of {TABLE:,} entries"
    )


def lines_of(found: Rounds, options: argparse.Namespace) -> list[str]:
    """A table for people: ns, and behind them how many times the yardstick's that is."""
    lines = [head(options), "", f"{'flows':>9}  {YARDSTICK:>21}" + "".join(f"{kind.name:>20}" for kind in KINDS)]
    for flows in options.flows:
        yard = found[YARDSTICK][flows]
        row = f"{flows:>9,}  {statistics.median(yard):>18.0f} ns"
        for kind in KINDS:
            values = found[kind.name][flows]
            row += f"{statistics.median(values):>9.0f} ns  x{ratio(values, yard):4.2f}"
        lines.append(row)
    return lines


def lines_of_forms(found: Rounds, options: argparse.Namespace) -> list[str]:
    """ns of a look into each form of table."""
    lines = [head(options), "", f"{'ns of a look with so many flows':<40}{'entry':>7}"]
    lines[-1] += "".join(f"{flows:>11,}" for flows in options.flows)
    entries = {form.name: f"{form.entry} B" for form in FORMS}
    for name, rounds in found.items():
        row = "".join(f"{statistics.median(rounds[flows]):>11.0f}" for flows in options.flows)
        lines.append(f"{name:<40}{entries.get(name, '128 B'):>7}{row}")
    return lines


def draw(found: Rounds) -> None:
    """docs/flows-cost.png."""
    # Needs matplotlib, which nothing else here does.
    from ansible_collections.katran.fleet.tests.bench.picture import picture

    with picture("flows-cost.png", same_scale=True) as (left, right):
        for axes, kinds in ((left, KINDS[:3]), (right, KINDS[3:])):
            for name in (YARDSTICK, *(kind.name for kind in kinds)):
                rounds = found[name]
                style = "k--" if name == YARDSTICK else "o-"
                axes.plot(list(rounds), [statistics.median(each) for each in rounds.values()], style, label=name)
            axes.set_xscale("log")
            axes.set(xlabel="flows of a core")
        left.set(ylabel="ns per packet", title="IPIP")
        right.set(title="IPIP to a VIP of any port, and GUE")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", action="store_true", help="what the table's form costs, instead")
    parser.add_argument("--flows", type=int, nargs="+", default=SIZES, help="powers of two up to 1,048,576")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--repeat", type=int, default=200_000, help="packets per measurement, at least")
    parser.add_argument("--json", type=Path, help="write the figures, all rounds, to this file")
    parser.add_argument("--write", action="store_true", help="write docs/performance.md, and draw docs/flows-cost.png")
    options = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    replay = FlowReplay()
    with forms() if options.tables else programs(replay) as (jobs, learn):
        found = measure(replay, jobs, learn, options)
    lines = lines_of_forms(found, options) if options.tables else lines_of(found, options)
    print("\n".join(lines))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    if options.write:
        write_figures("flows.py --tables" if options.tables else "flows.py", lines)
        if not options.tables:
            draw(found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
