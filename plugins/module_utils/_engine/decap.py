# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real's side: program decap strips what balancers add, and the VIPs are addresses of the loopback interface."""

from __future__ import annotations

import typing as t
from collections.abc import Callable

from .._kernel.edges import Edges
from .._kernel.state_folder import StateFolder
from .._model import layout
from .._model.decap_plan import (
    PROGRAM,
    DecapSnapshot,
    decap_macros,
    plan_real,
    plan_removal,
    plan_withdrawal,
)
from .._model.decap_record import DecapRecord
from .._model.decap_settings import RealSettings, Staying, earlier_gue_port, kept_settings
from .._model.map_specs import DECAP_MAPS, EARLIER_SOURCES, REAL_SOURCES
from .._model.program_plan import ProgramPlan
from .._model.snapshot import ProgramSnapshot
from .._model.source_plan import source_of
from .._program.executor import Executor
from .._program.home import Home, attempt
from .._program.toolchain import Toolchain
from .request import Result
from .run import Job, preview, run, told

Seen = tuple[DecapRecord, DecapSnapshot]


class Real:
    """Program decap and the loopback addresses of one host."""

    def __init__(
        self,
        instance: str,
        bpffs: str,
        file: StateFolder | None = None,
        edges: Edges | None = None,
        tools: Toolchain | None = None,
    ) -> None:
        self.file = file or StateFolder(instance, bpffs)
        self.home = Home(PROGRAM, (*DECAP_MAPS, EARLIER_SOURCES), self.file, DecapRecord, edges, tools)

    def ensure(self, settings: RealSettings | None, check: bool, timeout: float) -> Result:
        """Bring decap and the addresses to where the settings want them; None: to where the last run left them."""
        return run(self.ensuring(settings), self.file, check, timeout)

    def withdraw(self, staying: Staying, check: bool, timeout: float) -> Result:
        """Take away the VIPs and sources that are not among these, and leave the rest of the host as it is."""
        return run(self.withdrawing(staying), self.file, check, timeout)

    def remove(self, check: bool, timeout: float) -> Result:
        """Take decap and the addresses off the host."""
        return run(self.removing(), self.file, check, timeout)

    def look(self) -> Seen:
        """What the last run left, and what there is; for a caller that holds the lock."""
        return self._read(self.home.record())

    def ensuring(self, settings: RealSettings | None) -> Job[t.Any, ProgramPlan]:
        """The job of `ensure`."""

        def read() -> tuple[RealSettings | None, Seen]:
            record = self.home.record()
            # What is kept counts only if it still is what is kept, now that no other run can change it.
            wanted = settings if settings is not None else kept_settings(record)
            return wanted, self._read(record, wanted)

        def plan(found: tuple[RealSettings | None, Seen]) -> ProgramPlan:
            wanted, (record, seen) = found
            if wanted is None:
                return ProgramPlan()
            return plan_real(wanted, earlier_gue_port(wanted.gue_port, record.settings), record, seen)

        return self._job(read, plan)

    def withdrawing(self, staying: Staying) -> Job[t.Any, ProgramPlan]:
        """The job of `withdraw`."""
        return self._job(lambda: self._read(self.home.record()), lambda seen: plan_withdrawal(staying, *seen))

    def removing(self) -> Job[t.Any, ProgramPlan]:
        """The job of `remove`."""
        return self._job(lambda: (*self._read(self.home.record()), self.home.files()), lambda seen: plan_removal(*seen))

    def _job(self, read: Callable[[], t.Any], plan: Callable[[t.Any], ProgramPlan]) -> Job[t.Any, ProgramPlan]:
        return Job(read, plan, preview, self._execute, recover=self.file.sweep)

    def _execute(self, plan: ProgramPlan) -> Result:
        Executor(self.home).run(plan.ordered())
        return told(plan)

    def _read(self, record: DecapRecord, settings: RealSettings | None = None) -> Seen:
        digest = None
        if settings is not None:
            macros = decap_macros(settings, earlier_gue_port(settings.gue_port, record.settings))
            digest = self.home.digest(settings.source_dir, macros)
        common = self.home.read(record, settings.interfaces if settings else record.interfaces, digest)
        server_id = 0
        if "tpr_server_id" in common.maps:
            with self.home.open_map("tpr_server_id", common.lost) as opened:
                server_id = layout.parse_u32(opened.lookup(layout.u32(0)) or bytes(4))
        return record, DecapSnapshot(
            **vars(common),
            vips=tuple(sorted(layout.unpack_address(key, any(key[4:])) for key in self._keys("decap_vips", common))),
            sources=tuple(sorted(source_of(key) for name in REAL_SOURCES for key in self._keys(name, common))),
            server_id=server_id,
            addresses=attempt(self.home.edges.host_addresses),
        )

    def _keys(self, name: str, seen: ProgramSnapshot) -> list[bytes]:
        """The keys that a map has."""
        if name not in seen.maps:
            return []
        with self.home.open_map(name, seen.lost) as opened:
            return [key for key, _value in opened.items()]
