# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Going back: VIPs and tables as an applied configuration had them, and the program where its bytecode is kept.

What a person said of reals (the overlay) and what checks say stay as they are today, and so do ids.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from .._kernel.history_files import HistoryFiles
from .._kernel.lock import locked
from .._kernel.maps import KernelMaps, Maps
from .._kernel.memory_maps import PlannedMaps
from .._kernel.rehearsal import RehearsedFile, RehearsedMaps
from .._kernel.state_files import StateFile
from .._model.entries import Asked
from .._model.history import REVERT, Entry, before_run, entry_of, is_named
from .._model.limits import limits_of_settings
from .._model.operations import Put
from .._model.revert_plan import ProgramBack, program_back
from .._model.state import State
from .._model.tables import BALANCER_TABLES
from .._program.requirements import require_capabilities
from .._program.swap import PREVIOUS_FILE, PROGRAM, Swap
from .balancer import Balancer
from .flows import purge_gone
from .kept import Rows, kept_rows, kept_state
from .known_tables import known_table
from .opened import open_maps, shape_of
from .recording import recorded
from .recovery import recovered
from .request import Clock, Gone, Request, Result
from .resource import apply_locked
from .run import run_locked
from .tables import BalancerTableRun
from .vips import VipRun


@dataclass
class Reverted:
    """What a revert did, or in check mode would do.

    `to`: the number of the configuration that it goes back to; None where nothing is to be gone back from, then `told`
    says why. `parts`: module → its part.
    """

    to: int | None
    told: str
    parts: dict[str, Result] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @property
    def result(self) -> Result:
        """All parts together."""
        found = Result(warnings=[*self.warnings])
        for part in self.parts.values():
            found.changes += part.changes
            found.drift += part.drift
            for name, count in part.operations.items():
                found.operations[name] = found.operations.get(name, 0) + count
        found.warnings += dict.fromkeys(warning for part in self.parts.values() for warning in part.warnings)
        return found


@dataclass(frozen=True)
class _Target:
    """A configuration to go back to: its state, None where nothing was there, and the rows of its resources."""

    entry: Entry
    state: State | None
    rows: Mapping[str, Rows]


def revert(request: Request, run: str | None = None, to: int | None = None, stays: bool = True) -> Reverted:
    """Bring a balancer back to what it was before a run, or to an applied configuration.

    `stays`: whether a program that went back stays so until its sources or settings are others.

    Doing it again changes nothing.

    All is tried without a write first: where a part cannot be done, nothing is. Every failure is an exception with one
    sentence.
    """
    require_capabilities()
    with locked(request.instance, not request.check, request.lock_timeout):
        file = StateFile(request.instance, request.bpffs)
        closed = file.close(request.check)
        history = HistoryFiles(file)
        done = _choose(history, run, to)
        if done.to is None:
            return done
        target = _read(history, file, history.read(done.to))

        def work() -> Result:
            state = file.read()
            if not request.check:
                Swap(file).recover(state)
            previous = Balancer(request.instance, request.bpffs, file).home.bytecode(PREVIOUS_FILE)
            back = program_back(state, target.state, previous)
            done.warnings += back.warnings
            done.parts = _rehearse(request, file, state, target, back, done.warnings)
            if not request.check:
                rows = {name: target.rows[name] for name in done.parts if name != PROGRAM}
                done.parts = _carry_out(request, file, back, rows)
                if not stays:
                    _forget(file)
            return done.result

        result = recorded(file, "revert", request.audit, request.check, work, done.to)
        done.warnings += [line for line in result.warnings if line not in done.result.warnings]
        if closed:
            done.parts["folders"] = Result(changes=closed)
        return done


def _choose(history: HistoryFiles, run: str | None, to: int | None) -> Reverted:
    """Which entry is meant."""
    known = history.known()
    if to is not None:
        entry = entry_of(known, to)
        return Reverted(to, f"back to applied configuration {to} of {entry.began}")
    entry_before, since = before_run(known, run or "")
    left = history.opening()
    if entry_before is None and left is not None and known and is_named(left.run, run or ""):
        # It failed or was killed before it came to a configuration: what maps have of it goes.
        return Reverted(entry_of(known, max(known)).number, f"back to what was before run {run}, which did not end")
    if entry_before is None:
        return Reverted(None, f"run {run} applied nothing to this balancer: nothing is taken back (katran history)")
    run = since[0].run
    others = {each.run: each for each in since if each.run not in ("", run) and each.kind != REVERT}
    warnings = [
        f"goes back as well: run {name}{f' by {each.user}' if each.user else ''} of {each.began}, which came after"
        for name, each in others.items()
    ]
    return Reverted(entry_before.number, f"back to what was before run {run}", warnings=warnings)


