# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All that a program's run reads and changes outside its process, behind one protocol: the host's kernel and lock.

Tests have another host in memory. Descriptors are numbers that `close` takes; a failure of the kernel is OSError with
its errno, unless the function's sentence says more.
"""

from __future__ import annotations

import errno
import os
import socket
import typing as t
from collections.abc import Iterable, Mapping, Sequence

from .._model.host_addresses import HostAddress
from .._model.map_specs import MapSpec
from .._model.snapshot import Attachment, ProgramInfo, Resident, RootArray
from . import bpf, loopback, pins, root_array
from .lock import remove_lock
from .open_map import KindError, Map
from .private import make_private
from .xdp import Interfaces, every_attachment


class Edges(t.Protocol):
    """A host, as far as programs go."""

    def is_bpffs(self, path: str, /) -> bool:
        """Whether the path lies in a mounted bpf file system."""

    def has_interface(self, name: str, /) -> bool:
        """Whether there is such an interface."""

    def listed(self, folder: str, /) -> list[str]:
        """What is in a folder of the bpffs, sorted; nothing where there is none."""

    def make_folders(self, folders: Iterable[str], /) -> None:
        """Make folders, for root alone, where they are not there."""

    def remove_folders(self, folders: Iterable[str], /) -> None:
        """Remove folders in which nothing is left."""

    def pin(self, descriptor: int, path: str, /) -> None:
        """Pin an object."""

    def unpin(self, paths: Iterable[str], /) -> None:
        """Unpin what is pinned under these paths; one that is not there is no failure."""

    def rename(self, path: str, target: str, /) -> None:
        """Give a pin another name, in place of what had that."""

    def create_map(self, spec: MapSpec, sizes: Mapping[str, int], path: str, inner_flags: int = 0, /) -> Map:
        """Create a map and pin it; ProgramError says why the kernel does not give it."""

    def open_map(self, path: str, /) -> Map:
        """A pinned map; FileNotFoundError where there is none, KindError where it is something else."""

    def open_map_by_id(self, map_id: int, /) -> Map:
        """A map by its kernel-wide id; FileNotFoundError where it is gone."""

    def open_program(self, path: str, /) -> int:
        """A pinned program; FileNotFoundError where there is none, KindError where it is something else."""

    def open_program_by_id(self, program_id: int, /) -> int:
        """A program by its kernel-wide id; FileNotFoundError where it is gone."""

    def program_info(self, descriptor: int, /) -> ProgramInfo:
        """What the kernel says of an open program."""

    def load(self, code: bytes, kind: int, attach_type: int, name: str, /) -> int:
        """Load a program whose map references are descriptors; bpf.VerifierError says why not."""

    def close(self, descriptor: int, /) -> None:
        """Close a program's descriptor."""

    def attachments(self) -> list[Attachment]:
        """The XDP programs on all interfaces. ProgramError where the host cannot tell."""

    def replace(self, interface: str, descriptor: int, mode: str, expected: int | None, /) -> None:
        """Attach a program (-1: none) if the interface still has the expected one, as Interfaces.replace does."""

    def slots(self, path: str, /) -> dict[int, int]:
        """Position → id of the program in that slot of root's array; ProgramError where there is none."""

    def put_program(self, slot: RootArray, descriptor: int, /) -> None:
        """Put a program into a slot."""

    def clear_slot(self, slot: RootArray, /) -> None:
        """Take the program out of a slot."""

    def host_addresses(self) -> list[HostAddress]:
        """Every address of every interface. ProgramError where the host cannot tell."""

    def change_loopback(self, add: Sequence[str], remove: Sequence[str], settle: Sequence[str], /) -> None:
        """Add and remove addresses of interface lo, and make others quiet."""

    def remove_lock(self, instance: str, /) -> None:
        """Remove the lock file of an instance that is gone."""


def _has_interface(name: str) -> bool:
    try:
        socket.if_nametoindex(name)
    except OSError:
        return False
    return True


