# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The grammar of keepalived.conf(5): lines, comments, variables, files that others include, and blocks.

What the words mean is none of its business. Files come from whoever asks, so that a saved folder and what a host sent
are read alike.
"""

from __future__ import annotations

import re
import typing as t
from collections.abc import Iterator
from dataclasses import dataclass, field

from ansible_collections.katran.fleet.plugins.plugin_utils.ipvs import MAX_TEXT, Place, Remarks

_MAX_DEPTH = 32
"""Blocks within blocks, and files within files."""

_MAX_FILES = 1000
_DEFINITION = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)[ \t]*=[ \t]*(.*)", re.DOTALL | re.ASCII)
_REFERENCE = re.compile(r"\$(?:\{([A-Za-z_][A-Za-z0-9_]*)\}|([A-Za-z_][A-Za-z0-9_]*))", re.ASCII)
_INCLUDE = re.compile(r"include[abmrw]*[ \t]+(.+)")
_TOKEN = re.compile(r'"((?:[^"\\]|\\.)*)"?|([{}])|((?:\$\{\w+\}|[^\s{}"])+)')


class FileSource(t.Protocol):
    """Where files come from."""

    def matching(self, pattern: str, beside: str) -> list[str]:
        """The paths that a pattern names, sorted; one that is relative begins where the file `beside` is."""

    def text(self, path: str) -> str:
        """A file's text. OSError where it cannot be read."""


@dataclass
class Statement:
    """A line's words, and the statements in its block; `block` None where it has none."""

    words: list[str]
    place: Place
    block: list[Statement] | None = None
    last_line: int = 0

    @property
    def keyword(self) -> str:
        """Its first word."""
        return self.words[0] if self.words else ""

    @property
    def values(self) -> list[str]:
        """The words behind the first."""
        return self.words[1:]

    @property
    def text(self) -> str:
        """As it stands, without its block."""
        return " ".join(self.words)

    @property
    def where(self) -> str:
        """Its place, to the end of its block."""
        return f"{self.place}-{self.last_line}" if self.last_line > self.place.line else str(self.place)


@dataclass
class _Budget:
    """What is left of the bounds that hostile input meets."""

    files: int = _MAX_FILES
    bytes: int = MAX_TEXT
    told: set[str] = field(default_factory=set)


def parse(path: str, source: FileSource, remarks: Remarks) -> list[Statement]:
    """The statements of a file and of those that it includes. OSError where the file itself cannot be read."""
    folder = path.rpartition("/")[0] + "/" if "/" in path else ""
    return _Parser(remarks).statements(_Lines(source, remarks, folder).of(path))


class _Lines:
    """Logical lines: continued ones joined, without comments, variables in place of their names."""

    def __init__(self, source: FileSource, remarks: Remarks, folder: str) -> None:
        """`folder`: what files are told without, so that it does not matter where they are."""
        self._folder = folder
        self._source = source
        self._remarks = remarks
        self._variables: dict[str, str] = {}
        self._budget = _Budget()

    def of(self, path: str, depth: int = 0) -> Iterator[tuple[str, Place]]:
        """The lines of a file. OSError where it cannot be read."""
        for text, place in _continued(self._source.text(path), path.removeprefix(self._folder)):
            found = _DEFINITION.match(text)
            if found:
                self._define(found[1], found[2], place)
                continue
            for line in self._expanded(text, place).split("\n"):
                line = line.strip()  # noqa: PLW2901  # the same line
                if not line:
                    continue
                included = _INCLUDE.fullmatch(line)
                if included:
                    yield from self._included(included[1].strip().strip('"'), path, place, depth)
                elif line.startswith("@"):
                    self._remarks.add(place, line, "is for one configuration id alone and was passed over", _BY_HAND)
                elif self._spend(len(line), place):
                    yield line, place

    def _define(self, name: str, value: str, place: Place) -> None:
        expanded = self._expanded(value, place)
        if self._spend(len(expanded), place):
            self._variables[name] = expanded

    def _expanded(self, text: str, place: Place) -> str:
        # Of what a variable became, nothing is looked at again, so that there is no end to reach.
        def value(found: re.Match[str]) -> str:
            name = found[1] or found[2]
            if name not in self._variables:
                self._remarks.add(place, f"${name}", "is a variable that nothing before defines", _BY_HAND)
                return found[0]
            return self._variables[name]

        if "$" not in text:
            return text
        most = max(map(len, self._variables.values()), default=0)
        if text.count("$") * most > MAX_TEXT:
            self._spend(MAX_TEXT + 1, place)
            return ""
        return _REFERENCE.sub(value, text)

    def _included(self, pattern: str, path: str, place: Place, depth: int) -> Iterator[tuple[str, Place]]:
        if depth >= _MAX_DEPTH:
            self._once(place, f"include {pattern}", f"is more than {_MAX_DEPTH} files deep and was not read")
            return
        paths = self._source.matching(pattern, path)
        if not paths:
            self._remarks.add(place, f"include {pattern}", "names no file that is here", "save it beside this file")
        for each in paths:
            self._budget.files -= 1
            if self._budget.files < 0:
                self._once(place, f"include {pattern}", f"makes more than {_MAX_FILES} files; the rest was not read")
                return
            try:
                yield from self.of(each, depth + 1)
            except OSError as error:
                reason = error.strerror or str(error)
                self._remarks.add(
                    place,
                    f"include {each.removeprefix(self._folder)}",
                    f"cannot be read: {reason}",
                    "save it beside this file",
                )

    def _spend(self, count: int, place: Place) -> bool:
        self._budget.bytes -= count
        if self._budget.bytes < 0:
            self._once(place, "the configuration", f"is longer than {MAX_TEXT >> 20} MiB; the rest was not read")
        return self._budget.bytes >= 0

    def _once(self, place: Place, subject: str, meaning: str) -> None:
        if meaning not in self._budget.told:
            self._budget.told.add(meaning)
            self._remarks.add(place, subject, meaning)


