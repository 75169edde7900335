# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Slow start: the share of its weight that a real has some time after it came back. Pure: no clock."""

from __future__ import annotations

import math

STEP = 10
"""Per cent of a real's weight that one step adds; the first gives as much."""

FULL = 100
_STEPS = FULL // STEP - 1
_SLACK = 1e-3
"""Of a step: what rounding may take from a moment that was reckoned as the next step's."""


def share(since: float, slow_start: float, now: float) -> int:
    """Per cent of its weight, STEP to 100, of a real that came back at `since` and is whole `slow_start` seconds later.

    All in seconds; equal steps in equal times.
    """
    if slow_start <= 0:
        return FULL
    return STEP * (1 + _taken(since, slow_start, now))


def next_step(since: float, slow_start: float, now: float) -> float:
    """When the share grows next; infinite once it is whole."""
    taken = _STEPS if slow_start <= 0 else _taken(since, slow_start, now)
    return math.inf if taken >= _STEPS else since + (taken + 1) * slow_start / _STEPS


def begun(present: int, slow_start: float, now: float) -> float:
    """When a real that reaches this share at `now` would have come back."""
    return now - (present // STEP - 1) * slow_start / _STEPS


def _taken(since: float, slow_start: float, now: float) -> int:
    """As many steps were taken after the first."""
    return max(0, min(_STEPS, math.floor((now - since) * _STEPS / slow_start + _SLACK)))
