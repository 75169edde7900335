# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real's side: program decap strips what balancers add, and the VIPs are addresses of the loopback interface."""

from __future__ import annotations

import typing as t
from collections.abc import Collection
from dataclasses import replace

from .._kernel import bpf
from .._kernel.lock import locked
from .._kernel.loopback import change_loopback, loopback_addresses
from .._kernel.state_files import StateFile
from .._model import layout
from .._model.decap_record import DecapKept, DecapRecord
from .._model.decap_settings import RealSettings, earlier_gue_port, with_kept_vips
from .._model.map_specs import DECAP_MAPS
from .._program.pinned import SimpleProgram
from .._program.requirements import has_module, require_bpffs, require_capabilities, require_interface
from .request import Result

PROGRAM = "decap"


class Real:
    """Program decap and the loopback addresses of one host."""

    def __init__(self, instance: str, bpffs: str, file: StateFile | None = None) -> None:
        self.file = file or StateFile(instance, bpffs)
        self.program = SimpleProgram(PROGRAM, DECAP_MAPS, self.file, DecapRecord)

    def ensure(self, settings: RealSettings, check: bool, timeout: float) -> Result:
        """Bring decap and the addresses to where the settings want them."""
        require_capabilities()
        outcome = Result()
        if not check:
            require_bpffs(self.file.bpffs)
        elif not bpf.is_bpffs(self.file.bpffs):
            outcome.warnings.append(f"bpffs: {self.file.bpffs} is not a bpf file system on this host yet")
        for name in settings.interfaces:
            require_interface(name)
        with locked(self.file.instance, not check, timeout):
            known = self.program.known()
            port_before = earlier_gue_port(settings.gue_port, known.settings)
            macros = {"GUE_PORT": settings.gue_port}
            if port_before:
                macros["GUE_PORT_BEFORE"] = port_before
            if settings.sources:
                macros["DECAP_CHECK_SOURCES"] = 1
            plan = self.program.plan(settings.interfaces, settings.mode, settings.source_dir, macros, check)
            outcome.changes += plan.changes
            there = self._there(known)
            settings = with_kept_vips(settings, known.settings.vips if known.settings else there["vips"])
            wanted = self._wanted(settings)
            outcome.before, outcome.after = there, wanted
            source_dir = settings.source_dir or (known.settings.source_dir if known.settings else "")
            settled = DecapKept(
                **wanted, gue_port=settings.gue_port, gue_port_before=port_before, source_dir=source_dir
            )
            if not check:
                self._begin(known, settled)
                self.program.create_maps(plan.create)
            for name in ("decap_vips", "decap_sources"):
                self._sync(name, there, wanted, check, outcome)
            if there["server_id"] != wanted["server_id"]:
                outcome.changes.append(f"server id {there['server_id']} → {wanted['server_id']}")
                outcome.operations["tpr_server_id"] = 1
                if not check:
                    with bpf.open_map(self.program.paths.map("tpr_server_id")) as opened:
                        opened.update(layout.u32(0), layout.u32(settings.server_id))
            self._sync_loopback(known, settings, check, outcome)
            if not check and (outcome.changes or known.settings != settled):
                if outcome.changes:
                    self.program.execute(plan, settings.interfaces, settings.mode, settings.source_dir, macros, known)
                known.settings = settled
                self.program.record(known)
        return outcome

    def _begin(self, known: DecapRecord, settled: DecapKept) -> None:
        """Note before anything changes what may be there should this run be killed."""
        before = replace(known)
        known.loopback = sorted({*known.loopback, *settled.loopback})
        kept = known.settings
        if kept is not None:
            vips, loopback = sorted({*kept.vips, *settled.vips}), sorted({*kept.loopback, *settled.loopback})
            known.settings = replace(kept, vips=vips, loopback=loopback)
        if known != before:
            self.program.record(known)

    def withdraw(self, served: Collection[str], check: bool, timeout: float) -> Result:
        """Take away the VIPs that are not among these, and leave the rest of the host as it is."""
        require_capabilities()
        outcome = Result()
        with locked(self.file.instance, not check, timeout):
            known = self.program.known()
            if known.settings is None:
                return outcome
            before = known.settings.vips
            gone = [address for address in before if address not in served]
            if not gone:
                return outcome
            there = self._there(known)
            after = [address for address in before if address in served]
            outcome.before, outcome.after = {"vips": before}, {"vips": after}
            outcome.changes += [f"vip {address} removed" for address in gone]
            listed = [address for address in gone if address in there["vips"]]
            if listed:
                outcome.operations["decap_vips"] = len(listed)
            local = [address for address in gone if address in there["loopback"]]
            outcome.changes += [f"remove {address} from lo" for address in local]
            if not check:
                if listed:
                    with bpf.open_map(self.program.paths.map("decap_vips")) as opened:
                        opened.delete_many([layout.pack_address(address) for address in listed])
                change_loopback([], local)
                known.loopback = [address for address in known.loopback if address not in gone]
                known.settings = replace(known.settings, vips=after, loopback=known.loopback)
                self.program.record(known)
        return outcome

    def remove(self, check: bool, timeout: float) -> Result:
        """Take decap and the addresses off the host."""
        require_capabilities()
        outcome = Result()
        with locked(self.file.instance, not check, timeout):
            known = self.program.known()
            mine = known.loopback
            present = loopback_addresses() if mine else []
            gone = [address for address in mine if address in present]
            outcome.changes += [f"remove {address} from lo" for address in gone]
            if not check:
                change_loopback([], gone)
            outcome.changes += self.program.remove(check)
        return outcome

    def _there(self, known: DecapRecord) -> dict[str, t.Any]:
        missing = self.program.missing_maps()
        found: dict[str, t.Any] = {"vips": [], "sources": [], "server_id": 0}
        for key, name in (("vips", "decap_vips"), ("sources", "decap_sources")):
            if name not in missing:
                with bpf.open_map(self.program.paths.map(name)) as opened:
                    found[key] = sorted(
                        layout.unpack_address(entry, any(entry[4:])) for entry, _value in opened.items()
                    )
        if "tpr_server_id" not in missing:
            with bpf.open_map(self.program.paths.map("tpr_server_id")) as opened:
                found["server_id"] = layout.parse_u32(opened.lookup(layout.u32(0)) or bytes(4))
        mine = known.loopback
        found["loopback"] = sorted(set(mine) & set(loopback_addresses())) if mine else []
        return found

    def _wanted(self, settings: RealSettings) -> dict[str, t.Any]:
        return {
            "vips": sorted(settings.vips or ()),
            "sources": sorted(settings.sources),
            "server_id": settings.server_id,
            "loopback": sorted(settings.vips or ()) if settings.loopback else [],
        }

    def _sync(self, name: str, there: dict[str, t.Any], wanted: dict[str, t.Any], check: bool, outcome: Result) -> None:
        key = name.removeprefix("decap_")
        label = {"vips": "vip", "sources": "source"}[key]
        add = [address for address in wanted[key] if address not in there[key]]
        gone = [address for address in there[key] if address not in wanted[key]]
        outcome.changes += [f"{label} {address} added" for address in add]
        outcome.changes += [f"{label} {address} removed" for address in gone]
        if add or gone:
            outcome.operations[name] = len(add) + len(gone)
            if not check:
                with bpf.open_map(self.program.paths.map(name)) as opened:
                    opened.update_many([(layout.pack_address(address), layout.u32(1)) for address in add])
                    opened.delete_many([layout.pack_address(address) for address in gone])

    def _sync_loopback(
        self,
        known: DecapRecord,
        settings: RealSettings,
        check: bool,
        outcome: Result,
    ) -> None:
        wanted = set(settings.vips or ()) if settings.loopback else set()
        present = set(loopback_addresses()) if check is False or has_module("pyroute2") else set()
        add = sorted(wanted - present)
        gone = sorted((set(known.loopback) - wanted) & present)
        outcome.changes += [f"add {address} to lo" for address in add]
        outcome.changes += [f"remove {address} from lo" for address in gone]
        if not check:
            change_loopback(add, gone)
        known.loopback = sorted(wanted)
