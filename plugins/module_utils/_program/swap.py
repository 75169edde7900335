# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a balancer's program takes the place of another, so that a run killed anywhere is finished or undone by the next.

What is coming is written into state.json under `program.next`, with the kernel's id of the program, before it is
attached; its maps are pinned in `maps_next` and itself as `balancer_next`. If that id runs anywhere, the change-over
has begun and every step after it is done, as often as it takes; if not, nothing of it counts.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable

from .._kernel import bpf
from .._kernel.pins import Paths, pinned_program
from .._kernel.state_files import StateFile
from .._kernel.xdp import Interfaces, attach, every_attachment
from .._model import layout
from .._model.state import Coming, State

PROGRAM = "balancer"
BYTECODE_FILE = "balancer.bytecode.json"
NEXT_FILE = "balancer_next.bytecode.json"
PREVIOUS_FILE = "balancer_previous.bytecode.json"


def promote(directory: str, target: str) -> None:
    """Give the maps of `directory` their names in `target`, each by one rename, and remove the directory."""
    for name in _listed(directory):
        os.rename(os.path.join(directory, name), os.path.join(target, name))
    with contextlib.suppress(FileNotFoundError):
        os.rmdir(directory)


def _listed(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except FileNotFoundError:
        return []


class Swap:
    """The pins and files of one balancer's programs: the present, the next and the previous one."""

    def __init__(self, file: StateFile) -> None:
        self.file = file
        self.paths = Paths(file.bpffs, file.instance, PROGRAM)
        self.next_maps = os.path.join(self.paths.directory, "maps_next")

    def announce(self, known: State, coming: Coming, fd: int, bytecode: str) -> None:
        """Write down and pin what is about to be attached."""
        self.file.write_file(NEXT_FILE, bytecode)
        known.program.next = coming
        self.file.write(known)
        bpf.remove_pins([self.paths.next])
        bpf.pin(fd, self.paths.next)

    def finish(self, known: State) -> None:
        """The next program runs: it, its maps and its bytecode take their names, and the state says so.

        Every step may have been done before.
        """
        coming = known.program.next
        if coming is None:
            return
        promote(self.next_maps, self.paths.maps)
        current = pinned_program(self.paths.program)
        if coming.moves and current is not None and current.id != coming.id:
            os.rename(self.paths.program, self.paths.previous)
        if pinned_program(self.paths.next) is not None:
            os.rename(self.paths.next, self.paths.program)
        if self.file.read_file(NEXT_FILE) is not None:
            if coming.moves:
                self.file.rename(BYTECODE_FILE, PREVIOUS_FILE)
            self.file.rename(NEXT_FILE, BYTECODE_FILE)
        if coming.previous is None or coming.previous.migrated:
            # Its maps are those that were replaced: kept, it would keep their memory, and it cannot be gone back to.
            self.forget_previous()
        self._lead_to_itself()
        program = known.program
        program.tag, program.source_digest = coming.tag, coming.source_digest
        program.interfaces, program.slot = coming.interfaces, coming.slot
        program.previous, program.rolled_back_from = coming.previous, coming.rolled_back_from
        program.next = None
        known.settings = coming.settings
        known.rings.update(coming.rings)
        self.file.write(known)

    def forget_previous(self) -> None:
        """Remove the previous program."""
        bpf.remove_pins([self.paths.previous, os.path.join(self.file.directory, PREVIOUS_FILE)])

    def _lead_to_itself(self) -> None:
        """The slot through which the program balances again what it has decapsulated leads to the present one."""
        fd = bpf.open_pin(self.paths.program)
        try:
            with bpf.open_map(self.paths.map("subprograms")) as subprograms:
                subprograms.update(layout.u32(0), layout.u32(fd))
        except FileNotFoundError:
            return
        finally:
            os.close(fd)

    def discard(self, created: Iterable[str] = ()) -> None:
        """Remove what was prepared for a program that does not run, and the maps that were created for it."""
        bpf.remove_pins([self.paths.next, *map(self.paths.map, created)])
        bpf.remove_pins(os.path.join(self.next_maps, name) for name in _listed(self.next_maps))
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(self.next_maps)
        bpf.remove_pins([os.path.join(self.file.directory, NEXT_FILE)])

    def unfinished(self, known: State) -> bool:
        """Whether a killed run left something to finish or undo."""
        return bool(
            known.program.next is not None
            or os.path.isdir(self.next_maps)
            or os.path.exists(self.paths.next)
            or os.path.exists(os.path.join(self.file.directory, NEXT_FILE))
        )

    def recover(self, known: State) -> None:
        """Finish or undo what a killed run left; only under the exclusive lock."""
        if not self.unfinished(known):
            return
        coming = known.program.next
        if coming is None or not self._runs(coming):
            self.discard()
            if coming is not None:
                known.program.next = None
                self.file.write(known)
            return
        self._reach_everywhere(coming)
        self.finish(known)

    def _runs(self, coming: Coming) -> bool:
        present, following = pinned_program(self.paths.program), pinned_program(self.paths.next)
        if present is not None and present.id == coming.id:
            return True
        if following is None or following.id != coming.id:
            return False
        return self._slot_holder(coming) == coming.id or any(
            item.program_id == coming.id for item in every_attachment()
        )

    @staticmethod
    def _slot_holder(coming: Coming) -> int | None:
        """The id of the program in the slot of root's array that is to be had; None where there is none."""
        if coming.slot is None:
            return None
        try:
            with bpf.open_map(coming.slot.path) as array:
                value = array.lookup(layout.u32(coming.slot.position))
        except OSError:
            return None
        return layout.parse_u32(value) if value else None

    def _reach_everywhere(self, coming: Coming) -> None:
        """Attach the next program to those of its interfaces where one of ours still runs."""
        ours = self.paths.programs()
        late = [
            item
            for item in every_attachment()
            if item.interface in coming.interfaces and item.program_id in ours and item.program_id != coming.id
        ]
        if not late:
            return
        fd = bpf.program_by_id(coming.id)
        try:
            with Interfaces() as links:
                for item in late:
                    attach(links, item.interface, fd, item.mode, item.program_id)
        finally:
            os.close(fd)
