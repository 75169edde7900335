# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Server ids in TCP options: what is wanted of program server_id_option, what is there, and the steps between them."""

from __future__ import annotations

import typing as t
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from . import layout
from .errors import ProgramError
from .map_specs import ARRAY, LRU_HASH, PERCPU_ARRAY, MapSpec
from .operations import Put
from .program_plan import Kind, ProgramPlan, plan_oblivion, plan_program
from .server_id_record import (
    COUNTED,
    COUNTERS,
    LISTENERS,
    OWN,
    PROGRAM,
    SOCKETS,
    ServerIdKept,
    ServerIdRecord,
)
from .server_id_settings import ServerIdSettings
from .snapshot import Missing, ProgramSnapshot
from .steps import Conclude, Intend, Phase
from .unit_names import drop_in_text, is_service

_MOST_LISTENERS = 4096
_WORDS = ("server id", "fallback id")
"""What the entries of the map of own ids are called."""


def server_id_specs(entries: int) -> tuple[MapSpec, ...]:
    """The program's maps. `entries`: connections of clients."""
    return (
        MapSpec(OWN, ARRAY, 4, 4, lambda _sizes: len(_WORDS)),
        MapSpec(SOCKETS, LRU_HASH, 8, 4, lambda _sizes: entries),
        MapSpec(LISTENERS, LRU_HASH, 8, 4, lambda _sizes: _MOST_LISTENERS),
        MapSpec(COUNTERS, PERCPU_ARRAY, 4, 8 * len(COUNTED), lambda _sizes: 1),
    )


@dataclass(frozen=True)
class UnitPlace:
    """A unit as it is. `group`: the path of its control group of version 2, "" where it has none now.

    `programs`: ids of the sock_ops programs in that very group; `blocked`: the group, this one or one above, whose
    program allows no second one. `drop_in`: the text of ours, None where there is none; `unread`: systemd has not read
    its files as they are. `listeners`: cookie of a TCP socket that listens in the group or one below → its port.
    `sockets`: units whose sockets systemd opens for it.
    """

    known: bool = True
    group: str = ""
    programs: tuple[int, ...] = ()
    blocked: str = ""
    drop_in: str | None = None
    unread: bool = False
    listeners: Mapping[int, int] = field(default_factory=dict)
    sockets: tuple[str, ...] = ()


@dataclass(frozen=True)
class ServerIdSnapshot(ProgramSnapshot):
    """What there is of the program. `places`: unit → what it is; `ids`: own and fallback id as the map has them.

    `named`: cookies of sockets that began to listen under the program.
    """

    places: Mapping[str, UnitPlace] | Missing = field(default_factory=dict)
    ids: tuple[int, int] = (0, 0)
    named: frozenset[int] = frozenset()

    def units(self) -> Mapping[str, UnitPlace]:
        """Units, as far as they could be read."""
        return {} if isinstance(self.places, Missing) else self.places

    def mine(self, record: ServerIdRecord) -> frozenset[int]:
        """The ids of programs that are this one, in whatever group."""
        placed = [number for name in record.units if name in self.units() for number in self.units()[name].programs]
        return self.owned(record.tag, placed)


@dataclass
class ServerIdPlan(ProgramPlan):
    """`to_restart`: services that listen since before they had an id, and name nobody until they are restarted."""

    to_restart: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class ResizeMap:
    """Make a pinned map anew with the entries that it has, as far as they go in."""

    phase: t.ClassVar[Phase] = Phase.CREATE
    spec: MapSpec


@dataclass(frozen=True)
class AttachGroup:
    """Run the program on the sockets of a unit's group, in place of the one with the id `there`."""

    phase: t.ClassVar[Phase] = Phase.ATTACH
    unit: str
    group: str
    there: int | None = None


@dataclass(frozen=True)
class DetachGroup:
    """Take a program off a unit's group."""

    phase: t.ClassVar[Phase] = Phase.LEAVE
    unit: str
    group: str
    there: int


@dataclass(frozen=True)
class PutDropIn:
    """Write the drop-in of a unit, "" to remove it."""

    phase: t.ClassVar[Phase] = Phase.DISCARD
    unit: str
    text: str


