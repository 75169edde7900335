# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Inventories that playbooks write: what a fleet that is moved in becomes, as files that people go on with.

The files are the same whenever their content is, so that a second import changes nothing and a review shows what
differs. What was read elsewhere is data, whatever it looks like: Ansible never takes it for a template, nor YAML for
anything but the text that it is.
"""

from __future__ import annotations

import os
import re
import stat
import typing as t
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.katran.fleet.plugins.module_utils._model.faults import some
from ansible_collections.katran.fleet.plugins.module_utils._model.written import visible
from ansible_collections.katran.fleet.plugins.plugin_utils.whole_file import write_whole

Files = Mapping[str, str]
"""Path of a file, relative to the inventory's folder → its text."""

_WIDTH = 118
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", re.ASCII)
_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./-]*|[0-9]{1,3}(\.[0-9]{1,3}){3}(/[0-9]{1,2})?", re.ASCII)
_WORDS = frozenset(("y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf"))
"""What YAML 1.1 reads as something else than a text, in any case."""

_TEMPLATE = ("{{", "{%", "{#")


class InventoryError(Exception):
    """Files cannot be written; the text says which and why."""


class Template(str):
    """A text that Ansible is to template, which no other is."""

    __slots__ = ()


@dataclass(frozen=True)
class Told:
    """A value, and the sentences that stand before it as comments. It is a variable's value, or an entry of a list."""

    value: t.Any
    sentences: Sequence[str] = ()


@dataclass(frozen=True)
class Inventory:
    """An inventory to be written.

    `groups`: group → host → the host's variables, which stand beside it. `group_vars`, `host_vars`: group or host →
    variable → value, each in a file of its own. `head`: sentences at the beginning of every file, such as from where
    it came. `notes`: path of a file → more sentences there.
    """

    groups: Mapping[str, Mapping[str, Mapping[str, t.Any]]]
    group_vars: Mapping[str, Mapping[str, t.Any]] = field(default_factory=dict)
    host_vars: Mapping[str, Mapping[str, t.Any]] = field(default_factory=dict)
    head: Sequence[str] = ()
    notes: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def files(self) -> dict[str, str]:
        """The files, hosts first. InventoryError for a name that is none of a group, host or variable."""
        children = {
            _named(group, "a group"): {
                "hosts": {_named(host, "a host"): dict(told) for host, told in hosts.items()},
            }
            for group, hosts in self.groups.items()
        }
        found = {"hosts.yml": self._text("hosts.yml", {"all": {"children": children}})}
        for folder, noun, told in (
            ("group_vars", "a group", self.group_vars),
            ("host_vars", "a host", self.host_vars),
        ):
            for name, variables in told.items():
                path = f"{folder}/{_named(name, noun)}.yml"
                found[path] = self._text(path, {_named(key, "a variable"): value for key, value in variables.items()})
        return found

    def _text(self, path: str, values: Mapping[str, t.Any]) -> str:
        head = [*self.head, *self.notes.get(path, ())]
        lines = ["---", *(line for sentence in head for line in _comment(sentence, ""))]
        for key, value in values.items():
            lines += _variable(key, value)
        return "\n".join(lines) + "\n"


def _named(name: str, noun: str) -> str:
    if not _NAME.fullmatch(name):
        raise InventoryError(f"{visible(name)[:80]} cannot be the name of {noun} in an inventory")
    return name


def _comment(sentence: str, indent: str) -> Iterator[str]:
    """A sentence as comment lines, whatever characters it has."""
    line = ""
    for word in visible(" ".join(sentence.splitlines())).split(" "):
        if line and len(indent) + len(line) + len(word) + 3 > _WIDTH:
            yield f"{indent}# {line}"
            line = f"  {word}"
        else:
            line = f"{line} {word}" if line else word
    yield f"{indent}# {line}".rstrip()


def _variable(key: str, value: t.Any) -> Iterator[str]:
    """A variable's lines, with what is told of it and of the entries of its list."""
    if isinstance(value, Told):
        for sentence in value.sentences:
            yield from _comment(sentence, "")
        value = value.value
    yield from _block({key: value}, "")


