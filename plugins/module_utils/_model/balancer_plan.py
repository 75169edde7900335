# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A balancer's program: what is wanted of it, what is there, and the steps between them.

What the next program needs is prepared beside what the present one has, then the interfaces change over, then the pins
change names.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from . import layout
from .balancer_snapshot import BalancerSnapshot
from .balancer_steps import (
    Announce,
    ConcludeState,
    ForgetPrevious,
    IndexVips,
    MigrateMaps,
    Prove,
    RememberPlaces,
    Verify,
    Watch,
)
from .bytecode import Bytecode
from .errors import NetworkError, ProgramError
from .flow_table_plan import numa_flag, plan_tables
from .link_mtu import link_faults
from .lru_history import learners, may_be_known
from .map_specs import BALANCER_SOURCES, VIP_INDEX, MapSpec, balancer_maps, index_slots
from .operations import Put
from .pinned import PinnedMaps
from .program_plan import (
    Places,
    ProgramPlan,
    kept_bytecode,
    moved,
    plan_interfaces,
    plan_pins,
    present,
    uses_maps,
)
from .size_plan import check_room, has_contents, maps_to_migrate, rehash_lines, sizes_of
from .slot_plan import plan_slot
from .snapshot import GatewayAnswer, Missing
from .source_plan import plan_sources
from .state import Coming, Previous, State
from .steps import (
    Attach,
    ClearSlot,
    Compile,
    CreateMaps,
    Detach,
    DropMaps,
    Keep,
    Load,
    PinAgain,
    Remove,
    TakeKept,
    TakeSlot,
)
from .take_over import HoldForeign, plan_letting_go, plan_take_over
from .vip_entries import INDEXED_MAPS
from .vip_index import build_index
from .vips import vips_from_config
from .wanted import Wanted

FEW = 5
"""Fewer maps than this are named where they are created."""


@dataclass
class BalancerPlan(ProgramPlan):
    """What a run does to a balancer's program.

    `loads`: whether it is loaded anew; `forgets`: whether a rollback ends. `reused`: the maps that stay as they are.
    `learned`: the VIPs that may have learned flows by then.
    """

    loads: bool = False
    forgets: bool = False
    reused: list[str] = field(default_factory=list)
    learned: list[str] = field(default_factory=list)


def plan_balancer(
    wanted: Wanted, macros: Mapping[str, int], state: State, path: str, seen: BalancerSnapshot
) -> BalancerPlan:
    """Bring the balancer to `attached` or `loaded` with these settings. ProgramError says why that cannot be.

    `macros`: what the settings are in the sources; `path`: that of the state's file.
    """
    plan = BalancerPlan(before=state.settings, after=wanted.to_config(), learned=state.learned)
    present(plan, wanted.interfaces, seen, wanted.boot)
    _check_links(plan, wanted, state, seen)
    plan.need(seen.bpffs, seen.attached, seen.digest)
    plan_pins(plan, seen)
    pinned = len(plan.changes)
    specs = balancer_maps(wanted.settings)
    create = [spec for name, spec in specs.items() if name not in seen.maps]
    migrate = maps_to_migrate(wanted.settings, seen.maps)
    plan.reused = [name for name in specs if name in seen.maps and name not in migrate]
    if migrate and has_contents(state, seen):
        check_room(state, wanted.settings, migrate, seen)
        lines, changed = rehash_lines(path, wanted, state, seen)
        plan.changes += [*lines, f"migrate {', '.join(migrate)} ({', '.join(changed) or 'another type'})"]
    if migrate:
        # Also where a first run that was killed left them, and nothing was ever in them.
        made = tuple(specs[name] for name in migrate)
        plan.add(MigrateMaps(made, sizes_of(seen.maps), wanted.settings.sizes))
    if create:
        names = f" ({', '.join(spec.name for spec in create)})" if len(create) < FEW else ""
        line = f"create {len(create)} map{'s' if len(create) > 1 else ''}{names}"
        plan.add(CreateMaps(tuple(create), wanted.settings.sizes, numa_flag(wanted.settings, seen)), line)
    current = _plan_bytecode(plan, wanted, macros, state, seen, [*(spec.name for spec in create), *migrate])
    _plan_places(plan, wanted, state, seen, current)
    _plan_change_over(plan, wanted, state, seen, migrate)
    plan_tables(plan, wanted, seen)
    plan_take_over(plan, state, seen)
    _plan_learned(plan, wanted, state, seen)
    _plan_index(plan, wanted, seen, migrate)
    mac = _plan_gateway(plan, wanted, state, seen)
    _plan_sources(plan, wanted, specs, seen)
    if not specs.keys().isdisjoint(BALANCER_SOURCES):
        steps, lines = plan_sources(BALANCER_SOURCES, seen.tunnel_sources, wanted.settings.tunnel_sources)
        plan.steps += steps
        plan.changes += [f"tunnels: {line}" for line in lines]
    _plan_end(plan, specs, state, seen, migrate)
    if plan.before != plan.after and len(plan.changes) == pinned:
        plan.changes.append("record the settings")
    # Of a run that was killed, the record may name more places.
    places = None if plan.loads or wanted.attach_later else (tuple(wanted.interfaces), wanted.slot)
    named = (tuple(state.program.interfaces), state.program.slot)
    if len(plan.changes) > pinned or (places is not None and places != named):
        plan.add(ConcludeState(plan.after, mac, places, plan.forgets))
    return plan


