# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A running Katran that is not ours: what its maps hold, and what an inventory says of it.

Katran's control plane keeps weights, hashes and checks in its own memory; its maps have the rings, from which weights
are told back (ring_weights.py). Whatever an inventory cannot say, and whatever maps cannot tell, becomes a note.
"""

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from . import layout
from .errors import EngineError
from .faults import some
from .map_specs import (
    DEFAULT_SIZES,
    DOWN_SET,
    FLOW_TABLE,
    GLOBAL_FLOW_TABLE,
    HASH,
    HEALTHCHECK_MAPS,
    MAPS,
    NAME_BYTES,
    MapSpec,
)
from .ring_weights import RingWeights
from .sizes import is_prime
from .snapshot import MapInfo
from .tables import TABLES
from .vip_entries import real_of
from .vips import VipKey, VipReal

NEEDED = ("vip_map", "reals", "ch_rings")
"""The maps without which nothing is told. Of others, a Katran has those of its version and its features."""

SMALL = (
    *("vip_map", "vip_lpm_map", "reals", "ctl_array", "pckt_srcs", "decap_dst", "server_id_map"),
    *("lpm_src_v4", "lpm_src_v6", "hc_reals_map"),
)
"""The maps that are read whole."""

KATRANS = frozenset(
    (
        *(*SMALL, "ch_rings", "lru_mapping", "fallback_cache", "global_lru_maps", "fallback_glru"),
        *("vip_to_down_reals_map", "server_id_stats", "decap_vip_stats", "event_pipe", "flow_debug_maps"),
    )
)
"""Those of its maps that tell something, or that flows are copied from."""

_OF_MAPS = {
    "lpm_src_v4": "source_routing",
    "vip_lpm_map": "cidr_vips",
    "global_lru_maps": "global_lru",
    "vip_to_down_reals_map": "udp_flow_migration",
    "decap_dst": "inline_decap",
    "event_pipe": "introspection",
    "flow_debug_maps": "flow_debug",
}
"""Map → the feature with which it exists."""

_UNTOLD = (
    "maps do not tell which of these the program was compiled with: tcp_server_id, udp_stable_routing, icmp_too_big,"
    " local_delivery, vlan (katran_extra_features), katran_gue_port, katran_max_frame, katran_max_new_flows,"
    " katran_udp_timeout, katran_copy_tos, katran_source_prefix_ipv4, katran_source_prefix_ipv6"
)
_CHECKS = (
    "Katran's maps hold no checks: of health checks, the destinations are known, and which real is asked how is not;"
    " write check for the VIPs (docs/checks.md)"
)


def known_specs() -> dict[str, MapSpec]:
    """Map, by as much of its name as the kernel keeps → its published layout."""
    return {spec.name[:NAME_BYTES]: spec for spec in (*MAPS, *HEALTHCHECK_MAPS) if spec.name in KATRANS}


def layout_fault(name: str, info: MapInfo) -> str:
    """What is wrong with a map's layout; "" where it is the published one."""
    spec = known_specs().get(name[:NAME_BYTES])
    if spec is None or (info.key_size, info.value_size) == (spec.key_size, spec.value_size):
        return ""
    return (
        f"map {spec.name} has keys of {info.key_size} and values of {info.value_size} bytes, where the layout that is"
        f" known has {spec.key_size} and {spec.value_size}"
    )


class Sizes(t.NamedTuple):
    """How many VIPs there is room for, and how many slots a ring has."""

    vips: int
    ring: int


