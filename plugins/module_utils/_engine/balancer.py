# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A balancer's program: bring it to what is wanted, go back to the one before, take it off the host.

Every step leaves the host in a state that the next run recognises (see _program/swap.py).
"""

from __future__ import annotations

import contextlib
import typing as t
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial

from .._kernel.balancer_edges import BalancerEdges, KernelBalancerEdges
from .._kernel.edges import pinned_info
from .._kernel.state_files import StateFile
from .._model import layout
from .._model.announcement import DRAIN_FILE
from .._model.balancer_plan import BalancerPlan, follows_gateway, plan_balancer, plan_gateway, plan_removal
from .._model.balancer_snapshot import BalancerSnapshot
from .._model.errors import FleetError, NetworkError
from .._model.history import FOLDER
from .._model.limits import Limits
from .._model.map_specs import MAPS, balancer_maps
from .._model.pinned import PinnedMaps
from .._model.program_file import ProgramFile
from .._model.snapshot import GatewayAnswer
from .._model.state import State
from .._model.steps import ClearSlot, Compile, Detach
from .._model.tables import BALANCER_TABLES
from .._model.take_over import UseForeign, can_give_back, plan_giving_back, stays_returned, waits_for_vips
from .._model.wanted import Asking, Wanted, kept_wanted, wanted_back
from .._model.words_file import WORDS_FILE
from .._program.balancer_executor import BalancerExecutor
from .._program.balancer_toolchain import BalancerToolchain, HostBalancerToolchain
from .._program.executor import Executor
from .._program.home import Home, read_bpffs
from .._program.macros import balancer_macros
from .._program.own_pins import balancer_pins
from .._program.swap import BYTECODE_FILE, NEXT_FILE, PREVIOUS_FILE, PROGRAM, Swap
from .balancer_reading import BalancerReader
from .known_tables import features_in_use, idle_resources
from .recording import recorded, tell_removal
from .recovery import lost_warnings
from .request import Result
from .run import Job, preview, run, told
from .withdraw import withdrawn

STATE_FILES = (
    "state.json",
    DRAIN_FILE,
    WORDS_FILE,
    *(table.file for table in BALANCER_TABLES.values()),
    BYTECODE_FILE,
    NEXT_FILE,
    PREVIOUS_FILE,
    FOLDER,
)


@dataclass(frozen=True)
class _Seen:
    """What a run has read. `wanted`: with what the state makes of it; `warnings`: what to say of that.

    `waits`: why a Katran is not replaced yet.
    """

    state: State
    wanted: Wanted
    host: BalancerSnapshot
    warnings: tuple[str, ...] = ()
    waits: str = ""


@dataclass(frozen=True)
class _Planned:
    """A plan, and what it is carried out with. `wanted`: None where there is nothing to tell of the program.

    `waits`: as in _Seen; `leaves`: whether packets of VIPs are another program's afterwards.
    """

    plan: BalancerPlan
    state: State
    wanted: Wanted | None = None
    waits: str = ""
    leaves: bool = False

    def require(self) -> None:
        """ProgramError where the host lacks something."""
        self.plan.require()


BalancerJob = Job[t.Any, _Planned]


class Balancer:
    """One balancer on this host."""

    def __init__(
        self,
        instance: str,
        bpffs: str,
        file: StateFile | None = None,
        edges: BalancerEdges | None = None,
        tools: BalancerToolchain | None = None,
        audit: str | None = None,
    ) -> None:
        """`audit`: as Request has it."""
        self.instance = instance
        self.audit = audit
        self.file = file or StateFile(instance, bpffs)
        self.edges: BalancerEdges = edges or KernelBalancerEdges()
        self.tools: BalancerToolchain = tools or HostBalancerToolchain()
        self.home = Home(PROGRAM, MAPS, self.file, ProgramFile, self.edges, self.tools)
        self.paths = self.home.paths
        self.swap = Swap(self.file, self.edges)
        self.reader = BalancerReader(self.home, self.edges, self.file)

    def ensure(self, wanted: Wanted | Asking, check: bool, timeout: float) -> Result:
        """Bring the balancer to `attached` or `loaded` with these settings; in check mode only say what that takes."""
        return run(self.ensuring(wanted), self.file, check, timeout, self._recorded(check))

    def roll_back(self, check: bool, timeout: float) -> Result:
        """Go back to the program before the last upgrade; a second call changes nothing."""
        return run(self.rolling_back(), self.file, check, timeout, self._recorded(check))

    def remove(self, check: bool, timeout: float) -> Result:
        """Detach and remove the balancer: attachments, pins, state, history, lock."""
        result = run(self.removing(), self.file, check, timeout)
        if not check:
            tell_removal(self.instance, self.audit, result)
        return result

    def follow_gateway(self, check: bool, timeout: float) -> Result:
        """Send to the gateway's MAC of today where it is to be found out."""
        return run(self.following(), self.file, check, timeout)

    def _recorded(self, check: bool) -> Callable[[Callable[[], Result]], Result]:
        return partial(recorded, self.file, PROGRAM, self.audit, check)

    # the jobs

    def ensuring(self, asking: Wanted | Asking) -> BalancerJob:
        """The job of `ensure`."""
        # Nobody else changes the file while a run has the lock; it may be large.
        known = cache(self.reader.known)
        asked: list[GatewayAnswer] = []

        def prepare() -> None:
            # The gateway may take seconds to answer: another run need not wait for that. If it fails, so will the run.
            if asking.asks_gateway:
                with contextlib.suppress(FleetError):
                    settings = asking.settle(self.file.read()).settings
                    if settings.gateway_mac == "auto":
                        asked.append(self.edges.ask_gateway(settings.interfaces, False, True))

        def read() -> _Seen:
            state = known()
            wanted = asking.settle(state)
            warnings = [*_idle_options(wanted), *lost_warnings(state)]
            goal = self._with_features(wanted, state)
            digest = self.reader.digest(goal)
            staying = goal.kept_as(state, digest)
            if staying is not goal or not goal.kept:
                warnings += self._idle(state, staying)
            if staying is not goal:
                goal, digest = staying, None
                warnings.append(
                    f"balancer {self.instance} was rolled back by hand and stays so until its sources or settings"
                    " change; end_rollback: true (katran_end_rollback) takes them as they are"
                )
            host = self.reader.everything(state, goal, digest, asked)
            waits = waits_for_vips(goal, state, host)
            stays = stays_returned(goal, state, host) or waits
            if stays:
                goal = replace(goal, state="loaded", attach_later=True)
                warnings.append(stays)
            return _Seen(state, goal, host, tuple(warnings), waits)

        return Job(read, self._plan, _preview, self._execute, lambda: self._recover(known()), prepare)

    def rolling_back(self) -> BalancerJob:
        """The job of `roll_back`."""
        known = cache(self.reader.known)

        def read() -> _Seen | tuple[State, BalancerSnapshot]:
            state = known()
            if can_give_back(state):
                return state, self.reader.places(state)
            if state.program.rolled_back_from:
                # What a killed rollback left undone after the program had changed over is still to be done.
                wanted = kept_wanted(state)
            else:
                wanted = wanted_back(self.instance, state, self.home.bytecode(PREVIOUS_FILE))
            idle = tuple(self._idle(state, wanted))
            return _Seen(state, wanted, self.reader.everything(state, wanted, None, ()), idle)

        def plan(found: _Seen | tuple[State, BalancerSnapshot]) -> _Planned:
            if isinstance(found, _Seen):
                return self._plan(found)
            made = BalancerPlan(before=found[0].settings, after=found[0].settings, learned=found[0].learned)
            plan_giving_back(made, self.instance, *found)
            return _Planned(made, found[0], leaves=bool(made.of(UseForeign)))

        return Job(read, plan, _preview, self._execute, lambda: self._recover(known()))

    def _idle(self, state: State, wanted: Wanted) -> list[str]:
        """What was applied that the program to be has no feature for."""
        return idle_resources(self.file, state, Limits(wanted.settings.sizes, wanted.settings.features))

    def removing(self) -> BalancerJob:
        """The job of `remove`."""
        known = cache(self.file.read)

        def read() -> tuple[State, BalancerSnapshot]:
            return known(), self.reader.places(known())

        def plan(found: tuple[State, BalancerSnapshot]) -> _Planned:
            return _Planned(plan_removal(*found, self.file.directory, STATE_FILES), found[0])

        def execute(planned: _Planned) -> Result:
            with withdrawn(self.instance, _places(planned.state)):
                Executor(self.home).run(planned.plan.ordered())
            return told(planned.plan)

        return Job(read, plan, _preview, execute, lambda: self._recover(known()))

    def following(self) -> BalancerJob:
        """The job of `follow_gateway`."""
        asked: list[GatewayAnswer] = []

        def prepare() -> None:
            state = self.file.read()
            if follows_gateway(state):
                # The gateway may take seconds to answer: another run need not wait for that.
                answer = self.edges.ask_gateway(state.settings["interfaces"], True, True)
                if not answer.mac:
                    raise NetworkError(answer.sentence)
                asked.append(answer)

        def read() -> tuple[State, PinnedMaps, bytes | None]:
            state, there = self.file.read(), None
            pins = balancer_pins(self.edges, self.paths, state.program)
            if "ctl_array" in pins.maps:
                with self.home.open_map("ctl_array", pins.lost) as ctl:
                    there = ctl.lookup(layout.u32(layout.CTL_GATEWAY_MAC))
            return state, pins, there

        def plan(found: tuple[State, PinnedMaps, bytes | None]) -> _Planned:
            state, pins, there = found
            # A run that was waited for may have told other interfaces, over which another gateway is: the next time.
            interfaces = tuple(state.settings.get("interfaces", ()))
            mac = "".join(answer.mac for answer in asked if answer.interfaces == interfaces)
            return _Planned(plan_gateway(state, mac, there, pins, self.paths.maps), state)

        return Job(read, plan, _preview, self._execute, prepare=prepare)

    # their parts

    def _with_features(self, wanted: Wanted, state: State) -> Wanted:
        """With the features that the program has, and that untouched resources use."""
        if not wanted.untouched:
            return wanted
        there = frozenset(state.settings.get("features", ()))
        return wanted.with_features(features_in_use(self.file, state, wanted.untouched) & there)

    def _recover(self, state: State) -> None:
        """Finish or undo what a killed run began, where that can be told."""
        if read_bpffs(self.edges, self.paths.bpffs) is None:
            self.file.sweep()
            self.swap.recover(state)

    def _plan(self, seen: _Seen) -> _Planned:
        macros = balancer_macros(seen.wanted.settings)
        plan = plan_balancer(seen.wanted, macros, seen.state, self.file.path, seen.host)
        plan.warnings[:0] = seen.warnings
        return _Planned(plan, seen.state, seen.wanted, seen.waits)

    def _execute(self, planned: _Planned) -> Result:
        plan, state = planned.plan, planned.state
        executor = BalancerExecutor(self.home, self.edges, self.tools, self.file, state, STATE_FILES)
        state.learned = plan.learned
        if not state.program.tag:
            # The first time, the host itself is in question: a fault of its own is not to look like one of ours.
            for step in plan.of(Compile):
                self.tools.require_host(step.source_dir)
        wanted = planned.wanted
        leaves = planned.leaves or (wanted is not None and wanted.state == "loaded" and plan.of(Detach, ClearSlot))
        with withdrawn(self.instance, _places(state) if leaves else ()):
            executor.run(plan.ordered())
        result = told(plan)
        result.waits = planned.waits
        if planned.wanted is not None:
            compiled = executor.bytecode if plan.of(Compile) else None
            seconds = compiled.compile_seconds if compiled else 0.0
            result.selftest = executor.selftest
            self._report(planned.wanted, state, seconds, result)
            result.reused_maps = plan.reused if plan.changes else sorted(result.maps)
        return result

    def _report(self, wanted: Wanted, state: State, seconds: float, result: Result) -> None:
        """What is there after a run."""
        info = pinned_info(self.edges, self.paths.program)
        if info is None:
            return
        result.program = {
            "id": info.id,
            "tag": info.tag,
            "source_digest": state.program.source_digest or "",
            "instructions": info.instructions,
            "compile_seconds": seconds,
        }
        result.attached = [
            {"interface": each.interface, "mode": each.mode, "program_id": each.program_id}
            for each in (self.edges.attachments() if wanted.interfaces else ())
            if each.interface in wanted.interfaces
        ]
        if wanted.settings.mode == "auto":
            reasons = state.program.generic
            result.warnings += [
                f"interface {item['interface']} is in generic mode: "
                + reasons.get(item["interface"], "it was when this balancer first met it")
                for item in result.attached
                if item["mode"] == "generic"
            ]
        for name in balancer_maps(wanted.settings):
            with self.edges.open_map(self.paths.map(name)) as opened:
                size = self.edges.memory(opened)
                result.maps[name] = {"id": opened.info.id, "entries": opened.info.entries, "bytes": size}


def _places(state: State) -> set[str]:
    """The addresses and prefixes of a balancer's VIPs."""
    return {vip["address"] for vip in state.vips}


def _preview(planned: _Planned) -> Result:
    return replace(preview(planned.plan), waits=planned.waits)


def _idle_options(wanted: Wanted) -> list[str]:
    if {"flow_debug", "inline_decap"} & wanted.settings.features == {"flow_debug"}:
        return ["features: flow_debug records the flows that inline_decap decapsulates, which is off"]
    return []
