# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hold the routes of one balancer to what it is ready for, and say so in ready.json.

A look reads the kernel's table: a route that somebody removed is put back, and one that is left from a VIP of
before goes. It takes some milliseconds at 512 VIPs, and waits for nobody. A table that takes longer to read, because
others have many routes there, is read less often.
"""

from __future__ import annotations

import os
import time
import typing as t
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from .._kernel.announce_routes import by_place, change_table, read_routes
from .._kernel.leaving import changing_routes, read_leaving
from .._kernel.lock import LOCK_ROOT
from .._kernel.run_files import RunFiles
from .._model.announcement import DRAINING, GRACE_SECONDS, TABLE, Ready, Route, RouteChange
from .._model.announcing import Past, Seen, decide, route_changes, wanted_routes, with_failures
from .._model.errors import FleetError, NetworkError
from .._model.ready_file import ReadyFile
from .announce_table import Intruders, Routes

_BUSY_LOOKS = 20
"""So many looks at which a run was changing routes are told: each takes it milliseconds."""

_NAMED = 3
"""As many places are named where the same is so of more."""


class Line(t.NamedTuple):
    """A line for the journal. `wrong`: whether it is bad news; `places`: what it is about."""

    wrong: bool
    text: str
    places: tuple[str, ...] = ()


class Announcer:
    """The announcements of one balancer; `ready`: address or prefix → what is announced, as of the last look."""

    def __init__(self, instance: str, table: int = TABLE, grace: float = GRACE_SECONDS, root: str = LOCK_ROOT) -> None:
        """`table`: the kernel's, for routes; `grace`: seconds that runs wait between withdrawing and taking away."""
        self.instance = instance
        self.table = table
        self.ready: dict[str, Ready] = {}
        self.wanted: dict[str, int] | None = None
        self._grace = grace
        self._files = RunFiles(instance, root)
        self._pasts: dict[str, Past] | None = None
        self._left: tuple[int, frozenset[str]] | None = None
        self._leaving: dict[str, float] = {}
        self._written: dict[str, Past] | None = None
        self._troubles: tuple[str, ...] = ()
        self._busy = 0
        self._routes = Routes(table)
        self._intruders = Intruders(table)
        self._failed: dict[RouteChange, str] = {}

    def update(self, seen: Seen, now: float) -> list[Line]:
        """Bring the routes to what is seen; a line for each change. `now`: seconds since the epoch.

        What is seen of the configuration was read after the last update returned; what is older, `seen.read_at` tells.
        `seen.routes` and `seen.leaving` are this method's to find out. Where the kernel or a file does not let itself
        be read or written, a line says so once, and the next look tries again.
        """
        lines: list[Line] = []
        troubles: list[str] = []
        if self._pasts is None:
            self._pasts = self._remembered(now, troubles)
        try:
            with changing_routes(self._files.folder, 0) as alone:
                if alone:
                    self._busy = 0
                    lines += self._look(seen, now, troubles)
                else:
                    self._busy += 1
                    if self._busy >= _BUSY_LOOKS:
                        troubles.append(f"the routes of balancer {self.instance} are held by another process")
            self._write(troubles)
        except FleetError as error:
            troubles.append(str(error))
        return lines + self._news(troubles)

    def stop(self, others: Mapping[str, int | None], now: float) -> list[Line]:
        """Take the routes of a balancer that is no more, or that is announced in another table, away: its own alone."""
        try:
            there = {route.place for route in read_routes(self.table)}
        except NetworkError as error:
            return [Line(True, f"the routes of balancer {self.instance} stay: {error}")]
        foreign = there - set(self.wanted or self.ready)
        # Where a run was first, nothing is left to do or to write down.
        return self.update(Seen(others={**dict.fromkeys(foreign), **others}), now) if there != foreign else []

    def _look(self, seen: Seen, now: float, troubles: list[str]) -> list[Line]:
        before = self._pasts or {}
        seen = replace(seen, leaving=self._still_leaving(seen.read_at))
        there, fresh = self._routes.known(now)
        seen, decided, changes = self._decided(seen, there, now)
        if not fresh and any(change not in self._failed for change in changes):
            # Nothing is changed by what the table was some time ago.
            there, fresh = self._routes.read(now), True
            seen, decided, changes = self._decided(seen, there, now)
        if fresh:
            self._failed = change_table(self.table, changes) if changes else {}
        failed = {change: self._failed[change] for change in changes if change in self._failed}
        if len(failed) < len(changes):
            self._routes.forget()
        self._pasts = with_failures(decided, before, {change.route.place: why for change, why in failed.items()})
        self.ready = {place: past.ready for place, past in self._pasts.items()}
        self._leave_old_table(seen.others)
        troubles += [
            f"the route of {change.route.place} cannot be removed from table {self.table}: {why}"
            for change, why in failed.items()
            if not change.adds
        ]
        if self.wanted:
            troubles += self._intruders.look(len(there), now)
        return [*_told(before, self._pasts), *_repaired(changes, before, self._pasts, seen.routes)]

    def _decided(
        self, seen: Seen, there: Sequence[Route], now: float
    ) -> tuple[Seen, dict[str, Past], list[RouteChange]]:
        """What is seen with these routes in the table, what follows, and what is to be changed for that."""
        seen = replace(seen, routes=by_place(there))
        decided = decide(seen, self._pasts or {}, now)
        self.wanted = wanted_routes(decided, seen.others)
        return seen, decided, route_changes(self.wanted, there, seen.others)

    @property
    def wants_news(self) -> bool:
        """Whether something is not announced before the kernel was looked at anew."""
        return bool(self._leaving)

    def _still_leaving(self, read_at: float) -> set[str]:
        """What runs take away, or took away since what is known was read."""
        now = time.monotonic()
        told = read_leaving(self._files.folder)
        self._leaving = {place: at for place, at in self._leaving.items() if at >= read_at} | dict.fromkeys(told, now)
        return set(self._leaving)

    def _leave_old_table(self, others: Mapping[str, int | None]) -> None:
        """Take away what an earlier agent had put into another table."""
        if self._left is None:
            return
        table, places = self._left
        old = [route for route in read_routes(table) if route.place in places and route.place not in others]
        change_table(table, [RouteChange(route, adds=False) for route in old])
        self._left = None

    def _remembered(self, now: float, troubles: list[str]) -> dict[str, Past]:
        """What the agent before this one left."""
        try:
            source = self._files.read(self._files.ready)
            file = ReadyFile() if source is None else ReadyFile.from_json(source, self._files.ready)
        except FleetError as error:
            troubles.append(str(error))
            return {}
        if file.table != self.table:
            self._left = file.table, frozenset(place for place, past in file.places.items() if past.ready.metric)
        return {place: replace(past, first=now) for place, past in file.places.items()}

    def _write(self, troubles: list[str]) -> None:
        if self._written is None or self._pasts != self._written or not os.path.exists(self._files.ready):
            text = ReadyFile(self.table, self._grace, self._pasts or {}).to_json()
            try:
                self._files.write(self._files.ready, text)
                self._written = self._pasts
            except FleetError as error:
                troubles.append(str(error))

    def _news(self, troubles: list[str]) -> list[Line]:
        """Troubles that are new, each once."""
        new = [Line(True, trouble) for trouble in dict.fromkeys(troubles) if trouble not in self._troubles]
        self._troubles = tuple(troubles)
        return new


