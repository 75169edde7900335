# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The life of an XDP program with a fixed set of maps: decap on a real, root on a shared interface."""

from __future__ import annotations

import os
import typing as t
from collections.abc import Mapping, Sequence

from .._kernel import bpf
from .._kernel.pins import Paths, create_pinned, program_maps, program_tag
from .._kernel.state_files import StateFile
from .._model.bytecode import Bytecode
from .._model.errors import ProgramError, StateError
from .._model.map_specs import MapSpec
from .._model.program_file import ProgramFile
from .bytecode import load
from .sources import require_safe_sources, source_digest

R = t.TypeVar("R", bound=ProgramFile)


class PinnedProgram(t.Generic[R]):
    """One program of one instance, its maps, and a file PROGRAM.json that says what was attached where."""

    def __init__(self, program: str, specs: Sequence[MapSpec], file: StateFile, kind: type[R]) -> None:
        self.program = program
        self.kind = kind
        self.specs = {spec.name: spec for spec in specs}
        self.file = file
        self.paths = Paths(file.bpffs, file.instance, program)

    def known(self) -> R:
        """What the last run recorded; nothing where there was none. StateError where the file is damaged."""
        name = f"{self.program}.json"
        source = self.file.read_file(name)
        return self.kind() if source is None else self.kind.from_json(source, f"{self.file.directory}/{name}")

    def record(self, known: R) -> None:
        """Keep what this run did."""
        self.file.write_file(f"{self.program}.json", known.to_json())

    def missing_maps(self) -> list[str]:
        """The maps that are not pinned yet."""
        return [name for name in self.specs if not os.path.exists(self.paths.map(name))]

    def owns(self, program_id: int, known: R) -> bool:
        """Whether a program of the kernel is this one, also an older copy of it.

        It is if it is pinned here or uses the maps that are. A tag alone says little: another instance's program with
        the same settings has the same. It counts only where the maps are gone with their bpffs.
        """
        if program_id in self.paths.programs():
            return True
        missing = self.missing_maps()
        if missing and known.tag and program_tag(program_id) == known.tag:
            return True
        mine = set()
        for name in self.specs:
            if name not in missing:
                with bpf.open_map(self.paths.map(name)) as opened:
                    mine.add(opened.info.id)
        return not mine.isdisjoint(program_maps(program_id))

    def digest(self, source_dir: str, macros: Mapping[str, int], check: bool) -> str | None:
        """The digest of what a compile would take; None in check mode where there is nothing to compile.

        An empty `source_dir` stands for the bytecode that the last run kept, as at boot.
        """
        if not source_dir:
            return self.known().source_digest
        try:
            require_safe_sources(source_dir)
            return source_digest(source_dir, self.program, macros)
        except ProgramError:
            # In check mode on a fresh host the role has not installed the sources and bcc: it would.
            if check:
                return None
            raise

    def bytecode(self) -> Bytecode | None:
        """The bytecode that the last run kept, None where there is none that can be read."""
        try:
            return self.file.read_bytecode(f"{self.program}.bytecode.json", self.program)
        except StateError:
            return None

    def create_maps(self, names: Sequence[str]) -> None:
        """Create and pin what is missing, so that maps can be filled before the program runs."""
        self.file.sweep()
        self.paths.make()
        for name in names:
            create_pinned(self.specs[name], {}, self.paths.map(name)).close()

    def load_next(self, bytecode: Bytecode) -> int:
        """Load bytecode against the pinned maps and pin it beside the current program; returns its fd."""
        opened = {name: bpf.open_map(self.paths.map(name)) for name in self.specs}
        try:
            fd = load(bytecode, {name: each.fd for name, each in opened.items()})
        finally:
            for each in opened.values():
                each.close()
        bpf.remove_pins([self.paths.next])
        bpf.pin(fd, self.paths.next)
        return fd

    def keep_next(self, bytecode: Bytecode) -> None:
        """Make the program pinned beside the current one the current one."""
        self.file.write_file(f"{self.program}.bytecode.json", bytecode.to_json())
        os.rename(self.paths.next, self.paths.program)

    def forget(self, check: bool) -> list[str]:
        """Unpin and remove the record of a program that is attached nowhere; returns one line for each step."""
        changes = []
        if self.paths.programs() or len(self.missing_maps()) < len(self.specs):
            changes.append(f"remove the maps and program of {self.program} pinned in {self.paths.directory}")
            if not check:
                self.paths.remove(self.specs)
        if self.file.read_file(f"{self.program}.json") is not None:
            changes.append(f"remove the state of {self.program}")
        if not check:
            self.file.remove((f"{self.program}.json", f"{self.program}.bytecode.json"))
        return changes
