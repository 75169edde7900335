# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One run of a table's module."""

from __future__ import annotations

import operator
import typing as t
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from .._kernel.maps import Maps
from .._kernel.state_files import StateFile
from .._model import layout
from .._model.draining import leading_warnings, may_lead_astray
from .._model.drift import reals_drift, table_drift
from .._model.entries import Asked
from .._model.errors import EngineError
from .._model.faults import shortened
from .._model.ids import Ids
from .._model.limits import UNLIMITED, Limits
from .._model.operations import Operation, count
from .._model.readiness import hold_back_rows
from .._model.references import other_references
from .._model.state import State
from .._model.table import Around, TableEntry
from .._model.table_plan import plan_entries, plan_table
from .._model.verdicts import words_of
from .._model.vip_entries import Actual, adopt, real_entries
from .._model.vips import vips_from_config
from .execute import execute
from .known_tables import AnyTable, Entries, known_table
from .opened import limits_of
from .recovery import lost_warnings
from .request import Clock, Request, Result

Items = Mapping[t.Any, t.Any]


class TableRun:
    """One run of the module of a table whose entries lead to no id; its methods are the phases, in order."""

    shared: tuple[str, ...] = ()
    """The maps beside the table's own that are looked at."""

    def __init__(self, table: AnyTable, request: Request, maps: Maps, file: StateFile, clock: Clock) -> None:
        self.table = table
        self.request = request
        self.maps = maps
        self.file = file
        self.clock = clock
        self.result = Result(timings=clock.timings)
        self.on_file = file.read_file(table.file) is not None

    def run(self, asked: Asked) -> Result:
        """Bring the table to what is asked; in check mode only say what that takes."""
        with self.clock.phase("read"):
            limits = self.limits()
            names = [name for name in self.table.maps if name in self.maps.names()]
            actual = self.after_others({name: self.maps.entries(name) for name in (*names, *self.shared)})
            capacity = {name: self.maps.capacity(name) for name in (*names, *self.shared)}
        if self._is_as_asked(asked, limits, names, actual, capacity):
            return self.result
        with self.clock.phase("read"):
            known = self.known(actual)
        with self.clock.phase("validate"):
            wanted = self._hold_back(known, self.table.resolve(known, replace(asked, limits=limits)))
            self._warn(known, wanted, names, limits)
            self.result.warnings += self.drained(wanted, limits)
        with self.clock.phase("plan"):
            entries = self.table.entries(wanted.values())
            operations = self.plan(entries, names, actual, capacity)
            self._report(known, wanted, operations, actual)
        if not self.request.check and (operations or not self.on_file or known != wanted or self.is_unsettled()):
            with self.clock.phase("write"):
                self._write(operations, wanted)
        return self.result

    # what depends on who else has a part in the maps

    def limits(self) -> Limits:
        """What the program can hold."""
        return UNLIMITED

    def known(self, actual: Entries) -> dict[t.Any, t.Any]:
        """The table as the last run left it."""
        return known_table(self.table, self.file, None, actual)

    def after_others(self, actual: Entries) -> Entries:
        """The maps as the play's tasks before this one would have left them, in a review."""
        return actual

    def around(self, limits: Limits) -> Around:
        """What the table may look at."""
        return Around(limits, (), self._other_map)

    def plan(
        self, entries: Sequence[TableEntry], names: Sequence[str], actual: Entries, capacity: Mapping[str, int]
    ) -> list[Operation]:
        """The operations that bring the maps to these entries."""
        return plan_entries(entries, names, actual, capacity, {})

    def drift(self, operations: Sequence[Operation], explained: set[tuple[str, bytes]], actual: Entries) -> list[str]:
        """What is not as the last run left it."""
        return table_drift(operations, explained, actual, self.table) if self.on_file else []

    def drained(self, wanted: Items, limits: Limits) -> list[str]:
        """What to say of entries that lead to reals which take no new flow."""
        del wanted, limits
        return []

    def is_unsettled(self) -> bool:
        """Whether there is something to write down though the table stays as it is."""
        return False

    def values_of(
        self, reals: Collection[str], actual: Entries, capacity: Mapping[str, int]
    ) -> Mapping[str, bytes] | None:
        """What entries that lead to these reals hold; None where more is to be done, or said, than of the entries."""
        del reals, actual, capacity
        return None

    def begin(self) -> None:
        """Write down what is about to be done to the maps."""

    def end(self) -> None:
        """Write down that it is done."""

    # the phases

    def _is_as_asked(
        self, asked: Asked, limits: Limits, names: Sequence[str], actual: Entries, capacity: Mapping[str, int]
    ) -> bool:
        """Whether it can be told at once that all is as it is asked for: by the file's lines and the maps' entries.

        Most runs of a large table change nothing. What this says no to, the phases look at.
        """
        with self.clock.phase("validate"):
            text = self.file.read_file(self.table.file)
            if not asked.config or asked.deletes or text is None or set(names) != set(self.table.maps):
                return False
            glance = self.table.glance(asked.config, limits)
            if glance is None:
                return False
            lines = self.table.lines(text)
            there = frozenset(lines)
            if len(lines) != sum(map(len, glance.maps.values())) or not all(map(there.__contains__, glance.lines)):
                return False
        with self.clock.phase("plan"):
            values = self.values_of({real for each in glance.maps.values() for real in each.values()}, actual, capacity)
            if values is None:
                return False
            for name, wanted in glance.maps.items():
                found, expected = map(actual[name].get, wanted), map(values.__getitem__, wanted.values())
                if len(actual[name]) != len(wanted) or not all(map(operator.eq, found, expected)):
                    return False
            self.result.warnings += self.table.warnings(glance.items, self.around(limits))
        return True

    def _other_map(self, name: str) -> Mapping[bytes, bytes] | None:
        return self.maps.entries(name) if name in self.maps.names() else None

    def _hold_back(self, known: Items, told: Items) -> Items:
        wanted, early = hold_back_rows(known, told, self.request.unready)
        waiting = [
            f"{self._name(key)}: waits for {self.table.leads_to(told[key])}, not ready (unready_reals)" for key in early
        ]
        self.result.warnings += shortened(waiting, f"and {{}} more {self.table.name}")
        return wanted

    def _warn(self, known: Items, wanted: Items, names: Sequence[str], limits: Limits) -> None:
        self.result.warnings += self.table.warnings(wanted.values(), self.around(limits))
        self.result.warnings += shortened(self.table.moves(known, wanted), f"and {{}} more {self.table.name}")
        if wanted and not names:
            if wanted != known:
                raise EngineError(f"{self.table.name}: needs feature {self.table.feature}")
            self.result.warnings.append(self.table.idle(len(wanted)))

    def _name(self, key: t.Any) -> str:
        return f"{self.table.noun} {self.table.shown(key)}"

    def _report(self, known: Items, wanted: Items, operations: Sequence[Operation], actual: Entries) -> None:
        """Say what changes, in config's words, and what somebody else changed."""
        differ = {
            key for side, other in ((known, wanted), (wanted, known)) for key in side if side[key] != other.get(key)
        }
        changed = self.table.in_order(differ)
        self.result.before = [self.table.row(known[key]) for key in changed if key in known]
        self.result.after = [self.table.row(wanted[key]) for key in changed if key in wanted]
        leads_to, name = self.table.leads_to, self._name
        for key in changed:
            was, now = known.get(key), wanted.get(key)
            if was is None:
                verb = f"added ({leads_to(now)})"
            else:
                verb = "removed" if now is None else f"{leads_to(was)} → {leads_to(now)}"
            self.result.changes.append(f"{name(key)}: {verb}")
        self.result.operations = count(operations)
        if operations:
            items = [side[key] for key in changed for side in (known, wanted) if key in side]
            explained = {(entry.map, entry.key) for entry in self.table.entries(items)}
            self.result.drift = self.drift(operations, explained, actual)
            self.result.changes += self.result.drift
            self.result.explain()

    def _write(self, operations: Sequence[Operation], wanted: Items) -> None:
        self.file.sweep()
        if operations:
            self.begin()
            execute(operations, self.maps, 0)
        # Of a table that was empty, the report has every row.
        same = len(self.result.after) == len(wanted)
        rows = self.result.after if same else [self.table.row(wanted[key]) for key in self.table.in_order(wanted)]
        self.file.write_file(self.table.file, self.table.text(rows))
        self.end()