@dataclass(frozen=True)
class ReadUnits:
    """Have systemd read its units."""

    phase: t.ClassVar[Phase] = Phase.SETTLE_TABLES


@dataclass(frozen=True)
class RestartUnit:
    """Start a unit anew, once all else is there and on record."""

    phase: t.ClassVar[Phase] = Phase.FORGET
    unit: str


def plan_server_id(
    settings: ServerIdSettings, instance: str, record: ServerIdRecord, seen: ServerIdSnapshot
) -> ServerIdPlan:
    """Bring the program to where the settings want it. ProgramError says why that cannot be."""
    plan = ServerIdPlan()
    boot = not settings.source_dir
    plan.need(seen.bpffs, seen.digest, seen.places)
    units = _present(plan, settings.units, seen, boot)
    specs = server_id_specs(settings.entries)
    kind = Kind(PROGRAM, specs, settings.source_dir, {})
    current = plan_program(plan, kind, _sized(plan, specs, seen), record.source_digest)
    mine = seen.mine(record)
    for name in units:
        _plan_attached(plan, name, seen.units()[name], mine, current)
    for name in sorted(set(seen.units()) - set(settings.units)):
        _plan_left(plan, name, seen.units()[name], mine)
    if not boot:
        # What the files of units say outlives a boot, and what brings programs back may not write them.
        for name, place in seen.units().items():
            wanted = name in units and is_service(name)
            _plan_drop_in(plan, name, drop_in_text(instance) if wanted else "", place)
        _plan_reading(plan, seen)
    plan.before = {"units": _attached_to(seen, mine), "id": seen.ids[0], "fallback_id": seen.ids[1]}
    plan.after = {"units": list(units), "id": settings.server_id, "fallback_id": settings.fallback_id}
    _plan_ids(plan, seen.ids, (settings.server_id, settings.fallback_id))
    _tell(plan, settings, units, seen)
    _plan_record(plan, settings, record)
    return plan


def _present(plan: ProgramPlan, wanted: Sequence[str], seen: ServerIdSnapshot, boot: bool) -> list[str]:
    """Those of the units that systemd knows. One that a boot has to do without is no reason to leave the others.

    ProgramError where any other run would have to, and where one unit is in another.
    """
    there = seen.units()
    unknown = [f"unit {name} does not exist on this host" for name in wanted if name in there and not there[name].known]
    if unknown and not boot:
        raise ProgramError("; ".join(unknown))
    plan.missing += unknown
    found = [name for name in wanted if name in there and there[name].known]
    for outer in found:
        for inner in found:
            if there[outer].group and there[inner].group.startswith(f"{there[outer].group.rstrip('/')}/"):
                raise ProgramError(f"units: {inner} is in {outer}, which has the program for both: leave {inner} out")
    return found


def _sized(plan: ProgramPlan, specs: Sequence[MapSpec], seen: ServerIdSnapshot) -> ProgramSnapshot:
    """The snapshot with a map in place of one that has another size: the next program takes that."""
    there = seen.maps.get(SOCKETS)
    spec = next(spec for spec in specs if spec.name == SOCKETS)
    if there is None or there.entries == spec.entries({}):
        return seen
    plan.add(ResizeMap(spec), f"room for {there.entries} → {spec.entries({})} connections of clients")
    return replace(seen, maps={**seen.maps, SOCKETS: replace(there, id=-1)})


def _plan_attached(plan: ProgramPlan, name: str, place: UnitPlace, mine: Collection[int], current: int | None) -> None:
    ours = [number for number in place.programs if number in mine]
    if not place.group or (ours == [current] and current is not None):
        return
    if not ours and place.blocked:
        raise ProgramError(
            f"unit {name}: {place.blocked} has a sock_ops program that is not ours and allows no second one"
            f" (bpftool cgroup show {place.blocked}); attach that one with flag multi, or take it off"
        )
    keep = current if current in ours else None
    if keep is None:
        # The first one's place in the order stays.
        keep = ours[0] if ours else None
        plan.add(AttachGroup(name, place.group, keep), f"attach {PROGRAM} to {name}")
    for number in ours:
        if number != keep:
            plan.add(DetachGroup(name, place.group, number), f"detach a second {PROGRAM} from {name}")