_BY_HAND = "write what it stands for into the file, and import again"


def _continued(text: str, path: str) -> Iterator[tuple[str, Place]]:
    """Lines without comments; a backslash at the end joins the next, by a line end in a definition's value."""
    parts: list[str] = []
    first = 0
    for number, raw in enumerate(text.replace("\r\n", "\n").split("\n"), 1):
        line, goes_on = _without_comment(raw)
        first = first or number
        parts.append(line)
        if goes_on:
            parts.append("\n" if parts[0].lstrip().startswith("$") else " ")
            continue
        yield "".join(parts).strip(), Place(path, first)
        parts, first = [], 0
    if parts:
        yield "".join(parts).strip(), Place(path, first)


def _without_comment(line: str) -> tuple[str, bool]:
    """A line up to its comment, and whether the next continues it. Both marks begin one outside of quotes."""
    found: list[str] = []
    quoted, index = False, 0
    end = len(line.rstrip())
    while index < len(line):
        char = line[index]
        if char == "\\":
            if index == end - 1:
                return "".join(found), True
            if line[index + 1] in "#!" and not quoted:
                found.append(line[index + 1])
            else:
                found.append(line[index : index + 2])
            index += 2
            continue
        if char == '"':
            quoted = not quoted
        elif char in "#!" and not quoted:
            break
        found.append(char)
        index += 1
    return "".join(found), False


class _Parser:
    """Statements and their blocks, of lines."""

    def __init__(self, remarks: Remarks) -> None:
        self._remarks = remarks
        self._top: list[Statement] = []
        self._open: list[Statement] = []
        self._words: list[str] = []
        self._skipped = 0

    def statements(self, lines: Iterator[tuple[str, Place]]) -> list[Statement]:
        """All of them. What is not balanced is told."""
        for line, place in lines:
            for found in _TOKEN.finditer(line):
                quoted, brace, word = found.groups()
                if brace == "{":
                    self._begin(place)
                elif brace == "}":
                    self._finish(place)
                    self._end(place)
                else:
                    self._words.append(word if quoted is None else _unescaped(quoted))
            self._finish(place)
        for each in self._open:
            self._remarks.add(each.place, each.text, "begins a block that nothing ends", "add the } that is missing")
        return self._top

    def _here(self) -> list[Statement]:
        block = self._open[-1].block if self._open else None
        return self._top if block is None else block

    def _finish(self, place: Place) -> None:
        if self._words and not self._skipped:
            self._here().append(Statement(self._words, place, None, place.line))
        self._words = []

    def _begin(self, place: Place) -> None:
        if self._skipped or len(self._open) >= _MAX_DEPTH:
            if not self._skipped:
                self._remarks.add(place, "{", f"is more than {_MAX_DEPTH} blocks deep and was passed over")
            self._skipped += 1
            self._words = []
            return
        if self._words:
            self._finish(place)
        here = self._here()
        if not here or here[-1].block is not None:
            self._remarks.add(place, "{", "begins a block that has no name")
            here.append(Statement([], place))
        here[-1].block = []
        self._open.append(here[-1])

    def _end(self, place: Place) -> None:
        if self._skipped:
            self._skipped -= 1
        elif self._open:
            last = self._open.pop()
            # A block may end in another file than it began in.
            last.last_line = place.line if place.file == last.place.file else last.place.line
        else:
            self._remarks.add(place, "}", "ends a block that nothing begins")


def _unescaped(text: str) -> str:
    return re.sub(r'\\(["\\])', r"\1", text)
