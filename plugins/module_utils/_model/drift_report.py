# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a whole fleet has that the inventory has not: what is the same first, then each difference once. Pure."""

from __future__ import annotations

import json
import re
import typing as t
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

from .drift_finding import AHEAD, CHANGED, DIFFERS, KINDS, UNKNOWN, Finding, Since
from .faults import counted, some
from .folding import Folded, fold, names_text

_TIMES = re.compile(r"since (\d{4}-\d\d-\d\dT[\d:.+Z-]+)")
_AFTER = f"{Since().text}, after "
NO_DRIFT, DRIFT = 0, 3
"""Exit statuses; 1 is that of an error."""


@dataclass
class Compared:
    """What one host told. `findings`: nothing is as it should be that one of these says; `compared`: see drift_info."""

    host: str
    roles: Sequence[str]
    findings: list[Finding] = field(default_factory=list)
    notes: Sequence[str] = ()
    compared: Mapping[str, t.Any] = field(default_factory=dict)
    timings: Mapping[str, float] = field(default_factory=dict)


def compared_of(host: str, roles: Sequence[str], result: Mapping[str, t.Any]) -> Compared:
    """What a registered result of module drift_info says. One that failed, or did not answer, is a finding."""
    if result.get("unreachable"):
        reason = " ".join(str(result.get("msg") or "it does not answer").split())
        return Compared(host, roles, [Finding("host", UNKNOWN, f"not reached: {reason}")])
    if "findings" not in result:
        reason = " ".join(str(result.get("msg") or "module drift_info told nothing").split())
        return Compared(host, roles, [Finding("host", UNKNOWN, f"not compared: {reason}")])
    findings = [
        Finding(each["area"], each["kind"], each["what"], Since(**each.get("since", {}))) for each in result["findings"]
    ]
    told = result.get("compared") or {}
    timings = {**result.get("timings", {}), "all": float(result.get("seconds", 0))}
    return Compared(host, roles, findings, result.get("notes", ()), told, timings)


def _groups(said: Mapping[str, t.Hashable]) -> list[tuple[list[str], t.Hashable]]:
    """Which hosts say the same, those that most say first."""
    found = fold(said.items())
    return sorted(((list(each.hosts), each.said) for each in found), key=lambda each: -len(each[0]))


def _sides(sides: Sequence[Sequence[str]]) -> str:
    return " and ".join(map(names_text, sides))


class _Odd(t.NamedTuple):
    """Who says something else than `most` do; or, where nobody can say who is right, `sides` that differ."""

    hosts: Sequence[str] = ()
    most: Sequence[str] = ()
    sides: Sequence[Sequence[str]] = ()


def _odd(said: Mapping[str, t.Hashable], wrong: Collection[str]) -> _Odd:
    """`wrong`: hosts that are known not to be as the inventory says: as long as there are others, those are right."""
    sound = {host: value for host, value in said.items() if host not in wrong} or said
    (most, value), *others = _groups(sound)
    if others and len(others[0][0]) == len(most):
        return _Odd(sides=[most, *(hosts for hosts, _said in others)])
    return _Odd([host for host, own in said.items() if own != value], most)


