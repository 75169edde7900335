# SPDX-License-Identifier: GPL-3.0-or-later
"""Draw docs/engine-cost.png: what the engine costs by how much there is, and by how much of it changes.

CPU seconds of whole runs, helpers included, so that a busy machine draws the same lines. Needs root and matplotlib.
"""

from __future__ import annotations

import copy
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from engine import Config, applied, fleet, host
from picture import picture

THERE = (10, 64, 128, 192, 256, 320, 384, 448, 512)
CHANGED = (1, 64, 128, 192, 256, 320, 384, 448, 512)
REALS = 20
ROUNDS = 3


def seconds(config: Config) -> float:
    return applied("vips", lambda: config).cpu


def median_of(work: Callable[[], float]) -> float:
    return statistics.median(work() for _turn in range(ROUNDS))


def by_what_is_there() -> tuple[list[float], list[float]]:
    """CPU seconds of a first run and of one that changes nothing, for each number of VIPs."""
    first, again = [], []
    for number in THERE:

        def fresh(vips: int = number) -> float:
            applied("vips", list)
            return seconds(fleet(vips, REALS))

        first.append(median_of(fresh))
        again.append(median_of(lambda vips=number: seconds(fleet(vips, REALS))))
        print(f"{number} VIPs: {first[-1]:.2f} s first, {again[-1]:.2f} s again")
    return first, again


def by_what_changes() -> list[float]:
    """CPU seconds of a run in which one weight of so many of 512 VIPs changes."""
    config = fleet(max(THERE), REALS)
    found = []
    for number in CHANGED:

        def change(changed: int = number) -> float:
            nonlocal config
            config = copy.deepcopy(config)
            for vip in config[:changed]:
                vip["reals"][3]["weight"] = vip["reals"][3]["weight"] % 10 + 1
            return seconds(config)

        found.append(median_of(change))
        print(f"{number} changed: {found[-1]:.2f} s")
    return found


def main() -> None:
    with host():
        first, again = by_what_is_there()
        changed = by_what_changes()
    with picture("engine-cost.png", same_scale=True) as (left, right):
        left.plot(THERE, first, "o-", label="first run: all rings built")
        left.plot(THERE, again, "s-", label="nothing changed: all rings compared")
        left.set(xlabel=f"VIPs of {REALS} reals", ylabel="CPU seconds of one run", title="By how much there is")
        right.plot(CHANGED, changed, "o-", label="one weight in each of so many VIPs")
        right.set(xlabel="VIPs that change, of 512", title="By how much of it changes")


if __name__ == "__main__":
    main()
