# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a balancer tells for the report of its fleet: read once, and nothing is written."""

from __future__ import annotations

import os
import time
import typing as t
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from functools import partial

from .._kernel.maps import KernelMaps
from .._model.doctor.finding import in_order
from .._model.drift_finding import config_digest, live_digest, why_another
from .._model.errors import FleetError
from .._model.exceptions import VipTable
from .._model.fleet_revert import told_of
from .._model.flow_selection import KEY_BYTES
from .._model.history import Entry
from .._model.report.told import Pools, row, told_out, told_vips
from .._model.settings import COMPILED
from .._model.status import Live
from .._model.vips import VipKey, vip_to_config
from .doctor.run import NothingThereError, examine
from .flows import FLOW_TABLES, open_flow_tables
from .history_info import History
from .look import find_kinds
from .request import Request
from .status import BalancerStatus, Look, TableFill, read_whole

MOST_FLOWS = 200_000
"""As many flows are looked at, and a batch more: each table's first by the kernel's hash, which favours no real."""

_BATCH = 8192

_EVERY = 16
"""Of the half slots of a ring, every so many are compared between balancers: whole rings are, on their own hosts."""

_PORT = slice(34, 37)
"""Where a flow's key has the port and the protocol."""


def report_facts(request: Request) -> dict[str, t.Any]:
    """Everything, JSON-able. `installed`: whether the host has a balancer of this instance at all.

    Where something cannot be read, that is among `notes`, and the rest is told.
    """
    began = time.monotonic()
    found: dict[str, t.Any] = {
        "installed": False,
        "instance": request.instance,
        "at": round(time.time(), 3),
        "kernel": os.uname().release,
        "findings": [],
        "notes": [],
    }
    kind = find_kinds(request.instance).get(request.instance)
    if kind is not None and kind.balancer:
        found["installed"] = True
        status, more = read_whole(request.instance, request.bpffs, _more)
        found |= _of_status(status) | more
        found["history"] = _history(request.instance, found["notes"])
        with suppress(NothingThereError):
            found["findings"] = [each._asdict() for each in in_order(examine(request, False).findings)]
    found["seconds"] = round(time.monotonic() - began, 3)
    return found


def _of_status(status: BalancerStatus) -> dict[str, t.Any]:
    return {
        "loaded": status.loaded,
        "sure": status.sure,
        "program": status.program,
        "attached": status.attached,
        "agent": status.agent,
        "drained": status.drained,
        "counters": status.counters,
        "tables": _tables(status.tables),
        "differences": status.differences,
        "problems": status.problems,
        "notes": list(status.notes),
        "by_hand": {each.real: each.by_hand for each in status.reals if each.by_hand},
    }


def _tables(fills: list[TableFill]) -> list[dict[str, t.Any]]:
    """The tables of each kind together: their number, entries and room, and the entries and room of the fullest."""
    found = []
    for name in dict.fromkeys(each.table for each in fills):
        tables = [each for each in fills if each.table == name and each.capacity > 1]
        if tables:
            fullest = max(tables, key=lambda each: each.entries / each.capacity)
            found.append(
                {
                    "table": name,
                    "tables": len(tables),
                    "entries": sum(each.entries for each in tables),
                    "capacity": sum(each.capacity for each in tables),
                    "fullest": [fullest.entries, fullest.capacity],
                    "exact": all(each.exact for each in tables),
                }
            )
    return found


def _more(look: Look, live: Live, status: BalancerStatus) -> dict[str, t.Any]:
    """What takes the maps: flows of VIPs by real, and digests by which balancers are compared."""
    addresses = {number: real.address for number, real in live.reals.items()}
    flows: dict[tuple[str, str], int] = {}
    looked = 0
    ring_size = 0
    digests: Mapping[VipKey, str] = {}
    if look.maps is not None:
        ring_size = look.maps.ring_size()
        flows, looked = count_flows(look.maps, live)
        digests = look.of_rings(live, partial(live_digest, addresses=addresses, step=_EVERY))
    pools = Pools([each.real for each in status.reals])
    vips = told_vips(status.vips, pools, flows)
    for told, shown in zip(vips, status.vips, strict=True):
        key = VipKey.read(shown.vip)
        vip = look.vips.get(key)
        told["ring"] = digests.get(key, "")
        told["configured"] = config_digest(vip_to_config(vip), ring_size) if vip is not None else ""
        told["words"] = why_another(vip, look.words) if vip is not None else []
    counts = {each.real: each for each in status.reals}
    per_real = Counter[str]()
    for (_vip, real), count in flows.items():
        per_real[real] += count
    state = look.state
    return {
        "sources": state.program.source_digest or "",
        "made_of": {name: state.settings.get(name) for name in (*sorted(COMPILED), "sizes")} if state.settings else {},
        "ring_size": ring_size,
        "reals": pools.reals,
        "real_flows": row(per_real[each] for each in pools.reals),
        "real_packets": row(counts[each].packets if each in counts else 0 for each in pools.reals),
        "pools": pools.listed(),
        "vips": vips,
        "out": told_out(status.vips),
        "looked": looked,
    }


def count_flows(maps: KernelMaps, live: Live) -> tuple[dict[tuple[str, str], int], int]:
    """((VIP, real) → entries of the connection tables, how many entries were looked at).

    A flow that may be of several VIPs counts for none: its key does not tell every port.
    """
    names = {number: str(key) for key, (_flags, number) in live.vips.items()}
    prefixes = {
        (name == "vip_lpm_map", key): value
        for name in ("vip_lpm_map", "vip_lpm4_map")
        if name in maps.names()
        for key, value in maps.entries(name).items()
    }
    table = VipTable(maps.entries("vip_map"), prefixes)
    owners: dict[bytes, str] = {}
    counts = Counter[tuple[str, int]]()
    looked = 0
    with ExitStack() as stack:
        tables = [each for each in open_flow_tables(maps, stack) if each.name in FLOW_TABLES[0]]
        # What an emptier table leaves of its part, fuller ones have.
        tables.sort(key=lambda each: each.map.fill()[0])
        for done, each in enumerate(tables):
            left, stride = (MOST_FLOWS - looked) // (len(tables) - done), each.map.stride
            for keys, values, count in each.map.batches(_BATCH) if left > 0 else ():
                ids = memoryview(values)[: count * stride].cast("I")[:: stride // 4]
                for at, number in zip(range(0, count * KEY_BYTES, KEY_BYTES), ids, strict=True):
                    key = keys[at : at + KEY_BYTES]
                    place = key[16:32] + key[_PORT]
                    if place not in owners:
                        found = table.owners(key)
                        owners[place] = names.get(found[0].number, "") if len(found) == 1 else ""
                    counts[owners[place], number] += 1
                looked += count
                left -= count
                if left <= 0:
                    break
    told: dict[tuple[str, str], int] = {}
    for (vip, number), count in counts.items():
        if vip:
            real = live.reals[number].address if number in live.reals else f"id {number}"
            told[vip, real] = told.get((vip, real), 0) + count
    return told, looked


def _history(instance: str, notes: list[str]) -> list[dict[str, t.Any]]:
    """The entries on record, oldest first. What is damaged is noted."""
    try:
        known = History(instance).known()
    except (FleetError, OSError) as error:
        notes.append(f"the history cannot be read: {error}")
        return []
    notes += [each for each in known.values() if not isinstance(each, Entry)]
    return [told_of(each) for each in known.values() if isinstance(each, Entry)]
