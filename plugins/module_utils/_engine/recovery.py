# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where state.json was lost: the state as far as the kernel tells it."""

from __future__ import annotations

from dataclasses import replace

from .._kernel.maps import Maps
from .._kernel.state_files import StateFile
from .._model import layout
from .._model.ids import Ids
from .._model.state import State
from .._model.tables import BALANCER_TABLES
from .._model.verdicts import NO_WORDS
from .._model.vip_entries import Actual, adopt, known_keys, real_of, vips_in_kernel
from .._model.vip_plan import ring_inputs, ring_members
from .._model.vips import Vip, vip_to_config
from .opened import read_actual


def recovered(file: StateFile, state: State, maps: Maps) -> State:
    """Where state.json was lost: the state as far as the kernel tells it, so that nothing live is given up.

    The tables' own files are remembered in `file` and written with the next state. Rings are taken for what their VIPs
    lead to, so that only those change that somebody asks to change; until a run is told all VIPs, every real stays.
    """
    if not state.lost:
        return state
    actual = read_actual(maps)
    names = {map_key: str(key) for map_key, key in known_keys(actual).items()}
    real_ids, numbers = adopt(actual, state.real_ids, state.vip_numbers, names)
    vips = vips_in_kernel(actual)
    reals = [real_of(*layout.parse_real_definition(value)) for value in actual.entries["reals"].values()]
    references = {
        "lost": sorted(real.address for real in reals if not real.local),
        "lost_local": sorted(real.address for real in reals if real.local),
    }
    for table in BALANCER_TABLES.values():
        entries = {name: maps.entries(name) for name in table.maps if name in maps.names()}
        rows = table.rows_in({**entries, "reals": actual.entries["reals"]})
        if rows and file.read_file(table.file) is None:
            file.remember(table.file, table.text(rows))
        references[table.name] = sorted({row["real"] for row in rows}) if table.leads_to_reals else []
    return replace(
        state,
        recovered=bool(reals),
        vips=[vip_to_config(vip) for _key, vip in sorted(vips.items())],
        real_ids=real_ids,
        vip_numbers=numbers,
        references=references,
        # Of VIPs that are gone nothing tells but this.
        learned=sorted(
            key
            for key, number in numbers.assigned.items()
            if layout.u32(number) in actual.entries.get("vip_learned", {})
        ),
        rings={str(key): _ring_in_kernel(vip, actual, real_ids, numbers) for key, vip in vips.items()},
    )


def _ring_in_kernel(vip: Vip, actual: Actual, real_ids: Ids, numbers: Ids) -> list[str]:
    members = ring_members(vip, NO_WORDS)
    ids = [real_ids.assigned.get(address, 0) for address, _weight in members]
    number = numbers.assigned.get(str(vip.key))
    inputs = ring_inputs(vip, actual.ring_size, members, ids)
    return [inputs, "" if number is None or not members else actual.digest(number)]


def lost_warnings(state: State) -> list[str]:
    """What to say until all VIPs were told again."""
    if not state.recovered:
        return []
    sentence = (
        f"state.json of balancer {state.instance} was lost: weights, hashes, checks and drained reals of its VIPs"
        " are not known; apply the whole configuration (state overridden)"
    )
    return [sentence]
