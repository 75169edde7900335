# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Taking the steps of a plan for program server_id_option."""

from __future__ import annotations

import errno
import typing as t

from .._kernel.cgroup_edges import CgroupEdges
from .._model.errors import ProgramError
from .._model.server_id_plan import (
    AttachGroup,
    DetachGroup,
    PutDropIn,
    ReadUnits,
    ResizeMap,
    RestartUnit,
)
from .executor import Executor
from .home import Home


class CgroupExecutor(Executor):
    """One run's steps, with programs in the control groups of units."""

    def __init__(self, home: Home[t.Any], groups: CgroupEdges) -> None:
        super().__init__(home)
        self.groups = groups

    def resize_map(self, step: ResizeMap) -> None:
        path = self.paths.map(step.spec.name)
        beside = f"{path}_next"
        self.edges.unpin([beside])
        with self.edges.open_map(path) as old, self.edges.create_map(step.spec, {}, beside) as new:
            new.update_many(list(old.items()))
        self.edges.rename(beside, path)

    def attach_group(self, step: AttachGroup) -> None:
        fd = self.program()
        # Held open: once replaced, a program that is pinned nowhere would be gone and could not be put back.
        old = self.hold(step.there, f"of unit {step.unit}") if step.there is not None else 0
        try:
            self.groups.attach_to_group(step.group, fd, old)
        except FileNotFoundError as error:
            # Of a unit that ended meanwhile the next start says what it needs.
            if step.there is not None:
                raise ProgramError(f"unit {step.unit}: the programs of its group changed meanwhile") from error
            return
        except OSError as error:
            if error.errno == errno.EPERM:
                raise ProgramError(f"unit {step.unit}: the kernel does not permit a program in its group") from error
            raise
        if old:
            self.undo.callback(self.groups.attach_to_group, step.group, old, fd)
        else:
            self.undo.callback(self.groups.detach_from_group, step.group, fd)

    def detach_group(self, step: DetachGroup) -> None:
        fd = self.hold(step.there, f"of unit {step.unit}")
        self.groups.detach_from_group(step.group, fd)
        self.undo.callback(self.groups.attach_to_group, step.group, fd)

    def put_drop_in(self, step: PutDropIn) -> None:
        self.groups.put_drop_in(self.file.instance, step.unit, step.text)

    def read_units(self, _step: ReadUnits) -> None:
        self.groups.reload_units()

    def restart_unit(self, step: RestartUnit) -> None:
        self.groups.restart_unit(step.unit)


CgroupExecutor.taking = {
    **Executor.taking,
    ResizeMap: CgroupExecutor.resize_map,
    AttachGroup: CgroupExecutor.attach_group,
    DetachGroup: CgroupExecutor.detach_group,
    PutDropIn: CgroupExecutor.put_drop_in,
    ReadUnits: CgroupExecutor.read_units,
    RestartUnit: CgroupExecutor.restart_unit,
}
