# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""By what a real strips tunnels: our program by XDP or at tc ingress, or the kernel's tunnel devices. Pure: no I/O."""

from __future__ import annotations

import typing as t
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from .bytecode import Bytecode
from .decap_record import AUTO, KERNEL, TC, XDP, DecapRecord
from .snapshot import CLSACT, Attachment, EgressPlace, Filter, Missing
from .steps import AddQdisc, PutFilter, RemoveFilter, RemoveQdisc

if t.TYPE_CHECKING:
    from .decap_settings import RealSettings
    from .program_plan import ProgramPlan

PROGRAMS = {XDP: "decap", TC: "decap_tc", KERNEL: "decap_tunnel"}
"""Way → the program that it takes: behind the kernel's devices, one that looks at what they stripped."""

_MACROS = {XDP: {}, TC: {"BY_TC": 1}, KERNEL: {"BEHIND_TUNNEL": 1}}
_SETTINGS = {XDP: "", TC: "tc ingress", KERNEL: "behind the kernel's tunnel devices"}


@dataclass(frozen=True)
class Way:
    """By what tunnels are stripped, XDP, TC or KERNEL, and why by that."""

    how: str = XDP
    why: str = ""

    @property
    def program(self) -> str:
        """The program that it takes, "" for the usual one."""
        return "" if self.how == XDP else PROGRAMS[self.how]

    @property
    def settings(self) -> str:
        """What the line about the program's compilation says of it."""
        return _SETTINGS[self.how]

    def macros(self) -> dict[str, int]:
        """The integer macros that are compiled in for it."""
        return dict(_MACROS[self.how])


BY_XDP = Way()


@dataclass(frozen=True)
class Taken:
    """What there is that a way depends on.

    `attached`: what XDP runs where; `ours`: the ids of this program, and of others of ours; `kept`: the bytecode of
    the last run; `refused`: why the driver would not have the program, where it was tried, else "".
    """

    attached: Mapping[str, Attachment]
    ours: Collection[int]
    kept: Bytecode | Missing
    refused: str = ""


def choose_way(settings: RealSettings | None, record: DecapRecord, taken: Taken) -> Way:
    """By what tunnels are to be stripped."""
    before = Way(record.way or XDP, record.why)
    if settings is None or not settings.attach:
        return before
    if not settings.source_dir:
        # A boot has no compiler: the bytecode that was kept says where it can run.
        name = taken.kept.program if isinstance(taken.kept, Bytecode) else PROGRAMS[before.how]
        found = next(how for how, program in PROGRAMS.items() if program == name)
        return before if found == before.how else Way(found, before.why)
    if settings.how != AUTO:
        return Way(settings.how, "the setting how says so")
    if taken.refused:
        return Way(TC, taken.refused)
    if before.how == TC and _was_auto(record) and set(settings.interfaces) == set(record.interfaces):
        # Who left the place for a moment, such as a program that is restarted, finds it free again.
        return before
    for name in settings.interfaces:
        found_there = taken.attached.get(name)
        if found_there is not None and found_there.program_id not in taken.ours:
            return Way(TC, f"interface {name} has an XDP program that is not ours (id {found_there.program_id})")
    return Way(XDP, "no other program has the interfaces")


def _was_auto(record: DecapRecord) -> bool:
    return record.settings is not None and record.settings.how == AUTO


@dataclass(frozen=True)
class WaysIn:
    """Filters on interfaces' ingress. `places`: interface → its way in; `ours`: the ids of programs that are ours."""

    places: Mapping[str, EgressPlace]
    ours: Collection[int]

    def filters(self, name: str) -> list[Filter]:
        """Those on an interface that are ours."""
        place = self.places.get(name)
        return [each for each in place.filters if each.program_id in self.ours] if place else []


def plan_filters(plan: ProgramPlan, wanted: Sequence[str], ways: WaysIn, current: int | None) -> set[str]:
    """Our program at the ingress of these interfaces; returns those to which a qdisc is added.

    `current`: the id of the program that is to run, None where it is yet to be loaded.
    """
    added = set()
    for name in wanted:
        place, filters = ways.places.get(name, EgressPlace(0, None)), ways.filters(name)
        if current is None or [each.program_id for each in filters] != [current]:
            if place.qdisc is None:
                added.add(name)
                plan.add(AddQdisc(name, place.index), f"add the qdisc {CLSACT} to {name}")
            step = PutFilter(name, place.index, filters[0] if filters else None)
            plan.add(step, f"attach decap to the ingress of {name}")
            for surplus in filters[1:]:
                plan.add(RemoveFilter(name, place.index, surplus))
    return added


def plan_leaving(plan: ProgramPlan, staying: Collection[str], ways: WaysIn, qdiscs: Collection[str]) -> None:
    """Take our program off the ingress of all interfaces but these, and of `qdiscs` clsact where it is left empty."""
    for name, place in sorted(ways.places.items()):
        if name in staying:
            continue
        filters = ways.filters(name)
        for each in filters:
            plan.add(RemoveFilter(name, place.index, each), f"detach decap from the ingress of {name}")
        if name in qdiscs and place.qdisc == CLSACT and not place.others(filters):
            plan.add(RemoveQdisc(name, place.index), f"remove the qdisc {CLSACT} from {name}")
