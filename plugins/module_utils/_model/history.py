# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The history of a balancer's applied configurations: what is recorded of each, which are kept, which one is meant."""

from __future__ import annotations

import json
import typing as t
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

from .audit import Audit
from .errors import StateError
from .records import (
    Fault,
    Optional,
    distinct,
    flag,
    many,
    mapping,
    maybe,
    named,
    number,
    parse_record,
    record,
    text,
    word,
)
from .records import seconds as seconds_

SCHEMA = 1
FOLDER = "history"
KEPT = 20
"""As many applied configurations are kept, and the one before them."""

MOST_BYTES = 256 << 20
"""What the history may take on disk, beside the files that are in use; the newest two stay in any case."""

SHOWN = 20
"""As many lines of a step's changes are kept."""

ENOUGH = 8
"""As many characters of a run's id are enough to name it."""

LONGEST = 300
"""Characters of such a line."""

MOST_STEPS = 100
"""As many steps of one run are told one by one."""

BEFORE, APPLIED, REVERT = "before", "applied", "revert"
"""Kinds of entries. `before`: what was there before the first run that was recorded."""

REMEDY = "it is left out; the other entries can be used"
"""What to do about a damaged entry."""

_LARGEST = 0xFFFFFFFF


@dataclass(frozen=True)
class Step:
    """What one module did: `changes` has the first lines of `count`; `operations`: map → entries written.

    `began`: ISO 8601, UTC. `ended`: whether it came to its end; what one that did not has changed is not known.
    """

    module: str
    began: str
    seconds: float = 0.0
    changes: list[str] = field(default_factory=list)
    count: int = 0
    operations: dict[str, int] = field(default_factory=dict)
    ended: bool = True


@dataclass(frozen=True)
class Opening:
    """A run that is about to change something: written down before, so that one that is killed is known of.

    `to`: the entry that it goes back to; None where it does not.
    """

    module: str
    began: str
    run: str = ""
    user: str = ""
    revision: str = ""
    to: int | None = None

    def to_json(self) -> str:
        """The file's text."""
        return json.dumps({"schema": SCHEMA, **asdict(self)}) + "\n"

    @classmethod
    def from_json(cls, source: str, path: str) -> Opening:
        """Read the file's text. StateError where it is damaged."""
        return parse_record(source, path, _OPENING, "the next run that changes something removes it")


@dataclass(frozen=True)
class Entry:
    """One applied configuration. `files`: those of the instance that were there after it, and are kept with it."""

    number: int
    kind: str
    began: str
    run: str = ""
    user: str = ""
    revision: str = ""
    to: int | None = None
    steps: list[Step] = field(default_factory=list)
    files: list[str] = field(default_factory=list)

    def to_json(self) -> str:
        """The file's text."""
        return json.dumps({"schema": SCHEMA, **asdict(self)}) + "\n"

    @classmethod
    def from_json(cls, source: str, path: str) -> Entry:
        """Read the file's text. StateError names the file and the field at fault."""

        def read(value: t.Any, where: str) -> Entry:
            if mapping(value, where).get("schema") != SCHEMA:
                raise Fault("schema", f"is not {SCHEMA}")
            return _ENTRY(value, where)

        return parse_record(source, path, read, REMEDY)

    @property
    def seconds(self) -> float:
        """How long its steps took together."""
        return round(sum(step.seconds for step in self.steps), 3)

    @property
    def operations(self) -> dict[str, int]:
        """Entries written, by map."""
        found: dict[str, int] = {}
        for step in self.steps:
            for name, count in step.operations.items():
                found[name] = found.get(name, 0) + count
        return found

    @property
    def summary(self) -> str:
        """What it was, in one line."""
        if self.kind == BEFORE:
            return "as it was before the first run on record" if self.files else "nothing was there"
        lines = [line for step in self.steps for line in step.changes[:1]]
        rest = sum(step.count for step in self.steps) - 1
        first = lines[0] if lines else "did not end"
        back = f"back to {self.to}: " if self.kind == REVERT and self.to is not None else ""
        return f"{back}{first}{f' and {rest} more' if rest > 0 else ''}"


_COUNT = number(0, _LARGEST)
_STEP = record(
    Step,
    module=text,
    began=text,
    seconds=seconds_,
    changes=many(text),
    count=_COUNT,
    operations=named(_COUNT),
    ended=flag,
)
_OPENING = record(
    Opening,
    module=text,
    began=text,
    run=text,
    user=text,
    revision=text,
    to=Optional(maybe(_COUNT)),
)
_ENTRY = record(
    Entry,
    number=_COUNT,
    kind=word(BEFORE, APPLIED, REVERT),
    began=text,
    run=text,
    user=text,
    revision=text,
    to=Optional(maybe(_COUNT)),
    steps=many(_STEP),
    files=distinct(text),
)