def _plan_left(plan: ProgramPlan, name: str, place: UnitPlace, mine: Collection[int]) -> None:
    for number in place.programs:
        if number in mine:
            plan.add(DetachGroup(name, place.group, number), f"detach {PROGRAM} from {name}")


def _plan_drop_in(plan: ProgramPlan, name: str, text: str, place: UnitPlace) -> None:
    if text and place.drop_in != text:
        again = "again " if place.drop_in is not None else ""
        plan.add(PutDropIn(name, text), f"say {again}that {name} attaches {PROGRAM} whenever it starts")
    elif not text and place.drop_in is not None:
        plan.add(PutDropIn(name, ""), f"say no more that {name} attaches {PROGRAM} whenever it starts")


def _plan_reading(plan: ProgramPlan, seen: ServerIdSnapshot) -> None:
    if plan.of(PutDropIn) or any(place.unread for place in seen.units().values()):
        plan.add(ReadUnits(), "have systemd read its units")


def _attached_to(seen: ServerIdSnapshot, mine: Collection[int]) -> list[str]:
    return sorted(name for name, place in seen.units().items() if not frozenset(mine).isdisjoint(place.programs))


def _plan_ids(plan: ProgramPlan, there: tuple[int, int], wanted: tuple[int, int]) -> None:
    changed = [index for index in range(len(_WORDS)) if there[index] != wanted[index]]
    if changed:
        entries = tuple((layout.u32(index), layout.u32(wanted[index])) for index in changed)
        plan.add(Put(OWN, entries), *(f"{_WORDS[index]} {there[index]} → {wanted[index]}" for index in changed))


def _tell(plan: ServerIdPlan, settings: ServerIdSettings, units: Sequence[str], seen: ServerIdSnapshot) -> None:
    """Start services anew whose sockets are older than the program, or say which they are."""
    for name in units:
        place = seen.units()[name]
        if not place.group and not is_service(name):
            plan.warnings.append(
                f"{name} has no processes, and so no control group: the next run attaches the program once it has"
            )
        if not settings.names:
            continue
        for each in place.sockets:
            plan.warnings.append(
                f"{name} has sockets of {each}, which systemd opens itself: connections to these carry no id"
            )
        ports = sorted({port for cookie, port in place.listeners.items() if cookie not in seen.named})
        if not ports:
            continue
        listens = f"{name} listens already (TCP port{'s' if len(ports) > 1 else ''} {', '.join(map(str, ports))})"
        if settings.restart and is_service(name):
            plan.add(RestartUnit(name), f"restart {name}: it listens since before the program")
        elif is_service(name):
            plan.to_restart.append(name)
            plan.warnings.append(
                f"{listens}: its connections carry the id after it is restarted (systemctl restart {name}, or restart:"
                " true)"
            )
        else:
            plan.warnings.append(f"{listens}: these connections carry the id after the services in it are restarted")


def _plan_record(plan: ProgramPlan, settings: ServerIdSettings, record: ServerIdRecord) -> None:
    """Before anything changes, what may be there should the run be killed; at the end, what is."""
    before = record.settings
    source_dir = settings.source_dir or (before.source_dir if before else "")
    kept = ServerIdKept(settings.server_id, settings.fallback_id, settings.entries, source_dir)
    wanted = list(settings.units)
    begun = replace(record, units=sorted({*record.units, *wanted}))
    ended = replace(record, units=sorted(wanted), wanted=wanted, settings=kept)
    if begun != record:
        plan.add(Intend(begun))
    if any(not isinstance(step, (RestartUnit, Intend)) for step in plan.steps) or ended != record:
        plan.add(Conclude(ended))


def plan_removal(record: ServerIdRecord, seen: ServerIdSnapshot, files: Collection[str]) -> ServerIdPlan:
    """Take the program off the host: out of every group, drop-ins, pins, state."""
    plan = ServerIdPlan()
    if record.units:
        plan.need(seen.places)
    mine = seen.mine(record)
    for name, place in seen.units().items():
        _plan_left(plan, name, place, mine)
        _plan_drop_in(plan, name, "", place)
    _plan_reading(plan, seen)
    plan_oblivion(plan, PROGRAM, seen, files)
    return plan
