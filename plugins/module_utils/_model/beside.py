# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Balancers of one host (instances): what each has to have of its own, and what all of them share. Pure."""

from __future__ import annotations

import typing as t
from collections.abc import Sequence
from dataclasses import dataclass

Machine = tuple[str, str]
"""What tells hosts from each other: where they are reached, and on which port."""


def machine_of(host: str, address: t.Any, port: t.Any) -> Machine:
    """The machine of an inventory's host. `address`, `port`: its ansible_host and ansible_port, None where not set."""
    return str(address or host), str(port or 22)


@dataclass(frozen=True)
class Instance:
    """What an inventory says of one balancer, as far as others on its host are concerned.

    `slot`: path and position in a root program's array, None where it has interfaces; `bgp`: None where it announces
    nothing; `sync`: address ("" where the host finds it out) and port, None where it tells nobody of flows.
    """

    host: str
    name: str
    interfaces: tuple[str, ...]
    slot: tuple[str, str] | None
    bgp: t.Any
    table: str
    agent: bool
    sync: tuple[str, str] | None


def beside_faults(mine: Instance, others: Sequence[Instance]) -> list[str]:
    """What a balancer may not have as others on its host have it."""
    return [sentence for other in others for sentence in _faults(mine, other)]


def _faults(mine: Instance, other: Instance) -> list[str]:
    where = f"{other.host}, which is on the same host (ansible_host)"
    found = []
    if mine.name == other.name:
        found.append(f"katran_instance {mine.name} is that of {where}: give each balancer a name of its own")
    both = sorted(set(mine.interfaces).intersection(other.interfaces))
    if both and not (mine.slot or other.slot):
        found.append(
            f"katran_interfaces: {', '.join(both)} is in those of {where}: an interface runs one program; share it by a"
            " root program and katran_root_array"
        )
    if mine.slot and mine.slot == other.slot:
        found.append(f"katran_root_array: slot {mine.slot[1]} of {mine.slot[0]} is that of {where}")
    if mine.bgp is not None and other.bgp is not None:
        if mine.bgp != other.bgp:
            found.append(f"katran_bgp is another than that of {where}: a host has one bird, so give both the same")
        if mine.table != other.table:
            found.append(f"katran_announce_table {mine.table} is another than that of {where}: bird learns one table")
    if mine.sync and other.sync and mine.sync[1] == other.sync[1] and _meet(mine.sync[0], other.sync[0]):
        found.append(f"katran_sync_port {mine.sync[1]} is that of {where}: give each one a port of its own")
    return found


def _meet(one: str, other: str) -> bool:
    """Whether two addresses to listen at may be the same: what the host finds out is one for all."""
    return not one or not other or one == other