class Fleet:
    """All hosts beside each other."""

    def __init__(self, hosts: Sequence[Compared]) -> None:
        self.hosts = list(hosts)
        self.balancers = {each.host: each.compared for each in hosts if each.compared.get("program")}
        self.same: list[str] = []
        self._compare_rings()
        self._compare_programs()

    @property
    def findings(self) -> list[tuple[str, Finding]]:
        """Every host's, with its name."""
        return [(each.host, finding) for each in self.hosts for finding in each.findings]

    @property
    def exit_status(self) -> int:
        """3 where anything is not known to be as the inventory says."""
        return DRIFT if self.findings else NO_DRIFT

    def _note(self, host: str, sentence: str) -> None:
        for each in self.hosts:
            if each.host == host:
                each.notes = [*each.notes, sentence]

    def _find(self, host: str, area: str, sentence: str) -> None:
        for each in self.hosts:
            if each.host == host:
                each.findings.append(Finding(area, CHANGED, sentence))

    def _compare_rings(self) -> None:
        """Balancers that were given the same VIP have the same ring, unless a person or a check said otherwise."""
        same = 0
        names = {name for told in self.balancers.values() for name in told.get("rings", {})}
        for name in sorted(names):
            configured: dict[str, list[str]] = {}
            for host, told in self.balancers.items():
                if name in told["rings"]:
                    configured.setdefault(told["configured"].get(name, ""), []).append(host)
            differs = False
            for hosts in configured.values():
                plain = {host: self.balancers[host]["rings"][name] for host in hosts if self._said(host, name) == ""}
                if len(set(plain.values())) > 1:
                    differs = True
                    odd = _odd(plain, self._wrong("vips", f"vip {name}: "))
                    for host in odd.hosts:
                        self._find(host, "vips", f"vip {name}: its ring is another than that of {names_text(odd.most)}")
                    for host in chain(*odd.sides):
                        self._find(host, "vips", f"vip {name}: {_sides(odd.sides)} differ in its ring")
                alike = len({self.balancers[host]["rings"][name] for host in hosts}) == 1
                for host in hosts:
                    why = self._said(host, name)
                    if not why or len(hosts) == 1:
                        continue
                    if alike:
                        self._note(host, f"vip {name}: reals are out {why}")
                    else:
                        self._note(host, f"vip {name}: its ring is this balancer's own: reals are out {why}")
                        differs = True
            same += not differs
        if len(self.balancers) > 1 and same:
            self.same.append(f"the rings of {counted(same, 'VIP')}")

    def _wrong(self, area: str, what: str) -> set[str]:
        """Hosts that by their own comparison are not as they should be in this."""
        return {
            host
            for host, each in self.findings
            if each.area == area and each.kind in (CHANGED, DIFFERS) and what in each.what
        }

    def _said(self, host: str, vip: str) -> str:
        return " and ".join(self.balancers[host].get("words", {}).get(vip, ()))

    def _compare_programs(self) -> None:
        """The same sources, settings and kernel make the same bytecode."""
        made: dict[str, dict[str, str]] = {}
        for host, told in self.balancers.items():
            program = told["program"]
            key = json.dumps([program["made_of"], program["kernel"], program["sources"]], sort_keys=True)
            made.setdefault(key, {})[host] = program["tag"]
        for tags in made.values():
            odd, same = _odd(tags, self._wrong("balancer", "program")), "sources, settings and kernel are the same"
            for host in odd.hosts:
                sentence = f"its program has tag {tags[host] or 'none'}, and that of {names_text(odd.most)}"
                self._find(host, "balancer", f"{sentence} {tags[odd.most[0]] or 'none'}, though {same}")
            if odd.sides:
                sides = " and ".join(f"{names_text(side)} ({tags[side[0]] or 'none'})" for side in odd.sides)
                for host in chain(*odd.sides):
                    self._find(host, "balancer", f"{sides} differ in the program's tag, though {same}")
        every = {told["program"]["tag"] for told in self.balancers.values()}
        if len(self.balancers) > 1 and len(every) == 1:
            self.same.append(f"the program ({every.pop()})")
        for name, what in (("sources", "the program's sources"), ("kernel", "the kernel")):
            found = {told["program"][name] for told in self.balancers.values()}
            if len(self.balancers) > 1 and len(found) == 1:
                self.same.append(what if name == "sources" else f"{what} ({found.pop()})")

    # for people

    def lines(self) -> Iterator[str]:
        """What is the same everywhere, then each difference once with its hosts, then what is no drift."""
        sound = [each.host for each in self.hosts if not each.findings]
        if sound:
            every = "all as the inventory says" if len(sound) == len(self.hosts) else "as the inventory says"
            yield f"{names_text(sound)}: {every}"
        if self.same:
            yield f"the same on {names_text(self.balancers)}: {'; '.join(self.same)}"
        everywhere = [each.host for each in self.hosts]
        folded = fold(((host, finding._replace(since=Since())) for host, finding in self.findings), everywhere)
        for kind, meaning in KINDS.items():
            of_kind = [each for each in folded if each.said.kind == kind]
            if of_kind:
                yield ""
                yield f"{meaning}:"
            for each in of_kind:
                yield from self._told(each)
        yield from self._noted(everywhere)

    def _noted(self, everywhere: Sequence[str]) -> Iterator[str]:
        """What is no drift. What began at another time on each host is told once all the same."""
        plain = [(each.host, _TIMES.sub("since …", note)) for each in self.hosts for note in each.notes]
        whole = {(host, text): note for (host, text), note in zip(plain, self._notes(), strict=True)}
        if plain:
            yield ""
            yield "no drift, but worth knowing:"
        for note in fold(plain, everywhere):
            times = sorted({found for host in note.hosts for found in _TIMES.findall(whole[host, note.said])})
            told = f"since {times[0]}" if len(times) == 1 else f"since {times[0]} to {times[-1]}" if times else ""
            yield f"  {note.names}: {note.said.replace('since …', told, 1)}"

    def _notes(self) -> list[str]:
        return [note for each in self.hosts for note in each.notes]

    def _told(self, group: Folded[Finding]) -> Iterator[str]:
        if group.said.kind == UNKNOWN:
            yield f"  {group.names}: {group.said.what}"
            return
        yield f"  {group.names}: {group.said.area}: {group.said.what}"
        when = self._when({host: self._since(host, group.said) for host in group.hosts})
        if group.said.kind == AHEAD:
            # That is since the inventory changed, of which hosts know nothing.
            when = when.replace(_AFTER, "last applied at ").replace(Since().text, "when it was applied last is unknown")
        yield f"      {when}"

    def _since(self, host: str, finding: Finding) -> Since:
        """Since when this host has it, which differs where the rest is the same."""
        return next(
            each.since for name, each in self.findings if name == host and each._replace(since=Since()) == finding
        )

    @staticmethod
    def _when(times: Mapping[str, Since]) -> str:
        if len(set(times.values())) == 1:
            return next(iter(times.values())).text
        known = sorted(each.at or each.after for each in times.values() if each.at or each.after)
        exact = all(each.at for each in times.values())
        if not known:
            return Since().text
        return f"{'since ' if exact else _AFTER}{known[0]} to {known[-1]}"

    @property
    def summary(self) -> str:
        """The whole in a sentence."""
        roles = Counter(role for each in self.hosts for role in each.roles)
        fleet = " and ".join(counted(roles[role], role) for role in ("balancer", "real") if roles[role])
        bad = [each.host for each in self.hosts if each.findings]
        if not bad:
            return f"no drift: {fleet or 'no host'} as the inventory says"
        unknown = [host for host, finding in self.findings if finding.kind == UNKNOWN]
        # A host of which a part was not compared may differ in the others.
        differ = [host for host, finding in self.findings if finding.kind != UNKNOWN]
        parts = [f"{counted(len(differ), 'difference')} on {some(sorted(set(differ)))}"] if differ else []
        if unknown:
            parts.append(f"not compared: {some(sorted(set(unknown)))}")
        return f"drift: {'; '.join(parts)} ({fleet})"
