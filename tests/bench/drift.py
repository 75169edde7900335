# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the playbook drift takes on a laboratory that is deployed: seconds for each host, here and on the controller.

usage: KATRAN_LAB=NAME python tests/bench/drift.py INVENTORY [LIMIT]
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

ROOT = Path(__file__).resolve().parents[2]
TARGET = 1.5
RUNS = 3


def once(inventory: str, limit: str) -> tuple[float, float, dict[str, float]]:
    """Wall and CPU seconds of the controller for each host, and the host's own seconds."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "drift.json")
        command = ["ansible-playbook", "-i", inventory, "katran.fleet.drift", "-e", f"katran_drift_json={path}"]
        began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [*command, *(["--limit", limit] if limit else [])], cwd=ROOT, capture_output=True, text=True, check=False
        )
        wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode not in (0, 3):
            raise SystemExit(done.stdout[-2000:] + done.stderr[-2000:])
        hosts = json.loads(path.read_text(encoding="utf-8"))["hosts"]
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall / len(hosts), spent / len(hosts), {host: each["timings"].get("all", 0) for host, each in hosts.items()}


def main() -> None:
    inventory, limit = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else ""
    runs = [once(inventory, limit) for _run in range(RUNS)]
    wall, spent, hosts = min(runs)
    print(
        f"drift, {len(hosts)} hosts, the best of {RUNS} runs (load {os.getloadavg()[0]:.0f} on {os.cpu_count()} cores):"
    )
    print(f"  {wall:.2f} s of wall time for each host (at most {TARGET}), {spent:.2f} s of CPU of the controller")
    print(f"  {max(hosts.values()):.2f} s on the slowest host")
    raise SystemExit(wall > TARGET)


if __name__ == "__main__":
    main()
