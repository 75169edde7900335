# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Program root, which shares an interface between XDP programs."""

from __future__ import annotations

import os

from .._kernel import bpf
from .._kernel.lock import locked, remove_lock
from .._kernel.root_array import slots
from .._kernel.state_files import StateFile
from .._kernel.xdp import attachments
from .._model.errors import ProgramError
from .._model.map_specs import ROOT_MAPS
from .._model.root_settings import RootRecord, RootSettings
from .._program.pinned import SimpleProgram
from .._program.requirements import require_bpffs, require_capabilities, require_interface
from .request import Result

PROGRAM = "root"


class Root:
    """Program root of one instance."""

    def __init__(self, instance: str, bpffs: str, file: StateFile | None = None) -> None:
        self.file = file or StateFile(instance, bpffs)
        self.program = SimpleProgram(PROGRAM, ROOT_MAPS, self.file, RootRecord)
        self.array = self.program.paths.map("root_array")

    def ensure(self, settings: RootSettings, check: bool, timeout: float) -> Result:
        """Bring root to the interfaces; what is in its slots stays."""
        require_capabilities()
        outcome = Result()
        if not check:
            require_bpffs(self.file.bpffs)
        elif not bpf.is_bpffs(self.file.bpffs):
            outcome.warnings.append(f"bpffs: {self.file.bpffs} is not a bpf file system on this host yet")
        for name in settings.interfaces:
            require_interface(name)
        with locked(self.file.instance, not check, timeout):
            known = self.program.known()
            plan = self.program.plan(settings.interfaces, settings.mode, settings.source_dir, {}, check)
            outcome.changes += plan.changes
            outcome.before = {"interfaces": known.interfaces, "mode": known.mode} if known.mode else {}
            outcome.after = {"interfaces": list(settings.interfaces), "mode": settings.mode}
            if not check:
                if outcome.changes:
                    self.program.create_maps(plan.create)
                    self.program.execute(plan, settings.interfaces, settings.mode, settings.source_dir, {}, known)
                    known.source_dir = settings.source_dir or known.source_dir
                    self.program.record(known)
                self._report(settings, outcome)
        return outcome

    def _report(self, settings: RootSettings, outcome: Result) -> None:
        outcome.attached = [
            {"interface": name, "mode": each.mode, "program_id": each.program_id}
            for name, each in attachments(settings.interfaces).items()
        ]
        outcome.slots = [
            {"position": position, "program_id": program_id} for position, program_id in slots(self.array).items()
        ]

    def remove(self, check: bool, timeout: float) -> Result:
        """Take root off the host; ProgramError while a slot is in use: its program would stop running unnoticed."""
        require_capabilities()
        outcome = Result()
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
    if not known.interfaces:
        return []
    settings = RootSettings(tuple(known.interfaces), known.mode, "")
    return root.ensure(settings, False, timeout).changes
