# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Looks at what the kernel has of the programs, and the runs that follow a gateway; both in a process of their own."""

from __future__ import annotations

import contextlib
import os
import typing as t

from .._engine.balancer import Balancer
from .._engine.healthcheck import Healthcheck
from .._engine.watch import Watch
from .._kernel import bpf, loopback
from .._kernel.edges import KernelEdges, pinned_ids
from .._kernel.glance import glance_at_gateway
from .._kernel.lock import locked
from .._kernel.open_map import Map
from .._kernel.pins import Paths
from .._kernel.state_files import StateFile
from .._kernel.state_folder import instances, read_bpffs
from .._kernel.tc import ways_out
from .._model import layout
from .._model.balancer_plan import follows_gateway
from .._model.errors import FleetError, LockedError
from .._model.healthcheck_record import HealthcheckRecord
from .._model.map_specs import HC_GATEWAY_MAC
from .._model.marks import is_ours
from .._model.state import State
from .._model.tables import TABLES
from .._model.vip_entries import real_of
from .._program.own_pins import balancer_pins
from .jobs_server import Jobs

LOCK_SECONDS = 1.0
"""A look or a run that meets another run comes again in a moment: nothing of the agent's waits longer."""

_MARKS = TABLES["healthcheck_destinations"].maps[0]


class Looker:
    """Jobs `look` and `follow`."""

    def __init__(self) -> None:
        self._watch = Watch()
        self._states: dict[str, tuple[t.Any, State]] = {}

    def jobs(self) -> Jobs:
        """Their names."""
        return {"look": self.look, "follow": self.follow}

    def look(self) -> dict[str, t.Any]:
        """All that is to be seen.

        `places`: [instance, program, where, what is wrong]; `own`: the host's addresses; `balancers`: instance → its
        look, without those that another run is changing.
        """
        self._watch.look()
        places = [
            [place.instance, place.program, place.where if isinstance(place.where, str) else list(place.where), wrong]
            for place, wrong in self._watch.judged.items()
        ]
        found = {name: self._of_balancer(name) for name in instances()}
        return {
            "places": places,
            "own": sorted({each.text for each in loopback.host_addresses()}),
            "balancers": {name: look for name, look in found.items() if look is not None},
        }

    def _of_balancer(self, instance: str) -> dict[str, t.Any] | None:
        """A balancer and its program healthcheck; None where another run changes just that."""
        file = StateFile(instance, self._watch.bpffs(instance))
        try:
            with locked(instance, False, 0):
                found = self._gateway_and_pins(file)
                return {**found, **_checker(file)}
        except LockedError:
            return None
        except (FleetError, OSError) as error:
            return {"wrong": str(error)}

    def _gateway_and_pins(self, file: StateFile) -> dict[str, t.Any]:
        state = self._state(file)
        if state is None or not state.program.tag:
            return {}
        edges = KernelEdges()
        paths = Paths(file.bpffs, file.instance, "balancer")
        pins = balancer_pins(edges, paths, state.program)
        mac = ""
        if "ctl_array" in pins.maps:
            with edges.open_map_by_id(pins.maps["ctl_array"].id) as ctl:
                there = ctl.lookup(layout.u32(layout.CTL_GATEWAY_MAC))
            mac = layout.parse_mac(there) if there and any(there) else ""
        found: dict[str, t.Any] = {"mac": mac, "pins": pins.warnings(paths.maps, "balancer")}
        if "ch_rings" in pins.maps:
            with edges.open_map_by_id(pins.maps["ch_rings"].id) as rings:
                found["empty"] = _empty(state, rings)
        if follows_gateway(state):
            found |= _way_on(list(state.settings["interfaces"]), mac)
        return found

    def _state(self, file: StateFile) -> State | None:
        """state.json, which is parsed once until it is another."""
        try:
            status = os.stat(file.path)
        except FileNotFoundError:
            self._states.pop(file.instance, None)
            return None
        stamp = status.st_ino, status.st_mtime_ns, status.st_size
        if self._states.get(file.instance, (None,))[0] != stamp:
            self._states[file.instance] = stamp, file.read()
        return self._states[file.instance][1]

    def follow(self, instance: str, balancer: bool, checker: bool) -> list[str]:
        """Send to the gateway's MAC of today, and let program healthcheck follow addresses; a line for each change."""
        file = StateFile(instance, read_bpffs(instance))
        lines = []
        if balancer:
            lines += Balancer(instance, file.bpffs, file).follow_gateway(False, LOCK_SECONDS).changes
        if checker and file.read_file("healthcheck.json") is not None:
            lines += Healthcheck(instance, file.bpffs, file).ensure(None, False, LOCK_SECONDS).changes
        return lines


def _empty(state: State, rings: Map) -> list[str]:
    """The VIPs whose ring has no slot: one that has any has all, so the first one tells."""
    size = state.settings["sizes"]["ring"]
    none = layout.u32(0)
    return [
        name
        for name, number in state.vip_numbers.assigned.items()
        if rings.lookup(layout.u32(number * size)) in (None, none)
    ]


def _way_on(interfaces: list[str], mac: str, prefix: str = "") -> dict[str, t.Any]:
    """Whether a gateway's MAC is known (`known`), and surely another than the one that is sent to (`moved`)."""
    answer, sure = glance_at_gateway(interfaces, mac)
    return {
        f"{prefix}known": bool(answer.mac) and (sure or answer.mac == mac),
        f"{prefix}moved": bool(answer.mac) and sure and answer.mac != mac,
        f"{prefix}lost": "" if answer.mac else answer.sentence,
    }


def _checker_mac(file: StateFile) -> str:
    """The MAC that probes are sent to, "" where the program is not there."""
    path = Paths(file.bpffs, file.instance, "healthcheck").map("hc_pckt_macs")
    with contextlib.suppress(OSError), bpf.open_map(path) as there:
        value = there.lookup(layout.u32(HC_GATEWAY_MAC))
        return layout.parse_mac(value) if value and any(value) else ""
    return ""


def _marks(file: StateFile) -> dict[str, int]:
    """Real → the agent's mark that leads there, as the kernel has it."""
    found = {}
    path = Paths(file.bpffs, file.instance, "healthcheck").map(_MARKS)
    with contextlib.suppress(OSError), bpf.open_map(path) as there:
        for key, value in there.items():
            mark = layout.parse_u32(key)
            if is_ours(mark):
                found[real_of(*layout.parse_real_definition(value)).address] = mark
    return found


def _checker(file: StateFile) -> dict[str, t.Any]:
    """Whether program healthcheck runs where it was put, and whether its gateway is known."""
    if file.read_file("healthcheck.json") is None:
        return {"checker": "", "attached": False}
    record = file.read_record(HealthcheckRecord, "healthcheck")
    interface = record.options.get("interface", "")
    places = ways_out([interface]) if interface else {}
    ours = pinned_ids(KernelEdges(), Paths(file.bpffs, file.instance, "healthcheck"))
    running = {each.program_id for place in places.values() for each in place.filters}
    found: dict[str, t.Any] = {"checker": interface, "attached": bool(ours & running), "marks": _marks(file)}
    if interface in places and record.options.get("gateway_mac") == "auto":
        found |= _way_on([interface], _checker_mac(file), "checker_")
    else:
        found["checker_known"] = interface in places
    return found
