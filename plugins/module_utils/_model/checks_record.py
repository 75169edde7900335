# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the agent knows of checks, as /run keeps it: the content of checks.json.

It is what a restart of the agent goes on from, and what people are shown: also when the agent is gone.
"""

from __future__ import annotations

import json
import typing as t
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields

from .checks import CHECK_TYPES, Check, Probe, Target
from .external import Word, whole, words_reader, words_to_json
from .health import HISTORY, STATES, Answer, Change, Health, resumed
from .records import (
    Fault,
    Fields,
    Optional,
    Reader,
    address,
    flag,
    many,
    mapping,
    maybe,
    named,
    number,
    parse_record,
    read_fields,
    record,
    seconds,
    shown,
    text,
    word,
)

SCHEMA = 1
REMEDY = "the agent makes it afresh, and until then the verdicts of state.json hold"
WRITTEN_SECONDS = 2.0
"""A living agent writes the file at least so often, and at once when a verdict changes or a kick is done."""

STALE_SECONDS = 10.0
"""A file older than this was left by an agent that is dead, stopped or stuck."""

_MOST = (1 << 53) - 1


@dataclass(frozen=True)
class ChecksRecord:
    """The content of checks.json.

    `healths`: of every target; `names`: target → the VIPs that ask for it; `degraded`: VIP → why its floor holds reals
    in; `words`: file of verdicts.d → what it said when it was last whole; `at`: when it was written (epoch).
    """

    healths: Mapping[Target, Health] = field(default_factory=dict)
    names: Mapping[Target, Sequence[str]] = field(default_factory=dict)
    degraded: Mapping[str, str] = field(default_factory=dict)
    words: Mapping[str, Sequence[Word]] = field(default_factory=dict)
    at: float = 0.0

    def to_json(self, words: str | None = None) -> str:
        """The file's text: one line per target, so that it can be read. `words`: as JSON, where that is known."""
        probes: dict[Probe, dict[str, t.Any]] = {}
        lines = []
        for target, health in self.healths.items():
            if target.probe not in probes:
                probes[target.probe] = Check(target.probe).to_config()
            found = target_to_data(target, health, self.names.get(target, ()), probes[target.probe])
            lines.append(json.dumps(found))
        if words is None:
            words = whole(words_to_json(self.words))
        rest = {"degraded": json.dumps(dict(self.degraded)), "words": words, "at": json.dumps(self.at)}
        below = "".join(f',\n"{name}": {value}' for name, value in rest.items())
        return f'{{"schema": {SCHEMA},\n"targets": [\n' + ",\n".join(lines) + f"\n]{below}}}\n"

    @classmethod
    def from_json(cls, source: str, path: str) -> ChecksRecord:
        """Read the file's text. StateError names the file and the field at fault."""
        return parse_record(source, path, _record, REMEDY)

    def resumed(self) -> dict[Target, Health]:
        """What a restarted agent goes on from."""
        return {target: resumed(health) for target, health in self.healths.items()}


def target_to_data(
    target: Target, health: Health, names: Iterable[str], probe: Mapping[str, t.Any]
) -> dict[str, t.Any]:
    """One target as the file has it. `probe`: in config's own form."""
    return {
        "real": target.real,
        "address": target.address,
        "port": target.port,
        "type": target.probe.type,
        "probe": probe,
        "state": health.state,
        "since": health.since,
        "reason": health.reason,
        "count": health.count,
        "streak": health.streak,
        "asked": health.asked,
        "last": health.last._asdict() if health.last else None,
        "history": [change._asdict() for change in health.history],
        "vips": list(names),
    }


# How each field is read


_COUNT = number(1, _MOST)
_CODES = many(number(0, 999))
_READERS: Mapping[str, Reader[t.Any]] = {
    "type": word(*CHECK_TYPES),
    "port": number(0, 65535),
    "headers": named(text),
    "status": _CODES,
    "drain_status": _CODES,
    "fall": _COUNT,
    "rise": _COUNT,
}


def _reader_of(name: str, plain: t.Any) -> Reader[t.Any]:
    if name in _READERS:
        return _READERS[name]
    return flag if isinstance(plain, bool) else seconds if isinstance(plain, float) else text


_PROBE: Fields = {
    item.name: _reader_of(item.name, item.default)
    if item.name == "type"
    else Optional(_reader_of(item.name, item.default))
    for item in fields(Probe)
}


def _probe(value: t.Any, where: str) -> Probe:
    return Check.from_config(read_fields(value, where, _PROBE)).probe


_ANSWER = record(
    Answer, state=word("", *STATES), reason=Optional(text), took=Optional(seconds), expires=Optional(seconds)
)
_CHANGE = record(Change, at=seconds, state=word(*STATES), reason=text)
_TARGET: Fields = {
    "real": address,
    "address": text,
    "port": number(0, 65535),
    "probe": _probe,
    "state": word("", *STATES),
    "since": seconds,
    "reason": text,
    "count": number(0, _MOST),
    "streak": word("", *STATES),
    "asked": seconds,
    "last": maybe(_ANSWER),
    "history": many(_CHANGE),
    "vips": many(text),
}
_KEYS = ("real", "address", "port", "probe")
_HEALTH = ("state", "since", "reason", "count", "streak", "asked", "last")


def _record(value: t.Any, where: str) -> ChecksRecord:
    schema = mapping(value, where).get("schema")
    if schema != SCHEMA or isinstance(schema, bool):
        raise Fault("schema", f"{shown(schema)} is not {SCHEMA}")
    healths: dict[Target, Health] = {}
    names: dict[Target, Sequence[str]] = {}

    def target(entry: t.Any, place: str) -> None:
        found = read_fields(entry, place, _TARGET)
        key = Target(*(found[name] for name in _KEYS))
        if key in healths:
            raise Fault(place, f"{key.real} at {key.address}, port {key.port}, is listed twice")
        history = tuple(found["history"][-HISTORY:])
        healths[key] = Health(**{name: found[name] for name in _HEALTH}, history=history)
        names[key] = found["vips"]

    rest: Fields = {
        "targets": many(target),
        "degraded": Optional(named(text)),
        "words": Optional(named(words_reader)),
        "at": seconds,
    }
    read = read_fields(value, where, rest)
    return ChecksRecord(healths, names, read.get("degraded", {}), read.get("words", {}), read["at"])
