# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Verdicts: what checks say of a real in a VIP, and how that meets the inventory's word and a person's.

A person's word stands in the place of the inventory's. Of that and the check's the stricter counts, down > draining >
active, except that checks never take more of a VIP's active weight than its floor leaves.
"""

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from .addresses import address_order
from .checks import Check
from .faults import shortened, some
from .overlay import Overlay, effective_state, overlay_of
from .state import State
from .vips import Vip, VipKey, VipReal

_STRICT = {"active": 0, "draining": 1, "down": 2}
_FULL = 100
STARTING = "slow start"
WAITING = "slow start once it is let in"
"""Reasons of verdicts that are active: the share grows; and it will, once nobody has the real out any more."""


class Verdict(t.NamedTuple):
    """What checks say of a real in a VIP, where that is not simply that it is active.

    `vip`: as str() makes it of a VIP's key; `state`: active, draining or down; `since`: ISO 8601; `reason`: in a few
    words; `share`: per cent of its weight that the real has while it slowly starts.
    """

    vip: str
    real: str
    state: str
    since: str
    reason: str = ""
    share: int = _FULL


OfVip = Mapping[str, Verdict]
"""Real → what checks say of it in one VIP."""


class Combined(t.NamedTuple):
    """What all words together make of a VIP.

    `reals`: as the VIP has them, in its order, with the state that counts and the weight that they have in the ring;
    `out`: the reals that checks made stricter; `held`: those that checks would take out, had the floor not kept them.
    """

    reals: tuple[VipReal, ...]
    out: OfVip
    held: OfVip


def combine(vip: Vip, overlay: Mapping[str, Overlay], verdicts: OfVip) -> Combined:
    """The one rule by which the inventory's word, a person's and the checks' meet.

    Reals go out worst first: down before draining, then those that failed first, then by address; each that would leave
    less than Check.min_healthy per cent of the weight that is active without checks stays in. Where a member of the
    ring has but a share of its weight, all weights are in hundredths: maglev_v2 makes the same ring of weights in the
    same proportion. maglev_v1 does not, and so ignores shares.
    """
    reals = vip.reals
    if overlay:
        reals = tuple(
            real._replace(state=effective_state(real.address, real.state, overlay)) if real.address in overlay else real
            for real in reals
        )
    if vip.check is None or not verdicts:
        return Combined(reals, {}, {})
    out, held = _judged(reals, vip.check, verdicts)
    if out:
        reals = tuple(real._replace(state=out[real.address].state) if real.address in out else real for real in reals)
    if vip.hash != "maglev_v1":
        shares = {real.address: share for real in reals if (share := _share(real, verdicts)) < _FULL}
        if shares:
            reals = tuple(real._replace(weight=real.weight * shares.get(real.address, _FULL)) for real in reals)
    return Combined(reals, out, held)


def _judged(reals: Iterable[VipReal], check: Check, verdicts: OfVip) -> tuple[dict[str, Verdict], dict[str, Verdict]]:
    """Which reals checks take out, and which the floor keeps in."""
    weights = {real.address: real.weight for real in reals if real.state == "active"}
    total = left = sum(weights.values())
    judged = (
        verdicts[real.address]
        for real in reals
        if real.address in verdicts and _STRICT[verdicts[real.address].state] > _STRICT[real.state]
    )
    out, held = {}, {}
    for verdict in sorted(judged, key=_worst_first):
        weight = weights.get(verdict.real, 0)
        if weight and (left - weight) * 100 < check.min_healthy * total:
            held[verdict.real] = verdict
        else:
            left -= weight
            out[verdict.real] = verdict
    return out, held


def _worst_first(verdict: Verdict) -> tuple[t.Any, ...]:
    return -_STRICT[verdict.state], verdict.since, address_order(verdict.real)


def _share(real: VipReal, verdicts: OfVip) -> int:
    """Per cent of its weight that a real has. It never has none: that would take it out."""
    verdict = verdicts.get(real.address)
    if verdict is None or verdict.state != "active" or real.state != "active" or not real.weight:
        return _FULL
    return max(verdict.share, 1)


# What was said, of all VIPs


@dataclass(frozen=True)
class Words:
    """What was said of reals beside the inventory: by hand (real → word), and by checks (VIP's name → real → word)."""

    overlay: Mapping[str, Overlay] = field(default_factory=dict)
    verdicts: Mapping[str, OfVip] = field(default_factory=dict)
    _known: dict[VipKey, tuple[Vip, Combined]] = field(default_factory=dict, repr=False, compare=False)

    def combined(self, vip: Vip) -> Combined:
        """What becomes of a VIP."""
        if not self.overlay and not self.verdicts:
            return Combined(vip.reals, {}, {})
        known = self._known.get(vip.key)
        if known is None or known[0] is not vip:
            verdicts = self.verdicts.get(str(vip.key), {}) if self.verdicts else {}
            known = self._known[vip.key] = vip, combine(vip, self.overlay, verdicts)
        return known[1]

    def listed(self) -> list[dict[str, t.Any]]:
        """The verdicts as state.json has them, in their order."""
        return [each._asdict() for said in self.verdicts.values() for each in said.values()]


NO_WORDS = Words()


def words_of(state: State) -> Words:
    """What was said, as the last run left it."""
    return Words(overlay_of(state), by_vip(Verdict(**entry) for entry in state.verdicts))


def by_vip(verdicts: Iterable[Verdict]) -> dict[str, dict[str, Verdict]]:
    """VIP's name → real → verdict, in whatever order they come: of two for one real, the stricter counts."""
    found: dict[str, dict[str, Verdict]] = {}
    for verdict in verdicts:
        said = found.setdefault(verdict.vip, {})
        other = said.get(verdict.real)
        if other is None or _precedence(verdict) < _precedence(other):
            said[verdict.real] = verdict
    return found


def _precedence(verdict: Verdict) -> tuple[t.Any, ...]:
    return -_STRICT[verdict.state], verdict.share, verdict.since, verdict.reason


def that_count(verdicts: Mapping[str, OfVip], vips: Mapping[VipKey, Vip]) -> dict[str, dict[str, Verdict]]:
    """The verdicts that say something: of VIPs with a check, of reals that these have, and not plainly active.

    Sorted by VIP, and as these have their reals.
    """
    found = {}
    for key in sorted(vips) if verdicts else ():
        said, vip = verdicts.get(str(key)), vips[key]
        if said and vip.check is not None:
            kept = {
                real.address: verdict
                for real in vip.reals
                if (verdict := said.get(real.address)) and (verdict.state, verdict.share) != ("active", _FULL)
            }
            if kept:
                found[str(key)] = kept
    return found


def newly_down(
    before: tuple[Mapping[VipKey, Vip], Words], after: tuple[Mapping[VipKey, Vip], Words], moves: bool = True
) -> dict[VipKey, frozenset[str]]:
    """VIP → the reals that checks have down now, of which the flows are to be removed. Each is (VIPs, words).

    Not where Check.on_down keeps them, nor where the VIP's down set moves them; `moves`: whether the program can.
    """
    (known, was), (wanted, now) = before, after
    found = {}
    for key in sorted(wanted) if now.verdicts else ():
        vip, old = wanted[key], known.get(key)
        moved = moves and key.protocol == "udp" and "udp_flow_migration" in vip.flags
        if vip.check is None or vip.check.on_down != "purge" or moved:
            continue
        out = _dead(vip, now) - (_dead(old, was) if old is not None else set())
        if out:
            found[key] = frozenset(out)
    return found


def _dead(vip: Vip, words: Words) -> set[str]:
    """The reals that are down, and that checks say are, whoever said so first."""
    said = words.verdicts.get(str(vip.key))
    if not said:
        return set()
    bad = {real for real, verdict in said.items() if verdict.state == "down"}
    return {real.address for real in words.combined(vip).reals if real.state == "down" and real.address in bad}


# In words


def by_check(verdict: Verdict) -> str:
    """Such as: down by check (connection refused)."""
    return f"{verdict.state} by check{f' ({verdict.reason})' if verdict.reason else ''}"


def degraded(vips: Mapping[VipKey, Vip], words: Words) -> dict[VipKey, str]:
    """The VIPs whose floor keeps reals in that checks would take out → a sentence that says so."""
    found = {}
    for key in sorted(vips) if words.verdicts else ():
        vip, held = vips[key], words.combined(vips[key]).held
        if held and vip.check is not None:
            reals = [
                f"{each.real} ({each.state}{f': {each.reason}' if each.reason else ''})"
                for each in sorted(held.values(), key=_worst_first)
            ]
            stay = "stays" if len(reals) == 1 else "stay"
            found[key] = f"{some(reals)} {stay} in: min_healthy is {vip.check.min_healthy} %"
    return found


def out_by_check(vips: Mapping[VipKey, Vip], words: Words) -> list[str]:
    """A warning for each real that checks took out, and for each VIP whose floor keeps some in."""
    found: dict[tuple[str, str], list[Verdict]] = {}
    for key in sorted(vips) if words.verdicts else ():
        for verdict in words.combined(vips[key]).out.values():
            found.setdefault((verdict.real, verdict.reason), []).append(verdict)
    lines = []
    for (real, reason), verdicts in sorted(found.items(), key=lambda item: (address_order(item[0][0]), item[0][1])):
        where = f"vip{'' if len(verdicts) == 1 else 's'} {some([each.vip for each in verdicts])}"
        since = min(each.since for each in verdicts)
        lines.append(f"real {real} is out of {where} by check since {since}{f' ({reason})' if reason else ''}")
    return shortened(lines, "and {} more reals that are out by check") + told_degraded(vips, words)


def told_degraded(vips: Mapping[VipKey, Vip], words: Words) -> list[str]:
    """A warning for each VIP whose floor keeps reals in that checks would take out."""
    lines = [f"vip {key} is degraded: {why}" for key, why in degraded(vips, words).items()]
    return shortened(lines, "and {} more VIPs that are degraded")
