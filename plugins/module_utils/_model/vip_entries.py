# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""VIPs and reals as entries of maps, and the other way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from . import layout
from .ids import Ids
from .layout import SLOT
from .operations import digest
from .quic_lb_entries import configs_in_kernel
from .source_entries import FILTER_MAPS, is_filtered, lists_in_kernel
from .vip_index import Index, build_index
from .vips import Vip, VipKey, VipReal


@dataclass
class Actual:
    """What the kernel has, as far as VIPs go.

    `entries`: map → its entries (arrays: the nonzero ones), for the maps that exist. `down`: vip_definition → ids.
    `ring`: VIP number → its live slots. `capacity`: map → entries. `filters`: whether there are maps for lists of
    clients, which `entries` need not have: a run that changes no VIP leaves them as they are. `index`: that of the
    VIPs, None while there is none; `index_slots`: how many slots it has, 0 where the balancer has no map for it.
    """

    entries: Mapping[str, Mapping[bytes, bytes]]
    down: Mapping[bytes, frozenset[int]]
    ring: Callable[[int], memoryview]
    capacity: Mapping[str, int]
    ring_size: int
    filters: bool = False
    index: Index | None = None
    index_slots: int = 0
    _digests: dict[int, str] = field(default_factory=dict)

    def is_empty(self, number: int) -> bool:
        """Whether a VIP number's live slots are all zero. The first slot alone tells it of nearly every ring."""
        slots = self.ring(number)
        return not slots[0] and bytes(slots) == bytes(self.ring_size * SLOT)

    def digest(self, number: int) -> str:
        """The digest of a VIP number's live slots."""
        if number not in self._digests:
            self._digests[number] = digest(self.ring(number))
        return self._digests[number]

    def wanted_index(self, entries: Mapping[str, Mapping[bytes, bytes]]) -> dict[bytes, bytes] | None:
        """The index of these VIPs; None: there is none of none."""
        if not self.index_slots or not entries["vip_map"]:
            return None
        return build_index(entries["vip_map"], entries["vip_addresses"], self.index_slots)

    def numbers(self) -> set[int]:
        """The VIP numbers that are visible to packets."""
        return {layout.parse_vip_meta(value)[1] for name in VIP_MAPS for value in self.entries.get(name, {}).values()}


def vip_map_entry(key: VipKey, flags: int, number: int) -> tuple[str, bytes, bytes]:
    """(map, key, value) under which a VIP is visible to packets."""
    protocol = layout.PROTOCOLS[key.protocol]
    value = layout.vip_meta(flags, number)
    if key.prefixlen is None:
        return "vip_map", layout.vip_definition(key.packed, key.port, protocol), value
    if key.ipv6:
        return "vip_lpm_map", layout.vip_lpm_key(key.packed, key.prefixlen, key.port, protocol), value
    return "vip_lpm4_map", layout.vip_lpm4_key(key.packed, key.prefixlen, key.port, protocol), value


def address_entry(key: VipKey) -> tuple[str, bytes, bytes]:
    """(map, key, value) that make an address a VIP address whatever the port."""
    if key.prefixlen is None:
        return "vip_addresses", key.packed, layout.u32(1)
    if key.ipv6:
        return "vip_address_lpm6", layout.lpm_key(key.packed, key.prefixlen), layout.u32(1)
    return "vip_address_lpm4", layout.lpm_key(key.packed[:4], key.prefixlen), layout.u32(1)


def down_set_key(key: VipKey) -> bytes:
    """The key of a VIP's down set; a CIDR VIP's has its prefix's network address."""
    return layout.vip_definition(key.packed, key.port, layout.PROTOCOLS[key.protocol])


def flag_bits(flags: Iterable[str]) -> int:
    """vip_meta.flags of these flag words."""
    bits = 0
    for flag in flags:
        bits |= layout.VIP_FLAGS[flag]
    return bits


def vip_bits(vip: Vip, filters: bool, there: int) -> int:
    """vip_meta.flags of a VIP; `filters`: whether there are maps for its lists of clients.

    A program that knows no lists leaves their bit as one that does had it: as it is `there`.
    """
    lists = layout.SOURCE_FILTER if is_filtered(vip) else 0
    return flag_bits(vip.flags) | (lists if filters else lists & there)


VIP_MAPS = ("vip_map", "vip_lpm_map", "vip_lpm4_map")
NUMBER_MAPS = ("cidr_vip_keys", "vip_learned", "quic_lb_vips")
"""Arrays by VIP number."""

ADDRESS_MAPS = ("vip_addresses", "vip_address_lpm4", "vip_address_lpm6")
INDEXED_MAPS = ("vip_map", "vip_addresses")
"""Those that the VIP index is made of."""


