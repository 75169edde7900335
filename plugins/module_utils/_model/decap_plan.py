# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real's side: what is wanted of program decap and the addresses of lo, what is there, and the steps between them."""

from __future__ import annotations

import typing as t
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from . import layout
from .bytecode import Bytecode
from .decap_record import KERNEL, TC, XDP, DecapKept, DecapRecord
from .decap_settings import RealSettings, Staying, with_kept
from .decap_ways import BY_XDP, Way, WaysIn, plan_filters, plan_leaving
from .errors import ProgramError
from .firewall import Chain, plan_firewall, wanted_rules
from .host_addresses import HostAddress, LoopbackPlan, on_loopback, plan_loopback, sources_of_ipv6, strangers
from .map_specs import DECAP_MAPS, EARLIER_SOURCES, REAL_SOURCES, MapSpec
from .operations import Delete, Put
from .program_plan import (
    Kind,
    Places,
    ProgramPlan,
    plan_absence,
    plan_interfaces,
    plan_map_pins,
    plan_program,
    present,
)
from .snapshot import EgressPlace, Missing, OnRecord, ProgramSnapshot
from .source_plan import hosts_of, plan_sources
from .sources import EVERYWHERE
from .steps import Attach, ChangeLoopback, Conclude, DropMaps, Intend, PutFilter
from .tunnels import NO_TUNNELS, MakeTunnel, TunnelsSeen, plan_closing, plan_tunnels

PROGRAM = "decap"


@dataclass(frozen=True)
class DecapSnapshot(ProgramSnapshot):
    """What there is of decap. `vips`, `sources`, `server_id`: in its maps; `addresses`: the host's.

    `places`: interface → its way in, of those where the program is, was or is to be. `way`: by what tunnels are to be
    stripped, which the rest decides. `tunnels`: the kernel's devices; `chains`: those of nftables that drop.
    """

    vips: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    server_id: int = 0
    addresses: Collection[HostAddress] | Missing = ()
    places: Mapping[str, EgressPlace] | Missing = field(default_factory=dict)
    way: Way = BY_XDP
    tunnels: TunnelsSeen = NO_TUNNELS
    chains: tuple[Chain, ...] = ()

    def ways_in(self) -> Mapping[str, EgressPlace]:
        """Interface → its way in, as far as it could be read."""
        return {} if isinstance(self.places, Missing) else self.places

    def ours(self, record: OnRecord) -> frozenset[int]:
        """The ids of programs that are this one, wherever XDP or tc runs them."""
        filtered = [each.program_id for place in self.ways_in().values() for each in place.filters]
        return self.owned(record.tag, [*self.at(record.interfaces), *filtered])

    def local(self) -> Collection[HostAddress]:
        """The addresses of the host, as far as they could be read."""
        return () if isinstance(self.addresses, Missing) else self.addresses

    def settings(self, record: DecapRecord) -> dict[str, t.Any]:
        """What there is, in the form of what is wanted."""
        return {
            "vips": list(self.vips),
            "sources": list(self.sources),
            "server_id": self.server_id,
            "loopback": on_loopback(self.local(), record.loopback),
        }


@dataclass
class RealPlan(ProgramPlan):
    """A plan that says by what tunnels are stripped, and what there then is of the kernel's and of others'."""

    way: Way = BY_XDP
    tunnels: list[str] = field(default_factory=list)
    ports: list[int] = field(default_factory=list)
    accepts: list[str] = field(default_factory=list)


def decap_macros(settings: RealSettings, port_before: int, way: Way = BY_XDP) -> dict[str, int]:
    """The integer macros that are compiled in; `port_before`: the port of GUE that balancers may still have, or 0."""
    macros = {"GUE_PORT": settings.gue_port, **way.macros()}
    if port_before:
        macros["GUE_PORT_BEFORE"] = port_before
    return macros


