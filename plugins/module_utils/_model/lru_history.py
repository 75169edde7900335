# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose flows the connection tables may know.

What the ring chose for a hash_dst_port_only VIP is never learned, and so its flows are not looked for, which is what
makes it fast. That is right unless the tables know them from elsewhere: from the same VIP under other flags, or from
another that had its address, prefix and port. So the name of every VIP that ever learned is kept; tables outlive VIPs.

Pure, like planning.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator

from .vips import Vip, VipKey

MAX_NAMES = 4096
"""Names of one family and protocol that are kept before one stands for them all."""

_Group = tuple[bool, str]
_Span = tuple[int, int, int]
"""First and last address, and port (0: any)."""


def learners(vips: Iterable[Vip], tcp_server_id: bool, before: Collection[str] = ()) -> list[str]:
    """The names of the VIPs that have learned flows, sorted: those `before` and whichever of these do."""
    found = {*before, *(str(vip.key) for vip in vips if _learns(vip, tcp_server_id))}
    if len(found) <= MAX_NAMES:
        return sorted(found)
    groups: dict[_Group, set[str]] = {}
    for name in found:
        groups.setdefault(_group(VipKey.read(name)), set()).add(name)
    kept: list[str] = []
    for (ipv6, protocol), names in groups.items():
        everything = f"{'[::/0]' if ipv6 else '0.0.0.0/0'}:0/{protocol}"
        kept += [everything] if len(names) > MAX_NAMES or everything in names else names
    return sorted(kept)


def _learns(vip: Vip, tcp_server_id: bool) -> bool:
    tcp = vip.key.protocol == "tcp"
    if "quic" in vip.flags and not tcp:
        return True
    if "no_lru" in vip.flags:
        return False
    return "hash_dst_port_only" not in vip.flags or "source_routing" in vip.flags or (tcp and tcp_server_id)


def may_be_known(vips: Iterable[Vip], learned: Iterable[str]) -> set[VipKey]:
    """The hash_dst_port_only VIPs to whose addresses and port one of the `learned` names came too."""
    pure = [vip.key for vip in vips if "hash_dst_port_only" in vip.flags]
    if not pure:
        return set()
    groups: dict[_Group, list[_Span]] = {}
    for key in map(VipKey.read, learned):
        groups.setdefault(_group(key), []).append(_span(key))
    by_group = {group: _Spans(spans) for group, spans in groups.items()}
    return {key for key in pure if _group(key) in by_group and by_group[_group(key)].meet(_span(key))}


class _Spans:
    """Spans by port, each with the furthest address that those up to it reach."""

    def __init__(self, spans: Iterable[_Span]) -> None:
        by_port: dict[int, list[_Span]] = {}
        for span in sorted(spans):
            by_port.setdefault(span[2], []).append(span)
        self._by_port = {port: ([span[0] for span in each], list(_reach(each))) for port, each in by_port.items()}

    def meet(self, span: _Span) -> bool:
        """Whether any of them has an address and a port of this one. A flow may have forgotten its port."""
        first, last, port = span
        for firsts, reach in self._of_port(port):
            before = bisect_right(firsts, last)
            if before and reach[before - 1] >= first:
                return True
        return False

    def _of_port(self, port: int) -> Iterator[tuple[list[int], list[int]]]:
        for each, found in self._by_port.items():
            if not port or each in (0, port):
                yield found


def _reach(spans: Iterable[_Span]) -> Iterator[int]:
    furthest = -1
    for _first, last, _port in spans:
        furthest = max(furthest, last)
        yield furthest


def _group(key: VipKey) -> _Group:
    return key.ipv6, key.protocol


def _span(key: VipKey) -> _Span:
    bits = 128 if key.ipv6 else 32
    first = int.from_bytes(key.packed[: bits // 8], "big")
    length = bits if key.prefixlen is None else key.prefixlen
    return first, first + (1 << (bits - length)) - 1, key.port
