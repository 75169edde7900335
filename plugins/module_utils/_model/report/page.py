# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of a fleet as its page shows it, of what the balancers told. Pure."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..counters import DENIED
from ..faults import counted, some
from ..folding import names_text, natural
from .differences import Compared, compare
from .health import Health, health_of
from .hosts import Facts, Told
from .vips import RealRow, VipRow, real_rows, vip_rows

DROPS: t.Final = {
    "ring_slot_empty": "the VIP's ring leads to no real: all of its reals are out, or it has none",
    "real_outside_map": "a ring or table names a real that is in no map",
    "encapsulation_failures_v4": "the frame has no room for the tunnel's header (IPv4)",
    "encapsulation_failures_v6": "the frame has no room for the tunnel's header (IPv6)",
    DENIED: "the VIP's lists of clients keep the source out",
}
"""Counter → why these packets were dropped."""

OTHER = "malformed or other"
MOST_REALS = 256
MOST_RUNS = 60


class DropRow(t.NamedTuple):
    """A reason. `share`: of all frames that balancers saw; `most`: where most of them were dropped."""

    reason: str
    why: str
    packets: int
    share: float
    most: str


class TableRow(t.NamedTuple):
    """Tables of flows of one kind on one balancer; `fullest`: the share of the fullest that is used."""

    host: str
    table: str
    tables: int
    entries: int
    capacity: int
    fullest: float
    exact: bool


class BalancerRow(t.NamedTuple):
    """A balancer of the inventory. `state`: in few words; `level`: error, warning or ""."""

    host: str
    state: str
    level: str
    agent: str
    announced: int
    vips: int
    fill: float
    frames: int
    dropped: int
    last: str


class ProgramRow(t.NamedTuple):
    """What runs on a balancer."""

    host: str
    tag: str
    sources: str
    encapsulation: str
    features: str
    runs: str
    kernel: str
    gateway: str


class RunRow(t.NamedTuple):
    """A run that changed balancers, or an entry of one balancer's history that no run of a playbook made."""

    began: str
    user: str
    revision: str
    run: str
    hosts: str
    what: str


@dataclass(frozen=True)
class Report:
    """Everything that the page shows."""

    told: Sequence[Told]
    compared: Compared
    health: Health
    balancers: list[BalancerRow]
    vips: list[VipRow]
    reals: list[RealRow]
    drops: list[DropRow]
    tables: list[TableRow]
    programs: list[ProgramRow]
    runs: list[RunRow]

    @property
    def answered(self) -> list[Told]:
        """Who told of itself."""
        return [each for each in self.told if each.answered]

    @property
    def looked(self) -> int:
        """The entries of connection tables that were looked at."""
        return sum(int(each.facts.get("looked", 0)) for each in self.told)

    @property
    def flows(self) -> int:
        """Those of them that are of a VIP and of a real that it has."""
        return sum(each.flows for each in self.vips)

    @property
    def frames(self) -> int:
        """Frames that all balancers saw since their programs' maps were made."""
        return sum(each.frames for each in self.balancers)

    @property
    def summary(self) -> str:
        """The whole in a sentence."""
        silent = len(self.told) - len(self.answered)
        fleet = f"{counted(len(self.vips), 'VIP')} over {counted(len(self.told), 'balancer')}"
        parts = [
            f"{counted(silent, 'balancer')} without an answer" if silent else "",
            counted(len(self.compared.differences), "difference") if self.compared.differences else "",
            counted(self.health.errors, "error") if self.health.errors else "",
            counted(self.health.warnings, "warning") if self.health.warnings else "",
        ]
        told = ", ".join(part for part in parts if part)
        return f"{told or 'nothing differs and nothing is wrong'} ({fleet})"


def report_of(told: Sequence[Told]) -> Report:
    """The report of these balancers, in natural order of their names."""
    told = sorted(told, key=lambda each: natural(each.host))
    answered = [each for each in told if each.answered]
    vips = vip_rows(answered)
    return Report(
        told,
        compare(told),
        health_of(told),
        [_balancer(each) for each in told],
        vips,
        real_rows(answered, vips),
        _drops(answered),
        [row for each in answered for row in _tables(each)],
        [_program(each) for each in answered],
        _runs(answered),
    )


