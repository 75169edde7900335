# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One run of a table's module."""

from __future__ import annotations

import json
import typing as t
from collections.abc import Collection, Mapping
from dataclasses import replace

from .._kernel.maps import Maps
from .._kernel.state_files import StateFile
from .._model.drift import reals_drift, table_drift
from .._model.entries import Asked
from .._model.errors import EngineError
from .._model.faults import shortened
from .._model.features import features_needed
from .._model.ids import Ids
from .._model.limits import Limits
from .._model.operations import count
from .._model.readiness import hold_back_rows
from .._model.state import State, damaged
from .._model.table_plan import TablePlan, plan_table
from .._model.tables import TABLES, Table, idle_table, rows_in_kernel, server_id_warnings, table_key, table_text
from .._model.vip_entries import Actual, adopt
from .._model.vips import vips_from_config
from .._model.vips_input import idle_vips
from .execute import execute
from .opened import limits_of
from .recovery import lost_warnings
from .request import Clock, Request, Result
from .vips import other_references


def known_table(
    table: Table, file: StateFile, state: State, actual: Mapping[str, Mapping[bytes, bytes]]
) -> dict[t.Any, t.Any]:
    """A table's entries as the last run left them; where its file was lost, as the kernel has them."""
    text = file.read_file(f"{table.name}.json")
    if text is not None:
        try:
            return dict(table.item(row) for row in json.loads(text))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise damaged(f"{file.directory}/{table.name}.json", error) from error
    if table.name not in state.references:
        return {}
    return dict(table.item(row) for row in rows_in_kernel(table, actual))


