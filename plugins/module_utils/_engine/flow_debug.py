# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who encapsulated a flow: with features inline_decap and flow_debug, the balancer writes down where tunnels came from.

A table per CPU: inner flow, ports in host order → outer source (the balancer before us) and outer destination (ours).
"""

from __future__ import annotations

import struct
import typing as t
from collections.abc import Iterable, Iterator, Mapping

from .._kernel import bpf
from .._kernel.maps import KernelMaps
from .._model import layout
from .._model.flow_selection import is_ipv6
from .flows import row_key

MAP = "flow_debug_maps"
_PORTS = struct.Struct("=HH")


class Hops(t.NamedTuple):
    """`encapsulated_by`: the outer source; `arrived_at`: the outer destination, an address of this host."""

    encapsulated_by: str
    arrived_at: str


def parse_hops(value: bytes) -> Hops:
    """flow_debug_info (32): l4_hop[16], this_hop[16]. Outer addresses are of one family."""
    ipv6 = any(value[4:16]) or any(value[20:32])
    return Hops(layout.unpack_address(value[:16], ipv6), layout.unpack_address(value[16:32], ipv6))


def debug_key(key: bytes) -> bytes:
    """The key under which the flow of a connection table's key is written down: its ports are in host order."""
    return key[:32] + _PORTS.pack(*struct.unpack(">HH", key[32:36])) + key[36:]


def has_hops(maps: KernelMaps) -> bool:
    """Whether this balancer writes them down."""
    return MAP in maps.names()


def hops_of(maps: KernelMaps, keys: list[bytes]) -> dict[bytes, Hops]:
    """Connection-table keys → who encapsulated the flow, of those that are known. Nothing without the feature."""
    found: dict[bytes, Hops] = {}
    if not has_hops(maps) or not keys:
        return found
    wanted = {debug_key(key): key for key in keys}
    for table in _tables(maps):
        with table:
            for theirs, ours in wanted.items():
                value = None if ours in found else table.lookup(theirs)
                if value is not None:
                    found[ours] = parse_hops(value)
    return found


def tell_hops(maps: KernelMaps, rows: Iterable[dict[str, t.Any]]) -> None:
    """Add to flows in words who encapsulated each: `encapsulated_by`, None where that is not known.

    Nothing is added without the feature. Flows of a VIP of any port, or that knows no ports of clients, are not known.
    """
    if not has_hops(maps):
        return
    keyed = [(row_key(row), row) for row in rows]
    hops = hops_of(maps, [key for key, _row in keyed])
    for key, row in keyed:
        row["encapsulated_by"] = hops[key].encapsulated_by if key in hops else None


def every_hop(maps: KernelMaps) -> Iterator[Mapping[str, t.Any]]:
    """All that is written down, a row for each flow and CPU."""
    if not has_hops(maps):
        return
    for table in _tables(maps):
        with table:
            for key, value in table.items():
                yield _row(key, parse_hops(value))


def _row(key: bytes, hops: Hops) -> Mapping[str, t.Any]:
    source, destination, _sport, _dport, protocol = layout.parse_flow_key(key)
    sport, dport = _PORTS.unpack_from(key, 32)
    ipv6 = is_ipv6(key)
    return {
        "client": layout.unpack_address(source, ipv6),
        "client_port": sport,
        "vip": layout.unpack_address(destination, ipv6),
        "port": dport,
        "protocol": layout.PROTOCOL_NAMES.get(protocol, str(protocol)),
        **hops._asdict(),
    }


def _tables(maps: KernelMaps) -> Iterator[bpf.Map]:
    for number in dict(maps.map(MAP).items()).values():
        yield bpf.map_by_id(layout.parse_u32(number))
