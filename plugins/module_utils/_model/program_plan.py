# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run does to a program, and what every program's plan has in common: maps, bytecode, interfaces."""

from __future__ import annotations

import typing as t
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from .bytecode import Bytecode
from .errors import ProgramError
from .map_specs import MapSpec
from .operations import Delete, Put, ZeroCounters, count
from .options import no_interface
from .pinned import PinnedMaps
from .snapshot import Attachment, Missing, OnRecord, ProgramSnapshot, Resident
from .steps import (
    AnyStep,
    Attach,
    Compile,
    CreateMaps,
    Detach,
    Discard,
    Keep,
    Load,
    PinAgain,
    Remove,
    TakeKept,
    in_order,
)


@dataclass
class ProgramPlan:
    """Steps, one line each for what they change, and what the host lacks that they need.

    `missing`: what a boot has to do without. `before`, `after`: the settings, for the difference.
    """

    steps: list[AnyStep] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    lacks: list[Missing] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    before: t.Any = field(default_factory=dict)
    after: t.Any = field(default_factory=dict)

    def add(self, step: AnyStep, *lines: str) -> None:
        """One more step, and what it changes."""
        self.steps.append(step)
        self.changes += lines

    def need(self, *values: object) -> None:
        """Note which of these could not be read."""
        self.lacks += [value for value in values if isinstance(value, Missing)]

    def of(self, *kinds: type[t.Any]) -> list[t.Any]:
        """The steps of these kinds."""
        return [step for step in self.steps if isinstance(step, kinds)]

    def ordered(self) -> list[AnyStep]:
        """The steps in the order in which they are taken."""
        return in_order(self.steps)

    @property
    def operations(self) -> dict[str, int]:
        """Map → entries written."""
        return count(self.of(Put, Delete, ZeroCounters))

    def require(self) -> None:
        """ProgramError where the host lacks something."""
        for lack in self.lacks:
            raise ProgramError(lack.sentence)

    def reviewed(self) -> list[str]:
        """The warnings of a review."""
        return [*(lack.review for lack in self.lacks if lack.review), *self.warnings]


def plan_map_pins(plan: ProgramPlan, seen: ProgramSnapshot) -> None:
    """Pin the program's own maps again where something else or nothing is."""
    found = PinnedMaps(seen.maps, seen.lost, seen.strays)
    if found.astray:
        plan.add(PinAgain(found), *found.lines(f"{seen.directory}/maps"))


def plan_pins(plan: ProgramPlan, seen: ProgramSnapshot) -> None:
    """The same, and say what is not the program."""
    plan_map_pins(plan, seen)
    if seen.impostor:
        plan.changes.append(seen.impostor)


def require_interfaces(seen: ProgramSnapshot) -> None:
    """ProgramError where the host has no such interface."""
    for name in seen.absent:
        raise ProgramError(no_interface(name))


def present(plan: ProgramPlan, wanted: Collection[str], seen: ProgramSnapshot, boot: bool) -> list[str]:
    """Those of the interfaces that the host has. One that a boot has to do without is no reason to leave the others.

    ProgramError where any other run would have to.
    """
    if not boot:
        require_interfaces(seen)
    plan.missing += [no_interface(name) for name in wanted if name in seen.absent]
    return [name for name in wanted if name not in seen.absent]


@dataclass(frozen=True)
class Kind:
    """One of the programs beside the balancer. `settings`: what the line about its compilation says of them.

    `program`: which of those that take the same place, "" the one of that name.
    """

    name: str
    specs: Sequence[MapSpec]
    source_dir: str
    macros: Mapping[str, int]
    settings: str = ""
    program: str = ""


def plan_program(plan: ProgramPlan, kind: Kind, seen: ProgramSnapshot, digest: str | None) -> int | None:
    """Its maps and bytecode; returns the id of the program that is to run, None where it is yet to be loaded.

    `digest`: that of the last run.
    """
    plan_pins(plan, seen)
    create = [spec for spec in kind.specs if spec.name not in seen.maps]
    if create:
        plan.add(CreateMaps(tuple(create), {}), f"create {len(create)} map{'s' if len(create) > 1 else ''}")
    wanted = digest if seen.digest is None else seen.digest
    kept = kept_bytecode(seen.kept, wanted, digest)
    if kept is None and seen.digest is None:
        plan.need(seen.kept)
    if kept is None:
        settings = f" ({kind.settings})" if kind.settings else ""
        plan.add(Compile(kind.source_dir, kind.macros, kind.program), f"compile the program {kind.name}{settings}")
    if kept is not None and seen.current is not None and not create and uses_maps(seen, kept):
        if seen.pins != {seen.current.id}:
            plan.add(Discard())
        return seen.current.id
    if kept is not None:
        plan.add(TakeKept(kept))
    plan.add(Load(tuple(spec.name for spec in kind.specs)), f"load the program {kind.name}")
    plan.add(Keep())
    return None


