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
from .prefixes import read_prefixes
from .records import Fault, Reader, address, flag, is_address, many, number, parse_record, read_fields, text
from .table import Table

Row = dict[str, t.Any]
_LARGEST = 0xFFFFFFFF


def _prefix(value: t.Any, where: str) -> str:
    found = read_prefix(text(value, where))
    if isinstance(found, str):
        raise Fault(where, found)
    return t.cast("str", value)


_NUMBER = number(0, _LARGEST)


def row_fields(table: Table[t.Any, t.Any]) -> dict[str, Reader[t.Any]]:
    """How the fields of a table's rows are read, by what its entries' options are: the key, and what it leads to."""
    return {name: _reader(name, table.options[name]) for name in (table.key, table.value)}


def _reader(name: str, option: Mapping[str, t.Any]) -> Reader[t.Any]:
    if option["type"] == "int":
        return _NUMBER
    if option["type"] == "bool":
        return flag
    return _prefix if name == "prefix" else address


def _numbers(values: Sequence[t.Any]) -> bool:
    return set(map(type, values)) == {int} and min(values) >= 0 and max(values) <= _LARGEST


def _flags(values: Sequence[t.Any]) -> bool:
    return set(map(type, values)) == {bool}


def _prefixes(values: Sequence[t.Any]) -> bool:
    return read_prefixes(values) is not None or not any(isinstance(read_prefix(value), str) for value in values)


def _addresses(values: Sequence[t.Any]) -> bool:
    return all(map(is_address, set(values)))


_QUICK: Mapping[Reader[t.Any], Callable[[Sequence[t.Any]], bool]] = {
    _NUMBER: _numbers,
    flag: _flags,
    _prefix: _prefixes,
    address: _addresses,
}
"""The reader of a field → whether it would read all of these."""


def read_rows(table: Table[t.Any, t.Any], source: str, path: str) -> list[Row]:
    """The rows of a table's file; StateError names the file and the field at fault."""

    def read(value: t.Any, where: str) -> list[Row]:
        fields = row_fields(table)
        if not _sound(value, fields):
            many(lambda row, place: read_fields(row, place, fields))(value, where)
            _tell_twins(value, where, table.key)
        return t.cast("list[Row]", value)

    return parse_record(source, path, read)


def _sound(value: t.Any, fields: Mapping[str, Reader[t.Any]]) -> bool:
    """Whether nothing is wrong with any row; False also where the quick look cannot tell."""
    if value == []:
        return True
    try:
        keys, values = zip(*map(itemgetter(*fields), value), strict=True)
        read_key, read_value = fields.values()
        sound = _QUICK[read_key](keys) and _QUICK[read_value](values)
        return isinstance(value, list) and len(set(keys)) == len(keys) and sound
    except (KeyError, TypeError, AttributeError, IndexError, ValueError):
        return False


def _tell_twins(rows: Sequence[Row], where: str, name: str) -> None:
    seen = set()
    for index, row in enumerate(rows):
        if row[name] in seen:
            raise Fault(f"{where}[{index}].{name}", f"{row[name]} is listed twice")
        seen.add(row[name])
