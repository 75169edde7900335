# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a balancer's program takes the place of another, so that a run killed anywhere is finished or undone by the next.

What is coming is written into state.json under `program.next`, with the kernel's id of the program, before it is
attached; its maps are pinned in `maps_next` and itself as `balancer_next`. If that id runs anywhere, the change-over
has begun and every step after it is done, as often as it takes; if not, nothing of it counts.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from .._kernel.edges import Edges, KernelEdges, pinned_info
from .._kernel.pins import Paths
from .._kernel.state_files import StateFile
from .._model import layout
from .._model.errors import ProgramError
from .._model.snapshot import RootArray
from .._model.state import Coming, State

PROGRAM = "balancer"
BYTECODE_FILE = "balancer.bytecode.json"
NEXT_FILE = "balancer_next.bytecode.json"
PREVIOUS_FILE = "balancer_previous.bytecode.json"


class Swap:
    """The pins and files of one balancer's programs: the present, the next and the previous one."""

    def __init__(self, file: StateFile, edges: Edges | None = None) -> None:
        self.file = file
        self.edges: Edges = edges or KernelEdges()
        self.paths = Paths(file.bpffs, file.instance, PROGRAM)
        self.next_maps = os.path.join(self.paths.directory, "maps_next")

    def announce(self, known: State, coming: Coming, fd: int, bytecode: str) -> None:
        """Write down and pin what is about to be attached."""
        self.file.write_file(NEXT_FILE, bytecode)
        known.program.next = coming
        self.file.write(known)
        self.edges.unpin([self.paths.next])
        self.edges.pin(fd, self.paths.next)

    def finish(self, known: State) -> None:
        """The next program runs: it, its maps and its bytecode take their names, and the state says so.

        Every step may have been done before.
        """
        coming = known.program.next
        if coming is None:
            return
        for name in self.edges.listed(self.next_maps):
            self.edges.rename(os.path.join(self.next_maps, name), self.paths.map(name))
        self.edges.remove_folders([self.next_maps])
        current = pinned_info(self.edges, self.paths.program)
        if coming.moves and current is not None and current.id != coming.id:
            self.edges.rename(self.paths.program, self.paths.previous)
        if pinned_info(self.edges, self.paths.next) is not None:
            self.edges.rename(self.paths.next, self.paths.program)
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
        self.edges.unpin([self.paths.previous])
        self.file.forget(PREVIOUS_FILE)

    def _lead_to_itself(self) -> None:
        """The slot through which the program balances again what it has decapsulated leads to the present one."""
        if "subprograms" not in self.edges.listed(self.paths.maps):
            return
        fd = self.edges.open_program(self.paths.program)
        try:
            with self.edges.open_map(self.paths.map("subprograms")) as subprograms:
                subprograms.update(layout.u32(0), layout.u32(fd))
        finally:
            self.edges.close(fd)

    def discard(self, created: Iterable[str] = ()) -> None:
        """Remove what was prepared for a program that does not run, and the maps that were created for it."""
        self.edges.unpin([self.paths.next, *map(self.paths.map, created)])
        self.edges.unpin(os.path.join(self.next_maps, name) for name in self.edges.listed(self.next_maps))
        self.edges.remove_folders([self.next_maps])
        self.file.forget(NEXT_FILE)

    def unfinished(self, known: State) -> bool:
        """Whether a killed run left something to finish or undo."""
        return bool(
            known.program.next is not None
            or {os.path.basename(self.next_maps), os.path.basename(self.paths.next)}.intersection(
                self.edges.listed(self.paths.directory)
            )
            or self.file.read_file(NEXT_FILE) is not None
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
        self._leave_slot(known, coming)
        self.finish(known)

    def _runs(self, coming: Coming) -> bool:
        present, following = (pinned_info(self.edges, path) for path in (self.paths.program, self.paths.next))
        if present is not None and present.id == coming.id:
            return True
        if following is None or following.id != coming.id:
            return False
        if present is None and pinned_info(self.edges, self.paths.previous) is not None:
            # Of two that run nowhere, the one has made way for the other already.
            return True
        return self._slot_holder(coming.slot) == coming.id or any(
            item.program_id == coming.id for item in self.edges.attachments()
        )

    def _slot_holder(self, slot: RootArray | None) -> int | None:
        """The id of the program in a slot of root's array; None where there is none."""
        if slot is None:
            return None
        try:
            return self.edges.slots(slot.path).get(slot.position)
        except (ProgramError, OSError):
            return None

    def _ours(self) -> set[int]:
        """The ids of the pinned programs."""
        return {info.id for path in self.paths.names() if (info := pinned_info(self.edges, path)) is not None}

    def _leave_slot(self, known: State, coming: Coming) -> None:
        """Take the program out of the slot that it leaves: nothing tells of that one later."""
        slot = known.program.slot
        if slot is not None and slot != coming.slot and self._slot_holder(slot) in self._ours():
            self.edges.clear_slot(slot)

    def _reach_everywhere(self, coming: Coming) -> None:
        """Attach the next program to those of its interfaces where one of ours still runs."""
        ours = self._ours()
        late = [
            item
            for item in self.edges.attachments()
            if item.interface in coming.interfaces and item.program_id in ours and item.program_id != coming.id
        ]
        if not late:
            return
        fd = self.edges.open_program_by_id(coming.id)
        try:
            for item in late:
                old = self.edges.open_program_by_id(item.program_id)
                try:
                    self.edges.replace(item.interface, fd, item.mode, old)
                finally:
                    self.edges.close(old)
        finally:
            self.edges.close(fd)
