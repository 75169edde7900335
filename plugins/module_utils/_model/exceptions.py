# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Flows whose real is another one than today's ring would choose: those that are in danger when their balancer goes.

Arrays in and out, for a million flows in a second or two: numpy is imported where it is used. The scalar form of the
hash is in hashing.py, of which this is a translation.
"""

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from . import layout
from .flow_selection import KEY_BYTES, is_ipv6
from .hashing import U32, flow_hash_ipv4, flow_hash_ipv6

if t.TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Words = NDArray[np.uint32]
    Wide = NDArray[np.uint64]
    Bits = NDArray[np.bool_]

_KEEPS_PORT = layout.VIP_FLAGS["hash_dst_port_only"] | layout.VIP_FLAGS["hash_src_dst_port"]
_NO_SRC_PORT = layout.VIP_FLAGS["hash_no_src_port"]
_DST_PORT_ONLY = layout.VIP_FLAGS["hash_dst_port_only"]
_NO_LRU = layout.VIP_FLAGS["no_lru"]
_GLOBAL_LRU = layout.VIP_FLAGS["global_lru"]
_JHASH = 0xDEADBEEF
_MULTIPLIERS = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93, 0xA0761D6478BD642F)
_MOST_PLACES = 200_000
"""Destinations that are remembered: a CIDR VIP has as many as clients like to ask for."""


def _rotate(value: Words, bits: int) -> Words:
    import numpy as np

    return (value << np.uint32(bits)) | (value >> np.uint32(32 - bits))


def _final(a: Words, b: Words, c: Words) -> Words:
    """The __jhash_final (include/linux/jhash.h)."""
    c = (c ^ b) - _rotate(b, 14)
    a = (a ^ c) - _rotate(c, 11)
    b = (b ^ a) - _rotate(a, 25)
    c = (c ^ b) - _rotate(b, 16)
    a = (a ^ c) - _rotate(c, 4)
    b = (b ^ a) - _rotate(a, 14)
    return (c ^ b) - _rotate(b, 24)


def _two_words(first: Words, second: Words, seed: int) -> Words:
    """jhash_2words of each pair."""
    import numpy as np

    start = np.uint32((seed + _JHASH + 8) & U32)
    return _final(first + start, second + start, np.full_like(first, start))


def _four_words(words: Words, seed: int) -> Words:
    """The jhash of each row of 16 bytes, given as 4 words."""
    import numpy as np

    start = np.uint32((seed + _JHASH + 16) & U32)
    a, b, c = words[:, 0] + start, words[:, 1] + start, words[:, 2] + start
    for bits_a, bits_b, bits_c in ((4, 6, 8), (16, 19, 4)):
        a = (a - c) ^ _rotate(c, bits_a)
        c = c + b
        b = (b - a) ^ _rotate(a, bits_b)
        a = a + c
        c = (c - b) ^ _rotate(b, bits_c)
        b = b + a
    return _final(a + words[:, 3], b, c)


def key_words(keys: bytes, count: int) -> Words:
    """Flow keys, back to back, as rows of 10 words: source 0–3, destination 4–7, both ports 8, protocol 9."""
    import numpy as np

    return np.frombuffer(keys, "<u4", count * (KEY_BYTES // 4)).reshape(count, KEY_BYTES // 4).astype(np.uint32)


def flow_slots(words: Words, flags: Words, ipv6: Bits, max_vips: int, ring_size: int) -> Wide:
    """The ring slot of each flow, as hashing.flow_slot has it.

    *words*: as of key_words, the ports as the table has them: what a VIP's flags have forgotten is zero there. *flags*:
    vip_meta.flags of each one's VIP; *ipv6*: its family.
    """
    import numpy as np

    seed = max_vips * ring_size & U32
    ports = words[:, 8].copy()
    ports[flags & np.uint32(_NO_SRC_PORT) != 0] &= np.uint32(0xFFFF0000)
    only = flags & np.uint32(_DST_PORT_ONLY) != 0
    ports[only] = (ports[only] >> 16) | (ports[only] & np.uint32(0xFFFF0000))
    source = words[:, :4].copy()
    source[only] = 0
    first = source[:, 0].copy()
    if ipv6.any():
        first[ipv6] = _four_words(source[ipv6], max_vips)
    return (_two_words(first, ports, seed) % np.uint32(ring_size)).astype(np.uint64)


def slot_of(key: bytes, flags: int, max_vips: int, ring_size: int) -> int:
    """The same of one flow, by its key, without numpy."""
    ports, ipv6 = key[32:36], is_ipv6(key)
    if flags & _NO_SRC_PORT:
        ports = b"\0\0" + ports[2:]
    source = key[:16] if ipv6 else key[:4]
    if flags & _DST_PORT_ONLY:
        source, ports = bytes(len(source)), ports[2:] * 2
    seed, number = max_vips * ring_size & U32, int.from_bytes(ports, "little")
    found = flow_hash_ipv6(source, number, seed, max_vips) if ipv6 else flow_hash_ipv4(source, number, seed)
    return found % ring_size


def fingerprints(words: Words) -> Wide:
    """64 bits of each flow key: enough to find the few that may be meant, which are then compared as a whole."""
    import numpy as np

    wide = np.ascontiguousarray(words).view(np.uint64)
    mixed = np.zeros(len(words), np.uint64)
    for column, multiplier in enumerate(_MULTIPLIERS):
        mixed = (mixed ^ wide[:, column]) * np.uint64(multiplier)
        mixed ^= mixed >> np.uint64(29)
    return mixed


class Owner(t.NamedTuple):
    """A VIP that a flow may be of: its number and vip_meta.flags."""

    number: int
    flags: int


class VipTable:
    """Which VIPs a flow key may be of, by the program's order (datapath, step 6).

    *exact*: vip_definition → vip_meta; *prefixes*: (is IPv6, key of its trie) → vip_meta.
    """

    def __init__(self, exact: Mapping[bytes, bytes], prefixes: Mapping[tuple[bool, bytes], bytes]) -> None:
        self._exact = {key[:19]: Owner(*reversed(layout.parse_vip_meta(value))) for key, value in exact.items()}
        self._prefixes: list[tuple[bool, int, int, int, int, Owner]] = []
        for (ipv6, key), value in prefixes.items():
            packed, length, port, protocol = layout.parse_vip_lpm_key(key)
            bits = 128 if ipv6 else 32
            network = int.from_bytes(packed[: bits // 8], "big") >> (bits - length)
            owner = Owner(*reversed(layout.parse_vip_meta(value)))
            self._prefixes.append((ipv6, length, network, port, protocol, owner))
        # The longest first.
        self._prefixes.sort(key=lambda prefix: -prefix[1])

    def owners(self, key: bytes) -> tuple[Owner, ...]:
        """The VIPs that may have this flow: one, where the key tells the port; none, where no packet finds it."""
        ipv6, place = is_ipv6(key), key[16:32] + key[34:37]
        port, protocol = int.from_bytes(key[34:36], "big"), key[36]
        covering = self._covering(key[16:32], protocol, ipv6)
        if port:
            if place in self._exact:
                return (self._exact[place],)
            any_port = self._exact.get(key[16:32] + b"\0\0" + key[36:37])
            first = covering.get(port) or any_port or covering.get(0)
            return (first,) if first and first.flags & _KEEPS_PORT else ()
        # A port that was forgotten may have been any.
        found = [owner for number, owner in covering.items() if number]
        last = self._exact.get(place) or covering.get(0)
        found += [last] if last else []
        return tuple(owner for owner in found if not owner.flags & _KEEPS_PORT or owner == self._exact.get(place))

    def _covering(self, address: bytes, protocol: int, ipv6: bool) -> dict[int, Owner]:
        """Port → the VIP of the longest prefix that the address is in."""
        found: dict[int, Owner] = {}
        if self._prefixes:
            bits = 128 if ipv6 else 32
            number = int.from_bytes(address[: bits // 8], "big")
            for family, length, network, port, its_protocol, owner in self._prefixes:
                if family == ipv6 and its_protocol == protocol and number >> (bits - length) == network:
                    found.setdefault(port, owner)
        return found

    def may_hold(self, key: bytes) -> bool:
        """Whether the program would look for this flow in the global table, and may trust what it finds.

        With no_lru it looks there also for what the ring has just chosen.
        """
        asked = [owner for owner in self.owners(key) if owner.flags & _GLOBAL_LRU]
        return bool(asked) and not any(owner.flags & _NO_LRU for owner in asked)


@dataclass
class Rings:
    """What decides of new flows at one moment.

    *slots*: ch_rings, a u64 for each slot; *real_ids*: those that are reals; *udp_timeout* in seconds.
    """

    vips: VipTable
    slots: Wide
    max_vips: int
    ring_size: int
    real_ids: frozenset[int]
    udp_timeout: int
    _places: dict[bytes, tuple[Owner, ...]] = field(default_factory=dict)

    def owners(self, key: bytes) -> tuple[Owner, ...]:
        """As of VipTable, remembered by family, destination, port and protocol."""
        place = key[16:37] if is_ipv6(key) else key[16:20] + key[34:37]
        if place not in self._places:
            if len(self._places) >= _MOST_PLACES:
                self._places.clear()
            self._places[place] = self.vips.owners(key)
        return self._places[place]


class Known(t.NamedTuple):
    """A flow that a scan tells of: its key, its real's id, and whether the ring would choose another."""

    key: bytes
    real: int
    is_exception: bool
    atime: int


