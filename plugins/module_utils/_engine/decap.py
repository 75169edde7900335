# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real's side: program decap strips what balancers add, and the VIPs are addresses of the loopback interface."""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Collection, Mapping

from .._kernel.real_edges import KernelRealEdges, RealEdges
from .._kernel.state_folder import StateFolder
from .._model import layout
from .._model.decap_plan import (
    PROGRAM,
    DecapSnapshot,
    RealPlan,
    decap_macros,
    plan_real,
    plan_removal,
    plan_withdrawal,
)
from .._model.decap_record import AUTO, KERNEL, DecapRecord
from .._model.decap_settings import RealSettings, Staying, earlier_gue_port, kept_settings
from .._model.decap_ways import PROGRAMS, Taken, choose_way
from .._model.errors import ModeError
from .._model.map_specs import DECAP_MAPS, EARLIER_SOURCES, REAL_SOURCES
from .._model.program_plan import ProgramPlan
from .._model.snapshot import Attachment, EgressPlace, Missing, ProgramSnapshot
from .._model.source_plan import source_of
from .._model.tunnels import KINDS, NO_TUNNELS
from .._program.home import Home, attempt
from .._program.real_executor import RealExecutor
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
        edges: RealEdges | None = None,
        tools: Toolchain | None = None,
    ) -> None:
        self.file = file or StateFolder(instance, bpffs)
        self.edges: RealEdges = edges or KernelRealEdges()
        specs = (*DECAP_MAPS, EARLIER_SOURCES)
        self.home = Home(PROGRAM, specs, self.file, DecapRecord, self.edges, tools, tuple(PROGRAMS.values()))

    def ensure(self, settings: RealSettings | None, check: bool, timeout: float) -> Result:
        """Bring decap and the addresses to where the settings want them; None: to where the last run left them."""
        try:
            return run(self.ensuring(settings), self.file, check, timeout)
        except ModeError as error:
            if settings is None or settings.how != AUTO:
                raise
            # Only trying tells whether a driver takes a program.
            return run(self.ensuring(settings, str(error)), self.file, check, timeout)

    def withdraw(self, staying: Staying, check: bool, timeout: float) -> Result:
        """Take away the VIPs and sources that are not among these, and leave the rest of the host as it is."""
        return run(self.withdrawing(staying), self.file, check, timeout)

    def remove(self, check: bool, timeout: float) -> Result:
        """Take decap and the addresses off the host."""
        return run(self.removing(), self.file, check, timeout)

    def look(self) -> Seen:
        """What the last run left, and what there is; for a caller that holds the lock."""
        return self._read(self.home.record())

    def ensuring(self, settings: RealSettings | None, refused: str = "") -> Job[t.Any, ProgramPlan]:
        """The job of `ensure`. `refused`: why an interface's driver would not have the program."""

        def read() -> tuple[RealSettings | None, Seen]:
            record = self.home.record()
            # What is kept counts only if it still is what is kept, now that no other run can change it.
            wanted = settings if settings is not None else kept_settings(record)
            return wanted, self._read(record, wanted, refused)

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
        return Job(read, plan, lambda made: _with_way(preview(made), made), self._execute, recover=self.file.sweep)

    def _execute(self, plan: ProgramPlan) -> Result:
        RealExecutor(self.home, self.edges).run(plan.ordered())
        return _with_way(told(plan), plan)

    def _read(self, record: DecapRecord, settings: RealSettings | None = None, refused: str = "") -> Seen:
        asked = settings.interfaces if settings else record.interfaces
        devices = KINDS if settings and settings.how == KERNEL else ()
        places, common = self._read_places(record, asked, devices)
        taken = Taken(common.attachments, {*common.ours(record), *common.residents}, common.kept, refused)
        way = choose_way(settings, record, taken)
        digest = None
        if settings is not None:
            macros = decap_macros(settings, earlier_gue_port(settings.gue_port, record.settings), way)
            digest = self.home.digest(settings.source_dir, macros, way.program)
        concerns_kernel = KERNEL in (way.how, record.way) or bool(record.tunnels or record.ports)
        server_id = 0
        if "tpr_server_id" in common.maps:
            with self.home.open_map("tpr_server_id", common.lost) as opened:
                server_id = layout.parse_u32(opened.lookup(layout.u32(0)) or bytes(4))
        return record, DecapSnapshot(
            **{**vars(common), "digest": digest},
            vips=tuple(sorted(layout.unpack_address(key, any(key[4:])) for key in self._keys("decap_vips", common))),
            sources=tuple(sorted(source_of(key) for name in REAL_SOURCES for key in self._keys(name, common))),
            server_id=server_id,
            addresses=attempt(self.home.edges.host_addresses),
            places=places,
            way=way,
            tunnels=self.edges.read_tunnels(way.how == KERNEL) if concerns_kernel else NO_TUNNELS,
            chains=tuple(self.edges.read_chains()) if concerns_kernel or record.accepts else (),
        )

    def _read_places(
        self, record: DecapRecord, asked: Collection[str], devices: Collection[str]
    ) -> tuple[Mapping[str, EgressPlace] | Missing, ProgramSnapshot]:
        """What filters packets where the program is, was or is to be, and what there is of it."""
        names = sorted({*record.interfaces, *record.tunnels, *asked, *devices})
        places = attempt(lambda: self.edges.ways_in(names)) if names else {}
        ways: Mapping[str, EgressPlace] = {} if isinstance(places, Missing) else places
        filtered = [each.program_id for name in ways for each in ways[name].filters]
        every = attempt(self.edges.attachments)
        attached: Mapping[str, Attachment] | Missing
        attached = every if isinstance(every, Missing) else {each.interface: each for each in every}
        there: Mapping[str, Attachment] = {} if isinstance(attached, Missing) else attached
        running = [*(each.program_id for each in there.values()), *filtered]
        placed = [*(there[name].program_id for name in record.interfaces if name in there), *filtered]
        return places, self.home.read_running(record, asked, None, attached, running, placed)

    def _keys(self, name: str, seen: ProgramSnapshot) -> list[bytes]:
        """The keys that a map has."""
        if name not in seen.maps:
            return []
        with self.home.open_map(name, seen.lost) as opened:
            return [key for key, _value in opened.items()]


def _with_way(result: Result, plan: ProgramPlan) -> Result:
    if isinstance(plan, RealPlan):
        result.program = {"how": plan.way.how, "why": plan.way.why}
    return result