def _read(history: HistoryFiles, file: StateFile, entry: Entry) -> _Target:
    """What an entry kept. StateError where that is damaged, and where all was lost there is nothing to keep."""
    state, kept = kept_state(history, entry), kept_rows(history, entry)
    rows: dict[str, Rows] = {"vips": state.vips if state is not None else []}
    for name, table in BALANCER_TABLES.items():
        if name in kept:
            rows[name] = kept[name]
        elif file.read_file(table.file) is not None:
            rows[name] = []
    return _Target(entry, state, rows)


def _asked(rows: Rows) -> Asked:
    return Asked(rows, "overridden", allow_empty=True)


def _carry_out(request: Request, file: StateFile, back: ProgramBack, rows: Mapping[str, Rows]) -> dict[str, Result]:
    parts = {}
    if back.wanted is not None:
        job = Balancer(request.instance, request.bpffs, file).ensuring(back.wanted)
        parts[PROGRAM] = run_locked(job, False)
    kept = replace(request, kept=True)
    for name, each in rows.items():
        purge = purge_gone if name == "vips" else None
        parts[name] = apply_locked(name, kept, _asked(each), None, purge, file)
    return parts


def _forget(file: StateFile) -> None:
    """Let the next run load the program again that was gone back from."""
    state = file.read()
    if state.program.rolled_back_from is not None:
        file.write(replace(state, program=replace(state.program, rolled_back_from=None)))


def _rehearse(
    request: Request, file: StateFile, state: State, target: _Target, back: ProgramBack, warnings: list[str]
) -> dict[str, Result]:
    """The same in memory: each part sees what those before it leave."""
    parts = {}
    rehearsed = RehearsedFile(request.instance, request.bpffs, file)
    with open_maps(replace(request, check=True), state) as (present, lines):
        after, maps = recovered(rehearsed, state, present), RehearsedMaps(present)
        if back.wanted is not None:
            job = Balancer(request.instance, request.bpffs, file).ensuring(back.wanted)
            planned = job.plan(job.read())
            planned.require()
            parts[PROGRAM] = job.preview(planned)
            settings = back.wanted.to_config()
            after = replace(after, settings=settings, learned=planned.plan.learned)
            maps = RehearsedMaps(PlannedMaps(present, shape_of(limits_of_settings(settings))))
            for step in planned.plan.of(Put):
                maps.put(step.map, step.entries)
        rehearsed.write(after)
        kept = replace(request, check=False, kept=True)
        for name, rows in target.rows.items():
            if name != "vips" and not _can(name, rows, rehearsed, after, maps, warnings):
                continue
            parts[name] = _rehearse_one(name, kept, _asked(rows), maps, rehearsed, present)
        if lines:
            first = parts["vips"]
            first.changes[:0], first.drift[:0] = lines, lines
    return parts


def _can(name: str, rows: Rows, file: StateFile, state: State, maps: Maps, warnings: list[str]) -> bool:
    """Whether the program can do what a table's rows ask for; where not, they stay as they are."""
    table = BALANCER_TABLES[name]
    features = state.settings.get("features")
    if not rows or table.feature is None or features is None or table.feature in features:
        return True
    reals = {"reals": maps.entries("reals")}
    if [table.row(each) for each in known_table(table, file, state, reals).values()] != list(rows):
        warnings.append(f"{name} stay as they are: the program has no feature {table.feature}")
    return False


def _rehearse_one(
    name: str, request: Request, asked: Asked, maps: RehearsedMaps, file: RehearsedFile, present: Maps
) -> Result:
    state, clock = file.read(), Clock()
    if name != "vips":
        return BalancerTableRun(BALANCER_TABLES[name], request, maps, file, state, clock).run(asked)
    run = VipRun(request, maps, file, state, clock)
    if isinstance(present, KernelMaps):
        run.purge = partial(_count, present)
    return run.run(asked)


def _count(maps: KernelMaps, gone: Iterable[Gone], check: bool) -> dict[str, int]:
    """The flows that would be removed."""
    del check
    return purge_gone(maps, gone, True)