def _moves(plan: ProgramPlan) -> bool:
    """Whether the program's places change."""
    return bool(plan.of(Attach, Detach, TakeSlot, ClearSlot))


def _plan_bytecode(
    plan: BalancerPlan,
    wanted: Wanted,
    macros: Mapping[str, int],
    state: State,
    seen: BalancerSnapshot,
    new: Sequence[str],
) -> int | None:
    """Compile, take what is kept, or go back; returns the id of the program that is to run, None: one yet to be loaded.

    `new`: the maps that are to be made.
    """
    kept = seen.kept if isinstance(seen.kept, Bytecode) else None
    if not wanted.kept and kept_bytecode(seen.kept, seen.digest, state.program.source_digest) is None:
        features = ", ".join(sorted(wanted.settings.features)) or "no optional feature"
        plan.add(Compile(wanted.source_dir, macros), f"compile the program ({features})")
    stale = bool(new) if kept is None else not set(new).isdisjoint(kept.maps) or not uses_maps(seen, kept)
    plan.loads = bool(plan.of(Compile)) or wanted.back or seen.current is None or stale
    # What was asked for is what it was rolled back to: the program that it left is none to go back to.
    plan.forgets = bool(state.program.rolled_back_from) and not (plan.loads or wanted.kept)
    if wanted.back:
        previous = state.program.previous
        plan.changes.append(f"go back to the program {previous.tag if previous else ''}")
    elif plan.loads:
        plan.changes.append("load the program")
    elif plan.forgets:
        plan.changes.append("forget the program that was rolled back")
    return None if plan.loads or seen.current is None else seen.current.id


def _plan_places(plan: ProgramPlan, wanted: Wanted, state: State, seen: BalancerSnapshot, current: int | None) -> None:
    """Where the program comes, and where it goes."""
    if wanted.attach_later:
        return
    settings = wanted.settings
    auto = settings.mode == "auto"
    places = Places(
        [name for name in wanted.interfaces if name not in seen.absent],
        "native" if auto else settings.mode,
        foreign=None if settings.replace_foreign else "detach it, or give replace_foreign: true",
        # It was tried there, and why it failed is known.
        settled=state.program.generic if auto else (),
        fallback=auto,
        residents=seen.residents,
        # It strips tunnels to this host as well, so the real goes on.
        takes_over=("decap",) if "inline_decap" in settings.features else (),
        way_out=_WAY_OUT,
        boot=wanted.boot,
    )
    ours = seen.ours_by(state.program)
    plan_interfaces(plan, places, seen.attachments, ours, current)
    slot = plan_slot(
        wanted.slot, state.program.slot, seen.slots, ours, current, settings.replace_foreign, seen.residents
    )
    plan.lacks += slot.lacks
    plan.changes += slot.changes
    if slot.put is not None:
        plan.add(TakeSlot(slot.put, slot.there))
    for each in slot.clear:
        plan.add(ClearSlot(each))


