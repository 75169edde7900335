# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command katran-server-id: put program server_id_option into the control group of the unit that runs it.

A unit's group ends with its processes, and what was attached to it as well; so this runs before each start of a
service (its drop-in), in the new group. It takes no lock: a run that restarts the service holds it meanwhile.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from .._kernel import bpf, cgroups
from .._kernel.open_map import KindError
from .._kernel.pins import Paths
from .._kernel.state_folder import StateFolder, read_bpffs
from .._model.errors import FleetError, ProgramError
from .._model.options import is_instance

_PROGRAM = "server_id_option"
_LOCK_SECONDS = 10.0


def attach_to_own_group(instance: str) -> str:
    """Attach; what was done in a sentence. FleetError or OSError says why not."""
    bpffs = read_bpffs(instance, f"{_PROGRAM}.json")
    path = Paths(bpffs, instance, _PROGRAM).program
    fd = _opened(path)
    if fd is None:
        # At boot services start before katran-restore, which needs the network.
        _restore(StateFolder(instance, bpffs))
        fd = _opened(path)
    if fd is None:
        raise ProgramError(f"there is no program of instance {instance} on this host: run a deploy")
    try:
        return _attach(fd)
    finally:
        os.close(fd)


def _opened(path: str) -> int | None:
    try:
        return bpf.open_program(path)
    except (FileNotFoundError, KindError):
        return None


def _restore(file: StateFolder) -> None:
    # All that an attachment alone does not take, and that would delay each start.
    from .server_id_option import restore_server_ids  # pylint: disable=import-outside-toplevel

    restore_server_ids(file, _LOCK_SECONDS)


def _attach(fd: int) -> str:
    group = cgroups.own_group()
    if not group:
        raise ProgramError("this process has no control group of version 2")
    info = bpf.program_info(fd)
    there = cgroups.programs_in(group)[0]
    if info.id in there:
        return f"{group} has the program"
    cgroups.attach_to_group(group, fd)
    return f"attached to {group}"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; exit status 1 where the program could not be attached."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if len(given) != 1 or not is_instance(given[0]):
        sys.stderr.write("usage: katran-server-id INSTANCE, from a unit's ExecStartPre=\n")
        return 1
    try:
        sys.stdout.write(f"katran-server-id: {attach_to_own_group(given[0])}\n")
    except (FleetError, OSError) as error:
        sys.stderr.write(f"katran-server-id: {error}; connections to this service carry no server id\n")
        return 1
    return 0
