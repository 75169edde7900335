# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which VIPs a balancer is ready for, and the routes that say so. Pure: no I/O, no clock.

VIPs are address, port and protocol; what a network is told is addresses and prefixes. So the VIPs of one place meet:

- What is wrong with the host (program off, gateway unknown) concerns all: every route goes.
- While checks of any of them have no verdict, the place stays as it is: nothing new is announced, and a route that an
  earlier agent left is kept. That ends after a while, or a check that cannot be made would keep a VIP away for good.
- Otherwise the place is announced while at least one VIP that wants it is ready, for those that are.

Every balancer sees the same reals fail, and knows nothing of what the others see. So what speaks of reals' health alone
withdraws nothing (`last_resort: keep`), or no balancer would be left where the checks are what is wrong. Where every
real of every VIP is silent at one balancer, its own way to them may be broken: then its routes get the metric that asks
traffic to go elsewhere. Where the others are well they take it; where all say so, all are equal again, and none is out.
"""

from __future__ import annotations

import math
import typing as t
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from .announcement import DRAINED, DRAINING, NOT_WANTED, READY, WITHDRAWN, Drain, Ready, Route, RouteChange
from .checks import Announce
from .hold_down import Hold
from .vips import VipKey


class SeenVip(t.NamedTuple):
    """What is known of a VIP.

    `capable`: how many reals inventory and persons let into its ring; `members`: how many of them the checks leave
    there; `healthy`: how many of these no check speaks against, the others being held in by the floor. `filled`:
    whether the kernel's ring has slots. `keeps`: whether draining reals keep old flows. `failing`: a few reals that
    checks speak against, with the reason. `waiting`: why a check has no verdict yet, "" where all have one, and
    `patience`: how many seconds it is waited for.
    """

    key: VipKey
    announce: Announce = Announce()
    capable: int = 1
    members: int = 1
    healthy: int = 1
    filled: bool = True
    keeps: bool = False
    failing: tuple[str, ...] = ()
    waiting: str = ""
    patience: float = 0.0


@dataclass(frozen=True)
class Seen:
    """What is known of a balancer at one moment.

    `wrong`: what is wrong with the host, so that no packet for any VIP would be served; `path`: why its way to the
    reals is in doubt. `waiting`, `patience`: what else is waited for before something new is announced, such as the
    flow exceptions of peers. `routes`: place → metric of the route that the kernel has. `leaving`: places that a run is
    taking away. `others`: place → metric that another balancer of this host wants for it, None: it has not decided.
    `read_at`: when what is oldest of this was read, in seconds of the monotonic clock.
    """

    vips: tuple[SeenVip, ...] = ()
    wrong: tuple[str, ...] = ()
    path: str = ""
    waiting: str = ""
    patience: float = 0.0
    drain: Drain | None = None
    routes: Mapping[str, int] = field(default_factory=dict)
    leaving: Collection[str] = ()
    others: Mapping[str, int | None] = field(default_factory=dict)
    read_at: float = math.inf


@dataclass(frozen=True)
class Past:
    """What is remembered of a place: its announcement, since when it is known, and how often it came and went.

    `planned`: whether what is announced, or is not, is somebody's wish.
    """

    ready: Ready
    first: float
    hold: Hold = field(default_factory=Hold)
    planned: bool = False


class _Word(t.NamedTuple):
    """What one look says of a place. `planned`: whether going is somebody's wish, and no reason to come back slower."""

    metric: int
    reasons: tuple[str, ...] = ()
    planned: bool = False


def decide(seen: Seen, pasts: Mapping[str, Past], now: float) -> dict[str, Past]:
    """For each place of a balancer's VIPs what is announced. `now`: seconds since the epoch."""
    places: dict[str, list[SeenVip]] = {}
    for vip in sorted(seen.vips, key=lambda vip: vip.key):
        places.setdefault(vip.key.address, []).append(vip)
    return {place: _decide_place(place, vips, seen, pasts.get(place), now) for place, vips in places.items()}


def _decide_place(place: str, vips: list[SeenVip], seen: Seen, past: Past | None, now: float) -> Past:
    there = seen.routes.get(place, 0)
    if past is None:
        past = Past(Ready(place, there, since=now), now)
    if past.first > now or past.ready.since > now or max(past.hold[:2]) > now:
        # A clock that was set back does not make anything last longer.
        ready = past.ready._replace(since=min(past.ready.since, now))
        past = replace(past, ready=ready, first=min(past.first, now), hold=past.hold.not_after(now))
    word = _word(place, vips, seen, past.first, now)
    was, hold = past.ready.metric, past.hold
    if was and not word.metric and not word.planned:
        hold = hold.gone(now)
    elif word.metric and not was:
        if hold.until(now) > now:
            often = f"it went {hold.level + 1} times in a short time, so it stays away for {hold.seconds:g} s"
            word = _Word(0, (often, *word.reasons))
        else:
            hold = hold.back(now)
    since = past.ready.since if was == word.metric else now
    ready = Ready(place, word.metric, word.reasons, since, tuple(str(vip.key) for vip in vips))
    if (ready, hold, word.planned) == (past.ready, past.hold, past.planned):
        # The same object, by which others see quickly that nothing changed.
        return past
    return Past(ready, past.first, hold, word.planned)


