# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who answered for the report, who did not and why, and how things are told in few words. Pure."""

from __future__ import annotations

import typing as t
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from functools import cache

from ..faults import counted, some
from ..folding import names_text, natural

_LONGEST = 300
_NAMED = 3
"""As many VIPs are named where many have the same to say."""

Facts = Mapping[str, t.Any]
H = t.TypeVar("H", bound=Hashable)


class Told(t.NamedTuple):
    """One balancer of the inventory. `facts`: as module report_info has them; `why`: in their place, why not."""

    host: str
    facts: Facts
    why: str = ""

    @property
    def answered(self) -> bool:
        """Whether a balancer is there and told of itself."""
        return not self.why


def told_of(host: str, result: Mapping[str, t.Any]) -> Told:
    """What a registered result of module report_info says; one of a task that failed, or timed out, says why."""
    facts = result.get("facts")
    if isinstance(facts, Mapping):
        if facts.get("installed"):
            return Told(host, facts)
        return Told(host, {}, f"there is no balancer of instance {facts.get('instance', 'default')} on it")
    wrote = str(result.get("module_stderr") or result.get("exception") or "").strip().rpartition("\n")[2]
    words = " ".join(str(result.get("msg") or wrote or "no reason was given").split())[:_LONGEST]
    return Told(host, {}, f"it does not answer: {words}" if result.get("unreachable") else words)


def vips_text(vips: Collection[str]) -> str:
    """What has to be said of these VIPs: one by its name, several by their number and the first names."""
    names = list(vips)
    return names[0] if len(names) == 1 else f"{counted(len(names), 'VIP')}: {some(names, _NAMED)}"


@cache
def named(hosts: tuple[str, ...]) -> str:
    """Hosts in few words. Many VIPs ask for the same ones."""
    return names_text(hosts)


def is_one(values: Iterable[Hashable]) -> bool:
    """Whether all say the same."""
    return len(set(values)) < 2


def sides(said: Mapping[str, H]) -> list[tuple[tuple[str, ...], H]]:
    """Which hosts say the same, in natural order; what most say first. `said`: host → what it says."""
    found: dict[H, list[str]] = {}
    for host in sorted(said, key=natural):
        found.setdefault(said[host], []).append(host)
    return [(tuple(names), each) for each, names in sorted(found.items(), key=lambda item: -len(item[1]))]


def by_vip(told: Sequence[Told]) -> dict[str, dict[str, Facts]]:
    """VIP → host that has it → what it tells of it; VIPs in the order of the first host that has them."""
    found: dict[str, dict[str, Facts]] = {}
    for each in told:
        for vip in each.facts.get("vips", ()):
            found.setdefault(vip["vip"], {})[each.host] = vip
    return found
