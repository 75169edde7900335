# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The VIPs of a fleet, and the share of each real: what the rings give it, and what is seen of it. Pure.

What is seen are entries of connection tables. What is expected of a real is its share of each balancer's ring, weighted
by the flows that were looked at there: so balancers with different rings, or little traffic, do not blur it.
"""

from __future__ import annotations

import math
import typing as t
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from .hosts import Facts, Told, by_vip, named
from .told import numbers

CHANCE = 4.0
"""Standard deviations beyond which a share is not chance: of a hundred thousand shares, chance takes six so far."""

POINTS = 0.01
"""A smaller difference of a share is not worth a word, chance or not."""

WHOLE = 10_000
"""Expected shares are told to the page's script in this many parts."""


class Share(t.NamedTuple):
    """A real of a VIP. `expected`, `seen`: shares of 1, `seen` 0 where no flow is; `flows`: those that are."""

    real: str
    expected: float
    seen: float
    flows: int
    is_odd: bool


@dataclass(frozen=True)
class VipRow:
    """A VIP in the whole fleet.

    `states`: state → hosts in few words; `reals_in`: the fewest and the most on any balancer; `astray`: flows to reals
    that it has no more; `worst`: the share that is furthest from what is expected, None where nothing was seen.
    """

    vip: str
    hosts: int
    states: Mapping[str, str]
    reals: int
    reals_in: tuple[int, int]
    packets: int
    bytes: int
    flows: int
    astray: int
    shares: tuple[Share, ...]
    worst: Share | None

    @property
    def is_served(self) -> bool:
        """Whether every balancer that has it takes traffic for it: a real that is out keeps nobody from that."""
        return bool(self.reals_in[0]) and set(self.states) <= {"announced", "ready"}

    @property
    def level(self) -> str:
        """Its mark: error where it is down anywhere, warning where it is not announced everywhere, else ""."""
        if "down" in self.states or not self.reals_in[0]:
            return "error"
        odd = set(self.states) - {"announced", "ready"} or len(self.states) > 1
        return "warning" if odd or self.reals_in[0] < self.reals else ""


def vip_rows(told: Sequence[Told]) -> list[VipRow]:
    """Every VIP of every balancer that answered."""
    known: dict[t.Hashable, _Pool] = {}
    lists: dict[tuple[str, ...], int] = {}
    pools = {each.host: _pools(each.facts, lists, known) for each in told}
    return [
        _row(vip, hosts, {host: pools[host][own["pool"]] for host, own in hosts.items()})
        for vip, hosts in by_vip(told).items()
    ]


class _Pool(t.NamedTuple):
    """Reals and their shares of a ring. Balancers that have the same one have this very object."""

    reals: tuple[str, ...]
    shares: tuple[float, ...]


def _pools(facts: Facts, lists: dict[tuple[str, ...], int], known: dict[t.Hashable, _Pool]) -> list[_Pool]:
    """The pools of one balancer. `lists`: reals of balancers → a number, as a long list takes long to look up."""
    names, size = tuple(facts["reals"]), facts.get("ring_size") or 0
    number = lists.setdefault(names, len(lists))
    found = []
    for pool in facts.get("pools", ()):
        key = number, size, pool["reals"], pool["slots"]
        if key not in known:
            reals = tuple(names[place] for place in numbers(pool["reals"]))
            known[key] = _Pool(reals, tuple(slots / size if size else 0.0 for slots in numbers(pool["slots"])))
        found.append(known[key])
    return found


@dataclass
class _Sum:
    """Of one real: what is expected, what chance may take off or add, and what was seen; its shares of rings."""

    expected: float = 0.0
    variance: float = 0.0
    flows: int = 0
    shares: float = 0.0


def _row(vip: str, hosts: Mapping[str, Facts], pools: Mapping[str, _Pool]) -> VipRow:
    # Fifty balancers mostly have one pool: their flows are added up before anything is reckoned.
    alike: dict[int, tuple[_Pool, list[str]]] = {}
    for host in hosts:
        alike.setdefault(id(pools[host]), (pools[host], []))[1].append(host)
    sums: dict[str, _Sum] = {}
    total = 0
    for pool, names in alike.values():
        rows = [numbers(text) for name in names if (text := hosts[name]["flows"])]
        flows = list(map(sum, zip(*rows, strict=True))) if rows else [0] * len(pool.reals)
        here = sum(flows)
        total += here
        for real, share, count in zip(pool.reals, pool.shares, flows, strict=True):
            found = sums.setdefault(real, _Sum())
            found.shares += share * len(names)
            found.flows += count
            found.expected += here * share
            found.variance += here * share * (1 - share)
    shares = tuple(_share(real, each, total, len(hosts)) for real, each in sums.items())
    where: dict[str, list[str]] = {}
    for host, own in hosts.items():
        where.setdefault(own["state"], []).append(host)
    return VipRow(
        vip,
        len(hosts),
        {state: named(tuple(names)) for state, names in sorted(where.items(), key=lambda item: -len(item[1]))},
        max(own["reals"] for own in hosts.values()),
        (min(own["reals_in"] for own in hosts.values()), max(own["reals_in"] for own in hosts.values())),
        sum(own["packets"] for own in hosts.values()),
        sum(own["bytes"] for own in hosts.values()),
        total,
        sum(own["astray"] for own in hosts.values()),
        shares,
        max(shares, key=lambda each: (each.is_odd, abs(each.seen - each.expected)), default=None) if total else None,
    )


