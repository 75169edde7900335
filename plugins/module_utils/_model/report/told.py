# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What one balancer tells for the report of its fleet, in as few values as that takes. Pure.

VIPs of the same reals and slots share a *pool*, and rows of numbers are texts: of 512 VIPs with 100 reals, Ansible then
has some thousand values to carry, not a hundred thousand.
"""

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Mapping, Sequence

from ..status import RealOfVip, VipStatus

Flows = Mapping[tuple[str, str], int]
"""(VIP, real) → entries of the connection tables."""

FEW = 3
"""As many VIPs are named of those that a real is out of."""


def row(numbers: Iterable[int]) -> str:
    """Numbers as a text."""
    return " ".join(map(str, numbers))


def numbers(text: str) -> list[int]:
    """The numbers of such a text."""
    return list(map(int, text.split()))


class Pools:
    """Reals and slots of VIPs, each combination once."""

    def __init__(self, reals: Sequence[str]) -> None:
        self._places = {real: place for place, real in enumerate(reals)}
        self._known: dict[tuple[str, str], int] = {}
        self.reals = list(reals)

    def of(self, members: Sequence[RealOfVip]) -> int:
        """The number of the pool that a VIP has."""
        for each in members:
            if each.real not in self._places:
                self._places[each.real] = len(self.reals)
                self.reals.append(each.real)
        key = row(self._places[each.real] for each in members), row(each.slots for each in members)
        return self._known.setdefault(key, len(self._known))

    def listed(self) -> list[dict[str, str]]:
        """Each pool: the places of its reals in `reals`, and their slots."""
        return [{"reals": reals, "slots": slots} for reals, slots in self._known]


def told_vips(vips: Iterable[VipStatus], pools: Pools, flows: Flows) -> list[dict[str, t.Any]]:
    """Each VIP with the number of its pool, and in the pool's order the flows to each real.

    `astray`: flows to reals that it has no more.
    """
    every: dict[str, int] = {}
    for (name, _real), count in flows.items():
        every[name] = every.get(name, 0) + count
    found = []
    for vip in vips:
        counts = [flows.get((vip.vip, each.real), 0) for each in vip.members]
        found.append(
            {
                "vip": vip.vip,
                "state": vip.state,
                "reasons": list(vip.reasons),
                "degraded": vip.degraded,
                "since": vip.since,
                "reals": vip.reals,
                "reals_in": vip.reals_in,
                "edited": vip.edited,
                "packets": vip.packets,
                "bytes": vip.bytes,
                "pool": pools.of(vip.members),
                "flows": row(counts) if any(counts) else "",
                "astray": every.get(vip.vip, 0) - sum(counts),
            }
        )
    return found


def told_out(vips: Iterable[VipStatus]) -> list[dict[str, t.Any]]:
    """Every real that takes no new flows of some VIP, or would not but for the VIP's floor, with the first of these."""
    found: dict[tuple[t.Any, ...], list[str]] = {}
    for vip in vips:
        for each in vip.members:
            if each.state != "active" or each.held or each.by == "ring":
                key = each.real, each.state, each.by, each.since or "", each.reason, each.held
                found.setdefault(key, []).append(vip.vip)
    names = ("real", "state", "by", "since", "reason", "held")
    return [
        {**dict(zip(names, key, strict=True)), "vips": len(where), "first": where[:FEW]} for key, where in found.items()
    ]
