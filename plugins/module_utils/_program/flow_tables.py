# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connection tables, one for each CPU: replaced without forgetting a flow."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable

from .._kernel.open_map import Map
from .._model import layout
from .._model.snapshot import MapInfo

ById = Callable[[int], Map]
"""Opens a map by its kernel-wide id."""


def tables_in(outer: Map, by_id: ById) -> dict[int, MapInfo]:
    """CPU → its table in a map of maps."""
    found = {}
    for key, value in outer.items():
        # One that another process replaced meanwhile is gone.
        with contextlib.suppress(FileNotFoundError), by_id(layout.parse_u32(value)) as inner:
            found[layout.parse_u32(key)] = inner.info
    return found


def count_entries(table: Map) -> int:
    """How many entries a hash map has."""
    return sum(count for _keys, _values, count in table.batches())


def put_table(outer: Map, cpu: int, new: Map, by_id: ById, outgrown: Map | None = None) -> None:
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
    with by_id(layout.parse_u32(value)) as old:
        if outgrown is None:
            new.insert_many(old.items())
        else:
            outgrown.update(key, layout.u32(old.fd))
        # The kernel returns from this when no CPU uses the old one any more.
        outer.update(key, layout.u32(new.fd))
        new.insert_many(old.items())
        if outgrown is not None:
            outgrown.delete(key)


def finish_tables(outer: Map, outgrown: Map, by_id: ById) -> None:
    """Finish what a run did that was killed while it replaced tables."""
    for key, value in dict(outgrown.items()).items():
        there = outer.lookup(key)
        with by_id(layout.parse_u32(value)) as old:
            if there is not None and there != value:
                with by_id(layout.parse_u32(there)) as new:
                    new.insert_many(old.items())
            outgrown.delete(key)


def take_table(outer: Map, cpu: int, heirs: Iterable[int], by_id: ById) -> None:
    """Take a CPU's connection table away; the tables of the CPUs that its packets may go to get its flows."""
    key = layout.u32(cpu)
    value = outer.lookup(key)
    if value is None:
        return
    keys = [layout.u32(heir) for heir in heirs]
    with by_id(layout.parse_u32(value)) as old:
        # Before, so that a run killed in between loses none; and what came last, after.
        _inherit(outer, old, keys, by_id)
        outer.delete(key)
        _inherit(outer, old, keys, by_id)


def _inherit(outer: Map, old: Map, heirs: Iterable[bytes], by_id: ById) -> None:
    for heir in heirs:
        there = outer.lookup(heir)
        if there is not None:
            with by_id(layout.parse_u32(there)) as table:
                table.insert_many(old.items())
