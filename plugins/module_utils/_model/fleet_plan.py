# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What changes between two inventories of a fleet, and how it is said: text, Markdown, JSON. Pure."""

from __future__ import annotations

import re
import typing as t
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from .faults import counted, some
from .folding import names_text
from .settings import COMPILED

FEW = 3
"""As many names are written where there are too many to write them all."""

MOST_LINES = 200
"""Lines that one group of hosts gets in a text; JSON has all."""

MARKDOWN_ROOM = 60_000
"""Characters: GitHub takes 65,536 in a comment, GitLab more."""

NO_CHANGE, CHANGES, ERROR = 0, 2, 1
"""The exit statuses."""


@dataclass(frozen=True)
class VipDelta:
    """What becomes of one VIP.

    `moved`: ring slots that lead to another real, of `slots`; both 0 where it is not there before or after.
    """

    vip: str
    changes: tuple[str, ...]
    moved: int = 0
    slots: int = 0

    @property
    def percent(self) -> float:
        """The share of its flows that moves: those that no connection table has are spread evenly over the slots."""
        return 100 * self.moved / self.slots if self.slots else 0.0


@dataclass
class HostDelta:
    """What becomes of hosts that all change alike. `role`: balancer or real.

    `settings`: a line for each setting that changes; `vips`: those that change; `tables`: a line for each entry of
    another table; `operations`: resource → map → entries that a run writes on each host; `changes`: resource → the
    sentences of its module; `fault`: why a run would stop; `accept_rehash`: whether it needs that.
    """

    role: str
    hosts: list[str] = field(default_factory=list)
    settings: list[str] = field(default_factory=list)
    vips: list[VipDelta] = field(default_factory=list)
    tables: list[str] = field(default_factory=list)
    operations: dict[str, dict[str, int]] = field(default_factory=dict)
    changes: dict[str, list[str]] = field(default_factory=dict)
    fault: str = ""
    accept_rehash: bool = False

    @property
    def is_change(self) -> bool:
        """Whether anything changes."""
        return bool(self.settings or self.vips or self.tables or self.operations or self.fault)

    @property
    def writes(self) -> dict[str, int]:
        """Map → entries written, of all resources together."""
        found: dict[str, int] = {}
        for operations in self.operations.values():
            for name, number in operations.items():
                found[name] = found.get(name, 0) + number
        return dict(sorted(found.items()))


