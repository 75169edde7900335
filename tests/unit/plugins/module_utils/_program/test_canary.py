# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From when on a new program counts as worse than the one before, by what both counted."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ProgramError
from ansible_collections.katran.fleet.plugins.module_utils._program import canary
from ansible_collections.katran.fleet.plugins.module_utils._program.canary import Counters, Sample

STATS: Any = object()
"""Stands for the map, which nothing here looks into."""


class Wire:
    """So many frames a second since some time, by what becomes of them: seen, sent, dropped, passed."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now = self.since = 100.0
        self.start = (7000, 5000, 1500, 500)
        self.rates: tuple[int, ...] = (0, 0, 0, 0)
        patch.setattr(canary.time, "monotonic", lambda: self.now)
        patch.setattr(canary.time, "sleep", self.sleep)
        patch.setattr(canary, "take_sample", self.sample)

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def carry(self, rates: tuple[int, ...]) -> None:
        """From now on, so many of each a second."""
        self.start = self.counted()
        self.since, self.rates = self.now, rates

    def counted(self) -> tuple[int, int, int, int]:
        passed = self.now - self.since
        seen, sent, dropped, left = (
            there + round(rate * passed) for there, rate in zip(self.start, self.rates, strict=True)
        )
        return seen, sent, dropped, left

    def sample(self, _stats: object) -> Sample:
        return Sample(*self.counted(), at=self.now)


def verdict(patch: pytest.MonkeyPatch, before: tuple[int, ...], after: tuple[int, ...]) -> str:
    """What is said of these rates before and after the swap; empty where nothing is."""
    wire = Wire(patch)
    wire.carry(before)
    counters = Counters(STATS)
    counters.swap_begins()
    wire.carry(after)
    try:
        counters.verify(STATS)
    except ProgramError as error:
        return str(error)
    return ""


BUSY = (1000, 900, 100, 0)
OK = ""
DROPS = "after the swap 16% of the packets were dropped, 10% before: the old program is back"


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (BUSY, BUSY, OK),
        # Five per cent more of the packets may be dropped, for what they are may change from second to second.
        (BUSY, (1000, 850, 150, 0), OK),
        (BUSY, (1000, 840, 160, 0), DROPS),
        (BUSY, (100, 84, 16, 0), DROPS),
        # Of fewer than fifty, a share says nothing.
        (BUSY, (49, 0, 49, 0), OK),
        (BUSY, (50, 0, 50, 0), "after the swap 100% of the packets were dropped, 10% before: the old program is back"),
        ((49, 49, 0, 0), (1000, 0, 1000, 0), OK),
        ((50, 50, 0, 0), (1000, 0, 1000, 0), "after the swap 100% of the packets were dropped, 0% before: the old"),
        # Nothing arrives at all; one packet is enough to know that it could.
        (BUSY, (0, 0, 0, 0), "after the swap no packet reached the new program, but"),
        ((49, 49, 0, 0), (0, 0, 0, 0), OK),
        (BUSY, (1, 1, 0, 0), OK),
        # What was sent is left to the host: a VIP that the program does not see.
        (BUSY, (1000, 400, 100, 500), "after the swap 500 packets a second were left to the host, 0 before, and 400"),
        (BUSY, (1000, 450, 100, 450), OK),
        # Less is sent, but not because more is passed.
        (BUSY, (1000, 400, 100, 200), OK),
        (BUSY, (300, 250, 30, 20), OK),
    ],
)
def test_a_new_program_is_judged_by_what_both_counted(
    before: tuple[int, ...], after: tuple[int, ...], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = verdict(monkeypatch, before, after)
    assert found.startswith(said) if said else found == ""


def test_a_balancer_with_nothing_to_do_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Wire(monkeypatch)
    wire.carry((20, 20, 0, 0))
    counters = Counters(STATS)
    counters.swap_begins()
    assert wire.now - 100 == pytest.approx(canary.WINDOW / 10)
    began = wire.now
    counters.verify(STATS)
    assert wire.now == began


def test_a_first_program_has_none_to_be_compared_with(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Wire(monkeypatch)
    counters = Counters()
    counters.swap_begins()
    counters.verify(STATS)
    assert wire.now == 100