def plan_real(settings: RealSettings, port_before: int, record: DecapRecord, seen: DecapSnapshot) -> RealPlan:
    """Bring decap and the addresses to where the settings want them. ProgramError says why that cannot be."""
    if not settings.attach:
        settings = _as_attached(settings, record, seen)
    _require_addresses(settings, record, seen)
    plan, way = RealPlan(way=seen.way), seen.way
    # What is kept has no source_dir: it is what a boot asks for.
    interfaces = present(plan, settings.interfaces, seen, boot=not settings.source_dir)
    plan.need(seen.bpffs, seen.attached, seen.places, seen.digest, seen.addresses)
    specs = (*DECAP_MAPS, EARLIER_SOURCES) if _wants_earlier_map(seen) else DECAP_MAPS
    macros = decap_macros(settings, port_before, way)
    kind = Kind(PROGRAM, specs, settings.source_dir, macros, way.settings, way.program)
    current = plan_program(plan, kind, seen, record.source_digest)
    places = Places(
        interfaces if way.how == XDP else (),
        settings.mode,
        PROGRAM,
        settled=() if settings.attach else interfaces,
        residents=seen.residents,
        way_out=_WAY_OUT,
        boot=not settings.source_dir,
    )
    plan_interfaces(plan, places, seen.attachments, seen.ours(record), current)
    begun = _plan_kernel(plan, settings, port_before, record, seen)
    begun = _plan_ingress(plan, interfaces, current, begun, seen)
    there = plan.before = seen.settings(record)
    before = record.settings
    served, taken = (before.vips, before.sources or EVERYWHERE) if before else (there["vips"], there["sources"])
    settings = with_kept(settings, served, taken)
    vips = sorted(settings.vips or ())
    loopback = vips if settings.loopback else []
    local = plan_loopback(loopback, record.loopback, seen.local(), settings.others)
    wanted = plan.after = {
        "vips": vips,
        "sources": sorted(settings.sources),
        "server_id": settings.server_id,
        "loopback": list(local.mine),
    }
    _plan_vips(plan, there["vips"], vips)
    steps, lines = plan_sources(REAL_SOURCES, there["sources"], wanted["sources"])
    plan.steps += steps
    plan.changes += lines
    _plan_earlier_map(plan, specs, wanted["sources"], seen)
    if seen.server_id != settings.server_id:
        step = Put("tpr_server_id", ((layout.u32(0), layout.u32(settings.server_id)),))
        plan.add(step, f"server id {seen.server_id} → {settings.server_id}")
    accepted = _accept(plan, wanted["sources"], plan.ports if settings.firewall else [], seen)
    begun.accepts = sorted({*record.accepts, *accepted})
    plan.accepts = accepted
    _plan_addresses(plan, local)
    _warn_of_sources(plan, loopback, seen)
    source_dir = settings.source_dir or (before.source_dir if before else "")
    kept = DecapKept(
        **{**wanted, "loopback": loopback},
        gue_port=settings.gue_port,
        gue_port_before=port_before,
        source_dir=source_dir,
        how=settings.how,
        firewall=settings.firewall,
    )
    _plan_record(plan, settings, kept, local, record, begun)
    return plan


_WAY_OUT = dict.fromkeys(
    ("balancer", "root"),
    "one program can do both: give attach: false here (katran_real_attach: false), and the balancer feature"
    " inline_decap (katran_extra_features)",
)


def _as_attached(settings: RealSettings, record: DecapRecord, seen: DecapSnapshot) -> RealSettings:
    """The settings with the interfaces where the program is."""
    ours = seen.ours(record)
    there = {name for name, each in seen.attachments.items() if each.program_id in ours}
    if seen.way.how == TC:
        ways = WaysIn(seen.ways_in(), ours)
        there |= {name for name in ways.places if ways.filters(name)}
    return replace(settings, interfaces=tuple(sorted(there)))


def _plan_ingress(
    plan: RealPlan, interfaces: Sequence[str], current: int | None, record: DecapRecord, seen: DecapSnapshot
) -> DecapRecord:
    """The program at the ingress of interfaces; returns the record of where a qdisc of ours may be by then."""
    ways = WaysIn(seen.ways_in(), seen.ours(record))
    if seen.way.how == KERNEL:
        # A device that is made has nothing of the one of before.
        made = {step.name for step in plan.of(MakeTunnel)}
        wanted = [name for name in plan.tunnels if name not in made]
        plan_filters(plan, sorted(made), WaysIn({}, ()), current)
        plan_filters(plan, wanted, ways, current)
        plan_leaving(plan, (*plan.tunnels, *record.tunnels), ways, record.qdiscs)
        return record
    wanted = list(interfaces) if seen.way.how == TC else []
    added = plan_filters(plan, wanted, ways, current)
    # What is on a tunnel device goes with it.
    plan_leaving(plan, (*wanted, *record.tunnels), ways, record.qdiscs)
    return replace(record, qdiscs=sorted({*record.qdiscs, *added}))


