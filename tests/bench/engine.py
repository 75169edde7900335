# SPDX-License-Identifier: GPL-3.0-or-later
"""How long the engine takes, on maps of the default sizes in the kernel at hand, and how much memory; and the targets.

Each run is a process of its own, as a module's is, and makes its configuration itself. Seconds are the sum of the
engine's own `timings`; CPU seconds, of the run and its helpers, tell how much of that was waiting for others on a
shared machine. Memory is what is not a file's, of both, and what they share counts once. Medians. Needs root.

With --large the figures are those of a million source routes and of a thousand reals for each VIP, phase by phase; with
--write the figures go into docs/performance.md.
"""

from __future__ import annotations

import argparse
import copy
import gc
import ipaddress
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from performance_page import machine, write_figures

from ansible_collections.katran.fleet.plugins.module_utils._engine.resource import apply_resource
from ansible_collections.katran.fleet.plugins.module_utils._engine.verdicts import apply_verdicts
from ansible_collections.katran.fleet.plugins.module_utils._model.entries import Asked
from ansible_collections.katran.fleet.plugins.module_utils._model.hashing import address_hash, murmur3
from ansible_collections.katran.fleet.plugins.module_utils._model.map_specs import DEFAULT_SIZES
from ansible_collections.katran.fleet.plugins.module_utils._model.ring import build_ring
from ansible_collections.katran.fleet.plugins.module_utils._model.verdicts import Verdict
from ansible_collections.katran.fleet.tests.engine.sandbox import compiled_once, ensure_balancer, request, run, sandbox

Config = list[dict[str, Any]]

RUNNER = str(Path(__file__).resolve().parents[1] / "engine" / "run_module.py")
NOTHING = """
import json, sys
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args
from ansible_collections.katran.fleet.plugins.module_utils._model.options import COMMON
from ansible_collections.katran.fleet.plugins.module_utils._model.resources import RESOURCES
with patch_module_args(json.load(sys.stdin)):
    AnsibleModule(argument_spec={**COMMON, **RESOURCES["vips"].spec()}).exit_json(changed=False)
"""
MEGABYTE = 1 << 20
MOST_MEMORY = 150
"""Megabytes that an apply of 512 VIPs of 100 reals may take."""


def fleet(vips: int, reals: int) -> Config:
    """VIPs of so many reals each, weights 1 to 10; each VIP has reals of others."""
    return [
        {
            "address": f"198.18.{number // 250}.{number % 250 + 1}",
            "port": 443,
            "protocol": "tcp",
            "reals": [
                {
                    "address": f"10.9.{(7 * number + each) // 250 % 16}.{(7 * number + each) % 250 + 1}",
                    "weight": 1 + each % 10,
                }
                for each in range(reals)
            ],
        }
        for number in range(vips)
    ]


def checked(vips: int, reals: int) -> Config:
    """VIPs with a check that share all their reals."""
    found = fleet(vips, reals)
    return [{**vip, "reals": found[0]["reals"], "check": {"type": "tcp"}} for vip in found]


def one_down(config: Config) -> Config:
    """What checks say once a real that all these VIPs share is dead."""
    since, reason = "2026-01-01T00:00:00.000+00:00", "connection refused"
    word = {"real": config[0]["reals"][0]["address"], "state": "down", "since": since, "reason": reason}
    return [{"vip": f"{vip['address']}:{vip['port']}/{vip['protocol']}", **word} for vip in config]


def source_routes(number: int) -> Config:
    """Prefixes of clients, in no order of addresses or texts, as lists of networks come."""
    step = 514_229 if number > 100_000 else 1
    return [{"prefix": _prefix(each * step % number), "real": f"10.9.0.{1 + each % 250}"} for each in range(number)]


def _prefix(number: int) -> str:
    """Of 100,000 networks of 256 addresses, and beyond of 16."""
    if number < 100_000:
        return f"{ipaddress.ip_address((20 << 24) + (number << 8))}/24"
    return f"{ipaddress.ip_address((60 << 24) + (number << 4))}/28"


