# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The operations on VIPs' lists of clients, in an order in which no client meets half of a change."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from . import layout
from .operations import Delete, Operation, Put
from .source_entries import FILTER_MAPS, filter_entries, filter_map
from .vips import Vip, VipKey


def source_target(wanted: Mapping[VipKey, Vip], numbers: Mapping[str, int]) -> dict[str, dict[bytes, bytes]]:
    """What each map of lists should hold. `numbers`: VIP → its number."""
    target: dict[str, dict[bytes, bytes]] = {name: {} for name in FILTER_MAPS}
    for key, vip in wanted.items():
        target[filter_map(key.ipv6)].update(filter_entries(vip, key.ipv6, numbers[str(key)]))
    return target


def sources_of(numbers: Collection[int], there: Mapping[bytes, bytes]) -> tuple[bytes, ...]:
    """The keys of these VIPs' entries, in the order in which they go."""
    keys = (key for key in (there if numbers else ()) if layout.parse_source_filter_key(key)[2] in numbers)
    return tuple(reversed(_longest_first(keys)))


def plan_sources(
    name: str, target: Mapping[bytes, bytes], there: Mapping[bytes, bytes], capacity: int
) -> tuple[list[Operation], list[Operation]]:
    """What is done to a map before its VIPs are changed, and what after.

    Where there is room only once something went, that goes first: then alone do packets meet half of a change.
    """
    puts = _longest_first(key for key, value in target.items() if there.get(key) != value)
    gone = _longest_first(key for key in there if key not in target)[::-1]
    other = [key for key in puts if key in there]
    appear: list[Operation] = [Put(name, tuple((key, target[key]) for key in puts))] if puts else []
    # A full trie of older kernels does not even take another value under a key that it has.
    tight = len({*there, *puts}) + bool(other) > capacity
    keys = (*gone, *other) if tight else gone
    go: list[Operation] = [Delete(name, tuple(keys))] if keys else []
    return (go + appear, []) if tight else (appear, go)


def _longest_first(keys: Iterable[bytes]) -> list[bytes]:
    """The order in which entries appear, and the reverse of that in which they go.

    A client is then at any time under the verdict of before or that of after: no entry that holds it comes before the
    one that is to decide, or goes after that.
    """
    return sorted(keys, key=lambda key: (-layout.parse_u32(key), key))
