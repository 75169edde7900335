# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The index of exact VIPs: what the program looks into instead of vip_map and vip_addresses, and is made of both.

It is an array. What is looked for lies in the slot that its hash names, its home, or, where several have the same home,
in the one that their hash and the home's displacement name. One places all of a home in free slots, so that a lookup
takes two slots at most, whether it finds something or not (Belazzougui, Botelho, Dietzfelbinger: Hash, displace, and
compress, 2009). Of what is at home in a slot of displacement 0 the program asks the hash maps: so of everything in an
array that is new, and in one that is not in force. The hash is that of bpf/include/vip_index.h.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping

from .layout import u32
from .map_specs import FREE_SLOT, INDEX_SLOT, NO_VIP

Index = Mapping[bytes, bytes]
"""Slot number (u32) → slot, those that are not as FREE_SLOT, of an index that is in force."""

CROWDED, AT_HOME = 0, 1
"""The displacement of a home that none clears, and of one with nothing to clear."""

_TRIES = 256
"""A displacement is one byte, which is written at once however memory is copied."""

_WORD = 0xFFFFFFFFFFFFFFFF
_FACTORS = 0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0xD6E8FEB86659FD93
_KEY = struct.Struct("=QQI")

_ADDRESS = b"\0\0\0\xff"
"""What a vip_definition has behind the address of an entry that says: a VIP has this address, whatever its port."""


def _hash(key: bytes) -> int:
    found: int = sum(word * factor for word, factor in zip(_KEY.unpack(key), _FACTORS, strict=True))
    return found & _WORD


def _place(number: int, displacement: int, slots: int) -> int:
    return (number * (2 * displacement - 1) & _WORD) >> 65 - slots.bit_length()


def build_index(vips: Mapping[bytes, bytes], addresses: Iterable[bytes], slots: int) -> dict[bytes, bytes]:
    """The index of these entries of vip_map and keys of vip_addresses; the same whatever order they come in.

    `slots`: a power of 2, more than there are entries.
    """
    metas = {address + _ADDRESS: bytes(8) for address in addresses} | dict(vips)
    homes: dict[int, list[tuple[int, bytes]]] = {}
    for key in sorted(metas):
        number = _hash(key)
        homes.setdefault(_place(number, AT_HOME, slots), []).append((number, key))
    displacements: dict[int, int] = {}
    keys: dict[int, bytes] = {}
    # The fullest homes first, as long as there is most room.
    for home, members in sorted(homes.items(), key=lambda item: (-len(item[1]), item[0])):
        displacement, places = _clear(keys, [number for number, _key in members], slots)
        if displacement != AT_HOME:
            displacements[home] = displacement
        keys.update(zip(places, (key for _number, key in members), strict=False))
    found = {}
    for place in sorted({*keys, *displacements}):
        key = keys.get(place, NO_VIP)
        found[u32(place)] = INDEX_SLOT.pack(key, displacements.get(place, AT_HOME), metas.get(key, b""))
    return found


def _clear(taken: Mapping[int, bytes], numbers: list[int], slots: int) -> tuple[int, list[int]]:
    """The first displacement that leads each to a free slot of its own, and these slots."""
    for displacement in range(AT_HOME, _TRIES):
        places = [_place(number, displacement, slots) for number in numbers]
        if taken.keys().isdisjoint(places) and len(set(places)) == len(places):
            return displacement, places
    return CROWDED, []


def indexed(index: Index, key: bytes, slots: int) -> bytes | None:
    """The vip_meta that an index has for a vip_definition, as the program reads it. LookupError: it asks the map."""
    number = _hash(key)
    _key, displacement, _meta = INDEX_SLOT.unpack(index.get(u32(_place(number, AT_HOME, slots)), FREE_SLOT))
    if displacement == CROWDED:
        raise LookupError(key.hex())
    found, _displacement, meta = INDEX_SLOT.unpack(index.get(u32(_place(number, displacement, slots)), FREE_SLOT))
    return bytes(meta) if found == key else None