_WAY_OUT = {
    "decap": "one program can do both: give feature inline_decap here (katran_extra_features), and attach: false to"
    " module decap (katran_real_attach: false)",
    "root": "take a slot of its array: give root_array instead of interfaces",
}


def _plan_change_over(
    plan: BalancerPlan, wanted: Wanted, state: State, seen: BalancerSnapshot, migrate: Sequence[str]
) -> None:
    """What a program takes that comes, moves or goes."""
    if not plan.loads and not _moves(plan):
        return
    program = state.program
    if not plan.of(Compile):
        bytecode = seen.previous if wanted.back else seen.kept
        plan.need(bytecode)
        if isinstance(bytecode, Bytecode):
            plan.add(TakeKept(bytecode))
    if plan.of(Compile) or (plan.loads and not program.tag):
        plan.add(Prove(wanted.settings))
    if plan.loads and not wanted.back and program.tag:
        plan.add(Watch())
    if any(step.there is not None for step in plan.of(Attach, TakeSlot)):
        plan.add(Verify())
    if not plan.loads:
        plan.add(RememberPlaces(tuple(wanted.interfaces), wanted.slot))
        return
    plan.add(Load(tuple(balancer_maps(wanted.settings)), previous=wanted.back))
    plan.add(Announce(_coming(plan, wanted, state, seen, migrate)))
    plan.add(Keep())


def _coming(plan: BalancerPlan, wanted: Wanted, state: State, seen: BalancerSnapshot, migrate: Sequence[str]) -> Coming:
    """What the record says of the program once it runs; its id, tag and digest are told when it is loaded."""
    program = state.program
    kept = seen.previous if wanted.back else seen.kept
    digest = kept.digest if isinstance(kept, Bytecode) and not plan.of(Compile) else seen.digest
    moves = bool(seen.current is not None and state.settings and (migrate or digest != program.source_digest))
    previous = program.previous
    if moves:
        previous = Previous(program.source_digest, program.tag, state.settings, ", ".join(migrate))
    rolled_back = program.rolled_back_from if wanted.kept else None
    return Coming(
        id=0,
        tag="",
        source_digest="",
        settings=wanted.to_config(),
        interfaces=program.interfaces if wanted.attach_later else wanted.interfaces,
        slot=program.slot if wanted.attach_later else wanted.slot,
        rings={},
        moves=moves,
        previous=previous,
        rolled_back_from=program.source_digest if wanted.back else rolled_back,
    )


def _plan_learned(plan: BalancerPlan, wanted: Wanted, state: State, seen: BalancerSnapshot) -> None:
    """Mark the VIPs that learn flows by server id now, for a program that no longer asks for ids."""
    if not plan.loads or "vip_learned" not in seen.maps:
        return
    vips = vips_from_config(state.vips).values()
    plan.learned = learners(vips, "tcp_server_id" in wanted.settings.features, state.learned)
    marks = may_be_known(vips, plan.learned) - may_be_known(vips, state.learned)
    assigned = state.vip_numbers.assigned
    numbers = sorted(assigned[name] for name in map(str, marks) if name in assigned)
    entries = [(layout.u32(number), layout.u32(1)) for number in numbers]
    missing = tuple(entry for number, entry in zip(numbers, entries, strict=True) if _unmarked(seen, number))
    if missing:
        plan.add(Put("vip_learned", missing))