def server_ids(number: int) -> Config:
    return [{"id": each + 1, "real": f"10.9.0.{1 + each % 250}"} for each in range(number)]


def other_weight(config: Config) -> Config:
    """The same with the weight of one real changed."""
    changed = copy.deepcopy(config)
    changed[len(changed) // 2]["reals"][0]["weight"] += 3
    return changed


def other_real(config: Config) -> Config:
    """The same with one entry leading elsewhere."""
    changed = copy.deepcopy(config)
    changed[len(changed) // 2]["real"] = "10.9.0.251"
    return changed


# One run in a process of its own


@dataclass
class Cost:
    """What one run took: seconds by its own account, CPU seconds, peak of memory in bytes; seconds by phase."""

    seconds: float
    cpu: float
    memory: int
    operations: dict[str, int] = field(default_factory=dict)
    phases: dict[str, float] = field(default_factory=dict)


def _memory(pid: int) -> int:
    """Memory of a process and its children that is not a file's, in bytes; what they share, in parts."""
    total = 0
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
            if line.startswith(("Pss_Anon:", "Pss_Shmem:")):
                total += int(line.split()[1]) * 1024
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split():
            total += _memory(int(child))
    except (FileNotFoundError, ProcessLookupError):
        pass
    return total


def _seconds() -> float:
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in usage)


def applied(name: str, make: Callable[[], Config]) -> Cost:
    """Apply a resource, and watch."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            # As _ansible/module.py does for every module.
            gc.disable()
            config = make()
            before = _seconds()
            if name == "verdicts":
                result = apply_verdicts(request(), [Verdict(**entry) for entry in config])
            else:
                result = apply_resource(name, request(), Asked(config, "overridden", allow_empty=True))
            os.write(writer, json.dumps([_seconds() - before, result.operations, result.timings]).encode())
        finally:
            os._exit(0)
    os.close(writer)
    memory = 0
    while os.waitpid(pid, os.WNOHANG) == (0, 0):
        memory = max(memory, _memory(pid))
        time.sleep(0.02)
    answer = os.read(reader, 1 << 16)
    os.close(reader)
    if not answer:
        raise SystemExit(f"{name}: the run failed")
    cpu, operations, phases = json.loads(answer)
    return Cost(sum(phases.values()), cpu, memory, operations, phases)


@contextmanager
def host(**options: Any) -> Iterator[None]:
    """A host with an empty balancer of the default sizes, and its state on a disk."""
    with tempfile.TemporaryDirectory(prefix="katran-bench-") as disk, sandbox(), compiled_once():
        run("mount", "--bind", disk, "/var/lib")
        sizes = {**DEFAULT_SIZES, "flows": 10_000}
        ensure_balancer(sizes=sizes, features=["source_routing"], **options)
        yield


def module_seconds(config: Config) -> float:
    """Seconds that a module run takes beyond one that does nothing with the same arguments."""
    text = json.dumps({"config": config, "state": "overridden"})

    def seconds(*command: str) -> float:
        started = time.monotonic()
        subprocess.run([sys.executable, *command], input=text, text=True, stdout=subprocess.DEVNULL, check=True)
        return time.monotonic() - started

    return seconds(RUNNER, "vips") - seconds("-c", NOTHING)


def plain_ring(reals: Sequence[tuple[str, int]], size: int) -> list[int]:
    """Maglev as its paper writes it down, in a loop: what the engine's ring is measured by."""
    wishes = []
    for number, (address, weight) in enumerate(reals):
        value = address_hash(ipaddress.ip_address(address))
        skip = murmur3(value, 2718281828, 2307) % (size - 1) + 1
        wishes.append([value, murmur3(value, 42, 0) % size, skip, weight, number])
    wishes.sort()
    ring, taken = [-1] * size, 0
    largest = max(weight for _address, weight in reals)
    turn = 0
    while taken < size:
        turn += 1
        for wish in wishes:
            _value, slot, skip, weight, number = wish
            if turn * weight // largest == (turn - 1) * weight // largest:
                continue
            while ring[slot] >= 0:
                slot = (slot + skip) % size
            ring[slot] = number
            wish[1] = (slot + skip) % size
            taken += 1
            if taken == size:
                break
    return ring


# The table


@dataclass
class Row:
    """One figure: what it is, its target in seconds or bytes, and what was measured."""

    name: str
    target: float | None
    costs: list[Cost] = field(default_factory=list)

    def seconds(self) -> float:
        return statistics.median(cost.seconds for cost in self.costs)

    def cpu(self) -> float:
        return statistics.median(cost.cpu for cost in self.costs)


def steps() -> Iterable[tuple[str, str, Callable[[], Config], float | None]]:
    """(name, resource, config, target in seconds), in the order in which they follow each other."""

    def small() -> Config:
        return fleet(100, 10)

    def large() -> Config:
        return fleet(512, 100)

    def shared() -> Config:
        return checked(512, 100)

    def routes() -> Config:
        return source_routes(100_000)

    def ids() -> Config:
        return server_ids(60_000)

    yield "100 VIPs × 10 reals, empty balancer", "vips", small, 4.0
    yield "  nothing changed", "vips", small, 0.3
    yield "", "vips", list, None
    yield "512 VIPs × 100 reals, empty balancer", "vips", large, 10.0
    yield "  nothing changed", "vips", large, 1.0
    yield "  one weight changed", "vips", lambda: other_weight(large()), 1.2
    yield "512 VIPs × 100 shared reals with a check", "vips", shared, 10.0
    yield "  one of the reals down", "verdicts", lambda: one_down(shared()), 2.0
    yield "  nothing changed", "verdicts", lambda: one_down(shared()), 1.0
    yield "  back again", "verdicts", list, 2.0
    yield "100,000 source routes, first", "source_routes", routes, 6.0
    yield "  nothing changed", "source_routes", routes, 2.0
    yield "  one changed", "source_routes", lambda: other_real(routes()), 2.0
    yield "60,000 server ids, first", "server_ids", ids, 3.0
    yield "  nothing changed", "server_ids", ids, 1.0
    yield "  one changed", "server_ids", lambda: other_real(ids()), None


def large_steps() -> Iterable[tuple[str, str, Callable[[], Config], float | None]]:
    """The same for what few have."""

    def routes() -> Config:
        return source_routes(1_000_000)

    def wide() -> Config:
        return fleet(1, 4000)

    def both() -> Config:
        return fleet(512, 1000)

    yield "1,000,000 source routes, first", "source_routes", routes, 10.0
    yield "  nothing changed", "source_routes", routes, 3.0
    yield "  one changed", "source_routes", lambda: other_real(routes()), None
    yield "", "source_routes", list, None
    yield "one VIP × 4,000 reals, first", "vips", wide, None
    yield "  nothing changed", "vips", wide, None
    yield "  one weight changed", "vips", lambda: other_weight(wide()), None
    yield "512 VIPs × 1,000 reals, first", "vips", both, None
    yield "  nothing changed", "vips", both, None
    yield "  one weight changed", "vips", lambda: other_weight(both()), None


def measure(rounds: int, chosen: Callable[[], Iterable[Any]]) -> tuple[list[Row], list[float]]:
    """Every step, so many times from an empty balancer; and what a whole module run takes beyond nothing."""
    rows: dict[str, Row] = {}
    whole = []
    for turn in range(rounds):
        with host():
            head = ""
            for name, resource_name, config, target in chosen():
                if name and not name.startswith(" "):
                    head = name
                print(f"\r{turn + 1}/{rounds} {name.strip():60}", end="", file=sys.stderr, flush=True)
                cost = applied(resource_name, config)
                if name:
                    rows.setdefault(f"{head}{name}" if name.startswith(" ") else name, Row(name, target)).costs.append(
                        cost
                    )
                if name == "  one weight changed" and chosen is steps:
                    whole.append(module_seconds(other_weight(fleet(512, 100))))
    print(f"\r{'':70}\r", end="", file=sys.stderr)
    return list(rows.values()), whole


def verdict(value: float, target: float | None) -> str:
    if target is None:
        return f"{'':13}"
    return f"{target:8.1f}  {'yes' if value <= target else 'NO':3}"


def ring_milliseconds(number: int, weighted: bool) -> tuple[float, float]:
    """(median, least) milliseconds of CPU for one ring of so many reals."""
    reals = [(real["address"], real["weight"] if weighted else 1) for real in fleet(1, number)[0]["reals"]]
    times = []
    for _turn in range(9):
        started = time.process_time()
        build_ring(reals, 65537)
        times.append(1000 * (time.process_time() - started))
    return statistics.median(times), min(times)


def yardstick(rounds: int) -> tuple[float, float]:
    """Milliseconds of CPU for one ring of 100 reals: by the engine, by a plain loop."""
    reals = [(real["address"], real["weight"]) for real in fleet(1, 100)[0]["reals"]]
    medians = []
    for build in (lambda: build_ring(reals, 65537), lambda: plain_ring(reals, 65537)):
        times = []
        for _turn in range(rounds):
            started = time.process_time()
            ring = list(build())
            times.append(1000 * (time.process_time() - started))
        medians.append((statistics.median(times), ring))
    if medians[0][1] != medians[1][1]:
        raise SystemExit("the plain loop builds another ring")
    return medians[0][0], medians[1][0]


def table(rows: Sequence[Row]) -> list[str]:
    """Lines of a table: seconds beside CPU seconds, the target, and the seconds of each phase."""
    phases = ("validate", "read", "plan", "write")
    head = f"{'':42}{'seconds':>8}{'CPU s':>8}{'target':>8}  met{''.join(f'{phase:>9}' for phase in phases)}{'MB':>7}"
    lines = [head]
    for row in rows:
        parts = "".join(f"{statistics.median(cost.phases[phase] for cost in row.costs):9.2f}" for phase in phases)
        memory = max(cost.memory for cost in row.costs) / MEGABYTE
        lines.append(
            f"{row.name:42}{row.seconds():8.2f}{row.cpu():8.2f}{verdict(row.seconds(), row.target)}{parts}{memory:7.0f}"
        )
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--strict", action="store_true", help="exit status 1 where a target is missed")
    parser.add_argument("--large", action="store_true", help="a million source routes, a thousand reals for each VIP")
    parser.add_argument("--write", action="store_true", help="put the figures into docs/performance.md")
    options = parser.parse_args()
    lines = [
        f"{machine()}, load {os.getloadavg()[0]:.1f} before; medians of {options.rounds}; rings of 65,537 slots",
        "",
    ]
    rows, whole = measure(options.rounds, large_steps if options.large else steps)
    lines += table(rows)
    good = all(row.target is None or row.seconds() <= row.target for row in rows)
    if options.large:
        lines.append("")
        for weighted in (False, True):
            median, least = ring_milliseconds(1000, weighted)
            lines.append(
                f"one ring of 1,000 reals, {'weights 1 to 10' if weighted else 'equal weights'}: {median:.0f} ms of CPU"
                f" (least {least:.0f}, target 50)"
            )
            good &= median <= 50
    else:
        extra = statistics.median(whole)
        memory = max(cost.memory for row in rows if " VIPs" in row.name for cost in row.costs) / MEGABYTE
        mine, plain = yardstick(5)
        lines += [
            "",
            f"whole task beyond one that does nothing: {extra:.2f} s (target 1.5)",
            f"peak of memory with 512 VIPs: {memory:.0f} MB (target {MOST_MEMORY})",
            f"one ring of 100 reals: {mine:.0f} ms of CPU; a plain loop takes {plain / mine:.1f} times as long",
        ]
        good &= memory <= MOST_MEMORY and extra <= 1.5
    print("\n".join(lines))
    if options.write:
        write_figures("engine.py --large" if options.large else "engine.py", lines)
    return 0 if good else int(options.strict)


if __name__ == "__main__":
    sys.exit(main())
