# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Taking the steps of a plan, on whatever host."""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import replace

from .._model import layout
from .._model.bytecode import Bytecode
from .._model.errors import FleetError, ProgramError, refusal
from .._model.operations import Delete, Put, ZeroCounters
from .._model.program_file import ProgramFile
from .._model.snapshot import ProgramInfo
from .._model.steps import (
    AnyStep,
    Attach,
    ChangeLoopback,
    ClearSlot,
    Compile,
    Conclude,
    CreateMaps,
    DeleteLate,
    Detach,
    Discard,
    DropMaps,
    Fill,
    Intend,
    Keep,
    Load,
    PinAgain,
    Remove,
    TakeKept,
    TakeSlot,
    changes_over,
)
from .bytecode import load
from .home import Home
from .ownership import pin_again


class Executor:
    """One run's steps. What is opened on the way is closed at its end."""

    taking: t.ClassVar[Mapping[type[t.Any], Callable[[t.Any, t.Any], None]]]
    """Kind of step → what takes it."""

    def __init__(self, home: Home[t.Any]) -> None:
        self.home = home
        self.edges, self.paths, self.file = home.edges, home.paths, home.file
        self.held = ExitStack()
        self.undo = ExitStack()
        self.bytecode: Bytecode | None = None
        self.loaded: ProgramInfo | None = None
        self.fd = -1

    def run(self, steps: Iterable[AnyStep]) -> None:
        """Take the steps in this order. Where the change-over fails, what it did is undone."""
        with self.held, self.undo:
            for step in steps:
                if not changes_over(step):
                    # It is over, or has not begun.
                    self.undo.pop_all()
                self.take(step)
            self.undo.pop_all()

    def take(self, step: AnyStep) -> None:
        """Take one step. ProgramError says why it cannot be taken."""
        try:
            self.taking[type(step)](self, step)
        except FleetError:
            raise
        except OSError as error:
            raise ProgramError(refusal(error)) from error

    def pin_again(self, step: PinAgain) -> None:
        pin_again(self.edges, self.paths, step.found)

    # bytecode and record

    def compile(self, step: Compile) -> None:
        self.bytecode = self.home.tools.compile(step.source_dir, step.program or self.home.program, step.macros)

    def take_kept(self, step: TakeKept) -> None:
        self.bytecode = step.bytecode

    def intend(self, step: Intend) -> None:
        self._write(step.record)

    def conclude(self, step: Conclude) -> None:
        record = step.record
        if self.bytecode is not None and self.loaded is not None:
            record = replace(record, source_digest=self.bytecode.digest, tag=self.loaded.tag)
        self._write(record)

    def _write(self, record: ProgramFile) -> None:
        text = replace(record, bpffs=self.file.bpffs).to_json()
        self.file.write_file(self.home.record_file, text)

    # maps and addresses

    def create_maps(self, step: CreateMaps) -> None:
        self.edges.make_folders(self.paths.folders())
        for spec in step.specs:
            self.edges.create_map(spec, step.sizes, self.paths.map(spec.name), step.inner_flags).close()

    def put(self, step: Put | Fill) -> None:
        with self.edges.open_map(self.paths.map(step.map)) as opened:
            opened.update_many(step.entries)

    def delete(self, step: Delete) -> None:
        with self.edges.open_map(self.paths.map(step.map)) as opened:
            opened.delete_many(step.keys)

    def zero_counters(self, step: ZeroCounters) -> None:
        with self.edges.open_map(self.paths.map(step.map)) as opened:
            opened.update_many([(layout.u32(index), bytes(opened.stride)) for index in step.indexes])

    def change_loopback(self, step: ChangeLoopback) -> None:
        self.edges.change_loopback(step.add, step.remove, step.settle)

    def drop_maps(self, step: DropMaps) -> None:
        self.edges.unpin(map(self.paths.map, step.names))

    # the program

    def load(self, step: Load) -> None:
        fd = self.load_with({name: self.paths.map(name) for name in step.maps})
        self.fd, self.loaded = fd, self.edges.program_info(fd)
        self.edges.unpin([self.paths.next])
        self.edges.pin(fd, self.paths.next)
        self.undo.callback(self.edges.unpin, [self.paths.next])

    def load_with(self, pins: Mapping[str, str]) -> int:
        """Load the bytecode; its descriptor, open until the end of the run. `pins`: map → its pin."""
        if self.bytecode is None:
            raise ProgramError(f"program {self.home.program} has no bytecode")
        with ExitStack() as opened:
            maps = {name: opened.enter_context(self.edges.open_map(path)) for name, path in pins.items()}
            fd = load(self.bytecode, {name: each.fd for name, each in maps.items()}, self.edges.load)
        self.held.callback(self.edges.close, fd)
        return fd

    def keep(self, _step: Keep) -> None:
        if self.bytecode is not None:
            self.file.write_file(self.home.bytecode_file, self.bytecode.to_json())
        self.edges.rename(self.paths.next, self.paths.program)

    def discard(self, _step: Discard) -> None:
        self.edges.unpin([self.paths.next])

    def program(self) -> int:
        """The descriptor of the program that is to run: the one that was loaded, or else the pinned one."""
        if self.fd < 0:
            self.fd = self.edges.open_program(self.paths.program)
            self.held.callback(self.edges.close, self.fd)
        return self.fd

    # the change-over

    def attach(self, step: Attach) -> None:
        fd, replace_ = self.program(), self.edges.replace
        name, mode, there = step.interface, step.mode, step.there
        # Held open: once replaced, a program that is pinned nowhere would be gone and could not be put back.
        old = -1 if there is None else self.hold(there.program_id, f"on interface {name}")
        if there is not None and there.mode == mode:
            replace_(name, fd, mode, old)
            self.undo.callback(replace_, name, old, mode, fd)
            return
        if there is not None:
            # The kernel has programs of one mode at a time on an interface.
            replace_(name, -1, there.mode, old)
            self.undo.callback(replace_, name, old, there.mode, None)
        replace_(name, fd, mode, None)
        self.undo.callback(replace_, name, -1, mode, fd)

    def detach(self, step: Detach) -> None:
        there = step.there
        old = self.hold(there.program_id, f"on interface {there.interface}")
        self.edges.replace(there.interface, -1, there.mode, old)

    def hold(self, program_id: int, where: str) -> int:
        """A program by its id, open until the end of the run."""
        try:
            fd = self.edges.open_program_by_id(program_id)
        except FileNotFoundError as error:
            raise ProgramError(f"the XDP program {where} changed meanwhile: it was detached") from error
        self.held.callback(self.edges.close, fd)
        return fd

    def take_slot(self, step: TakeSlot) -> None:
        fd, slot = self.program(), step.slot
        if step.there is None:
            self.edges.put_program(slot, fd)
            self.undo.callback(self.edges.clear_slot, slot)
            return
        old = self.hold(step.there, f"in slot {slot.position} of {slot.path}")
        self.edges.put_program(slot, fd)
        self.undo.callback(self.edges.put_program, slot, old)

    def clear_slot(self, step: ClearSlot) -> None:
        self.edges.clear_slot(step.slot)

    # the end

    def remove(self, step: Remove) -> None:
        self.edges.unpin([*self.paths.names(), self.paths.foreign, *map(self.paths.map, step.maps)])
        self.edges.remove_folders(reversed(self.paths.folders()))
        self.file.remove(step.files)
        if not self.file.exists():
            self.edges.remove_lock(self.file.instance)


Executor.taking = {
    PinAgain: Executor.pin_again,
    Compile: Executor.compile,
    TakeKept: Executor.take_kept,
    Intend: Executor.intend,
    CreateMaps: Executor.create_maps,
    Put: Executor.put,
    Delete: Executor.delete,
    DeleteLate: Executor.delete,
    Fill: Executor.put,
    ZeroCounters: Executor.zero_counters,
    ChangeLoopback: Executor.change_loopback,
    DropMaps: Executor.drop_maps,
    Load: Executor.load,
    Attach: Executor.attach,
    TakeSlot: Executor.take_slot,
    Detach: Executor.detach,
    ClearSlot: Executor.clear_slot,
    Keep: Executor.keep,
    Discard: Executor.discard,
    Conclude: Executor.conclude,
    Remove: Executor.remove,
}