class TableRun:
    """One run of a table's module."""

    def __init__(self, table: Table, request: Request, maps: Maps, file: StateFile, state: State, clock: Clock) -> None:
        self.table = table
        self.request = request
        self.maps = maps
        self.file = file
        self.state = state
        self.clock = clock
        self.result = Result(timings=clock.timings, warnings=lost_warnings(state))

    def run(self, asked: Asked) -> Result:
        """Bring the table to what is asked; in check mode only say what that takes."""
        with self.clock.phase("read"):
            limits = limits_of(self.request, self.state, self.maps)
            names = [name for name in self.table.maps if name in self.maps.names()]
            actual = {name: self.maps.entries(name) for name in (*names, "reals")}
            capacity = {name: self.maps.capacity(name) for name in (*names, "reals")}
            on_file = self.file.read_file(f"{self.table.name}.json") is not None
            known = known_table(self.table, self.file, self.state, actual)
        with self.clock.phase("validate"):
            wanted, warnings = self.table.resolve(known, replace(asked, limits=limits))
            told = wanted
            wanted, early = hold_back_rows(known, told, self.request.unready)
            waiting = [
                f"{self.table.noun} {name}: waits for {real}, not ready (unready_reals)"
                for name, real in (self.table.text(told[key]) for key in early)
            ]
            self.result.warnings += warnings + shortened(waiting, f"and {{}} more {self.table.name}")
            if self.table.name == "server_ids":
                vips = vips_from_config([entry for entry in self.state.vips if ":" in entry["address"]])
                self.result.warnings += server_id_warnings(wanted.values(), vips.values(), limits)
            if wanted and not names:
                if wanted != known:
                    raise EngineError(f"{self.table.name}: needs feature {self.table.feature}")
                self.result.warnings.append(idle_table(self.table, len(wanted)))
        with self.clock.phase("plan"):
            plan = plan_table(
                map(self.table.entry, wanted.values()),
                names,
                self._others(),
                actual,
                capacity,
                self._ids(actual),
            )
            self._report(known, wanted, plan, actual)
        references = sorted({item.real for item in wanted.values() if getattr(item, "real", None)})
        after = replace(
            self.state,
            real_ids=plan.real_ids.settled(),
            interrupted=self.state.ended(self.table.name),
            references={**self.state.references, self.table.name: references},
        )
        if not self.request.check and (plan.operations or not on_file or known != wanted or after != self.state):
            with self.clock.phase("write"):
                self._write(plan, wanted, after)
        return self.result

    def _others(self) -> dict[str, bool]:
        """Reals that VIPs and the other resources refer to."""
        found = other_references(self.state, (self.table.name,))
        vips: dict[str, bool] = {}
        for entry in self.state.vips:
            for real in entry["reals"]:
                vips[real["address"]] = vips.get(real["address"], False) or real["local"]
            for address in entry["down_reals"]:
                found.setdefault(address, False)
        return {**found, **vips}

    def _ids(self, actual: Mapping[str, Mapping[bytes, bytes]]) -> Ids:
        empty = Actual({"reals": actual["reals"]}, {}, self.maps.ring, {}, 0)
        return adopt(empty, self.state.real_ids, self.state.vip_numbers, {})[0]

    def _report(
        self,
        known: Mapping[t.Any, t.Any],
        wanted: Mapping[t.Any, t.Any],
        plan: TablePlan,
        actual: Mapping[str, Mapping[bytes, bytes]],
    ) -> None:
        changed = sorted((key for key in {*known, *wanted} if known.get(key) != wanted.get(key)), key=self._order)
        self.result.before = [self.table.row(known[key]) for key in changed if key in known]
        self.result.after = [self.table.row(wanted[key]) for key in changed if key in wanted]
        for key in changed:
            old, new = known.get(key), wanted.get(key)
            name = self.table.text(new if old is None else old)[0]
            was, now = (self.table.text(item)[1] if item is not None else None for item in (old, new))
            verb = f"added ({now})" if was is None else "removed" if now is None else f"{was} → {now}"
            self.result.changes.append(f"{self.table.noun} {name}: {verb}")
        self.result.operations = count(plan.operations)
        if not plan.operations:
            return
        if not self.state.is_sure_of(self.table.name):
            self.result.explain()
            return
        items = (item for key in changed for item in (known.get(key), wanted.get(key)) if item is not None)
        explained = {(entry.map, entry.key) for entry in map(self.table.entry, items)}
        self.result.drift = table_drift(plan, explained, actual, self.table.noun, table_key)
        if self.state.is_sure:
            self.result.drift += reals_drift(plan.operations, self._others(), actual["reals"], self.state.real_ids)
        self.result.changes += self.result.drift
        self.result.explain()

    @staticmethod
    def _order(key: t.Any) -> tuple[int, t.Any]:
        return (0, key) if isinstance(key, int) else (1, str(key))

    def _write(self, plan: TablePlan, wanted: Mapping[t.Any, t.Any], after: State) -> None:
        self.file.sweep()
        if plan.operations:
            # Until the end the old entries' reals count as referred to, and the new ones' as well.
            mine = {*self.state.references.get(self.table.name, ()), *after.references[self.table.name]}
            self.file.write(
                replace(
                    self.state,
                    real_ids=plan.real_ids,
                    interrupted=self.state.begun(self.table.name),
                    references={**self.state.references, self.table.name: sorted(mine)},
                )
            )
            execute(plan.operations, self.maps, 0)
        rows = [self.table.row(wanted[key]) for key in sorted(wanted, key=self._order)]
        self.file.write_file(f"{self.table.name}.json", table_text(rows))
        self.file.write(after)


def idle_resources(file: StateFile, state: State, limits: Limits) -> list[str]:
    """What was applied to a program that could do more than one of these limits."""
    found = idle_vips(vips_from_config(state.vips).values(), limits)
    for table in TABLES.values():
        if table.feature is not None and not limits.has(table.feature):
            rows = known_table(table, file, state, {"reals": {}})
            if rows:
                found.append(idle_table(table, len(rows)))
    return found


def features_in_use(file: StateFile, state: State, resources: Collection[str]) -> frozenset[str]:
    """The features that what is applied of these resources can use: who reads a server id, the ids do not tell."""
    rows = {name: known_table(table, file, state, {"reals": {}}) for name, table in TABLES.items() if name in resources}
    routes, destinations = (list(rows.get(name, ())) for name in ("source_routes", "decap_destinations"))
    found = features_needed(state.vips if "vips" in resources else (), routes, destinations)
    return frozenset([*found, *(("tcp_server_id", "server_id_hash") if rows.get("server_ids") else ())])
