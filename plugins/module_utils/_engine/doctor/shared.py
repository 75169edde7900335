# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What balancers of a fleet have in common, or should: rings, tunnels, server ids. Read for a comparison of hosts."""

from __future__ import annotations

import contextlib
import typing as t

from ..._kernel import bpf
from ..._kernel.pins import Paths
from ..._kernel.state_files import StateFile
from ..._kernel.state_folder import StateFolder
from ..._model import layout
from ..._model.doctor.shared import shared_rings, tunnel_sources
from ..._model.errors import FleetError
from ..._model.healthcheck_record import HealthcheckRecord
from ..._model.state import State
from ..._model.table_rows import read_rows
from ..._model.tables import TABLES
from ..request import Request

MOST_SERVER_IDS = 4096
"""Of a larger table none is compared: what a host tells is bounded."""

_FAMILIES = ("ipv4", "ipv6")


def shared_view(request: Request) -> dict[str, t.Any]:
    """What a balancer is compared with others by; empty where the host is none. For a caller that holds no lock.

    `encapsulation`, `gue_port`, `max_frame`; `sources`: family → prefixes that its tunnels come from; `vips`: as
    `shared_rings` has them; `server_ids`: id → real.
    """
    file = StateFile(request.instance, request.bpffs)
    state = file.read()
    if state.lost or not state.settings:
        return {}
    return {
        "encapsulation": state.settings["encapsulation"],
        "gue_port": state.settings["gue_port"],
        "max_frame": state.settings["max_frame"],
        "sources": _sources(request, state),
        "vips": shared_rings(state),
        "server_ids": _server_ids(file),
    }


def _sources(request: Request, state: State) -> dict[str, list[str]]:
    maps = Paths(request.bpffs, request.instance, "balancer")
    used = {}
    with contextlib.suppress(OSError), bpf.open_map(maps.map("pckt_srcs")) as opened:
        for index, family in enumerate(_FAMILIES):
            packed, _flags = layout.parse_real_definition(opened.lookup(layout.u32(index)) or bytes(20))
            if any(packed):
                used[family] = layout.unpack_address(packed, bool(index))
    probes: dict[str, t.Any] = {}
    with contextlib.suppress(FleetError):
        probes = StateFolder(request.instance, request.bpffs).read_record(HealthcheckRecord, "healthcheck").settings
    return tunnel_sources(state.settings, used, probes)


def _server_ids(file: StateFile) -> dict[str, str]:
    table = TABLES["server_ids"]
    text = file.read_file(table.file)
    rows = read_rows(table, text, table.file) if text else []
    return {} if len(rows) > MOST_SERVER_IDS else {str(row["id"]): row["real"] for row in rows}