def others_of(announcers: Iterable[Announcer], places: Mapping[str, Iterable[str]], name: str) -> dict[str, int | None]:
    """What Seen.others is for the balancer `name`. `places`: instance → the places of all its VIPs."""
    found: dict[str, int | None] = {}
    wanted = {each.instance: each.wanted for each in announcers}
    for instance in places:
        if instance == name:
            continue
        decided = wanted.get(instance)
        for place in places[instance]:
            metrics = [found.get(place), None if decided is None else decided.get(place, 0)]
            known = [metric for metric in metrics if metric]
            found[place] = min(known) if known else metrics[1]
    return found


def _told(before: Mapping[str, Past], after: Mapping[str, Past]) -> list[Line]:
    """A line for each way in which announcements changed, of as many places as it is so."""
    groups: dict[tuple[bool, str], list[str]] = {}
    for place, new in after.items():
        old = before.get(place)
        if old is None or (old.ready.metric, _lasting(old.ready)) != (new.ready.metric, _lasting(new.ready)):
            groups.setdefault(_sentence(old, new), []).append(place)
    for place, old in before.items():
        if old.ready.metric and place not in after:
            groups.setdefault((False, "{} withdrawn: no VIP is there any more"), []).append(place)
    return [Line(wrong, _named(text, places), tuple(places)) for (wrong, text), places in groups.items()]


def _lasting(ready: Ready) -> tuple[str, ...]:
    """Reasons without their numbers: that two reals of five fail, and not one, is told of the reals."""
    return tuple("".join(char for char in reason if not char.isdigit()) for reason in ready.reasons)


def _sentence(old: Past | None, new: Past) -> tuple[bool, str]:
    """(whether it is bad news, what is said of a place)."""
    verb = "{} announced"
    if new.ready.metric == DRAINING:
        verb = "{} announced as draining"
    elif not new.ready.metric:
        verb = "{} withdrawn" if old is not None and old.ready.metric else "{} not announced"
    reasons = "; ".join(new.ready.reasons)
    return bool(reasons) and not new.planned, verb + (f": {reasons}" if reasons else "")


def _named(text: str, places: list[str]) -> str:
    verb = "is" if len(places) == 1 else "are"
    names = ", ".join(places[:_NAMED])
    if len(places) > _NAMED:
        names += f" and {len(places) - _NAMED} more"
    return text.replace("{}", f"{names} {verb}", 1)


def _repaired(
    changes: Iterable[RouteChange], before: Mapping[str, Past], after: Mapping[str, Past], there: Mapping[str, int]
) -> list[Line]:
    """What somebody else had changed of the table."""
    back, left = [], []
    for route, adds in changes:
        old, new = before.get(route.place), after.get(route.place)
        if not adds:
            if _strange(route, old, new):
                left.append(route.place)
        elif (
            old is not None
            and new is not None
            and 0 < old.ready.metric == new.ready.metric
            and route.place not in there
        ):
            back.append(route.place)
    lines = []
    if back:
        lines.append(Line(True, _named("{} announced again: somebody had removed the route", back), tuple(back)))
    if left:
        lines.append(Line(True, f"routes that nobody asked for are removed: {', '.join(left[:_NAMED])}", tuple(left)))
    return lines


def _strange(route: Route, old: Past | None, new: Past | None) -> bool:
    """Whether a route was not the last look's."""
    if not route.loopback or (old is None and new is None):
        return True
    return old is not None and old.ready.metric != route.metric
