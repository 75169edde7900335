# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of a program's life, and the order in which they are taken, whichever the program."""

from __future__ import annotations

import enum
import typing as t
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .bytecode import Bytecode
from .map_specs import MapSpec
from .operations import Delete, Put, ZeroCounters
from .pinned import PinnedMaps
from .program_file import ProgramFile
from .snapshot import Attachment, Filter, RootArray


class Phase(enum.IntEnum):
    """When a step is taken. Of this order all programs' lives are."""

    PIN_AGAIN = enum.auto()
    # A compiler or a proof that fails leaves everything as it was.
    PROVE = enum.auto()
    TEST = enum.auto()
    # What the old program does just before the new one comes is what that one is measured by.
    WATCH = enum.auto()
    # What a run killed later may leave is known before it is there.
    INTEND = enum.auto()
    # The maps are full before the first packet. What goes makes room; counters are at zero before a key leads to them.
    CREATE = enum.auto()
    MIGRATE = enum.auto()
    FILL = enum.auto()
    EMPTY = enum.auto()
    ZERO = enum.auto()
    WRITE = enum.auto()
    MAKE_TABLES = enum.auto()
    ADDRESSES = enum.auto()
    # The new program is loaded before the old one goes, and goes where it is wanted before it leaves where it is not.
    LOAD = enum.auto()
    ANNOUNCE = enum.auto()
    MAKE_WAY = enum.auto()
    ATTACH = enum.auto()
    VERIFY = enum.auto()
    LEAVE = enum.auto()
    CLEAR_WAY = enum.auto()
    # Only what runs is the present program; what only the one before needed goes last.
    KEEP = enum.auto()
    DISCARD = enum.auto()
    SETTLE_TABLES = enum.auto()
    DROP = enum.auto()
    # Only what there is, is on record.
    CONCLUDE = enum.auto()
    FORGET = enum.auto()
    REMOVE = enum.auto()


@dataclass(frozen=True)
class PinAgain:
    """Pin maps again that the program has, and unpin what is in their place."""

    phase: t.ClassVar[Phase] = Phase.PIN_AGAIN
    found: PinnedMaps


@dataclass(frozen=True)
class Compile:
    """Compile the sources with these macros; `program`: which of those that take the same place, "" the usual one."""

    phase: t.ClassVar[Phase] = Phase.PROVE
    source_dir: str
    macros: Mapping[str, int]
    program: str = ""


@dataclass(frozen=True)
class TakeKept:
    """Use this bytecode, which an earlier run kept."""

    phase: t.ClassVar[Phase] = Phase.PROVE
    bytecode: Bytecode


@dataclass(frozen=True)
class Intend:
    """Write down what may be there from here on, so that a run after a kill knows it."""

    phase: t.ClassVar[Phase] = Phase.INTEND
    record: ProgramFile


@dataclass(frozen=True)
class CreateMaps:
    """Create these maps and pin them. `inner_flags`: more flags for the inner maps of maps of maps."""

    phase: t.ClassVar[Phase] = Phase.CREATE
    specs: tuple[MapSpec, ...]
    sizes: Mapping[str, int]
    inner_flags: int = 0


@dataclass(frozen=True)
class Fill:
    """Write what a map is to have once it is made: another module's entries, and no change of this one's."""

    phase: t.ClassVar[Phase] = Phase.FILL
    map: str
    entries: tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True)
class ChangeLoopback:
    """Give interface lo these addresses, take those away, and make others quiet that it has."""

    phase: t.ClassVar[Phase] = Phase.ADDRESSES
    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()
    settle: tuple[str, ...] = ()


@dataclass(frozen=True)
class DropMaps:
    """Unpin maps that no program needs."""

    phase: t.ClassVar[Phase] = Phase.DROP
    names: tuple[str, ...]


@dataclass(frozen=True)
class DeleteLate(Delete):
    """Remove keys only once what comes in their place is there, and the program that looks for it runs."""


