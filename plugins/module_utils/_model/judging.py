# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From what probes found and what others say to verdicts. Pure: no I/O, no clock.

    checked = Checked.of(vips)                          # where state.json changed; probe what `pairs` lists
    judged = judge(checked, overlay, healths, words, stored, time.time())
    apply judged.verdicts where they differ from `stored`; judge again at judged.due, or when a health changes

Every real that a VIP with a check lists is asked, also one that the inventory or a person has out: that costs little,
and who lets it in again sees beforehand whether it answers.
"""

from __future__ import annotations

import math
import typing as t
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from . import ramp
from .addresses import Prefix
from .checks import Check, Target
from .external import MOST, Steps, Word, live
from .faults import counted
from .health import Health, resumed, shortened, strictest
from .overlay import Overlay, effective_state
from .verdicts import STARTING, WAITING, Verdict
from .vips import Vip, VipKey, VipName, VipReal
from .written import visible

Pair = tuple[VipKey, str]
"""A VIP and one of its reals."""

EXTERNAL = "external"
"""The type of a check that asks nobody: what is said in verdicts.d is all it knows."""

LATEST = 253402128000.0
"""The last moment that can be told in any time zone: two days before the year 10000."""

_TOLD = 5
"""As many words of one file that are about nothing are told one by one."""

_NOTHING = Health()


@dataclass(frozen=True)
class Checked:
    """The VIPs that have a check, and whom it asks.

    `targets`: (VIP, real) → what is asked of whom, without those whose check is external; `pairs`: the way back, and
    so every target once; `listed`: VIP → its reals by address; `at`: address or prefix → its VIPs; `called`: which VIPs
    feeders mean by names, as far as these were looked up.
    """

    vips: Mapping[VipKey, Vip]
    targets: Mapping[Pair, Target]
    pairs: Mapping[Target, Sequence[Pair]]
    listed: Mapping[VipKey, Mapping[str, VipReal]]
    names: Mapping[str, VipKey]
    at: Mapping[tuple[bytes, int | None], Sequence[VipKey]] = field(default_factory=dict, compare=False)
    called: dict[str, Sequence[VipKey]] = field(default_factory=dict, compare=False)

    @classmethod
    def of(cls, vips: Mapping[VipKey, Vip]) -> Checked:
        """Of all VIPs of a state."""
        checked = {key: vip for key, vip in vips.items() if vip.check is not None}
        targets = targets_of(checked)
        pairs: dict[Target, list[Pair]] = {}
        for pair, target in targets.items():
            pairs.setdefault(target, []).append(pair)
        listed = {key: {real.address: real for real in vip.reals} for key, vip in checked.items()}
        at: dict[tuple[bytes, int | None], list[VipKey]] = {}
        for key in checked:
            at.setdefault((key.packed, key.prefixlen), []).append(key)
        return cls(checked, targets, pairs, listed, {str(key): key for key in checked}, at)

    def has(self, pair: Pair) -> bool:
        """Whether the VIP has a check, and the real."""
        return pair[1] in self.listed.get(pair[0], ())

    def check(self, key: VipKey) -> Check:
        """The check of a VIP that has one."""
        return t.cast("Check", self.vips[key].check)


def targets_of(vips: Mapping[VipKey, Vip]) -> dict[Pair, Target]:
    """(VIP, real) → what is asked of whom. Pairs that ask the same share one target.

    Nobody is asked for VIPs without a check, and where the check is external.
    """
    found: dict[Pair, Target] = {}
    known: dict[Target, Target] = {}
    for key, vip in vips.items():
        if vip.check is None or vip.check.probe.type == EXTERNAL:
            continue
        probe = vip.check.probe
        address, port = probe.address or key.address, probe.port or key.port
        # Whether a VIP is there itself, or another sends its probes there: it is the same service.
        probe = replace(probe, address="", port=0)
        for real in vip.reals:
            target = Target(real.address, address, port, probe)
            found[key, real.address] = known.setdefault(target, target)
    return found


def carried(before: Checked, after: Checked, healths: Mapping[Target, Health]) -> dict[Target, Health]:
    """The healths of the targets after the VIPs changed.

    Where a check is another, so is the target: it starts with the verdict that its reals had, if all of them had the
    same, and counts afresh.
    """
    found = {}
    for target, pairs in after.pairs.items():
        known = healths.get(target)
        if known is None:
            old = [
                healths.get(before.targets[pair], _NOTHING) if pair in before.targets else _NOTHING for pair in pairs
            ]
            agree = bool(old[0].state) and len({each.state for each in old}) == 1
            known = resumed(old[0]) if agree else _NOTHING
        found[target] = known
    return found


class Judged(t.NamedTuple):
    """What is to be applied.

    `verdicts`: those that are not plainly active with their whole weight, sorted as state.json has them. `due`: when
    they change next by themselves, in seconds since the epoch; infinite where they do not. `waiting`: the pairs that
    were never judged yet.
    """

    verdicts: tuple[Verdict, ...]
    due: float
    waiting: frozenset[Pair]


class _Said(t.NamedTuple):
    """One voice: a state, since when (seconds since the epoch), and why."""

    state: str
    since: float
    reason: str


def judge(
    checked: Checked,
    overlay: Mapping[str, Overlay],
    healths: Mapping[Target, Health],
    words: Mapping[str, Sequence[Word]],
    stored: Iterable[Verdict],
    now: float,
) -> Judged:
    """The verdicts that follow from everything that is known.

    The strictest of what a real's probes found and what others say holds. While a target has no health of its own yet,
    the verdict that is `stored` holds. `words`: by the name of their file, expired or not. `stored`: as last applied.
    `now`: seconds since the epoch. A verdict keeps its `since` as long as its state does, so nothing differs from what
    is stored unless something happened.
    """
    was = {(checked.names[each.vip], each.real): each for each in stored if each.vip in checked.names}
    was = {pair: each for pair, each in was.items() if checked.has(pair)}
    said, due = _voices(checked, healths, words, was, now)
    verdicts: dict[Pair, Verdict] = {}
    for pair, voices in said.items():
        state = strictest(voice.state for voice in voices)
        voice = next(voice for voice in voices if voice.state == state)
        old = was.get(pair)
        since = old.since if old and old.state == state else iso(voice.since)
        verdicts[pair] = Verdict(str(pair[0]), pair[1], state, since, voice.reason)
    for pair in _may_start_slowly(checked, overlay, healths, was):
        if pair not in verdicts:
            started, step = _slow_start(checked, overlay, pair, was.get(pair), now)
            due = min(due, step)
            if started is not None:
                verdicts[pair] = started
    waiting = (
        pair
        for target, pairs in checked.pairs.items()
        if not healths.get(target, _NOTHING).state
        for pair in pairs
        if pair not in was
    )
    return Judged(tuple(sorted(verdicts.values())), due, frozenset(waiting))


def _voices(
    checked: Checked,
    healths: Mapping[Target, Health],
    words: Mapping[str, Sequence[Word]],
    was: Mapping[Pair, Verdict],
    now: float,
) -> tuple[dict[Pair, list[_Said]], float]:
    """Who says that a real is not active, probes before others; and when the next word of others expires."""
    said: dict[Pair, list[_Said]] = {}
    for target, health in healths.items():
        if health.state in ("draining", "down"):
            for pair in checked.pairs.get(target, ()):
                said.setdefault(pair, []).append(_Said(health.state, health.since, health.reason))
    for pair, verdict in was.items():
        asked = checked.targets.get(pair)
        if verdict.state != "active" and asked is not None and not healths.get(asked, _NOTHING).state:
            said.setdefault(pair, []).append(_Said(verdict.state, now, verdict.reason))
    due = math.inf
    for name in sorted(words):
        feeder = name.removesuffix(".json")
        for word in live(words[name], now):
            for key in _named(checked, word) if word.state != "active" else ():
                due = min(due, word.until)
                said.setdefault((key, word.real), []).append(
                    _Said(word.state, now, shortened(f"{word.state} by {feeder}"))
                )
    return said, due


def _named(checked: Checked, word: Word) -> list[VipKey]:
    """The VIPs with a check that a word is about, and that have its real."""
    keys = checked.called.get(word.vip)
    if keys is None:
        if len(checked.called) >= MOST:
            checked.called.clear()
        keys = checked.called[word.vip] = _called(checked, word.vip)
    return [key for key in keys if word.real in checked.listed[key]]


def _called(checked: Checked, text: str) -> list[VipKey]:
    if text in checked.names:
        return [checked.names[text]]
    name = VipName.read(text)
    if name is None:
        return []
    host, length = (name.host.address, name.host.length) if isinstance(name.host, Prefix) else (name.host, None)
    return [key for key in checked.at.get((host.packed, length), ()) if name.means(key)]


def unmatched(checked: Checked, words: Mapping[str, Sequence[Word]], now: float) -> Steps[list[str]]:
    """A sentence for each word that counts and is about nothing: no VIP with a check is called so and has the real.

    Of many in one file, which may be written for more balancers than this, the first are told, and how many there are.
    """
    found = []
    for name in sorted(words):
        idle = []
        for word in words[name]:
            yield
            if word.until > now and not _named(checked, word):
                idle.append(word)
        found += [
            f"verdicts.d/{visible(name)}: no VIP with a check is {word.vip} and has the real {word.real}"
            for word in idle[:_TOLD]
        ]
        if len(idle) > _TOLD:
            found.append(f"verdicts.d/{visible(name)}: so it is with {counted(len(idle) - _TOLD, 'more word')}")
    return found


# Slow start


def _may_start_slowly(
    checked: Checked, overlay: Mapping[str, Overlay], healths: Mapping[Target, Health], was: Mapping[Pair, Verdict]
) -> list[Pair]:
    """Pairs whose share may be less than whole: they had a verdict, or are out by the inventory or a person."""
    found = [pair for pair in was if checked.check(pair[0]).slow_start > 0]
    for key, vip in checked.vips.items():
        if checked.check(key).slow_start <= 0:
            continue
        for real in vip.reals:
            pair = key, real.address
            target = checked.targets.get(pair)
            # Without evidence nothing is said, not even that it may start.
            proven = target is None or healths.get(target, _NOTHING).state
            if pair not in was and proven and not _is_in(real, overlay):
                found.append(pair)
    return found


def _is_in(real: VipReal, overlay: Mapping[str, Overlay]) -> bool:
    """Whether the inventory and people let a real have new flows."""
    return real.weight > 0 and effective_state(real.address, real.state, overlay) == "active"


def _slow_start(
    checked: Checked, overlay: Mapping[str, Overlay], pair: Pair, old: Verdict | None, now: float
) -> tuple[Verdict | None, float]:
    """The verdict of a real that nobody speaks against, None once it has its whole weight; and when that changes."""
    key, address = pair
    seconds = checked.check(key).slow_start
    if not _is_in(checked.listed[key][address], overlay):
        # So that whoever lets it in does not give it its whole weight at once.
        since = old.since if old is not None and old.reason == WAITING else iso(now)
        return Verdict(str(key), address, "active", since, WAITING, ramp.STEP), math.inf
    if old is None:
        return None, math.inf
    if old.state != "active" or old.reason == WAITING:
        since = iso(now)
    else:
        since = _since_of_start(old, seconds, now)
    share = ramp.share(epoch(since), seconds, now)
    if share >= ramp.FULL:
        return None, math.inf
    return Verdict(str(key), address, "active", since, STARTING, share), ramp.next_step(epoch(since), seconds, now)


def _since_of_start(old: Verdict, seconds: float, now: float) -> str:
    """Since when a real starts slowly that has a share by now.

    No step gives more than STEP, and none takes anything: also where the clock jumped, the agent was away for a while,
    or slow_start is another. Then the real goes on from its share as if it had come to that, or to the next, just now.
    """
    since = epoch(old.since)
    least = max(ramp.STEP, old.share // ramp.STEP * ramp.STEP)
    wanted = ramp.share(since, seconds, now)
    share = min(max(wanted, least), old.share // ramp.STEP * ramp.STEP + ramp.STEP)
    return old.since if share == wanted and since <= now else iso(ramp.begun(share, seconds, now))


# Times


def iso(at: float) -> str:
    """Seconds since the epoch as ISO 8601, to the millisecond; of what no calendar has, the nearest that it has."""
    return datetime.fromtimestamp(min(max(at, 0.0), LATEST), tz=UTC).isoformat(timespec="milliseconds")


def epoch(moment: str) -> float:
    """Seconds since the epoch of what `iso` made; 0 where somebody else made it."""
    try:
        return datetime.fromisoformat(moment).timestamp()
    except (ValueError, OverflowError):
        return 0.0
