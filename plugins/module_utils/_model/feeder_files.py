# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The text of a file of verdicts.d, read in steps.

json.loads holds whoever calls it for as long as a file takes, 0.2 s for the largest: entries are parsed one by one.
"""

from __future__ import annotations

import json
import re
import typing as t
from collections.abc import Generator, Iterator

from .errors import StateError
from .external import LARGEST, MOST, Steps, Word, read_word, whole
from .faults import Faults
from .records import Fault, no_json

REMEDY = "what it said before holds until that expires; write it under another name and rename it"
_LONGEST = 4096
"""Characters of an entry."""

_SPACES = re.compile(rf"[ \t\n\r]{{0,{_LONGEST}}}")
_NOTHING = object()


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
                read = read_word(entry, f"[{index}]")
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
