# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The outer sources of tunnels in the kernel, a trie for each family, and the steps from those there to others."""

from __future__ import annotations

import typing as t
from collections.abc import Collection, Sequence

from . import layout
from .operations import Put
from .steps import DeleteLate


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
