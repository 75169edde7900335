# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shared mode: program root on the interfaces, and the slots of its array where other XDP programs take their place."""

from __future__ import annotations

import errno
import os
import typing as t
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from ansible_collections.katran.fleet.plugins.module_utils import _kernel as kernel
from ansible_collections.katran.fleet.plugins.module_utils._config import Faults, RootArray, parse_interfaces
from ansible_collections.katran.fleet.plugins.module_utils._layout import (
    PROG_ARRAY,
    ROOT_MAPS,
    parse_u32,
    u32,
)
from ansible_collections.katran.fleet.plugins.module_utils._pins import (
    attachments,
    require_bpffs,
    require_capabilities,
    require_interface,
)
from ansible_collections.katran.fleet.plugins.module_utils._program import ProgramError, permission_hint
from ansible_collections.katran.fleet.plugins.module_utils._simple import SimpleProgram
from ansible_collections.katran.fleet.plugins.module_utils._state import StateFile, locked, remove_lock

PROGRAM = "root"


@contextmanager
def _opened(path: str) -> Iterator[kernel.Map]:
    """The pinned array; ProgramError where there is none."""
    if os.path.exists(path) and not kernel.is_bpffs(path):
        raise ProgramError(f"root_array: {path} is not in a bpf file system")
    try:
        fd = kernel.open_pin(path)
    except FileNotFoundError as error:
        raise ProgramError(
            f"root_array: nothing is pinned at {path}: run module katran.fleet.xdp_root first"
        ) from error
    except OSError as error:
        raise ProgramError(f"root_array: {path} cannot be opened: {permission_hint(error)}") from error
    if os.readlink(f"/proc/self/fd/{fd}") != "anon_inode:bpf-map":
        os.close(fd)
        raise ProgramError(f"root_array: {path} is not a map")
    with kernel.Map(fd) as opened:
        if opened.info.type != PROG_ARRAY:
            raise ProgramError(f"root_array: {path} is not an array of programs (BPF_MAP_TYPE_PROG_ARRAY)")
        yield opened


def slots(path: str) -> dict[int, int]:
    """Position → kernel-wide id of the program in that slot, for the slots in use."""
    found = {}
    with _opened(path) as array:
        for position in range(array.info.entries):
            value = array.lookup(u32(position))
            if value is not None:
                found[position] = parse_u32(value)
    return found


@dataclass
class SlotPlan:
    """What it takes to have a program in its slot, and in no other."""

    put: RootArray | None = None
    clear: RootArray | None = None
    changes: list[str] = field(default_factory=list)

    def execute(self, fd: int) -> None:
        """Put the program into its slot, then clear the slot that it leaves.

        The kernel replaces a slot's program atomically, but has no compare-and-replace for it.
        """
        if self.put is not None:
            put_program(self.put, fd)
        if self.clear is not None:
            clear_slot(self.clear)


def plan_slot(
    wanted: RootArray | None,
    recorded: RootArray | None,
    owns: Callable[[int], bool],
    current: int | None,
    replace_foreign: bool,
    check: bool,
) -> SlotPlan:
    """Compare the slots with what is wanted; ProgramError where another program has the slot.

    `recorded`: the slot that the last run put the program into. `owns` says whether a program id is one of ours.
    `current`: the id of the program that is to run; None where it is yet to be loaded.
    """
    plan = SlotPlan()
    if wanted is not None:
        occupant = _occupant(wanted, check)
        if occupant is not None and not owns(occupant) and not replace_foreign:
            raise ProgramError(
                f"root_array: slot {wanted.position} of {wanted.path} already has a program that is not ours"
                f" (id {occupant}); choose another position, or give replace_foreign: true"
            )
        if occupant is None or occupant != current:
            plan.put = wanted
            plan.changes.append(f"put the program into slot {wanted.position} of {wanted.path}")
    if recorded is not None and recorded != wanted:
        # The array may have gone with its root program.
        occupant = _occupant(recorded, True)
        if occupant is not None and owns(occupant):
            plan.clear = recorded
            plan.changes.append(f"clear slot {recorded.position} of {recorded.path}")
    return plan


def _occupant(slot: RootArray, tolerant: bool) -> int | None:
    """The id of the program in a slot, None where it is empty. `tolerant`: also where there is no array."""
    try:
        found = slots(slot.path)
    except ProgramError:
        # In check mode on a fresh host module xdp_root has not made the array: it would.
        if tolerant:
            return None
        raise
    return found.get(slot.position)


