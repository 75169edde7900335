# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How many probes a second the checks of VIPs make while all is well."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from .checks import Probe
from .faults import Faults, counted
from .shape import is_number
from .vips import Vip

MAX_PROBES = 2000
"""As many probes a second as a balancer makes unless told otherwise."""

MOST_PROBES = 100_000
"""As many may be asked for."""


def probe_rate(vips: Iterable[Vip]) -> tuple[int, float]:
    """How many services are probed, and probes per second of all.

    A service that several VIPs ask in the same way is probed once.
    """
    # By question, so that a question is hashed once for all reals of a VIP.
    asked: dict[tuple[str, int, Probe], set[str]] = {}
    for vip in vips:
        probe = vip.check.probe if vip.check else None
        if probe is None or probe.type == "external":
            continue
        question = probe.address or vip.key.address, probe.port or vip.key.port, replace(probe, address="", port=0)
        asked.setdefault(question, set()).update(real.address for real in vip.reals)
    numbers = [(len(reals), probe.interval) for (_address, _port, probe), reals in asked.items()]
    return sum(number for number, _interval in numbers), sum(number / interval for number, interval in numbers)


def check_rate(vips: Iterable[Vip], most: int | None, faults: Faults) -> None:
    """Whether these checks make no more than `most` probes a second; None: any number."""
    if most is None:
        return
    if not is_number(most, 1, MOST_PROBES):
        faults.add("max_probes", f"{most} is not a number of probes a second (1 to {MOST_PROBES})")
        return
    services, rate = probe_rate(vips)
    # A sum of many quotients is not exact.
    if rate > most * (1 + 1e-9):
        told = f"the checks of {counted(services, 'service')} at reals make {_rounded(rate)} probes a second"
        faults.add("vips", f"{told}, but max_probes is {most}: give them a longer interval")


def _rounded(rate: float) -> str:
    return f"{rate:.0f}" if rate >= 100 else f"{rate:.4g}"
