# SPDX-License-Identifier: GPL-3.0-or-later
"""What a page of documentation asks of its tests: its kind, and its blocks in order. Nothing here runs anything.

tests/lab/README.md has the convention that pages follow.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

KINDS = ("deployed", "bare", "new", "own", "none")
COMMANDS = ("sh", "console")
_REFUSED = ("bash", "shell", "shell-session", "zsh", "commandline")
_ORDERS = ("page", "file", "merge", "run", "skip", "within")
_FENCE = re.compile(r"^(?P<indent>[ >]*)(?P<fence>`{3,}|~{3,})\s*(?P<language>[^\s`]*)")
_COMMENT = re.compile(r"<!--\s*doctest:\s*(?P<order>\S+)\s*(?P<rest>.*?)\s*-->", re.DOTALL)
_PROMPT = re.compile(r"^(?:\$|(?P<host>[a-z][a-z0-9]*)#) (?P<command>.*)$")
_STATUS = re.compile(r"^\(exit status (\d+)\)$")


class PageError(Exception):
    """What a writer has to mend, with the page and the line."""


@dataclass(frozen=True)
class Step:
    """A command, and what is to be seen then.

    *host*: where it runs as root; empty for the working directory of the controller. *shown*: lines of output, of
    which "..." stands for any number. *strict*: a script of which any command that fails ends it.
    """

    line: int
    command: str
    host: str = ""
    shown: tuple[str, ...] = ()
    status: int = 0
    within: float = 0.0
    strict: bool = False


@dataclass(frozen=True)
class Text:
    """A block that a reader writes to a file: the whole of it, or (*merge*) the top-level keys that it has."""

    line: int
    path: str
    content: str
    merge: bool


@dataclass(frozen=True)
class Skip:
    """A block that is not run, and why."""

    line: int
    reason: str


@dataclass(frozen=True)
class Page:
    """A page: its kind, how many balancers and reals its laboratory has, and what happens on it, in order."""

    path: Path
    kind: str
    sizes: tuple[int, int]
    parts: tuple[Step | Text | Skip, ...]

    @property
    def runs(self) -> bool:
        """Whether any of it is run."""
        return any(isinstance(part, Step) for part in self.parts)

    @property
    def skips(self) -> tuple[Skip, ...]:
        return tuple(part for part in self.parts if isinstance(part, Skip))


@dataclass(frozen=True)
class _Block:
    line: int
    language: str
    lines: tuple[str, ...]
    orders: tuple[tuple[str, str], ...]


def _blocks(text: str, fault: str) -> Iterator[_Block | tuple[int, str, str]]:
    """The fenced blocks with the orders above them; an order with no block below it by itself: line, order, rest."""
    lines = text.splitlines()
    waiting: list[tuple[int, str, str]] = []
    number = 0
    while number < len(lines):
        line = lines[number]
        begin = number + 1
        fence = _FENCE.match(line)
        if fence:
            body = []
            number += 1
            closing = re.compile(rf"^[ >]*{fence['fence'][0]}{{{len(fence['fence'])},}}\s*$")
            while number < len(lines) and not closing.match(lines[number]):
                body.append(lines[number])
                number += 1
            if number == len(lines):
                raise PageError(f"{fault}:{begin}: this block is never closed")
            indent = len(fence["indent"])
            cut = tuple(each[indent:] if not each[:indent].strip(" >") else each for each in body)
            yield _Block(begin, fence["language"], cut, tuple((order, rest) for _, order, rest in waiting))
            waiting = []
        elif line.lstrip(" >").startswith("<!--"):
            comment = line
            while "-->" not in comment and number + 1 < len(lines):
                number += 1
                comment += "\n" + lines[number]
            found = _COMMENT.search(comment)
            if found:
                waiting.append((begin, found["order"], " ".join(found["rest"].split())))
        elif line.strip(" >"):
            yield from waiting
            waiting = []
        number += 1
    yield from waiting


def _console(block: _Block, fault: str, within: float) -> Iterator[Step]:
    lines = list(block.lines)
    steps: list[tuple[int, str, str, list[str]]] = []
    number = 0
    while number < len(lines):
        prompt = _PROMPT.match(lines[number])
        begin = block.line + 1 + number
        if prompt:
            command = prompt["command"]
            while command.endswith("\\") and number + 1 < len(lines):
                number += 1
                command += "\n" + re.sub(r"^> ", "", lines[number])
            steps.append((begin, prompt["host"] or "", command, []))
        elif steps:
            steps[-1][3].append(lines[number])
        elif lines[number].strip():
            raise PageError(f"{fault}:{begin}: a console block begins with a command: `$ …` or `HOST# …`")
        number += 1
    for begin, host, command, shown in steps:
        while shown and not shown[-1].strip():
            shown.pop()
        status = _STATUS.match(shown[-1].strip()) if shown else None
        if status:
            shown.pop()
        yield Step(begin, command, host, tuple(shown), int(status[1]) if status else 0, within)


def _ordered(order: str, rest: str, line: int, fault: str) -> Step:
    """The step of `doctest: run`."""
    prompt = _PROMPT.match(rest)
    if not rest:
        raise PageError(f"{fault}:{line}: doctest: {order} what?")
    return Step(line, prompt["command"] if prompt else rest, (prompt["host"] or "") if prompt else "", strict=True)


def _parts(block: _Block, fault: str) -> Iterator[Step | Text | Skip]:
    within = 0.0
    for order, rest in block.orders:
        if order == "run":
            yield _ordered(order, rest, block.line, fault)
        elif order == "within":
            within = float(rest)
    orders = {order: rest for order, rest in block.orders if order not in {"run", "within"}}
    where = f"{fault}:{block.line}"
    if len(orders) > 1:
        raise PageError(f"{where}: a block is one of {', '.join(orders)}, not all")
    if any(order in orders and not orders[order] for order in ("file", "merge")):
        raise PageError(f"{where}: the path of the file is missing")
    content = "\n".join(block.lines) + "\n"
    if "skip" in orders:
        if len(orders["skip"]) < 10:
            raise PageError(f"{where}: why is this block skipped? Say it: doctest: skip REASON")
        yield Skip(block.line, orders["skip"])
    elif "file" in orders or "merge" in orders:
        yield Text(block.line, next(iter(orders.values())), content, "merge" in orders)
    elif block.language in _REFUSED:
        raise PageError(f"{where}: ```{block.language}: say ```sh (commands alone) or ```console (commands and output)")
    elif block.language == "sh":
        yield Step(block.line, content.rstrip("\n"), strict=True)
    elif block.language == "console":
        yield from _console(block, fault, within)


def parse(path: Path, text: str, name: str = "") -> Page:
    """The page; PageError for what cannot be understood, and for commands without `doctest: page`."""
    fault = name or str(path)
    kind, sizes = "", (2, 3)
    parts: list[Step | Text | Skip] = []
    commands = 0
    for each in _blocks(text, fault):
        orders = each.orders if isinstance(each, _Block) else (each[1:],)
        line = each.line if isinstance(each, _Block) else each[0]
        for order, rest in orders:
            if order not in _ORDERS:
                raise PageError(f"{fault}:{line}: doctest: {order} is none of {', '.join(_ORDERS)}")
            if order == "page":
                kind, sizes = _kind(rest, f"{fault}:{line}")
        if isinstance(each, _Block):
            commands += each.language in COMMANDS
            without = tuple(one for one in each.orders if one[0] != "page")
            parts += _parts(_Block(each.line, each.language, each.lines, without), fault)
        elif each[1] == "run":
            parts.append(_ordered("run", each[2], each[0], fault))
        elif each[1] != "page":
            raise PageError(f"{fault}:{each[0]}: no block follows doctest: {each[1]}")
    if commands and not kind:
        raise PageError(
            f"{fault}: has commands and does not say where they run: <!-- doctest: page KIND --> at its top"
        )
    return Page(path, kind or "none", sizes, tuple(parts))


def _kind(rest: str, fault: str) -> tuple[str, tuple[int, int]]:
    """The kind and size of `doctest: page KIND [balancers=N] [reals=N]`."""
    kind, *more = rest.split() or [""]
    if kind not in KINDS:
        raise PageError(f"{fault}: doctest: page {kind} is none of {', '.join(KINDS)}")
    sizes = {"balancers": 2, "reals": 3}
    for word in more:
        what, _, number = word.partition("=")
        if what not in sizes or not number.isdigit() or kind not in {"bare", "new", "own"}:
            raise PageError(f"{fault}: doctest: page {rest}: only bare, new and own take balancers=N and reals=N")
        sizes[what] = int(number)
    return kind, (sizes["balancers"], sizes["reals"])
