# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What probes say of a real: answers, and what follows from several in a row. Pure: no I/O, no clock.

The loop around it makes a probe of each target when it is due and hands its answer to `step`:

    health = step(health, target.probe, answer, time.time())
    due = next_due(health, target.probe, started, time.monotonic(), phase(target, salt))

Wall-clock time is only told, never reckoned with; when a probe is due is reckoned in monotonic time. So a clock that
jumps changes no verdict and no schedule.

With the defaults (interval 1.0, timeout 0.5, fast_interval 0.2, fall 4, rise 3), counted from the moment that a service
changes, and with answers that take no time, a verdict follows at worst after

    refuses         interval + (fall − 1) × fast_interval           1.6 s
    silent          interval + fall × timeout                       3.0 s
    drains          interval + (rise − 1) × fast_interval           1.4 s
    answers again   rise × interval                                 3.0 s

where a service is silent for longer than its fast_interval, the next probe starts when the last one gives up. Between
two changes lie at least (fall − 1) × fast_interval on the way down, (rise − 1) × interval on the way up: a real that
never answers for longer than that, 2 s, stays out, and no flapping makes more than two changes in 2.6 s.
"""

from __future__ import annotations

import hashlib
import math
import typing as t
from dataclasses import dataclass, replace

from .checks import Probe, Target
from .written import visible

STATES = ("active", "draining", "down")
HISTORY = 20
"""As many changes of a target are kept."""

UNMADE_SECONDS = 1.0
"""A probe that could not be made is tried again so soon: nothing was sent, and what it lacks may be there soon."""

LONGEST_REASON = 120
"""Characters: some of what services say of themselves is told, and kept in files."""

_DRIFT = 0.1
"""As much of its interval a target comes nearer to its place in it each time."""

_SETTLED = 10
"""As many answers in a row, and a target is no longer taken for one that may flap."""

_ROUNDING = 1e-6
_STRICTNESS = {state: rank for rank, state in enumerate(STATES)}


class Answer(t.NamedTuple):
    """What one probe found.

    `state`: active, draining or down, "" where the probe could not be made and so proves nothing; `reason`: why, in a
    few words; `took`: seconds; `expires`: when the certificate ends (seconds since the epoch), 0 where there is none.
    """

    state: str
    reason: str = ""
    took: float = 0.0
    expires: float = 0.0


class Change(t.NamedTuple):
    """One change of a verdict: when (seconds since the epoch), to which state, and why."""

    at: float
    state: str
    reason: str


@dataclass(frozen=True)
class Health:
    """What is known of a target.

    `state`: the verdict, "" before the first; `since`: when it became so (seconds since the epoch); `reason`: why.
    `streak`: the state of the last answer that proved something, `count`: as many in a row agreed on it. `apart`: as
    many in a row were all stricter, or all laxer, than the verdict, whether they agreed or not. `last`: the last
    answer, `asked`: when it was. `history`: the last 20 changes, the oldest first.
    """

    state: str = ""
    since: float = 0.0
    reason: str = ""
    streak: str = ""
    count: int = 0
    last: Answer | None = None
    asked: float = 0.0
    history: tuple[Change, ...] = ()
    apart: int = 0


def strictest(states: t.Iterable[str]) -> str:
    """The strictest of these states; active where there is none."""
    return max(states, key=_STRICTNESS.__getitem__, default="active")


def step(health: Health, probe: Probe, answer: Answer, now: float) -> Health:
    """What is known of a target after one more answer. `now`: seconds since the epoch, told as `asked` and `since`.

    A verdict follows from answers in a row alone: `fall` of them that say down, `rise` that say active, `rise` that say
    draining. A service that drains says so itself, so that takes no more than `rise`; and no fewer, because one that is
    overloaded answers with 503 now and then. Answers that agree on nothing but the direction count too: a real whose
    answers are now draining, now down is draining after `fall` of them. An answer that proves nothing is told as
    `last`; it neither counts nor breaks what was counted.
    """
    answer = _told(answer)
    if not answer.state:
        return replace(health, last=answer, asked=now)
    agree = health.streak == answer.state
    count = health.count + 1 if agree else 1
    side = _side(health.state, answer.state)
    apart = 0 if side == 0 else 1
    if side and health.count and _side(health.state, health.streak) == side:
        apart = health.apart + 1
    found = replace(health, streak=answer.state, count=count, apart=apart, last=answer, asked=now)
    state = _verdict(found, probe, side)
    if state == health.state:
        return found
    reason = answer.reason
    if state != answer.state:
        reason = shortened(f"answers differ, the last: {reason or answer.state}")
    history = (*health.history, Change(now, state, reason))[-HISTORY:]
    return replace(found, state=state, since=now, reason=reason, history=history, apart=0)


def _told(answer: Answer) -> Answer:
    """The answer with a reason that can be written down and read by people, whatever a service put into it."""
    if len(answer.reason) > LONGEST_REASON or not answer.reason.isprintable():
        answer = answer._replace(reason=shortened(answer.reason))
    return answer if math.isfinite(answer.expires) else answer._replace(expires=0.0)


def shortened(reason: str) -> str:
    """A reason as it is kept: of bounded length, with what cannot be seen as escapes."""
    found = visible(reason[: LONGEST_REASON + 1])
    return found if len(found) <= LONGEST_REASON else f"{found[: LONGEST_REASON - 1]}…"


def _verdict(health: Health, probe: Probe, side: int) -> str:
    """The verdict once an answer was counted; `side`: of that answer."""
    needed = probe.fall if health.streak == "down" else probe.rise
    if health.count >= needed:
        return health.streak
    # From no verdict on, answers that are laxer can only be active and agree.
    if (side > 0 and health.apart >= probe.fall and health.state in ("", "active")) or (
        side < 0 and health.apart >= probe.rise and health.state == "down"
    ):
        return "draining"
    return health.state


def _side(state: str, answer: str) -> int:
    """1 where an answer is stricter than a verdict, -1 where it is laxer, 0 where they agree."""
    if not state:
        return -1 if answer == "active" else 1
    difference = _STRICTNESS[answer] - _STRICTNESS[state]
    return (difference > 0) - (difference < 0)


def is_pressing(health: Health) -> bool:
    """Whether the next probe is due at the fast interval: something begins to fail, or there is no verdict yet."""
    if health.last is None or not health.last.state:
        return False
    return not health.state or _side(health.state, health.last.state) > 0


def next_due(health: Health, probe: Probe, started: float, now: float, place: float | None = None) -> float:
    """When to ask next, in the monotonic time of `started` (of the last probe) and `now` (of its answer), in seconds.

    From start to start, and never before the last probe has ended. `place`: where in its interval the target is asked,
    as phase() says. One that has answered for a while comes back there, a little earlier each time, from whatever
    hurried it: so targets that all failed or were all asked at once do not go on in step. Before that it must not: the
    probes of one that flaps in time with its interval would miss what it does, over and over.
    """
    gap = probe.interval
    if is_pressing(health):
        gap = min(probe.fast_interval, gap)
    elif health.last is not None and not health.last.state:
        gap = min(UNMADE_SECONDS, gap)
    elif place is not None and health.state == health.streak == "active" and health.count >= _SETTLED:
        gap -= min(_late(place, gap, started), gap * _DRIFT)
    return max(started + gap, now)


def _late(place: float, interval: float, started: float) -> float:
    """How long after its place in the interval something started; 0 where it did so there, but for rounding."""
    late = (started / interval - place) % 1.0
    return 0.0 if late > 1 - _ROUNDING or late < _ROUNDING else late * interval


def resumed(health: Health) -> Health:
    """What holds after a restart: verdict, reasons and history; what was counted in a row starts afresh."""
    return replace(health, streak="", count=0, apart=0)


def phase(target: Target, salt: str) -> float:
    """Where in its interval a target is asked first: 0 ≤ phase < 1, the same at each start.

    `salt`: what tells balancers apart, such as /etc/machine-id: many balancers, and the VIPs of one, do not ask a real
    in step.
    """
    words = (salt, target.real, target.address, str(target.port), repr(target.probe))
    digest = hashlib.blake2b("\0".join(words).encode(), digest_size=8).digest()
    return int.from_bytes(digest[:6], "big") / (1 << 48)


def first_due(target: Target, salt: str, now: float) -> float:
    """When to ask a target first, in the monotonic time of `now`: at its place in the interval that follows."""
    interval = target.probe.interval
    return now + ((phase(target, salt) - now / interval) % 1.0) * interval
