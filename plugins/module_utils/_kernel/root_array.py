# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The array of program root: the slots where other XDP programs take their place."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from .._model import layout
from .._model.errors import ProgramError
from .._model.map_specs import PROG_ARRAY
from .._model.snapshot import RootArray
from . import bpf
from .privilege import permission_hint


@contextmanager
def opened_array(path: str) -> Iterator[bpf.Map]:
    """The pinned array; ProgramError where there is none."""
    if os.path.exists(path) and not bpf.is_bpffs(path):
        raise ProgramError(f"root_array: {path} is not in a bpf file system")
    try:
        fd = bpf.open_pin(path)
    except FileNotFoundError as error:
        raise ProgramError(
            f"root_array: nothing is pinned at {path}: run module katran.fleet.xdp_root first"
        ) from error
    except OSError as error:
        raise ProgramError(f"root_array: {path} cannot be opened: {permission_hint(error)}") from error
    if os.readlink(f"/proc/self/fd/{fd}") != "anon_inode:bpf-map":
        os.close(fd)
        raise ProgramError(f"root_array: {path} is not a map")
    with bpf.Map(fd) as opened:
        if opened.info.type != PROG_ARRAY:
            raise ProgramError(f"root_array: {path} is not an array of programs (BPF_MAP_TYPE_PROG_ARRAY)")
        yield opened


def slots(path: str) -> dict[int, int]:
    """Position → kernel-wide id of the program in that slot, for the slots in use."""
    found = {}
    with opened_array(path) as array:
        for position in range(array.info.entries):
            value = array.lookup(layout.u32(position))
            if value is not None:
                found[position] = layout.parse_u32(value)
    return found


def put_program(slot: RootArray, fd: int) -> None:
    """Put a program into a slot. ProgramError says why the kernel does not take it."""
    with opened_array(slot.path) as array:
        try:
            array.update(layout.u32(slot.position), layout.u32(fd))
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
    with opened_array(slot.path) as array:
        array.delete(layout.u32(slot.position))
