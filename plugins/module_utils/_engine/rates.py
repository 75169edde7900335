# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes through a balancer at this moment: its counters, read twice."""

from __future__ import annotations

import time
import typing as t
from collections.abc import Hashable, Mapping
from dataclasses import asdict, dataclass

from .._kernel.state_folder import read_bpffs
from .counters import Counted, CounterReader, Pair

TOTALS = {
    "frames_seen": "frames",
    "bytes_seen": "bytes",
    "lru_misses": "new_flows",
    "frames_dropped": "dropped",
    "fallback_cache": "fallback_cache",
}
"""Counter of the whole balancer → what its rate is called."""

K = t.TypeVar("K", bound=Hashable)


class Rate(t.NamedTuple):
    """Of a VIP or a real: packets and bytes per second."""

    name: str
    packets: float
    bytes: float


@dataclass(frozen=True)
class Rates:
    """Of one balancer, over so many seconds, the busiest first. `totals`: by the names of TOTALS, per second."""

    instance: str
    seconds: float
    totals: Mapping[str, float]
    vips: tuple[Rate, ...]
    reals: tuple[Rate, ...]

    def to_data(self) -> dict[str, t.Any]:
        """For programs."""
        found = asdict(self)
        found["vips"] = [each._asdict() for each in self.vips]
        found["reals"] = [each._asdict() for each in self.reals]
        return found


def rates(instance: str, before: Counted, after: Counted, seconds: float) -> Rates:
    """What went through between two readings. A counter that is less than it was began anew, at 0."""
    totals = {
        word: _rate(before.named.get(name, 0), after.named[name], seconds)
        for name, word in TOTALS.items()
        if name in after.named
    }
    return Rates(
        instance,
        round(seconds, 3),
        totals,
        _each(before.vips, after.vips, seconds),
        _each(before.reals, after.reals, seconds),
    )


def _each(before: Mapping[K, Pair], after: Mapping[K, Pair], seconds: float) -> tuple[Rate, ...]:
    found = []
    for key, counts in after.items():
        was = before.get(key, (0, 0))
        found.append(Rate(str(key), _rate(was[0], counts[0], seconds), _rate(was[1], counts[1], seconds)))
    return tuple(sorted(found, key=lambda rate: (-rate.packets, -rate.bytes, rate.name)))


def _rate(before: int, after: int, seconds: float) -> float:
    return round((after - before if after >= before else after) / seconds, 1) if seconds > 0 else 0.0


class RateReader:
    """Reads one balancer again and again."""

    def __init__(self, instance: str) -> None:
        self.instance = instance
        self._reader = CounterReader(instance, read_bpffs(instance))
        self._at, self._before = time.monotonic(), self._reader.read()

    def read(self) -> Rates:
        """The rates since it was read last. OSError where a map does not let itself be read."""
        now, counts = time.monotonic(), self._reader.read()
        found = rates(self.instance, self._before, counts, now - self._at)
        self._at, self._before = now, counts
        return found
