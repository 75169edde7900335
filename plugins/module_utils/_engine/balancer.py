# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The life of a balancer's program: maps, compile, prove, attach, replace, roll back, detach, remove.

Every step leaves the host in a state that the next run recognises. What the next program needs is prepared beside what
the present one has, then the interfaces change over, then the pins change names (see _swap).
"""

from __future__ import annotations

import contextlib
import os
import typing as t
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial

from .._kernel import bpf
from .._kernel.cpus import forwarding_cpus, numa_node, numa_nodes, possible_cpus
from .._kernel.lock import locked, remove_lock
from .._kernel.maps import KernelMaps
from .._kernel.network import FAMILIES, gateway_mac, own_address
from .._kernel.pins import create_pinned, pinned_program, program_maps
from .._kernel.root_array import clear_slot, put_program, slots
from .._kernel.state_files import StateFile
from .._kernel.xdp import Interfaces, attachments, detach, every_attachment
from .._model import layout
from .._model.bytecode import Bytecode
from .._model.errors import ModeError, NetworkError, ProgramError, StateError
from .._model.limits import Limits
from .._model.lru_history import learners, may_be_known
from .._model.map_specs import MAPS, MAX_CPUS, NUMA_NODE, MapSpec, balancer_maps
from .._model.settings import BalancerSettings, RootArray, parse_settings, with_program_of
from .._model.slot_plan import SlotPlan, plan_slot
from .._model.snapshot import Attachment, MapInfo, ProgramInfo, fits
from .._model.state import Coming, Previous, State
from .._model.tables import BALANCER_TABLES
from .._model.vips import vips_from_config
from .._program import compiler
from .._program.bytecode import load
from .._program.canary import Counters
from .._program.flow_tables import count_entries, finish_tables, put_table, table_sizes, tables_in, take_table
from .._program.home import attempt
from .._program.macros import balancer_macros
from .._program.migration import Migration, check_room, sizes_of
from .._program.ownership import orphans
from .._program.rehash import count_moves
from .._program.requirements import has_module, require_bpffs, require_capabilities, require_interface
from .._program.selftest import self_test
from .._program.sources import require_safe_sources, source_digest
from .._program.swap import BYTECODE_FILE, NEXT_FILE, PREVIOUS_FILE, PROGRAM, Swap
from .known_tables import features_in_use, idle_resources
from .opened import is_loaded, lost_maps
from .recovery import lost_warnings, recovered
from .request import Result

STATE_FILES = (
    "state.json",
    *(table.file for table in BALANCER_TABLES.values()),
    BYTECODE_FILE,
    NEXT_FILE,
    PREVIOUS_FILE,
)

FEW = 5
"""Fewer maps than this are named where they are created."""

BALANCER_MAPS = frozenset(spec.name for spec in MAPS)
FLOW_TABLES = {"lru_mapping": "flows", "global_lru_maps": "global_flows", "flow_debug_maps": "flows"}
"""Map of per-CPU tables → the size that is shared out among them."""


@dataclass(frozen=True)
class Wanted:
    """What a run is asked for.

    `kept`: use the bytecode kept on the host, whatever the sources; `back`: the previous program's; `attach_later`:
    leave the attachments as they are. Restore at boot does the first and the last. `untouched`: resources whose
    features stay.
    """

    settings: BalancerSettings
    state: str
    source_dir: str
    accept_rehash: bool = False
    kept: bool = False
    back: bool = False
    attach_later: bool = False
    untouched: frozenset[str] = frozenset()

    @property
    def attaches(self) -> bool:
        """Whether the program is to run."""
        return self.state == "attached" and not self.attach_later

    @property
    def interfaces(self) -> list[str]:
        """The interfaces to be attached to."""
        return list(self.settings.interfaces) if self.attaches else []

    @property
    def slot(self) -> RootArray | None:
        """The slot of root's array to be taken."""
        return self.settings.root_array if self.attaches else None


@dataclass
class _Present:
    """What is on the host. `ours`: the ids of programs that are this balancer's."""

    maps: dict[str, MapInfo]
    program: ProgramInfo | None
    ours: set[int]
    attached: dict[str, Attachment]

    def our_attachments(self) -> list[Attachment]:
        """Where a program of ours is attached."""
        return [item for item in self.attached.values() if item.program_id in self.ours]


@dataclass
class _Plan:
    """What a run will do, in order.

    `attach`: (interface, mode, what is there now). `tables`: map of tables → {CPU: entries} of those to be made.
    """

    create: list[str] = field(default_factory=list)
    migrate: list[str] = field(default_factory=list)
    drop: list[str] = field(default_factory=list)
    digest: str | None = None
    compile: bool = False
    load: bool = False
    attach: list[tuple[str, str, Attachment | None]] = field(default_factory=list)
    detach: list[Attachment] = field(default_factory=list)
    slot: SlotPlan = field(default_factory=SlotPlan)
    tables: dict[str, dict[int, int]] = field(default_factory=dict)
    gone_tables: dict[str, list[int]] = field(default_factory=dict)
    unfinished: bool = False
    forget: bool = False
    writes: dict[str, list[tuple[bytes, bytes]]] = field(default_factory=dict)
    changes: list[str] = field(default_factory=list)
    old_sizes: dict[str, int] = field(default_factory=dict)
    learned: list[str] = field(default_factory=list)
    mac: str = ""

    @property
    def touches_program(self) -> bool:
        """Whether the program or its attachments change."""
        return bool(self.load or self.attach or self.detach or self.slot.changes)


