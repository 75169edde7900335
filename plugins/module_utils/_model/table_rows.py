# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rows of a table's file: typed, and told by field where they cannot be what a run wrote.

A table may have a hundred thousand rows: the question whether all is well is asked of all of them at once, and only
where it is not, of each field.
"""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter

from .addresses import read_prefix
from .records import Fault, Fields, Reader, address, flag, is_address, many, number, parse_record, read_fields, text

Row = dict[str, t.Any]
_LARGEST = 0xFFFFFFFF


def _prefix(value: t.Any, where: str) -> str:
    found = read_prefix(text(value, where))
    if isinstance(found, str):
        raise Fault(where, found)
    return t.cast("str", value)


class _Kind(t.NamedTuple):
    """One kind of row: its fields, the first of which is the key, and a quick look at all keys."""

    fields: Fields
    sound: Callable[[Sequence[t.Any]], bool]


def _numbers(low: int) -> Callable[[Sequence[t.Any]], bool]:
    return lambda keys: set(map(type, keys)) == {int} and min(keys) >= low and max(keys) <= _LARGEST


def _prefixes(keys: Sequence[t.Any]) -> bool:
    return not any(isinstance(read_prefix(key), str) for key in keys)


def _addresses(keys: Sequence[t.Any]) -> bool:
    return all(map(is_address, keys))


_KINDS: Mapping[str, _Kind] = {
    "source_routes": _Kind({"prefix": _prefix, "real": address}, _prefixes),
    "server_ids": _Kind({"id": number(0, _LARGEST), "real": address}, _numbers(0)),
    "decap_destinations": _Kind({"address": address, "egress": flag}, _addresses),
    "healthcheck_destinations": _Kind({"mark": number(0, _LARGEST), "real": address}, _numbers(0)),
}


def read_rows(name: str, source: str, path: str) -> list[Row]:
    """The rows of a table's file; StateError names the file and the field at fault."""
    return parse_record(source, path, _rows(_KINDS[name]))


def _rows(kind: _Kind) -> Reader[list[Row]]:
    def read(value: t.Any, where: str) -> list[Row]:
        if not _sound(value, kind):
            many(lambda row, place: read_fields(row, place, kind.fields))(value, where)
            _tell_twins(value, where, kind)
        return t.cast("list[Row]", value)

    return read


def _sound(value: t.Any, kind: _Kind) -> bool:
    """Whether nothing is wrong with any row; False also where the quick look cannot tell."""
    if value == []:
        return True
    try:
        keys, values = zip(*map(itemgetter(*kind.fields), value), strict=True)
        if type(value) is not list or len(set(keys)) < len(keys) or not kind.sound(keys):
            return False
        if "real" in kind.fields:
            return all(map(is_address, set(values)))
        return set(map(type, values)) == {bool}
    except (KeyError, TypeError, AttributeError, IndexError, ValueError):
        return False


def _tell_twins(rows: Sequence[Row], where: str, kind: _Kind) -> None:
    name = next(iter(kind.fields))
    seen = set()
    for index, row in enumerate(rows):
        if row[name] in seen:
            raise Fault(f"{where}[{index}].{name}", f"{row[name]} is listed twice")
        seen.add(row[name])
