# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Server ids in TCP options: program server_id_option in the control groups of units."""

from __future__ import annotations

import sys
import typing as t
from collections.abc import Callable

from .._kernel.cgroup_edges import CgroupEdges, KernelCgroupEdges
from .._kernel.state_folder import StateFolder
from .._model import layout
from .._model.server_id_plan import (
    ServerIdPlan,
    ServerIdSnapshot,
    plan_removal,
    plan_server_id,
    server_id_specs,
)
from .._model.server_id_record import ENTRIES, LISTENERS, OWN, PROGRAM, ServerIdRecord
from .._model.server_id_settings import ServerIdSettings, kept_settings
from .._model.snapshot import Missing
from .._program.cgroup_executor import CgroupExecutor
from .._program.home import Home, attempt
from .._program.toolchain import Toolchain
from .request import Result
from .run import Job, preview, run, told

Seen = tuple[ServerIdRecord, ServerIdSnapshot]


class ServerIdOption:
    """The program of one instance on this host."""

    def __init__(
        self,
        instance: str,
        bpffs: str,
        file: StateFolder | None = None,
        edges: CgroupEdges | None = None,
        tools: Toolchain | None = None,
    ) -> None:
        self.file = file or StateFolder(instance, bpffs)
        self.edges: CgroupEdges = edges or KernelCgroupEdges()
        self.home = Home(PROGRAM, server_id_specs(ENTRIES), self.file, ServerIdRecord, self.edges, tools)

    def ensure(self, settings: ServerIdSettings | None, check: bool, timeout: float) -> Result:
        """Bring the program to where the settings want it; None: to where the last run left it."""
        return run(self.ensuring(settings), self.file, check, timeout)

    def remove(self, check: bool, timeout: float) -> Result:
        """Take the program off the host."""
        return run(self.removing(), self.file, check, timeout)

    def ensuring(self, settings: ServerIdSettings | None) -> Job[t.Any, ServerIdPlan]:
        """The job of `ensure`."""

        def read() -> tuple[ServerIdSettings | None, Seen]:
            record = self.home.record()
            wanted = settings if settings is not None else kept_settings(record)
            return wanted, self._read(record, wanted)

        def plan(found: tuple[ServerIdSettings | None, Seen]) -> ServerIdPlan:
            wanted, (record, seen) = found
            return ServerIdPlan() if wanted is None else plan_server_id(wanted, self.file.instance, record, seen)

        return self._job(read, plan)

    def removing(self) -> Job[t.Any, ServerIdPlan]:
        """The job of `remove`."""
        return self._job(lambda: (*self._read(self.home.record()), self.home.files()), lambda seen: plan_removal(*seen))

    def _job(self, read: Callable[[], t.Any], plan: Callable[[t.Any], ServerIdPlan]) -> Job[t.Any, ServerIdPlan]:
        return Job(read, plan, lambda found: _with_restarts(preview(found), found), self._execute, self.file.sweep)

    def _execute(self, plan: ServerIdPlan) -> Result:
        CgroupExecutor(self.home, self.edges).run(plan.ordered())
        return _with_restarts(told(plan), plan)

    def _read(self, record: ServerIdRecord, wanted: ServerIdSettings | None = None) -> Seen:
        names = {*record.units, *self.edges.told_units(self.file.instance), *(wanted.units if wanted else ())}
        places = attempt(lambda: self.edges.unit_places(self.file.instance, names)) if names else {}
        there = {} if isinstance(places, Missing) else places
        running = [number for place in there.values() for number in place.programs]
        placed = [number for name in record.units if name in there for number in there[name].programs]
        digest = self.home.digest(wanted.source_dir, {}) if wanted else None
        common = self.home.read_running(record, [], digest, {}, running, placed)
        ids, named = [0, 0], frozenset[int]()
        if OWN in common.maps:
            with self.home.open_map(OWN, common.lost) as opened:
                ids = [layout.parse_u32(opened.lookup(layout.u32(at)) or bytes(4)) for at in range(2)]
        if LISTENERS in common.maps:
            with self.home.open_map(LISTENERS, common.lost) as opened:
                named = frozenset(int.from_bytes(key, sys.byteorder) for key, _id in opened.items())
        return record, ServerIdSnapshot(**vars(common), places=places, ids=(ids[0], ids[1]), named=named)


def _with_restarts(result: Result, plan: ServerIdPlan) -> Result:
    result.program = {"units_to_restart": plan.to_restart}
    return result


def restore_server_ids(file: StateFolder, timeout: float) -> list[str]:
    """Bring back what the last run left, without a compiler: one line for each thing done."""
    option = ServerIdOption(file.instance, file.bpffs, file)
    if file.read_file(option.home.record_file) is None:
        return []
    return option.ensure(None, False, timeout).lines()
