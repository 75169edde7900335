# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Health checks through the tunnel: program healthcheck on an interface's egress."""

from __future__ import annotations

import contextlib
import typing as t
from collections.abc import Callable, Mapping

from .._kernel.edges import pinned_info
from .._kernel.egress_edges import EgressEdges, KernelEgressEdges
from .._kernel.state_folder import StateFolder
from .._model.errors import FleetError
from .._model.healthcheck_plan import (
    DESTINATIONS_FILE,
    PROGRAM,
    VALUE_MAPS,
    HealthcheckSnapshot,
    Resolved,
    plan_healthcheck,
    plan_removal,
)
from .._model.healthcheck_record import HealthcheckRecord
from .._model.healthcheck_settings import HealthcheckSettings, parse_healthcheck
from .._model.map_specs import HEALTHCHECK_MAPS
from .._model.program_plan import ProgramPlan
from .._model.snapshot import EgressPlace, Fault, GatewayAnswer, Missing
from .._model.tables import TABLES
from .._program.egress_executor import EgressExecutor
from .._program.home import Home, attempt
from .._program.toolchain import Toolchain
from .known_tables import known_table
from .request import Result
from .run import Job, preview, run, told

Seen = tuple[HealthcheckRecord, HealthcheckSnapshot]


class Healthcheck:
    """Program healthcheck of one instance on this host."""

    def __init__(
        self,
        instance: str,
        bpffs: str,
        file: StateFolder | None = None,
        edges: EgressEdges | None = None,
        tools: Toolchain | None = None,
    ) -> None:
        self.file = file or StateFolder(instance, bpffs)
        self.edges: EgressEdges = edges or KernelEgressEdges()
        self.home = Home(PROGRAM, HEALTHCHECK_MAPS, self.file, HealthcheckRecord, self.edges, tools)

    def ensure(
        self, settings: HealthcheckSettings | None, check: bool, timeout: float, confirm: bool = False
    ) -> Result:
        """Bring the program to the interface, None: to where the last run left it.

        `confirm`: ask the gateway for its MAC where the kernel's entry is old.
        """
        return run(self.ensuring(settings, confirm), self.file, check, timeout)

    def remove(self, check: bool, timeout: float) -> Result:
        """Take the program off the host: filter, qdisc if it was ours, pins, state."""
        return run(self.removing(), self.file, check, timeout)

    def ensuring(self, settings: HealthcheckSettings | None, confirm: bool = False) -> Job[t.Any, ProgramPlan]:
        """The job of `ensure`."""
        asked: list[GatewayAnswer] = []

        def prepare() -> None:
            # The gateway may take seconds to answer: another run need not wait for that. If it fails, so will the run.
            with contextlib.suppress(FleetError):
                wanted = settings if settings is not None else kept_settings(self.home.record())
                if wanted is not None and wanted.gateway_mac == "auto":
                    asked.append(self.edges.ask_gateway([wanted.interface], confirm, True))

        def read() -> tuple[HealthcheckSettings | None, Seen]:
            record = self.home.record()
            wanted = settings if settings is not None else kept_settings(record)
            return wanted, self._read(record, wanted, *asked)

        def plan(found: tuple[HealthcheckSettings | None, Seen]) -> ProgramPlan:
            wanted, (record, seen) = found
            return ProgramPlan() if wanted is None else plan_healthcheck(wanted, record, seen)

        def execute(plan: ProgramPlan) -> Result:
            result = self._execute(plan)
            info = pinned_info(self.edges, self.home.paths.program)
            if plan.after and info is not None:
                result.program = {
                    "id": info.id,
                    "tag": info.tag,
                    "instructions": info.instructions,
                    "interface": plan.after["interface"],
                }
            return result

        return self._job(read, plan, execute, prepare)

    def removing(self) -> Job[t.Any, ProgramPlan]:
        """The job of `remove`."""

        def read() -> tuple[HealthcheckRecord, HealthcheckSnapshot, frozenset[str]]:
            more = [DESTINATIONS_FILE] if self.file.read_file(DESTINATIONS_FILE) is not None else []
            return (*self._read(self.home.record()), self.home.files().union(more))

        return self._job(read, lambda seen: plan_removal(*seen), self._execute)

    def _job(
        self,
        read: Callable[[], t.Any],
        plan: Callable[[t.Any], ProgramPlan],
        execute: Callable[[ProgramPlan], Result],
        prepare: Callable[[], None] = lambda: None,
    ) -> Job[t.Any, ProgramPlan]:
        return Job(read, plan, preview, execute, recover=self.file.sweep, prepare=prepare)

    def _execute(self, plan: ProgramPlan) -> Result:
        EgressExecutor(self.home, self.edges).run(plan.ordered())
        return told(plan)

    # what there is

    def _read(
        self, record: HealthcheckRecord, wanted: HealthcheckSettings | None = None, asked: GatewayAnswer | None = None
    ) -> Seen:
        names = sorted({*record.interfaces, *((wanted.interface,) if wanted else ())})
        places = attempt(lambda: self.edges.ways_out(names)) if names else {}
        there: Mapping[str, EgressPlace] = {} if isinstance(places, Missing) else places
        running = [each.program_id for place in there.values() for each in place.filters]
        digest = self.home.digest(wanted.source_dir, wanted.macros()) if wanted else None
        placed = [each.program_id for name in record.interfaces if name in there for each in there[name].filters]
        common = self.home.read_running(record, [wanted.interface] if wanted else [], digest, {}, running, placed)
        entries = {}
        for name in VALUE_MAPS if wanted else ():
            if name in common.maps:
                with self.home.open_map(name, common.lost) as opened:
                    entries[name] = dict(opened.items())
        resolved: Resolved | Missing | Fault | None = None
        if isinstance(places, Missing):
            resolved = places
        elif wanted is not None and wanted.interface in there:
            resolved = self._resolve(wanted, there[wanted.interface], asked)
        destinations: Mapping[bytes, bytes] = {}
        if wanted is not None and "hc_reals_map" not in common.maps:
            table = TABLES["healthcheck_destinations"]
            entries_of = map(table.entry, known_table(table, self.file, None, {}).values())
            destinations = {entry.key: entry.value for entry in entries_of}
        return record, HealthcheckSnapshot(
            **vars(common), places=places, resolved=resolved, entries=entries, destinations=destinations
        )

    def _resolve(
        self, wanted: HealthcheckSettings, place: EgressPlace, asked: GatewayAnswer | None
    ) -> Resolved | Fault:
        """What auto stands for on this host."""
        own, gateway = wanted.source_mac, wanted.gateway_mac
        if own == "auto":
            own = place.mac or ""
        if not own:
            return Fault(f"source_mac auto: interface {wanted.interface} has no MAC address; give source_mac")
        if gateway == "auto":
            answer = self.edges.ask_gateway([wanted.interface], False, False).upheld(asked)
            gateway = answer.mac
            if not gateway:
                return Fault(answer.sentence)
        sources = {
            family: self.edges.own_address(family, [wanted.interface]) or "" if text == "auto" else text
            for family, text in (("IPv4", wanted.source_ipv4), ("IPv6", wanted.source_ipv6))
        }
        if not any(sources.values()):
            return Fault(
                f"source_ipv4 and source_ipv6 auto: interface {wanted.interface} has no address; give one of them"
            )
        return Resolved(place.index, own, gateway, sources["IPv4"], sources["IPv6"])


def kept_settings(record: HealthcheckRecord) -> HealthcheckSettings | None:
    """The settings of the last run, without sources: its bytecode is kept. None where there was none."""
    return parse_healthcheck({**record.options, "source_dir": ""}) if record.options else None


def restore_healthcheck(file: StateFolder, timeout: float) -> list[str]:
    """Bring back what the last run left, without a compiler: after a boot, or when an address or a MAC changed.

    Returns one line for each thing done.
    """
    healthcheck = Healthcheck(file.instance, file.bpffs, file)
    if file.read_file(healthcheck.home.record_file) is None:
        return []
    return healthcheck.ensure(None, False, timeout, confirm=True).changes
