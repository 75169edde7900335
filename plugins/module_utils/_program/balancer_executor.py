# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Taking the steps of a balancer's plan: prove, migrate, announce, change over, watch, settle."""

from __future__ import annotations

import contextlib
import os
import typing as t
from collections.abc import Iterable, Sequence
from contextlib import ExitStack

from .._kernel.balancer_edges import BalancerEdges
from .._kernel.maps import drop_index, put_index
from .._kernel.open_map import KindError, Map
from .._kernel.state_files import StateFile
from .._model import layout
from .._model.balancer_steps import (
    Announce,
    ConcludeState,
    ForgetPrevious,
    IndexVips,
    MakeTables,
    MigrateMaps,
    Prove,
    RememberPlaces,
    SettleTables,
    Verify,
    Watch,
)
from .._model.errors import FleetError, ModeError, ProgramError, StateError
from .._model.map_specs import VIP_INDEX
from .._model.operations import Put
from .._model.state import Foreign, State
from .._model.steps import AnyStep, Attach, CreateMaps, Fill, Keep, Load, Phase, TakeSlot, phase_of
from .._model.take_over import CopyFlows, HoldForeign, LetForeignGo, SettleFlows, UseForeign, settled
from .balancer_toolchain import BalancerToolchain
from .canary import Counters
from .executor import Executor
from .flow_tables import finish_tables, put_table, tables_in, take_table
from .foreign_flows import FLOW_MAPS, copy_flows, maps_by_id
from .home import Home
from .migration import Migration
from .swap import Swap