@dataclass
class FleetPlan:
    """What changes between the inventories `old` and `new`.

    `hosts`: role → how many there are in the new one; `added`, `removed`: role → hosts; `faults`: what is wrong with
    the new one, each with its hosts, none where it is nobody's alone; `warnings`: likewise what may surprise there and
    did not before; `old_faults`: why parts of the old one cannot be compared with; `notes`: how they were read.
    """

    old: str
    new: str
    hosts: dict[str, int] = field(default_factory=dict)
    added: dict[str, list[str]] = field(default_factory=dict)
    removed: dict[str, list[str]] = field(default_factory=dict)
    deltas: list[HostDelta] = field(default_factory=list)
    faults: list[dict[str, t.Any]] = field(default_factory=list)
    warnings: list[dict[str, t.Any]] = field(default_factory=list)
    old_faults: list[dict[str, t.Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def status(self) -> int:
        """The exit status."""
        if self.faults or self.old_faults or any(each.fault for each in self.deltas):
            return ERROR
        return CHANGES if self.deltas or any(self.added.values()) or any(self.removed.values()) else NO_CHANGE

    @property
    def summary(self) -> str:
        """All of it in a sentence."""
        parts = []
        for role in ("balancer", "real"):
            changed = len({host for each in self.deltas if each.role == role for host in each.hosts})
            total = self.hosts.get(role, 0)
            parts += [f"{changed} of {counted(total, role)} changed"] if changed else []
            for word, names in (("added", self.added.get(role)), ("removed", self.removed.get(role))):
                parts += [f"{counted(len(names), role)} {word}"] if names else []
        faults = len(self.faults) + len(self.old_faults) + sum(bool(each.fault) for each in self.deltas)
        if faults:
            parts.append(counted(faults, "fault"))
        return "; ".join(parts) or "nothing changes"

    def lines(self, most: int = MOST_LINES) -> list[str]:
        """The text for people."""
        return [clean(line) for line in self._lines(most)]

    def _lines(self, most: int) -> Iterator[str]:
        yield f"plan: {self.old} → {self.new}"
        yield from (f"  {note}" for note in self.notes)
        for title, found in (
            (f"faults of {self.old}", self.old_faults),
            (f"faults of {self.new}", self.faults),
            ("warnings", self.warnings),
        ):
            yield from _told(title, found)
        for role in ("balancer", "real"):
            for word, names in (("added", self.added.get(role)), ("removed", self.removed.get(role))):
                if names:
                    yield f"{counted(len(names), role)} {word}: {short_names(names)}"
            if self.added.get(role) and role == "real":
                yield "  a deploy prepares them before any balancer sends there"
            if self.removed.get(role):
                yield f"  nothing on them is changed: take {role}s off with katran.fleet.remove"
        for each in self.deltas:
            yield from _delta_lines(each, self.hosts.get(each.role, 0), most)
        yield f"{self.summary}"

    def markdown(self) -> str:
        """A comment for a merge request: nothing that an inventory says is taken for Markdown or HTML."""
        text = "\n".join(self.lines())
        if len(text) > MARKDOWN_ROOM:
            cut = text[:MARKDOWN_ROOM].rpartition("\n")[0]
            text = f"{cut}\n… {text.count(chr(10)) - cut.count(chr(10))} more lines are in the job's log"
        ticks = max((len(found) for found in re.findall("`+", text)), default=0)
        fence = "`" * max(3, ticks + 1)
        title = {NO_CHANGE: "no change", CHANGES: "changes", ERROR: "faults"}[self.status]
        return f"### katran.fleet plan: {title}\n\n{fence}text\n{text}\n{fence}\n"

    def to_data(self) -> dict[str, t.Any]:
        """Everything, for programs."""
        deltas = [
            {
                **asdict(each),
                "vips": [{**asdict(vip), "percent": round(vip.percent, 2)} for vip in each.vips],
                "writes": each.writes,
            }
            for each in self.deltas
        ]
        return {**asdict(self), "deltas": deltas, "exit_status": self.status, "summary": clean(self.summary)}


def _told(title: str, found: Sequence[Mapping[str, t.Any]]) -> Iterator[str]:
    if found:
        yield f"{title}:"
    for each in found:
        hosts = f"{short_names(each['hosts'])}: " if each["hosts"] else ""
        yield f"  {hosts}{each['fault']}"


def _delta_lines(delta: HostDelta, number: int, most: int) -> Iterator[str]:
    same = "all " if number == len(delta.hosts) > 1 else ""
    yield f"{same}{counted(len(delta.hosts), delta.role)}: {short_names(delta.hosts)}"
    body = [*delta.settings, *_vip_lines(delta.vips), *delta.tables]
    yield from (f"  {line}" for line in body[:most])
    if len(body) > most:
        yield f"  … and {len(body) - most} more lines (katran_plan_json has all)"
    if delta.accept_rehash:
        yield "  a deploy stops here unless katran_accept_rehash is true: do it on the whole fleet at once"
    if delta.fault:
        yield f"  a deploy stops here: {delta.fault}"
    if delta.writes:
        each = "writes on each" if len(delta.hosts) > 1 else "writes"
        yield f"  {each}: {', '.join(f'{name} {number}' for name, number in delta.writes.items())}"


def _vip_lines(vips: Iterable[VipDelta]) -> Iterator[str]:
    """The VIPs that change, those that change alike in one line for each change."""
    alike: dict[tuple[str, ...], list[VipDelta]] = {}
    for each in vips:
        alike.setdefault(each.changes, []).append(each)
    for changes, found in alike.items():
        if len(found) == 1:
            who = f"vip {found[0].vip}"
        else:
            who = f"{len(found)} VIPs ({_few([each.vip for each in found])})"
        moved = _moved(found)
        if len(changes) == 1:
            yield f"{who}: {changes[0]}{f'; {moved}' if moved else ''}"
        else:
            yield f"{who}:{f' {moved}' if moved else ''}"
            yield from (f"  {change}" for change in changes)


def _moved(vips: Sequence[VipDelta]) -> str:
    shares = sorted(each.percent for each in vips if each.slots)
    if not shares or not shares[-1]:
        return ""
    low, high = _percent(shares[0]), _percent(shares[-1])
    whose = "its" if len(vips) == 1 else "their"
    return f"{low if low == high else f'{low}–{high}'} % of {whose} flows move"


def _percent(share: float) -> str:
    return "under 0.1" if 0 < share < 0.1 else f"{share:.1f}"


def _few(names: Sequence[str]) -> str:
    # Instead of "and 1 more", that one.
    return some(names, FEW if len(names) > FEW + 1 else FEW + 1)


def short_names(names: Sequence[str]) -> str:
    """Names of hosts in few words, however they are called."""
    text = names_text(names)
    return text if len(text) <= 80 or len(names) <= FEW else some(names, FEW)


def clean(text: str) -> str:
    """A text as one line that does to a terminal and a page nothing but be there."""
    return "".join(_shown(letter) for letter in text)


def _shown(letter: str) -> str:
    # Controls, and what turns the direction of text or breaks a line.
    return f"\\u{ord(letter):04x}" if unicodedata.category(letter) in ("Cc", "Cf", "Zl", "Zp", "Cs") else letter


# Settings


HIDDEN = frozenset(("sync_key", "password"))
"""Options whose values nobody is to read."""

_OF_SIZES = {
    "vips": "seeds the flow hash",
    "ring": "seeds the flow hash, and every ring is another",
    "flows": "the connection tables are made anew, with the flows that there are",
    "global_flows": "the connection tables are made anew, with the flows that there are",
}

EFFECTS: Mapping[str, str] = {
    **dict.fromkeys(COMPILED, "the program is compiled anew and takes the present one's place"),
    **dict.fromkeys(("interfaces", "mode", "root_array"), "the program moves"),
    **dict.fromkeys(("instance", "bpffs"), "another balancer comes beside that of before, which stays: remove it"),
    **dict.fromkeys(("forwarding_cores", "numa"), "connection tables are made or moved"),
    **dict.fromkeys(("metrics_listen", "metrics_allow"), "the agent's socket is made anew"),
    **dict.fromkeys(
        ("sync", "sync_key", "sync_port", "sync_address", "sync_peers"), "the agent's flow exchange starts anew"
    ),
    "bgp": "bird reads its configuration anew",
}
"""Setting → what a deploy does for it, beyond writing it down."""


def setting_lines(before: Mapping[str, t.Any], after: Mapping[str, t.Any]) -> list[str]:
    """A line for each setting that differs. Lists are told by what comes and goes, mappings by what is in them."""
    found = []
    for name in sorted({*before, *after}):
        was, now = before.get(name), after.get(name)
        if was != now:
            found += _setting(name, name, was, now)
    return found


def _setting(name: str, option: str, was: t.Any, now: t.Any) -> list[str]:
    if isinstance(was, Mapping) and isinstance(now, Mapping):
        keys = sorted({*was, *now}, key=str)
        return [
            line
            for key in keys
            if was.get(key) != now.get(key)
            for line in _setting(f"{name}.{key}", option, was.get(key), now.get(key))
        ]
    effect = EFFECTS.get(option, "")
    if option == "sizes":
        effect = _OF_SIZES.get(name.removeprefix("sizes."), "its maps are made anew, with what they hold")
    return [f"{name}: {_difference(name, was, now)}{f' ({effect})' if effect else ''}"]


def _difference(name: str, was: t.Any, now: t.Any) -> str:
    if name.rpartition(".")[2] in HIDDEN:
        return "set" if not was else "taken away" if not now else "changed"
    if isinstance(was, list) and isinstance(now, list) and not any(isinstance(each, Mapping) for each in (*was, *now)):
        signs = [f"+ {each}" for each in now if each not in was] + [f"− {each}" for each in was if each not in now]
        if signs:
            return _few(signs)
        return "in another order"
    return f"{_value(was)} → {_value(now)}"


def _value(value: t.Any) -> str:
    if value is None or value in ("", [], {}):
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (Mapping, list)):
        masked = masked_value(value)
        text = str(masked)
        return text if len(text) <= 80 else f"{text[:80]}…"
    return str(value)


def masked_value(value: t.Any) -> t.Any:
    """A value without what nobody is to read."""
    if isinstance(value, Mapping):
        return {key: "(hidden)" if str(key) in HIDDEN and item else masked_value(item) for key, item in value.items()}
    return [masked_value(item) for item in value] if isinstance(value, list) else value
