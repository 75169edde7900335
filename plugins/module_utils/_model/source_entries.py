# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which clients a VIP takes: its lists of prefixes, and the entries by which the program knows them.

The longest prefix that holds a client decides. A VIP that allows some denies all others, which is an entry of its own:
a client that no entry holds may come in.
"""

from __future__ import annotations

import ipaddress
import typing as t
from collections.abc import Iterable, Mapping

from . import layout

FILTER_MAPS = ("src_filter_v4", "src_filter_v6")
DENIED_MAP = "src_denied"
LISTS = ("allow", "deny")
_ALLOWED, _DENIED = layout.u32(1), layout.u32(2)
Lists = tuple[tuple[str, ...], tuple[str, ...]]
"""What is allowed and what is denied, as canonical prefixes, sorted."""


class Filtered(t.Protocol):
    """What has such lists."""

    @property
    def allow(self) -> tuple[str, ...]: ...
    @property
    def deny(self) -> tuple[str, ...]: ...


def filter_map(ipv6: bool) -> str:
    """The map that has a family's entries."""
    return FILTER_MAPS[ipv6]


def everybody(ipv6: bool) -> str:
    """The prefix that holds every client of a family."""
    return "::/0" if ipv6 else "0.0.0.0/0"


def is_filtered(vip: Filtered) -> bool:
    """Whether a VIP asks who its clients are."""
    return bool(vip.allow or vip.deny)


def filter_entries(vip: Filtered, ipv6: bool, number: int) -> dict[bytes, bytes]:
    """Key → value of a VIP's entries in its family's map."""
    if not is_filtered(vip):
        return {}
    found = {source_key(everybody(ipv6), number): _DENIED} if vip.allow else {}
    found.update((source_key(prefix, number), _ALLOWED) for prefix in vip.allow)
    found.update((source_key(prefix, number), _DENIED) for prefix in vip.deny)
    return found


def source_key(prefix: str, number: int) -> bytes:
    """The key of a canonical prefix in a VIP's list."""
    return layout.source_filter_key(*parse_source(prefix), number)


def parse_source(prefix: str) -> tuple[bytes, int]:
    """(address, length) of a canonical prefix, quickly; ValueError for what is none."""
    head, _slash, length = prefix.partition("/")
    packed = bytes(map(int, head.split("."))) if ":" not in head else ipaddress.IPv6Address(head).packed
    return packed, int(length)


def source_in(key: bytes) -> str:
    """The prefix of an entry."""
    packed, length, _number = layout.parse_source_filter_key(key)
    return f"{layout.unpack_address(packed, len(packed) == layout.ADDRESS_BYTES)}/{length}"


def lists_in_kernel(entries: Mapping[str, Mapping[bytes, bytes]]) -> dict[int, Lists]:
    """VIP number → its lists, as the entries have them."""
    found: dict[int, tuple[list[str], list[str]]] = {}
    for name in FILTER_MAPS:
        for key, value in entries.get(name, {}).items():
            allow, deny = found.setdefault(layout.parse_source_filter_key(key)[2], ([], []))
            (deny if value == _DENIED else allow).append(source_in(key))
    everyone = {everybody(ipv6) for ipv6 in (False, True)}
    return {
        number: (in_order(allow), in_order(prefix for prefix in deny if not allow or prefix not in everyone))
        for number, (allow, deny) in found.items()
    }


def deciding_prefix(entries: Mapping[bytes, bytes], client: bytes, number: int) -> tuple[str, bool]:
    """The longest prefix of a VIP's entries that holds a client, "" where none does; and whether a list has it.

    `client`: the packed address, of 4 or 16 bytes. The prefix of all others is in no list of a VIP that allows some.
    """
    bits, value = 8 * len(client), int.from_bytes(client, "big")
    longest, prefix, denies, allows = -1, "", False, False
    for key, verdict in entries.items():
        packed, length, owner = layout.parse_source_filter_key(key)
        if owner == number:
            allows = allows or verdict == _ALLOWED
            if length > longest and not (int.from_bytes(packed, "big") ^ value) >> (bits - length):
                longest, prefix, denies = length, source_in(key), verdict == _DENIED
    return prefix, longest > 0 or (not longest and not (allows and denies))


def in_order(prefixes: Iterable[str]) -> tuple[str, ...]:
    """Prefixes by address, wider ones first."""
    return tuple(sorted(prefixes, key=parse_source))
