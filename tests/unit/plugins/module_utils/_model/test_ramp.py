# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Slow start: equal steps, none of them large, and one moment for each."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.katran.fleet.plugins.module_utils._model.ramp import FULL, STEP, begun, next_step, share

epochs = st.floats(0.0, 4e9)
lengths = st.floats(0.5, 3600.0)


@given(epochs, lengths)
def test_every_step_is_bounded_and_has_its_time(since: float, slow_start: float) -> None:
    at, shares = since, []
    while not math.isinf(at):
        shares.append(share(since, slow_start, at))
        later = next_step(since, slow_start, at)
        assert later > at
        if not math.isinf(later):
            assert later - since <= slow_start * (1 + 1e-6) + 1e-5
            # In between nothing changes.
            assert share(since, slow_start, (at + later) / 2) == shares[-1]
        at = later
    assert shares == list(range(STEP, FULL + 1, STEP))


@given(epochs, lengths, st.floats(-1e6, 1e6), st.floats(0.0, 1e6))
def test_a_share_never_shrinks_and_is_never_nothing(since: float, slow: float, offset: float, more: float) -> None:
    first, later = share(since, slow, since + offset), share(since, slow, since + offset + more)
    assert STEP <= first <= later <= FULL
    assert (first == FULL) == math.isinf(next_step(since, slow, since + offset))


@given(st.integers(1, 9), lengths, epochs)
def test_when_a_share_began(tenths: int, slow_start: float, now: float) -> None:
    assert share(begun(10 * tenths, slow_start, now), slow_start, now) == 10 * tenths


def test_a_share_between_two_steps_began_with_the_lower() -> None:
    assert begun(57, 90.0, 1000.0) == begun(50, 90.0, 1000.0) == 960.0


@pytest.mark.parametrize("slow_start", [0.0, -1.0])
def test_without_slow_start_a_real_is_whole_at_once(slow_start: float) -> None:
    assert share(100.0, slow_start, 100.0) == 100
    assert math.isinf(next_step(100.0, slow_start, 100.0))


def test_ninety_seconds() -> None:
    assert [share(0.0, 90.0, at) for at in (-5, 0, 9.9, 10, 45, 89, 90, 1000)] == [10, 10, 10, 20, 50, 90, 100, 100]
    assert [next_step(0.0, 90.0, at) for at in (-5, 0, 10, 89, 90)] == [10, 10, 20, 90, math.inf]
