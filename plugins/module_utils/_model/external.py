# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Words of others about reals: the files of verdicts.d, which feeders such as Consul or Kubernetes write.

A file is a list of {vip, real, state, until}. `vip` is a VIP's name, such as 198.51.100.1:443/tcp, or less of it:
198.51.100.1 is all VIPs there. `until`: ISO 8601 with a time zone, or seconds since the epoch: a word counts before it
alone, so what a dead feeder said ends by itself. A file that is damaged counts as it was when it was last whole; one
that is gone says nothing.
"""

from __future__ import annotations

import json
import typing as t
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from .addresses import read_address
from .errors import StateError
from .faults import Faults
from .health import STATES
from .records import Fault, many, read_fields, seconds, shown, text, word
from .vips import VipName

REMEDY = "what it said before holds until that expires; write it under another name and rename it"
LARGEST = 1 << 24
"""Bytes of a file."""

_FAR = 253402300800.0
"""The year 10000, which no time of day can be told of any more."""


class Word(t.NamedTuple):
    """What a feeder says of a real. `vip`: as the feeder names it; `until`: seconds since the epoch."""

    vip: str
    real: str
    state: str
    until: float


def parse_words(source: str, path: str) -> list[Word]:
    """The words of a file. StateError has a sentence for each of its faults, which name the file and the entry."""
    faults = Faults()
    words: dict[tuple[str, str], Word] = {}
    try:
        entries = json.loads(source) if len(source) <= LARGEST else _too_large()
        for index, entry in enumerate(many(lambda value, _where: value)(entries, "")):
            try:
                read = _word(entry, f"[{index}]")
                if (read.vip, read.real) in words:
                    raise Fault(f"[{index}]", f"{read.real} of {read.vip} is listed twice")
                words[read.vip, read.real] = read
            except Fault as fault:
                faults.lines.append(str(fault))
    except Fault as fault:
        faults.lines.append(str(fault))
    except (ValueError, RecursionError) as error:
        faults.lines.append(str(error))
    if faults.lines:
        raise StateError(f"{path} is damaged ({faults}): {REMEDY}")
    return list(words.values())


def take_words(
    known: Mapping[str, Sequence[Word]], read: Mapping[str, str | StateError], folder: str
) -> tuple[dict[str, Sequence[Word]], list[str]]:
    """The words of all files of verdicts.d by file name, and a sentence for each file that is damaged.

    `known`: what they said when they were last whole; `read`: file name → its text, or why that cannot be read.
    """
    words: dict[str, Sequence[Word]] = {}
    faults = []
    for name in sorted(read):
        source = read[name]
        try:
            if isinstance(source, StateError):
                raise source
            words[name] = parse_words(source, f"{folder}/{name}")
        except StateError as error:
            faults.append(str(error))
            words[name] = known.get(name, ())
    return words, faults


def _too_large() -> t.NoReturn:
    raise Fault("", f"it has more than {LARGEST} characters")


def words_to_data(words: Mapping[str, Iterable[Word]]) -> dict[str, t.Any]:
    """Words by file, as checks.json keeps them."""
    return {name: [word._asdict() for word in each] for name, each in words.items()}


def words_reader(value: t.Any, where: str) -> tuple[Word, ...]:
    """The words of one file, as checks.json has them."""
    return tuple(many(_word)(value, where))


def live(words: Iterable[Word], now: float) -> list[Word]:
    """Those that count at `now`, in seconds since the epoch."""
    return [word for word in words if word.until > now]


def _word(value: t.Any, where: str) -> Word:
    fields = {"vip": _vip, "real": _real, "state": word(*STATES), "until": _until}
    for name in value if isinstance(value, dict) else ():
        if name not in fields:
            raise Fault(f"{where}.{name}", f"there is no such field; there are {', '.join(fields)}")
    return Word(**read_fields(value, where, fields))


def _vip(value: t.Any, where: str) -> str:
    if VipName.read(text(value, where)) is None:
        raise Fault(where, f"{shown(value)} is not the name of a VIP, such as 198.51.100.1:443/tcp, nor an address")
    return t.cast("str", value)


def _real(value: t.Any, where: str) -> str:
    """An address, as the inventory writes it."""
    found = read_address(text(value, where))
    if found is None:
        raise Fault(where, f"{shown(value)} is not an IP address")
    return found.text


def _until(value: t.Any, where: str) -> float:
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(text(value, where))
            if moment.tzinfo is None:
                raise Fault(where, f"{shown(value)} has no time zone, such as Z or +02:00")
            return moment.timestamp()
        except (ValueError, OverflowError) as error:
            raise Fault(where, f"{shown(value)} is not a time of ISO 8601") from error
    found = seconds(value, where)
    if not 0 <= found < _FAR:
        raise Fault(where, f"{shown(value)} is not a number of seconds since the epoch")
    return found
