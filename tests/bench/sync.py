# SPDX-License-Identifier: GPL-3.0-or-later
"""Flow exceptions: how long from a change of a ring until the peer holds them, and what it takes.

Two balancers with real maps in a namespace of their own, and datagrams between them. The figures go to stdout, and
between their two marks into docs/performance.md.
"""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

from ansible_collections.katran.fleet.tests.engine.two_balancers import Figures, measure

DOCUMENT = Path(__file__).resolve().parents[2] / "docs/performance.md"
ROUNDS = 3
SIZES = ((10_000, 20_000), (100_000, 40_000), (1_000_000, 250_000))
BEGIN, END = "<!-- figures of tests/bench/sync.py -->", "<!-- end of these figures -->"


def worst(found: list[Figures]) -> Figures:
    """The round that took longest."""
    return max(found, key=lambda each: each.delivered)


def main() -> None:
    lines = [f"Linux {platform.release()}, {os.cpu_count()} cores, the worst of {ROUNDS} rounds", ""]
    for count, room in SIZES:
        lines.append(str(worst([measure(count, room) for _round in range(ROUNDS)])))
        print(lines[-1], flush=True)
    block = "\n".join([BEGIN, "", "```", *lines, "```", "", END])
    text = DOCUMENT.read_text(encoding="utf-8")
    DOCUMENT.write_text(re.sub(f"{BEGIN}.*?{END}", lambda _match: block, text, flags=re.DOTALL), encoding="utf-8")


if __name__ == "__main__":
    main()
