# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Program healthcheck: what is wanted of it, what is there, and the steps between them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace

from . import layout
from .errors import ProgramError
from .healthcheck_record import HealthcheckRecord
from .healthcheck_settings import HealthcheckSettings, options_of
from .map_specs import (
    HC_GATEWAY_MAC,
    HC_IFINDEX,
    HC_SOURCE_IPV4,
    HC_SOURCE_IPV6,
    HC_SOURCE_MAC,
    HEALTHCHECK_MAPS,
    HEALTHCHECK_SPECS,
)
from .operations import Delete, Put, ZeroCounters
from .options import no_interface
from .program_plan import Kind, ProgramPlan, plan_oblivion, plan_program, require_interfaces
from .snapshot import CLSACT, EgressPlace, Fault, Filter, Missing, ProgramSnapshot
from .steps import AddQdisc, Conclude, Fill, Intend, PutFilter, RemoveFilter, RemoveQdisc
from .vips import VipKey

PROGRAM = "healthcheck"
DESTINATIONS_FILE = "healthcheck_destinations.json"
VALUE_MAPS = ("hc_ctrl_map", "hc_pckt_srcs_map", "hc_pckt_macs", "hc_key_map")
"""The maps whose entries the plan compares."""


@dataclass(frozen=True)
class Resolved:
    """What the settings stand for on this host: the interface's number, MACs, and sources, "" for none."""

    index: int
    source_mac: str
    gateway_mac: str
    source_ipv4: str
    source_ipv6: str


@dataclass(frozen=True)
class HealthcheckSnapshot(ProgramSnapshot):
    """What there is of healthcheck.

    `places`: interface → its way out, of those where the program is, was or is to be. `entries`: map → its entries.
    `destinations`: what hc_reals_map is to have where it is yet to be made.
    """

    places: Mapping[str, EgressPlace] | Missing = field(default_factory=dict)
    resolved: Resolved | Missing | Fault | None = None
    entries: Mapping[str, Mapping[bytes, bytes]] = field(default_factory=dict)
    destinations: Mapping[bytes, bytes] = field(default_factory=dict)

    def ways_out(self) -> Mapping[str, EgressPlace]:
        """Interface → its way out, as far as it could be read."""
        return {} if isinstance(self.places, Missing) else self.places

    def filters(self, record: HealthcheckRecord, interface: str) -> list[Filter]:
        """Those on an interface's egress that run this program."""
        places = self.ways_out()
        on_record = [each.program_id for name in record.interfaces if name in places for each in places[name].filters]
        ours = self.owned(record.tag, on_record)
        return [each for each in places[interface].filters if each.program_id in ours] if interface in places else []


def plan_healthcheck(
    settings: HealthcheckSettings, record: HealthcheckRecord, seen: HealthcheckSnapshot
) -> ProgramPlan:
    """Bring the program to the interface. ProgramError where that cannot be."""
    require_interfaces(seen)
    resolved = seen.resolved
    if isinstance(resolved, Fault):
        raise ProgramError(resolved.sentence)
    plan = ProgramPlan()
    plan.need(seen.bpffs, seen.places, resolved, seen.digest)
    kind = Kind(PROGRAM, HEALTHCHECK_MAPS, settings.source_dir, settings.macros(), settings.encapsulation)
    current = plan_program(plan, kind, seen, record.source_digest)
    plan.before, plan.after = record.settings, options_of(settings)
    if isinstance(resolved, Resolved):
        _plan_values(plan, resolved, seen)
        plan.after |= {name: value for name, value in vars(resolved).items() if name != "index"}
    _plan_keys(plan, settings.counted_vips, seen)
    if "hc_reals_map" not in seen.maps and seen.destinations:
        plan.add(Fill("hc_reals_map", tuple(seen.destinations.items())))
    begun = _plan_attachment(plan, settings.interface, current, record, seen)
    _plan_leaving(plan, settings.interface, record, seen)
    if plan.changes and begun != record:
        plan.add(Intend(begun))
    ended = replace(record, interfaces=[settings.interface], settings=plan.after, options=options_of(settings))
    ended.qdiscs = [name for name in begun.qdiscs if name == settings.interface]
    ended.source_dir = settings.source_dir or record.source_dir
    if plan.changes or ended != record:
        plan.add(Conclude(ended))
    return plan


def _wanted(resolved: Resolved) -> Iterator[tuple[str, str, bytes, bytes]]:
    """(map, what it is called, key, value) of the arrays that say how probes leave."""
    yield "hc_ctrl_map", "interface number", layout.u32(HC_IFINDEX), layout.u32(resolved.index)
    for label, address, index in (
        ("IPv4 source", resolved.source_ipv4, HC_SOURCE_IPV4),
        ("IPv6 source", resolved.source_ipv6, HC_SOURCE_IPV6),
    ):
        packed = layout.pack_address(address) if address else b""
        flags = layout.REAL_IPV6 if packed and index == HC_SOURCE_IPV6 else 0
        yield "hc_pckt_srcs_map", label, layout.u32(index), layout.real_definition(packed, flags)
    for label, mac, index in (
        ("source MAC", resolved.source_mac, HC_SOURCE_MAC),
        ("gateway MAC", resolved.gateway_mac, HC_GATEWAY_MAC),
    ):
        yield "hc_pckt_macs", label, layout.u32(index), layout.mac_bytes(mac)[:6]