class BalancerTableRun(TableRun):
    """One run of the module of a balancer's table: ids of reals are shared with the VIPs and the other tables."""

    shared = ("reals",)

    def __init__(
        self, table: AnyTable, request: Request, maps: Maps, file: StateFile, state: State, clock: Clock
    ) -> None:
        super().__init__(table, request, maps, file, clock)
        self.state = state
        self.after = state
        self.result.warnings += lost_warnings(state)
        self.others = self._others()

    def limits(self) -> Limits:
        """What the balancer can hold."""
        return limits_of(self.request, self.state, self.maps)

    def known(self, actual: Entries) -> dict[t.Any, t.Any]:
        """The table as the last run left it."""
        return known_table(self.table, self.file, self.state, actual)

    def after_others(self, actual: Entries) -> Entries:
        """With the reals in order, where a task before this one puts them in order and says so."""
        if not self.request.applied or not self.state.is_sure:
            return actual
        ids = self._ids(actual)
        refs = {**dict.fromkeys(self.state.references.get(self.table.name, ()), False), **self.others}
        known = {address: local for address, local in refs.items() if address in ids.assigned}
        return {**actual, "reals": real_entries(known, ids)}

    def around(self, limits: Limits) -> Around:
        """What the table may look at."""
        settled = not self.request.kept and (not self.request.check or self.request.planned is None)
        return replace(super().around(limits), vips=self.state.vips, settled=settled)

    def plan(
        self, entries: Sequence[TableEntry], names: Sequence[str], actual: Entries, capacity: Mapping[str, int]
    ) -> list[Operation]:
        """The operations that bring the maps, and the reals, to these entries; `after` has the state after them."""
        plan = plan_table(entries, names, self.others, actual, capacity, self._ids(actual))
        self.real_ids = plan.real_ids
        references = sorted({entry.real for entry in entries if entry.real})
        self.after = replace(
            self.state,
            real_ids=plan.real_ids.settled(),
            interrupted=self.state.ended(self.table.name),
            references={**self.state.references, self.table.name: references},
        )
        return plan.operations

    def values_of(
        self, reals: Collection[str], actual: Entries, capacity: Mapping[str, int]
    ) -> Mapping[str, bytes] | None:
        """Their ids, where the state is sure and stays as it is, and where no real is drained."""
        state = self.state
        words = words_of(state)
        if state.recovered or may_lead_astray(self.table, reals, vips_from_config(state.vips), words):
            return None
        if self.plan([TableEntry("", b"", real) for real in reals], (), actual, capacity) or self.is_unsettled():
            return None
        return {real: layout.u32(self.real_ids.assigned[real]) for real in reals}

    def drift(self, operations: Sequence[Operation], explained: set[tuple[str, bytes]], actual: Entries) -> list[str]:
        """What is not as the last run left it, where that is known."""
        if not self.state.is_sure_of(self.table.name):
            return []
        found = table_drift(operations, explained, actual, self.table)
        if self.state.is_sure:
            found += reals_drift(operations, self.others, actual["reals"], self.state.real_ids)
        return found

    def drained(self, wanted: Items, limits: Limits) -> list[str]:
        """Entries that lead to reals which take no new flow, or that no VIP has."""
        if self.state.recovered:
            return []
        vips = vips_from_config(self.state.vips)
        return leading_warnings(self.table, wanted, vips, words_of(self.state), limits)

    def is_unsettled(self) -> bool:
        """Whether ids or references change."""
        return self.after != self.state

    def begin(self) -> None:
        """Write down the ids, and that until the end the old entries' reals count as referred to, and the new ones'."""
        mine = {*self.state.references.get(self.table.name, ()), *self.after.references[self.table.name]}
        self.file.write(
            replace(
                self.state,
                real_ids=self.real_ids,
                interrupted=self.state.begun(self.table.name),
                references={**self.state.references, self.table.name: sorted(mine)},
            )
        )

    def end(self) -> None:
        """Write down the state after."""
        self.file.write(self.after)

    def _others(self) -> dict[str, bool]:
        """Reals that VIPs and the other resources refer to."""
        found = other_references(self.state, (self.table.name,))
        vips: dict[str, bool] = {}
        for entry in self.state.vips:
            for real in entry["reals"]:
                vips[real["address"]] = vips.get(real["address"], False) or real["local"]
            for address in entry["down_reals"]:
                found.setdefault(address, False)
            for config in entry.get("quic_lb", ()):
                found.update(dict.fromkeys((server["real"] for server in config.get("servers", ())), False))
        return {**found, **vips}

    def _ids(self, actual: Entries) -> Ids:
        empty = Actual({"reals": actual["reals"]}, {}, self.maps.ring, {}, 0)
        return adopt(empty, self.state.real_ids, self.state.vip_numbers, {})[0]
