# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Examine a real: decap, the VIPs on lo, and what of the host's own network stands between a tunnel and a service."""

from __future__ import annotations

import contextlib
import typing as t
from collections.abc import Iterator

from ..._kernel.edges import KernelEdges, running_info
from ..._kernel.local_network import counted, links, listeners, ruleset, ways
from ..._kernel.nft import read_mss
from ..._kernel.policies import policies
from ..._kernel.state_folder import StateFolder, instances, read_bpffs
from ..._model import layout
from ..._model.decap_plan import PROGRAM
from ..._model.decap_record import DecapRecord
from ..._model.doctor.finding import Finding
from ..._model.doctor.real import real_findings, service_findings
from ..._model.doctor.real_seen import Listener, RealSeen
from ..._model.errors import FleetError
from ..._model.host_addresses import LOOPBACK
from ..._model.map_specs import DECAP_COUNTERS
from ..decap import Real
from ..host import read_record
from ..request import Request
from .examiner import Examiner, Visit

_MOST_LISTENERS = 2048
"""So many sockets that listen are told of at most."""


def examiners(visit: Visit) -> list[Examiner]:
    """Those of an instance that is a real here."""
    real = _real_of(visit.request)
    if real is None:
        return []

    def look() -> Iterator[Finding]:
        seen = read_real(visit.request, real)
        visit.seen["real"] = told(seen, real)
        yield from real_findings(seen)
        yield from service_findings(seen, visit.services)

    return [Examiner("the real", look)]


def _real_of(request: Request) -> Real | None:
    """What an instance has of a real, None where it has nothing: neither files nor a program."""
    real = Real(request.instance, request.bpffs)
    pinned = KernelEdges().listed(real.home.paths.directory)
    return real if real.home.files() or PROGRAM in pinned else None


def read_real(request: Request, real: Real) -> RealSeen:
    """The real as it is. What the host cannot tell of itself is left out."""
    record, decap = real.look()
    edges = KernelEdges()
    programs = {each.program_id: running_info(edges, each.program_id) for each in decap.attachments.values()}
    heard = listeners()
    return RealSeen(
        instance=request.instance,
        record=record,
        decap=decap,
        others=_others(request),
        host=read_record().real,
        mss=read_mss(),
        links=links(),
        ways=ways(),
        policies=policies(),
        rules=ruleset(),
        listeners=heard or (),
        deaf=heard is None,
        programs={number: info.name for number, info in programs.items() if info is not None},
    )


def _others(request: Request) -> dict[str, list[str]]:
    """Instances beside this one → the interfaces that they have decap on record for."""
    found = {}
    for name in instances():
        if name != request.instance:
            with contextlib.suppress(FleetError):
                record = StateFolder(name, read_bpffs(name, "decap.json")).read_record(DecapRecord, PROGRAM)
                if record.interfaces:
                    found[name] = list(record.interfaces)
    return found


def told(seen: RealSeen, real: Real) -> dict[str, t.Any]:
    """What a comparison of hosts goes by, JSON-able.

    `vips`, `sources`: those of the maps; `addresses`: of the host, VIPs on lo left out; `gue_ports`; `listening`: rows
    of protocol, address, port; `interfaces`: name → MTU; `counters`: since the program was loaded, or the host booted.
    """
    kept = seen.kept
    own = sorted(
        {each.text for each in seen.decap.local() if not (each.interface == LOOPBACK and each.text in kept.vips)}
    )
    heard = [] if seen.deaf else [list(_row(each)) for each in seen.listeners[:_MOST_LISTENERS]]
    return {
        # Without a map, which is a fault of its own, what it is to have.
        "vips": list(seen.decap.vips if "decap_vips" in seen.decap.maps else kept.vips),
        "sources": list(seen.decap.sources if "decap_src_v4" in seen.decap.maps else kept.sources),
        "addresses": own,
        "gue_ports": [port for port in (kept.gue_port, kept.gue_port_before) if port],
        "listening": heard,
        "interfaces": {name: link.mtu for name, link in seen.links.items() if name in seen.record.interfaces},
        "server_id": seen.decap.server_id,
        "mss": seen.mss.size if seen.mss else 0,
        "counters": {**counted(), **_decapsulated(seen, real)},
    }


def _row(each: Listener) -> tuple[int, str, int]:
    return each.protocol, each.address, each.port


def _decapsulated(seen: RealSeen, real: Real) -> dict[str, int]:
    """What the program counted."""
    if "decap_counters" not in seen.decap.maps:
        return {}
    with real.home.open_map("decap_counters", seen.decap.lost) as opened:
        values = layout.sum_cpus(opened.lookup(layout.u32(0)) or b"", len(DECAP_COUNTERS))
    return {f"decap_{name}": value for name, value in zip(DECAP_COUNTERS, values, strict=True)}


def counters(request: Request) -> dict[str, int]:
    """The counters of `told` alone."""
    real = _real_of(request)
    if real is None:
        return {}
    record, decap = real.look()
    return {**counted(), **_decapsulated(RealSeen(request.instance, record, decap), real)}
