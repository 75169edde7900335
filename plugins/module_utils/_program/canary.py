# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Is the new program doing what the old one did? Counters before and after a swap say so."""

from __future__ import annotations

import time
from dataclasses import dataclass

from .._kernel.open_map import Map
from .._model import layout
from .._model.errors import ProgramError
from .._model.map_specs import global_counters_at

SEEN, SENT, DROPPED, PASSED = 16, 17, 18, 19
"""Indexes after the number of VIPs in `stats` (datapath, section 1)."""

WINDOW = 1.0
"""Seconds of traffic that are compared."""

TOLERANCE = 0.05
"""By how much the share of drops may rise before the new program counts as faulty."""

ENOUGH = 50
"""Frames in a window below which a share says nothing."""


@dataclass(frozen=True)
class Sample:
    """Frames since the program's maps were made, by what became of them, and when (s)."""

    seen: int
    sent: int
    dropped: int
    passed: int
    at: float

    def since(self, before: Sample) -> Sample:
        """What came between two samples; `at` is the time between them."""
        return Sample(
            self.seen - before.seen,
            self.sent - before.sent,
            self.dropped - before.dropped,
            self.passed - before.passed,
            max(self.at - before.at, 0.001),
        )

    def per_window(self, number: int) -> float:
        """A number of frames of this difference, for as long as a window is."""
        return number / self.at * WINDOW


def take_sample(stats: Map) -> Sample:
    """The counters now."""
    first = global_counters_at(stats.info.entries)
    seen, sent, dropped, passed = (
        layout.sum_cpus(stats.lookup(layout.u32(first + index)) or b"", 2)[0] for index in (SEEN, SENT, DROPPED, PASSED)
    )
    return Sample(seen, sent, dropped, passed, time.monotonic())


class Counters:
    """Samples the counters before a swap, and verifies after it. Inactive where nothing is counted yet."""

    def __init__(self, stats: Map | None = None) -> None:
        """`stats`: the present program's."""
        self._stats = stats
        self._first = None if stats is None else take_sample(stats)
        self._before: Sample | None = None

    def swap_begins(self) -> None:
        """Call just before the swap: what the old program did ends here."""
        if self._first is None or self._stats is None:
            return
        # One look tells a balancer with next to nothing to do, for which figures would say nothing.
        for least in (WINDOW / 10, WINDOW / 2):
            time.sleep(max(self._first.at + least - time.monotonic(), 0))
            self._before = take_sample(self._stats).since(self._first)
            if self._before.per_window(self._before.seen) < ENOUGH / 2:
                return

    def verify(self, stats: Map) -> None:
        """After the swap, with the new program's `stats`: packets still move, and fare no worse. ProgramError if not.

        What was sent must not be passed to the host either: that is how a VIP looks that the program does not see.
        """
        before = self._before
        if before is None or before.per_window(before.seen) < ENOUGH:
            return
        base = take_sample(stats)
        time.sleep(WINDOW)
        after = take_sample(stats).since(base)
        back = "the old program is back"
        if not after.seen:
            raise ProgramError(
                f"after the swap no packet reached the new program, but {before.seen} in the {before.at:.1f} s before:"
                f" {back}"
            )
        was, now = before.dropped / before.seen, after.dropped / after.seen
        if after.seen >= ENOUGH and now > was + TOLERANCE:
            raise ProgramError(f"after the swap {now:.0%} of the packets were dropped, {was:.0%} before: {back}")
        sent, passed = before.per_window(before.sent), before.per_window(before.passed)
        moved = after.per_window(after.passed) - passed
        if sent >= ENOUGH and after.per_window(after.sent) < sent / 2 < moved:
            raise ProgramError(
                f"after the swap {after.passed} packets a second were left to the host, {passed:.0f} before, and"
                f" {after.sent} sent to reals, {sent:.0f} before: {back}"
            )
