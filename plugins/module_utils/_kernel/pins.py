# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pinned maps and programs."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Mapping

from .._model.errors import ProgramError
from .._model.map_specs import NAME_BYTES, MapSpec
from .._model.snapshot import ProgramInfo, fits
from . import bpf
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
        self.unpinned: dict[str, int] = {}
        """Maps that the running program has though they are pinned no longer: name → id. For check mode."""

    def names(self) -> tuple[str, str, str]:
        """The pins of the program: the present one, the one to come, the one before."""
        return (self.program, self.next, self.previous)

    def folders(self) -> tuple[str, str, str]:
        """The folders, outermost first."""
        return (self.root, self.directory, self.maps)

    def map(self, name: str) -> str:
        """The pin of a map."""
        return os.path.join(self.maps, name)

    def open_map(self, name: str) -> bpf.Map:
        """A map by its pin, or as one that the running program has."""
        if name in self.unpinned:
            return bpf.map_by_id(self.unpinned[name])
        return bpf.open_map(self.map(name))

    def has_map(self, name: str) -> bool:
        """Whether there is such a map."""
        return name in self.unpinned or os.path.exists(self.map(name))

    def lost_maps(self, specs: Iterable[MapSpec], sizes: Mapping[str, int], program_id: int) -> dict[str, int]:
        """Those of the maps that a program has, and that are pinned no longer: name → id."""
        missing = [spec for spec in specs if not os.path.exists(self.map(spec.name))]
        found = {}
        for map_id in program_maps(program_id) if missing else ():
            with bpf.map_by_id(map_id) as opened:
                info = opened.info
            for spec in missing:
                if info.name == spec.name[:NAME_BYTES] and fits(spec, info, sizes):
                    found[spec.name] = map_id
        return found

    def pin_again(self, lost: Mapping[str, int]) -> None:
        """Pin such maps."""
        self.make()
        for name, map_id in lost.items():
            with bpf.map_by_id(map_id) as opened:
                bpf.pin(opened.fd, self.map(name))

    def make(self) -> None:
        """Make the directories, for root alone."""
        for folder in (os.path.dirname(self.directory), self.directory, self.maps):
            try:
                os.mkdir(folder, mode=0o700)
            except FileExistsError:
                continue

    def remove(self, maps: Iterable[str]) -> None:
        """Unpin the program in all its names and these maps, and remove the directories where nothing else is left."""
        bpf.remove_pins([self.program, self.next, self.previous, *map(self.map, maps)])
        for folder in (self.maps, self.directory, os.path.dirname(self.directory)):
            try:
                os.rmdir(folder)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.ENOENT):
                    raise

    def programs(self) -> dict[int, str]:
        """Program id → the name under which it is pinned."""
        found = {}
        for path in (self.program, self.next, self.previous):
            info = pinned_program(path)
            if info is not None:
                found[info.id] = path
        return found


def pinned_program(path: str) -> ProgramInfo | None:
    """What the kernel says of a pinned program, None where there is none."""
    try:
        fd = bpf.open_pin(path)
    except FileNotFoundError:
        return None
    try:
        return bpf.program_info(fd)
    finally:
        os.close(fd)


def program_tag(program_id: int) -> str | None:
    """The tag of a program by its kernel-wide id, None where it is gone."""
    try:
        fd = bpf.program_by_id(program_id)
    except FileNotFoundError:
        return None
    try:
        return bpf.program_info(fd).tag
    finally:
        os.close(fd)


def program_maps(program_id: int) -> frozenset[int]:
    """The ids of the maps that a program uses; empty where it is gone."""
    try:
        fd = bpf.program_by_id(program_id)
    except FileNotFoundError:
        return frozenset()
    try:
        return frozenset(bpf.program_info(fd).map_ids)
    finally:
        os.close(fd)


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