def _plan_values(plan: ProgramPlan, resolved: Resolved, seen: HealthcheckSnapshot) -> None:
    for name, label, key, value in _wanted(resolved):
        old = seen.entries.get(name, {}).get(key, bytes(len(value)))
        if old != value:
            plan.add(Put(name, ((key, value),)), f"{label} {_shown(name, key, old)} → {_shown(name, key, value)}")


def _plan_keys(plan: ProgramPlan, counted: Collection[VipKey], seen: HealthcheckSnapshot) -> None:
    """Each counted VIP gets a place among the counters and keeps it."""
    there = {key: layout.parse_u32(value) for key, value in seen.entries.get("hc_key_map", {}).items()}
    wanted = {layout.vip_definition(vip.packed, vip.port, layout.PROTOCOLS[vip.protocol]): vip for vip in counted}
    gone = [key for key in there if key not in wanted]
    used = set(there.values())
    free = (place for place in range(HEALTHCHECK_SPECS["per_hckey_stats"].entries({})) if place not in used)
    freed = sorted(there[key] for key in gone)
    for key, vip in wanted.items():
        if key not in there:
            place = next(free, None)
            if place is None:
                place = freed.pop(0)
            plan.add(ZeroCounters("per_hckey_stats", (place,)))
            plan.add(Put("hc_key_map", ((key, layout.u32(place)),)), f"count probes of {vip}")
    if gone:
        lines = [f"no longer count probes of {text}" for text in sorted(map(str, map(VipKey.of_definition, gone)))]
        plan.add(Delete("hc_key_map", tuple(gone)), *lines)


def _plan_attachment(
    plan: ProgramPlan, name: str, current: int | None, record: HealthcheckRecord, seen: HealthcheckSnapshot
) -> HealthcheckRecord:
    """The program on the interface's egress; returns the record of where it and a qdisc of ours may be by then."""
    begun = replace(record, interfaces=sorted({*record.interfaces, name}))
    place = seen.ways_out().get(name, EgressPlace(0, None))
    if place.qdisc not in (None, CLSACT):
        raise ProgramError(
            f"interface {name} has a qdisc {place.qdisc}, beside which there is no room for clsact:"
            " replace it by clsact, which takes the same filters"
        )
    filters = seen.filters(record, name)
    if current is not None and [each.program_id for each in filters] == [current]:
        return begun
    if place.qdisc is None:
        begun.qdiscs = sorted({*record.qdiscs, name})
        plan.add(AddQdisc(name, place.index), f"add the qdisc {CLSACT} to {name}")
    there = filters[0] if filters else None
    plan.add(PutFilter(name, place.index, there), f"attach {PROGRAM} to the egress of {name}")
    for surplus in filters[1:]:
        plan.add(RemoveFilter(name, place.index, surplus))
    return begun


def _plan_leaving(plan: ProgramPlan, name: str, record: HealthcheckRecord, seen: HealthcheckSnapshot) -> None:
    """Take the program off the interfaces where it is no longer wanted."""
    for other in record.interfaces:
        if other != name:
            plan.changes.append(f"detach {PROGRAM} from {other}")
            _leave(plan, other, record, seen)


def _leave(plan: ProgramPlan, name: str, record: HealthcheckRecord, seen: HealthcheckSnapshot) -> list[str]:
    """Take our filters off an interface, and its clsact where that is ours and will be empty; returns the lines."""
    place = seen.ways_out().get(name)
    if place is None:
        return []
    filters = seen.filters(record, name)
    for each in filters:
        plan.add(RemoveFilter(name, place.index, each))
    lines = [f"detach {PROGRAM} from the egress of {name}"] * len(filters)
    if name in record.qdiscs and place.qdisc == CLSACT and not place.others(filters):
        plan.add(RemoveQdisc(name, place.index))
        lines.append(f"remove the qdisc {CLSACT} from {name}")
    return lines


def plan_removal(record: HealthcheckRecord, seen: HealthcheckSnapshot, files: Collection[str]) -> ProgramPlan:
    """Take the program off the host: filter, qdisc if it was ours, pins, state."""
    plan = ProgramPlan(before=record.settings)
    if record.interfaces:
        plan.need(seen.places)
    for name in record.interfaces:
        plan.changes += _leave(plan, name, record, seen)
        if not isinstance(seen.places, Missing) and name not in seen.places:
            plan.warnings.append(
                f"{no_interface(name)}: where it moved to another network namespace, its qdisc and filter stay"
            )
    more = {DESTINATIONS_FILE: "forget the health-check destinations"}
    plan_oblivion(plan, PROGRAM, seen, files, more)
    return plan


def _shown(name: str, key: bytes, value: bytes) -> str:
    """A value of one of the arrays in an operator's words."""
    if not any(value):
        return "none"
    if name == "hc_ctrl_map":
        return str(layout.parse_u32(value))
    if name == "hc_pckt_macs":
        return layout.parse_mac(value)
    return layout.unpack_address(value, layout.parse_u32(key) == HC_SOURCE_IPV6)