def put_program(slot: RootArray, fd: int) -> None:
    """Put a program into a slot. ProgramError says why the kernel does not take it."""
    with _opened(slot.path) as array:
        try:
            array.update(u32(slot.position), u32(fd))
        except OSError as error:
            if error.errno == errno.E2BIG:
                reason = f"it has {array.info.entries} slots"
            elif error.errno == errno.EINVAL:
                reason = "its other programs were loaded in another way (program type, attach type or fragments)"
            else:
                reason = permission_hint(error)
            raise ProgramError(
                f"root_array: {slot.path} does not take the program in slot {slot.position}: {reason}"
            ) from error


def clear_slot(slot: RootArray) -> None:
    """Take the program out of a slot, if there is one."""
    with _opened(slot.path) as array:
        array.delete(u32(slot.position))


@dataclass(frozen=True)
class RootSettings:
    """What module xdp_root is asked for."""

    interfaces: tuple[str, ...]
    mode: str
    source_dir: str


def parse_root(params: Mapping[str, t.Any]) -> RootSettings:
    """The options of module xdp_root, validated. ConfigError lists all faults."""
    faults = Faults()
    settings = RootSettings(parse_interfaces(params["interfaces"], faults), params["mode"], params["source_dir"])
    if not settings.interfaces:
        faults.add("interfaces", "state attached needs at least one interface")
    faults.check()
    return settings


@dataclass
class RootOutcome:
    """What a run did, or in check mode would do; `slots`: what is in the array, `attached`: where root runs."""

    changes: list[str] = field(default_factory=list)
    before: dict[str, t.Any] = field(default_factory=dict)
    after: dict[str, t.Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    attached: list[dict[str, t.Any]] = field(default_factory=list)
    slots: list[dict[str, t.Any]] = field(default_factory=list)


class Root:
    """Program root of one instance."""

    def __init__(self, instance: str, bpffs: str, file: StateFile | None = None) -> None:
        self.file = file or StateFile(instance, bpffs)
        self.program = SimpleProgram(PROGRAM, ROOT_MAPS, self.file)
        self.array = self.program.paths.map("root_array")

    def ensure(self, settings: RootSettings, check: bool, timeout: float) -> RootOutcome:
        """Bring root to the interfaces; what is in its slots stays."""
        require_capabilities()
        outcome = RootOutcome()
        if not check:
            require_bpffs(self.file.bpffs)
        elif not kernel.is_bpffs(self.file.bpffs):
            outcome.warnings.append(f"bpffs: {self.file.bpffs} is not a bpf file system on this host yet")
        for name in settings.interfaces:
            require_interface(name)
        with locked(self.file.instance, not check, timeout):
            known = self.program.known()
            plan = self.program.plan(settings.interfaces, settings.mode, settings.source_dir, {}, check)
            outcome.changes += plan.changes
            outcome.before = {name: known[name] for name in ("interfaces", "mode") if name in known}
            outcome.after = {"interfaces": list(settings.interfaces), "mode": settings.mode}
            if not check:
                if outcome.changes:
                    self.program.create_maps(plan.create)
                    self.program.execute(plan, settings.interfaces, settings.mode, settings.source_dir, {}, known)
                    known["source_dir"] = settings.source_dir or known.get("source_dir", "")
                    self.program.record(known)
                self._report(settings, outcome)
        return outcome

    def _report(self, settings: RootSettings, outcome: RootOutcome) -> None:
        outcome.attached = [
            {"interface": name, "mode": each.mode, "program_id": each.program_id}
            for name, each in attachments(settings.interfaces).items()
        ]
        outcome.slots = [
            {"position": position, "program_id": program_id} for position, program_id in slots(self.array).items()
        ]

    def remove(self, check: bool, timeout: float) -> RootOutcome:
        """Take root off the host; ProgramError while a slot is in use: its program would stop running unnoticed."""
        require_capabilities()
        outcome = RootOutcome()
        with locked(self.file.instance, not check, timeout):
            used = slots(self.array) if "root_array" not in self.program.missing_maps() else {}
            if used:
                some = ", ".join(f"slot {position} (program id {used[position]})" for position in sorted(used))
                raise ProgramError(f"program root still runs {some}: remove that first")
            outcome.changes += self.program.remove(check)
            if not check and not os.path.isdir(self.file.directory):
                remove_lock(self.file.instance)
        return outcome


def restore_root(file: StateFile, timeout: float) -> list[str]:
    """Bring root back at boot, before what belongs in its slots and without a compiler.

    Returns one line for each thing done.
    """
    root = Root(file.instance, file.bpffs, file)
    known = root.program.known()
    if not known.get("interfaces"):
        return []
    settings = RootSettings(tuple(known["interfaces"]), known["mode"], "")
    return root.ensure(settings, False, timeout).changes
