# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with the balancers of a fleet, what is out of service, and by whose word. Pure."""

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Sequence

from ..faults import counted
from ..folding import fold, names_text
from .hosts import Told, vips_text

ERROR, WARNING = "error", "warning"
MOST = 200
"""As many rows of a list are written; how many more there are is said."""


class Trouble(t.NamedTuple):
    """A finding of doctor, or what stands for one, with the hosts that have it."""

    level: str
    name: str
    about: str
    hosts: str
    cause: str
    remedy: str = ""


class Out(t.NamedTuple):
    """A real that takes no new flows, or would not but for its VIP's floor. `vips`: in how many; `first`: some."""

    real: str
    state: str
    by: str
    since: str
    hosts: str
    vips: int
    first: str
    reason: str


class Unannounced(t.NamedTuple):
    """VIPs that are not announced as they might be, or that their floor keeps going, on some hosts."""

    vips: str
    state: str
    hosts: str
    why: str


class Health(t.NamedTuple):
    """All of it, what is worst first."""

    troubles: list[Trouble]
    out: list[Out]
    unannounced: list[Unannounced]
    notes: list[tuple[str, str]]
    """(hosts, what is to be known of what they told)."""

    @property
    def errors(self) -> int:
        """How many troubles lose packets or are about to."""
        return sum(each.level == ERROR for each in self.troubles)

    @property
    def warnings(self) -> int:
        """How many do not yet."""
        return len(self.troubles) - self.errors


def health_of(told: Sequence[Told]) -> Health:
    """Of every balancer, those that did not answer first."""
    return Health(_troubles(told), _out(told), _unannounced(told), _notes(told))


def _troubles(told: Sequence[Told]) -> list[Trouble]:
    silent = fold((each.host, each.why) for each in told if not each.answered)
    found = [
        Trouble(ERROR, "no answer", "", each.names, each.said, "see to the host, then write the report again")
        for each in silent
    ]
    every = fold((each.host, _key(finding)) for each in told for finding in each.facts.get("findings", ()))
    for level in (ERROR, WARNING):
        found += [
            Trouble(level, *said[1:3], each.names, *said[3:]) for each in every if (said := each.said)[0] == level
        ]
    # What the status says is wrong, where doctor found no cause.
    bare = (
        (each.host, problem)
        for each in told
        if not any(finding["error"] for finding in each.facts.get("findings", ()))
        for problem in each.facts.get("problems", ())
    )
    found += [Trouble(ERROR, "status", "", each.names, each.said) for each in fold(bare)]
    return sorted(found, key=lambda each: each.level != ERROR)


def _key(finding: t.Mapping[str, t.Any]) -> tuple[str, str, str, str, str]:
    level = ERROR if finding["error"] else WARNING
    return level, str(finding["name"]), str(finding["about"]), str(finding["cause"]), str(finding["remedy"])


def _span(times: Iterable[str]) -> str:
    """The first, and where they differ the last too."""
    known = sorted({each[:16].replace("T", " ") for each in times if each})
    return "" if not known else known[0] if len(known) == 1 else f"{known[0]} to {known[-1]}"


def _out(told: Sequence[Told]) -> list[Out]:
    groups: dict[tuple[str, ...], list[tuple[str, t.Mapping[str, t.Any]]]] = {}
    for each in told:
        for row in each.facts.get("out", ()):
            key = tuple(str(row[name]) for name in ("real", "state", "by", "reason", "held"))
            groups.setdefault(key, []).append((each.host, row))
    found = []
    for (real, state, by, reason, held), rows in groups.items():
        why = f"stays in, though checks say {held}: its VIP's floor keeps it" if held else reason
        most = max((row for _host, row in rows), key=lambda row: int(row["vips"]))
        found.append(
            Out(
                real,
                "held" if held else state,
                by,
                _span(row["since"] for _host, row in rows),
                names_text(host for host, _row in rows),
                int(most["vips"]),
                _first(most),
                why,
            )
        )
    order = {"check": 0, "ring": 1, "hand": 2, "inventory": 3}
    return sorted(found, key=lambda each: (order.get(each.by, 4), each.state != "held"))


def _first(row: t.Mapping[str, t.Any]) -> str:
    names, more = ", ".join(row["first"]), int(row["vips"]) - len(row["first"])
    return f"{names} and {more} more" if more > 0 else names


def _unannounced(told: Sequence[Told]) -> list[Unannounced]:
    said: dict[tuple[str, str], dict[str, list[str]]] = {}
    for each in told:
        for vip in each.facts.get("vips", ()):
            if vip["state"] not in ("announced", "ready"):
                key = str(vip["state"]), "; ".join(vip["reasons"])
                said.setdefault(key, {}).setdefault(vip["vip"], []).append(each.host)
            if vip["degraded"]:
                said.setdefault(("degraded", vip["degraded"]), {}).setdefault(vip["vip"], []).append(each.host)
    found = []
    for (state, why), vips in said.items():
        where: dict[tuple[str, ...], list[str]] = {}
        for vip, hosts in vips.items():
            where.setdefault(tuple(hosts), []).append(vip)
        found += [Unannounced(vips_text(names), state, names_text(hosts), why) for hosts, names in where.items()]
    order = {"down": 0, "withdrawn": 1, "degraded": 2}
    return sorted(found, key=lambda each: order.get(each.state, 3))


def _notes(told: Sequence[Told]) -> list[tuple[str, str]]:
    return [(each.names, each.said) for each in fold((e.host, str(n)) for e in told for n in e.facts.get("notes", ()))]


def health_text(health: Health) -> str:
    """In a few words."""
    if not health.troubles:
        return "nothing is wrong"
    return f"{counted(health.errors, 'error')} and {counted(health.warnings, 'warning')}"
