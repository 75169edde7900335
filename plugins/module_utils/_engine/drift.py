# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What no module's review looks at: since when something differs, routes, and what balancers are compared by.

Nothing is written.
"""

from __future__ import annotations

import os
import re
import time
import typing as t
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from .._kernel.announce_others import others_in
from .._kernel.announce_routes import read_routes
from .._kernel.edges import KernelEdges, pinned_info
from .._kernel.lock import locked
from .._kernel.maps import Maps
from .._kernel.pins import Paths
from .._kernel.run_files import RunFiles
from .._kernel.state_files import StateFile
from .._kernel.state_folder import STATE_ROOT
from .._kernel.systemctl import FOLDER, read_properties
from .._model import layout
from .._model.bird_plan import CONF
from .._model.drift_finding import (
    CHANGED,
    Finding,
    Since,
    config_digest,
    live_digest,
    routes_compared,
    why_another,
)
from .._model.errors import FleetError
from .._model.host_plan import LIBRARY
from .._model.settings import COMPILED
from .._model.state import State
from .._model.verdicts import words_of
from .._model.vips import vip_to_config, vips_from_config
from .announced import read_told
from .opened import read_actual
from .request import Request, Result
from .resource import with_balancer

FILES: Mapping[str, str] = {
    "host": "host.json",
    "bgp": "bgp.json",
    "balancer": "{}/state.json",
    "vips": "{}/state.json",
    "source_routes": "{}/source_routes.json",
    "server_ids": "{}/server_ids.json",
    "decap_destinations": "{}/decap_destinations.json",
    "healthcheck": "{}/healthcheck.json",
    "agent": "{}/agent.json",
    "decap": "{}/decap.json",
    "server_id_option": "{}/server_id_option.json",
}
"""Area → the file that its last run wrote, in which {} stands for the instance."""

_AGENT_SECONDS = 0.3
"""The agent changes routes first, and then writes down that it did."""

_SLOTS = 1 << 22
"""As many ring slots are compared by address; of more rings than that, every second or third slot of each."""

_PATH = re.compile(r"^(?:rewrite|remove|write) (\S+)")
_UNIT = re.compile(r"\b(katran-[\w.@-]+\.(?:service|timer|path|socket)|bird\.service)\b")


def moment(seconds: float) -> str:
    """A time in seconds since the epoch, as people write it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _changed_at(path: str) -> str:
    """When a file, or who may do what with it, changed last; "" where there is none."""
    try:
        status = os.lstat(path)
    except OSError:
        return ""
    return moment(max(status.st_mtime, status.st_ctime))


class Times:
    """Since when something of one instance differs, by what the host itself keeps of times."""

    def __init__(self, instance: str, bpffs: str) -> None:
        self._instance = instance
        self._pins = os.path.join(bpffs, "katran", instance)
        self._units: dict[str, str] = {}

    def since(self, area: str, sentence: str) -> Since:
        """Of one sentence of an area's review."""
        found = self._of_file(area, sentence) or self._of_unit(sentence)
        if found:
            return found
        last = _changed_at(os.path.join(STATE_ROOT, FILES[area].format(self._instance))) if area in FILES else ""
        return Since(after=last, by=f"the last run of {area} that changed something") if last else Since()

    def _of_file(self, area: str, sentence: str) -> Since | None:
        path = ""
        match, unit = _PATH.match(sentence), _UNIT.search(sentence)
        if area == "host" and match:
            path = match[1] if match[1].startswith("/") else os.path.join(LIBRARY, match[1])
        elif area == "host" and unit and sentence.startswith("link the unit "):
            path = os.path.join(FOLDER, unit[1])
        elif area == "bgp" and CONF in sentence:
            path = CONF
        elif sentence.startswith("pin ") or " pin" in sentence:
            path = self._pins if sentence.startswith("pin program") else os.path.join(self._pins, "maps")
        at = _changed_at(path) if path else ""
        return Since(at=at, by=f"time of {path}") if at else None

    def _of_unit(self, sentence: str) -> Since | None:
        match = _UNIT.search(sentence)
        if not match or not sentence.startswith(("start ", "stop ")):
            return None
        name = match[1]
        if name not in self._units:
            try:
                told = read_properties([name], "StateChangeTimestamp")[name].get("StateChangeTimestamp", "")
                parsed = time.mktime(time.strptime(" ".join(told.split()[1:3]), "%Y-%m-%d %H:%M:%S")) if told else 0.0
                self._units[name] = moment(parsed) if parsed else ""
            except (FleetError, ValueError, OverflowError):
                self._units[name] = ""
        return Since(at=self._units[name], by=f"systemd of {name}") if self._units[name] else None


def route_findings(instance: str) -> list[Finding]:
    """What differs between the table of announcements and what the agent has there."""
    for attempt in range(2):
        told = read_told(RunFiles(instance))
        if not told.places and not os.path.exists(RunFiles(instance).ready):
            return []
        routes = read_routes(told.table)
        others = others_in(told.table, len(routes))
        ready = {place: each.metric for place, each in told.places.items()}
        lines = list(routes_compared(ready, routes, others.number, others.protocols, told.table))
        if not lines or attempt:
            break
        time.sleep(_AGENT_SECONDS)
    return [Finding("agent", CHANGED, line) for line in lines]


def compared(request: Request) -> dict[str, t.Any]:
    """What balancers are compared by: the rings as the kernel has them, the program, and what both are made of."""
    with locked(request.instance, False, request.lock_timeout):
        file = StateFile(request.instance, request.bpffs)
        state = file.read()
        if not state.settings:
            return {}
        found: dict[str, t.Any] = {}

        def work(maps: Maps, _file: StateFile, state: State) -> Result:
            found.update(_rings(maps, state))
            return Result()

        with_balancer(replace(request, check=True), work, file)
        info = pinned_info(KernelEdges(), Paths(request.bpffs, request.instance, "balancer").program)
    found["program"] = {
        "tag": info.tag if info else "",
        "sources": state.program.source_digest or "",
        "made_of": {name: state.settings.get(name) for name in (*sorted(COMPILED), "sizes")},
        "kernel": os.uname().release,
    }
    found["applied"] = _changed_at(os.path.join(STATE_ROOT, request.instance, "state.json"))
    return found


def _rings(maps: Maps, state: State) -> dict[str, t.Any]:
    """VIP → digest of its live slots (`rings`), of its configuration (`configured`), who says otherwise (`words`)."""
    actual = read_actual(maps, False)
    vips, words = vips_from_config(state.vips), words_of(state)
    addresses = {}
    for key, value in actual.entries["reals"].items():
        packed, flags = layout.parse_real_definition(value)
        addresses[layout.parse_u32(key)] = layout.unpack_address(packed, bool(flags & layout.REAL_IPV6))
    numbers = {str(key): state.vip_numbers.assigned[str(key)] for key in vips if str(key) in state.vip_numbers.assigned}
    # VIPs of the same reals have the same ring: it is read once.
    each = {actual.digest(number): number for number in numbers.values()}
    step = max(1, len(each) * actual.ring_size // _SLOTS)
    digests = {digest: live_digest(actual.ring(number), addresses, step) for digest, number in each.items()}
    return {
        "rings": {name: digests[actual.digest(number)] for name, number in numbers.items()},
        "configured": {str(key): config_digest(vip_to_config(vip), actual.ring_size) for key, vip in vips.items()},
        "words": {str(key): why for key, vip in vips.items() if (why := why_another(vip, words))},
    }
