# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Health checks through the tunnel: program healthcheck on an interface's egress."""

from __future__ import annotations

import os
import typing as t
from collections.abc import Mapping
from dataclasses import dataclass, field

from .._kernel import bpf
from .._kernel.cpus import possible_cpus
from .._kernel.lock import locked, remove_lock
from .._kernel.network import FAMILIES, gateway_mac, own_address
from .._kernel.pins import pinned_program
from .._kernel.state_files import StateFile
from .._kernel.tc import CLSACT, Egress, Filter
from .._model import layout
from .._model.errors import NetworkError, ProgramError
from .._model.healthcheck_settings import HealthcheckSettings, options_of, parse_healthcheck
from .._model.map_specs import (
    HC_GATEWAY_MAC,
    HC_IFINDEX,
    HC_SOURCE_IPV4,
    HC_SOURCE_IPV6,
    HC_SOURCE_MAC,
    HEALTHCHECK_MAPS,
    HEALTHCHECK_SPECS,
)
from .._model.tables import TABLES
from .._model.vips import VipKey
from .._program import compiler
from .._program.pinned import PinnedProgram
from .._program.requirements import require_bpffs, require_capabilities, require_interface
from .known_tables import known_table

PROGRAM = "healthcheck"
DESTINATIONS = TABLES["healthcheck_destinations"]
FILTER_NAME = "katran_healthcheck"


@dataclass
class HealthcheckOutcome:
    """What a run did, or in check mode would do."""

    changes: list[str] = field(default_factory=list)
    operations: dict[str, int] = field(default_factory=dict)
    before: dict[str, t.Any] = field(default_factory=dict)
    after: dict[str, t.Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    program: dict[str, t.Any] = field(default_factory=dict)


@dataclass
class _Place:
    """One interface: its number, whether it has a clsact, and our filters on its egress."""

    index: int
    qdisc: str | None
    filters: list[Filter]


@dataclass
class _Plan:
    """What a run will do."""

    create: list[str] = field(default_factory=list)
    compile: bool = False
    load: bool = False
    puts: dict[str, list[tuple[bytes, bytes]]] = field(default_factory=dict)
    deletes: dict[str, list[bytes]] = field(default_factory=dict)
    attach: bool = False
    leave: list[str] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)


