# SPDX-License-Identifier: GPL-3.0-or-later
"""Flow exceptions: how long from a change of a ring until the peer holds them, and what it takes.

Two balancers with real maps in a namespace of their own, and datagrams between them. The figures go to stdout, and
between their two marks into docs/performance.md.
"""

from __future__ import annotations

from performance_page import machine, write_figures

from ansible_collections.katran.fleet.tests.engine.two_balancers import Figures, measure

ROUNDS = 3
SIZES = ((10_000, 20_000), (100_000, 40_000), (1_000_000, 250_000))


def worst(found: list[Figures]) -> Figures:
    """The round that took longest."""
    return max(found, key=lambda each: each.delivered)


def main() -> None:
    lines = [f"{machine()}, the worst of {ROUNDS} rounds", ""]
    for count, room in SIZES:
        lines.append(str(worst([measure(count, room) for _round in range(ROUNDS)])))
        print(lines[-1], flush=True)
    write_figures("sync.py", lines)


if __name__ == "__main__":
    main()
