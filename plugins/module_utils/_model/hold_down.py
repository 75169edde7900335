# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hold-down: a route that keeps going comes back slower, so that its neighbours do not damp it. Pure: no clock.

The first time a route goes it comes back at once. One that goes twice within a minute (of which the time that it was
held does not count) stays away for 10 s, the next time 20 s, and so on up to 5 min, counted from when it went. Every
5 min that it stands take one doubling back.
"""

from __future__ import annotations

import typing as t

WINDOW_SECONDS = 60.0
FIRST_SECONDS = 10.0
LONGEST_SECONDS = 300.0
DECAY_SECONDS = 300.0
MOST = 6
"""The level at which doubling reaches the longest time."""


class Hold(t.NamedTuple):
    """When a route last went and came back (seconds since the epoch, 0: never), and how often that was too soon."""

    went: float = 0.0
    came: float = 0.0
    level: int = 0

    @property
    def seconds(self) -> float:
        """How long it stays away, from when it went."""
        return _seconds(self.level)

    def not_after(self, now: float) -> Hold:
        """The same where the clock was set back."""
        return Hold(min(self.went, now), min(self.came, now), self.level)

    def _level_at(self, now: float) -> int:
        # Both are one moment where the clock was set back since.
        stood = now - self.came if self.came >= self.went else 0.0
        return max(self.level - int(stood / DECAY_SECONDS), 0)

    def gone(self, now: float) -> Hold:
        """It goes."""
        level = self._level_at(now)
        if self.went and now - self.went <= WINDOW_SECONDS + _seconds(level):
            level = min(level + 1, MOST)
        return Hold(now, self.came, level)

    def until(self, now: float) -> float:
        """When it may come back, having gone."""
        return self.went + _seconds(self._level_at(now)) if self.went else 0.0

    def back(self, now: float) -> Hold:
        """It comes back."""
        return Hold(self.went, now, self.level) if self.went else self


def _seconds(level: int) -> float:
    """How long a route of this level stays away."""
    return min(FIRST_SECONDS * 2 ** (level - 1), LONGEST_SECONDS) if level else 0.0
