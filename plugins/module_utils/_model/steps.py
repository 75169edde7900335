# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of a program's life, and the order in which they are taken: of any program, whatever the run is about."""

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .bytecode import Bytecode
from .map_specs import MapSpec
from .operations import Delete, Put, ZeroCounters
from .program_file import ProgramFile
from .settings import RootArray
from .snapshot import Attachment, Filter


@dataclass(frozen=True)
class Compile:
    """Compile the sources with these macros."""

    source_dir: str
    macros: Mapping[str, int]


@dataclass(frozen=True)
class TakeKept:
    """Use this bytecode, which an earlier run kept."""

    bytecode: Bytecode


@dataclass(frozen=True)
class Intend:
    """Write down what may be there from here on, so that a run after a kill knows it."""

    record: ProgramFile


@dataclass(frozen=True)
class CreateMaps:
    """Create these maps and pin them."""

    specs: tuple[MapSpec, ...]
    sizes: Mapping[str, int]


@dataclass(frozen=True)
class Fill:
    """Write what a map is to have once it is made: another module's entries, and no change of this one's."""

    map: str
    entries: tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True)
class ChangeLoopback:
    """Give interface lo these addresses, and take those away."""

    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()


@dataclass(frozen=True)
class Load:
    """Load the bytecode with the pinned maps and pin it beside the present program."""

    maps: tuple[str, ...]


@dataclass(frozen=True)
class Attach:
    """Run the program on an interface, in place of what is `there`; the kernel has one mode at a time on it."""

    interface: str
    mode: str
    there: Attachment | None = None


@dataclass(frozen=True)
class TakeSlot:
    """Run the program in a slot of root's array, in place of the one with the id `there`."""

    slot: RootArray
    there: int | None = None


@dataclass(frozen=True)
class AddQdisc:
    """Give an interface its clsact."""

    interface: str
    index: int


@dataclass(frozen=True)
class PutFilter:
    """Run the program on what leaves an interface: in this filter's place, or before every filter that is there."""

    interface: str
    index: int
    place: Filter | None


@dataclass(frozen=True)
class RemoveFilter:
    """Take a filter off an interface."""

    interface: str
    index: int
    place: Filter


@dataclass(frozen=True)
class RemoveQdisc:
    """Take an interface's clsact away."""

    interface: str
    index: int


@dataclass(frozen=True)
class Detach:
    """Take a program off its interface."""

    there: Attachment


@dataclass(frozen=True)
class ClearSlot:
    """Take the program out of a slot of root's array."""

    slot: RootArray


@dataclass(frozen=True)
class Keep:
    """What was loaded is the present program."""


@dataclass(frozen=True)
class Discard:
    """Unpin what a killed run loaded, and what never became the present program."""


@dataclass(frozen=True)
class Conclude:
    """Write down what there is."""

    record: ProgramFile


@dataclass(frozen=True)
class Remove:
    """Unpin the program and these maps, and remove these files of its state."""

    maps: tuple[str, ...]
    files: tuple[str, ...]


Step = t.Union[
    Compile,
    TakeKept,
    Intend,
    CreateMaps,
    Fill,
    Put,
    Delete,
    ZeroCounters,
    ChangeLoopback,
    Load,
    Attach,
    TakeSlot,
    AddQdisc,
    PutFilter,
    RemoveFilter,
    RemoveQdisc,
    Detach,
    ClearSlot,
    Keep,
    Discard,
    Conclude,
    Remove,
]

LIFE: tuple[type[t.Any], ...] = (
    # A compiler that fails leaves everything as it was.
    *(Compile, TakeKept),
    # What a run killed later may leave is known before it is there.
    Intend,
    # The maps are full before the first packet. What goes makes room; counters are at zero before a key leads to them.
    *(CreateMaps, Fill, Delete, ZeroCounters, Put),
    ChangeLoopback,
    # The new program is loaded before the old one goes, and goes where it is wanted before it leaves where it is not.
    *(Load, Attach, TakeSlot, AddQdisc, PutFilter, Detach, ClearSlot, RemoveFilter, RemoveQdisc),
    # Only what runs is the present program, and only what there is, is on record.
    *(Keep, Discard, Conclude),
    Remove,
)
"""The order of the steps."""

CHANGE_OVER = (Load, Attach, TakeSlot, Detach, ClearSlot)
"""The steps that are all taken or, where one fails, undone."""

_RANKS = {kind: rank for rank, kind in enumerate(LIFE)}


def in_order(steps: Iterable[Step]) -> list[Step]:
    """The steps in the order of life; those of one kind stay as they are."""
    return sorted(steps, key=lambda step: _RANKS[type(step)])