def _balancer(told: Told) -> BalancerRow:
    facts = told.facts
    if not told.answered:
        return BalancerRow(told.host, "no answer", "error", "", 0, 0, 0.0, 0, 0, "")
    vips = facts.get("vips", ())
    counters: Mapping[str, int] = facts.get("counters") or {}
    errors = sum(bool(each["error"]) for each in facts.get("findings", ()))
    warnings = len(facts.get("findings", ())) - errors
    state, level = "well", ""
    if not facts.get("loaded"):
        state, level = "not loaded", "error"
    elif errors:
        state, level = counted(errors, "error"), "error"
    elif facts.get("drained"):
        state, level = "drained", "warning"
    elif warnings or facts.get("problems") or facts.get("differences"):
        state, level = counted(warnings or 1, "warning"), "warning"
    last = [entry for entry in facts.get("history", ()) if entry["kind"] != "before"]
    main = [each for each in facts.get("tables", ()) if each["table"] == "lru_mapping"]
    return BalancerRow(
        told.host,
        state,
        level,
        str(facts.get("agent", "")),
        sum(vip["state"] == "announced" for vip in vips),
        len(vips),
        max((_share(each["entries"], each["capacity"]) for each in main), default=0.0),
        counters.get("frames_seen", 0),
        counters.get("frames_dropped", 0),
        minute(last[-1]["began"]) if last else "",
    )


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def minute(moment: str) -> str:
    """A time in ISO 8601 to the minute, as people write it."""
    return moment[:16].replace("T", " ")


def _drops(told: Sequence[Told]) -> list[DropRow]:
    each = {one.host: one.facts.get("counters") or {} for one in told}
    seen = sum(counters.get("frames_seen", 0) for counters in each.values())
    known = {host: sum(counters.get(name, 0) for name in DROPS) for host, counters in each.items()}
    found = []
    for name, why in DROPS.items():
        found.append(_drop(name, why, {host: counters.get(name, 0) for host, counters in each.items()}, seen))
    rest = {host: max(0, counters.get("frames_dropped", 0) - known[host]) for host, counters in each.items()}
    found.append(_drop(OTHER, "no counter of its own: headers that are cut short or contradict each other", rest, seen))
    return sorted(found, key=lambda row: -row.packets)


def _drop(name: str, why: str, counts: Mapping[str, int], seen: int) -> DropRow:
    total = sum(counts.values())
    most = sorted((host for host in counts if counts[host]), key=lambda host: -counts[host])
    told = [f"{host} {counts[host] * 100 / total:.0f} %" for host in most]
    return DropRow(name.replace("_", " "), why, total, _share(total, seen), some(told, 3) if told else "")


def _tables(told: Told) -> list[TableRow]:
    return [
        TableRow(
            told.host,
            each["table"],
            each["tables"],
            each["entries"],
            each["capacity"],
            _share(*each["fullest"]),
            each["exact"],
        )
        for each in told.facts.get("tables", ())
    ]


def _program(told: Told) -> ProgramRow:
    facts = told.facts
    program: Facts = facts.get("program") or {}
    runs = [f"{each['place'].removeprefix('interface ')} ({each['mode'] or 'slot'})" for each in facts["attached"]]
    return ProgramRow(
        told.host,
        str(program.get("tag") or "none"),
        str(facts.get("sources", ""))[:12],
        str(program.get("encapsulation") or ""),
        ", ".join(program.get("features") or ()),
        ", ".join(runs) or "nowhere",
        str(facts.get("kernel", "")),
        str(program.get("gateway_mac") or "unknown"),
    )


def _runs(told: Sequence[Told]) -> list[RunRow]:
    """Newest first. What a run of a playbook did to several balancers is one row."""
    groups: dict[str, list[tuple[str, t.Mapping[str, t.Any]]]] = {}
    for each in told:
        for entry in each.facts.get("history", ()):
            if entry["kind"] != "before":
                key = entry["run"] or f"{each.host} {entry['number']}"
                groups.setdefault(key, []).append((each.host, entry))
    found = []
    for entries in groups.values():
        first = min((entry for _host, entry in entries), key=lambda entry: str(entry["began"]))
        said: dict[str, list[str]] = {}
        for host, entry in entries:
            said.setdefault(entry["what"], []).append(host)
        texts = sorted(said, key=lambda text: -len(said[text]))
        what = texts[0] if len(texts) == 1 else f"{texts[0]} ({names_text(said[texts[0]])}); {len(texts) - 1} more"
        hosts = names_text(host for host, _entry in entries)
        found.append(RunRow(minute(first["began"]), first["user"], first["revision"], first["run"][:8], hosts, what))
    return sorted(found, key=lambda row: row.began, reverse=True)
