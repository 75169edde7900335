# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Flows of a running Katran in our connection tables, and the other way: real ids are translated by address."""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, suppress

from .._kernel.open_map import Map
from .._model import layout
from .flow_tables import ById, tables_in

TABLES = {"lru_mapping": "fallback_cache", "global_lru_maps": "fallback_glru"}
"""Map of CPUs' tables → the one for CPUs that have none."""

FLOW_MAPS = (*TABLES, *TABLES.values())

Maps = Mapping[str, Map]


def maps_by_id(map_ids: Iterable[int], by_id: ById, held: ExitStack) -> dict[str, Map]:
    """A program's maps that have to do with flows, by name; of others of that name the first."""
    found: dict[str, Map] = {}
    for number in map_ids:
        # One of a program that ends meanwhile is gone.
        with suppress(FileNotFoundError):
            opened = by_id(number)
            if opened.info.name in ("reals", *FLOW_MAPS) and opened.info.name not in found:
                found[opened.info.name] = held.enter_context(opened)
            else:
                opened.close()
    return found


def ids_of(reals: Map) -> dict[tuple[bytes, bool], int]:
    """(packed address, whether it is IPv6) → id."""
    found = {}
    for key, value in reals.items():
        packed, flags = layout.parse_real_definition(value)
        if any(value) and any(key):
            found[packed, bool(flags & layout.REAL_IPV6)] = layout.parse_u32(key)
    return found


def copy_flows(source: Maps, target: Maps, by_id: ById, only_new: bool) -> int:
    """Copy the flows of each CPU's table; returns how many led to a real that the target does not have.

    `only_new`: those that the target does not have. The flows of a CPU that has no table there go to all that there
    are: whichever gets its packets finds them.
    """
    there = ids_of(target["reals"])
    known = ids_of(source["reals"])
    ids = {layout.u32(number): layout.u32(there[real]) for real, number in known.items() if real in there}
    lost = 0
    for name, fallback in TABLES.items():
        if name not in source or name not in target:
            continue
        tables = tables_in(target[name], by_id)
        for cpu, info in tables_in(source[name], by_id).items():
            heirs = [tables[cpu].id] if cpu in tables else sorted({each.id for each in tables.values()})
            with suppress(FileNotFoundError), by_id(info.id) as old, ExitStack() as held:
                into = [held.enter_context(by_id(number)) for number in heirs]
                lost += _copy(old, into or _one(target, fallback), ids, only_new)
        if fallback in source and fallback in target:
            lost += _copy(source[fallback], [target[fallback]], ids, only_new)
    return lost


def _one(maps: Maps, name: str) -> list[Map]:
    return [maps[name]] if name in maps else []


def _copy(old: Map, into: Iterable[Map], ids: Mapping[bytes, bytes], only_new: bool) -> int:
    lost = 0
    tables = list(into)
    for keys, values, count in old.batches():
        entries, missed = _translated(keys, values, count, old.info.value_size, ids)
        lost += missed
        for table in tables:
            write: Callable[[t.Any], None] = table.insert_many if only_new else table.update_many
            write(entries)
    return lost


def _translated(
    keys: bytes, values: bytes, count: int, size: int, ids: Mapping[bytes, bytes]
) -> tuple[list[tuple[bytes, bytes]], int]:
    """The entries with the target's ids, and how many have none."""
    found = []
    for index in range(count):
        at = index * size
        real = ids.get(values[at : at + 4])
        if real is not None:
            found.append((keys[index * 40 : index * 40 + 40], real + values[at + 4 : at + size]))
    return found, count - len(found)