class Balancer:
    """One balancer on this host."""

    def __init__(self, instance: str, bpffs: str, file: StateFile | None = None) -> None:
        self.instance = instance
        self.file = file or StateFile(instance, bpffs)
        self.swap = Swap(self.file)
        self.paths = self.swap.paths

    # the three things a run can be asked for

    def ensure(self, wanted: Wanted, check: bool, timeout: float) -> Result:
        """Bring the balancer to `attached` or `loaded` with these settings; in check mode only say what that takes."""
        require_capabilities()
        if not check:
            require_bpffs(self.paths.bpffs)
        for name in wanted.interfaces:
            require_interface(name)
        with locked(self.instance, not check, timeout):
            return self.ensure_locked(wanted, check)

    def ensure_locked(self, wanted: Wanted, check: bool) -> Result:
        """The same for a caller that holds the lock."""
        outcome = Result()
        if check and not bpf.is_bpffs(self.paths.bpffs):
            outcome.warnings.append(f"bpffs: {self.paths.bpffs} is not a bpf file system on this host yet")
        if {"flow_debug", "inline_decap"} & wanted.settings.features == {"flow_debug"}:
            outcome.warnings.append(
                "features: flow_debug records the flows that inline_decap decapsulates, which is off"
            )
        known = self._known()
        outcome.warnings += lost_warnings(known)
        wanted = self._with_features(wanted, known)
        if not wanted.kept:
            limits = Limits(wanted.settings.sizes, wanted.settings.features)
            outcome.warnings += idle_resources(self.file, known, limits)
        if not check:
            self.file.sweep()
            self.swap.recover(known)
        self._find_maps(known, check, outcome)
        return self._run(self._stay_rolled_back(wanted, known, check, outcome), known, check, outcome)

    def _with_features(self, wanted: Wanted, known: State) -> Wanted:
        """With the features that the program has, and that untouched resources use."""
        there = frozenset(known.settings.get("features", ()))
        used = features_in_use(self.file, known, wanted.untouched) & there if wanted.untouched else frozenset()
        if used <= wanted.settings.features:
            return wanted
        return replace(wanted, settings=replace(wanted.settings, features=wanted.settings.features | used))

    def _find_maps(self, known: State, check: bool, outcome: Result) -> None:
        """Pin again what the running program has, where somebody removed the pins: nothing of it need be lost."""
        lost = lost_maps(self.paths, known)
        if not lost:
            return
        outcome.changes.append(f"pin {', '.join(sorted(lost))} again, which the running program has")
        if check:
            self.paths.unpinned = lost
        else:
            self.paths.pin_again(lost)

    def _run(self, wanted: Wanted, known: State, check: bool, outcome: Result) -> Result:
        present = self._present(known, check)
        plan = self._plan(wanted, known, present, check, outcome)
        outcome.operations = {name: len(entries) for name, entries in plan.writes.items() if entries}
        outcome.before = known.settings
        outcome.after = settings_data(wanted)
        if outcome.before != outcome.after and not plan.changes:
            plan.changes.append("record the settings")
        outcome.changes += plan.changes
        if not check:
            if plan.changes:
                self._execute(plan, wanted, known, present, outcome)
                known.settings = outcome.after
                if plan.mac:
                    known.program.gateway_mac = plan.mac
                if plan.forget:
                    known.program.rolled_back_from = known.program.previous = None
                self.file.write(known)
                if plan.forget:
                    self.swap.forget_previous()
            self._report(wanted, known, outcome)
        return outcome

    def roll_back(self, check: bool, timeout: float) -> Result:
        """Go back to the program before the last upgrade; a second call changes nothing."""
        require_capabilities()
        if not check:
            require_bpffs(self.paths.bpffs)
        with locked(self.instance, not check, timeout):
            outcome = Result()
            known = self._known()
            if not check:
                self.file.sweep()
                self.swap.recover(known)
            if known.program.rolled_back_from:
                outcome.before = outcome.after = known.settings
                return outcome
            previous = known.program.previous
            if previous and previous.migrated:
                raise ProgramError(
                    f"balancer {self.instance} cannot be rolled back across a migration of its maps"
                    f" ({previous.migrated}): the previous program's maps are gone; set the sizes back instead"
                )
            if not previous or not known.settings or self._bytecode(PREVIOUS_FILE) is None:
                raise ProgramError(f"balancer {self.instance} has no previous program to go back to")
            self._find_maps(known, check, outcome)
            settings = with_program_of(parse_settings(previous.settings), parse_settings(known.settings))
            wanted = Wanted(settings, known.settings["state"], previous.settings["source_dir"], kept=True, back=True)
            return self._run(wanted, known, check, outcome)

    def remove(self, check: bool, timeout: float) -> Result:
        """Detach and remove the balancer: attachments, pins, state, lock."""
        require_capabilities()
        with locked(self.instance, not check, timeout):
            outcome = Result()
            known = self.file.read()
            if not check:
                self.swap.recover(known)
            present = self._present(known, check)
            outcome.before = known.settings
            slot = plan_slot(None, known.program.slot, self._slots(known.program.slot), present.ours, None, False)
            outcome.changes += slot.changes
            if slot.clear is not None and not check:
                clear_slot(slot.clear)
            for attachment in present.our_attachments():
                outcome.changes.append(f"detach from {attachment.interface}")
                if not check:
                    with Interfaces() as links:
                        detach(links, attachment)
            if present.maps or self.paths.programs():
                outcome.changes.append(f"remove the maps and programs pinned in {self.paths.directory}")
            if os.path.exists(self.file.path):
                outcome.changes.append(f"remove the state in {self.file.directory}")
            if not check:
                self.paths.remove(present.maps)
                self.file.remove(STATE_FILES)
                remove_lock(self.instance)
            return outcome

    # what is there

    def _present(self, known: State, check: bool) -> _Present:
        maps = {}
        if os.path.isdir(self.paths.maps) or self.paths.unpinned:
            pinned = os.listdir(self.paths.maps) if os.path.isdir(self.paths.maps) else []
            for name in sorted({*pinned, *self.paths.unpinned} & BALANCER_MAPS):
                with self.paths.open_map(name) as opened:
                    maps[name] = opened.info
        try:
            attached = {item.interface: item for item in every_attachment()}
        except ProgramError:
            # In check mode on a fresh host the role has not installed pyroute2: it would.
            if not check:
                raise
            attached = {}
        running = {item.program_id for item in attached.values()}
        slot = known.program.slot
        if slot is not None:
            with contextlib.suppress(ProgramError):
                running.update(program for place, program in slots(slot.path).items() if place == slot.position)
        ours = set(self.paths.programs())
        mine = {info.id for info in maps.values()}
        ours |= {program for program in running - ours if not mine.isdisjoint(program_maps(program))}
        ours |= orphans(self.paths, known.program, attached) - ours
        return _Present(maps, pinned_program(self.paths.program), ours, attached)

    @staticmethod
    def _slots(*wanted: RootArray | None) -> dict[str, t.Any]:
        return {slot.path: attempt(partial(slots, slot.path)) for slot in wanted if slot is not None}

    def _known(self) -> State:
        """The state; where its file was lost, as far as the maps tell it."""
        known = self.file.read()
        if known.lost and is_loaded(self.paths):
            with KernelMaps(self.paths.maps) as maps:
                return recovered(self.file, known, maps)
        return known

    def _stay_rolled_back(self, wanted: Wanted, known: State, check: bool, outcome: Result) -> Wanted:
        """A program that was rolled back by hand stays so until the sources or settings differ from those it left."""
        left = known.program.rolled_back_from
        if not left or wanted.kept or left != self._digest(wanted, known, check):
            return wanted
        outcome.warnings.append(
            f"balancer {self.instance} was rolled back by hand and stays so until its sources or settings change"
        )
        return replace(wanted, settings=with_program_of(parse_settings(known.settings), wanted.settings), kept=True)

    # what to do

    def _plan(self, wanted: Wanted, known: State, present: _Present, check: bool, outcome: Result) -> _Plan:
        plan = _Plan(old_sizes=sizes_of(present.maps))
        settings = wanted.settings
        specs = balancer_maps(settings)
        for name, spec in specs.items():
            info = present.maps.get(name)
            if info is None:
                plan.create.append(name)
            elif not fits(spec, info, settings.sizes):
                plan.migrate.append(name)
        plan.digest = self._digest(wanted, known, check)
        kept = self._bytecode(BYTECODE_FILE)
        plan.compile = not wanted.kept and (
            plan.digest is None or plan.digest != known.program.source_digest or kept is None
        )
        new_maps = [name for name in (*plan.create, *plan.migrate) if kept is None or name in kept.maps]
        plan.load = plan.compile or wanted.back or present.program is None or bool(new_maps)
        # What was asked for is what it was rolled back to: the program that it left is none to go back to.
        plan.forget = bool(known.program.rolled_back_from) and not (plan.load or wanted.kept)
        # A program that can be gone back to keeps its maps: the present one, once another replaces it.
        present_maps = () if plan.load and plan.migrate else self._bytecode_maps(BYTECODE_FILE)
        previous_maps = () if plan.load or plan.forget else self._bytecode_maps(PREVIOUS_FILE)
        in_use = {*present_maps, *previous_maps}
        plan.drop = [name for name in present.maps if name not in specs and name not in in_use]
        for name in wanted.interfaces:
            self._plan_interface(name, wanted, known, present, plan)
        if not wanted.attach_later:
            plan.detach = [item for item in present.our_attachments() if item.interface not in wanted.interfaces]
            current = present.program.id if present.program and not plan.load else None
            there = self._slots(wanted.slot, known.program.slot)
            plan.slot = plan_slot(
                wanted.slot, known.program.slot, there, present.ours, current, settings.replace_foreign
            )
            if plan.slot.lacks and not check:
                raise ProgramError(plan.slot.lacks[0].sentence)
        if plan.migrate:
            self._plan_migration(wanted, known, present, plan)
        self._describe(plan, wanted, known)
        self._plan_tables(wanted, present, plan, outcome)
        self._plan_learned(wanted, known, present, plan)
        self._plan_writes(wanted, known, present, plan, check, outcome)
        if plan.drop:
            plan.changes.append(f"remove maps that are no longer used: {', '.join(plan.drop)}")
        return plan

    @staticmethod
    def _describe(plan: _Plan, wanted: Wanted, known: State) -> None:
        if plan.create:
            names = f" ({', '.join(plan.create)})" if len(plan.create) < FEW else ""
            plan.changes.append(f"create {len(plan.create)} map{'s' if len(plan.create) > 1 else ''}{names}")
        if plan.compile:
            plan.changes.append(
                f"compile the program ({', '.join(sorted(wanted.settings.features)) or 'no optional feature'})"
            )
        previous = known.program.previous
        if wanted.back:
            plan.changes.append(f"go back to the program {previous.tag if previous else ''}")
        elif plan.load:
            plan.changes.append("load the program")
        elif plan.forget:
            plan.changes.append("forget the program that was rolled back")
        plan.changes += [f"attach to {name} in {mode} mode" for name, mode, _there in plan.attach]
        plan.changes += [f"detach from {item.interface}" for item in plan.detach]
        plan.changes += plan.slot.changes

    def _digest(self, wanted: Wanted, known: State, check: bool) -> str | None:
        if wanted.kept:
            program = known.program.previous if wanted.back else known.program
            return program.source_digest if program else None
        try:
            require_safe_sources(wanted.source_dir)
            return source_digest(wanted.source_dir, PROGRAM, balancer_macros(wanted.settings))
        except ProgramError:
            # In check mode on a fresh host the role has not installed the sources and bcc: it would.
            if check:
                return None
            raise

    @staticmethod
    def _plan_interface(name: str, wanted: Wanted, known: State, present: _Present, plan: _Plan) -> None:
        settings = wanted.settings
        mode = "native" if settings.mode == "auto" else settings.mode
        there = present.attached.get(name)
        if there is None:
            plan.attach.append((name, mode, None))
            return
        if settings.mode == "auto" and (there.mode == "native" or name in known.program.generic):
            # It was tried, and why it failed is known.
            mode = there.mode
        if there.program_id not in present.ours:
            if not settings.replace_foreign:
                raise ProgramError(
                    f"interface {name} already has an XDP program that is not ours (id {there.program_id});"
                    " detach it, or give replace_foreign: true"
                )
            plan.attach.append((name, mode, there))
            return
        current = present.program is not None and there.program_id == present.program.id
        if plan.load or not current or there.mode != mode:
            plan.attach.append((name, mode, there))

    def _plan_migration(self, wanted: Wanted, known: State, present: _Present, plan: _Plan) -> None:
        if present.program is None and not known.program.tag and not known.vips:
            # Left by a first run that was killed: nothing was ever in them.
            return
        old, new = plan.old_sizes, wanted.settings.sizes
        with KernelMaps(self.paths.maps, self.paths.unpinned) as maps:
            check_room(known, new, wanted.settings.features, {name: maps.map(name) for name in plan.migrate})
            changed = [f"{name} {old[name]} → {new[name]}" for name in new if name in old and old[name] != new[name]]
            if (old.get("vips"), old.get("ring")) != (new["vips"], new["ring"]):
                if known.lost:
                    raise ProgramError(
                        f"sizes: {', '.join(changed)} cannot change while {self.file.path} is lost, because the reals'"
                        " weights are unknown; apply the VIPs first"
                    )
                flows, moved = count_moves(maps, known, old, new)
                effect = f"of {flows} flows in the connection tables, {moved} would be chosen another real"
                if not wanted.accept_rehash:
                    raise ProgramError(
                        f"sizes: {', '.join(changed)} seed the flow hash: {effect} by a balancer that does not know"
                        " them; change the whole fleet, and give accept_rehash: true"
                    )
                plan.changes.append(f"rehash: {effect}")
        plan.changes.append(f"migrate {', '.join(plan.migrate)} ({', '.join(changed) or 'another type'})")

    def _plan_tables(self, wanted: Wanted, present: _Present, plan: _Plan, outcome: Result) -> None:
        """Each CPU that receives has a table, and their sizes add up to what the settings say."""
        sizes = wanted.settings.sizes
        for name in balancer_maps(wanted.settings):
            if name not in FLOW_TABLES:
                continue
            there: dict[int, MapInfo] = {}
            if name in present.maps:
                with self.paths.open_map(name) as outer:
                    there = tables_in(outer)
            cpus = set(self._cpus(wanted))
            if isinstance(wanted.settings.forwarding_cores, str):
                # Interrupts may wander: a CPU that received once may do so again.
                cpus |= set(there)
            shares = table_sizes(sizes[FLOW_TABLES[name]], cpus)
            make = {
                cpu: entries for cpu, entries in shares.items() if cpu not in there or there[cpu].entries != entries
            }
            gone = sorted(set(there) - cpus)
            if make:
                plan.tables[name] = make
                plan.changes.append(
                    f"create tables in {name} for CPU {', '.join(map(str, make))} of {max(make.values())} flows each"
                )
                if name == "lru_mapping":
                    self._warn_of_loss(there, make, outcome)
            if gone:
                plan.gone_tables[name] = gone
                plan.changes.append(f"remove tables in {name} for CPU {', '.join(map(str, gone))}")
        if "lru_outgrown" in present.maps:
            with self.paths.open_map("lru_outgrown") as outgrown:
                plan.unfinished = any(outgrown.items())
            if plan.unfinished:
                plan.changes.append("copy the rest of the flows that a killed run was copying")

    def _warn_of_loss(self, there: Mapping[int, MapInfo], make: Mapping[int, int], outcome: Result) -> None:
        for cpu, entries in make.items():
            if cpu not in there or there[cpu].entries <= entries:
                continue
            with bpf.map_by_id(there[cpu].id) as table:
                flows = count_entries(table)
            if flows > entries:
                outcome.warnings.append(
                    f"sizes.flows: the table of CPU {cpu} has {flows} flows and the new one room for {entries}:"
                    " the rest is chosen anew"
                )

    @staticmethod
    def _cpus(wanted: Wanted) -> list[int]:
        cores = wanted.settings.forwarding_cores
        if isinstance(cores, str):
            return [cpu for cpu in forwarding_cpus(list(wanted.settings.interfaces)) if cpu < MAX_CPUS]
        possible = possible_cpus()
        beyond = [cpu for cpu in cores if cpu >= possible]
        if beyond:
            raise ProgramError(f"forwarding_cores: CPU {beyond[0]} does not exist on this host (0 to {possible - 1})")
        return sorted(cores)

    def _plan_learned(self, wanted: Wanted, known: State, present: _Present, plan: _Plan) -> None:
        """Mark the VIPs that learn flows by server id now, for a program that no longer asks for ids."""
        plan.learned = known.learned
        if not plan.load or "vip_learned" not in present.maps:
            return
        vips = vips_from_config(known.vips).values()
        plan.learned = learners(vips, "tcp_server_id" in wanted.settings.features, known.learned)
        marks = may_be_known(vips, plan.learned) - may_be_known(vips, known.learned)
        numbers = sorted(
            known.vip_numbers.assigned[name] for name in map(str, marks) if name in known.vip_numbers.assigned
        )
        plan.writes["vip_learned"] = [
            (layout.u32(number), layout.u32(1))
            for number in numbers
            if self._value(present, "vip_learned", number) != layout.u32(1)
        ]

    def _plan_writes(
        self, wanted: Wanted, known: State, present: _Present, plan: _Plan, check: bool, outcome: Result
    ) -> None:
        settings = wanted.settings
        names = list(settings.interfaces)
        mac = settings.gateway_mac
        if mac == "auto":
            mac = self._gateway(names, wanted, known, check, outcome)
        if mac:
            plan.mac = mac
            old = self._value(present, "ctl_array", layout.CTL_GATEWAY_MAC)
            if old != layout.mac_bytes(mac):
                plan.writes["ctl_array"] = [(layout.u32(layout.CTL_GATEWAY_MAC), layout.mac_bytes(mac))]
                was = f"{layout.parse_mac(old)} → " if old and any(old) else ""
                plan.changes.append(f"gateway MAC {was}{mac}")
        if "pckt_srcs" not in balancer_maps(settings):
            return
        sources = {
            family: _own_address(family, names, check) if option == "auto" else option
            for family, option in (("IPv4", settings.source_ipv4), ("IPv6", settings.source_ipv6))
        }
        if settings.encapsulation == "gue" and not any(sources.values()):
            sentence = (
                f"source_ipv4 and source_ipv6 auto: {', '.join(names) or 'the default route'} has no global address to"
                " send GUE from; give one of them"
            )
            # At boot the rest has to work; and in a review the role may have to install what reads addresses.
            if not wanted.kept and has_module("pyroute2"):
                raise ProgramError(sentence)
            outcome.warnings.append(sentence)
        for index, (family, address) in enumerate(sources.items()):
            value = (
                layout.real_definition(layout.pack_address(address), layout.REAL_IPV6 if index else 0)
                if address
                else bytes(20)
            )
            old = self._value(present, "pckt_srcs", index)
            if (old or bytes(20)) != value:
                plan.writes.setdefault("pckt_srcs", []).append((layout.u32(index), value))
                was = (
                    layout.unpack_address(layout.parse_real_definition(old)[0], bool(index)) + " → "
                    if old and any(old)
                    else ""
                )
                plan.changes.append(f"{family} source {was}{address or 'none'}")

    @staticmethod
    def _gateway(names: list[str], wanted: Wanted, known: State, check: bool, outcome: Result) -> str:
        """The gateway's MAC; at boot the last known one where the gateway does not answer yet."""
        try:
            return gateway_mac(names)
        except ImportError as error:
            if check:
                return ""
            raise ProgramError(
                "the Python module pyroute2 is missing on this host (Debian and Ubuntu: package python3-pyroute2)"
            ) from error
        except NetworkError as error:
            last = known.program.gateway_mac
            if wanted.kept and last:
                outcome.warnings.append(f"{error}; using the last known one, {last}")
                return last
            raise

    def _value(self, present: _Present, name: str, index: int) -> bytes | None:
        if name not in present.maps:
            return None
        with self.paths.open_map(name) as opened:
            return opened.lookup(layout.u32(index))

    def _bytecode(self, name: str) -> Bytecode | None:
        try:
            return self.file.read_bytecode(name, PROGRAM)
        except StateError:
            return None

    def _bytecode_maps(self, name: str) -> tuple[str, ...]:
        bytecode = self._bytecode(name)
        return bytecode.maps if bytecode else ()

    # doing it

    def _execute(self, plan: _Plan, wanted: Wanted, known: State, present: _Present, outcome: Result) -> None:
        bytecode = self._prove(plan, wanted, known, outcome) if plan.touches_program else None
        known.learned = plan.learned
        # After the compiler is done: what counts is what the old program does in the second before the swap.
        counters = Counters(self.paths.map("stats"), plan.load and not wanted.back and bool(known.program.tag))
        migration = Migration(known, plan.old_sizes, wanted.settings.sizes)
        with ExitStack() as stack:
            try:
                opened, tables = self._prepare(plan, wanted, present, migration, stack, outcome)
                fd = self._program(plan, wanted, opened, bytecode, stack) if bytecode is not None else -1
                if plan.load and bytecode is not None:
                    self._announce(plan, wanted, known, present, bytecode, fd, migration)
                elif bytecode is not None:
                    self._remember_places(wanted, known)
                if fd >= 0:
                    self._change_over(plan, wanted, known, fd, counters, opened["stats"])
            except (ProgramError, StateError, OSError) as error:
                self._undo(plan, known)
                if isinstance(error, OSError):
                    raise ProgramError(f"the kernel refused an operation: {error.strerror or error}") from error
                raise
            if known.program.next is not None:
                self.swap.finish(known)
                migration.complete()
            elif bytecode is not None:
                known.program.interfaces, known.program.slot = wanted.interfaces, wanted.slot
            self._replace_tables(plan, tables, opened)
        bpf.remove_pins(self.paths.map(name) for name in plan.drop)

    def _undo(self, plan: _Plan, known: State) -> None:
        """Leave nothing of what was prepared; what a full disk does not let go of, the next run removes."""
        self.swap.discard(plan.create if plan.load else ())
        if known.program.next is not None:
            known.program.next = None
            with contextlib.suppress(StateError):
                self.file.write(known)
        if not self.paths.programs():
            # A first run that failed.
            self.paths.remove(plan.create)
            if known.lost:
                with contextlib.suppress(StateError):
                    self.file.remove(STATE_FILES)

    def _prove(self, plan: _Plan, wanted: Wanted, known: State, outcome: Result) -> Bytecode:
        """Compile if need be, and let the program prove itself on scratch maps before anything is touched."""
        if plan.compile:
            bytecode = compiler.compile_program(wanted.source_dir, PROGRAM, balancer_macros(wanted.settings))
            outcome.program["compile_seconds"] = bytecode.compile_seconds
        else:
            name = PREVIOUS_FILE if wanted.back else BYTECODE_FILE
            kept = self._bytecode(name)
            if kept is None:
                raise ProgramError(f"{self.file.directory}/{name} is missing or damaged: run a deploy")
            bytecode = kept
        if plan.compile or (plan.load and not known.program.tag):
            outcome.selftest = self_test(bytecode, wanted.settings)
        return bytecode

    def _prepare(
        self,
        plan: _Plan,
        wanted: Wanted,
        present: _Present,
        migration: Migration,
        stack: ExitStack,
        outcome: Result,
    ) -> tuple[dict[str, bpf.Map], dict[str, dict[int, bpf.Map]]]:
        """Create, migrate and fill the maps; returns them all, open until the stack is closed.

        Also tables that are to replace others, by map and CPU: that is for later.
        """
        settings = wanted.settings
        self.paths.make()
        opened: dict[str, bpf.Map] = {}
        numa = self._numa_flag(wanted, present)
        late = []
        for name, spec in balancer_maps(settings).items():
            if name in plan.create:
                opened[name] = create_pinned(spec, settings.sizes, self.paths.map(name), numa)
            elif name in plan.migrate:
                opened[name] = self._migrated(spec, settings.sizes)
                late.append(name)
            else:
                opened[name] = self.paths.open_map(name)
                outcome.reused_maps.append(name)
            stack.enter_context(opened[name])
        for name, entries in plan.writes.items():
            if name not in plan.migrate:
                opened[name].update_many(entries)
        # Counters last, because packets write them all the while.
        for name in sorted(late, key=lambda each: each.endswith("stats")):
            source = stack.enter_context(self.paths.open_map(name))
            try:
                migration.copy(name, source, opened[name])
                opened[name].update_many(plan.writes.get(name, ()))
            except OSError as error:
                raise ProgramError(f"map {name} cannot be migrated: {error.strerror or error}") from error
        made = self._make_tables(plan, wanted, numa, stack)
        for name, of_cpu in made.items():
            there = tables_in(opened[name])
            for cpu in [cpu for cpu in of_cpu if cpu not in there]:
                put_table(opened[name], cpu, of_cpu.pop(cpu))
        return opened, made

    def _migrated(self, spec: MapSpec, sizes: Mapping[str, int]) -> bpf.Map:
        """An empty map of the new size, pinned beside the old one."""
        with contextlib.suppress(FileExistsError):
            os.mkdir(self.swap.next_maps, mode=0o700)
        return create_pinned(spec, sizes, os.path.join(self.swap.next_maps, spec.name))

    def _numa_flag(self, wanted: Wanted, present: _Present) -> int:
        """The flag of tables that have a memory node of their own: all tables of a map of maps have it, or none."""
        if "lru_mapping" in present.maps:
            with self.paths.open_map("lru_mapping") as outer:
                there = tables_in(outer)
            if there:
                return next(iter(there.values())).flags & NUMA_NODE
        return NUMA_NODE if wanted.settings.numa == "auto" and len(numa_nodes()) > 1 else 0

    def _make_tables(self, plan: _Plan, wanted: Wanted, numa: int, stack: ExitStack) -> dict[str, dict[int, bpf.Map]]:
        """The new tables, open until the stack is closed: map of tables → {CPU: table}."""
        specs = balancer_maps(wanted.settings)
        made: dict[str, dict[int, bpf.Map]] = {}
        for name, make in plan.tables.items():
            spec = t.cast(MapSpec, specs[name].inner)
            for cpu, entries in make.items():
                node = numa_node(cpu) if numa else None
                try:
                    fd = bpf.create_map(
                        spec.type, spec.key_size, spec.value_size, entries, spec.flags, spec.name, numa_node=node
                    )
                except OSError as error:
                    raise ProgramError(
                        f"sizes.{FLOW_TABLES[name]}: a table of {entries} flows for CPU {cpu} cannot be created:"
                        f" {error.strerror}"
                    ) from error
                made.setdefault(name, {})[cpu] = stack.enter_context(bpf.Map(fd))
        return made

    def _replace_tables(
        self, plan: _Plan, made: Mapping[str, Mapping[int, bpf.Map]], opened: Mapping[str, bpf.Map]
    ) -> None:
        """Once the program runs that is to use them: new tables for those that there are, with their flows."""
        info = pinned_program(self.paths.program)
        outgrown = opened["lru_outgrown"]
        if plan.unfinished:
            finish_tables(opened["lru_mapping"], outgrown)
        for name, of_cpu in made.items():
            # A program from before this map existed does not look into it.
            used = name == "lru_mapping" and info is not None and outgrown.info.id in info.map_ids
            for cpu, table in of_cpu.items():
                put_table(opened[name], cpu, table, outgrown if used else None)
        for name, cpus in plan.gone_tables.items():
            stay = [cpu for cpu in tables_in(opened[name]) if cpu not in cpus]
            for cpu in cpus:
                take_table(opened[name], cpu, stay)

    def _program(
        self, plan: _Plan, wanted: Wanted, opened: Mapping[str, bpf.Map], bytecode: Bytecode, stack: ExitStack
    ) -> int:
        """The program's fd, open until the stack is closed: the present one, the pinned previous one, or a new one."""
        fd = -1
        if not plan.load:
            fd = bpf.open_pin(self.paths.program)
        elif wanted.back:
            fd = self._pinned_previous({each.info.id for each in opened.values()})
        if fd < 0:
            fd = load(bytecode, {name: each.fd for name, each in opened.items()})
        stack.callback(os.close, fd)
        if "subprograms" in plan.create:
            # Before the first packet; once it runs, the swap leads it to itself.
            opened["subprograms"].update(layout.u32(0), layout.u32(fd))
        return fd

    def _pinned_previous(self, maps: set[int]) -> int:
        """The previous program where it is still pinned and uses these maps, else -1: it may be older than they are."""
        try:
            fd = bpf.open_pin(self.paths.previous)
        except FileNotFoundError:
            return -1
        if maps.issuperset(bpf.program_info(fd).map_ids):
            return fd
        os.close(fd)
        return -1

    def _announce(
        self,
        plan: _Plan,
        wanted: Wanted,
        known: State,
        present: _Present,
        bytecode: Bytecode,
        fd: int,
        migration: Migration,
    ) -> None:
        program = known.program
        moves = bool(
            present.program is not None
            and known.settings
            and (plan.migrate or bytecode.digest != program.source_digest)
        )
        previous = program.previous
        if moves:
            previous = Previous(program.source_digest, program.tag, known.settings, ", ".join(plan.migrate))
        info = bpf.program_info(fd)
        rolled_back = program.rolled_back_from if wanted.kept else None
        coming = Coming(
            id=info.id,
            tag=info.tag,
            source_digest=bytecode.digest,
            settings=settings_data(wanted),
            interfaces=program.interfaces if wanted.attach_later else wanted.interfaces,
            slot=program.slot if wanted.attach_later else wanted.slot,
            rings=migration.rings,
            moves=moves,
            previous=previous,
            rolled_back_from=program.source_digest if wanted.back else rolled_back,
        )
        self.swap.announce(known, coming, fd, bytecode.to_json())

    def _remember_places(self, wanted: Wanted, known: State) -> None:
        """Write down where the program will be beside where it is, so that a run after a kill knows both."""
        there = known.program.interfaces
        known.program.interfaces = sorted({*there, *wanted.interfaces})
        if wanted.slot is not None and known.program.slot is None:
            known.program.slot = wanted.slot
        self.file.write(known)

    def _change_over(
        self, plan: _Plan, wanted: Wanted, known: State, fd: int, counters: Counters, stats: bpf.Map
    ) -> None:
        """Attach everywhere, or, where that fails or the packets fare worse, nowhere."""
        with Interfaces() as links, ExitStack() as held, ExitStack() as undo:
            counters.swap_begins()
            replaced = False
            reasons = dict(known.program.generic)
            for name, mode, there in plan.attach:
                # Held open: once replaced, a program that is pinned nowhere would be gone and could not be put back.
                old = -1 if there is None else _hold(held, there.program_id)
                replaced = replaced or old >= 0
                reason = self._attach(links, wanted, (name, mode, there), old, fd, undo)
                reasons.pop(name, None)
                if reason:
                    reasons[name] = reason
            if plan.slot.put is not None:
                replaced = self._take_slot(plan.slot.put, fd, held, undo) or replaced
            if replaced:
                counters.verify(stats)
            for item in plan.detach:
                detach(links, item)
            if plan.slot.clear is not None:
                clear_slot(plan.slot.clear)
            known.program.generic = {name: reasons[name] for name in wanted.interfaces if name in reasons}
            undo.pop_all()

    @staticmethod
    def _attach(
        links: Interfaces,
        wanted: Wanted,
        place: tuple[str, str, Attachment | None],
        old: int,
        fd: int,
        undo: ExitStack,
    ) -> str | None:
        """Attach in the mode, or under mode auto in the one that works: then why not natively. `old` -1: no program."""
        name, mode, there = place
        if there is not None and there.mode == mode:
            links.replace(name, fd, mode, old)
            undo.callback(links.replace, name, old, mode, fd)
            return None
        if there is not None:
            # The kernel has programs of one mode at a time on an interface.
            links.replace(name, -1, there.mode, old)
            undo.callback(links.replace, name, old, there.mode, None)
        try:
            links.replace(name, fd, mode, None)
        except ModeError as error:
            if wanted.settings.mode != "auto" or mode != "native":
                raise
            links.replace(name, fd, "generic", None)
            undo.callback(links.replace, name, -1, "generic", fd)
            return error.reason
        undo.callback(links.replace, name, -1, mode, fd)
        return None

    @staticmethod
    def _take_slot(slot: RootArray, fd: int, held: ExitStack, undo: ExitStack) -> bool:
        """Put the program into its slot; True where it replaced one."""
        there = slots(slot.path).get(slot.position)
        if there is None:
            put_program(slot, fd)
            undo.callback(clear_slot, slot)
            return False
        old = _hold(held, there)
        put_program(slot, fd)
        undo.callback(put_program, slot, old)
        return True

    def _report(self, wanted: Wanted, known: State, outcome: Result) -> None:
        info = pinned_program(self.paths.program)
        if info is None:
            return
        outcome.program = {
            "id": info.id,
            "tag": info.tag,
            "source_digest": known.program.source_digest or "",
            "instructions": info.instructions,
            "compile_seconds": outcome.program.get("compile_seconds", 0.0),
        }
        outcome.attached = [
            {"interface": name, "mode": item.mode, "program_id": item.program_id}
            for name, item in attachments(wanted.interfaces).items()
        ]
        if wanted.settings.mode == "auto":
            reasons = known.program.generic
            outcome.warnings += [
                f"interface {item['interface']} is in generic mode: "
                + reasons.get(item["interface"], "it was when this balancer first met it")
                for item in outcome.attached
                if item["mode"] == "generic"
            ]
        with KernelMaps(self.paths.maps) as maps:
            for name in balancer_maps(wanted.settings):
                opened = maps.map(name)
                outcome.maps[name] = {
                    "id": opened.info.id,
                    "entries": opened.info.entries,
                    "bytes": bpf.memory_bytes(opened.fd),
                }
        if not outcome.changed:
            outcome.reused_maps = sorted(outcome.maps)


def _hold(stack: ExitStack, program_id: int) -> int:
    """The fd of a program by its id, open until the stack is closed."""
    try:
        fd = bpf.program_by_id(program_id)
    except FileNotFoundError as error:
        raise ProgramError(f"the XDP program with id {program_id} changed meanwhile: it was detached") from error
    stack.callback(os.close, fd)
    return fd


def _own_address(family: str, names: list[str], check: bool) -> str | None:
    try:
        return own_address(FAMILIES[family], names)
    except ImportError:
        if check:
            return None
        raise


def settings_data(wanted: Wanted) -> dict[str, t.Any]:
    """The settings in the module's own form: what state.json keeps."""
    return {**wanted.settings.to_config(), "source_dir": wanted.source_dir, "state": wanted.state}
