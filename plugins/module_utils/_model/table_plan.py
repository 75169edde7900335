# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Planning a table: what is wanted, what is there, and the ordered operations between them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from operator import itemgetter

from . import layout
from .errors import PlanError
from .ids import Ids
from .operations import Delete, Operation, PurgeFlows, Put, ZeroCounters
from .table import TableEntry
from .vip_entries import real_entries, unsettled
from .vip_plan import REAL_COUNTERS


@dataclass
class TablePlan:
    """Operations in order and the real ids after them, for a resource whose entries lead to a real (or to flags)."""

    operations: list[Operation]
    real_ids: Ids


def plan_table(
    wanted: Iterable[TableEntry],
    maps: Collection[str],
    others: Mapping[str, bool],
    actual: Mapping[str, Mapping[bytes, bytes]],
    capacity: Mapping[str, int],
    real_ids: Ids,
) -> TablePlan:
    """The way from `actual` to `wanted` in `maps`.

    `others`: reals that VIPs and other resources refer to → whether it is local. `actual` holds `maps` and `reals`.
    The given ids are not changed. PlanError where there is no room.
    """
    real_ids = real_ids.copy()
    entries = list(wanted)
    refs = dict(others)
    for real in {entry.real for entry in entries}:
        if real is not None:
            refs.setdefault(real, False)
    gone = [address for address in real_ids.assigned if address not in refs]
    left = real_ids.assign(sorted(refs), capacity["reals"])
    for address in gone:
        real_ids.free(address)
    if real_ids.assign(left, capacity["reals"]):
        raise PlanError(f"sizes.reals: {len(refs)} reals, but the balancer has room for {capacity['reals'] - 1}")
    reused = unsettled(real_ids, actual["reals"])
    operations: list[Operation] = []
    present = {name: actual[name] for name in maps}
    if reused:
        # Nothing may lead to an id while it is given to another real.
        given = {layout.u32(number) for number in reused}
        for name in maps:
            keys = tuple(sorted(key for key, value in actual[name].items() if value in given))
            if keys and any(entry.real is not None for entry in entries):
                operations.append(Delete(name, keys))
                present[name] = {key: value for key, value in actual[name].items() if value not in given}
        operations.append(PurgeFlows(reused))
        operations += [ZeroCounters(name, tuple(sorted(reused))) for name in REAL_COUNTERS]
    want_reals = real_entries(refs, real_ids)
    there = actual["reals"]
    new_reals = tuple(sorted((key, value) for key, value in want_reals.items() if there.get(key) != value))
    if new_reals:
        operations.append(Put("reals", new_reals))
    values = {address: layout.u32(number) for address, number in real_ids.assigned.items()}
    operations += plan_entries(entries, maps, present, capacity, values)
    stale = tuple(sorted(key for key in there if key not in want_reals))
    if stale:
        operations.append(Delete("reals", stale))
    return TablePlan(operations, real_ids)


def plan_entries(
    wanted: Iterable[TableEntry],
    maps: Iterable[str],
    present: Mapping[str, Mapping[bytes, bytes]],
    capacity: Mapping[str, int],
    values: Mapping[str, bytes],
) -> list[Operation]:
    """The way from `present` to `wanted` in `maps`, whose ids are given: `values` has those of the reals.

    What appears comes before what goes, except where there is room only after something went.
    """
    target = _table_target(wanted, maps, values)
    first: list[Operation] = []
    puts: list[Operation] = []
    deletes: list[Operation] = []
    for name, want in target.items():
        have = present[name]
        differ = {key: value for key, value in want.items() if have.get(key) != value} if want != have else {}
        put = tuple(sorted(differ.items(), key=itemgetter(0)))
        drop = tuple(sorted(key for key in have if key not in want))
        if put:
            puts.append(Put(name, put))
        if drop:
            deletes.append(Delete(name, drop))
        if len(have) + sum(key not in have for key, _value in put) > capacity[name]:
            first += deletes
            deletes = []
    return [*first, *puts, *deletes]


def _table_target(
    entries: Iterable[TableEntry], maps: Iterable[str], values: Mapping[str, bytes]
) -> dict[str, dict[bytes, bytes]]:
    """What each map should hold. What the program has no map for is kept for one that has."""
    target: dict[str, dict[bytes, bytes]] = {name: {} for name in maps}
    for entry in entries:
        if entry.map in target:
            target[entry.map][entry.key] = entry.value if entry.real is None else values[entry.real]
    return target
