# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Carrying out operations on maps."""

from __future__ import annotations

from collections.abc import Iterable

from .._kernel.maps import Maps
from .._kernel.privilege import map_failure
from .._model.errors import EngineError
from .._model.operations import (
    BlankSlots,
    Delete,
    DeleteDownSet,
    DropIndex,
    Operation,
    PurgeFlows,
    Put,
    PutDownSet,
    PutIndex,
    PutRing,
    SharedSlots,
    ZeroCounters,
    blank,
    map_of,
)


def execute(operations: Iterable[Operation], maps: Maps, ring_size: int) -> None:
    """Carry out operations in order. EngineError names the map that refused."""
    slots = SharedSlots(ring_size)
    for each in operations:
        try:
            _execute_one(each, maps, slots)
        except OSError as error:
            sentence = f"map {map_of(each)}: {map_failure(error)}; the next run goes on from here"
            raise EngineError(sentence) from error


def _execute_one(each: Operation, maps: Maps, slots: SharedSlots) -> None:
    match each:
        case Put():
            maps.put(each.map, each.entries)
        case Delete():
            maps.delete(each.map, each.keys)
        case PutRing():
            maps.put_ring(each.number, slots.of(each), each.changed)
        case BlankSlots():
            maps.put_ring(each.number, blank(maps.ring(each.number), each.ids), each.changed)
        case PutDownSet():
            maps.put_down_set(each.key, each.ids)
        case DeleteDownSet():
            maps.delete_down_set(each.key)
        case PutIndex():
            maps.put_index(each.slots)
        case DropIndex():
            maps.drop_index()
        case PurgeFlows():
            maps.purge_flows(each.ids)
        case ZeroCounters():
            maps.zero_counters(each.map, each.indexes)
