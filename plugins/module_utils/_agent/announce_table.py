# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is in the table of announcements, read no more often than that is cheap.

The kernel walks past the routes of others to find ours, some 50 to 150 ns each: a hundred thousand of them take it
20 ms.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

from .._kernel.announce_others import others_in, rules_into
from .._kernel.announce_routes import read_routes
from .._model.announcement import Route
from .._model.faults import counted

_COSTS = 200.0
"""Times what reading took, in seconds of a core, to the next time: it takes a 200th of a core."""

_OTHERS_COST = 500.0
_OTHERS_SECONDS = 1.0
"""What others have there is only told: it is looked for no more often than this."""


class _Pace:
    """When something is to be done again that took so long."""

    def __init__(self, costs: float, least: float = 0.0) -> None:
        self._costs, self._least = costs, least
        self._began, self._wait = -math.inf, 0.0
        self._cpu = 0.0

    def due(self, now: float) -> bool:
        """Whether it is time. A clock that was set back makes it so."""
        return not 0 <= now - self._began < self._wait

    def begin(self, now: float) -> None:
        """It is done at this moment."""
        self._began, self._cpu = now, time.thread_time()

    def end(self) -> None:
        """It is done."""
        self._wait = max(self._least, (time.thread_time() - self._cpu) * self._costs)


class Routes:
    """Our routes in a table. Times are in seconds since the epoch. NetworkError where the kernel does not tell them."""

    def __init__(self, table: int) -> None:
        self._table = table
        self._pace = _Pace(_COSTS)
        self._routes: Sequence[Route] | None = None

    def known(self, now: float) -> tuple[Sequence[Route], bool]:
        """The routes, and whether that is how the table is at this moment."""
        if self._routes is None or self._pace.due(now):
            return self.read(now), True
        return self._routes, False

    def read(self, now: float) -> Sequence[Route]:
        """The routes as they are at this moment."""
        self._routes = None
        self._pace.begin(now)
        self._routes = read_routes(self._table)
        self._pace.end()
        return self._routes

    def forget(self) -> None:
        """They are others than they were."""
        self._routes = None


class Intruders:
    """What else uses the table."""

    def __init__(self, table: int) -> None:
        self._table = table
        self._pace = _Pace(_OTHERS_COST, _OTHERS_SECONDS)
        self._found: list[str] = []
        self._protocols: tuple[int, ...] = ()
        self._others = ""

    def look(self, ours: int, now: float) -> list[str]:
        """A sentence for each kind of it. `ours`: how many routes of ours there are; `now`: since the epoch."""
        if self._pace.due(now):
            self._pace.begin(now)
            self._found = [*self._routes(ours), *self._rules()]
            self._pace.end()
        return self._found

    def _routes(self, ours: int) -> list[str]:
        others = others_in(self._table, ours)
        # That they are a few more or less is no news.
        if self._protocols != others.protocols:
            self._protocols = others.protocols
            self._others = (
                f"table {self._table} has {'more than ' if others.more else ''}{counted(others.number, 'route')} of"
                f" others (protocol {', '.join(map(str, others.protocols))}), which routing daemons learn from it as"
                " well"
            )
        return [self._others] if others.number else []

    def _rules(self) -> list[str]:
        rules = rules_into(self._table)
        if not rules:
            return []
        sentence = (
            f"{counted(rules, 'rule')} of routing on this host may send packets into table {self._table}, which is"
            " there to be announced: what the host sends to a VIP then ends on itself (ip rule)"
        )
        return [sentence]
