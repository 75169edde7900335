# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How two configurations of a balancer differ: in sentences, and entry by entry."""

from __future__ import annotations

import difflib
import json
import re
import typing as t
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from .resources import RESOURCES
from .state import State
from .tables import BALANCER_TABLES
from .vip_changes import vip_changes
from .vips import vips_from_config

Row = Mapping[str, t.Any]

SETTINGS = "balancer"
"""What a difference of settings or of the program is under, beside the resources."""


@dataclass(frozen=True)
class Configuration:
    """All that somebody configured: settings, the program's tag and digest, rows by resource."""

    settings: Row = field(default_factory=dict)
    tag: str = ""
    digest: str = ""
    rows: Mapping[str, Sequence[Row]] = field(default_factory=dict)


def configuration_of(state: State | None, tables: Mapping[str, Sequence[Row]]) -> Configuration:
    """That of a state and the rows of its tables. None: there was no balancer."""
    if state is None:
        return Configuration(rows=dict(tables))
    overlay = [{"address": each["address"], "state": each["state"]} for each in state.overlay]
    rows = {"vips": state.vips, "reals": overlay, **tables}
    return Configuration(state.settings, state.program.tag or "", state.program.source_digest or "", rows)


class Change(t.NamedTuple):
    """One entry that differs: its name, and its row before and after; None where there is none."""

    name: str
    before: Row | None
    after: Row | None


@dataclass(frozen=True)
class Difference:
    """`lines`: a sentence each; `changes`: resource, or balancer → the entries that differ."""

    lines: list[str]
    changes: dict[str, list[Change]]


def difference(old: Configuration, new: Configuration) -> Difference:
    """How the one became the other."""
    lines, changes = _of_program(old, new), {}
    settings = {name for name in {*old.settings, *new.settings} if old.settings.get(name) != new.settings.get(name)}
    if settings:
        was, now = (
            {name: side.settings[name] for name in sorted(settings & side.settings.keys())} for side in (old, new)
        )
        changes[SETTINGS] = [Change("settings", was, now)]
    for name in ("vips", "reals", *BALANCER_TABLES):
        before, after = old.rows.get(name, ()), new.rows.get(name, ())
        if list(before) == list(after):
            continue
        title = RESOURCES[name].title
        was, now = ({title(row): row for row in rows} for rows in (before, after))
        found = [
            Change(each, was.get(each), now.get(each)) for each in {**was, **now} if was.get(each) != now.get(each)
        ]
        if found:
            changes[name] = found
            lines += _sentences(name, before, after, found)
    return Difference(lines, changes)


def _of_program(old: Configuration, new: Configuration) -> list[str]:
    lines = []
    if (old.tag, old.digest) != (new.tag, new.digest):
        lines.append(f"program {old.tag or 'none'} → {new.tag or 'none'}")
    for name in sorted({*old.settings, *new.settings}):
        was, now = old.settings.get(name), new.settings.get(name)
        if was != now and old.settings and new.settings:
            lines.append(f"setting {name}: {_word(was)} → {_word(now)}")
    return lines


def _word(value: t.Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _sentences(name: str, before: Sequence[Row], after: Sequence[Row], found: Iterable[Change]) -> list[str]:
    if name == "vips":
        return vip_changes(vips_from_config(list(before)), vips_from_config(list(after)))
    value = "state" if name == "reals" else BALANCER_TABLES[name].value
    lines = []
    for each in found:
        was, now = (_word(row[value]) if row is not None else None for row in (each.before, each.after))
        verb = f"added ({now})" if was is None else "removed" if now is None else f"{was} → {now}"
        lines.append(f"{each.name}: {verb}")
    return lines


def unified(found: Difference, before: str, after: str, most: int = 100) -> list[str]:
    """The lines of a unified diff of the entries that differ, each under its name, as YAML.

    `before`, `after`: what the sides are called; `most`: as many entries are shown.
    """
    lines: list[str] = []
    changes = [(name, each) for name, entries in found.changes.items() for each in entries]
    for _name, each in changes[:most]:
        was, now = (yaml_lines(row) if row is not None else [] for row in (each.before, each.after))
        lines += difflib.unified_diff(was, now, f"{each.name} ({before})", f"{each.name} ({after})", lineterm="")
    if len(changes) > most:
        lines.append(f"# and {len(changes) - most} more changed entries (--json has all)")
    return lines


_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./-]*|[0-9a-f]+(\.[0-9]+){3}(/[0-9]+)?", re.ASCII)
_NO_TEXT = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})
"""What YAML reads as something else than a text."""


def yaml_lines(value: t.Any, indent: str = "") -> list[str]:
    """A value of JSON as lines of YAML, keys sorted. Hosts have no PyYAML for it."""
    if isinstance(value, Mapping) and value:
        lines = []
        for name in sorted(value):
            below = yaml_lines(value[name], f"{indent}  ")
            if _is_block(value[name]):
                lines += [f"{indent}{_scalar(name)}:", *below]
            else:
                lines.append(f"{indent}{_scalar(name)}: {below[0].strip()}")
        return lines
    if isinstance(value, (list, tuple)) and value:
        lines = []
        for each in value:
            below = yaml_lines(each, f"{indent}  ")
            lines += [f"{indent}- {below[0].strip()}", *below[1:]]
        return lines
    return [f"{indent}{_scalar(value)}"]


def _is_block(value: t.Any) -> bool:
    return isinstance(value, (Mapping, list, tuple)) and bool(value)


def _scalar(value: t.Any) -> str:
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _NO_TEXT:
        return value
    # What JSON writes, YAML reads.
    return json.dumps(value)
