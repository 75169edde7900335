# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of `check` and `announce`: which there are, which mean something for which type, and how each value is read.

A reader takes a value as an operator, a module or state.json has it, and returns it as Probe, Check or Announce has it;
ValueError says in a sentence why it cannot.
"""

from __future__ import annotations

import math
import re
import typing as t
from collections.abc import Callable, Mapping

from .addresses import Address, read_address, read_host
from .checks import CHECK_TYPES, LAST_RESORT, ON_DOWN
from .shape import Options, is_number
from .written import hidden_in, number_fault

METHODS = ("GET", "HEAD", "OPTIONS", "POST")
RECORDS = ("A", "AAAA", "CNAME", "MX", "NS", "PTR", "SOA", "SRV", "TXT")

_POLICY = ("min_healthy", "slow_start", "on_down")
_PROBED = ("address", "port", "interval", "timeout", "fast_interval", "fall", "rise", *_POLICY)
_HTTP = (*_PROBED, "host", "path", "method", "headers", "status", "drain_status", "body")

MEANT: Mapping[str, frozenset[str]] = {
    "tcp": frozenset(_PROBED),
    "tls": frozenset((*_PROBED, "host", "verify")),
    "http": frozenset(_HTTP),
    "https": frozenset((*_HTTP, "verify")),
    "udp": frozenset((*_PROBED, "payload", "expect")),
    "dns": frozenset((*_PROBED, "query", "record")),
    "external": frozenset(_POLICY),
}
"""Type of check → the options that mean something for it, beside the type."""

CHECK_OPTIONS: Options = {
    "type": {"type": "str", "choices": list(CHECK_TYPES)},
    "address": {"type": "str"},
    "port": {"type": "int"},
    "host": {"type": "str"},
    "path": {"type": "str"},
    "method": {"type": "str", "choices": list(METHODS)},
    "headers": {"type": "dict"},
    "status": {"type": "list", "elements": "str"},
    "drain_status": {"type": "list", "elements": "str"},
    "body": {"type": "str"},
    "verify": {"type": "bool"},
    "payload": {"type": "str"},
    "expect": {"type": "str"},
    "query": {"type": "str"},
    "record": {"type": "str", "choices": list(RECORDS)},
    # Ansible's float takes true for 1.0, and nan.
    "interval": {"type": "raw"},
    "timeout": {"type": "raw"},
    "fast_interval": {"type": "raw"},
    "fall": {"type": "int"},
    "rise": {"type": "int"},
    "min_healthy": {"type": "int"},
    "slow_start": {"type": "raw"},
    "on_down": {"type": "str", "choices": list(ON_DOWN)},
}
"""The argument spec of a check."""

ANNOUNCE_OPTIONS: Options = {
    "enabled": {"type": "bool"},
    "min_healthy": {"type": "int"},
    "communities": {"type": "list", "elements": "str"},
    "last_resort": {"type": "str", "choices": list(LAST_RESORT)},
}
"""The argument spec of an announcement."""

MAX_REALS = 65536
_LONGEST_TEXT = 1000
_LONGEST_PAYLOAD = 1200
"""Bytes that fit into a packet within a tunnel on every path."""

_MAX_HEADERS = 32
_OWN_HEADERS = ("host", "connection", "content-length", "transfer-encoding")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
_HEADER_VALUE = re.compile(r"([\x21-\x7e]([\t\x20-\x7e]*[\x21-\x7e])?)?")
_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)", re.ASCII)
_LONGEST_NAME = 253
_DECIMAL = re.compile(r"(0|[1-9][0-9]*)(\.[0-9]+)?", re.ASCII)
_STATUS = re.compile(r"([1-5][0-9]{2})(?:-([1-5][0-9]{2}))?", re.ASCII)
_COMMUNITY = re.compile(r"(0|[1-9][0-9]{0,9})(:(0|[1-9][0-9]{0,9})){1,2}", re.ASCII)
_TRUTH = "YAML reads yes, no, on and off without quotes as truth values"

Read = Callable[[t.Any], t.Any]


def _seconds(low: float, high: float) -> Read:
    def read(value: t.Any) -> float:
        told = number_fault(value) if isinstance(value, str) and re.fullmatch("[0-9]+", value, re.ASCII) else None
        if told:
            raise ValueError(told)
        if isinstance(value, bool):
            raise ValueError(f"{value} is not a number: {_TRUTH}")
        good = isinstance(value, (int, float)) or (isinstance(value, str) and _DECIMAL.fullmatch(value))
        # A number of ten thousand digits is one that float() does not take.
        found = float(value) if good and len(str(value)) < _LONGEST_NAME else math.nan
        if not low <= found <= high:
            raise ValueError(f"{value} is not a number of seconds from {low:g} to {high:g}")
        return found

    return read


def _whole(low: int, high: int, noun: str = "a whole number") -> Read:
    def read(value: t.Any) -> int:
        if not is_number(value, low, high):
            raise ValueError(f"{value} is not {noun} ({low} to {high})")
        return t.cast("int", value)

    return read


def _word(*words: str) -> Read:
    def read(value: t.Any) -> str:
        if not isinstance(value, str) or value not in words:
            raise ValueError(f"{value} is none of {', '.join(words)}")
        return value

    return read


def _flag(value: t.Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{value} is neither true nor false")
    return value


def _text(value: t.Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value} is not a text")
    if len(value) > _LONGEST_TEXT:
        raise ValueError(f"has {len(value)} characters, and {_LONGEST_TEXT} are the most")
    return value


def _seen(value: t.Any) -> str:
    """A text without anything that cannot be seen."""
    text = _text(value)
    told = hidden_in(text)
    if told or " " in text:
        raise ValueError(told or f"{text!a} has white space in it")
    return text


def _address(value: t.Any) -> str:
    found = read_host(_text(value))
    if not isinstance(found, Address):
        raise ValueError(found)
    return found.text


def _is_name(text: str) -> bool:
    return len(text) <= _LONGEST_NAME and all(map(_LABEL.fullmatch, text.split(".")))


def _host(value: t.Any) -> str:
    text = _seen(value)
    address = read_address(text)
    if address is not None:
        return address.text
    # What ends in a number is an address that is none.
    if not _is_name(text) or text.rpartition(".")[2].isdecimal():
        raise ValueError(f"{text} is neither the name of a host nor an IP address")
    return text


def _path(value: t.Any) -> str:
    text = _seen(value)
    if not text.startswith("/"):
        raise ValueError(f'"{text}" does not begin with /')
    if "#" in text:
        raise ValueError(f'"{text}" has # in it, and what follows that is never sent')
    return text


def _body(value: t.Any) -> str:
    text = _text(value)
    if not text:
        raise ValueError("is empty, which every answer has in it")
    return _encodable(text)


def _encodable(text: str) -> str:
    if any("\ud800" <= char <= "\udfff" for char in text):
        raise ValueError(f"{text!a} has half of a character in it")
    return text


def _headers(value: t.Any) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{value} is not a mapping of names to values")
    if len(value) > _MAX_HEADERS:
        raise ValueError(f"has {len(value)} headers, and {_MAX_HEADERS} are the most")
    found: dict[str, str] = {}
    seen: set[str] = set()
    for name, given in value.items():
        if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name):
            raise ValueError(f"{name!a} is not the name of a header")
        if name.lower() in _OWN_HEADERS:
            instead = "; option host says it" if name.lower() == "host" else ""
            raise ValueError(f"{name} is what a request has of itself{instead}")
        if name.lower() in seen:
            raise ValueError(f"{name} is there twice")
        seen.add(name.lower())
        found[name] = _header_value(name, given)
    return tuple(sorted(found.items()))


def _header_value(name: str, given: t.Any) -> str:
    if isinstance(given, bool) or not isinstance(given, (str, int, float)):
        why = f"{given} is not a text" + (f": {_TRUTH}" if isinstance(given, bool) else "")
        raise ValueError(f"{name} has no value" if given is None else f"{name} has no text for its value: {why}")
    text = str(given)
    if "\r" in text or "\n" in text:
        raise ValueError(f"the value of {name} has a line end in it, behind which there would be another header")
    if len(text) > _LONGEST_TEXT or not _HEADER_VALUE.fullmatch(text):
        raise ValueError(f"the value of {name} is not up to {_LONGEST_TEXT} characters of ASCII without spaces around")
    return text


def _statuses(value: t.Any) -> tuple[int, ...]:
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"{value} is not a list")
    found: set[int] = set()
    for each in value:
        text = "" if isinstance(each, (bool, float)) else str(each)
        match = _STATUS.fullmatch(text)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if first > last:
            told = number_fault(text) if re.fullmatch("0[0-9]+", text, re.ASCII) else None
            raise ValueError(told or f"{each} is neither a status (100 to 599) nor a range such as 200-299")
        found.update(range(first, last + 1))
    return tuple(sorted(found))


def _some_statuses(value: t.Any) -> tuple[int, ...]:
    found = _statuses(value)
    if not found:
        raise ValueError("is empty, so that no answer would do")
    return found


def _octets(value: t.Any) -> str:
    """Bytes as hexadecimal digits, from a text or from `hex:` and digits."""
    if not isinstance(value, str):
        raise ValueError(f"{value} is not a text")
    if value.startswith("hex:"):
        digits = "".join(value[4:].split()).lower()
        if len(digits) % 2 or not re.fullmatch("[0-9a-f]*", digits):
            raise ValueError(f"{value[:80]} is not hex: and two hexadecimal digits for each byte")
    else:
        digits = _encodable(value).encode().hex()
    if len(digits) > 2 * _LONGEST_PAYLOAD:
        raise ValueError(f"has {len(digits) // 2} bytes, and {_LONGEST_PAYLOAD} are the most")
    return digits


def _query(value: t.Any) -> str:
    text = _seen(value).lower()
    name = text.removesuffix(".")
    if text != "." and not _is_name(name):
        raise ValueError(f"{text} is not the name of a domain")
    return name or "."


def _as_number(text: str) -> str | None:
    """That YAML made a number of a community, in a sentence; None where it cannot have."""
    if not text.isascii() or not text.isdecimal() or not 1 << 16 <= int(text[:15]) < 60 << 16:
        return None
    first, last = divmod(int(text), 60)
    return f"{text} is a number: YAML reads {first}:{last} without quotes as one of base 60; put quotes around it"


def _communities(value: t.Any) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"{value} is not a list")
    found = []
    for each in value:
        text = str(each)
        parts = text.split(":") if _COMMUNITY.fullmatch(text) else []
        if not parts or max(map(int, parts)) >= (1 << 16 if len(parts) == 2 else 1 << 32):
            raise ValueError(_as_number(text) or f"{each} is not a community (65001:80, or 65001:1:80 of a large one)")
        if text in found:
            raise ValueError(f"{text} is listed twice")
        found.append(text)
    return tuple(found)


CHECK_VALUES: Mapping[str, Read] = {
    "type": _word(*CHECK_TYPES),
    "address": _address,
    "port": _whole(1, 65535, "a port"),
    "host": _host,
    "path": _path,
    "method": _word(*METHODS),
    "headers": _headers,
    "status": _some_statuses,
    "drain_status": _statuses,
    "body": _body,
    "verify": _flag,
    "payload": _octets,
    "expect": _octets,
    "query": _query,
    "record": _word(*RECORDS),
    "interval": _seconds(0.1, 3600),
    "timeout": _seconds(0.01, 60),
    "fast_interval": _seconds(0.1, 3600),
    "fall": _whole(1, 100),
    "rise": _whole(1, 100),
    "min_healthy": _whole(0, 100, "a per cent"),
    "slow_start": _seconds(0, 3600),
    "on_down": _word(*ON_DOWN),
}
"""Option of a check → how its value is read."""

ANNOUNCE_VALUES: Mapping[str, Read] = {
    "enabled": _flag,
    "min_healthy": _whole(0, MAX_REALS, "a number of reals"),
    "communities": _communities,
    "last_resort": _word(*LAST_RESORT),
}
"""Option of an announcement → how its value is read."""
