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
_MAX_NESTED = 64
"""Variables within variables, and repeated lines within repeated lines."""

_ROUND = 256
"""As many bytes of the bound is a line's repetition worth, however short the line."""

_DEFINITION = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL | re.ASCII)
_REFERENCE = re.compile(r"\$(?:\{([A-Za-z_][A-Za-z0-9_]*)\}|([A-Za-z_][A-Za-z0-9_]*)(?=\s|$))", re.ASCII)
_REPEATED = re.compile(r"~(SEQx?|LST)\(([^()]*)\)(.*)", re.DOTALL)
_INCLUDE = re.compile(r"include[abmrw]*[ \t]+(.+)")
_TOKEN = re.compile(r"""((?:\$\{\w+\}|"(?:[^"\\]|\\.)*"?|'(?:[^'\\]|\\.)*'?|\\.?|[^\s{}"'\\])+)|([{}])""")
_PART = re.compile(r""""((?:[^"\\]|\\.)*)"?|'((?:[^'\\]|\\.)*)'?|\\(.)|([^"'\\]+)""")


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


def parse(path: str, source: FileSource, remarks: Remarks, config_id: str = "") -> list[Statement]:
    """The statements of a file and of those that it includes. OSError where the file itself cannot be read.

    `config_id`: for which of the hosts that share the file it is read, as keepalived's option of that name says.
    """
    folder = path.rpartition("/")[0] + "/" if "/" in path else ""
    return _Parser(remarks).statements(_Lines(source, remarks, folder, config_id).of(path))


class _Lines:
    """Logical lines: continued ones joined, without comments, variables in place of their names."""

    def __init__(self, source: FileSource, remarks: Remarks, folder: str, config_id: str) -> None:
        """`folder`: what files are told without, so that it does not matter where they are."""
        self._folder = folder
        self._source = source
        self._remarks = remarks
        self._config_id = config_id
        self._variables = {"_HASH": "#", "_BANG": "!", **({"_INSTANCE": config_id} if config_id else {})}
        self._budget = _Budget()

    def of(self, path: str, depth: int = 0) -> Iterator[tuple[str, Place]]:
        """The lines of a file. OSError where it cannot be read."""
        shown = path.removeprefix(self._folder)
        for text, place in _continued(self._source.text(path), shown):
            for line in self._read(text, place, 0):
                included = _INCLUDE.fullmatch(line)
                if included:
                    yield from self._included(included[1].strip().strip('"'), path, place, depth)
                else:
                    yield line, place

    def _read(self, text: str, place: Place, nested: int) -> Iterator[str]:
        """The lines that one becomes."""
        text = text.strip()
        if not text:
            return
        if nested > _MAX_NESTED:
            self._once(place, text[:80], f"has more than {_MAX_NESTED} variables within variables and was passed over")
            return
        if not self._spend(len(text), place):
            return
        repeated, defined = _REPEATED.match(text), _DEFINITION.match(text)
        if text.startswith("@"):
            word, _space, rest = text.partition(" ")
            if self._applies(word, text, place):
                yield from self._read(rest, place, nested + 1)
        elif repeated:
            for variables in self._rounds(repeated[1], repeated[2], text, place):
                if not self._spend(_ROUND, place):
                    return
                self._variables.update(variables)
                yield from self._read(repeated[3], place, nested + 1)
        elif defined:
            self._variables[defined[1]] = defined[2].lstrip(" \t")
        else:
            yield from self._expanded(text, place, nested)

    def _expanded(self, text: str, place: Place, nested: int) -> Iterator[str]:
        """A line with its variables' values, which may have variables, and be lines, themselves."""
        found = [(each[1] or each[2]) for each in _REFERENCE.finditer(text)]
        self._variables["_PWD"] = place.file.rpartition("/")[0] or "."
        for name in found:
            if name not in self._variables:
                self._remarks.add(place, f"${name}", "is a variable that nothing before defines", _BY_HAND)
        known = [name for name in found if name in self._variables]
        if not known:
            yield text
        elif self._spend(sum(len(self._variables[name]) for name in known), place):
            value = _REFERENCE.sub(lambda each: self._variables.get(each[1] or each[2], each[0]), text)
            for line in value.split("\n"):
                yield from self._read(line, place, nested + 1)

    def _applies(self, word: str, text: str, place: Place) -> bool:
        """Whether a line that begins with a condition counts."""
        if not self._config_id:
            self._remarks.add(place, text, "is for one configuration id alone and was passed over", _CONFIG_ID)
            return False
        return word[2:] != self._config_id if word.startswith("@^") else word[1:] == self._config_id

    def _rounds(self, kind: str, inside: str, text: str, place: Place) -> Iterator[dict[str, str]]:
        """The variables of each repetition of a line."""
        try:
            yield from _listed(inside) if kind == "LST" else _counted(inside, kind == "SEQx")
        except ValueError:
            self._remarks.add(place, text, "repeats a line in a way that was not understood", _BY_HAND)

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
                told = f"include {each.removeprefix(self._folder)}"
                reason = error.strerror or str(error)
                self._remarks.add(place, told, f"cannot be read: {reason}", "save it beside this file")

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
_CONFIG_ID = "give config_id, which keepalived takes for the host's name"


_COUNTED = re.compile(r"[+-]?(0[xX])?[0-9a-fA-F]{1,9}", re.ASCII)


def _counted(inside: str, as_hex: bool) -> Iterator[dict[str, str]]:
    """The rounds of ~SEQ(var, start, step, end). ValueError for what is none."""
    name, *texts = (part.strip() for part in inside.split(","))
    if not all(_COUNTED.fullmatch(text) for text in texts):
        raise ValueError(inside)
    numbers = [int(text, 16 if as_hex and text.lower().startswith("0x") else 10) for text in texts]
    if not 1 <= len(numbers) <= 3 or not name.isidentifier():
        raise ValueError(inside)
    end = numbers[-1]
    start = numbers[0] if len(numbers) > 1 else 1 if end > 0 else -1
    step = numbers[1] if len(numbers) > 2 else 1 if end >= start else -1
    if step == 0:
        raise ValueError(inside)
    for number in range(start, end + (1 if step > 0 else -1), step):
        yield {name: f"{number:x}" if as_hex else str(number)}


def _listed(inside: str) -> Iterator[dict[str, str]]:
    """The rounds of ~LST(var, value...) and ~LST({var, var}, {value, value}...). ValueError for what is none."""
    groups = re.findall(r"\{([^{}]*)\}", inside) if "{" in inside else inside.split(",")
    rows = [[part.strip() for part in group.split(",")] for group in groups]
    if len(rows) < 2 or any(len(row) != len(rows[0]) for row in rows) or not all(map(str.isidentifier, rows[0])):
        raise ValueError(inside)
    for row in rows[1:]:
        yield dict(zip(rows[0], row, strict=True))


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
                word, brace = found.groups()
                if brace == "{":
                    self._begin(place)
                elif brace == "}":
                    self._finish(place)
                    self._end(place)
                else:
                    self._words.append(_unquoted(word))
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


def _unquoted(word: str) -> str:
    """A word without its quotes, which may be around parts of it."""
    if not any(mark in word for mark in "\"'\\"):
        return word
    return "".join(
        _plain(double) if double is not None else _plain(single) if single is not None else escaped or bare or ""
        for double, single, escaped, bare in (each.groups() for each in _PART.finditer(word))
    )


def _plain(text: str) -> str:
    """A quoted text without the backslashes before its characters; those for control characters stay."""
    return re.sub(r"""\\([\\"'])""", r"\1", text)
