# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connection tables, one for each CPU: replaced without forgetting a flow."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from .._kernel import bpf
from .._model import layout
from .._model.snapshot import MapInfo


def table_sizes(total: int, cpus: Iterable[int]) -> dict[int, int]:
    """CPU → entries of its table; their sum is `total`, or one each where that is less."""
    numbers = sorted(cpus)
    share, rest = divmod(total, max(len(numbers), 1))
    return {cpu: max(share + (index < rest), 1) for index, cpu in enumerate(numbers)}


def tables_in(outer: bpf.Map) -> dict[int, MapInfo]:
    """CPU → its table in a map of maps."""
    found = {}
    for key, value in outer.items():
        # One that another process replaced meanwhile is gone.
        with contextlib.suppress(FileNotFoundError), bpf.map_by_id(layout.parse_u32(value)) as inner:
            found[layout.parse_u32(key)] = inner.info
    return found


def count_entries(table: bpf.Map) -> int:
    """How many entries a hash map has."""
    return sum(count for _keys, _values, count in table.batches())


def put_table(outer: bpf.Map, cpu: int, new: bpf.Map, outgrown: bpf.Map | None = None) -> None:
    """Give a CPU this table, with the flows of the one it had.

    With `outgrown` (lru_outgrown) the program finds there what the new table does not have yet. So no flow is missed,
    and none is found as it was: the old table no longer changes while it is copied, and what the new one learned since
    stays. Without it, as for tables that packets do not write, the flows are there before and what came last follows.
    """
    key = layout.u32(cpu)
    value = outer.lookup(key)
    if value is None:
        outer.update(key, layout.u32(new.fd))
        return
    with bpf.map_by_id(layout.parse_u32(value)) as old:
        if outgrown is None:
            new.insert_many(old.items())
        else:
            outgrown.update(key, layout.u32(old.fd))
        # The kernel returns from this when no CPU uses the old one any more.
        outer.update(key, layout.u32(new.fd))
        new.insert_many(old.items())
        if outgrown is not None:
            outgrown.delete(key)


def finish_tables(outer: bpf.Map, outgrown: bpf.Map) -> None:
    """Finish what a run did that was killed while it replaced tables."""
    for key, value in dict(outgrown.items()).items():
        there = outer.lookup(key)
        with bpf.map_by_id(layout.parse_u32(value)) as old:
            if there is not None and there != value:
                with bpf.map_by_id(layout.parse_u32(there)) as new:
                    new.insert_many(old.items())
            outgrown.delete(key)


def take_table(outer: bpf.Map, cpu: int, heirs: Iterable[int]) -> None:
    """Take a CPU's connection table away; the tables of the CPUs that its packets may go to get its flows."""
    key = layout.u32(cpu)
    value = outer.lookup(key)
    if value is None:
        return
    with bpf.map_by_id(layout.parse_u32(value)) as old:
        outer.delete(key)
        for heir in heirs:
            there = outer.lookup(layout.u32(heir))
            if there is not None:
                with bpf.map_by_id(layout.parse_u32(there)) as table:
                    table.insert_many(old.items())
