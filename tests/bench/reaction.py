# SPDX-License-Identifier: GPL-3.0-or-later
"""How soon a dead real is out of every ring, and back, in a laboratory of its own.

Settings are the defaults, but for the floor. Prints the figures, and writes them between their two marks into
docs/performance.md. The first argument is another number of trials. PYTHONPATH has to have tests/lab.
"""

from __future__ import annotations

import sys
import time

from fleetlab import lifecycle, reaction
from fleetlab.plan import PROJECT, lab_named
from fleetlab.runs import Fleet
from fleetlab.system import Progress
from performance_page import machine, write_figures

CHECKS = {80: {"type": "http", "min_healthy": 0}, 7: {"type": "udp", "payload": "check", "min_healthy": 0}}
TRIALS = 100


def main() -> None:
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else TRIALS
    lab, progress = lab_named("kfreact"), Progress("kfreact")
    lines = [f"{machine()}, {len(lab.with_role('real'))} reals at once", ""]
    lifecycle.up(lab, progress)
    try:
        fleet = Fleet(lab, PROJECT / "inventories/lab")
        fleet.deploy([{**vip, "check": CHECKS[vip["port"]]} for vip in fleet.config()])
        # Every check has its verdict, and what the deploy left to do is done.
        time.sleep(10)
        lines += [str(reaction.measure(lab, way, trials)) for way in reaction.WAYS]
    finally:
        lifecycle.down(lab, progress)
    print("\n".join(lines))
    write_figures("reaction.py", lines)


if __name__ == "__main__":
    main()
