# SPDX-License-Identifier: GPL-3.0-or-later
"""The command katran on a balancer of 512 VIPs that share 100 reals: how long a look takes, and what katran top does.

With real maps, the system's Python, and the library compiled as module host leaves it; half of the VIPs have rings of
their own. It runs before all others, as if it had the machine to itself. The figures go to stdout, and between their
two marks into docs/performance.md. The first argument is another number of runs of each.
"""

from __future__ import annotations

import os
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from performance_page import machine, write_figures

from ansible_collections.katran.fleet.plugins.module_utils._engine.resource import apply_resource
from ansible_collections.katran.fleet.plugins.module_utils._kernel import bpf
from ansible_collections.katran.fleet.plugins.module_utils._kernel.cpus import possible_cpus
from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.entries import Asked
from ansible_collections.katran.fleet.plugins.module_utils._model.map_specs import DEFAULT_SIZES
from ansible_collections.katran.fleet.tests.engine import large
from ansible_collections.katran.fleet.tests.engine.katran import FOLDER, install
from ansible_collections.katran.fleet.tests.engine.sandbox import BPFFS, ensure_balancer, request, sandbox

RUNS = 10
TOP_READINGS = 20
LOOKS = (["status"], ["vips"], ["vips", "198.18.0.1"], ["reals"], ["names", "vips", "reals"])
COMMAND = (*large.ALONE, "/usr/bin/python3", "-I", str(FOLDER / "katran"))


@contextmanager
def host() -> Iterator[None]:
    """The balancer, with something in every counter."""
    with sandbox("lb0"):
        install()
        subprocess.run(
            ["/usr/bin/python3", "-m", "compileall", "-q", "--invalidation-mode", "checked-hash", FOLDER], check=True
        )
        ensure_balancer("attached", interfaces=["lb0"], sizes=DEFAULT_SIZES)
        config = [{name: value for name, value in vip.items() if name != "check"} for vip in large.config()]
        for number, vip in enumerate(config[::2]):
            vip["reals"] = [{**real, "weight": 1 + (number + at * 7) % 97} for at, real in enumerate(vip["reals"])]
        apply_resource("vips", request(), Asked(config, "overridden", allow_empty=True))
        for name, entries in (("stats", large.VIPS), ("reals_stats", len(large.REALS) + 1)):
            with bpf.open_map(f"{BPFFS}/katran/default/maps/{name}") as opened:
                value = struct.pack("=QQ", 10**9, 10**12) * possible_cpus()
                opened.update_many([(layout.u32(index), value) for index in range(entries)])
        yield


def run_once(*words: str) -> tuple[float, float]:
    """(wall, CPU) seconds of one run."""
    began = time.monotonic()
    with subprocess.Popen([*COMMAND, *words], stdout=subprocess.DEVNULL) as process:
        _pid, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode > 1:
        raise RuntimeError(f"katran {' '.join(words)} ended with {process.returncode}")
    return time.monotonic() - began, used.ru_utime + used.ru_stime


def look(words: Sequence[str], runs: int) -> str:
    """One line of one look."""
    found = [run_once(*words) for _run in range(runs)]
    wall, cpu = ([each[at] for each in found] for at in range(2))
    return (
        f"katran {' '.join(words)}: median {statistics.median(wall):.2f} s, best {min(wall):.2f} s; CPU"
        f" {statistics.median(cpu):.2f} s"
    )


def top(words: Sequence[str] = ()) -> float:
    """The share of a core that katran top takes at one reading a second, without its beginning."""
    short, long = (run_once("top", "--count", str(count), *words)[1] for count in (1, 1 + TOP_READINGS))
    return (long - short) / TOP_READINGS


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else RUNS
    lines = [f"{machine()}, load {os.getloadavg()[0]:.1f}"]
    with host():
        lines += [look(words, runs) for words in LOOKS]
        lines.append(f"katran top: {top() * 100:.1f} % of a core at a reading a second")
    print("\n".join(lines))
    write_figures("katran.py", lines)


if __name__ == "__main__":
    main()