def _make_folders(folders: Iterable[str]) -> None:
    for folder in folders:
        make_private(folder)


def _remove_folders(folders: Iterable[str]) -> None:
    for folder in folders:
        try:
            os.rmdir(folder)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.ENOENT):
                raise


def _rename(path: str, target: str) -> None:
    if os.path.isdir(target):
        # A pin takes a pin's place, but not a folder's.
        os.rmdir(target)
    os.rename(path, target)


def _replace(interface: str, fd: int, mode: str, expected: int | None) -> None:
    with Interfaces() as links:
        links.replace(interface, fd, mode, expected)


def _change_loopback(add: Sequence[str], remove: Sequence[str], settle: Sequence[str]) -> None:
    loopback.change_loopback(add, remove, settle)


class KernelEdges:
    """The host that this process runs on."""

    is_bpffs = staticmethod(bpf.is_bpffs)
    has_interface = staticmethod(_has_interface)
    listed = staticmethod(pins.listed)
    make_folders = staticmethod(_make_folders)
    remove_folders = staticmethod(_remove_folders)
    pin = staticmethod(bpf.pin)
    unpin = staticmethod(bpf.remove_pins)
    rename = staticmethod(_rename)
    create_map = staticmethod(pins.create_pinned)
    open_map = staticmethod(bpf.open_map)
    open_map_by_id = staticmethod(bpf.map_by_id)
    open_program = staticmethod(bpf.open_program)
    open_program_by_id = staticmethod(bpf.program_by_id)
    program_info = staticmethod(bpf.program_info)
    load = staticmethod(bpf.load_program)
    close = staticmethod(os.close)
    attachments = staticmethod(every_attachment)
    replace = staticmethod(_replace)
    slots = staticmethod(root_array.slots)
    put_program = staticmethod(root_array.put_program)
    clear_slot = staticmethod(root_array.clear_slot)
    host_addresses = staticmethod(loopback.host_addresses)
    change_loopback = staticmethod(_change_loopback)
    remove_lock = staticmethod(remove_lock)


def pinned_info(edges: Edges, path: str) -> ProgramInfo | None:
    """What the kernel says of a pinned program, None where there is none."""
    try:
        descriptor = edges.open_program(path)
    except (FileNotFoundError, KindError):
        return None
    try:
        return edges.program_info(descriptor)
    finally:
        edges.close(descriptor)


def running_info(edges: Edges, program_id: int) -> ProgramInfo | None:
    """What the kernel says of a program by its id, None where it is gone."""
    try:
        descriptor = edges.open_program_by_id(program_id)
    except FileNotFoundError:
        return None
    try:
        return edges.program_info(descriptor)
    finally:
        edges.close(descriptor)


PROGRAMS = ("balancer", "decap", "root")
"""The programs of ours that XDP runs, by their pins."""


def pinned_ids(edges: Edges, paths: pins.Paths) -> set[int]:
    """The ids of the programs that are pinned under one program's names."""
    return {info.id for path in paths.names() if (info := pinned_info(edges, path)) is not None}


def residents(edges: Edges, paths: pins.Paths) -> dict[int, Resident]:
    """The programs that are pinned besides this one of this instance, by their ids."""
    mine = Resident(os.path.basename(paths.program), os.path.basename(paths.directory))
    found: dict[int, Resident] = {}
    for instance in edges.listed(paths.root):
        for program in PROGRAMS:
            each = Resident(program, instance)
            if each != mine:
                found.update(dict.fromkeys(pinned_ids(edges, pins.Paths(paths.bpffs, instance, program)), each))
    return found


def pinned_by_others(edges: Edges, paths: pins.Paths) -> set[int]:
    """The ids of the programs of this kind that other instances have pinned."""
    instance, program = os.path.basename(paths.directory), os.path.basename(paths.program)
    others = (other for other in edges.listed(paths.root) if other != instance)
    return {number for other in others for number in pinned_ids(edges, pins.Paths(paths.bpffs, other, program))}
