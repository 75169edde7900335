# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Flows that leave reals, counted while they do."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from .counters import CounterReader
from .flows_info import find_flows
from .request import Request


@dataclass
class RealTraffic:
    """What goes to some reals. `known`: those that the balancer has; `flows`: entries of connection tables.

    `rates`: packets per second, each second; `quiet`: for how many seconds there is none at the end.
    """

    known: list[str] = field(default_factory=list)
    flows: int = 0
    rates: list[float] = field(default_factory=list)
    quiet: float = 0.0


def watch_reals(request: Request, reals: Sequence[str], seconds: float) -> RealTraffic:
    """Count what goes to these reals for so many seconds.

    StateError where its state is damaged, EngineError where there is none.
    """
    reader = CounterReader(request.instance, request.bpffs)
    found = RealTraffic()

    def packets() -> int:
        counted = {real: pair[0] for real, pair in reader.read().reals.items() if real in reals}
        found.known = sorted(counted)
        return sum(counted.values())

    before = packets()
    at = moved = began = time.monotonic()
    while at - began < seconds:
        time.sleep(min(1.0, seconds - (at - began)))
        now, count = time.monotonic(), packets()
        if count != before:
            moved = now
        found.rates.append(round((count - before) / (now - at), 1))
        at, before = now, count
    found.quiet = round(at - moved, 1)
    asked = ({"vip": None, "client": None, "limit": 0, "real": real} for real in found.known)
    found.flows = sum(find_flows(request, each).total for each in asked)
    return found
