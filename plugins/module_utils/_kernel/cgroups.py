# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Control groups of version 2, and the sock_ops programs in them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
from collections.abc import Iterator

from .._model.errors import ProgramError
from . import bpf

_MOUNTS = "/proc/self/mounts"
_FILE = "cgroup.controllers"
_CONTROL = "/.control"
# bpf(2): PROG_ATTACH, PROG_DETACH, PROG_QUERY, and the flags of attachments (linux/bpf.h).
_ATTACH, _DETACH, _QUERY = 8, 9, 16
_ALLOW_OVERRIDE, ALLOW_MULTI, _REPLACE = 1, 2, 4
_MOST = 64
"""The kernel has no more programs of a kind in a group."""


def cgroup2_mount() -> str:
    """Where the hierarchy of version 2 is mounted: on a host with both, it is not /sys/fs/cgroup itself.

    ProgramError where there is none.
    """
    with open(_MOUNTS, encoding="utf-8") as source:
        for line in source:
            _device, path, kind = line.split(" ", 3)[:3]
            # What another file system was mounted over is still listed.
            if kind == "cgroup2" and os.path.exists(os.path.join(path, _FILE)):
                return path
    raise ProgramError(
        "this host has no control groups of version 2, to which the program is attached (mount -t cgroup2, or boot with"
        " systemd.unified_cgroup_hierarchy=1)"
    )


def group_path(name: str) -> str:
    """The folder of a group that systemd calls so, "" where there is none."""
    path = os.path.normpath(f"{cgroup2_mount()}/{name}")
    return path if name and os.path.isdir(path) else ""


def own_group() -> str:
    """The folder of the group of this process's unit. ProgramError where the host has none of version 2."""
    with open("/proc/self/cgroup", encoding="utf-8") as source:
        name = next((line.rstrip("\n")[3:] for line in source if line.startswith("0::")), "")
    # Where a unit has groups of its own below, systemd runs the commands around its start in one beside them.
    return group_path(name.removesuffix(_CONTROL) or "/")


@contextlib.contextmanager
def _opened(path: str) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def programs_in(path: str) -> tuple[tuple[int, ...], int]:
    """The ids of the sock_ops programs of a group itself, and their flags; none of a group that is gone."""
    try:
        with _opened(path) as group:
            ids = (ctypes.c_uint32 * _MOST)()
            at = ctypes.addressof(ids)
            raw = bpf.command(_QUERY, struct.pack("=4IQI4x", group, bpf.ATTACH_SOCK_OPS, 0, 0, at, _MOST))
            return tuple(ids[: struct.unpack_from("=I", raw, 24)[0]]), struct.unpack_from("=I", raw, 12)[0]
    except FileNotFoundError:
        return (), 0


def blocking(path: str) -> str:
    """The group, this one or one above, whose program allows no second one here; "" where none does.

    As the kernel's hierarchy_allows_attach() has it.
    """
    top = cgroup2_mount()
    numbers, flags = programs_in(path)
    if numbers and not flags & ALLOW_MULTI:
        return path
    above = path
    while above != top and above.startswith(top):
        above = os.path.dirname(above)
        numbers, flags = programs_in(above)
        if flags & ALLOW_MULTI:
            return ""
        if numbers:
            return "" if flags & _ALLOW_OVERRIDE else above
    return ""


def attach_to_group(path: str, fd: int, replaced: int = 0) -> None:
    """Run a program on the sockets of a group, beside others or in place of the `replaced` one."""
    with _opened(path) as group:
        flags = ALLOW_MULTI | (_REPLACE if replaced else 0)
        bpf.command(_ATTACH, struct.pack("=5I", group, fd, bpf.ATTACH_SOCK_OPS, flags, replaced))


def detach_from_group(path: str, fd: int) -> None:
    """Take a program off a group; no failure where either is gone."""
    with contextlib.suppress(FileNotFoundError), _opened(path) as group:
        bpf.command(_DETACH, struct.pack("=5I", group, fd, bpf.ATTACH_SOCK_OPS, 0, 0))


def numbers_below(path: str) -> set[int]:
    """The numbers by which the kernel knows a group and all below it."""
    found = set()
    for folder, _folders, _files in os.walk(path):
        with contextlib.suppress(FileNotFoundError):
            found.add(os.stat(folder).st_ino)
    return found
