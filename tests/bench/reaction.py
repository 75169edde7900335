# SPDX-License-Identifier: GPL-3.0-or-later
"""How soon a dead real is out of every ring, and back, in a laboratory of its own.

Settings are the defaults, but for the floor. Prints the figures, and writes them between their two marks into
docs/performance.md. The first argument is another number of trials. PYTHONPATH has to have tests/lab.
"""

from __future__ import annotations

import os
import platform
import re
import sys
import time

from fleetlab import lifecycle, reaction
from fleetlab.plan import PROJECT, lab_named
from fleetlab.runs import Fleet
from fleetlab.system import Progress

DOCUMENT = PROJECT / "docs/performance.md"
BEGIN, END = "<!-- figures of tests/bench/reaction.py -->", "<!-- end of these figures -->"
CHECKS = {80: {"type": "http", "min_healthy": 0}, 7: {"type": "udp", "payload": "check", "min_healthy": 0}}
TRIALS = 100


def main() -> None:
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else TRIALS
    lab, progress = lab_named("kfreact"), Progress("kfreact")
    lines = [f"Linux {platform.release()}, {os.cpu_count()} cores, {len(lab.with_role('real'))} reals at once", ""]
    lifecycle.up(lab, progress)
    try:
        fleet = Fleet(lab, PROJECT / "inventories/lab")
        fleet.deploy([{**vip, "check": CHECKS[vip["port"]]} for vip in fleet.config()])
        # Every check has its verdict, and what the deploy left to do is done.
        time.sleep(10)
        lines += [str(reaction.measure(lab, way, trials)) for way in reaction.WAYS]
    finally:
        lifecycle.down(lab, progress)
    text = "\n".join(lines)
    print(text)
    pattern = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    document = DOCUMENT.read_text(encoding="utf-8")
    DOCUMENT.write_text(pattern.sub(lambda _found: f"{BEGIN}\n\n```\n{text}\n```\n\n{END}", document), encoding="utf-8")


if __name__ == "__main__":
    main()
