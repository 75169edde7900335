# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How many flows another ring size or number of VIPs sends elsewhere."""

from __future__ import annotations

import struct
from collections.abc import Mapping

from .._kernel.maps import KernelMaps
from .._kernel.ring_workers import build_rings
from .._model import layout
from .._model.hashing import flow_slot
from .._model.layout import SLOT
from .._model.ring_slots import ring_slots
from .._model.state import State
from .._model.verdicts import words_of
from .._model.vip_plan import ring_members
from .._model.vips import VipKey, vips_from_config

SAMPLE = 2000
"""Flows whose new place is computed to estimate how many move: enough for a figure within two per cent."""


class _Chooser:
    """Which real the rings choose for a flow of a connection table, before and after."""

    def __init__(self, state: State, sizes: Mapping[str, int]) -> None:
        self.state = state
        self.sizes = sizes
        self.words = words_of(state)
        self.vips = vips_from_config(state.vips)
        self.exact = {(key.packed, key.port, key.protocol): key for key in self.vips if key.prefixlen is None}
        self.prefixes = sorted(
            (key for key in self.vips if key.prefixlen is not None), key=lambda key: key.prefixlen or 0, reverse=True
        )
        self.rings: dict[VipKey, list[int]] = {}

    def vip_of(self, destination: bytes, port: int, protocol: str) -> VipKey | None:
        """The VIP that learned a flow; of a VIP matched otherwise than exactly, the flow's port is 0."""
        found = self.exact.get((destination, port, protocol)) or self.exact.get((destination, 0, protocol))
        return found or next(
            (key for key in self.prefixes if key.protocol == protocol and _covers(key, destination)), None
        )

    def slot(self, flow: bytes, key: VipKey, sizes: Mapping[str, int]) -> int:
        """The slot of the VIP's ring that the flow takes under these sizes."""
        source, _destination, sport, dport, _protocol = layout.parse_flow_key(flow)
        address = source if key.ipv6 else source[:4]
        flags = self.vips[key].flags
        return flow_slot(address, sport, dport, max_vips=sizes["vips"], ring_size=sizes["ring"], flags=flags)

    def new_real(self, flow: bytes, key: VipKey) -> int:
        """The id of the real that the new ring chooses; 0 where there is none."""
        if key not in self.rings:
            members = ring_members(self.vips[key], self.words)
            slots = bytes(SLOT * self.sizes["ring"])
            if members:
                ring = build_rings([(members, self.sizes["ring"], self.vips[key].hash)])[0]
                slots = ring_slots(ring, [self.state.real_id(address) for address, _weight in members])
            self.rings[key] = list(struct.unpack(f"={self.sizes['ring']}Q", slots))
        return self.rings[key][self.slot(flow, key, self.sizes)]


def _covers(key: VipKey, address: bytes) -> bool:
    shift = (128 if key.ipv6 else 32) - (key.prefixlen or 0)
    length = 16 if key.ipv6 else 4
    if not key.ipv6 and any(address[4:]):
        return False
    first, second = (int.from_bytes(packed[:length], "big") for packed in (key.packed, address))
    return first >> shift == second >> shift


def count_moves(maps: KernelMaps, state: State, old: Mapping[str, int], new: Mapping[str, int]) -> tuple[int, int]:
    """(flows in the tables, how many of them another ring size or VIP limit sends elsewhere), from a sample.

    The flow hash is seeded with max_vips × ring_size, so every flow that no table knows is chosen anew. A flow that the
    present ring would not send where it goes (since it was learned, the ring changed) is not moved by the sizes.
    """
    flows: list[tuple[bytes, int]] = []
    total = 0
    for table in maps.flow_tables():
        stride = table.info.value_size
        for keys, values, count in table.batches():
            total += count
            flows += [
                (keys[index * 40 : index * 40 + 40], layout.parse_u32(values[index * stride :]))
                for index in range(min(count, SAMPLE - len(flows)))
            ]
    chooser = _Chooser(state, new)
    moved = 0
    for flow, real in flows:
        _source, destination, _sport, dport, protocol = layout.parse_flow_key(flow)
        key = chooser.vip_of(destination, dport, layout.PROTOCOL_NAMES.get(protocol, ""))
        if key is None or str(key) not in state.vip_numbers.assigned:
            continue
        ring = maps.ring(state.vip_numbers.assigned[str(key)]).cast("Q")
        if ring[chooser.slot(flow, key, old)] == real:
            moved += chooser.new_real(flow, key) != real
    return total, round(moved * total / len(flows)) if flows else 0
