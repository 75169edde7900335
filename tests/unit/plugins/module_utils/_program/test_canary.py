# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What counts as a program that does worse than the one before, at its bounds."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ProgramError
from ansible_collections.katran.fleet.plugins.module_utils._program import canary
from ansible_collections.katran.fleet.plugins.module_utils._program.canary import Counters, Sample

NOTHING = Sample(0, 0, 0, 0, 0.0)


def verify(monkeypatch: pytest.MonkeyPatch, before: Sample, after: Sample) -> None:
    """What a swap says of two differences of the counters, each over their `at` seconds."""
    seconds = iter([0.0, before.at, before.at, 10.0, 10.0 + after.at])
    order = count()

    def sample(_stats: Any) -> Sample:
        turn, at = next(order), next(seconds)
        there = (NOTHING, before, before, NOTHING, after)[turn]
        return Sample(there.seen, there.sent, there.dropped, there.passed, at)

    monkeypatch.setattr(canary, "take_sample", sample)
    monkeypatch.setattr(canary.time, "sleep", lambda _seconds: None)
    stats: Any = object()
    counters = Counters(stats)
    counters.swap_begins()
    counters.verify(stats)


def of(seen: int, dropped: int = 0, passed: int = 0) -> Sample:
    return Sample(seen, seen - dropped - passed, dropped, passed, 1.0)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        # 5 points more are tolerated, of however many that were dropped before.
        (of(1000), of(1000, dropped=50)),
        (of(1000, dropped=300), of(1000, dropped=350)),
        (of(1000, dropped=300), of(1000)),
        # Fewer than 50 say nothing.
        (of(1000), of(49, dropped=49)),
        (of(49), of(1000, dropped=1000)),
        (of(49), of(0)),
    ],
)
def test_what_is_tolerated(monkeypatch: pytest.MonkeyPatch, before: Sample, after: Sample) -> None:
    verify(monkeypatch, before, after)


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        (of(1000), of(1000, dropped=51), "5% of the packets were dropped, 0% before"),
        (of(1000), of(1000, dropped=300), "30% of the packets were dropped, 0% before"),
        (of(1000, dropped=300), of(1000, dropped=351), "35% of the packets were dropped, 30% before"),
        (of(1000), of(50, dropped=3), "6% of the packets were dropped, 0% before"),
        (of(50), of(0), "no packet reached the new program, but 50 in the 1.0 s before"),
        (of(1000), of(1000, passed=501), "501 packets a second were left to the host, 0 before"),
    ],
)
def test_what_is_not(monkeypatch: pytest.MonkeyPatch, before: Sample, after: Sample, sentence: str) -> None:
    with pytest.raises(ProgramError, match=f"^after the swap {sentence}.*: the old program is back$"):
        verify(monkeypatch, before, after)
