# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which programs of the kernel are an instance's own."""

from __future__ import annotations

import os
from collections.abc import Mapping

from .._kernel.pins import Paths, pinned_program, program_tag
from .._kernel.xdp import attachments
from .._model.errors import ProgramError
from .._model.snapshot import Attachment
from .._model.state import ProgramRecord


def orphans(paths: Paths, program: ProgramRecord, attached: Mapping[str, Attachment]) -> set[int]:
    """Programs that ran here when the bpffs was wiped: the tag says so, unless another instance has them.

    `program`: what state.json says of it; `attached`: interface → what is on it.
    """
    tag = program.tag
    there = {attached[name].program_id for name in program.interfaces if name in attached}
    found = {each for each in there if tag and program_tag(each) == tag}
    if found:
        root = os.path.dirname(paths.directory)
        for instance in os.listdir(root) if os.path.isdir(root) else []:
            found -= set(Paths(paths.bpffs, instance, os.path.basename(paths.program)).programs())
    return found


def running_program(paths: Paths, program: ProgramRecord) -> int | None:
    """The id of the program that is pinned, or else of the one that runs though its pin is gone; None: of none."""
    pinned = pinned_program(paths.program)
    if pinned is not None:
        return pinned.id
    try:
        return next(iter(orphans(paths, program, attachments(program.interfaces))), None)
    except ProgramError:
        # Nobody can tell without pyroute2.
        return None
