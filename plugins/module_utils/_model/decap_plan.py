# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real's side: what is wanted of program decap and the addresses of lo, what is there, and the steps between them."""

from __future__ import annotations

import typing as t
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from . import layout
from .decap_record import DecapKept, DecapRecord
from .decap_settings import RealSettings, with_kept_vips
from .map_specs import DECAP_MAPS
from .operations import Delete, Put
from .program_plan import (
    Kind,
    Places,
    ProgramPlan,
    plan_absence,
    plan_interfaces,
    plan_map_pins,
    plan_program,
    require_interfaces,
)
from .snapshot import Missing, ProgramSnapshot
from .steps import Attach, ChangeLoopback, Conclude, Intend

PROGRAM = "decap"


@dataclass(frozen=True)
class DecapSnapshot(ProgramSnapshot):
    """What there is of decap. `vips`, `sources`, `server_id`: in its maps; `loopback`: the addresses of lo."""

    vips: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    server_id: int = 0
    loopback: Collection[str] | Missing = ()

    def local(self) -> Collection[str]:
        """The addresses of lo, as far as they could be read."""
        return () if isinstance(self.loopback, Missing) else self.loopback

    def settings(self, record: DecapRecord) -> dict[str, t.Any]:
        """What there is, in the form of what is wanted."""
        return {
            "vips": list(self.vips),
            "sources": list(self.sources),
            "server_id": self.server_id,
            "loopback": sorted(set(record.loopback).intersection(self.local())),
        }


def decap_macros(settings: RealSettings, port_before: int) -> dict[str, int]:
    """The integer macros that are compiled in; `port_before`: the port of GUE that balancers may still have, or 0."""
    macros = {"GUE_PORT": settings.gue_port}
    if port_before:
        macros["GUE_PORT_BEFORE"] = port_before
    if settings.sources:
        macros["DECAP_CHECK_SOURCES"] = 1
    return macros


def plan_real(settings: RealSettings, port_before: int, record: DecapRecord, seen: DecapSnapshot) -> ProgramPlan:
    """Bring decap and the addresses to where the settings want them. ProgramError where another's program is there."""
    require_interfaces(seen)
    plan = ProgramPlan()
    plan.need(seen.bpffs, seen.attached, seen.digest, seen.loopback)
    kind = Kind(PROGRAM, DECAP_MAPS, settings.source_dir, decap_macros(settings, port_before))
    current = plan_program(plan, kind, seen, record.source_digest)
    places = Places(settings.interfaces, settings.mode, PROGRAM)
    plan_interfaces(plan, places, seen.attachments, seen.ours(record), current)
    there = plan.before = seen.settings(record)
    settings = with_kept_vips(settings, record.settings.vips if record.settings else there["vips"])
    vips = sorted(settings.vips or ())
    wanted = plan.after = {
        "vips": vips,
        "sources": sorted(settings.sources),
        "server_id": settings.server_id,
        "loopback": vips if settings.loopback else [],
    }
    _plan_addresses(plan, there, wanted)
    if seen.server_id != settings.server_id:
        step = Put("tpr_server_id", ((layout.u32(0), layout.u32(settings.server_id)),))
        plan.add(step, f"server id {seen.server_id} → {settings.server_id}")
    _plan_loopback(plan, wanted["loopback"], record.loopback, seen.local())
    source_dir = settings.source_dir or (record.settings.source_dir if record.settings else "")
    kept = DecapKept(**wanted, gue_port=settings.gue_port, gue_port_before=port_before, source_dir=source_dir)
    _plan_record(plan, settings, kept, record)
    return plan


def _plan_addresses(plan: ProgramPlan, there: Mapping[str, t.Any], wanted: Mapping[str, t.Any]) -> None:
    for key, label in (("vips", "vip"), ("sources", "source")):
        add = [address for address in wanted[key] if address not in there[key]]
        gone = [address for address in there[key] if address not in wanted[key]]
        if add:
            entries = tuple((layout.pack_address(address), layout.u32(1)) for address in add)
            plan.add(Put(f"decap_{key}", entries), *(f"{label} {address} added" for address in add))
        if gone:
            keys = tuple(map(layout.pack_address, gone))
            plan.add(Delete(f"decap_{key}", keys), *(f"{label} {address} removed" for address in gone))


def _plan_loopback(plan: ProgramPlan, wanted: Collection[str], mine: Collection[str], there: Collection[str]) -> None:
    """`mine`: the addresses that are ours to take away."""
    add = sorted(set(wanted).difference(there))
    gone = sorted(set(mine).difference(wanted).intersection(there))
    if add or gone:
        lines = [*(f"add {address} to lo" for address in add), *(f"remove {address} from lo" for address in gone)]
        plan.add(ChangeLoopback(tuple(add), tuple(gone)), *lines)


def _plan_record(plan: ProgramPlan, settings: RealSettings, kept: DecapKept, record: DecapRecord) -> None:
    """Before anything changes, what may be there should the run be killed; at the end, what is."""
    begun = replace(record, loopback=sorted({*record.loopback, *kept.loopback}))
    if plan.of(Attach):
        begun.interfaces = sorted({*record.interfaces, *settings.interfaces})
    if record.settings is not None:
        # To keep what is served is to keep what a killed run began to serve.
        vips = sorted({*record.settings.vips, *kept.vips})
        loopback = sorted({*record.settings.loopback, *kept.loopback})
        begun.settings = replace(record.settings, vips=vips, loopback=loopback)
    ended = replace(record, interfaces=list(settings.interfaces), mode=settings.mode)
    ended.loopback, ended.settings = sorted(kept.loopback), kept
    if begun != record:
        plan.add(Intend(begun))
    if plan.changes or ended != record:
        plan.add(Conclude(ended))


def plan_withdrawal(served: Collection[str], record: DecapRecord, seen: DecapSnapshot) -> ProgramPlan:
    """Take away the VIPs that are not among these, and leave the rest of the host as it is."""
    plan = ProgramPlan()
    before = record.settings.vips if record.settings else []
    gone = [address for address in before if address not in served]
    if record.settings is None:
        return plan
    plan_map_pins(plan, seen)
    if not gone:
        return plan
    plan.need(seen.loopback)
    after = [address for address in before if address in served]
    plan.before, plan.after = {"vips": before}, {"vips": after}
    plan.changes += [f"vip {address} removed" for address in gone]
    listed = [address for address in gone if address in seen.vips]
    if listed:
        plan.add(Delete("decap_vips", tuple(map(layout.pack_address, listed))))
    there = seen.settings(record)["loopback"]
    local = tuple(address for address in gone if address in there)
    if local:
        plan.add(ChangeLoopback(remove=local), *(f"remove {address} from lo" for address in local))
    loopback = [address for address in record.loopback if address not in gone]
    settings = replace(record.settings, vips=after, loopback=loopback)
    plan.add(Conclude(replace(record, loopback=loopback, settings=settings)))
    return plan


def plan_removal(record: DecapRecord, seen: DecapSnapshot, files: Collection[str]) -> ProgramPlan:
    """Take decap and the addresses off the host."""
    plan = ProgramPlan()
    if record.loopback:
        plan.need(seen.loopback)
    gone = tuple(address for address in record.loopback if address in seen.local())
    if gone:
        plan.add(ChangeLoopback(remove=gone), *(f"remove {address} from lo" for address in gone))
    plan_absence(plan, PROGRAM, seen, record, files)
    return plan