def unsettled(real_ids: Ids, reals: Mapping[bytes, bytes]) -> frozenset[int]:
    """The reused ids under which `reals` does not hold their new real yet: what they had before may still be there."""
    address_of = {number: address for address, number in real_ids.assigned.items()}
    found = []
    for number in real_ids.reused():
        value = reals.get(layout.u32(number), layout.NO_REAL)
        if layout.parse_real_definition(value)[0] != layout.pack_address(address_of[number]):
            found.append(number)
    return frozenset(found)


def real_entries(refs: Mapping[str, bool], real_ids: Ids) -> dict[bytes, bytes]:
    """What `reals` should hold: every referenced real under its id."""
    want = {}
    for address, local in refs.items():
        flags = (layout.REAL_IPV6 if ":" in address else 0) | (layout.REAL_LOCAL if local else 0)
        want[layout.u32(real_ids.assigned[address])] = layout.real_definition(layout.pack_address(address), flags)
    return want


def adopt(actual: Actual, real_ids: Ids, vip_numbers: Ids, names: Mapping[bytes, str]) -> tuple[Ids, Ids]:
    """The ids with what the kernel has and they do not know: everything where state.json was lost.

    `names`: VIP map key → the VIP's text, for every entry that is one.
    """
    reals = []
    for key, value in sorted(actual.entries["reals"].items()):
        packed, flags = layout.parse_real_definition(value)
        reals.append((layout.unpack_address(packed, bool(flags & layout.REAL_IPV6)), layout.parse_u32(key)))
    limit = actual.capacity.get("server_id_stats", 0)
    vips = [
        (names[key], number)
        for name in VIP_MAPS
        for key, value in sorted(actual.entries.get(name, {}).items())
        if key in names and (number := layout.parse_vip_meta(value)[1]) < limit
    ]
    return real_ids.adopted(reals), vip_numbers.adopted(vips)


def known_keys(actual: Actual) -> dict[bytes, VipKey]:
    """The VIPs that are visible in the kernel: map key → VIP key."""
    return _keys_in(actual.entries)


def known_metas(entries: Mapping[str, Mapping[bytes, bytes]]) -> dict[VipKey, tuple[int, int]]:
    """The same of the entries of VIP_MAPS: VIP key → (flags, number)."""
    visible = _keys_in(entries)
    return {
        visible[key]: layout.parse_vip_meta(value)
        for name in VIP_MAPS
        for key, value in entries.get(name, {}).items()
        if key in visible
    }


def _keys_in(entries: Mapping[str, Mapping[bytes, bytes]]) -> dict[bytes, VipKey]:
    found = {}
    for name in VIP_MAPS:
        for key in entries.get(name, {}):
            if name == "vip_map":
                vip = VipKey.of_definition(key)
                if vip.protocol in layout.PROTOCOLS:
                    found[key] = vip
                continue
            packed, prefixlen, port, protocol = layout.parse_vip_lpm_key(key)
            if protocol in layout.PROTOCOL_NAMES:
                ipv6 = name == "vip_lpm_map"
                found[key] = VipKey.of(packed, ipv6, prefixlen, port, layout.PROTOCOL_NAMES[protocol])
    return found


def vips_in_kernel(actual: Actual) -> dict[VipKey, Vip]:
    """The VIPs as far as the kernel tells them: their reals are those in the ring, weights are unknown."""
    found = {}
    visible = known_keys(actual)
    lists = lists_in_kernel({name: actual.entries.get(name, {}) for name in FILTER_MAPS})
    reals = {
        layout.parse_u32(key): layout.parse_real_definition(value) for key, value in actual.entries["reals"].items()
    }
    quic_lb = configs_in_kernel(
        actual.entries, {number: real_of(*definition).address for number, definition in reals.items()}
    )
    for name in VIP_MAPS:
        for map_key, value in actual.entries.get(name, {}).items():
            bits, number = layout.parse_vip_meta(value)
            if map_key not in visible or number >= actual.capacity["server_id_stats"]:
                continue
            members = sorted(set(actual.ring(number).cast("Q")) & set(reals))
            down = sorted(actual.down.get(down_set_key(visible[map_key]), frozenset()) & set(reals))
            allow, deny = lists.get(number, ((), ())) if bits & layout.SOURCE_FILTER else ((), ())
            found[visible[map_key]] = Vip(
                visible[map_key],
                tuple(flag for flag, bit in layout.VIP_FLAGS.items() if bits & bit),
                reals=tuple(real_of(*reals[member]) for member in members),
                down_reals=tuple(real_of(*reals[member]).address for member in down),
                allow=allow,
                deny=deny,
                quic_lb=quic_lb.get(number, ()),
            )
    return found


def real_of(packed: bytes, flags: int) -> VipReal:
    address = layout.unpack_address(packed, bool(flags & layout.REAL_IPV6))
    return VipReal(address, local=bool(flags & layout.REAL_LOCAL))
