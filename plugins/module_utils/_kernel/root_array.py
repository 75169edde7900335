# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The array of program root: the slots where other XDP programs take their place."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from .._model import layout
from .._model.errors import ProgramError
from .._model.map_specs import NEXT_PROGRAMS, PROG_ARRAY
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
    with opened_array(path) as array:
        return _programs(array)


def put_program(slot: RootArray, fd: int) -> None:
    """Put a program into a slot. ProgramError says why the kernel does not take it.

    Those before it in the array that pass on what is not for them (feature chain) learn of it first: where a run ends
    in between, the slot is still without it, and the next run sees that.
    """
    with opened_array(slot.path) as array, ExitStack() as stack:
        try:
            there = {each: _open(number, stack) for each, number in _programs(array).items() if each != slot.position}
            behind = {each: other for each, other in there.items() if each > slot.position}
            _lead_on(fd, {**dict.fromkeys(range(array.info.entries), -1), **behind})
            for each, other in there.items():
                if each < slot.position:
                    _lead_on(other, {slot.position: fd})
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
    """Take the program out of a slot, if there is one; those before it in the array first let go of it."""
    with opened_array(slot.path) as array, ExitStack() as stack:
        for each, number in _programs(array).items():
            if each < slot.position:
                _lead_on(_open(number, stack), {slot.position: -1})
        array.delete(layout.u32(slot.position))


def _programs(array: bpf.Map) -> dict[int, int]:
    """Position → id of the program in that slot."""
    found = {}
    for position in range(array.info.entries):
        value = array.lookup(layout.u32(position))
        if value is not None:
            found[position] = layout.parse_u32(value)
    return found


def _open(program: int, stack: ExitStack) -> int:
    """The descriptor of a program for as long as the stack lasts."""
    fd = bpf.program_by_id(program)
    stack.callback(os.close, fd)
    return fd


def _lead_on(fd: int, following: Mapping[int, int]) -> None:
    """Have a program that passes on what is not for it run these next: slot → descriptor, -1 for none.

    One without feature chain has no place for them, and ends the chain.
    """
    for number in bpf.program_info(fd).map_ids:
        with bpf.map_by_id(number) as each:
            if each.info.type != PROG_ARRAY or each.info.name != NEXT_PROGRAMS:
                continue
            for position, program in following.items():
                if program < 0:
                    each.delete(layout.u32(position))
                else:
                    each.update(layout.u32(position), layout.u32(program))
