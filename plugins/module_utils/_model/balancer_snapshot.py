# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What there is of a balancer's program on a host, read once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .bytecode import Bytecode
from .slot_plan import Slots, occupant
from .snapshot import NO_BYTECODE, GatewayAnswer, MapInfo, Missing, ProgramInfo, ProgramSnapshot
from .state import ProgramRecord
from .vip_index import Index


@dataclass(frozen=True)
class Room:
    """How much room a map's contents take: entries, and the highest index or id among them."""

    entries: int
    highest: int


@dataclass(frozen=True)
class BalancerSnapshot(ProgramSnapshot):
    """What there is of a balancer's program.

    `previous`: the bytecode of the program before. `tables`: map of tables → CPU → its table; `flows`: CPU → flows in
    its table, where that is to be smaller. `unfinished`: whether a killed run was replacing tables. `cpus`: those that
    receive; `possible`: how many there may be; `nodes`: how many of memory. `values`: map → index → entry. `own`:
    family → this host's address. `room`: map that is to be made anew → what its contents take. `moves`: (flows in the
    tables, those that would be chosen another real). `tunnel_sources`: the prefixes from which tunnels that end here
    are taken. `mtus`: interface → its MTU, where that is asked for. `katrans`: id of a program that is not ours and may
    be replaced, if it is a Katran → how many VIPs it has; `held`: the one that was replaced, where it is still pinned.
    `vips`: the entries of the maps that the VIP index is made of; `index`: the one there is.
    """

    previous: Bytecode | Missing = NO_BYTECODE
    slots: Slots = field(default_factory=dict)
    tables: Mapping[str, Mapping[int, MapInfo]] = field(default_factory=dict)
    flows: Mapping[int, int] = field(default_factory=dict)
    unfinished: bool = False
    cpus: tuple[int, ...] = ()
    possible: int = 0
    nodes: int = 1
    values: Mapping[str, Mapping[int, bytes]] = field(default_factory=dict)
    gateway: GatewayAnswer | Missing | None = None
    own: Mapping[str, str | Missing | None] = field(default_factory=dict)
    room: Mapping[str, Room] = field(default_factory=dict)
    moves: tuple[int, int] | None = None
    tunnel_sources: tuple[str, ...] = ()
    mtus: Mapping[str, int | None] = field(default_factory=dict)
    katrans: Mapping[int, int] = field(default_factory=dict)
    held: ProgramInfo | None = None
    vips: Mapping[str, Mapping[bytes, bytes]] = field(default_factory=dict)
    index: Index | None = None

    def ours_by(self, record: ProgramRecord) -> frozenset[int]:
        """The ids of programs that are this balancer's, wherever XDP or root runs them."""
        there = None if record.slot is None else occupant(self.slots, record.slot)
        return self.owned(record.tag, [*self.at(record.interfaces), *(() if there is None else (there,))])

    def value(self, name: str, index: int) -> bytes | None:
        """One entry of a map; None where there is no such map."""
        return self.values.get(name, {}).get(index)
