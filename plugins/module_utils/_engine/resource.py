# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Diff and apply: lock → read → plan → (check mode stops here) → save intent → execute → save result → report.

The one code path that writes the maps: the modules, restore at boot and whatever comes later all go through it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from .._kernel.edges import KernelEdges
from .._kernel.lock import locked
from .._kernel.maps import KernelMaps, Maps
from .._kernel.pins import Paths
from .._kernel.state_files import StateFile
from .._kernel.tc import ways_out
from .._model.entries import Asked
from .._model.errors import EngineError
from .._model.healthcheck_record import HealthcheckRecord
from .._model.resource import BALANCER
from .._model.state import State
from .._model.tables import TABLES
from .._program.own_pins import healthcheck_pins
from .._program.requirements import require_capabilities
from .._program.swap import Swap
from .known_tables import AnyTable
from .opened import open_maps, open_maps_beside
from .recording import recorded
from .recovery import recovered
from .request import Clock, Purge, Request, Result
from .tables import BalancerTableRun, TableRun
from .vips import OverlayRun, VipRun


def apply_resource(
    name: str, request: Request, asked: Asked, purge: Purge | None = None, purge_down: Purge | None = None
) -> Result:
    """Apply what is asked of one resource, and `purge` the flows of what goes.

    `purge_down`: removes those to reals that checks have down, where this run lets these out. Every failure is an
    exception with one sentence.
    """
    require_capabilities()
    with locked(request.instance, not request.check, request.lock_timeout):
        file = StateFile(request.instance, request.bpffs)
        closed = file.close(request.check)
        work = partial(apply_locked, name, request, asked, purge, purge_down, file)
        # A table beside the balancer is none of its configuration.
        audit = request.audit if name not in TABLES or TABLES[name].program == BALANCER else None
        result = recorded(file, name, audit, request.check, work)
        result.changes[:0] = closed
        return result


@contextmanager
def _told(instance: str) -> Iterator[None]:
    """A map that does not let itself be opened or read, in a sentence; one that refuses a write has its own."""
    try:
        yield
    except OSError as error:
        raise EngineError(f"the maps of balancer {instance} cannot be read: {error.strerror or error}") from error


def apply_locked(
    name: str,
    request: Request,
    asked: Asked,
    purge: Purge | None = None,
    purge_down: Purge | None = None,
    file: StateFile | None = None,
) -> Result:
    """The same for a caller that holds the lock."""
    file = file or StateFile(request.instance, request.bpffs)
    table = TABLES.get(name)
    if table is not None and table.program != BALANCER:
        return beside_balancer(table, request, file, asked)

    def work(maps: Maps, file: StateFile, state: State) -> Result:
        clock = Clock()
        if table is not None:
            result = BalancerTableRun(table, request, maps, file, state, clock).run(asked)
        else:
            kind = OverlayRun if name == "reals" else VipRun
            run = kind(request, maps, file, state, clock)
            if purge_down is not None and isinstance(maps, KernelMaps):
                run.purge = partial(purge_down, maps)
            result = run.run(asked)
        if purge is not None and result.gone and isinstance(maps, KernelMaps):
            purged = purge(maps, result.gone, request.check)
            for flow_table, number in purged.items():
                result.operations[flow_table] = result.operations.get(flow_table, 0) + number
            if purged:
                result.changes.append(f"{sum(purged.values())} flows of what goes purged")
        return result

    return with_balancer(request, work, file)


def beside_balancer(table: AnyTable, request: Request, file: StateFile, asked: Asked) -> Result:
    """Apply what is asked of a table whose program needs no balancer; for a caller that has the lock."""
    paths = Paths(request.bpffs, request.instance, table.program)
    record = file.read_record(HealthcheckRecord, table.program)
    found = healthcheck_pins(KernelEdges(), paths, record, ways_out)
    with open_maps_beside(table.program, table.maps, request, found) as (maps, lines):
        return _with_pins(TableRun(table, request, maps, file, Clock()).run(asked), lines)


Work = Callable[[Maps, StateFile, State], Result]
"""What a run does with a balancer's maps, its files and its state."""


def with_balancer(request: Request, work: Work, file: StateFile | None = None) -> Result:
    """Do something with a balancer's maps, once what a killed run began is finished; for a caller that has the lock."""
    file = file or StateFile(request.instance, request.bpffs)
    state = file.read()
    if not request.check:
        Swap(file).recover(state)
    with _told(request.instance), open_maps(request, state) as (maps, lines):
        return _with_pins(work(maps, file, recovered(file, state, maps)), lines)


def _with_pins(result: Result, lines: Sequence[str]) -> Result:
    """With what was mended before anything else, somebody else's doing."""
    result.changes[:0] = lines
    result.drift[:0] = lines
    return result
