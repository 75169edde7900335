# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Words of others about reals: the files of verdicts.d, which feeders such as Consul or Kubernetes write.

A file is a list of {vip, real, state, until}. `vip` is a VIP's name, such as 198.51.100.1:443/tcp, or less of it:
198.51.100.1 is all VIPs there. `until`: ISO 8601 with a time zone, or seconds since the epoch: a word counts before it
alone, so what a dead feeder said ends by itself. A file that is damaged counts as it was when it was last whole; one
that is gone says nothing.

json.loads holds whoever calls it for as long as a file takes, 0.2 s for the largest: entries are parsed one by one.
"""

from __future__ import annotations

import json
import re
import typing as t
from collections.abc import Generator, Iterable, Iterator, Mapping
from datetime import datetime

from .addresses import read_address
from .errors import StateError
from .faults import Faults
from .health import STATES
from .records import Fault, many, no_json, read_fields, seconds, shown, text, word
from .vips import VipName

REMEDY = "what it said before holds until that expires; write it under another name and rename it"
LARGEST = 12 << 20
"""Bytes of a file: 512 VIPs of IPv6 with 100 reals each, written at length, have 11 MB."""

MOST = 100_000
"""Entries of a file."""

_LONGEST = 4096
"""Characters of an entry."""

_JOINED = 500
"""So many words are joined at once: to join all of them takes long."""

_SPACES = re.compile(rf"[ \t\n\r]{{0,{_LONGEST}}}")
_NOTHING = object()

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


def words_in(source: str, path: str) -> Steps[list[Word]]:
    """The words of a file. StateError has a sentence for each of its faults, which name the file and the entry."""
    faults = Faults()
    words: list[Word] = []
    # Few objects: the garbage collector looks at each of them, and everybody waits for it.
    listed: dict[str, set[str]] = {}
    texts: dict[str, str] = {}
    index = 0
    try:
        if len(source) > LARGEST:
            raise Fault("", f"it has more than {LARGEST} characters")
        for entry in _entries(source):
            yield
            if entry is _NOTHING:
                continue
            if index >= MOST:
                raise Fault("", f"it has more than {MOST} entries")
            try:
                read = _word(entry, f"[{index}]")
                # The same few names come again and again.
                vip, real = (texts.setdefault(each, each) for each in (read.vip, read.real))
                reals = listed.setdefault(vip, set())
                if real in reals:
                    raise Fault(f"[{index}]", f"{real} of {vip} is listed twice")
                reals.add(real)
                words.append(Word(vip, real, read.state, read.until))
            except Fault as fault:
                faults.lines.append(str(fault))
            index += 1
    except Fault as fault:
        faults.lines.append(str(fault))
    except (ValueError, RecursionError) as error:
        faults.lines.append(no_json(error))
    if faults.lines:
        raise StateError(f"{path} is damaged ({faults}): {REMEDY}")
    return words


def parse_words(source: str, path: str) -> list[Word]:
    """All that `words_in` does, at once."""
    return whole(words_in(source, path))


def whole(steps: Steps[T]) -> T:
    """Take all steps at once."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return t.cast("T", end.value)


def _entries(source: str) -> Iterator[t.Any]:
    """The entries of a JSON list, one by one, and now and then _NOTHING. Fault, ValueError: it is none."""
    decoder = json.JSONDecoder()
    at = yield from _spaces(source, 0)
    if source[at : at + 1] != "[":
        raise Fault("", "it is not a list")
    at = yield from _spaces(source, at + 1)
    more = source[at : at + 1] != "]"
    index = 0
    while more:
        try:
            # A text without an end would be read to that of the file.
            value, length = decoder.raw_decode(source[at : at + _LONGEST])
        except ValueError as error:
            raise _no_entry(source, at, index, error) from error
        yield value
        index += 1
        at = yield from _spaces(source, at + length)
        after = source[at : at + 1]
        if after not in (",", "]"):
            raise json.JSONDecodeError("Expecting ',' delimiter", source, at)
        more = after == ","
        if more:
            at = yield from _spaces(source, at + 1)
    at = yield from _spaces(source, at + 1)
    if at != len(source):
        raise json.JSONDecodeError("Extra data", source, at)


def _no_entry(source: str, at: int, index: int, error: ValueError) -> Exception:
    if len(source) - at > _LONGEST:
        return Fault(f"[{index}]", f"it has more than {_LONGEST} characters, or is no JSON")
    return json.JSONDecodeError(error.msg, source, at + error.pos) if isinstance(error, json.JSONDecodeError) else error


def _spaces(source: str, at: int) -> Generator[t.Any, None, int]:
    """Where the next character is that is no space."""
    while True:
        end = t.cast("re.Match[str]", _SPACES.match(source, at)).end()
        if end - at < _LONGEST:
            return end
        at = end
        yield _NOTHING


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
