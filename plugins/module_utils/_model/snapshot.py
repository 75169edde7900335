# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What there is of a program on a host, read once: what a plan is made from.

What cannot be read is a value like any other. Whether that matters, the run decides: a review of a fresh host passes
over what the role would install.
"""

from __future__ import annotations

import typing as t
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from .bytecode import Bytecode
from .map_specs import MapSpec


@dataclass(frozen=True)
class Missing:
    """What a run needs and the host does not have, in a sentence; `review`: what a review says of it, if anything."""

    sentence: str
    review: str = ""


@dataclass(frozen=True)
class Fault:
    """Why there is no answer, though the host can tell: in a review as well as in a run."""

    sentence: str


PYROUTE2 = Missing("the Python module pyroute2 is missing on this host (Debian and Ubuntu: package python3-pyroute2)")


NO_BYTECODE = Missing("there is no bytecode")


@dataclass(frozen=True)
class MapInfo:
    """What the kernel says of a map; sizes in bytes, `entries` its capacity."""

    type: int
    id: int
    key_size: int
    value_size: int
    entries: int
    flags: int
    name: str


def fits(spec: MapSpec, info: MapInfo, sizes: Mapping[str, int]) -> bool:
    """Whether a map that exists is the one that is wanted."""
    there = (info.type, info.key_size, info.value_size, info.entries, info.flags)
    return there == (spec.type, spec.key_size, spec.value_size, spec.entries(sizes), spec.flags)


@dataclass(frozen=True)
class ProgramInfo:
    """What the kernel says of a program: instructions after rewriting, and those the verifier processed."""

    type: int
    id: int
    tag: str
    instructions: int
    verified_instructions: int
    map_ids: tuple[int, ...]
    name: str


@dataclass(frozen=True)
class Attachment:
    """The XDP program on an interface: its kernel-wide id and mode native, generic, offload or multi."""

    interface: str
    index: int
    program_id: int
    mode: str


class Filter(t.NamedTuple):
    """A bpf filter on egress: what names it to the kernel, and the program that it runs."""

    priority: int
    handle: int
    program_id: int
    name: str


class RootArray(t.NamedTuple):
    """Shared mode: the path of the root program's pinned array, and the slot to take, 0 to 2."""

    path: str
    position: int


CLSACT = "clsact"


@dataclass(frozen=True)
class EgressPlace:
    """The way out of an interface, or in: its number and MAC (None: it has none), and what filters packets there.

    `qdisc`: the kind of the qdisc that takes filters, clsact or ingress, None where there is none. `filters`: those of
    bpf on egress, in the order in which packets meet them. `entries`: (priority, handle) of all on egress, and
    priorities themselves with handle 0. `ingress`: whether there is any on the other way. Of a way in, read egress as
    ingress.
    """

    index: int
    mac: str | None
    qdisc: str | None = None
    filters: tuple[Filter, ...] = ()
    entries: frozenset[tuple[int, int]] = frozenset()
    ingress: bool = False

    def others(self, ours: Collection[Filter]) -> bool:
        """Whether there are filters in either direction, of any kind, besides these on egress."""
        mine = {(each.priority, each.handle) for each in ours} | {(each.priority, 0) for each in ours}
        return self.ingress or not self.entries <= mine


@dataclass(frozen=True)
class GatewayAnswer:
    """What the default routes over some interfaces lead to. `hops`: next hops, best first.

    `mac`: that of the first whose MAC is known; "" where there is none, or where interfaces have gateways of different
    ones (`differs`), and `sentence` says why. `warnings`: what to know of it. `written`: the neighbour entry that
    somebody wrote and the gateway contradicts, as ip neigh takes it.
    """

    interfaces: tuple[str, ...]
    hops: tuple[t.Any, ...] = ()
    mac: str = ""
    sentence: str = ""
    warnings: tuple[str, ...] = ()
    differs: bool = False
    written: str = ""

    def upheld(self, earlier: GatewayAnswer | None) -> GatewayAnswer:
        """This answer, or where it has no MAC, that of an earlier one to the same question."""
        same = earlier is not None and (earlier.interfaces, earlier.hops) == (self.interfaces, self.hops)
        return earlier if same and earlier is not None and not (self.mac or self.differs) else self


class Resident(t.NamedTuple):
    """A program of ours, though not the one in question: its kind, as its pin is called, and its instance."""

    program: str
    instance: str


class OnRecord(t.Protocol):
    """What the last run wrote down of a program: its tag, and the interfaces where it is or may be."""

    @property
    def tag(self) -> str | None: ...
    @property
    def interfaces(self) -> Collection[str]: ...


@dataclass(frozen=True)
class ProgramSnapshot:
    """What there is of a program and its maps.

    `absent`: interfaces that were asked for and do not exist. `maps`, `lost`, `strays`: as in PinnedMaps. `current`:
    the pinned program, if it is the one on record; else `impostor` says what is pinned in its place. `pins`: the ids of
    all that are pinned under one of its names. `attached`: interface → what XDP runs there. `running`: id → what the
    kernel says of the programs where this one may run. `elsewhere`: those of them that are pinned by another instance.
    `residents`: those that are other programs of ours. `digest`: of what a compile would take, None where the kept
    bytecode is to be used. `kept`: the bytecode of the last run. `directory`: where the pins are.
    """

    bpffs: Missing | None = None
    absent: Collection[str] = ()
    maps: Mapping[str, MapInfo] = field(default_factory=dict)
    lost: Mapping[str, int] = field(default_factory=dict)
    strays: Mapping[str, str] = field(default_factory=dict)
    current: ProgramInfo | None = None
    impostor: str = ""
    pins: frozenset[int] = frozenset()
    attached: Mapping[str, Attachment] | Missing = field(default_factory=dict)
    running: Mapping[int, ProgramInfo] = field(default_factory=dict)
    elsewhere: frozenset[int] = frozenset()
    residents: Mapping[int, Resident] = field(default_factory=dict)
    digest: str | Missing | None = None
    kept: Bytecode | Missing = NO_BYTECODE
    directory: str = ""

    @property
    def attachments(self) -> Mapping[str, Attachment]:
        """What XDP runs where, as far as it could be read."""
        return {} if isinstance(self.attached, Missing) else self.attached

    def at(self, interfaces: Iterable[str]) -> list[int]:
        """The ids of the programs that XDP runs on these interfaces."""
        there = self.attachments
        return [there[name].program_id for name in interfaces if name in there]

    def ours(self, record: OnRecord) -> frozenset[int]:
        """The ids of programs that are this one, wherever XDP runs them."""
        return self.owned(record.tag, self.at(record.interfaces))

    def owned(self, tag: str | None, on_record: Iterable[int]) -> frozenset[int]:
        """The ids of programs that are this one, also older copies of it.

        They are if they are pinned here or use the maps that are. A tag says little, as another instance's program with
        the same settings has the same. It counts where the program was, whose pins went with its bpffs, and no other
        instance has it. `tag`: that of the last run; `on_record`: what runs where that run left the program.
        """
        mine = {info.id for info in self.maps.values()}
        found = {number for number, info in self.running.items() if not mine.isdisjoint(info.map_ids)}
        lost = {number for number in on_record if tag and number in self.running and self.running[number].tag == tag}
        return self.pins | found | (lost - self.elsewhere)