class BalancerExecutor(Executor):
    """One run's steps. `state` is what is on file, and follows what is done. `files`: all that a balancer keeps."""

    def __init__(
        self,
        home: Home[t.Any],
        edges: BalancerEdges,
        tools: BalancerToolchain,
        file: StateFile,
        state: State,
        files: Iterable[str],
    ) -> None:
        super().__init__(home)
        self.host = edges
        self.tools = tools
        self.state_file = file
        self.state = state
        self.files = tuple(files)
        self.swap = Swap(file, edges)
        self.selftest: dict[str, t.Any] = {}
        self.created: list[str] = []
        self.made: dict[str, dict[int, Map]] = {}
        self.migrated: frozenset[str] = frozenset()
        self.migration: Migration | None = None
        self.counters = Counters()
        self.reasons = dict(state.program.generic)
        self._phase = Phase.PIN_AGAIN
        self._swapping = False

    def run(self, steps: Iterable[AnyStep]) -> None:
        """Take the steps in this order; where one fails before the program has changed over, leave nothing of them."""
        todo = list(steps)
        try:
            super().run(todo)
        except FleetError:
            if Phase.CREATE <= self._phase < Phase.KEEP:
                # What the present program is to have was not made for another.
                self._leave_nothing(self.created if any(isinstance(step, Load) for step in todo) else [])
            raise

    def take(self, step: AnyStep) -> None:
        """Take one step. ProgramError says why it cannot be taken."""
        self._phase = phase_of(step)
        super().take(step)

    def _leave_nothing(self, created: Sequence[str]) -> None:
        """Remove what was prepared; what a full disk does not let go of, the next run removes."""
        self.swap.discard(created)
        if self.state.program.next is not None:
            self.state.program.next = None
            with contextlib.suppress(StateError):
                self.state_file.write(self.state)
        if not {os.path.basename(path) for path in self.paths.names()}.intersection(
            self.edges.listed(self.paths.directory)
        ):
            # A first run that failed.
            self.edges.unpin(map(self.paths.map, self.created))
            self.edges.remove_folders(reversed(self.paths.folders()))
            if self.state.lost:
                with contextlib.suppress(StateError):
                    self.file.remove(self.files)

    def path(self, name: str) -> str:
        """The pin of a map: of one that is being migrated, the new one's."""
        return os.path.join(self.swap.next_maps, name) if name in self.migrated else self.paths.map(name)

    # before anything is touched

    def prove(self, step: Prove) -> None:
        if self.bytecode is not None:
            self.selftest = self.tools.prove(self.bytecode, step.settings)

    def watch(self, _step: Watch) -> None:
        if "stats" in self.edges.listed(self.paths.maps):
            self.counters = Counters(self.held.enter_context(self.edges.open_map(self.paths.map("stats"))))

    # maps

    def create_maps(self, step: CreateMaps) -> None:
        self.created = [spec.name for spec in step.specs]
        super().create_maps(step)

    def migrate(self, step: MigrateMaps) -> None:
        self.edges.make_folders([*self.paths.folders(), self.swap.next_maps])
        self.migration = Migration(self.state, step.old, step.new, self.edges.open_map_by_id)
        self.migrated = frozenset(spec.name for spec in step.specs)
        for spec in step.specs:
            self.edges.create_map(spec, step.new, self.path(spec.name)).close()
        # Counters last, because packets write them all the while.
        for spec in sorted(step.specs, key=lambda each: each.name.endswith("stats")):
            source = self.held.enter_context(self.edges.open_map(self.paths.map(spec.name)))
            target = self.held.enter_context(self.edges.open_map(self.path(spec.name)))
            try:
                self.migration.copy(spec.name, source, target)
            except OSError as error:
                raise ProgramError(f"map {spec.name} cannot be migrated: {error.strerror or error}") from error

    def put(self, step: Put | Fill) -> None:
        with self.edges.open_map(self.path(step.map)) as opened:
            opened.update_many(step.entries)

    def index_vips(self, step: IndexVips) -> None:
        """One that the present program looks into as well is of the same VIPs."""
        with self.edges.open_map(self.path(VIP_INDEX)) as index:
            if step.slots:
                put_index(index, step.slots, self.host.wait_for_packets)
            else:
                drop_index(index)

    def make_tables(self, step: MakeTables) -> None:
        made = self.made[step.map] = {}
        for cpu, entries in step.entries.items():
            if step.shared and made:
                made[cpu] = next(iter(made.values()))
                continue
            node = self.host.numa_node(cpu) if step.by_node else None
            try:
                made[cpu] = self.held.enter_context(self.host.create_table(step.spec, entries, node))
            except OSError as error:
                raise ProgramError(
                    f"{step.size}: a table of {entries} flows for CPU {cpu} cannot be created: {error.strerror}"
                ) from error
        with self.edges.open_map(self.path(step.map)) as outer:
            there = tables_in(outer, self.edges.open_map_by_id)
            for cpu in [cpu for cpu in made if cpu not in there]:
                put_table(outer, cpu, made.pop(cpu), self.edges.open_map_by_id)

    def settle_tables(self, step: SettleTables) -> None:
        """Once the program runs that is to use them: new tables for those that there are, with their flows."""
        by_id = self.edges.open_map_by_id
        with self.edges.open_map(self.paths.map("lru_outgrown")) as outgrown:
            if step.unfinished:
                with self.edges.open_map(self.paths.map("lru_mapping")) as outer:
                    finish_tables(outer, outgrown, by_id)
            info = self.edges.program_info(self.program())
            for name, tables in self.made.items():
                # A program from before this map existed does not look into it.
                used = name == "lru_mapping" and outgrown.info.id in info.map_ids
                with self.edges.open_map(self.paths.map(name)) as outer:
                    for cpu, table in tables.items():
                        put_table(outer, cpu, table, by_id, outgrown if used else None)
        for name, cpus in step.gone.items():
            with self.edges.open_map(self.paths.map(name)) as outer:
                stay = [cpu for cpu in tables_in(outer, by_id) if cpu not in cpus]
                for cpu in cpus:
                    take_table(outer, cpu, stay, by_id)

    # the program

    def load(self, step: Load) -> None:
        fd = self._previous(step) if step.previous else -1
        if fd < 0:
            fd = self.load_with({name: self.path(name) for name in step.maps})
        self.fd, self.loaded = fd, self.edges.program_info(fd)
        if "subprograms" in self.created:
            # Before the first packet; once it runs, the swap leads it to itself.
            with self.edges.open_map(self.paths.map("subprograms")) as subprograms:
                subprograms.update(layout.u32(0), layout.u32(fd))

    def _previous(self, step: Load) -> int:
        """The previous program where it is still pinned and uses these maps, else -1: it may be older than they are."""
        previous = self.state.program.previous
        try:
            fd = self.edges.open_program(self.paths.previous)
        except (FileNotFoundError, KindError):
            return -1
        self.held.callback(self.edges.close, fd)
        if previous is None or self.edges.program_info(fd).tag != previous.tag:
            return -1
        ids = set()
        for name in step.maps:
            with self.edges.open_map(self.path(name)) as opened:
                ids.add(opened.info.id)
        return fd if ids.issuperset(self.edges.program_info(fd).map_ids) else -1

    def announce(self, step: Announce) -> None:
        if self.bytecode is None or self.loaded is None:
            raise ProgramError("no program is loaded")
        coming = step.coming.told(
            self.loaded.id, self.loaded.tag, self.bytecode.digest, self.migration.rings if self.migration else {}
        )
        self.swap.announce(self.state, coming, self.fd, self.bytecode.to_json())

    def remember(self, step: RememberPlaces) -> None:
        program = self.state.program
        program.interfaces = sorted({*program.interfaces, *step.interfaces})
        program.slot = program.slot or step.slot
        self.state_file.write(self.state)

    def _swap_begins(self) -> None:
        if not self._swapping:
            self._swapping = True
            self.counters.swap_begins()

    def attach(self, step: Attach) -> None:
        self._swap_begins()
        self.reasons.pop(step.interface, None)
        try:
            super().attach(step)
        except ModeError as error:
            if not step.fallback or (step.there is not None and step.there.mode == step.mode):
                raise
            super().attach(Attach(step.interface, "generic"))
            self.reasons[step.interface] = error.reason

    def take_slot(self, step: TakeSlot) -> None:
        self._swap_begins()
        super().take_slot(step)

    def verify(self, _step: Verify) -> None:
        with self.edges.open_map(self.path("stats")) as stats:
            self.counters.verify(stats)

    def keep(self, _step: Keep) -> None:
        self.swap.finish(self.state)
        if self.migration is not None:
            self.migration.complete()
        self.migrated = frozenset()

    # the record

    def conclude_state(self, step: ConcludeState) -> None:
        state, program = self.state, self.state.program
        if step.places is not None:
            interfaces, slot = step.places
            program.interfaces, program.slot = list(interfaces), slot
        state.settings = dict(step.settings)
        program.generic = {name: self.reasons[name] for name in program.interfaces if name in self.reasons}
        program.gateway_mac = step.gateway_mac or program.gateway_mac
        if step.forget:
            program.rolled_back_from = program.previous = None
        self.state_file.write(state)

    def forget_previous(self, _step: ForgetPrevious) -> None:
        self.swap.forget_previous()

    # a Katran that is not ours

    def hold_foreign(self, step: HoldForeign) -> None:
        """On record first: a run that is killed here leaves a word of a pin that is not there, which is none."""
        before = self.state.program.foreign
        fd = self.hold(step.foreign.id, "that is to be replaced")
        self._record_foreign(step.foreign)
        self.undo.callback(self._release_foreign, step.foreign, before)
        self.edges.unpin([self.paths.foreign])
        self.edges.pin(fd, self.paths.foreign)

    def _release_foreign(self, foreign: Foreign, before: Foreign | None) -> None:
        """Unless it could not be put back, and its pin is all that keeps it: then the next run goes on from there."""
        running = {each.program_id for each in self.edges.attachments()}
        if foreign.slot is not None:
            running.update(self.edges.slots(foreign.slot.path).values())
        if foreign.id in running:
            self.edges.unpin([self.paths.foreign])
            self._record_foreign(before)

    def _record_foreign(self, foreign: Foreign | None) -> None:
        self.state.program.foreign = foreign
        self.state_file.write(self.state)

    def copy_flows(self, step: CopyFlows | SettleFlows) -> None:
        """Of the Katran to our tables, or back; once it has changed over, only what the other side does not have."""
        foreign = self.edges.program_info(self.hold(step.program, "that was replaced"))
        with ExitStack() as held:
            theirs = maps_by_id(foreign.map_ids, self.edges.open_map_by_id, held)
            there = self.edges.listed(self.paths.maps)
            ours = {
                name: held.enter_context(self.edges.open_map(self.path(name)))
                for name in ("reals", *FLOW_MAPS)
                if name in there
            }
            source, target = (ours, theirs) if step.back else (theirs, ours)
            copy_flows(source, target, self.edges.open_map_by_id, only_new=isinstance(step, SettleFlows))
        known = self.state.program.foreign
        if isinstance(step, SettleFlows) and known is not None:
            self._record_foreign(settled(known, step.back))

    def use_foreign(self, _step: UseForeign) -> None:
        self.fd = self.edges.open_program(self.paths.foreign)
        self.held.callback(self.edges.close, self.fd)

    def let_foreign_go(self, _step: LetForeignGo) -> None:
        self.edges.unpin([self.paths.foreign])
        self._record_foreign(None)


BalancerExecutor.taking = {
    **Executor.taking,
    CreateMaps: BalancerExecutor.create_maps,
    Prove: BalancerExecutor.prove,
    Watch: BalancerExecutor.watch,
    MigrateMaps: BalancerExecutor.migrate,
    IndexVips: BalancerExecutor.index_vips,
    Put: BalancerExecutor.put,
    MakeTables: BalancerExecutor.make_tables,
    Load: BalancerExecutor.load,
    Announce: BalancerExecutor.announce,
    RememberPlaces: BalancerExecutor.remember,
    Attach: BalancerExecutor.attach,
    TakeSlot: BalancerExecutor.take_slot,
    Verify: BalancerExecutor.verify,
    Keep: BalancerExecutor.keep,
    SettleTables: BalancerExecutor.settle_tables,
    ConcludeState: BalancerExecutor.conclude_state,
    ForgetPrevious: BalancerExecutor.forget_previous,
    HoldForeign: BalancerExecutor.hold_foreign,
    CopyFlows: BalancerExecutor.copy_flows,
    SettleFlows: BalancerExecutor.copy_flows,
    UseForeign: BalancerExecutor.use_foreign,
    LetForeignGo: BalancerExecutor.let_foreign_go,
}
