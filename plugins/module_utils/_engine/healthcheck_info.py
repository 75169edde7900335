# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host's health checks can tell, read and never written."""

from __future__ import annotations

import typing as t

from .._kernel.edges import KernelEdges
from .._kernel.maps import KernelMaps
from .._kernel.pins import Paths, pinned_program
from .._kernel.state_folder import StateFolder
from .._kernel.tc import ways_out
from .._model import layout
from .._model.healthcheck_plan import PROGRAM
from .._model.healthcheck_record import HealthcheckRecord
from .._model.map_specs import HEALTHCHECK_COUNTERS, HEALTHCHECK_MAPS
from .._model.tables import TABLES
from .._model.vips import VipKey
from .._program.own_pins import healthcheck_pins
from .known_tables import known_table
from .request import Request

DESTINATIONS = TABLES["healthcheck_destinations"]
_RESOLVED = ("source_ipv4", "source_ipv6", "source_mac", "gateway_mac")


def healthcheck_info(request: Request, warnings: list[str] | None = None) -> dict[str, t.Any]:
    """What a host's health checks are. Empty where there is none.

    `settings` and `destinations` are in their modules' own form; `in_use` is what auto stands for. `warnings` get a
    line for each pin that is not the program's.
    """
    file = StateFolder(request.instance, request.bpffs)
    paths = Paths(request.bpffs, request.instance, PROGRAM)
    known = file.read_record(HealthcheckRecord, PROGRAM)
    found = healthcheck_pins(KernelEdges(), paths, known, ways_out)
    if not found.maps.keys() >= {spec.name for spec in HEALTHCHECK_MAPS}:
        return {}
    if warnings is not None:
        warnings += found.warnings(paths.maps, PROGRAM)
    with KernelMaps(paths.maps, found.lost, hidden=found.strays) as maps:
        destinations = known_table(DESTINATIONS, file, None, {"hc_reals_map": maps.entries("hc_reals_map")})
        info = pinned_program(paths.program)
        return {
            "program": {"id": info.id, "tag": info.tag, "instructions": info.instructions} if info else {},
            "settings": known.options,
            "in_use": {name: known.settings.get(name, "") for name in _RESOLVED},
            "destinations": [DESTINATIONS.row(destinations[mark]) for mark in sorted(destinations)],
            "counters": dict(zip(HEALTHCHECK_COUNTERS, _sums(maps, "hc_stats_map", 0), strict=True)),
            "vips": _counted(maps),
        }


def _counted(maps: KernelMaps) -> list[dict[str, t.Any]]:
    """The VIPs whose probes are counted, by name."""
    rows = []
    for key, value in maps.entries("hc_key_map").items():
        packets = _sums(maps, "per_hckey_stats", layout.parse_u32(value))[0]
        rows.append({"vip": str(VipKey.of_definition(key)), "packets": packets})
    return sorted(rows, key=lambda row: str(row["vip"]))


def _sums(maps: KernelMaps, name: str, index: int) -> list[int]:
    """A per-CPU entry's fields, summed over the CPUs."""
    opened = maps.map(name)
    value = opened.lookup(layout.u32(index)) or bytes(opened.stride)
    return layout.sum_cpus(value, opened.info.value_size // 8)