def _word(place: str, vips: list[SeenVip], seen: Seen, first: float, now: float) -> _Word:
    if place in seen.leaving:
        return _Word(0, ("a run takes it away",), planned=True)
    wanting = [vip for vip in vips if vip.announce.enabled]
    if not wanting:
        return _Word(0, (NOT_WANTED,), planned=True)
    if seen.wrong:
        return _Word(0, seen.wrong)
    if seen.drain is not None and seen.drain.withdraw:
        return _Word(0, (_drained(seen.drain, WITHDRAWN),), planned=True)
    waiting = _waiting(wanting, seen, now - first)
    if waiting:
        # Also where it was never announced: what is there comes from an earlier agent, and was well then.
        there = seen.routes.get(place, 0)
        return _Word(DRAINING if there and seen.drain is not None else there, waiting, planned=True)
    word = _met(wanting)
    if word.metric and seen.path:
        word = _Word(DRAINING, (seen.path, *word.reasons))
    if word.metric and seen.drain is not None:
        word = _Word(DRAINING, (_drained(seen.drain, DRAINED), *word.reasons), planned=True)
    return word


def _drained(drain: Drain, how: str) -> str:
    return f"{how} by {drain.by} since {drain.since}"


def _waiting(wanting: Iterable[SeenVip], seen: Seen, waited: float) -> tuple[str, ...]:
    """What is still waited for before something new is announced."""
    found = [f"vip {vip.key}: {vip.waiting}" for vip in wanting if vip.waiting and waited < vip.patience]
    if seen.waiting and waited < seen.patience:
        found.insert(0, seen.waiting)
    return tuple(found)


def _met(wanting: list[SeenVip]) -> _Word:
    """What the VIPs of one place say together: the best metric that one of them has."""
    words = [(vip, *judge_vip(vip)) for vip in wanting]
    metric = min((metric for _vip, metric, _reason in words if metric), default=0)
    reasons = [f"vip {vip.key}: {reason}" for vip, _metric, reason in words if reason]
    reasons += [f"vip {vip.key}: {vip.waiting}" for vip in wanting if vip.waiting]
    return _Word(metric, tuple(reasons))


def judge_vip(vip: SeenVip) -> tuple[int, str]:
    """The metric that one VIP by itself would have, and what is to be said of it, "" where it is simply ready."""
    if vip.members and not vip.filled:
        return 0, "its ring in the kernel begins with an empty slot, and is to have none"
    if not vip.capable:
        if vip.keeps:
            # New flows find a balancer or a site elsewhere, and old ones still find theirs here.
            return DRAINING, "none of its reals takes new flows, and old flows are kept"
        return 0, "none of its reals takes flows"
    least = vip.announce.min_healthy
    if vip.members and vip.healthy >= least:
        return READY, ""
    fact = f"{vip.healthy} of {vip.capable} reals healthy, and announce.min_healthy is {least}"
    if not vip.members:
        fact = "checks took all reals out"
    fact += f" ({', '.join(vip.failing)})" if vip.failing else ""
    if vip.announce.last_resort == "keep":
        return READY, f"{fact}: announced all the same (last_resort)"
    return 0, fact


def with_failures(
    decided: Mapping[str, Past], before: Mapping[str, Past], failed: Mapping[str, str]
) -> dict[str, Past]:
    """The same where the kernel did not take routes. `failed`: place → why."""
    found = dict(decided)
    for place, why in failed.items():
        if place in found:
            ready = found[place].ready
            was = before[place].ready if place in before else None
            since = was.since if was is not None and not was.metric else ready.since
            reasons = (f"the kernel does not take its route: {why}", *ready.reasons)
            ready = ready._replace(metric=0, reasons=reasons, since=since)
            found[place] = replace(found[place], ready=ready)
    return found


def wanted_routes(decided: Mapping[str, Past], others: Mapping[str, int | None]) -> dict[str, int]:
    """Place → metric of the route that is to be there, where another balancer of the host may want one as well."""
    found = {place: past.ready.metric for place, past in decided.items() if past.ready.metric}
    return {place: min(metric, others.get(place) or metric) for place, metric in found.items()}


def route_changes(
    wanted: Mapping[str, int], there: Iterable[Route], others: Mapping[str, int | None]
) -> list[RouteChange]:
    """What makes the kernel's routes those that are wanted.

    What goes comes first. Where a metric changes, the new route is there before the old one goes, so that neighbours
    see one announcement that changes and no withdrawal. A place that is another balancer's is left to that one.
    """
    present = set(there)
    goes, superseded = [], []
    for route in sorted(present):
        metric = wanted.get(route.place, 0)
        if metric and route.loopback:
            if route.metric != metric:
                superseded.append(RouteChange(route, adds=False))
        elif metric or route.place not in others:
            goes.append(RouteChange(route, adds=False))
    adds = [
        RouteChange(Route(place, metric), adds=True)
        for place, metric in wanted.items()
        if Route(place, metric) not in present
    ]
    return [*goes, *adds, *superseded]
