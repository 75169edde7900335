# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Program root, which shares an interface between XDP programs."""

from __future__ import annotations

import typing as t
from collections.abc import Callable

from .._kernel.edges import Edges
from .._kernel.state_folder import StateFolder
from .._model import layout
from .._model.map_specs import ROOT_MAPS
from .._model.program_plan import ProgramPlan
from .._model.root_plan import PROGRAM, RootSnapshot, plan_removal, plan_root
from .._model.root_settings import RootRecord, RootSettings, kept_settings
from .._program.executor import Executor
from .._program.home import Home
from .._program.toolchain import Toolchain
from .request import Result
from .run import Job, preview, run, told

Seen = tuple[RootRecord, RootSnapshot]


class Root:
    """Program root of one instance."""

    def __init__(
        self,
        instance: str,
        bpffs: str,
        file: StateFolder | None = None,
        edges: Edges | None = None,
        tools: Toolchain | None = None,
    ) -> None:
        self.file = file or StateFolder(instance, bpffs)
        self.home = Home(PROGRAM, ROOT_MAPS, self.file, RootRecord, edges, tools)
        self.array = self.home.paths.map("root_array")

    def ensure(self, settings: RootSettings | None, check: bool, timeout: float) -> Result:
        """Bring root to the interfaces, None: to those of the last run; what is in its slots stays."""
        return run(self.ensuring(settings), self.file, check, timeout)

    def remove(self, check: bool, timeout: float) -> Result:
        """Take root off the host; ProgramError while a slot is in use."""
        return run(self.removing(), self.file, check, timeout)

    def ensuring(self, settings: RootSettings | None) -> Job[t.Any, ProgramPlan]:
        """The job of `ensure`."""

        def read() -> tuple[RootSettings | None, Seen]:
            record = self.home.record()
            wanted = settings if settings is not None else kept_settings(record)
            return wanted, self._read(record, wanted)

        def plan(found: tuple[RootSettings | None, Seen]) -> ProgramPlan:
            wanted, (record, seen) = found
            return ProgramPlan() if wanted is None else plan_root(wanted, record, seen)

        def execute(plan: ProgramPlan) -> Result:
            result = self._execute(plan)
            self._report(plan.after.get("interfaces", ()), result)
            return result

        return self._job(read, plan, execute)

    def removing(self) -> Job[t.Any, ProgramPlan]:
        """The job of `remove`."""
        return self._job(
            lambda: (*self._read(self.home.record()), self.home.files()),
            lambda seen: plan_removal(*seen),
            self._execute,
        )

    def _job(
        self,
        read: Callable[[], t.Any],
        plan: Callable[[t.Any], ProgramPlan],
        execute: Callable[[ProgramPlan], Result],
    ) -> Job[t.Any, ProgramPlan]:
        return Job(read, plan, preview, execute, recover=self.file.sweep)

    def _execute(self, plan: ProgramPlan) -> Result:
        Executor(self.home).run(plan.ordered())
        return told(plan)

    def _read(self, record: RootRecord, settings: RootSettings | None = None) -> Seen:
        digest = self.home.digest(settings.source_dir, {}) if settings is not None else None
        common = self.home.read(record, settings.interfaces if settings else record.interfaces, digest)
        slots: dict[int, int] = {}
        if "root_array" in common.lost:
            with self.home.open_map("root_array", common.lost) as array:
                # The kernel reads no array of programs in batches.
                found = ((position, array.lookup(layout.u32(position))) for position in range(array.info.entries))
                slots = {position: layout.parse_u32(value) for position, value in found if value is not None}
        elif "root_array" in common.maps:
            slots = self.home.edges.slots(self.array)
        return record, RootSnapshot(**vars(common), slots=slots)

    def _report(self, interfaces: t.Collection[str], result: Result) -> None:
        """What there is after the run."""
        if not interfaces:
            return
        result.attached = [
            {"interface": each.interface, "mode": each.mode, "program_id": each.program_id}
            for each in self.home.edges.attachments()
            if each.interface in interfaces
        ]
        result.slots = [
            {"position": position, "program_id": program_id}
            for position, program_id in self.home.edges.slots(self.array).items()
        ]


def restore_root(file: StateFolder, timeout: float) -> list[str]:
    """Bring root back at boot, before what belongs in its slots and without a compiler.

    Returns one line for each thing done; PartialError where something is missing.
    """
    root = Root(file.instance, file.bpffs, file)
    if file.read_file(root.home.record_file) is None:
        return []
    return root.ensure(None, False, timeout).lines()
