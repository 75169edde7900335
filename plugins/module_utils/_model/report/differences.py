# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What differs between the balancers of a fleet. Pure."""

from __future__ import annotations

import json
import typing as t
from collections.abc import Callable, Mapping, Sequence

from ..faults import counted, some
from ..folding import names_text
from .hosts import Facts, Told, by_vip, is_one, sides, vips_text

_UNSEEN = "–"
_NAMED = 8
"""As many reals are named of those that somebody said something of."""

_WORDS = 3
ByVip = Mapping[str, Mapping[str, Facts]]


Sides = tuple[tuple[str, str], ...]


class Difference(t.NamedTuple):
    """One thing in which balancers differ. `sides`: (hosts in few words, what they have), what most have first.

    `most`: whether more have the first than any other; else nobody is the odd one out.
    """

    what: str
    sides: Sides
    most: bool = True


class Compared(t.NamedTuple):
    """What differs, what matters most first; and what is the same on all that answered, in a few words each."""

    differences: list[Difference]
    same: list[str]


def compare(told: Sequence[Told]) -> Compared:
    """Every balancer that answered, beside each other. One alone differs from nobody."""
    answered = [each for each in told if each.answered]
    found = Compared([], [])
    if len(answered) < 2:
        return found
    facts = {each.host: each.facts for each in answered}
    _compare(found, facts, "Program", _program, "program {}")
    _compare(found, facts, "Runs", _runs, "{}")
    has = by_vip(answered)
    _vip_sets(found, frozenset(facts), has)
    _configurations(found, has)
    _rings(found, has)
    _states(found, has)
    _compare(found, facts, "Drained", _drained, "none is drained", plain=True)
    _compare(found, facts, "Agent", lambda each: str(each.get("agent", _UNSEEN)), "agent {}")
    _compare(found, facts, "Reals by hand", _by_hand, "{}")
    _compare(found, facts, "Program's sources", _sources, "sources {}")
    _settings(found, facts)
    _compare(found, facts, "Kernel", lambda each: str(each.get("kernel", _UNSEEN)), "kernel {}")
    return found


def _compare(
    found: Compared,
    facts: Mapping[str, Facts],
    what: str,
    said: Callable[[Facts], str],
    same: str,
    plain: bool = False,
) -> None:
    """One value. `same`: how it is told where all have it; `plain`: only where it is nothing out of the ordinary."""
    groups = sides({host: said(each) for host, each in facts.items()})
    if len(groups) > 1:
        found.differences.append(_difference(what, groups))
    elif not plain or groups[0][1] == _NOT_DRAINED:
        found.same.append(same.format(groups[0][1]))


def _program(facts: Facts) -> str:
    if not facts.get("loaded"):
        return "not loaded"
    return str((facts.get("program") or {}).get("tag") or "not pinned")


def _sources(facts: Facts) -> str:
    return str(facts.get("sources") or _UNSEEN)[:16]


def _runs(facts: Facts) -> str:
    """In which modes it is attached: the interfaces' names are each host's own."""
    places = facts.get("attached") or []
    wrong = sum(1 for each in places if each["wrong"])
    if wrong or not places:
        return f"not attached to {counted(wrong, 'interface')} that it is to run on" if wrong else "attached to nothing"
    modes = sorted({str(each["mode"] or "in a slot of a root program") for each in places})
    return f"attached, {' and '.join(modes)}"


_NOT_DRAINED = "takes part"


def _drained(facts: Facts) -> str:
    drained = facts.get("drained")
    if not drained:
        return _NOT_DRAINED
    return f"drained by {drained['by']}: {'routes withdrawn' if drained['withdraw'] else 'traffic asked to leave'}"


def _by_hand(facts: Facts) -> str:
    words = facts.get("by_hand") or {}
    told = [f"{real} {word['state']}" for real, word in sorted(words.items())]
    if not told:
        return "no real by hand"
    return some(told, _NAMED)


def _settings(found: Compared, facts: Mapping[str, Facts]) -> None:
    flat = {host: _flat(each.get("made_of") or {}) for host, each in facts.items()}
    names = sorted({name for each in flat.values() for name in each})
    before = len(found.differences)
    for name in names:
        groups = sides({host: each.get(name, _UNSEEN) for host, each in flat.items()})
        if len(groups) > 1:
            found.differences.append(_difference(f"Setting {name}", groups))
    if len(found.differences) == before and names:
        found.same.append("settings")


