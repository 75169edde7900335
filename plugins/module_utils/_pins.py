# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pinned maps and programs, and what a run needs before it touches them."""

from __future__ import annotations

import errno
import os
import socket
import typing as t
from collections.abc import Iterable, Mapping
from importlib import import_module

from ansible_collections.katran.fleet.plugins.module_utils import _kernel as kernel
from ansible_collections.katran.fleet.plugins.module_utils._layout import MapSpec
from ansible_collections.katran.fleet.plugins.module_utils._program import (
    Attachment,
    Interfaces,
    ProgramError,
    permission_hint,
)

_NAME_BYTES = 15
"""Of a map's name the kernel keeps as many."""


class Paths:
    """Where the objects of one program of one instance are pinned."""

    def __init__(self, bpffs: str, instance: str, program: str) -> None:
        self.bpffs = bpffs
        self.directory = os.path.join(bpffs, "katran", instance)
        self.maps = os.path.join(self.directory, "maps")
        self.program = os.path.join(self.directory, program)
        # The kernel reserves names with dots.
        self.next = self.program + "_next"
        self.previous = self.program + "_previous"
        self.unpinned: dict[str, int] = {}
        """Maps that the running program has though they are pinned no longer: name → id. For check mode."""

    def map(self, name: str) -> str:
        """The pin of a map."""
        return os.path.join(self.maps, name)

    def open_map(self, name: str) -> kernel.Map:
        """A map by its pin, or as one that the running program has."""
        if name in self.unpinned:
            return kernel.map_by_id(self.unpinned[name])
        return kernel.open_map(self.map(name))

    def has_map(self, name: str) -> bool:
        """Whether there is such a map."""
        return name in self.unpinned or os.path.exists(self.map(name))

    def lost_maps(self, specs: Iterable[MapSpec], sizes: Mapping[str, int], program_id: int) -> dict[str, int]:
        """Those of the maps that a program has, and that are pinned no longer: name → id."""
        missing = [spec for spec in specs if not os.path.exists(self.map(spec.name))]
        found = {}
        for map_id in program_maps(program_id) if missing else ():
            with kernel.map_by_id(map_id) as opened:
                info = opened.info
            for spec in missing:
                if info.name == spec.name[:_NAME_BYTES] and fits(spec, info, sizes):
                    found[spec.name] = map_id
        return found

    def pin_again(self, lost: Mapping[str, int]) -> None:
        """Pin such maps."""
        self.make()
        for name, map_id in lost.items():
            with kernel.map_by_id(map_id) as opened:
                kernel.pin(opened.fd, self.map(name))

    def make(self) -> None:
        """Make the directories, for root alone."""
        for folder in (os.path.dirname(self.directory), self.directory, self.maps):
            try:
                os.mkdir(folder, mode=0o700)
            except FileExistsError:
                continue

    def remove(self, maps: Iterable[str]) -> None:
        """Unpin the program in all its names and these maps, and remove the directories where nothing else is left."""
        kernel.remove_pins([self.program, self.next, self.previous, *map(self.map, maps)])
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


def pinned_program(path: str) -> kernel.ProgramInfo | None:
    """What the kernel says of a pinned program, None where there is none."""
    try:
        fd = kernel.open_pin(path)
    except FileNotFoundError:
        return None
    try:
        return kernel.program_info(fd)
    finally:
        os.close(fd)


def program_tag(program_id: int) -> str | None:
    """The tag of a program by its kernel-wide id, None where it is gone."""
    try:
        fd = kernel.program_by_id(program_id)
    except FileNotFoundError:
        return None
    try:
        return kernel.program_info(fd).tag
    finally:
        os.close(fd)


def program_maps(program_id: int) -> frozenset[int]:
    """The ids of the maps that a program uses; empty where it is gone."""
    try:
        fd = kernel.program_by_id(program_id)
    except FileNotFoundError:
        return frozenset()
    try:
        return frozenset(kernel.program_info(fd).map_ids)
    finally:
        os.close(fd)


def every_attachment() -> list[Attachment]:
    """The XDP programs on all interfaces of this network namespace."""
    with Interfaces() as links:
        return links.every_attached()


def attachments(interfaces: Iterable[str]) -> dict[str, Attachment]:
    """Interface → the XDP program on it, of those interfaces that exist and have one."""
    wanted = set(interfaces)
    return {item.interface: item for item in every_attachment() if item.interface in wanted} if wanted else {}


