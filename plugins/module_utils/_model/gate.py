# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Does a balancer do after a change what it did before? Counters, checks and simulated flows say so. Pure: no clock.

Little traffic proves nothing, so every rule about counters asks for enough of it:

- A share (drops, by reason) is a fault once MOST_BY_CHANCE packets are over what the share before explains, with five
  standard deviations of a Poisson count whose packets come in clumps of CLUMP. The share before is the larger of that
  of the window before, where it has ENOUGH packets of that kind, and that of the program's whole life; each with three
  deviations and nine added, since a small number is known badly (the "rule of three" for a count of none, widened).
- An absence (of a VIP's packets, of new flows, of any frame) is a fault where there were at least STEADY in each of the
  PARTS of the window before, and none in all of the window after. A burst shorter than the window before is no steady
  traffic; what ends between the two windows cannot be told from a fault.
- What a sound program never does (count a packet for a VIP and for no real, use fallback_cache where it was never used)
  and what a simulated flow shows needs no statistics, but for the packets that pass between two reads of counters.
"""

from __future__ import annotations

import itertools
import math
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from .counters import DENIED
from .errors import ConfigError
from .faults import shortened

PARTS = 6
"""Into how many parts a window before is cut, to tell steady traffic from a burst."""

STEADY = 5
"""Packets in each of these parts, from which on traffic counts as steady."""

ENOUGH = 50
"""Packets below which a share says nothing."""

LONGEST = 3600
"""Seconds that a gate may watch."""

MOST_BY_CHANCE = 30
CLUMP = 4
LEAST_WINDOW = 2.0
"""Seconds without a packet below which nothing is said of an absence."""

MORE = "and {} more faults"

DROPS = {
    "real_outside_map": "led to a real that does not exist",
    "ring_slot_empty": "found their VIP's ring empty",
    "encapsulation_failures_v4": "could not be put into a tunnel of IPv4",
    "encapsulation_failures_v6": "could not be put into a tunnel of IPv6",
    "unsaid": "were dropped for no reason that is counted",
}
"""Reason → what became of the packets."""

_NO_TUNNEL = ("encapsulation_failures_v4", "encapsulation_failures_v6")
_COUNTED = ("real_outside_map", "ring_slot_empty", *_NO_TUNNEL, DENIED)
Counts = Mapping[str, int]


@dataclass(frozen=True)
class Reading:
    """Counters at one time. `at`: seconds of any clock; `vips`: packets by VIP; `reals`: packets to all of them."""

    at: float
    named: Counts
    vips: Counts
    reals: int


@dataclass(frozen=True)
class Window:
    """What came between readings. `seconds`: how long; `counts`, `vips`: packets; `steady`: what never stopped.

    In `steady` are VIPs' names, and of counters `frames_seen` and `lru_misses`.
    """

    seconds: float = 0.0
    counts: Counts = field(default_factory=dict)
    vips: Counts = field(default_factory=dict)
    steady: frozenset[str] = frozenset()

    @classmethod
    def between(cls, readings: Sequence[Reading]) -> Window:
        """Of two readings or more, in their order. A counter that went back began anew at 0."""
        if len(readings) < 2:
            return cls()
        first, last = readings[0], readings[-1]
        # No VIP is called as a counter is.
        parts = [
            {**_differences(one.named, two.named), **_differences(one.vips, two.vips)}
            for one, two in itertools.pairwise(readings)
        ]
        counts, vips = _differences(first.named, last.named), _differences(first.vips, last.vips)
        counts["to_vips"], counts["to_reals"] = sum(vips.values()), last.reals - min(first.reals, last.reals)
        counts["unsaid"] = unsaid(counts)
        names = ("frames_seen", "lru_misses", *vips)
        steady = frozenset(name for name in names if all(part.get(name, 0) >= STEADY for part in parts))
        return cls(last.at - first.at, counts, vips, steady)


def _differences(before: Counts, after: Counts) -> dict[str, int]:
    return {name: value - was if value >= (was := before.get(name, 0)) else value for name, value in after.items()}


def unsaid(counts: Counts) -> int:
    """The dropped frames of which no other counter tells the reason."""
    return max(0, counts.get("frames_dropped", 0) - sum(counts.get(name, 0) for name in _COUNTED))


@dataclass(frozen=True)
class Sample:
    """What a balancer did before a change. `whole`: counters since its maps were made.

    `loaded`: whether there was one; `out`: (VIP, real) that checks had out; `checked`: (reals, VIPs) for each set of
    reals that these VIPs have checked; `ready`: what was announced; `agent`: whether one ran.
    """

    loaded: bool = False
    window: Window = Window()
    whole: Counts = field(default_factory=dict)
    out: tuple[tuple[str, str], ...] = ()
    checked: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = ()
    ready: tuple[str, ...] = ()
    agent: bool = False

    def to_data(self) -> dict[str, t.Any]:
        """As a module returns it."""
        found = asdict(self)
        found["window"]["steady"] = sorted(self.window.steady)
        # Of a balancer with hundreds of VIPs, this is handed through the controller.
        found["window"]["vips"] = {name: number for name, number in self.window.vips.items() if number}
        found["out"] = [list(pair) for pair in self.out]
        found["checked"] = [[list(reals), list(vips)] for reals, vips in self.checked]
        return {**found, "ready": list(self.ready)}

    @classmethod
    def from_data(cls, data: Mapping[str, t.Any]) -> Sample:
        """The reverse. ConfigError where it is none."""
        try:
            window = data["window"]
            return cls(
                bool(data["loaded"]),
                Window(
                    float(window["seconds"]),
                    {str(name): int(value) for name, value in window["counts"].items()},
                    {str(name): int(value) for name, value in window["vips"].items()},
                    frozenset(map(str, window["steady"])),
                ),
                {str(name): int(value) for name, value in data["whole"].items()},
                tuple((str(vip), str(real)) for vip, real in data["out"]),
                tuple((tuple(map(str, reals)), tuple(map(str, vips))) for reals, vips in data["checked"]),
                tuple(map(str, data["ready"])),
                bool(data["agent"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ConfigError("before: this is not what phase before returned") from error


@dataclass(frozen=True)
class Seen:
    """What a balancer does after it.

    `simulated`: what is wrong with simulated flows; `vips`: those that it has; `out`: (VIP, real) that checks have out
    → why; `unready`: what was to be announced and is not → why.
    """

    window: Window = Window()
    whole: Counts = field(default_factory=dict)
    simulated: tuple[str, ...] = ()
    vips: frozenset[str] = frozenset()
    out: Mapping[tuple[str, str], str] = field(default_factory=dict)
    unready: Mapping[str, str] = field(default_factory=dict)
    agent: bool = False


def judge(before: Sample, seen: Seen, over: bool, drained: bool = False) -> list[str]:
    """One sentence for each thing that is worse than before; none where all is well.

    `over`: whether the window is, so that what did not come will not come, and an agent that was to start again has;
    `drained`: whether traffic and announcements were led elsewhere meanwhile, so that their absence says nothing.
    """
    found = [*seen.simulated, *_checks(before, seen, drained), *_lost(seen.window), *_fallback(before, seen)]
    if before.loaded:
        found += _drops(before, seen)
    if over and before.agent and not seen.agent:
        found.append("the agent ran before, and does not now")
    if over and not drained and seen.window.seconds >= LEAST_WINDOW:
        found += _absent(before.window, seen)
    return shortened(found, MORE)


def may_end_early(before: Sample) -> bool:
    """Whether nothing can show in a longer window: where there is no traffic to miss, and nothing that checks said."""
    return not before.window.counts.get("frames_seen") and not before.checked


def _drops(before: Sample, seen: Seen) -> list[str]:
    """Reasons for which more packets are dropped than were."""
    now, found = seen.window.counts, []
    frames = now.get("frames_seen", 0)
    if frames < ENOUGH:
        return []
    life = {**before.whole, "unsaid": unsaid(before.whole)}
    for reason, became in DROPS.items():
        number = now.get(reason, 0)
        share = share_before(before.window.counts, life, reason)
        if share is not None and is_risen(number, frames, share):
            was = before.window.counts.get(reason, 0), before.window.counts.get("frames_seen", 0)
            found.append(f"{number} of {frames} packets {became}; before, {was[0]} of {was[1]}")
    return found


def share_before(window: Counts, life: Counts, reason: str) -> float | None:
    """What share of frames had met a reason to be dropped, at most; None where too few came to tell."""
    found = []
    if life.get("frames_seen", 0) >= ENOUGH:
        found.append(_at_most(life.get(reason, 0), life["frames_seen"]))
    if window.get("frames_seen", 0) >= ENOUGH and window.get(reason, 0) >= STEADY:
        found.append(_at_most(window[reason], window["frames_seen"]))
    return max(found, default=None)


def _at_most(number: int, of: int) -> float:
    return min(1.0, (number + 3 * math.sqrt(number) + 9) / of)


def is_risen(number: int, of: int, share: float) -> bool:
    """Whether so many of so many are more than a share explains."""
    expected = of * share
    return number - expected >= max(MOST_BY_CHANCE, 5 * math.sqrt(CLUMP * expected))


def _lost(window: Window) -> list[str]:
    """Packets that a VIP counted and no real did, or that both did and no frame left for."""
    counts = window.counts
    to_vips, to_reals = counts.get("to_vips", 0), counts.get("to_reals", 0)
    # What cannot be put into a tunnel is judged with the other reasons to drop.
    left = sum(counts.get(name, 0) for name in ("frames_sent", "frames_passed", *_NO_TUNNEL))
    found = []
    if is_lost(to_vips, to_reals):
        found.append(f"VIPs took {to_vips} packets, and reals were sent {to_reals}")
    elif is_lost(to_reals, left):
        found.append(f"reals were sent {to_reals} packets by the count, and {left} left the program")
    return found


def is_lost(taken: int, given: int) -> bool:
    """Whether fewer were handed on than were taken, beyond what passes while counters are read one after another."""
    return taken - given >= max(MOST_BY_CHANCE, 0.02 * taken)


def _fallback(before: Sample, seen: Seen) -> list[str]:
    """Flows on CPUs that have no table of their own."""
    number, frames = seen.window.counts.get("fallback_cache", 0), seen.window.counts.get("frames_seen", 0)
    if not number:
        return []
    if before.whole.get("fallback_cache", 0):
        share = share_before(before.window.counts, before.whole, "fallback_cache")
        if share is None or not is_risen(number, frames, share):
            return []
    was = before.window.counts.get("fallback_cache", 0)
    return [
        f"{number} packets used fallback_cache, {was} before: their CPUs are none of the program's forwarding cores"
    ]


def _checks(before: Sample, seen: Seen, drained: bool) -> list[str]:
    """Reals that checks let in before and have out now, and what was announced and is not."""
    was_out = set(before.out)
    known = {vip: frozenset(reals) for reals, vips in before.checked for vip in vips}
    found = [
        f"check of real {real} in vip {vip}: {why}"
        for (vip, real), why in sorted(seen.out.items())
        if real in known.get(vip, ()) and (vip, real) not in was_out
    ]
    ready = frozenset() if drained else frozenset(before.ready)
    gone = {place: why for place, why in seen.unready.items() if place in ready}
    return found + [f"{place} was announced, and is not: {why}" for place, why in sorted(gone.items())]


def _absent(before: Window, seen: Seen) -> list[str]:
    """What came steadily before and does not come."""
    now = seen.window
    if not now.counts.get("frames_seen"):
        if "frames_seen" in before.steady:
            return [f"no packet reached the program in {now.seconds:.1f} s, {_rate(before, 'frames_seen')} before"]
        return []
    found = [
        f"vip {vip}: no packet in {now.seconds:.1f} s, {before.vips.get(vip, 0) / before.seconds:.0f} a second before"
        for vip in sorted(before.steady & seen.vips)
        if not now.vips.get(vip)
    ]
    if "lru_misses" in before.steady and not now.counts.get("lru_misses"):
        found.append(f"no new flow was balanced in {now.seconds:.1f} s, {_rate(before, 'lru_misses')} before")
    return found


def _rate(window: Window, name: str) -> str:
    return f"{window.counts.get(name, 0) / window.seconds:.0f} a second"