def sizes_of(maps: Mapping[str, MapInfo]) -> Sizes:
    """The sizes that seed the flow hash. EngineError where the maps do not agree on them."""
    missing = [name for name in NEEDED if name not in maps]
    if missing:
        raise EngineError(f"there is no map {', '.join(missing)}, so this is no Katran whose layout is known")
    slots = maps["ch_rings"].entries
    # Older ones have no server_id_stats; and a hash may be made larger than it is used.
    rooms = [maps[name].entries for name in ("server_id_stats", "decap_vip_stats", "vip_map") if name in maps]
    for vips in rooms:
        if vips and slots % vips == 0 and is_prime(slots // vips):
            return Sizes(vips, slots // vips)
    raise EngineError(
        f"map ch_rings has {slots} slots, which is no prime number of them for each of {rooms[0]} VIPs: this is no"
        " Katran whose layout is known"
    )


@dataclass(frozen=True)
class KatranSeen:
    """What was read of a running Katran.

    `program`: its kernel-wide id, 0 where pinned maps were read; `interfaces`: where it runs → mode; `array`: the id of
    the array of programs by which it runs, 0 where there is none. `maps`: name → what the kernel says. `entries`: map →
    entries, of arrays those that are not zero. `rings`: VIP number → what its ring was made of. `down`: VIP key → ids.
    `tables`: map of tables → CPU → entries; `cpus`: how many CPUs there may be.
    """

    program: int
    interfaces: Mapping[str, str]
    maps: Mapping[str, MapInfo]
    entries: Mapping[str, Mapping[bytes, bytes]]
    rings: Mapping[int, RingWeights]
    down: Mapping[bytes, frozenset[int]] = field(default_factory=dict)
    tables: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    cpus: int = 0
    array: int = 0

    # Each VIP asks for these.
    @cached_property
    def sizes(self) -> Sizes:
        """Of VIPs and rings."""
        return sizes_of(self.maps)

    @cached_property
    def reals(self) -> dict[int, VipReal]:
        """Id → real."""
        return reals_in(self.entries)

    def number_vips(self) -> list[tuple[VipKey, int, int]]:
        """(VIP, flags, number) of each that packets meet, sorted; the family of a prefix may be a guess."""
        found = []
        for key, value in self.entries["vip_map"].items():
            found.append((VipKey.of_definition(key), *layout.parse_vip_meta(value)))
        for key, value in self.entries.get("vip_lpm_map", {}).items():
            flags, number = layout.parse_vip_meta(value)
            found.append((self._cidr(key, number), flags, number))
        return sorted(found, key=lambda each: each[0])

    def _cidr(self, key: bytes, number: int) -> VipKey:
        packed, length, port, protocol = layout.parse_vip_lpm_key(key)
        ipv6 = is_ipv6_prefix(packed, length, self.rings[number].weights if number in self.rings else ())
        return VipKey.of(packed, ipv6, length, port, layout.PROTOCOL_NAMES.get(protocol, str(protocol)))


def is_ipv6_prefix(packed: bytes, length: int, reals: Iterable[str]) -> bool:
    """Of which family a CIDR VIP is: Katran has both in one map, and its key does not say.

    An IPv6 VIP has no IPv4 real. Where that does not tell, it is what such an address is as a rule (RFC 4291, 4193).
    """
    if length > 32 or any(packed[4:]):
        return True
    if any(":" not in real for real in reals):
        return False
    return packed[0] >> 5 == 1 or packed[0] >> 1 == 0x7E


def reals_in(entries: Mapping[str, Mapping[bytes, bytes]]) -> dict[int, VipReal]:
    """Id → real, of the entries of `reals`; id 0 is none."""
    return {
        layout.parse_u32(key): real_of(*layout.parse_real_definition(value))
        for key, value in entries["reals"].items()
        if any(value) and any(key)
    }


@dataclass(frozen=True)
class Imported:
    """An inventory's variables, and what there is to say of them. `stale`: a sentence for each VIP with such a ring."""

    variables: dict[str, t.Any]
    notes: list[str]
    stale: list[str]


def imported(seen: KatranSeen) -> Imported:
    """What an inventory says of it, and what has no equivalent."""
    notes: list[str] = []
    vips, stale = _vips(seen, notes)
    tables = {
        f"katran_{table.name}": sorted(table.rows_in(_known(table.name, seen, notes)), key=str)
        for table in TABLES.values()
        if table.has_variables and any(name in seen.maps for name in table.maps)
    }
    features = sorted({feature for name, feature in _OF_MAPS.items() if name in seen.maps})
    if "server_id_map" in seen.maps and seen.maps["server_id_map"].type == HASH:
        features = sorted([*features, "server_id_hash"])
    variables: dict[str, t.Any] = {}
    if seen.interfaces:
        variables["katran_interfaces"] = sorted(seen.interfaces)
        modes = set(seen.interfaces.values())
        if modes == {"generic"}:
            variables["katran_mode"] = "generic"
        elif "generic" in modes:
            variables["katran_mode"] = "auto"
    else:
        notes.append("it runs on no interface: write katran_interfaces")
    variables.update(_settings(seen, notes))
    variables["katran_sizes"] = _sizes(seen)
    if features:
        variables["katran_extra_features"] = features
    variables["katran_vips"] = vips
    variables.update({name: rows for name, rows in tables.items() if rows})
    if not all(vip["reals"] for vip in vips):
        variables["katran_min_active"] = 0
        notes.append("katran_min_active is 0, for VIPs without a real; take it out once each has some")
    _tell_reals(seen, variables, notes)
    _tell_health(seen, notes)
    notes.append(_UNTOLD)
    return Imported(variables, notes, stale)


def _known(name: str, seen: KatranSeen, notes: list[str]) -> dict[str, Mapping[bytes, bytes]]:
    """The entries of a table's maps without those that lead to no real, which are told."""
    found: dict[str, Mapping[bytes, bytes]] = {
        "reals": {key: value for key, value in seen.entries["reals"].items() if any(key) and any(value)}
    }
    leads = TABLES[name].leads_to_reals
    for each in TABLES[name].maps:
        entries = seen.entries.get(each, {})
        good = {key: value for key, value in entries.items() if not leads or value in found["reals"]}
        if len(good) < len(entries):
            notes.append(f"map {each}: {len(entries) - len(good)} entries lead to no real, and are left out")
        found[each] = good
    return found


def _vips(seen: KatranSeen, notes: list[str]) -> tuple[list[dict[str, t.Any]], list[str]]:
    """The VIPs in config's own form, and a sentence for each whose ring is of no weights."""
    found, stale = [], []
    local = {real.address for real in seen.reals.values() if real.local}
    known = sum(layout.VIP_FLAGS.values())
    for key, bits, number in seen.number_vips():
        if key.protocol not in layout.PROTOCOLS:
            notes.append(f"vip {key}: IP protocol {key.protocol} is neither tcp nor udp, and it is left out")
            continue
        if number not in seen.rings:
            notes.append(f"vip {key}: its number {number} is beyond the rings, and it is left out")
            continue
        ring = seen.rings[number]
        if bits & ~known:
            notes.append(f"vip {key}: flags {bits & ~known:#x} have no equivalent, and are left out")
        entry: dict[str, t.Any] = {"address": key.address, "port": key.port, "protocol": key.protocol}
        flags = [flag for flag, bit in layout.VIP_FLAGS.items() if bits & bit]
        if flags:
            entry["flags"] = flags
        if ring.hash != "maglev_v2":
            entry["hash"] = ring.hash
        entry["reals"] = _reals(ring, local)
        down = _down(key, seen)
        if down:
            entry["down_reals"] = down
        if not ring.weights:
            notes.append(f"vip {key}: its ring leads to no real; whoever is to serve it, write as its reals")
        if ring.differ:
            more = f", {ring.empty} of them to none of its reals" if ring.empty else ""
            stale.append(
                f"vip {key}: its ring is stale, as no weights that a ring of its size tells make it: {ring.differ} of"
                f" {seen.sizes.ring} slots lead elsewhere than the nearest weights have them{more}"
            )
        found.append(entry)
    return found, stale


def _reals(ring: RingWeights, local: Iterable[str]) -> list[dict[str, t.Any]]:
    found = []
    for address in sorted(ring.weights, key=lambda each: (":" in each, layout.pack_address(each))):
        entry: dict[str, t.Any] = {"address": address}
        if ring.weights[address] != 1:
            entry["weight"] = ring.weights[address]
        if address in local:
            entry["local"] = True
        found.append(entry)
    return found


def _down(key: VipKey, seen: KatranSeen) -> list[str]:
    """The reals whose flows move away, of a VIP."""
    ids = seen.down.get(layout.vip_definition(key.packed, key.port, layout.PROTOCOLS[key.protocol]), ())
    return sorted(seen.reals[number].address for number in ids if number in seen.reals)


def _settings(seen: KatranSeen, notes: list[str]) -> dict[str, t.Any]:
    """What of module balancer's options is in maps."""
    found: dict[str, t.Any] = {"katran_encapsulation": "ipip"}
    if any(any(value) for value in seen.entries.get("pckt_srcs", {}).values()):
        found["katran_encapsulation"] = "gue"
        for index, ipv6 in enumerate((False, True)):
            packed = layout.parse_real_definition(seen.entries["pckt_srcs"].get(layout.u32(index), layout.NO_REAL))[0]
            if any(packed):
                found[f"katran_source_ipv{6 if ipv6 else 4}"] = layout.unpack_address(packed, ipv6)
    mac = seen.entries.get("ctl_array", {}).get(layout.u32(layout.CTL_GATEWAY_MAC), bytes(8))
    if any(mac[:6]):
        found["katran_gateway_mac"] = layout.parse_mac(mac)
    cpus = sorted(seen.tables.get("lru_mapping", {}))
    if cpus and len(cpus) < seen.cpus:
        found["katran_forwarding_cores"] = cpus
    if "decap_dst" in seen.maps:
        notes.append(
            "a Katran strips every tunnel that reaches it, ours those to its own addresses; katran_decap_any: true has"
            " ours do as Katran does"
        )
    if seen.array:
        notes.append(
            f"it runs behind an array of programs (map {seen.array}), which is no setting of Katran's: module xdp_root"
            " and katran_root_array make such a place, or the balancer takes the interfaces for itself"
        )
    return found


def _sizes(seen: KatranSeen) -> dict[str, int]:
    """The option `sizes`, as far as it is not the default."""
    found = {"vips": seen.sizes.vips, "ring": seen.sizes.ring, "reals": seen.maps["reals"].entries}
    sums = {name: sum(each.values()) for name, each in seen.tables.items()}
    if sums.get("lru_mapping"):
        found["flows"] = sums["lru_mapping"]
    if sums.get("global_lru_maps"):
        found["global_flows"] = max(seen.tables["global_lru_maps"].values())
    for name, size in (("vip_lpm_map", "cidr_vips"), ("lpm_src_v4", "source_routes"), ("server_id_map", "server_ids")):
        if name in seen.maps:
            found[size] = seen.maps[name].entries
    if "server_id_map" in seen.maps and seen.maps["server_id_map"].type != HASH:
        found["server_ids"] = min(found["server_ids"], DEFAULT_SIZES["server_ids"])
    return {name: value for name, value in found.items() if value != DEFAULT_SIZES[name] or name in ("vips", "ring")}


def _tell_reals(seen: KatranSeen, variables: Mapping[str, t.Any], notes: list[str]) -> None:
    """The reals to which nothing leads: drained ones among them, of which no map says whose they were."""
    led = {row["real"] for name, rows in variables.items() if name.startswith("katran_s") for row in _rows(rows)}
    led.update(real["address"] for vip in variables["katran_vips"] for real in vip["reals"])
    led.update(address for vip in variables["katran_vips"] for address in vip.get("down_reals", ()))
    idle = sorted({real.address for real in seen.reals.values()} - led)
    if idle:
        notes.append(
            f"to {some(idle, 20)} nothing leads: if they are reals that were drained (weight 0), no map tells of which"
            " VIP; add them to it"
        )


def _rows(rows: t.Any) -> Sequence[Mapping[str, t.Any]]:
    return [row for row in rows if "real" in row] if isinstance(rows, list) else []


def _tell_health(seen: KatranSeen, notes: list[str]) -> None:
    """What is known of health checks."""
    rows = health_destinations(seen)
    if rows:
        told = some([f"{row['mark']} → {row['real']}" for row in rows], 20)
        notes.append(f"marks of a health checker lead to reals ({told}); our agent gives out marks of its own")
    notes.append(_CHECKS)


def health_destinations(seen: KatranSeen) -> list[dict[str, t.Any]]:
    """Mark → real, as module healthcheck_destinations takes them."""
    entries = seen.entries.get("hc_reals_map", {})
    # The map has them in the order of their hashes.
    return sorted(
        TABLES["healthcheck_destinations"].rows_in({"hc_reals_map": entries}), key=lambda row: int(row["mark"])
    )


INNER: dict[str, MapSpec] = {
    "lru_mapping": FLOW_TABLE,
    "global_lru_maps": GLOBAL_FLOW_TABLE,
    "vip_to_down_reals_map": DOWN_SET,
}
"""Map of maps → the layout of those in it."""