def uses_maps(seen: ProgramSnapshot, kept: Bytecode) -> bool:
    """Whether the pinned program uses the pinned maps: a run that made some of them may have got no further."""
    ids = [seen.maps[name].id if name in seen.maps else 0 for name in kept.maps]
    return seen.current is not None and set(ids) <= set(seen.current.map_ids)


def kept_bytecode(kept: Bytecode | Missing, wanted: str | Missing | None, digest: str | None) -> Bytecode | None:
    """The kept bytecode, where it is what a compile would make."""
    return kept if isinstance(kept, Bytecode) and wanted is not None and wanted == digest else None


@dataclass(frozen=True)
class Places:
    """Where a program is to run by XDP, and in which mode. `program`: what the lines call it.

    `foreign`: what to do about another's program, None to replace it. `settled`: interfaces whose present mode stays.
    `fallback`: in generic mode where the interface does not support this one. `residents`: id → which other program of
    ours it is. `takes_over`: those of them that may be replaced; `way_out`: what to do about others, by their name.
    `boot`: an interface that is taken is no reason to leave the others.
    """

    interfaces: Sequence[str]
    mode: str
    program: str = ""
    foreign: str | None = "detach it first"
    settled: Collection[str] = ()
    fallback: bool = False
    residents: Mapping[int, Resident] = field(default_factory=dict)
    takes_over: Collection[str] = ()
    way_out: Mapping[str, str] = field(default_factory=dict)
    boot: bool = False


def _require_way(places: Places, found: Attachment) -> None:
    """ProgramError where this program may not take the place of that which is there."""
    resident = places.residents.get(found.program_id)
    if resident is not None and resident.program not in places.takes_over:
        usual = f"detach it first (module {_DETACHING[resident.program]})"
        raise ProgramError(
            f"interface {found.interface} already has our program {resident.program} of instance {resident.instance}; "
            + places.way_out.get(resident.program, usual)
        )
    if resident is None and places.foreign is not None:
        raise ProgramError(
            f"interface {found.interface} already has an XDP program that is not ours (id {found.program_id}); "
            + places.foreign
        )


_DETACHING = {
    "balancer": "balancer, state: loaded",
    "decap": "decap, state: absent",
    "root": "xdp_root, state: absent",
}


def plan_interfaces(
    plan: ProgramPlan, places: Places, there: Mapping[str, Attachment], ours: Collection[int], current: int | None
) -> None:
    """Attach and detach; ProgramError where another's program is in the way.

    `ours`: the ids of programs that are this one; `current`: that which is to run, None where it is yet to be loaded.
    """
    who = f"{places.program} " if places.program else ""
    attach: list[Attach] = []
    for name in places.interfaces:
        found = there.get(name)
        mode = found.mode if found is not None and name in places.settled else places.mode
        if found is not None and found.program_id not in ours:
            try:
                _require_way(places, found)
            except ProgramError as error:
                if not places.boot:
                    raise
                plan.missing.append(str(error))
                continue
        if found is None or found.program_id != current or found.mode != mode:
            attach.append(Attach(name, mode, found, places.fallback and mode == places.mode))
    gone = [each for each in there.values() if each.program_id in ours and each.interface not in places.interfaces]
    for step in attach:
        plan.add(step, f"attach {who}to {step.interface} in {step.mode} mode")
    if who:
        changed = [step.there for step in attach if step.there is not None and step.there.mode != step.mode]
        plan.changes += [f"detach {who}from {each.interface}" for each in changed]
    for each in gone:
        plan.add(Detach(each), f"detach {who}from {each.interface}")


def moved(name: str, program: str) -> str:
    """What is said of a program's interface that is not there when the program is removed."""
    return (
        f"{no_interface(name)}: where it moved to another network namespace, program {program} may still run there (ip"
        f" -n NAMESPACE link set {name} xdp off)"
    )


def plan_absence(
    plan: ProgramPlan, program: str, seen: ProgramSnapshot, record: OnRecord, files: Collection[str]
) -> None:
    """Detach, unpin and forget a program. `files`: those of the instance's state that there are."""
    if record.interfaces or seen.pins or seen.maps:
        plan.need(seen.attached)
    ours = seen.ours(record)
    for each in seen.attachments.values():
        if each.program_id in ours:
            plan.add(Detach(each), f"detach {program} from {each.interface}")
    plan.warnings += [moved(name, program) for name in record.interfaces if name in seen.absent]
    plan_oblivion(plan, program, seen, files)


def plan_oblivion(
    plan: ProgramPlan,
    program: str,
    seen: ProgramSnapshot,
    files: Collection[str],
    more: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Unpin and forget a program that runs nowhere. `more`: further file of its state → the line about its end."""
    if seen.pins or seen.maps or seen.strays:
        plan.changes.append(f"remove the maps and program of {program} pinned in {seen.directory}")
    if f"{program}.json" in files:
        plan.changes.append(f"remove the state of {program}")
    plan.changes += [line for name, line in more.items() if name in files]
    # Also where there is nothing to say: a killed run may have left a folder.
    plan.add(Remove((*seen.maps, *seen.strays), (f"{program}.json", f"{program}.bytecode.json", *more)))