def _plan_index(plan: BalancerPlan, wanted: Wanted, seen: BalancerSnapshot, migrate: Sequence[str]) -> None:
    """Index the VIPs for a program that comes: what there is may be older than they are."""
    if not plan.loads:
        return
    vips, addresses = (seen.vips.get(name, {}) for name in INDEXED_MAPS)
    slots = build_index(vips, addresses, index_slots(wanted.settings.sizes["vips"])) if vips else {}
    there = {} if VIP_INDEX not in seen.maps or VIP_INDEX in migrate else seen.index
    if slots != (there or {}):
        plan.add(IndexVips(tuple(slots.items())))


def _unmarked(seen: BalancerSnapshot, number: int) -> bool:
    return seen.value("vip_learned", number) != layout.u32(1)


def _check_links(plan: ProgramPlan, wanted: Wanted, state: State, seen: BalancerSnapshot) -> None:
    """Whether the interfaces carry what the program sends. Where nobody says the reals' families, those known tell."""
    if wanted.links is None:
        return
    ipv6 = wanted.links.tunnel.ipv6 or any(":" in address for address in state.real_ids.assigned)
    faults = link_faults(wanted.links._replace(tunnel=replace(wanted.links.tunnel, ipv6=ipv6)), seen.mtus)
    if faults and wanted.links.check == "fail":
        raise ProgramError("; ".join(faults))
    plan.warnings += faults


def _plan_gateway(plan: ProgramPlan, wanted: Wanted, state: State, seen: BalancerSnapshot) -> str:
    """The gateway's MAC; at boot the last known one where the gateway does not answer yet."""
    mac = wanted.settings.gateway_mac
    if isinstance(seen.gateway, Missing):
        plan.need(seen.gateway)
        return ""
    if isinstance(seen.gateway, GatewayAnswer):
        mac = seen.gateway.mac
        last = state.program.gateway_mac
        if not mac and wanted.kept and last:
            plan.warnings.append(f"{seen.gateway.sentence}; using the last known one, {last}")
            mac = last
        if not mac:
            raise NetworkError(seen.gateway.sentence)
        plan.warnings += seen.gateway.warnings
    _put_gateway(plan, mac, seen.value("ctl_array", layout.CTL_GATEWAY_MAC))
    return mac


def _put_gateway(plan: ProgramPlan, mac: str, old: bytes | None) -> None:
    """Let the program send to this MAC. `old`: what it has."""
    if old != layout.mac_bytes(mac):
        was = f"{layout.parse_mac(old)} → " if old and any(old) else ""
        plan.add(_mac_entry(mac), f"gateway MAC {was}{mac}")


def _mac_entry(mac: str) -> Put:
    return Put("ctl_array", ((layout.u32(layout.CTL_GATEWAY_MAC), layout.mac_bytes(mac)),))


def plan_gateway(state: State, mac: str, there: bytes | None, pins: PinnedMaps, folder: str) -> BalancerPlan:
    """Follow the gateway's MAC where it is to be found out. `there`: that which the program has, None: none is loaded.

    `mac`: "" where nobody asked. `pins`: those of the maps, in this folder.
    """
    plan = BalancerPlan(before=state.settings, after=state.settings, learned=state.learned)
    if pins.lost:
        plan.add(PinAgain(pins), *pins.lines(folder))
    if mac and follows_gateway(state) and there not in (None, layout.mac_bytes(mac)):
        plan.add(_mac_entry(mac), f"gateway MAC {state.program.gateway_mac or 'none'} → {mac}")
        plan.add(ConcludeState(state.settings, mac, None, False))
    return plan


def follows_gateway(state: State) -> bool:
    """Whether a program is loaded whose gateway's MAC is to be found out."""
    return state.settings.get("gateway_mac") == "auto" and bool(state.program.tag)


