# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What today's ring says of flows that a connection table remembers.

A table keeps a flow where it was when the ring changes: that is what it is for. But an entry of TCP has no age, so it
stays until others need its room, also when its connection ended long ago. A SYN goes by the ring whatever is there; but
a connection that another balancer began from the same port is sent to the real of before when it moves here
(docs/readiness.md).
"""

from __future__ import annotations

import mmap
import typing as t
from collections.abc import Mapping

from .._kernel.maps import KernelMaps
from .._model import layout
from .._model.exceptions import VipTable, slot_of
from .._model.layout import SLOT
from .flows import FLOW_TABLES, row_key

_NO_LRU = layout.VIP_FLAGS["no_lru"]


class TodaysRing:
    """The rings of a balancer, open for the length of a with block. `names`: real id → address."""

    def __init__(self, maps: KernelMaps, names: Mapping[int, str]) -> None:
        self._names = names
        self._memory: mmap.mmap | None = None
        present = maps.names()
        if not {"vip_map", "ch_rings", "server_id_stats"} <= present:
            return
        prefixes = {
            (name == "vip_lpm_map", key): value
            for name in ("vip_lpm_map", "vip_lpm4_map")
            if name in present
            for key, value in maps.entries(name).items()
        }
        self._vips = VipTable(maps.entries("vip_map"), prefixes)
        self._size, self._max_vips = maps.ring_size(), maps.capacity("server_id_stats")
        self._memory = maps.map("ch_rings").mmap(writable=False)

    def __enter__(self) -> t.Self:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._memory is not None:
            self._memory.close()

    def choices(self, key: bytes) -> list[int]:
        """The ids of the reals that the VIPs which a flow may be of would choose; none where no packet asks a table."""
        found: list[int] = []
        if self._memory is None:
            return found
        for owner in self._vips.owners(key):
            if not owner.flags & _NO_LRU:
                slot = slot_of(key, owner.flags, self._max_vips, self._size)
                at = (owner.number * self._size + slot) * SLOT
                found.append(layout.parse_u32(self._memory[at : at + 4]))
        return found

    def contradicts(self, key: bytes, real: int) -> bool:
        """Whether a VIP that a flow may be of would choose another real for it."""
        return any(each != real for each in self.choices(key))

    def tell(self, row: dict[str, t.Any]) -> None:
        """Add to a flow in words: `stale`, whether the ring would choose another real, and `ring`, which.

        What other balancers told is in the global tables because the ring says something else: that is never stale.
        """
        choices = self.choices(row_key(row))
        row["stale"] = row["table"] in FLOW_TABLES[0] and any(each != row["real_id"] for each in choices)
        row["ring"] = self._names.get(choices[0]) if choices else None
