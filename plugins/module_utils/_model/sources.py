# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From where packets in tunnels are taken: outer sources, addresses and prefixes, as operators and files have them."""

from __future__ import annotations

import typing as t
from collections.abc import Sequence

from . import layout
from .addresses import Prefix, address_fault, read_address, read_prefix
from .faults import Faults
from .records import Fault, shown, text

DEFAULT_SOURCES = ("172.16.0.0/16", "100::/64")
"""What balancers have as outer sources of IPIP by default."""

EVERYWHERE = ("0.0.0.0/0", "::/0")
"""Those of everybody, which earlier versions wrote as none."""

MOST = 4096
"""Of such a list at most."""


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
    multicast = packed[0] == 0xFF and length >= 8 if prefix.address.ipv6 else packed[0] >= 224 and length >= 3
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
