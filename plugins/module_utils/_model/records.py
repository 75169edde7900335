# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files on disk read into typed records: whatever is wrong with one, a sentence names the file and the field.

A reader takes a value and where it stands, and returns what it stands for; readers are put together from others.
"""

from __future__ import annotations

import ipaddress
import json
import math
import re
import typing as t
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from .errors import StateError
from .options import is_interface
from .shape import is_number

T = t.TypeVar("T")
K = t.TypeVar("K")
Reader = Callable[[t.Any, str], T]

ADOPTED = "move it away, and the next run adopts what the kernel has"
"""What to do about a damaged file, unless a file's reader says otherwise."""

_OCTET = r"(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4 = re.compile(rf"{_OCTET}(\.{_OCTET}){{3}}", re.ASCII)
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", re.ASCII)
_LONGEST = 60
LONG_NUMBER = "a number of thousands of digits"


class Fault(Exception):  # noqa: N818  # it is what is wrong with a field, and no error of the program's
    """What is wrong with a field."""

    def __init__(self, where: str, sentence: str) -> None:
        super().__init__(f"{where}: {sentence}" if where else sentence)


def damaged(path: str, fault: object, remedy: str = ADOPTED) -> StateError:
    """What to say of a file that cannot be one of ours."""
    return StateError(f"{path} is damaged ({fault}): {remedy}")


def parse_record(source: str, path: str, read: Reader[T], remedy: str = ADOPTED) -> T:
    """Read a file's text as JSON and its content by a reader; StateError names the file and the field."""
    try:
        return read(json.loads(source), "")
    except Fault as fault:
        raise damaged(path, fault, remedy) from fault
    except (ValueError, RecursionError) as error:
        raise damaged(path, no_json(error), remedy) from error


def no_json(error: Exception) -> str:
    """Why a text cannot be parsed. Python's own words for a number of more than 4300 digits are about Python."""
    if isinstance(error, ValueError) and not isinstance(error, (json.JSONDecodeError, UnicodeError)):
        return LONG_NUMBER
    return str(error)


def below(where: str, name: str) -> str:
    """The name of a field of a field."""
    return f"{where}.{name}" if where else name


def shown(value: object) -> str:
    """A value as the file has it, shortened."""
    try:
        found = json.dumps(value)
    except ValueError:
        # Python writes no whole number of more than 4300 digits.
        return LONG_NUMBER
    return found if len(found) <= _LONGEST else f"{found[:_LONGEST]}…"


# Single values


def text(value: t.Any, where: str) -> str:
    if not isinstance(value, str) or not is_plain(value):
        raise Fault(where, f"{shown(value)} is not a text")
    return value


def is_plain(value: str) -> bool:
    """Whether the system takes such a text, in a path or a name: it has no zero byte and no half of a character."""
    return "\0" not in value and (value.isascii() or not any("\ud800" <= char <= "\udfff" for char in value))


def path(value: t.Any, where: str) -> str:
    """An absolute path."""
    if not text(value, where).startswith("/"):
        raise Fault(where, f"{shown(value)} is not an absolute path")
    return t.cast("str", value)


def interface(value: t.Any, where: str) -> str:
    """The name of an interface, which need not exist."""
    if not is_interface(text(value, where)):
        raise Fault(where, f"{shown(value)} is not the name of an interface")
    return t.cast("str", value)


def flag(value: t.Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise Fault(where, f"{shown(value)} is neither true nor false")
    return value


def number(low: int, high: int) -> Reader[int]:
    """A whole number of this range."""

    def read(value: t.Any, where: str) -> int:
        if not is_number(value, low, high):
            raise Fault(where, f"{shown(value)} is not a whole number of {low} to {high}")
        return t.cast("int", value)

    return read


def seconds(value: t.Any, where: str) -> float:
    try:
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
    except OverflowError:
        # A whole number that no float holds.
        pass
    raise Fault(where, f"{shown(value)} is not a number")


def word(*words: str) -> Reader[str]:
    """One of these words."""

    def read(value: t.Any, where: str) -> str:
        if not isinstance(value, str) or value not in words:
            raise Fault(where, f"{shown(value)} is none of {', '.join(words)}")
        return value

    return read


def is_address(value: str) -> bool:
    """Whether a text is an IP address. Quick: a state has tens of thousands."""
    if _IPV4.fullmatch(value):
        return True
    try:
        return ":" in value and "%" not in value and bool(ipaddress.IPv6Address(value))
    except ValueError:
        return False


def address(value: t.Any, where: str) -> str:
    if not is_address(text(value, where)):
        raise Fault(where, f"{shown(value)} is not an IP address")
    return t.cast("str", value)


def mac(value: t.Any, where: str) -> str:
    if not _MAC.fullmatch(text(value, where)):
        raise Fault(where, f"{shown(value)} is not a MAC address")
    return t.cast("str", value)


def maybe(read: Reader[T]) -> Reader[T | None]:
    """What the reader reads, or null."""
    return lambda value, where: None if value is None else read(value, where)


def either(first: str, read: Reader[T]) -> Reader[str | T]:
    """This text, or what the reader reads."""
    return lambda value, where: first if value == first else read(value, where)


# Several


def many(read: Reader[T]) -> Reader[list[T]]:
    """A list."""

    def read_all(value: t.Any, where: str) -> list[T]:
        if not isinstance(value, list):
            raise Fault(where, f"{shown(value)} is not a list")
        return [read(item, f"{where}[{index}]") for index, item in enumerate(value)]

    return read_all


def distinct(read: Reader[T]) -> Reader[list[T]]:
    """A list in which nothing is twice."""
    read_all = many(read)

    def read_each(value: t.Any, where: str) -> list[T]:
        seen = set()
        items = read_all(value, where)
        for index, item in enumerate(items):
            if item in seen:
                raise Fault(f"{where}[{index}]", f"{item} is listed twice")
            seen.add(item)
        return items

    return read_each


def mapping(value: t.Any, where: str) -> dict[str, t.Any]:
    if not isinstance(value, dict):
        raise Fault(where, f"{shown(value)} is not a mapping")
    return value


def named(read: Reader[T]) -> Reader[dict[str, T]]:
    """A mapping of any names."""

    def read_all(value: t.Any, where: str) -> dict[str, T]:
        return {name: read(item, below(where, name)) for name, item in mapping(value, where).items()}

    return read_all


@dataclass(frozen=True)
class Optional(t.Generic[T]):
    """A field that a file need not have."""

    read: Reader[T]


Fields = Mapping[str, t.Union[Reader[t.Any], Optional[t.Any]]]


def read_fields(value: t.Any, where: str, fields: Fields) -> dict[str, t.Any]:
    """The fields that the mapping has, each as its reader reads it. Others are left out."""
    given = mapping(value, where)
    found = {}
    for name, read in fields.items():
        if name in given:
            reader = read.read if isinstance(read, Optional) else read
            found[name] = reader(given[name], below(where, name))
        elif not isinstance(read, Optional):
            raise Fault(below(where, name), "is missing")
    return found


def record(make: Callable[..., T], **fields: Reader[t.Any] | Optional[t.Any]) -> Reader[T]:
    """A mapping with these fields, made into what they are of; fields of other names are ignored."""
    return lambda value, where: make(**read_fields(value, where, fields))
