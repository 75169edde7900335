# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What feeders said, kept where it outlives a reboot: the content of words.json. Pure.

Their own files are in /run, which a reboot empties: a word that has not expired holds until its feeder writes anew.
What a feeder took back before is not in this file any more.
"""

from __future__ import annotations

import json
import typing as t
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from .external import Word, words_reader
from .records import Fault, Fields, many, mapping, named, parse_record, read_fields, shown, text

SCHEMA = 1
REMEDY = "it is ignored, and written anew once a feeder says something"


@dataclass(frozen=True)
class KeptWords:
    """The content of words.json.

    `life`: what /run was called when it was written, which differs after a reboot; `words`: file of verdicts.d → what
    it said when it was last whole; `held`: those of them that an earlier life had, and that were not written since.
    """

    life: str
    words: Mapping[str, Sequence[Word]] = field(default_factory=dict)
    held: frozenset[str] = frozenset()

    @classmethod
    def from_json(cls, source: str, path: str) -> KeptWords:
        """Read the file's text. StateError names the file and the field at fault."""
        return parse_record(source, path, _read, REMEDY)

    def in_life(self, life: str, now: float) -> KeptWords:
        """What it says in a life of /run: in another than its own, all words that have not expired are held."""
        held = self.held if life == self.life else frozenset(self.words)
        return KeptWords(life, *still_held(self.words, held, now))


def still_held(
    words: Mapping[str, Sequence[Word]], held: Collection[str], now: float
) -> tuple[dict[str, Sequence[Word]], frozenset[str]]:
    """The words without held ones that have expired, and the files of which some are held."""
    found: dict[str, Sequence[Word]] = {}
    for name, each in words.items():
        left = [word for word in each if word.until > now] if name in held else each
        if left or name not in held:
            found[name] = left
    return found, frozenset(name for name in held if name in found)


def kept_to_json(life: str, words: str, held: Collection[str]) -> str:
    """The file's text. `words`: as `words_to_json` has them."""
    return (
        f'{{"schema": {SCHEMA}, "life": {json.dumps(life)}, "held": {json.dumps(sorted(held))},\n"words": {words}}}\n'
    )


_FIELDS: Fields = {"life": text, "held": many(text), "words": named(words_reader)}


def _read(value: t.Any, where: str) -> KeptWords:
    schema = mapping(value, where).get("schema")
    if schema != SCHEMA or isinstance(schema, bool):
        raise Fault("schema", f"{shown(schema)} is not {SCHEMA}")
    found = read_fields(value, where, _FIELDS)
    return KeptWords(found["life"], found["words"], frozenset(found["held"]))
