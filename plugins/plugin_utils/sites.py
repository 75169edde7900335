# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which reals take part at a site: weights per zone, and the zones that help where the near one is too weak. Pure.

All of it is decided of what the inventory says, and is the same until that changes: what checks say of reals moves
within a VIP, and never brings another zone in.
"""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence

from ansible_collections.katran.fleet.plugins.module_utils._model.vips import MAX_WEIGHT, REAL_STATES
from ansible_collections.katran.fleet.plugins.module_utils._model.written import number_fault


class Candidate(t.NamedTuple):
    """A real as its variables have it. `weight` None: the default; `zones`: katran_real_zones."""

    host: str
    zone: str
    weight: t.Any = None
    state: t.Any = None
    zones: Mapping[str, Mapping[str, t.Any]] = {}

    def at(self, zone: str) -> Candidate:
        """The same as balancers of a zone have it."""
        own = self.zones.get(zone, {})
        return self._replace(weight=own.get("weight", self.weight), state=own.get("state", self.state))

    def is_near(self, zone: str) -> bool:
        """Whether balancers of a zone take it for one of their own."""
        return self.zone == zone or "weight" in self.zones.get(zone, {})

    @property
    def whole(self) -> int:
        """Its weight, as a number; what is none, module vips tells."""
        if self.weight is None:
            return 1
        return int(self.weight) if number_fault(self.weight) is None else 1

    @property
    def active(self) -> int:
        """Its weight if it takes new flows."""
        return self.whole if self.state in (None, "active") else 0


def zones_fault(zones: t.Any) -> str | None:
    """What is wrong with katran_real_zones of a host, in a sentence."""
    if not isinstance(zones, Mapping):
        return f"katran_real_zones: {zones!s:.80} is no mapping of zones"
    for zone, own in zones.items():
        if not isinstance(own, Mapping) or not own:
            return f"katran_real_zones.{zone}: {own!s:.80} is no mapping of weight and state"
        for name, value in own.items():
            if name not in ("weight", "state"):
                return f"katran_real_zones.{zone}.{name}: there is no such option; there are weight, state"
            if name == "state" and value not in REAL_STATES:
                return f"katran_real_zones.{zone}.state: {value!s:.80} is none of {', '.join(REAL_STATES)}"
            if name == "weight" and (number_fault(value) or not 0 <= int(value) <= MAX_WEIGHT):
                return f"katran_real_zones.{zone}.weight: {value!s:.80} is not a weight (0 to {MAX_WEIGHT})"
    return None


def at_site(
    candidates: Sequence[Candidate], zone: str, spill: int = 0, fallback: Sequence[str] | None = None
) -> list[Candidate]:
    """The reals as balancers of a zone have them, in their order; those that do not take part have weight 0.

    Near are the reals of the zone itself, and those to which katran_real_zones gives a weight there. `spill`: per cent.
    While active near reals have less than that of the weight of all near ones, or none at all, others help: all
    together, or in the order of `fallback`, a zone at a time until there is enough. A helping real has its own weight.
    """
    here = [each.at(zone) for each in candidates]
    near = [each.is_near(zone) for each in here]
    whole = sum(each.whole for each, is_near in zip(here, near, strict=True) if is_near)
    active = sum(each.active for each, is_near in zip(here, near, strict=True) if is_near)
    helping: set[str] = set()
    others = dict.fromkeys(each.zone for each, is_near in zip(here, near, strict=True) if not is_near)
    # All zones together are one step.
    for step in [list(others)] if fallback is None else [[each] for each in fallback]:
        if active > 0 and active * 100 >= whole * spill:
            break
        helping.update(step)
        active += sum(
            each.active for each, is_near in zip(here, near, strict=True) if not is_near and each.zone in step
        )
    return [
        each if is_near or each.zone in helping else each._replace(weight=0)
        for each, is_near in zip(here, near, strict=True)
    ]


def at_site_by_family(
    candidates: Sequence[Candidate],
    families: Sequence[Sequence[str]],
    zone: str,
    spill: int = 0,
    fallback: Sequence[str] | None = None,
) -> list[dict[str, Candidate]]:
    """The same for each family of a real's addresses, since a VIP's reals mostly are of its family alone.

    `families`: those of each real. Where no near real has a family, what holds for all of them holds for it.
    """
    found = [
        dict.fromkeys(own, each) for each, own in zip(at_site(candidates, zone, spill, fallback), families, strict=True)
    ]
    for family in dict.fromkeys(each for own in families for each in own):
        of = [number for number, own in enumerate(families) if family in own]
        if any(candidates[number].is_near(zone) for number in of):
            for number, each in zip(
                of, at_site([candidates[number] for number in of], zone, spill, fallback), strict=True
            ):
                found[number][family] = each
    return found