def _flat(settings: Mapping[str, t.Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            found |= {f"{name}.{inner}": _shown(each) for inner, each in value.items()}
        else:
            found[name] = _shown(value)
    return found


def _shown(value: t.Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return value if isinstance(value, str) and value else json.dumps(value)


def _difference(what: str, groups: Sequence[tuple[tuple[str, ...], str]]) -> Difference:
    """Of two groups of hosts or more, the largest first."""
    most = len(groups[0][0]) > len(groups[1][0])
    return Difference(what, tuple((names_text(hosts), value) for hosts, value in groups), most)


def _folded(found: Compared, what: str, each: Mapping[str, Difference]) -> None:
    """VIPs in which the same hosts differ in the same way, told once."""
    groups: dict[Difference, list[str]] = {}
    for vip, told in each.items():
        groups.setdefault(told, []).append(vip)
    for told, vips in groups.items():
        found.differences.append(told._replace(what=f"{what} of {vips_text(vips)}"))


def _vip_sets(found: Compared, every: frozenset[str], has: ByVip) -> None:
    groups: dict[frozenset[str], list[str]] = {}
    for vip, hosts in has.items():
        if len(hosts) != len(every):
            groups.setdefault(frozenset(hosts), []).append(vip)
    for who, vips in groups.items():
        where = [(tuple(who), "has"), (tuple(every - who), "has not")]
        where.sort(key=lambda side: -len(side[0]))
        found.differences.append(_difference(f"Who has {vips_text(vips)}", where))
    if has and not groups:
        found.same.append(counted(len(has), "VIP"))


def _configurations(found: Compared, has: ByVip) -> None:
    each = {}
    for vip, hosts in has.items():
        if not is_one(own["configured"] for own in hosts.values()):
            groups = sides({host: str(own["configured"]) for host, own in hosts.items()})
            told = [
                (names, f"{_letter(place)} configuration" if digest else "none on record")
                for place, (names, digest) in enumerate(groups)
            ]
            each[vip] = _difference("", told)
    _folded(found, "Configuration", each)


def _letter(place: int) -> str:
    """One configuration, another, and so on: what they are would take a page."""
    return ("one", "another", "a third")[place] if place < _WORDS else f"a {place + 1}th"


def _rings(found: Compared, has: ByVip) -> None:
    """Balancers that were given the same VIP have the same ring, unless a person or a check said otherwise."""
    each, same = {}, 0
    for vip, hosts in has.items():
        if is_one(own["ring"] for own in hosts.values()):
            same += 1
            continue
        configured: dict[str, list[str]] = {}
        for host, own in hosts.items():
            configured.setdefault(own["configured"], []).append(host)
        for names in configured.values():
            groups = sides({host: _ring(hosts[host]) for host in names})
            if not is_one(digest for _hosts, (digest, _why) in groups):
                told = [
                    (members, f"{_letter(place)} ring{why}") for place, (members, (_digest, why)) in enumerate(groups)
                ]
                each[vip] = _difference("", told)
    _folded(found, "Ring", each)
    if same:
        found.same.append(f"rings of {counted(same, 'VIP')}")


def _ring(vip: Facts) -> tuple[str, str]:
    words = " and ".join(vip["words"])
    edited = ", changed by somebody else" if vip["edited"] else ""
    empty = ", empty" if not vip["ring"] else ""
    return vip["ring"], f"{empty}{f', as reals are out {words}' if words else ''}{edited}"


def _states(found: Compared, has: ByVip) -> None:
    each, announced = {}, 0
    for vip, hosts in has.items():
        if is_one(own["state"] for own in hosts.values()):
            announced += next(iter(hosts.values()))["state"] == "announced"
            continue
        groups = sides({host: (str(own["state"]), "; ".join(own["reasons"])) for host, own in hosts.items()})
        each[vip] = _difference("", [(names, f"{state}{f': {why}' if why else ''}") for names, (state, why) in groups])
    _folded(found, "State", each)
    if announced:
        found.same.append(f"{counted(announced, 'VIP')} announced")
