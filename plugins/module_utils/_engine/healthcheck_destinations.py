# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One run of module healthcheck_destinations."""

from __future__ import annotations

import json
import typing as t
from collections.abc import Iterable, Mapping
from dataclasses import replace

from .._kernel.lock import locked
from .._kernel.maps import KernelMaps
from .._kernel.state_files import StateFile
from .._model import layout
from .._model.drift import table_drift
from .._model.entries import Asked
from .._model.errors import ConfigError, EngineError
from .._model.ids import Ids
from .._model.limits import Limits
from .._model.map_specs import HC_SOURCE_IPV4, HC_SOURCE_IPV6, HEALTHCHECK_MAPS, HEALTHCHECK_SPECS
from .._model.operations import Delete, Operation, Put, count
from .._model.state import damaged
from .._model.table_plan import TablePlan
from .._model.tables import HealthcheckDestination, resolve_healthcheck_destinations
from .._program.pinned import PinnedProgram
from .._program.requirements import require_bpffs, require_capabilities
from .execute import execute
from .request import Clock, Request, Result

PROGRAM = "healthcheck"
DESTINATIONS_FILE = "healthcheck_destinations.json"


def _destination(row: Mapping[str, t.Any]) -> HealthcheckDestination:
    return HealthcheckDestination(row["mark"], row["real"])


def destination_entries(destinations: Iterable[HealthcheckDestination]) -> dict[bytes, bytes]:
    """What hc_reals_map holds for these destinations: mark → real_definition."""
    return {
        layout.u32(each.mark): layout.real_definition(
            layout.pack_address(each.real), layout.REAL_IPV6 if ":" in each.real else 0
        )
        for each in destinations
    }


def destinations_known(file: StateFile, there: Mapping[bytes, bytes]) -> tuple[dict[int, HealthcheckDestination], bool]:
    """The destinations as the last run left them; where its file was lost, as the kernel has them. And if it was."""
    text = file.read_file(DESTINATIONS_FILE)
    if text is not None:
        try:
            return {row["mark"]: _destination(row) for row in json.loads(text)}, False
        except (ValueError, KeyError, TypeError) as error:
            raise damaged(f"{file.directory}/{DESTINATIONS_FILE}", error) from error
    found = {}
    for key, value in there.items():
        packed, flags = layout.parse_real_definition(value)
        mark = layout.parse_u32(key)
        found[mark] = HealthcheckDestination(mark, layout.unpack_address(packed, bool(flags & layout.REAL_IPV6)))
    return found, True


def apply_destinations(request: Request, asked: Asked) -> Result:
    """Apply what is asked of resource healthcheck_destinations. Every failure is one sentence."""
    require_capabilities()
    with locked(request.instance, not request.check, request.lock_timeout):
        file = StateFile(request.instance, request.bpffs)
        paths = PinnedProgram(PROGRAM, HEALTHCHECK_MAPS, file).paths
        if not request.check:
            require_bpffs(request.bpffs)
        with KernelMaps(paths.maps) as maps:
            if "hc_reals_map" not in maps.names() and not request.check:
                raise EngineError(
                    f"program healthcheck of {request.instance} is not loaded on this host:"
                    " run module katran.fleet.healthcheck first"
                )
            return _DestinationRun(request, maps, file).run(asked)


class _DestinationRun:
    """One run of module healthcheck_destinations."""

    def __init__(self, request: Request, maps: KernelMaps, file: StateFile) -> None:
        self.request = request
        self.maps = maps
        self.file = file
        self.clock = Clock()
        self.result = Result(timings=self.clock.timings)

    def run(self, asked: Asked) -> Result:
        """Bring the destinations to what is asked; in check mode only say what that takes."""
        with self.clock.phase("read"):
            there = self.maps.entries("hc_reals_map") if "hc_reals_map" in self.maps.names() else {}
            known, lost = destinations_known(self.file, there)
        with self.clock.phase("validate"):
            capacity = HEALTHCHECK_SPECS["hc_reals_map"].entries({})
            limits = Limits({"reals": 1 << 32}, None)
            wanted, self.result.warnings = resolve_healthcheck_destinations(known, replace(asked, limits=limits))
            if len(wanted) > capacity:
                raise ConfigError(f"healthcheck_destinations: {len(wanted)} marks, but there is room for {capacity}")
            self._warn(wanted)
        with self.clock.phase("plan"):
            operations = self._plan(destination_entries(wanted.values()), there, capacity)
            self._report(known, wanted)
            self.result.operations = count(operations)
            if not lost:
                changed = {mark for mark in {*known, *wanted} if known.get(mark) != wanted.get(mark)}
                self.result.drift = table_drift(
                    TablePlan(operations, Ids(1)),
                    {("hc_reals_map", layout.u32(mark)) for mark in changed},
                    {"hc_reals_map": there},
                    "mark",
                    lambda _name, key: str(layout.parse_u32(key)),
                )
                self.result.changes += self.result.drift
        if not self.request.check and (operations or lost or known != wanted):
            with self.clock.phase("write"):
                self.file.sweep()
                execute(operations, self.maps, 0)
                rows = [wanted[mark]._asdict() for mark in sorted(wanted)]
                self.file.write_file(DESTINATIONS_FILE, "[" + ",\n".join(map(json.dumps, rows)) + "]\n")
        return self.result

    def _warn(self, wanted: Mapping[int, HealthcheckDestination]) -> None:
        """Probes of a family without an outer source address would leave from the unspecified one."""
        if "hc_pckt_srcs_map" not in self.maps.names():
            return
        sources = self.maps.entries("hc_pckt_srcs_map")
        for index, family in ((HC_SOURCE_IPV4, "IPv4"), (HC_SOURCE_IPV6, "IPv6")):
            reals = [each.real for each in wanted.values() if (":" in each.real) == (family == "IPv6")]
            if reals and layout.u32(index) not in sources:
                self.result.warnings.append(
                    f"healthcheck_destinations: {reals[0]} is {family}, but program healthcheck has no {family} source"
                    f" (module katran.fleet.healthcheck, source_{family.lower()})"
                )

    @staticmethod
    def _plan(want: Mapping[bytes, bytes], there: Mapping[bytes, bytes], capacity: int) -> list[Operation]:
        puts = tuple(sorted((key, value) for key, value in want.items() if there.get(key) != value))
        gone = tuple(sorted(key for key in there if key not in want))
        operations: list[Operation] = []
        if puts:
            operations.append(Put("hc_reals_map", puts))
        if gone:
            operations.append(Delete("hc_reals_map", gone))
        if len({*want, *there}) > capacity:
            operations.reverse()
        return operations

    def _report(
        self, known: Mapping[int, HealthcheckDestination], wanted: Mapping[int, HealthcheckDestination]
    ) -> None:
        changed = [mark for mark in sorted({*known, *wanted}) if known.get(mark) != wanted.get(mark)]
        self.result.before = [known[mark]._asdict() for mark in changed if mark in known]
        self.result.after = [wanted[mark]._asdict() for mark in changed if mark in wanted]
        for mark in changed:
            was, now = known.get(mark), wanted.get(mark)
            if was is None and now is not None:
                verb = f"added ({now.real})"
            elif now is None:
                verb = "removed"
            else:
                verb = f"{was.real if was else ''} → {now.real}"
            self.result.changes.append(f"mark {mark}: {verb}")
