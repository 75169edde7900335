# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One program of one instance: where its pins and files are, and what there is of it."""

from __future__ import annotations

import os
import typing as t
from collections.abc import Callable, Iterable, Mapping, Sequence

from .._kernel.edges import Edges, KernelEdges, pinned_by_others, pinned_info, residents, running_info
from .._kernel.open_map import Map
from .._kernel.pins import Paths
from .._kernel.state_folder import StateFolder
from .._model.bytecode import Bytecode
from .._model.errors import FleetError, StateError
from .._model.map_specs import MapSpec
from .._model.program_file import ProgramFile
from .._model.snapshot import Attachment, Missing, OnRecord, ProgramInfo, ProgramSnapshot
from .ownership import compare_pins, is_recorded, own_program
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
    """Where a program lives: pins, files, maps, and the host that has them.

    `kinds`: the programs of which one is there, where they take the same place.
    """

    def __init__(
        self,
        program: str,
        specs: Sequence[MapSpec],
        file: StateFolder,
        kind: type[R],
        edges: Edges | None = None,
        tools: Toolchain | None = None,
        kinds: Sequence[str] = (),
    ) -> None:
        self.program = program
        self.kinds = tuple(kinds) or (program,)
        self.specs = tuple(specs)
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

    def digest(self, source_dir: str, macros: Mapping[str, int], kind: str = "") -> str | Missing | None:
        """The digest of what a compile would take; None where no sources are given, as at boot."""
        program = kind or self.program
        return attempt(lambda: self.tools.digest(source_dir, program, macros)) if source_dir else None

    def bytecode(self, name: str = "") -> Bytecode | Missing:
        """The bytecode that the last run kept, or that of another of the program's files."""
        file = name or self.bytecode_file
        path = f"{self.file.directory}/{file}"
        try:
            kept = self.file.read_bytecode(file, *self.kinds)
            if kept is not None and not {spec.name for spec in self.specs} >= set(kept.maps):
                kept = None
        except StateError:
            kept = None
        return kept if kept is not None else Missing(f"{path} is missing or damaged: run a deploy")

    def read(self, record: OnRecord, interfaces: Iterable[str], digest: str | Missing | None) -> ProgramSnapshot:
        """What there is. `interfaces`: those where the program is to run."""
        every = attempt(self.edges.attachments)
        attached: Mapping[str, Attachment] | Missing
        attached = every if isinstance(every, Missing) else {each.interface: each for each in every}
        running = () if isinstance(attached, Missing) else [each.program_id for each in attached.values()]
        there: Mapping[str, Attachment] = {} if isinstance(attached, Missing) else attached
        placed = [there[name].program_id for name in record.interfaces if name in there]
        return self.read_running(record, interfaces, digest, attached, running, placed)

    def read_running(
        self,
        record: OnRecord,
        interfaces: Iterable[str],
        digest: str | Missing | None,
        attached: Mapping[str, Attachment] | Missing,
        running: Iterable[int],
        placed: Iterable[int],
        halfway: bool = False,
    ) -> ProgramSnapshot:
        """The same, where others than the programs of XDP may be this one: their ids.

        `placed`: those of them that run where the record says. `halfway`: a change-over was killed that a run finishes
        first, so that pins are of one program and of the other.
        """
        edges, paths = self.edges, self.paths
        pinned = {path: info for path in paths.names() if (info := pinned_info(edges, path)) is not None}
        pins = frozenset(info.id for info in pinned.values())
        found = {number: info for number in set(running) if (info := running_info(edges, number)) is not None}
        elsewhere = self._elsewhere(found, pins, record.tag)
        current = pinned.get(paths.program)
        impostor = "" if halfway else self._impostor(current, record.tag)
        here = [] if halfway else [found[number] for number in placed if number in found and number not in elsewhere]
        program = None if halfway else own_program(paths, record.tag, current, here)
        maps = compare_pins(edges, paths, self.specs, program)
        return ProgramSnapshot(
            bpffs=read_bpffs(edges, paths.bpffs),
            absent=[name for name in interfaces if not edges.has_interface(name)],
            maps=maps.maps,
            lost=maps.lost,
            strays=maps.strays,
            current=None if impostor else current,
            impostor=impostor,
            pins=pins,
            attached=attached,
            running=found,
            elsewhere=elsewhere,
            residents=residents(edges, paths) if found.keys() - pins else {},
            digest=digest,
            kept=self.bytecode(),
            directory=paths.directory,
        )

    def _impostor(self, pinned: ProgramInfo | None, tag: str | None) -> str:
        """What is wrong with what is pinned under the program's name; "" where nothing is."""
        path = self.paths.program
        if pinned is None:
            there = os.path.basename(path) in self.edges.listed(self.paths.directory)
            return f"replace what is pinned at {path}, which is no program" if there else ""
        if not tag or is_recorded(self.paths, tag, pinned):
            return ""
        return f"replace the program pinned at {path}, which is not the one on record (tag {pinned.tag}, not {tag})"

    def open_map(self, name: str, lost: Mapping[str, int]) -> Map:
        """One of the program's maps. `lost`: those that are not pinned under their names → their ids."""
        return self.edges.open_map_by_id(lost[name]) if name in lost else self.edges.open_map(self.paths.map(name))

    def _elsewhere(self, running: Mapping[int, ProgramInfo], pins: frozenset[int], tag: str | None) -> frozenset[int]:
        """Those of the running programs with this tag that another instance has pinned."""
        doubtful = {number for number, info in running.items() if number not in pins and info.tag == tag}
        return frozenset(doubtful & pinned_by_others(self.edges, self.paths)) if doubtful else frozenset()