class Healthcheck:
    """Program healthcheck of one instance on this host."""

    def __init__(self, instance: str, bpffs: str, file: StateFile | None = None) -> None:
        self.file = file or StateFile(instance, bpffs)
        self.program = PinnedProgram(PROGRAM, HEALTHCHECK_MAPS, self.file)

    def ensure(
        self, settings: HealthcheckSettings, check: bool, timeout: float, confirm: bool = False
    ) -> HealthcheckOutcome:
        """Bring the program to the interface; in check mode only say what that takes.

        `confirm`: ask the gateway for its MAC where the kernel's entry is old.
        """
        require_capabilities()
        outcome = HealthcheckOutcome()
        if not check:
            require_bpffs(self.file.bpffs)
        elif not bpf.is_bpffs(self.file.bpffs):
            outcome.warnings.append(f"bpffs: {self.file.bpffs} is not a bpf file system on this host yet")
        require_interface(settings.interface)
        # The gateway may take seconds to answer: another run need not wait for that.
        values = self._resolve(settings, check, confirm)
        with locked(self.file.instance, not check, timeout):
            known = self.program.known()
            places = self._places(settings, known, check)
            plan = self._plan(settings, known, values, places, check)
            outcome.changes = plan.changes
            outcome.operations = _count(plan)
            outcome.before = known.get("settings", {})
            outcome.after = _settings_data(settings, values)
            if not check:
                if plan.changes or outcome.before != outcome.after:
                    self._execute(plan, settings, known, places)
                    known["settings"] = outcome.after
                    known["source_dir"] = settings.source_dir or known.get("source_dir", "")
                    known["options"] = options_of(settings)
                    self.program.record(known)
                outcome.program = self._program(settings)
        return outcome

    def remove(self, check: bool, timeout: float) -> HealthcheckOutcome:
        """Take the program off the host: filter, qdisc if it was ours, pins, state."""
        require_capabilities()
        outcome = HealthcheckOutcome()
        with locked(self.file.instance, not check, timeout):
            known = self.program.known()
            outcome.before = known.get("settings", {})
            if known.get("interfaces"):
                with Egress() as egress:
                    for name in known["interfaces"]:
                        self._leave(egress, name, known, check, outcome.changes)
            outcome.changes += self.program.forget(known, check)
            if self.file.read_file(DESTINATIONS.file) is not None:
                outcome.changes.append("forget the health-check destinations")
                if not check:
                    bpf.remove_pins([os.path.join(self.file.directory, DESTINATIONS.file)])
            if not check:
                self.file.remove_if_empty()
                if not os.path.isdir(self.file.directory):
                    remove_lock(self.file.instance)
        return outcome

    # what is wanted

    def _resolve(self, settings: HealthcheckSettings, check: bool, confirm: bool) -> dict[str, str]:
        """What auto stands for on this host; in check mode without pyroute2 some are missing."""
        found: dict[str, str] = {}
        try:
            with Egress() as egress:
                own = egress.mac(settings.interface) if settings.source_mac == "auto" else settings.source_mac
                index = egress.index(settings.interface)
        except ProgramError:
            if check:
                return found
            raise
        if own is None or index is None:
            raise ProgramError(f"source_mac auto: interface {settings.interface} has no MAC address; give source_mac")
        found["index"] = str(index)
        found["source_mac"] = own
        found["gateway_mac"] = settings.gateway_mac
        if settings.gateway_mac == "auto":
            try:
                found["gateway_mac"] = gateway_mac([settings.interface], confirm)
            except NetworkError as error:
                raise ProgramError(str(error)) from error
        for family, option in (("IPv4", "source_ipv4"), ("IPv6", "source_ipv6")):
            text = getattr(settings, option)
            found[option] = (own_address(FAMILIES[family], [settings.interface]) or "") if text == "auto" else text
        if not found["source_ipv4"] and not found["source_ipv6"]:
            raise ProgramError(
                f"source_ipv4 and source_ipv6 auto: interface {settings.interface} has no address; give one of them"
            )
        return found

    @staticmethod
    def _wanted(values: Mapping[str, str]) -> dict[str, list[tuple[str, bytes, bytes]]]:
        """Map → (what it is called, key, value) of the arrays that say how probes leave."""
        if not values:
            return {}
        sources = []
        for option, label, index in (
            ("source_ipv4", "IPv4 source", HC_SOURCE_IPV4),
            ("source_ipv6", "IPv6 source", HC_SOURCE_IPV6),
        ):
            packed = layout.pack_address(values[option]) if values[option] else b""
            flags = layout.REAL_IPV6 if packed and index == HC_SOURCE_IPV6 else 0
            sources.append((label, layout.u32(index), layout.real_definition(packed, flags)))
        return {
            "hc_ctrl_map": [("interface number", layout.u32(HC_IFINDEX), layout.u32(int(values["index"])))],
            "hc_pckt_srcs_map": sources,
            "hc_pckt_macs": [
                ("source MAC", layout.u32(HC_SOURCE_MAC), layout.mac_bytes(values["source_mac"])[:6]),
                ("gateway MAC", layout.u32(HC_GATEWAY_MAC), layout.mac_bytes(values["gateway_mac"])[:6]),
            ],
        }

    # what is there

    def _places(self, settings: HealthcheckSettings, known: Mapping[str, t.Any], check: bool) -> dict[str, _Place]:
        """The interfaces where the program is, was, or is to be, as far as they exist."""
        found: dict[str, _Place] = {}
        try:
            with Egress() as egress:
                for name in sorted({settings.interface, *known.get("interfaces", [])}):
                    index = egress.index(name)
                    if index is not None:
                        found[name] = _Place(index, egress.qdisc(index), self._ours(egress, index, known))
        except ProgramError:
            if not check:
                raise
        return found

    def _ours(self, egress: Egress, index: int, known: Mapping[str, t.Any]) -> list[Filter]:
        return [each for each in egress.filters(index) if self.program.owns(each.program_id, known)]

    # what to do

    def _plan(
        self,
        settings: HealthcheckSettings,
        known: Mapping[str, t.Any],
        values: Mapping[str, str],
        places: Mapping[str, _Place],
        check: bool,
    ) -> _Plan:
        plan = _Plan(create=self.program.missing_maps())
        digest = self.program.digest(settings.source_dir, settings.macros(), check)
        plan.compile = digest is None or digest != known.get("source_digest") or self.program.bytecode() is None
        current = pinned_program(self.program.paths.program)
        plan.load = plan.compile or current is None or bool(plan.create)
        if plan.create:
            plan.changes.append(f"create {len(plan.create)} map{'s' if len(plan.create) > 1 else ''}")
        if plan.compile:
            plan.changes.append(f"compile the program {PROGRAM} ({settings.encapsulation})")
        if plan.load:
            plan.changes.append(f"load the program {PROGRAM}")
        self._plan_values(plan, values)
        self._plan_keys(plan, settings)
        place = places.get(settings.interface)
        if place is not None and place.qdisc not in (None, CLSACT):
            raise ProgramError(
                f"interface {settings.interface} has a qdisc {place.qdisc}, beside which there is no room for clsact:"
                " replace it by clsact, which takes the same filters"
            )
        running = [each.program_id for each in place.filters] if place else []
        if plan.load or current is None or running != [current.id]:
            plan.attach = True
            if place is None or place.qdisc is None:
                plan.changes.append(f"add the qdisc clsact to {settings.interface}")
            plan.changes.append(f"attach {PROGRAM} to the egress of {settings.interface}")
        plan.leave = [name for name in known.get("interfaces", []) if name != settings.interface]
        plan.changes += [f"detach {PROGRAM} from {name}" for name in plan.leave]
        return plan

    def _plan_values(self, plan: _Plan, values: Mapping[str, str]) -> None:
        for name, wanted in self._wanted(values).items():
            there = self._entries(name, plan)
            for label, key, value in wanted:
                old = there.get(key, bytes(len(value)))
                if old != value:
                    plan.puts.setdefault(name, []).append((key, value))
                    plan.changes.append(f"{label} {_shown(name, key, old)} → {_shown(name, key, value)}")

    def _plan_keys(self, plan: _Plan, settings: HealthcheckSettings) -> None:
        """Each counted VIP gets a place among the counters and keeps it."""
        there = {key: layout.parse_u32(value) for key, value in self._entries("hc_key_map", plan).items()}
        wanted = {
            layout.vip_definition(vip.packed, vip.port, layout.PROTOCOLS[vip.protocol]): vip
            for vip in settings.counted_vips
        }
        gone = [key for key in there if key not in wanted]
        used = set(there.values())
        free = (place for place in range(HEALTHCHECK_SPECS["per_hckey_stats"].entries({})) if place not in used)
        freed = sorted(there[key] for key in gone)
        counters = bytes(8 * possible_cpus())
        for key, vip in wanted.items():
            if key not in there:
                place = next(free, None)
                if place is None:
                    place = freed.pop(0)
                plan.puts.setdefault("hc_key_map", []).append((key, layout.u32(place)))
                plan.puts.setdefault("per_hckey_stats", []).append((layout.u32(place), counters))
                plan.changes.append(f"count probes of {vip}")
        if gone:
            plan.deletes["hc_key_map"] = gone
            plan.changes += [
                f"no longer count probes of {text}" for text in sorted(str(VipKey.of_definition(key)) for key in gone)
            ]

    def _entries(self, name: str, plan: _Plan) -> dict[bytes, bytes]:
        if name in plan.create:
            return {}
        with bpf.open_map(self.program.paths.map(name)) as opened:
            return dict(opened.items())

    # doing it

    def _execute(
        self,
        plan: _Plan,
        settings: HealthcheckSettings,
        known: dict[str, t.Any],
        places: Mapping[str, _Place],
    ) -> None:
        self.program.create_maps(plan.create)
        self._fill(plan)
        bytecode = None if plan.compile else self.program.bytecode()
        if bytecode is None:
            bytecode = compiler.compile_program(settings.source_dir, PROGRAM, settings.macros())
        fd = self.program.load_next(bytecode) if plan.load else bpf.open_pin(self.program.paths.program)
        try:
            # Recorded first: a run killed after this leaves word of where the program and a qdisc of ours may be.
            name = settings.interface
            known["interfaces"] = sorted({*known.get("interfaces", []), name})
            if plan.attach and places[name].qdisc is None:
                known["qdiscs"] = sorted({*known.get("qdiscs", []), name})
            self.program.record(known)
            with Egress() as egress:
                if plan.attach:
                    self._attach(egress, name, places[name], fd)
                for other in plan.leave:
                    self._leave(egress, other, known, False, [])
            known["interfaces"] = [name]
            known["qdiscs"] = [each for each in known.get("qdiscs", []) if each == name]
            if plan.load:
                self.program.keep_next(bytecode)
            known.update(bpffs=self.file.bpffs, source_digest=bytecode.digest, tag=bpf.program_info(fd).tag)
        finally:
            os.close(fd)

    def _fill(self, plan: _Plan) -> None:
        """Write the maps before the program can meet a packet; counters before the keys that lead to them."""
        writes = dict(plan.puts)
        if "hc_reals_map" in plan.create:
            entries = map(DESTINATIONS.entry, known_table(DESTINATIONS, self.file, None, {}).values())
            writes["hc_reals_map"] = [(entry.key, entry.value) for entry in entries]
        for name in ("per_hckey_stats", *sorted(set(writes) - {"per_hckey_stats"})):
            if name in writes:
                with bpf.open_map(self.program.paths.map(name)) as opened:
                    opened.delete_many(plan.deletes.get(name, []))
                    opened.update_many(writes[name])
        for name in sorted(set(plan.deletes) - set(writes)):
            with bpf.open_map(self.program.paths.map(name)) as opened:
                opened.delete_many(plan.deletes[name])

    @staticmethod
    def _attach(egress: Egress, interface: str, place: _Place, fd: int) -> None:
        if place.qdisc is None:
            egress.add_qdisc(interface, place.index)
        if place.filters:
            egress.replace(interface, place.index, place.filters[0], fd)
        else:
            egress.add(interface, place.index, fd, FILTER_NAME)
        for surplus in place.filters[1:]:
            egress.remove(interface, place.index, surplus)

    def _leave(
        self, egress: Egress, interface: str, known: Mapping[str, t.Any], check: bool, changes: list[str]
    ) -> None:
        """Take our filters off an interface, and its clsact where that is ours and now empty."""
        index = egress.index(interface)
        if index is None:
            return
        ours = self._ours(egress, index, known)
        for place in ours:
            changes.append(f"detach {PROGRAM} from the egress of {interface}")
            if not check:
                egress.remove(interface, index, place)
        qdisc = interface in known.get("qdiscs", []) and egress.qdisc(index) == CLSACT
        if qdisc and not egress.has_others(index, ours if check else ()):
            changes.append(f"remove the qdisc clsact from {interface}")
            if not check:
                egress.remove_qdisc(interface, index)

    def _program(self, settings: HealthcheckSettings) -> dict[str, t.Any]:
        info = pinned_program(self.program.paths.program)
        if info is None:
            return {}
        return {"id": info.id, "tag": info.tag, "instructions": info.instructions, "interface": settings.interface}