def _accept(plan: ProgramPlan, sources: Sequence[str], ports: Sequence[int], seen: DecapSnapshot) -> list[str]:
    """Rules that accept what the kernel's devices strip, those of GUE at these ports; returns the chains with some."""
    return plan_firewall(plan, wanted_rules(sources, ports) if ports else [], seen.chains)


def _plan_kernel(
    plan: RealPlan, settings: RealSettings, port_before: int, record: DecapRecord, seen: DecapSnapshot
) -> DecapRecord:
    """The kernel's devices and ports, or their end; returns the record of what may be there by then."""
    ports = sorted({settings.gue_port, port_before or settings.gue_port}) if seen.way.how == KERNEL else []
    if ports:
        plan.tunnels = plan_tunnels(plan, ports, seen.tunnels, record.tunnels)
    plan.ports = ports
    gone = [name for name in record.tunnels if name not in plan.tunnels]
    plan_closing(plan, seen.tunnels, gone, record.ports, ports)
    return replace(record, tunnels=sorted({*record.tunnels, *plan.tunnels}), ports=sorted({*record.ports, *ports}))


def _require_addresses(settings: RealSettings, record: DecapRecord, seen: DecapSnapshot) -> None:
    if isinstance(seen.addresses, Missing):
        return
    fault = strangers(settings.addresses, seen.addresses, record.loopback)
    if fault:
        raise ProgramError(f"katran_real_address: {fault}")


def _wants_earlier_map(seen: DecapSnapshot) -> bool:
    """Whether a program of an earlier version is to run, as it does at boot until the next deploy."""
    return seen.digest is None and isinstance(seen.kept, Bytecode) and EARLIER_SOURCES.name in seen.kept.maps


def _plan_earlier_map(plan: ProgramPlan, specs: Sequence[MapSpec], sources: Sequence[str], seen: DecapSnapshot) -> None:
    """What the program of an earlier version finds, or the end of the map that it had."""
    name = EARLIER_SOURCES.name
    if EARLIER_SOURCES not in specs:
        if name in seen.maps:
            plan.add(DropMaps((name,)), f"remove the map {name} of an earlier version")
    elif name not in seen.maps:
        entries = tuple((layout.pack_address(address), layout.u32(1)) for address in hosts_of(sources))
        plan.add(Put(name, entries))


def _plan_vips(plan: ProgramPlan, there: Sequence[str], wanted: Sequence[str]) -> None:
    add = [address for address in wanted if address not in there]
    gone = [address for address in there if address not in wanted]
    if add:
        entries = tuple((layout.pack_address(address), layout.u32(1)) for address in add)
        plan.add(Put("decap_vips", entries), *(f"vip {address} added" for address in add))
    if gone:
        keys = tuple(map(layout.pack_address, gone))
        plan.add(Delete("decap_vips", keys), *(f"vip {address} removed" for address in gone))


def _plan_addresses(plan: ProgramPlan, local: LoopbackPlan) -> None:
    if local.add or local.remove or local.settle:
        plan.add(
            ChangeLoopback(local.add, local.remove, local.settle),
            *(f"add {address} to lo" for address in local.add),
            *(f"keep {address} of lo from being the source of this host's own connections" for address in local.settle),
            *(f"remove {address} from lo" for address in local.remove),
        )


def _warn_of_sources(plan: ProgramPlan, loopback: Sequence[str], seen: DecapSnapshot) -> None:
    """The kernel takes a deprecated address before one of the link alone."""
    vips = [address for address in loopback if ":" in address]
    if vips and not isinstance(seen.addresses, Missing) and not sources_of_ipv6(seen.addresses, loopback):
        plan.warnings.append(
            f"this host has no global IPv6 address but VIPs, so its own connections over IPv6 come from {vips[0]};"
            " give it an address of its own"
        )


