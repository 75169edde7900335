# SPDX-License-Identifier: GPL-3.0-or-later
"""ns per packet of the balancer beside a yardstick: medians of several runs, on the published sets base and gue.

The timing itself is the bench that comes with the published vectors ($KATRAN_BENCH, or ../shared/bench beside the
project), for which this provisions a balancer with a connection table on every CPU. Needs root, clang, bpftool and
libbpf-dev. Figures are ratios to the yardstick: absolute times drift on shared machines.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

from ansible_collections.katran.fleet.plugins.module_utils._kernel import bpf
from ansible_collections.katran.fleet.plugins.module_utils._kernel.cpus import possible_cpus
from ansible_collections.katran.fleet.tests.conformance.provision import ROOT, provision

SHARED = ROOT.parent / "shared"
BENCH = Path(os.environ.get("KATRAN_BENCH", SHARED / "bench")) / "bench.py"
VECTORS = Path(os.environ.get("KATRAN_CONFORMANCE", SHARED / "conformance")) / "vectors.json"
GEOMETRIC_MEAN = {"base": 0.95, "gue": 1.05}
ESTABLISHED = {"base": 0.75, "gue": 0.82}
"""Of TCP and UDP to exact VIPs, without flags; by set."""

ANY_PORT, SINGLE = 1.20, 1.45


def target(name: str, packet: str) -> float:
    """The ratio that a packet of a set is to stay within."""
    if "any dst ports" in packet:
        return ANY_PORT
    plain = packet.startswith(("packet to TCP based", "packet to UDP based")) or packet == "LRU hit"
    return ESTABLISHED[name] if plain else SINGLE


def ratios(name: str, repeat: int, rounds: int, pin: Path) -> dict[str, float]:
    """Packet -> ratio to the yardstick, of one run."""
    with tempfile.NamedTemporaryFile() as result:
        command = [sys.executable, str(BENCH), "--prog", str(pin), "--vectors", str(VECTORS), "--set", name]
        command += ["--repeat", str(repeat), "--rounds", str(rounds), "--json", result.name]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return {row["description"]: row["ratio"] for row in json.load(result)}


def bench(name: str, options: argparse.Namespace, bpffs: Path) -> bool:
    """Print the medians of one set; whether they are within the targets."""
    scenario = json.loads(VECTORS.read_text())[name]["scenario"]
    with closing(provision(scenario)) as balancer:
        for cpu in range(possible_cpus()):
            balancer.flow_table(cpu=cpu).close()
        pin = bpffs / name
        bpf.pin(balancer.prog_fd, str(pin))
        info = bpf.program_info(balancer.prog_fd)
        runs = [ratios(name, options.repeat, options.rounds, pin) for _ in range(options.runs)]
    medians = {packet: statistics.median(run[packet] for run in runs) for packet in runs[0]}
    for packet, ratio in medians.items():
        print(f"x{ratio:.2f}{' !' if ratio > target(name, packet) else '  '} {packet}")
    mean = math.exp(statistics.fmean(map(math.log, medians.values())))
    print(
        f"{name}: geometric mean x{mean:.2f} (target x{GEOMETRIC_MEAN[name]:.2f}), largest x{max(medians.values()):.2f}"
    )
    print(f"{name}: {info.instructions} instructions, {info.verified_instructions} processed by the verifier\n")
    return mean <= GEOMETRIC_MEAN[name]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", default=list(GEOMETRIC_MEAN))
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--repeat", type=int, default=100_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as bpffs:
        subprocess.run(["mount", "-t", "bpf", "bpf", bpffs], check=True)
        try:
            within = [bench(name, options, Path(bpffs)) for name in options.sets]
        finally:
            subprocess.run(["umount", bpffs], check=True)
    return 0 if all(within) else 1


if __name__ == "__main__":
    sys.exit(main())