def _block(value: t.Any, indent: str) -> Iterator[str]:
    """A mapping or a list that is not empty, an entry on each line or several."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            name = _scalar(_key(key))
            inline = _inline(item, len(indent) + len(name) + 2)
            if inline is not None:
                yield f"{indent}{name}: {inline}".rstrip()
            else:
                yield f"{indent}{name}:"
                yield from _block(item, indent + "  ")
        return
    for item in value:
        if isinstance(item, Told):
            for sentence in item.sentences:
                yield from _comment(sentence, indent)
            item = item.value  # noqa: PLW2901  # what is told of it stands before it
        inline = _inline(item, len(indent) + 2)
        if inline is not None:
            yield f"{indent}- {inline}"
        else:
            # A dash takes the place of the first line's indent.
            first, *rest = _block(item, indent + "  ")
            yield f"{indent}- {first.lstrip()}"
            yield from rest


def _inline(value: t.Any, column: int) -> str | None:
    """A value on one line behind `column` characters; None where it needs more, or holds what is told of."""
    if isinstance(value, Mapping):
        if not value:
            return "{}"
        if any(
            isinstance(item, (Mapping, Told)) or (isinstance(item, (list, tuple)) and item) for item in value.values()
        ):
            return None
        text = ", ".join(f"{_scalar(_key(key))}: {_inline(item, 0)}" for key, item in value.items())
        return f"{{{text}}}" if column + len(text) + 2 <= _WIDTH and len(value) <= _FEW else None
    if isinstance(value, (list, tuple)):
        if any(isinstance(item, (Mapping, list, tuple, Told)) for item in value):
            return None
        text = ", ".join(map(_scalar, value))
        return f"[{text}]" if not value or column + len(text) + 2 <= _WIDTH else None
    return None if isinstance(value, Told) else _scalar(value)


_FEW = 4
"""As many options of an entry can be seen at once on one line."""


def _key(key: t.Any) -> str:
    text = str(key)
    if any(mark in text for mark in _TEMPLATE):
        raise InventoryError(f"{visible(text)[:80]} would be a template, which no name in an inventory can be")
    return text


def _scalar(value: t.Any) -> str:
    """A value that is neither a mapping nor a list."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    text = str(value)
    quoted = text if _PLAIN.fullmatch(text) and text.lower() not in _WORDS else _quoted(text)
    data = not isinstance(value, Template) and any(mark in text for mark in _TEMPLATE)
    return f"!unsafe {quoted}" if data else quoted


def _quoted(text: str) -> str:
    """A text in double quotes, in printable characters of ASCII alone."""
    return f'"{"".join(map(_escaped, text))}"'


def _escaped(char: str) -> str:
    code = ord(char)
    if char in '"\\':
        return f"\\{char}"
    if 0x20 <= code < 0x7F:
        return char
    if 0xD800 <= code < 0xE000:
        # Half of a character, which no YAML can hold.
        return "\\uFFFD"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


# On disk


@dataclass(frozen=True)
class Change:
    """A file that is to become another. `before` is empty where there is none yet; `replaces`: whether there is one."""

    path: str
    before: str
    after: str
    replaces: bool


def changes(folder: str, files: Files, overwrite: bool = False) -> list[Change]:
    """Which files would be written into a folder. InventoryError for those that are there with another content.

    `overwrite`: replace them. What is neither a file nor absent is never replaced.
    """
    found = []
    for path, after in files.items():
        before = text_of(os.path.join(folder, path))
        if before != after:
            found.append(Change(path, before or "", after, before is not None))
    kept = [each.path for each in found if each.replaces]
    if kept and not overwrite:
        raise InventoryError(
            f"{folder} has {some(kept, 4)} already, with another content: give another folder, or have it overwritten"
        )
    return found


def write(folder: str, wanted: Sequence[Change]) -> None:
    """Write what `changes` found, each file whole or not at all. InventoryError where that is not possible."""
    for each in wanted:
        path = os.path.join(folder, each.path)
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            write_whole(path, each.after)
        except OSError as error:
            raise InventoryError(f"{path} cannot be written: {error.strerror}") from error


def text_of(path: str) -> str | None:
    """What a file has; None where there is none. InventoryError where something else is there."""
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):
            raise InventoryError(f"{path} is there and is no file")
        with open(path, encoding="utf-8", errors="surrogateescape") as source:
            return source.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise InventoryError(f"{path} cannot be read: {error.strerror}") from error