def opening(module: str, began: str, audit: Audit, to: int | None = None) -> Opening:
    """What is written down before a run changes anything."""
    return Opening(module, began, audit.run, audit.user, audit.revision, to)


def step_of(opened: Opening, changes: Sequence[str], operations: Mapping[str, int], seconds: float) -> Step:
    """What a run did that has ended."""
    lines = [line[:LONGEST] for line in changes[:SHOWN]]
    return Step(opened.module, opened.began, round(seconds, 3), lines, len(changes), dict(operations))


def unended(opened: Opening) -> Step:
    """What is known of a run that was killed after the configuration was another."""
    return Step(opened.module, opened.began, ended=False)


def recorded_in(last: Entry | None, opened: Opening) -> bool:
    """Whether the last entry has this run's step."""
    return last is not None and any((step.module, step.began) == (opened.module, opened.began) for step in last.steps)


def entry_after(last: Entry | None, next_number: int, opened: Opening, step: Step, files: Sequence[str]) -> Entry:
    """The entry that a step makes: the steps of one run are one entry, but for one that goes back.

    `next_number`: that of a new one.
    """
    goes_on = last is not None and last.kind == APPLIED and last.run == opened.run != "" and opened.to is None
    if last is not None and goes_on:
        return replace(last, steps=[*last.steps, step][-MOST_STEPS:], files=list(files))
    kind = APPLIED if opened.to is None else REVERT
    return Entry(
        next_number, kind, opened.began, opened.run, opened.user, opened.revision, opened.to, [step], list(files)
    )


Inodes = Mapping[int, int]
"""Inode → bytes."""


def superfluous(sizes: Mapping[int, Inodes], used: Collection[int], most: int = MOST_BYTES) -> list[int]:
    """The numbers of entries that go: beyond how many are kept, and, oldest first, beyond what they may take.

    `sizes`: number → what its files take; entries share files that are the same. `used`: the inodes in use.
    """
    kept = sorted(sizes)[-(KEPT + 1) :]
    while len(kept) > 2 and _bytes([sizes[each] for each in kept], used) > most:
        del kept[0]
    return sorted(set(sizes) - set(kept))


def _bytes(sizes: Sequence[Inodes], used: Collection[int]) -> int:
    taken = {inode: count for each in sizes for inode, count in each.items() if inode not in used}
    return sum(taken.values())


Known = Mapping[int, t.Union[Entry, str]]
"""Number → an entry, or what is wrong with it."""


def entry_of(known: Known, wanted: int) -> Entry:
    """The entry of a number. StateError where there is none, or it is damaged."""
    found = known.get(wanted)
    if isinstance(found, Entry):
        return found
    if found is not None:
        raise StateError(found)
    kept = f"there are {min(known)} to {max(known)}" if known else "nothing was applied yet"
    raise StateError(f"there is no applied configuration {wanted} on this host: {kept} (katran history)")


def before_run(known: Known, run: str) -> tuple[Entry | None, list[Entry]]:
    """The entry before a run's first, and every one from there on, oldest first.

    (None, []) where the run applied nothing here. StateError where what was before is no longer kept, or is damaged.
    """
    entries = {each: entry for each, entry in sorted(known.items()) if isinstance(entry, Entry)}
    named = _run_named({entry.run for entry in entries.values() if entry.kind != REVERT}, run)
    first = next((each for each, entry in entries.items() if entry.run == named and entry.kind != REVERT), None)
    if first is None:
        return None, []
    earlier = [each for each in known if each < first]
    if not earlier:
        raise StateError(f"what was before run {run} is no longer kept on this host: {KEPT} runs are (katran history)")
    return entry_of(known, max(earlier)), [entry for each, entry in entries.items() if each >= first]


def is_named(run: str, text: str) -> bool:
    """Whether a run's id is this, or begins with as much of it as is enough."""
    return run != "" and (run == text or (len(text) >= ENOUGH and run.startswith(text)))


def _run_named(runs: Collection[str], text: str) -> str:
    """The run whose id this is, or begins with this. StateError where several do."""
    if text in runs or len(text) < ENOUGH:
        return text
    found = sorted(each for each in runs if is_named(each, text))
    if len(found) > 1:
        raise StateError(f"{text} is the beginning of the ids of {len(found)} runs: {', '.join(found)}")
    return found[0] if found else text
