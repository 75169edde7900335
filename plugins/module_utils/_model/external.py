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
from collections.abc import Generator, Iterable, Mapping
from datetime import datetime

from .addresses import read_address
from .health import STATES
from .records import Fault, many, read_fields, seconds, shown, text, word
from .vips import VipName

LARGEST = 12 << 20
"""Bytes of a file: 512 VIPs of IPv6 with 100 reals each, written at length, have 11 MB."""

MOST = 100_000
"""Entries of a file."""

_JOINED = 500
"""So many words are joined at once: to join all of them takes long."""


_FAR = 253402300800.0
"""The year 10000, which no time of day can be told of any more."""


T = t.TypeVar("T")
Steps = Generator[None, None, T]
"""Work in steps of some microseconds, so that who has other things to do can do them in between."""


class Word(t.NamedTuple):
    """What a feeder says of a real. `vip`: as the feeder names it; `until`: seconds since the epoch."""

    vip: str
    real: str
    state: str
    until: float


def whole(steps: Steps[T]) -> T:
    """Take all steps at once."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return t.cast("T", end.value)


def words_to_json(words: Mapping[str, Iterable[Word]]) -> Steps[str]:
    """Words by file as JSON, as checks.json and the file that outlives a reboot have them."""
    files = []
    for name, each in words.items():
        parts: list[str] = []
        lines: list[str] = []
        for one in each:
            yield
            lines.append(json.dumps(one._asdict()))
            if len(lines) == _JOINED:
                parts.append(", ".join(lines))
                lines.clear()
        files.append(f"{json.dumps(name)}: [{', '.join(parts + lines)}]")
    yield
    return f"{{{', '.join(files)}}}"


def words_reader(value: t.Any, where: str) -> tuple[Word, ...]:
    """The words of one file, as checks.json has them."""
    return tuple(many(read_word)(value, where))


def live(words: Iterable[Word], now: float) -> list[Word]:
    """Those that count at `now`, in seconds since the epoch."""
    return [word for word in words if word.until > now]


def read_word(value: t.Any, where: str) -> Word:
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