def _count(plan: _Plan) -> dict[str, int]:
    """Entries written per map; resets of counters are not configuration."""
    names = sorted({*plan.puts, *plan.deletes} - {"per_hckey_stats"})
    return {name: len(plan.puts.get(name, ())) + len(plan.deletes.get(name, ())) for name in names}


def _shown(name: str, key: bytes, value: bytes) -> str:
    """A value of one of the arrays in an operator's words."""
    if not any(value):
        return "none"
    if name == "hc_ctrl_map":
        return str(layout.parse_u32(value))
    if name == "hc_pckt_macs":
        return layout.parse_mac(value)
    return layout.unpack_address(value, layout.parse_u32(key) == HC_SOURCE_IPV6)


def _settings_data(settings: HealthcheckSettings, values: Mapping[str, str]) -> dict[str, t.Any]:
    """The settings on this host: what auto stands for is resolved."""
    return options_of(settings) | {name: value for name, value in values.items() if name != "index"}


def restore_healthcheck(file: StateFile, timeout: float) -> list[str]:
    """Bring back what the last run left, without a compiler: after a boot, or when an address or a MAC changed.

    Returns one line for each thing done.
    """
    healthcheck = Healthcheck(file.instance, file.bpffs, file)
    options = healthcheck.program.known().get("options")
    if not options:
        return []
    settings = parse_healthcheck({**options, "source_dir": ""})
    return healthcheck.ensure(settings, False, timeout, confirm=True).changes