def _groups(words: Words, ipv6: Bits) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows of one destination, port, protocol and family: (a row of each group, the group of each row)."""
    import numpy as np

    table = np.zeros((len(words), 6), np.uint32)
    table[:, :4] = words[:, 4:8]
    table[:, 4] = (words[:, 8] >> 16) | (words[:, 9] << 16)
    table[:, 5] = ipv6
    wide = table.view(np.uint64)
    mixed = np.zeros(len(words), np.uint64)
    for column in range(3):
        mixed = (mixed ^ wide[:, column]) * np.uint64(_MULTIPLIERS[column])
        mixed ^= mixed >> np.uint64(31)
    _values, rows, groups = np.unique(mixed, return_index=True, return_inverse=True)
    if (table[rows][groups] != table).any():
        # Two of them have one mixture.
        whole = table.view([("", np.void, 24)]).ravel()
        _values, rows, groups = np.unique(whole, return_index=True, return_inverse=True)
    return rows, groups


def select(
    keys: bytes, values: bytes, count: int, rings: Rings, watched: Wide, now: int
) -> tuple[int, Iterator[Known]]:
    """Of a batch of connection-table entries: how many are exceptions, and those and the watched ones.

    An exception: its real exists and a VIP that it may be of would choose another by its ring. UDP entries that are too
    old are no hit and count as not there. *keys*, *values*: back to back, as a batch has them; *watched*: fingerprints,
    sorted; *now*: the clock of entries in ns.
    """
    import numpy as np

    words = key_words(keys, count)
    entries = np.frombuffer(values, "=u4", count * 4).reshape(count, 4)
    reals = entries[:, 0]
    atimes = np.frombuffer(values, "=u8", count * 2).reshape(count, 2)[:, 1]
    ages = (np.uint64(now) - atimes).astype(np.int64)
    alive = ((words[:, 9] & 0xFF) != 17) | (ages <= rings.udp_timeout * 10**9)
    largest = max(rings.real_ids, default=0)
    exists = np.zeros(largest + 2, np.bool_)
    exists[list(rings.real_ids)] = True
    alive &= exists[np.minimum(reals, largest + 1)]
    differs = _differs(keys, words, reals, rings) & alive
    chosen = differs.copy()
    if len(watched):
        prints = fingerprints(words)
        at = np.minimum(np.searchsorted(watched, prints), len(watched) - 1)
        chosen |= (watched[at] == prints) & alive
    rows = np.nonzero(chosen)[0]
    told = zip(rows.tolist(), reals[rows].tolist(), differs[rows].tolist(), atimes[rows].tolist(), strict=True)
    return int(differs.sum()), (
        Known(keys[row * KEY_BYTES : row * KEY_BYTES + KEY_BYTES], real, differing, atime)
        for row, real, differing, atime in told
    )


def _differs(keys: bytes, words: Words, reals: Words, rings: Rings) -> Bits:
    """Whether a VIP that a flow may be of would choose another real for it."""
    import numpy as np

    # An IPv4 address leaves 12 bytes zero (flow_selection.is_ipv6).
    ipv6 = (words[:, 1:4] != 0).any(axis=1) | (words[:, 5:8] != 0).any(axis=1)
    rows, groups = _groups(words, ipv6)
    owners = [rings.owners(keys[row * KEY_BYTES : row * KEY_BYTES + KEY_BYTES]) for row in rows.tolist()]
    found = np.zeros(len(words), np.bool_)
    for rank in range(max(map(len, owners), default=0)):
        mine = [each[rank] if rank < len(each) else Owner(0, _NO_LRU) for each in owners]
        numbers = np.array([owner.number for owner in mine], np.uint64)[groups]
        flags = np.array([owner.flags for owner in mine], np.uint32)[groups]
        slots = flow_slots(words, flags, ipv6, rings.max_vips, rings.ring_size)
        ring = rings.slots[numbers * np.uint64(rings.ring_size) + slots].astype(np.uint32)
        # Without a connection table the ring decides of every packet, and entries of ids are read by no other.
        found |= (ring != reals) & (flags & np.uint32(_NO_LRU) == 0)
    return found


def watch(keys: Iterable[bytes]) -> Wide:
    """The fingerprints of flows to watch for, sorted."""
    import numpy as np

    joined = b"".join(keys)
    count = len(joined) // KEY_BYTES
    return np.sort(fingerprints(key_words(joined, count))) if count else np.zeros(0, np.uint64)
