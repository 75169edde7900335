# SPDX-License-Identifier: GPL-3.0-or-later
"""What a plan costs: 50 balancers, 512 VIPs, 100 reals behind each.

In a git repository of its own, whose branch main is compared with a working tree in which something was changed. The
figures go to stdout, and between their two marks into docs/performance.md.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from performance_page import machine, write_figures

PROJECT = Path(__file__).resolve().parents[2]
BALANCERS, VIPS, REALS = 50, 512, 100
SECONDS, LINES = 15.0, 20


def inventory(weights: dict[int, int], vip_weights: bool = False, vips: int = VIPS) -> str:
    """An inventory. `weights`: real → its weight, if not 1; `vip_weights`: whether each VIP has a ring of its own."""
    reals = {
        f"r{number}": {
            "katran_real_address": f"10.0.0.{number + 1}",
            **({"katran_real_weight": weights[number]} if number in weights else {}),
        }
        for number in range(REALS)
    }
    listed = [
        {
            "address": f"198.51.{100 + number // 200}.{number % 200 + 1}",
            "port": 443,
            "protocol": "tcp",
            "reals": [
                {"address": f"10.0.0.{real + 1}", "weight": weights.get(real, 1) + (number == real + number % 5)}
                for real in range(REALS)
            ]
            if vip_weights
            else "{{ groups['reals'] | katran.fleet.reals }}",
        }
        for number in range(vips)
    ]
    shared = {"katran_interfaces": ["eth0"], "katran_vips": listed}
    balancers = {"hosts": {f"lb{number}": {} for number in range(BALANCERS)}}
    return json.dumps({"all": {"vars": shared, "children": {"balancers": balancers, "reals": {"hosts": reals}}}})


def git(folder: Path, *words: str) -> None:
    subprocess.run(["git", "-c", "user.name=b", "-c", "user.email=b@example.net", *words], cwd=folder, check=True)


def measure(name: str, before: str, after: str) -> tuple[str, float, int]:
    """(line of the document, seconds, lines of the plan)."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "hosts.yml").write_text(before, encoding="utf-8")
        git(folder, "init", "-q", "-b", "main", ".")
        git(folder, "add", "hosts.yml")
        git(folder, "commit", "-qm", "before")
        (folder / "hosts.yml").write_text(after, encoding="utf-8")
        command = [sys.executable, "-m", "ansible", "playbook", "katran.fleet.plan", "-i", "hosts.yml"]
        environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(PROJECT / "collections"), "COLUMNS": "500"}
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        started = time.monotonic()
        done = subprocess.run(
            [*command, "-e", "katran_plan_old=main", "-e", "katran_plan_markdown=plan.md"],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        seconds = time.monotonic() - started
        now = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
        if done.returncode not in (0, 2):
            raise SystemExit(done.stdout + done.stderr)
        # Without the title, and the fence around the text.
        lines = len((folder / "plan.md").read_text(encoding="utf-8").splitlines()) - 4
        line = f"{name:<44} {seconds:6.1f} s  {cpu:6.1f} s of CPU  {lines:3} lines"
        print(line, flush=True)
        return line, seconds, lines


def main() -> None:
    same = inventory({})
    cases = [
        ("nothing", same, same),
        ("one real's weight, in all 512 VIPs", same, inventory({7: 3})),
        ("the same, where each VIP has a ring of its own", inventory({}, True), inventory({7: 3}, True)),
        ("32 VIPs more", inventory({}, vips=VIPS - 32), same),
    ]
    found = [measure(*each) for each in cases]
    title = f"{machine()}, load before {os.getloadavg()[2]:.1f}"
    write_figures("plan.py", [title, "", *(line for line, _seconds, _lines in found)])
    _line, seconds, lines = found[1]
    print(f"one weight: {seconds:.1f} s (target {SECONDS:.0f} s), {lines} lines (target {LINES})")
    raise SystemExit(0 if seconds <= SECONDS and lines <= LINES else 1)


if __name__ == "__main__":
    main()
