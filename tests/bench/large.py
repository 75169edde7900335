# SPDX-License-Identifier: GPL-3.0-or-later
"""512 VIPs that share 100 reals: how soon a real that dies is out of every ring, and back; and what the agent takes.

A balancer with real maps, programs, probes and the agent's own process; the reals are in a network namespace. First as
the machine is, then with the agent before all others, as if it had the machine to itself. The figures go to stdout, and
between their two marks into docs/performance.md. The first argument is another number of trials of each kind.
"""

from __future__ import annotations

import os
import statistics
import sys
from collections.abc import Sequence

from performance_page import machine, write_figures

from ansible_collections.katran.fleet.tests.engine.large import ALONE, NICE, WAYS, Large, Trial, large, trials

TRIALS = 10
IDLE_SECONDS = 10.0
MODES = {"as the machine is": NICE, "before all others": ALONE}


def figures(found: Sequence[Trial], way: str) -> str:
    """One line of one way to die."""

    def told(seconds: Sequence[float]) -> str:
        return f"median {statistics.median(seconds):.2f} s, worst {max(seconds):.2f} s"

    late = max(trial.late for trial in found)
    return (
        f"{way}: {len(found)} trials; out: {told([trial.out for trial in found])}; "
        f"back: {told([trial.back for trial in found])}; probes at most {late * 1000:.0f} ms late"
    )


def idle(one: Large) -> str:
    """One line of what the agent takes while all is well."""
    share, memory, late = one.idle(IDLE_SECONDS)
    each = " + ".join(f"{megabytes:.0f}" for megabytes in memory)
    return f"idle: {share:.3f} of a core, {sum(memory):.0f} MB ({each}), probes at most {late * 1000:.0f} ms late"


def measure(name: str, prefix: Sequence[str], number: int) -> list[str]:
    """The lines of one mode."""
    with large(prefix) as one:
        lines = [idle(one), *(figures(trials(one, way, number, print), way) for way in WAYS)]
    return [f"{name}, load {os.getloadavg()[0]:.1f}", *lines, ""]


def main() -> None:
    number = int(sys.argv[1]) if len(sys.argv) > 1 else TRIALS
    lines = [machine(), ""]
    for name, prefix in MODES.items():
        lines += measure(name, prefix, number)
    print("\n".join(lines[:-1]))
    write_figures("large.py", lines[:-1])


if __name__ == "__main__":
    main()