def _plan_record(
    plan: RealPlan,
    settings: RealSettings,
    kept: DecapKept,
    local: LoopbackPlan,
    record: DecapRecord,
    begun: DecapRecord,
) -> None:
    """Before anything changes, what may be there should the run be killed; at the end, what is."""
    begun = replace(begun, loopback=sorted({*record.loopback, *local.mine}))
    if plan.of(Attach, PutFilter):
        begun.interfaces = sorted({*record.interfaces, *settings.interfaces})
    if record.settings is not None:
        # To keep what is served is to keep what a killed run began to serve.
        begun.settings = replace(
            record.settings,
            vips=sorted({*record.settings.vips, *kept.vips}),
            sources=sorted({*record.settings.sources, *kept.sources}),
            loopback=sorted({*record.settings.loopback, *kept.loopback}),
        )
    ended = replace(begun, interfaces=list(settings.interfaces), mode=settings.mode)
    ended.loopback, ended.settings = list(local.mine), kept
    ended.way, ended.why = ("", "") if plan.way.how == XDP else (plan.way.how, plan.way.why)
    ended.tunnels, ended.ports, ended.accepts = plan.tunnels, plan.ports, sorted(plan.accepts)
    ended.qdiscs = [name for name in begun.qdiscs if plan.way.how == TC and name in settings.interfaces]
    if begun != record:
        plan.add(Intend(begun))
    if plan.changes or ended != record:
        plan.add(Conclude(ended))


def plan_withdrawal(staying: Staying, record: DecapRecord, seen: DecapSnapshot) -> ProgramPlan:
    """Take away the VIPs and outer sources that are not among these, and leave the rest of the host as it is."""
    plan = ProgramPlan()
    if record.settings is None:
        return plan
    plan_map_pins(plan, seen)
    before, sources = record.settings.vips, record.settings.sources or list(EVERYWHERE)
    gone = [address for address in before if address not in staying.vips]
    closed = [prefix for prefix in sources if staying.sources is not None and prefix not in staying.sources]
    if not gone and not closed:
        return plan
    plan.need(seen.addresses)
    after = [address for address in before if address in staying.vips]
    plan.before, plan.after = {"vips": before}, {"vips": after}
    if closed:
        plan.before["sources"] = sources
        left = [prefix for prefix in sources if prefix not in closed]
        # None at all would be everybody again.
        plan.after["sources"] = sources = left or sorted(staying.sources or ())
    plan.changes += [f"vip {address} removed" for address in gone]
    listed = [address for address in gone if address in seen.vips]
    if listed:
        plan.add(Delete("decap_vips", tuple(map(layout.pack_address, listed))))
    plan.changes += [f"source {prefix} removed" for prefix in closed]
    plan.steps += plan_sources(REAL_SOURCES, [prefix for prefix in closed if prefix in seen.sources], ())[0]
    local = tuple(address for address in gone if address in seen.settings(record)["loopback"])
    if local:
        plan.add(ChangeLoopback(remove=local), *(f"remove {address} from lo" for address in local))
    accepts = record.accepts
    if closed and record.settings.firewall:
        accepts = sorted(_accept(plan, sources, record.ports, seen))
    settings = replace(
        record.settings,
        vips=after,
        sources=sources if closed else record.settings.sources,
        loopback=[address for address in record.settings.loopback if address not in gone],
    )
    loopback = [address for address in record.loopback if address not in gone]
    plan.add(Conclude(replace(record, loopback=loopback, settings=settings, accepts=accepts)))
    return plan


def plan_removal(record: DecapRecord, seen: DecapSnapshot, files: Collection[str]) -> ProgramPlan:
    """Take decap and the addresses off the host."""
    plan = ProgramPlan()
    if record.loopback:
        plan.need(seen.addresses)
    gone = tuple(on_loopback(seen.local(), record.loopback))
    if gone:
        plan.add(ChangeLoopback(remove=gone), *(f"remove {address} from lo" for address in gone))
    plan.need(seen.places)
    plan_firewall(plan, (), seen.chains)
    plan_closing(plan, seen.tunnels, record.tunnels, record.ports)
    plan_leaving(plan, record.tunnels, WaysIn(seen.ways_in(), seen.ours(record)), record.qdiscs)
    plan_absence(plan, PROGRAM, seen, record, files)
    return plan
