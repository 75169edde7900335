# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Balancers of the same VIPs whose rings differ: a connection that a router moves to another breaks. Pure: no I/O."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence

from .faults import some
from .inventory import canonical

Key = tuple[str, str, str]
Ring = frozenset[tuple[str, str, str]]


class Announcer(t.NamedTuple):
    """A balancer as a router sees it: its `zone`, and the `neighbors` to which it announces."""

    zone: str
    neighbors: frozenset[str]

    def meets(self, other: Announcer) -> str:
        """Why one router may send to both, in words; empty where none is known to."""
        if self.neighbors & other.neighbors:
            return f"which announces to {some(sorted(self.neighbors & other.neighbors))} too"
        # Of which routers there are, nobody who says no neighbor tells anything.
        if self.zone == other.zone and not (self.neighbors and other.neighbors):
            return "which is in the same zone" if self.zone else "to which the same router may send"
        return ""


def rings_of(vips: Sequence[t.Any]) -> dict[Key, Ring]:
    """VIP → what makes its ring: address, weight and state of its reals. Entries need not be valid."""
    return {
        (canonical(vip.get("address")), str(vip.get("port")), str(vip.get("protocol"))): frozenset(
            (canonical(real.get("address")), _told(real, "weight", "1"), _told(real, "state", "active"))
            for real in vip["reals"]
            if isinstance(real, Mapping)
        )
        for vip in vips
        if isinstance(vip, Mapping) and isinstance(vip.get("reals"), (list, tuple))
    }


def _told(real: Mapping[str, t.Any], name: str, default: str) -> str:
    value = real.get(name)
    return default if value is None else str(value)


def ring_warnings(rings: Mapping[str, Mapping[Key, Ring]], announcers: Mapping[str, Announcer]) -> dict[str, list[str]]:
    """Balancer → how its VIPs' reals differ from those of others to which the same router may send.

    `rings`: balancer → its own, the same object for those that have the same.
    """
    alike: dict[int, list[str]] = {}
    for host, own in rings.items():
        alike.setdefault(id(own), []).append(host)
    found: dict[str, list[str]] = {}
    sets = list(alike.values())
    for number, hosts in enumerate(sets):
        for others in sets[:number] + sets[number + 1 :]:
            differ = _differing(rings[hosts[0]], rings[others[0]])
            if not differ:
                continue
            for host in hosts:
                met = [(other, why) for other in others if (why := announcers[host].meets(announcers[other]))]
                if met:
                    found.setdefault(host, []).append(_sentence(differ, met[0][0], met[0][1]))
    return found


def _differing(mine: Mapping[Key, Ring], theirs: Mapping[Key, Ring]) -> list[Key]:
    return [key for key in mine if key in theirs and mine[key] != theirs[key]]


def _sentence(keys: Sequence[Key], other: str, why: str) -> str:
    names = some([" ".join(key) for key in keys])
    return (
        f"katran_vips: the reals of {names} are not those that they have on {other}, {why}: a connection that comes to"
        " the other balancer goes to another real and breaks"
    )
