# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pinned maps and programs."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping

from .._model.errors import ProgramError
from .._model.map_specs import MapSpec
from .._model.snapshot import ProgramInfo
from . import bpf
from .open_map import KindError
from .privilege import permission_hint


class Paths:
    """Where the objects of one program of one instance are pinned."""

    def __init__(self, bpffs: str, instance: str, program: str) -> None:
        self.bpffs = bpffs
        self.root = os.path.join(bpffs, "katran")
        self.directory = os.path.join(self.root, instance)
        self.maps = os.path.join(self.directory, "maps")
        self.program = os.path.join(self.directory, program)
        # The kernel reserves names with dots.
        self.next = self.program + "_next"
        self.previous = self.program + "_previous"
        # Somebody else's program, whose place this one took: none of this one's names.
        self.foreign = self.program + "_foreign"

    def names(self) -> tuple[str, str, str]:
        """The pins of the program: the present one, the one to come, the one before."""
        return (self.program, self.next, self.previous)

    def folders(self) -> tuple[str, str, str]:
        """The folders, outermost first."""
        return (self.root, self.directory, self.maps)

    def map(self, name: str) -> str:
        """The pin of a map."""
        return os.path.join(self.maps, name)

    def has_map(self, name: str) -> bool:
        """Whether there is such a map."""
        return os.path.exists(self.map(name))


def listed(folder: str) -> list[str]:
    """What is in a folder, sorted; nothing where there is none."""
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []


def pinned_program(path: str) -> ProgramInfo | None:
    """What the kernel says of a pinned program, None where there is none."""
    try:
        fd = bpf.open_program(path)
    except (FileNotFoundError, KindError):
        return None
    try:
        return bpf.program_info(fd)
    finally:
        os.close(fd)


def create_table(spec: MapSpec, entries: int, node: int | None) -> bpf.Map:
    """Create a map that is pinned nowhere, on a memory node."""
    sizes = spec.key_size, spec.value_size, entries
    return bpf.Map(bpf.create_map(spec.type, *sizes, spec.flags, spec.name, numa_node=node))


def create_pinned(spec: MapSpec, sizes: Mapping[str, int], path: str, inner_flags: int = 0) -> bpf.Map:
    """Create a map and pin it; `inner_flags` more flags for the inner maps of a map of maps.

    ProgramError says why the kernel does not give it.
    """
    entries = spec.entries(sizes)
    inner = 0
    try:
        if spec.inner is not None:
            inner = bpf.create_map(
                spec.inner.type,
                spec.inner.key_size,
                spec.inner.value_size,
                1,
                spec.inner.flags | inner_flags,
                spec.inner.name,
            )
        fd = bpf.create_map(spec.type, spec.key_size, spec.value_size, entries, spec.flags, spec.name, inner)
    except OSError as error:
        if error.errno == errno.ENOMEM:
            reason = "the kernel has not enough memory for it; choose smaller sizes"
        else:
            reason = permission_hint(error)
        raise ProgramError(f"map {spec.name} ({entries} entries) cannot be created: {reason}") from error
    finally:
        if inner:
            os.close(inner)
    try:
        bpf.pin(fd, path)
    except OSError as error:
        os.close(fd)
        raise ProgramError(f"map {spec.name} cannot be pinned at {path}: {permission_hint(error)}") from error
    return bpf.Map(fd)