def _share(real: str, found: _Sum, total: int, hosts: int) -> Share:
    if not total:
        return Share(real, found.shares / hosts, 0.0, 0, False)
    far = abs(found.flows - found.expected)
    odd = far > POINTS * total and far > CHANCE * math.sqrt(found.variance + 1)
    return Share(real, found.expected / total, found.flows / total, found.flows, odd)


class RealRow(t.NamedTuple):
    """A real in the whole fleet. `vips`: in how many; `said`: what is said of it where it is not in, by whom."""

    real: str
    vips: int
    flows: int
    packets: int
    said: str


def real_rows(told: Sequence[Told], vips: Sequence[VipRow]) -> list[RealRow]:
    """Every real, those that are out of some VIP first, then those with most packets."""
    flows, packets = Counter[str](), Counter[str]()
    for each in told:
        names = each.facts.get("reals", ())
        for real, count in zip(names, numbers(each.facts.get("real_flows", "")), strict=False):
            flows[real] += count
        for real, count in zip(names, numbers(each.facts.get("real_packets", "")), strict=False):
            packets[real] += count
    has = Counter(share.real for vip in vips for share in vip.shares)
    said: dict[str, dict[str, None]] = {}
    for each in told:
        for row in each.facts.get("out", ()):
            word = f"held by {row['by']}" if row["held"] else f"{row['state']} by {row['by']}"
            said.setdefault(row["real"], {})[word] = None
    rows = [
        RealRow(real, has[real], flows[real], packets[real], ", ".join(said.get(real, ())))
        for real in dict.fromkeys([*has, *packets])
    ]
    return sorted(rows, key=lambda row: (not row.said, -row.packets))


# For the page's script

_DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_FIVE_BITS = 32


def packed(values: Iterable[int]) -> str:
    """Numbers of 0 and more, five bits in each character, the lowest first; all but a number's last have the sixth."""
    found = []
    for value in values:
        left = value
        while left >= _FIVE_BITS:
            found.append(_DIGITS[left % _FIVE_BITS + _FIVE_BITS])
            left //= _FIVE_BITS
        found.append(_DIGITS[left])
    return "".join(found)


def packed_shares(vips: Sequence[VipRow]) -> dict[str, t.Any]:
    """Every share of every VIP, in as few characters as it takes.

    `reals`: addresses; `lists`: the places in `reals` of a VIP's, each as its distance from the one before;
    `expected`: in parts of `whole`; `vips`: of each VIP the numbers of its list and of its expected shares, its flows,
    and for each real by how many these differ from what is expected (2 n, or 2 n - 1 where they are fewer); `odd`: of
    VIPs that have some, the places in their lists of shares that are not chance.
    """
    reals: dict[str, int] = {}
    lists: dict[str, int] = {}
    expected: dict[str, int] = {}
    rows: list[list[t.Any]] = []
    odd: dict[int, list[int]] = {}
    # The first list gives the order; of others the places rise, which makes their distances small.
    for vip in vips:
        for share in vip.shares:
            reals.setdefault(share.real, len(reals))
    for number, vip in enumerate(vips):
        shares = sorted(vip.shares, key=lambda share: reals[share.real])
        places = [reals[share.real] for share in shares]
        own = packed([place - before for before, place in zip([0, *places], places, strict=False)])
        parts = [round(share.expected * WHOLE) for share in shares]
        off = [
            share.flows - (part * vip.flows + WHOLE // 2) // WHOLE for share, part in zip(shares, parts, strict=True)
        ]
        flows = packed([2 * each if each >= 0 else -2 * each - 1 for each in off]) if vip.flows else ""
        told = expected.setdefault(packed(parts), len(expected))
        rows.append([lists.setdefault(own, len(lists)), told, vip.flows, flows])
        if found := [place for place, share in enumerate(shares) if share.is_odd]:
            odd[number] = found
    return {
        "whole": WHOLE,
        "reals": list(reals),
        "lists": list(lists),
        "expected": list(expected),
        "vips": rows,
        "odd": odd,
    }
