# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How many flows a balancer's tables keep where today's ring would not put them."""

from __future__ import annotations

from contextlib import ExitStack

from ..._kernel.maps import KernelMaps
from ..._model import layout
from ..._model.flow_selection import KEY_BYTES
from ..flows import open_flow_tables, real_names
from ..todays_ring import TodaysRing

_SAMPLE = 2000
"""Flows of each table that are looked at."""

_TCP = layout.PROTOCOLS["tcp"]
_PROTOCOL = 36
"""Where a flow key has it."""


def stale_flows(maps: KernelMaps) -> tuple[int, int]:
    """Of some of the tables' TCP flows, how many today's ring would give another real, and of how many."""
    stale = looked = 0
    with TodaysRing(maps, real_names(maps)) as ring, ExitStack() as stack:
        for table in open_flow_tables(maps, stack):
            if table.name != "lru_mapping":
                continue
            keys, values, count = next(table.map.batches(_SAMPLE), (b"", b"", 0))
            for index in range(count):
                key = keys[index * KEY_BYTES : (index + 1) * KEY_BYTES]
                if key[_PROTOCOL] == _TCP:
                    at = index * table.map.stride
                    looked += 1
                    stale += ring.contradicts(key, layout.parse_u32(values[at : at + 4]))
    return stale, looked
