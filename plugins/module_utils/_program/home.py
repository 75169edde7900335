# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One program of one instance: where its pins and files are, and what there is of it."""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType

from .._kernel.edges import Edges, KernelEdges, pinned_by_others, pinned_info, residents, running_info
from .._kernel.pins import Paths
from .._kernel.state_folder import StateFolder
from .._model.bytecode import Bytecode
from .._model.errors import FleetError, StateError
from .._model.map_specs import MapSpec
from .._model.program_file import ProgramFile
from .._model.snapshot import Attachment, Missing, OnRecord, ProgramInfo, ProgramSnapshot
from .toolchain import HostToolchain, Toolchain

R = t.TypeVar("R", bound=ProgramFile)
T = t.TypeVar("T")


def attempt(read: Callable[[], T]) -> T | Missing:
    """What is read, or why it cannot be."""
    try:
        return read()
    except FleetError as error:
        return Missing(str(error))


def read_bpffs(edges: Edges, path: str) -> Missing | None:
    """Whether the host lacks the bpf file system."""
    if edges.is_bpffs(path):
        return None
    return Missing(
        f"bpffs: {path} is not a bpf file system on this host (mount -t bpf bpf {path})",
        f"bpffs: {path} is not a bpf file system on this host yet",
    )


class Home(t.Generic[R]):
    """Where a program lives: pins, files, maps, and the host that has them."""

    def __init__(
        self,
        program: str,
        specs: Sequence[MapSpec],
        file: StateFolder,
        kind: type[R],
        edges: Edges | None = None,
        tools: Toolchain | None = None,
    ) -> None:
        self.program = program
        self.specs = {spec.name: spec for spec in specs}
        self.file = file
        self.kind = kind
        self.paths = Paths(file.bpffs, file.instance, program)
        self.edges: Edges = edges or KernelEdges()
        self.tools: Toolchain = tools or HostToolchain()
        self.record_file = f"{program}.json"
        self.bytecode_file = f"{program}.bytecode.json"

    def record(self) -> R:
        """What the last run wrote down; nothing where there was none. StateError where the file is damaged."""
        return self.file.read_record(self.kind, self.program)

    def files(self) -> frozenset[str]:
        """Which of the program's files there are."""
        names = (self.record_file, self.bytecode_file)
        return frozenset(name for name in names if self.file.read_file(name) is not None)

    def digest(self, source_dir: str, macros: Mapping[str, int]) -> str | Missing | None:
        """The digest of what a compile would take; None where no sources are given, as at boot."""
        return attempt(lambda: self.tools.digest(source_dir, self.program, macros)) if source_dir else None

    def bytecode(self, name: str = "") -> Bytecode | Missing:
        """The bytecode that the last run kept, or that of another of the program's files."""
        file = name or self.bytecode_file
        path = f"{self.file.directory}/{file}"
        try:
            kept = self.file.read_bytecode(file, self.program)
        except StateError:
            kept = None
        return kept if kept is not None else Missing(f"{path} is missing or damaged: run a deploy")

    def read(self, record: OnRecord, interfaces: Iterable[str], digest: str | Missing | None) -> ProgramSnapshot:
        """What there is. `interfaces`: those where the program is to run."""
        there = attempt(self.edges.attachments)
        attached: Mapping[str, Attachment] | Missing
        attached = there if isinstance(there, Missing) else {each.interface: each for each in there}
        running = () if isinstance(attached, Missing) else [each.program_id for each in attached.values()]
        return self.read_running(record, interfaces, digest, attached, running)

    def read_running(
        self,
        record: OnRecord,
        interfaces: Iterable[str],
        digest: str | Missing | None,
        attached: Mapping[str, Attachment] | Missing,
        running: Iterable[int],
        lost: Mapping[str, int] = MappingProxyType({}),
    ) -> ProgramSnapshot:
        """The same, where others than the programs of XDP may be this one: their ids.

        `lost`: map that is there though its pin is gone → its id.
        """
        edges, paths = self.edges, self.paths
        maps = {}
        for name in sorted({*edges.listed(paths.maps), *lost}):
            if name in self.specs:
                opening = edges.open_map_by_id(lost[name]) if name in lost else edges.open_map(paths.map(name))
                with opening as opened:
                    maps[name] = opened.info
        pinned = {path: info for path in paths.names() if (info := pinned_info(edges, path)) is not None}
        pins = frozenset(info.id for info in pinned.values())
        found = {number: info for number in set(running) if (info := running_info(edges, number)) is not None}
        return ProgramSnapshot(
            bpffs=read_bpffs(edges, paths.bpffs),
            absent=[name for name in interfaces if not edges.has_interface(name)],
            maps=maps,
            current=pinned.get(paths.program),
            pins=pins,
            attached=attached,
            running=found,
            elsewhere=self._elsewhere(found, pins, record.tag),
            residents=residents(edges, paths) if found.keys() - pins else {},
            digest=digest,
            kept=self.bytecode(),
            directory=paths.directory,
        )

    def _elsewhere(self, running: Mapping[int, ProgramInfo], pins: frozenset[int], tag: str | None) -> frozenset[int]:
        """Those of the running programs with this tag that another instance has pinned."""
        doubtful = {number for number, info in running.items() if number not in pins and info.tag == tag}
        return frozenset(doubtful & pinned_by_others(self.edges, self.paths)) if doubtful else frozenset()
