# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From where packets in tunnels are taken: the outer sources, addresses and prefixes, in a trie for each family."""

from __future__ import annotations

import typing as t
from collections.abc import Collection, Sequence

from . import layout
from .addresses import Prefix, address_fault, read_address, read_prefix
from .faults import Faults
from .operations import Put
from .records import Fault, shown, text
from .steps import DeleteLate

DEFAULT_SOURCES = ("172.16.0.0/16", "100::/64")
"""What balancers have as outer sources of IPIP by default."""

MOST = 4096
"""Of such a list at most."""

REAL_MAPS = ("decap_src_v4", "decap_src_v6")
BALANCER_MAPS = ("tunnel_src_v4", "tunnel_src_v6")
"""The maps of program decap and of a balancer: a host may have both, in one folder."""


def read_source(value: str) -> Prefix | str:
    """An address or prefix of outer sources, or the sentence that says why it can be none."""
    address = read_address(value)
    if address is not None:
        return address_fault(address) or Prefix(address, 128 if address.ipv6 else 32)
    if "/" not in value:
        return f"{value} is neither an IP address nor a prefix"
    prefix = read_prefix(value)
    return prefix if isinstance(prefix, str) else _prefix_fault(prefix) or prefix


def _prefix_fault(prefix: Prefix) -> str | None:
    """Why no packet can come from there."""
    packed, length = prefix.address.packed, prefix.length
    if prefix.address.ipv6 and length >= _MAPPED_BITS and packed.startswith(layout.IPV4_MAPPED):
        inside = f"{layout.unpack_address(packed[12:], False)}/{length - _MAPPED_BITS}"
        return f"{prefix.text} is an IPv4 prefix in IPv6 form; write {inside}"
    if length in (32, 128) and not any(packed) and (length == 128) == prefix.address.ipv6:
        return f"{prefix.text} is the unspecified address"
    multicast = (
        packed[0] == 0xFF and length >= 8 if prefix.address.ipv6 else packed[0] >= 224 and length >= 3
    )  # those prefixes' own lengths
    return f"{prefix.text} has no unicast address" if multicast else None


_MAPPED_BITS = 8 * len(layout.IPV4_MAPPED)


def parse_sources(texts: Sequence[t.Any], name: str, faults: Faults) -> tuple[str, ...]:
    """A list of addresses and prefixes, as canonical prefixes."""
    found = []
    for index, value in enumerate(texts):
        source = read_source(str(value))
        if isinstance(source, str):
            faults.add(f"{name}[{index}]", source)
        else:
            found.append(source.text)
    if len(texts) > MOST:
        faults.add(name, f"{len(texts)} entries are more than {MOST}")
    return tuple(dict.fromkeys(found))


def source(value: t.Any, where: str) -> str:
    """Reader of a file's field: a prefix, or an address as earlier versions wrote it; the canonical prefix."""
    found = read_source(text(value, where))
    if isinstance(found, str):
        raise Fault(where, f"{shown(value)} is neither an IP address nor a prefix")
    return found.text


def source_of(key: bytes) -> str:
    """The canonical prefix of a key of such a map."""
    packed, length = layout.parse_lpm_key(key)
    return f"{layout.unpack_address(packed, len(packed) == layout.ADDRESS_BYTES)}/{length}"


def plan_sources(maps: Sequence[str], there: Collection[str], wanted: Collection[str]) -> tuple[list[t.Any], list[str]]:
    """Steps from the prefixes that are there to those that are wanted, and a line for each.

    `maps`: of IPv4 and of IPv6. A prefix goes only once a longer or shorter one that takes its place is there.
    """
    add = [prefix for prefix in wanted if prefix not in there]
    gone = [prefix for prefix in there if prefix not in wanted]
    steps: list[t.Any] = []
    for index, name in enumerate(maps):
        entries = tuple((_key(prefix), layout.u32(1)) for prefix in add if (":" in prefix) == bool(index))
        if entries:
            steps.append(Put(name, entries))
    for index, name in enumerate(maps):
        keys = tuple(_key(prefix) for prefix in gone if (":" in prefix) == bool(index))
        if keys:
            steps.append(DeleteLate(name, keys))
    return steps, [*(f"source {prefix} added" for prefix in add), *(f"source {prefix} removed" for prefix in gone)]


def _key(prefix: str) -> bytes:
    """The key of a canonical prefix."""
    address, _slash, length = prefix.partition("/")
    packed = layout.pack_address(address)
    return layout.lpm_key(packed if ":" in address else packed[:4], int(length))


def hosts_of(prefixes: Collection[str]) -> list[str]:
    """The addresses of those prefixes that are addresses: all that the map of earlier versions can have."""
    parted = [prefix.partition("/") for prefix in prefixes]
    return [address for address, _slash, length in parted if length == ("128" if ":" in address else "32")]