def orphans(paths: Paths, program: Mapping[str, t.Any], attached: Mapping[str, Attachment]) -> set[int]:
    """Programs that ran here when the bpffs was wiped: the tag says so, unless another instance has them.

    `program`: what state.json says of it; `attached`: interface → what is on it.
    """
    tag = program.get("tag")
    there = {attached[name].program_id for name in program.get("interfaces", []) if name in attached}
    found = {each for each in there if tag and program_tag(each) == tag}
    if found:
        root = os.path.dirname(paths.directory)
        for instance in os.listdir(root) if os.path.isdir(root) else []:
            found -= set(Paths(paths.bpffs, instance, os.path.basename(paths.program)).programs())
    return found


def running_program(paths: Paths, program: Mapping[str, t.Any]) -> int | None:
    """The id of the program that is pinned, or else of the one that runs though its pin is gone; None: of none."""
    pinned = pinned_program(paths.program)
    if pinned is not None:
        return pinned.id
    try:
        return next(iter(orphans(paths, program, attachments(program.get("interfaces", [])))), None)
    except ProgramError:
        # Nobody can tell without pyroute2.
        return None


def detach(links: Interfaces, attachment: Attachment) -> None:
    """Take a program off its interface, if it is still there."""
    expected = _held(attachment.interface, attachment.program_id)
    try:
        links.replace(attachment.interface, -1, attachment.mode, expected)
    finally:
        os.close(expected)


def attach(links: Interfaces, interface: str, fd: int, mode: str, expected: int | None) -> None:
    """Put a program on an interface in place of the one with id `expected` (None: of none)."""
    expected_fd = None if expected is None else _held(interface, expected)
    try:
        links.replace(interface, fd, mode, expected_fd)
    finally:
        if expected_fd is not None:
            os.close(expected_fd)


def _held(interface: str, program_id: int) -> int:
    try:
        return kernel.program_by_id(program_id)
    except FileNotFoundError as error:
        raise ProgramError(f"the XDP program on interface {interface} changed meanwhile: it was detached") from error


def create_pinned(spec: MapSpec, sizes: Mapping[str, int], path: str, inner_flags: int = 0) -> kernel.Map:
    """Create a map and pin it; `inner_flags` more flags for the inner maps of a map of maps.

    ProgramError says why the kernel does not give it.
    """
    entries = spec.entries(sizes)
    inner = 0
    try:
        if spec.inner is not None:
            inner = kernel.create_map(
                spec.inner.type,
                spec.inner.key_size,
                spec.inner.value_size,
                1,
                spec.inner.flags | inner_flags,
                spec.inner.name,
            )
        fd = kernel.create_map(spec.type, spec.key_size, spec.value_size, entries, spec.flags, spec.name, inner)
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
        kernel.pin(fd, path)
    except OSError as error:
        os.close(fd)
        raise ProgramError(f"map {spec.name} cannot be pinned at {path}: {permission_hint(error)}") from error
    return kernel.Map(fd)


def fits(spec: MapSpec, info: kernel.MapInfo, sizes: Mapping[str, int]) -> bool:
    """Whether a map that exists is the one that is wanted."""
    there = (info.type, info.key_size, info.value_size, info.entries, info.flags)
    return there == (spec.type, spec.key_size, spec.value_size, spec.entries(sizes), spec.flags)


def has_module(name: str) -> bool:
    """Whether this Python can import a module."""
    try:
        import_module(name)
    except ImportError:
        return False
    return True


def require_capabilities() -> None:
    """ProgramError names the capabilities that this process lacks."""
    missing = kernel.missing_capabilities()
    if missing:
        raise ProgramError(
            f"not enough privilege: {' and '.join(missing)} missing in this process (uid {os.geteuid()});"
            " use become, or grant them"
        )


def require_bpffs(path: str) -> None:
    """ProgramError where the path is not in a mounted bpffs."""
    if not kernel.is_bpffs(path):
        raise ProgramError(f"bpffs: {path} is not a bpf file system on this host (mount -t bpf bpf {path})")


def require_interface(name: str) -> None:
    """ProgramError where the host has no such interface."""
    try:
        socket.if_nametoindex(name)
    except OSError as error:
        raise ProgramError(f"interface {name} does not exist on this host") from error