def _plan_sources(plan: ProgramPlan, wanted: Wanted, specs: Mapping[str, MapSpec], seen: BalancerSnapshot) -> None:
    """The outer source addresses."""
    if "pckt_srcs" not in specs:
        return
    settings = wanted.settings
    options = {"IPv4": settings.source_ipv4, "IPv6": settings.source_ipv6}
    found = {family: seen.own.get(family) if text == "auto" else text for family, text in options.items()}
    plan.need(*found.values())
    sources = {family: None if isinstance(text, Missing) else text for family, text in found.items()}
    if settings.encapsulation == "gue" and not any(sources.values()):
        sentence = (
            f"source_ipv4 and source_ipv6 auto: {', '.join(settings.interfaces) or 'the default route'} has no global"
            " address to send GUE from; give one of them"
        )
        # At boot the rest has to work; and in a review the role may have to install what reads addresses.
        if not wanted.kept and not any(isinstance(text, Missing) for text in found.values()):
            raise ProgramError(sentence)
        plan.warnings.append(sentence)
    for index, (family, address) in enumerate(sources.items()):
        flags = layout.REAL_IPV6 if index else 0
        value = layout.real_definition(layout.pack_address(address), flags) if address else bytes(20)
        old = seen.value("pckt_srcs", index) or bytes(20)
        if old != value:
            was = layout.unpack_address(layout.parse_real_definition(old)[0], bool(index)) + " → " if any(old) else ""
            entry = layout.u32(index), value
            plan.add(Put("pckt_srcs", (entry,)), f"{family} source {was}{address or 'none'}")


def _plan_end(
    plan: BalancerPlan,
    specs: Mapping[str, MapSpec],
    state: State,
    seen: BalancerSnapshot,
    migrate: Sequence[str],
) -> None:
    """What is no longer needed."""
    # A program that can be gone back to keeps its maps: the present one, once another takes its place.
    moves = any(step.coming.moves for step in plan.of(Announce))
    present = _maps_of(seen.kept) if not plan.loads or (moves and not migrate) else ()
    previous = () if moves or plan.forgets else _maps_of(seen.previous)
    drop = tuple(name for name in seen.maps if name not in specs and name not in {*present, *previous})
    if drop:
        plan.add(DropMaps(drop), f"remove maps that are no longer used: {', '.join(drop)}")
    if plan.forgets:
        plan.add(ForgetPrevious())
    if moves and not plan.of(HoldForeign):
        plan_letting_go(plan, state)


def _maps_of(bytecode: Bytecode | Missing) -> tuple[str, ...]:
    return () if isinstance(bytecode, Missing) else bytecode.maps


def plan_removal(state: State, seen: BalancerSnapshot, directory: str, files: Collection[str]) -> BalancerPlan:
    """Detach and remove the balancer: attachments, pins, state. `directory`: that of its state; `files`: all of it."""
    plan = BalancerPlan(before=state.settings, learned=state.learned)
    if state.program.interfaces or seen.pins or seen.maps:
        plan.need(seen.attached)
    ours = seen.ours_by(state.program)
    slot = plan_slot(None, state.program.slot, seen.slots, ours, None, False)
    for place, line in zip(slot.clear, slot.changes, strict=True):
        plan.add(ClearSlot(place), line)
    for each in seen.attachments.values():
        if each.program_id in ours:
            plan.add(Detach(each), f"detach from {each.interface}")
    plan.warnings += [moved(name, "balancer") for name in state.program.interfaces if name in seen.absent]
    if seen.maps or seen.pins or seen.strays:
        plan.changes.append(f"remove the maps and programs pinned in {seen.directory}")
    if not state.lost:
        plan.changes.append(f"remove the state in {directory}")
    # Also where there is nothing to say: a killed run may have left a folder.
    plan.add(Remove((*seen.maps, *seen.strays), tuple(files)))
    return plan