@dataclass(frozen=True)
class Load:
    """Load the bytecode with these maps and pin it beside the present program.

    `previous`: take the pinned program before, where it uses the same maps.
    """

    phase: t.ClassVar[Phase] = Phase.LOAD
    maps: tuple[str, ...]
    previous: bool = False


@dataclass(frozen=True)
class Attach:
    """Run the program on an interface, in place of what is `there`; the kernel has one mode at a time on it.

    `fallback`: in generic mode where the interface does not support this one.
    """

    phase: t.ClassVar[Phase] = Phase.ATTACH
    interface: str
    mode: str
    there: Attachment | None = None
    fallback: bool = False


@dataclass(frozen=True)
class TakeSlot:
    """Run the program in a slot of root's array, in place of the one with the id `there`."""

    phase: t.ClassVar[Phase] = Phase.ATTACH
    slot: RootArray
    there: int | None = None


@dataclass(frozen=True)
class AddQdisc:
    """Give an interface its clsact."""

    phase: t.ClassVar[Phase] = Phase.MAKE_WAY
    interface: str
    index: int


@dataclass(frozen=True)
class PutFilter:
    """Run the program by tc: in this filter's place, or before every filter that is there."""

    phase: t.ClassVar[Phase] = Phase.ATTACH
    interface: str
    index: int
    place: Filter | None


@dataclass(frozen=True)
class RemoveFilter:
    """Take a filter of tc off an interface."""

    phase: t.ClassVar[Phase] = Phase.LEAVE
    interface: str
    index: int
    place: Filter


@dataclass(frozen=True)
class RemoveQdisc:
    """Take an interface's clsact away."""

    phase: t.ClassVar[Phase] = Phase.CLEAR_WAY
    interface: str
    index: int


@dataclass(frozen=True)
class Detach:
    """Take a program off its interface."""

    phase: t.ClassVar[Phase] = Phase.LEAVE
    there: Attachment


@dataclass(frozen=True)
class ClearSlot:
    """Take the program out of a slot of root's array."""

    phase: t.ClassVar[Phase] = Phase.LEAVE
    slot: RootArray


@dataclass(frozen=True)
class Keep:
    """What was loaded is the present program."""

    phase: t.ClassVar[Phase] = Phase.KEEP


@dataclass(frozen=True)
class Discard:
    """Unpin what a killed run loaded, and what never became the present program."""

    phase: t.ClassVar[Phase] = Phase.DISCARD


@dataclass(frozen=True)
class Conclude:
    """Write down what there is."""

    phase: t.ClassVar[Phase] = Phase.CONCLUDE
    record: ProgramFile


@dataclass(frozen=True)
class Remove:
    """Unpin the program and these maps, and remove these files of its state."""

    phase: t.ClassVar[Phase] = Phase.REMOVE
    maps: tuple[str, ...]
    files: tuple[str, ...]


class Step(t.Protocol):
    """One thing to do to a host; an operation on a map is one as well."""

    @property
    def phase(self) -> Phase: ...


AnyStep = t.Union[Step, Put, Delete, ZeroCounters]
_OPERATIONS: Mapping[type[t.Any], Phase] = {
    Put: Phase.WRITE,
    Delete: Phase.EMPTY,
    ZeroCounters: Phase.ZERO,
    DeleteLate: Phase.DROP,
}


def phase_of(step: AnyStep) -> Phase:
    """When a step is taken."""
    return _OPERATIONS[type(step)] if isinstance(step, (Put, Delete, ZeroCounters)) else step.phase


def changes_over(step: AnyStep) -> bool:
    """Whether a step is of those that are all taken or, where one fails, undone."""
    return Phase.LOAD <= phase_of(step) < Phase.KEEP


def in_order(steps: Iterable[AnyStep]) -> list[AnyStep]:
    """The steps in the order in which they are taken; those of one phase stay as they are."""
    return sorted(steps, key=phase_of)
