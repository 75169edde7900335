# SPDX-License-Identifier: GPL-3.0-or-later
"""How long the engine takes, on maps of the default sizes in the kernel at hand, and how much memory; and the targets.

Each run is a process of its own, as a module's is. Seconds are the sum of the engine's own `timings`; CPU seconds, of
the run and its helpers, tell how much of that was waiting for others on a shared machine. Medians. Needs root.
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
    return [
        {"prefix": f"{ipaddress.ip_address((20 << 24) + (each << 8))}/24", "real": f"10.9.0.{1 + each % 250}"}
        for each in range(number)
    ]


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
    """What one run took: seconds by its own account, CPU seconds, peak of anonymous memory in bytes."""

    seconds: float
    cpu: float
    memory: int
    operations: dict[str, int] = field(default_factory=dict)


def _anonymous(pid: int) -> int:
    """Anonymous memory of a process and its children, in bytes."""
    total = 0
    try:
        for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
            if line.startswith("RssAnon:"):
                total = int(line.split()[1]) * 1024
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split():
            total += _anonymous(int(child))
    except (FileNotFoundError, ProcessLookupError):
        pass
    return total


def applied(name: str, config: Config) -> Cost:
    """Apply a resource, and watch."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            # As _ansible/module.py does for every module.
            gc.disable()
            if name == "verdicts":
                result = apply_verdicts(request(), [Verdict(**entry) for entry in config])
            else:
                result = apply_resource(name, request(), Asked(config, "overridden", allow_empty=True))
            usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
            cpu = sum(each.ru_utime + each.ru_stime for each in usage)
            os.write(writer, json.dumps([sum(result.timings.values()), cpu, result.operations]).encode())
        finally:
            os._exit(0)
    os.close(writer)
    memory = 0
    while os.waitpid(pid, os.WNOHANG) == (0, 0):
        memory = max(memory, _anonymous(pid))
        time.sleep(0.01)
    answer = os.read(reader, 1 << 16)
    os.close(reader)
    if not answer:
        raise SystemExit(f"{name}: the run failed")
    seconds, cpu, operations = json.loads(answer)
    return Cost(seconds, cpu, memory, operations)


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
    small, large, shared = fleet(100, 10), fleet(512, 100), checked(512, 100)
    routes, ids = source_routes(100_000), server_ids(60_000)
    yield "100 VIPs × 10 reals, empty balancer", "vips", lambda: small, 4.0
    yield "  nothing changed", "vips", lambda: small, 0.3
    yield "", "vips", list, None
    yield "512 VIPs × 100 reals, empty balancer", "vips", lambda: large, 10.0
    yield "  nothing changed", "vips", lambda: large, 1.0
    yield "  one weight changed", "vips", lambda: other_weight(large), 1.2
    yield "512 VIPs × 100 shared reals with a check", "vips", lambda: shared, 10.0
    yield "  one of the reals down", "verdicts", lambda: one_down(shared), 2.0
    yield "  nothing changed", "verdicts", lambda: one_down(shared), 1.0
    yield "  back again", "verdicts", list, 2.0
    yield "100,000 source routes, first", "source_routes", lambda: routes, 6.0
    yield "  nothing changed", "source_routes", lambda: routes, 2.0
    yield "  one changed", "source_routes", lambda: other_real(routes), 2.0
    yield "60,000 server ids, first", "server_ids", lambda: ids, 3.0
    yield "  nothing changed", "server_ids", lambda: ids, 1.0
    yield "  one changed", "server_ids", lambda: other_real(ids), None


def measure(rounds: int) -> tuple[list[Row], list[float]]:
    """Every step, so many times from an empty balancer; and what a whole module run takes beyond nothing."""
    rows: dict[str, Row] = {}
    whole = []
    for turn in range(rounds):
        with host():
            head = ""
            for name, resource_name, config, target in steps():
                if name and not name.startswith(" "):
                    head = name
                print(f"\r{turn + 1}/{rounds} {name.strip():60}", end="", file=sys.stderr, flush=True)
                cost = applied(resource_name, config())
                if name:
                    rows.setdefault(f"{head}{name}" if name.startswith(" ") else name, Row(name, target)).costs.append(
                        cost
                    )
                if name == "  one weight changed":
                    whole.append(module_seconds(other_weight(fleet(512, 100))))
    print(f"\r{'':70}\r", end="", file=sys.stderr)
    return list(rows.values()), whole


def verdict(value: float, target: float | None) -> str:
    if target is None:
        return f"{'':>10}"
    return f"{target:10.2f}  {'yes' if value <= target else 'NO'}"


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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--strict", action="store_true", help="exit status 1 where a target is missed")
    options = parser.parse_args()
    mine, plain = yardstick(5)
    rows, whole = measure(options.rounds)
    print(f"medians of {options.rounds}; rings of 65,537 slots; {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}\n")
    print(f"{'':40}{'seconds':>9}{'CPU s':>8}{'target':>10}  met")
    good = True
    for row in rows:
        print(f"{row.name:40}{row.seconds():9.3f}{row.cpu():8.2f}{verdict(row.seconds(), row.target)}")
        good &= row.target is None or row.seconds() <= row.target
    extra = statistics.median(whole)
    print(f"{'whole task beyond one that does nothing':40}{extra:9.3f}{'':8}{verdict(extra, 1.5)}")
    memory = max(cost.memory for row in rows for cost in row.costs) / MEGABYTE
    print(f"{'peak of anonymous memory, MB':40}{memory:9.0f}{'':8}{verdict(memory, 400)}")
    print(
        f"\none ring of 100 reals: {mine:.1f} ms of CPU; a plain loop {plain:.1f} ms, {plain / mine:.1f} times as long"
    )
    return 0 if good and memory <= 400 and extra <= 1.5 else int(options.strict)


if __name__ == "__main__":
    sys.exit(main())
