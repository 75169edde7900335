# SPDX-License-Identifier: GPL-3.0-or-later
"""How soon no balancer of a fleet sends a new flow to a real that playbook drain_real drains, and what of old ones.

Every balancer has maps and programs of its own, all on one host of the sandbox, which also runs the playbook: what 50
hosts would do each by itself, the cores of one machine do one after another. So the figures say beside the seconds how
much CPU the controller and the balancers took. Packets are run through each balancer's program (BPF_PROG_TEST_RUN) all
the while: those of new clients, and of connections that are there. The figures go to stdout, and between their two
marks into docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from performance_page import machine, write_figures

from ansible_collections.katran.fleet.tests.engine import two_balancers as two
from ansible_collections.katran.fleet.tests.engine.sandbox import BPFFS, compiled_once, run, sandbox

ROOT = Path(__file__).resolve().parents[2]
CONNECTIONS = 1000
REALS = (1, 2, 3, 4)
DRAINED = "10.0.0.1"


@dataclass
class Traffic:
    """What packets met. `last`: when a new flow last went to the drained real; `moved`: connections that changed."""

    last: float = 0.0
    asked: int = 0
    checked: int = 0
    moved: set[bytes] = field(default_factory=set)


def watch(names: list[str], over: threading.Event, traffic: Traffic) -> None:
    """Send packets until it is over, of new clients and of connections, through every balancer in turn."""
    # Flows stay on one CPU, as network cards see to: each has tables of its own.
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    noise = Random(3)
    share = CONNECTIONS // len(names)
    held = {name: two.make_keys(share, seed=number) for number, name in enumerate(names)}
    reals = {(name, key): two.real_of(name, key) for name, keys in held.items() for key in keys}
    print(f"connections to the real: {Counter(reals.values())[DRAINED]} of {len(reals)}", flush=True)
    while True:
        ended = over.is_set()
        for name in names:
            for key in two.make_keys(4, seed=noise.getrandbits(64)):
                traffic.asked += 1
                if two.real_of(name, key) == DRAINED:
                    traffic.last = time.monotonic()
            # All of them once it has ended.
            for key in held[name] if ended else noise.sample(held[name], min(2, share)):
                traffic.checked += 1
                if two.real_of(name, key) != reals[name, key]:
                    traffic.moved.add(key)
        if ended:
            return
        time.sleep(0.05)


def play(folder: Path, names: list[str], forks: int) -> tuple[float, float, float]:
    """Run the playbook: when its first task began and when it ended, and CPU seconds, of it and the modules."""
    hosts = {name: {"katran_instance": name} for name in names}
    variables = {"ansible_connection": "local", "ansible_python_interpreter": "/usr/bin/python3"}
    variables |= {"katran_become": "false", "katran_bpffs": BPFFS}
    path = folder / "hosts.json"
    path.write_text(json.dumps({"balancers": {"hosts": hosts, "vars": variables}}), encoding="utf-8")
    words = ["-e", f"katran_real={DRAINED}", "-e", "katran_drain_timeout=0", "--forks", str(forks)]
    before, began = os.times(), 0.0
    with subprocess.Popen(
        [sys.executable, "-m", "ansible", "playbook", "-i", str(path), "katran.fleet.drain_real", *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("TASK") and not began:
                began = time.monotonic()
            elif "failed=" in line and "failed=0" not in line:
                sys.stdout.write(line)
        status = process.wait()
    after = os.times()
    assert status == 0, status
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return began, time.monotonic(), cpu


def measure(number: int, forks: int) -> str:
    names = [f"lb{each}" for each in range(1, number + 1)]
    with sandbox(), compiled_once(), ExitStack() as stack:
        run("ip", "link", "set", "lo", "up")
        for name in names:
            two.load(name, flows=40000, global_flows=100, ring=1009)
            two.apply(name, two.vips(*REALS))
        print(f"{number} balancers are there", flush=True)
        over, traffic = threading.Event(), Traffic()
        folder = Path(stack.enter_context(TemporaryDirectory()))
        thread = threading.Thread(target=watch, args=(names, over, traffic))
        thread.start()
        time.sleep(3.0)
        try:
            began, ended, cpu = play(folder, names, forks)
            time.sleep(2.0)
        finally:
            over.set()
            thread.join()
    return (
        f"{number:>3} balancers, {forks} forks: last new flow {traffic.last - began:5.1f} s after the first task began;"
        f" {len(traffic.moved)} of {CONNECTIONS // number * number} connections broken;"
        f" the playbook {ended - began:.1f} s,"
        f" {cpu / number:.2f} s of CPU a balancer, controller and balancer together"
        f" ({traffic.asked:,} new flows, {traffic.checked:,} packets of connections)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--balancers", type=int, nargs="+", default=[10, 50])
    parser.add_argument("--forks", type=int, default=50)
    options = parser.parse_args()
    load = os.getloadavg()[0]
    lines = [f"{machine()}, load {load:.1f} before", ""]
    for number in options.balancers:
        lines.append(measure(number, options.forks))
        print(lines[-1], flush=True)
    write_figures("drain_real.py", lines)


if __name__ == "__main__":
    main()
