# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The maps of the programs in bpf/, as tables: type, sizes, and when each exists."""

from __future__ import annotations

import struct
import typing as t
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from . import layout

GLOBAL_COUNTERS = 22
"""Entries of `stats` after those of the VIPs."""

FLOOD = 2
"""Which of them is the check for too many new flows: its second number is a time, not a count."""

MAX_CPUS = 128
"""Slots of lru_mapping, lru_outgrown, global_lru_maps and flow_debug_maps: the highest CPU number plus one."""

MAX_SOURCES = 16_384
"""Outer sources of tunnels that a map takes: during a change, those of before and those of after."""

# Map types and flags of bpf(2), linux/bpf.h.
HASH, ARRAY, PROG_ARRAY, PERF_EVENT_ARRAY = 1, 2, 3, 4
PERCPU_ARRAY, LRU_HASH, LPM_TRIE, ARRAY_OF_MAPS, HASH_OF_MAPS = 6, 9, 11, 12, 13
NO_PREALLOC, NUMA_NODE, MMAPABLE = 1, 4, 1 << 10
NAME_BYTES = 15
"""Of a map's or a program's name the kernel keeps as many."""

DEFAULT_SIZES: dict[str, int] = {
    "vips": 512,
    "cidr_vips": 256,
    "reals": 4096,
    "ring": 65537,
    "source_routes": 3_000_000,
    "server_ids": 16_777_214,
    "flows": 1_000_000,
    "global_flows": 100_000,
    "source_filters": 100_000,
}
"""The option `sizes` of module balancer: entries each; flows and global_flows are sums over all CPUs."""


class Shape(t.Protocol):
    """What decides which maps exist and how large they are."""

    @property
    def sizes(self) -> Mapping[str, int]: ...
    @property
    def features(self) -> frozenset[str]: ...
    @property
    def encapsulation(self) -> str: ...
    @property
    def decap_any(self) -> bool: ...


Entries = Callable[[Mapping[str, int]], int]


@dataclass(frozen=True)
class MapSpec:
    """One map: bpf(2) type, sizes in bytes, entries from `sizes`, and the condition of its existence.

    `table` names the inner map of a map of maps. `exists` gets the shape of the balancer.
    """

    name: str
    type: int
    key_size: int
    value_size: int
    entries: Entries
    flags: int = 0
    exists: Callable[[Shape], bool] = field(default=lambda _shape: True)
    inner: MapSpec | None = None


def _size(name: str) -> Entries:
    return lambda sizes: sizes[name]


def _fixed(entries: int) -> Entries:
    return lambda _sizes: entries


def _with(feature: str) -> Callable[[Shape], bool]:
    return lambda shape: feature in shape.features


def _checks_sources(shape: Shape) -> bool:
    return "inline_decap" in shape.features and not shape.decap_any


def quic_lb_room(sizes: Mapping[str, int]) -> int:
    """How many server ids all lists of QUIC-LB may have: for each real one in 16 configurations."""
    return 16 * sizes["reals"]


ROOT_SLOTS = 3
NEXT_PROGRAMS = "next_programs"
"""What a balancer in a slot of a root program's array runs where a packet is not for it: slot → that slot's program."""

VIP_INDEX = "vip_index"
"""What the program looks into for exact VIPs instead of vip_map, while it is in force: see vip_index.py."""

INDEX_SLOT = struct.Struct("=20sI8s")
"""A slot of the index: vip_definition, displacement, vip_meta."""

INDEX_SLOT_BYTES = INDEX_SLOT.size

DISPLACEMENT_WORD = 5
"""Which u32 of a slot the displacement is."""

NO_VIP = bytes(16) + b"\xff" * 4
"""In the place of a vip_definition, what no packet asks for."""

FREE_SLOT = INDEX_SLOT.pack(NO_VIP, 1, b"")

_INDEX_ROOM = 8


def index_slots(vips: int) -> int:
    """How many slots the index of a balancer with room for so many VIPs has: a power of 2, eight for each at least."""
    return 1 << max(_INDEX_ROOM * vips - 1, 1).bit_length()


FLOW_TABLE = MapSpec("flows", LRU_HASH, 40, 16, _size("flows"))
GLOBAL_FLOW_TABLE = MapSpec("global_flows", LRU_HASH, 40, 4, _size("global_flows"))
FLOW_DEBUG_TABLE = MapSpec("flow_debug", LRU_HASH, 40, 32, _size("flows"))
DOWN_SET = MapSpec("down_reals", HASH, 4, 1, _size("reals"), NO_PREALLOC)

MAPS: tuple[MapSpec, ...] = (
    MapSpec("vip_map", HASH, 20, 8, _size("vips")),
    MapSpec("vip_lpm_map", LPM_TRIE, 24, 8, _size("cidr_vips"), NO_PREALLOC, _with("cidr_vips")),
    MapSpec("vip_lpm4_map", LPM_TRIE, 12, 8, _size("cidr_vips"), NO_PREALLOC, _with("cidr_vips")),
    MapSpec("vip_addresses", HASH, 16, 4, _size("vips")),
    MapSpec(VIP_INDEX, ARRAY, 4, INDEX_SLOT_BYTES, lambda sizes: index_slots(sizes["vips"]), MMAPABLE),
    MapSpec("vip_address_lpm4", LPM_TRIE, 8, 4, _size("cidr_vips"), NO_PREALLOC, _with("cidr_vips")),
    MapSpec("vip_address_lpm6", LPM_TRIE, 20, 4, _size("cidr_vips"), NO_PREALLOC, _with("cidr_vips")),
    MapSpec("cidr_vip_keys", ARRAY, 4, 20, _size("vips"), exists=_with("cidr_vips")),
    MapSpec("lru_mapping", ARRAY_OF_MAPS, 4, 4, _fixed(MAX_CPUS), inner=FLOW_TABLE),
    MapSpec("lru_outgrown", ARRAY_OF_MAPS, 4, 4, _fixed(MAX_CPUS), inner=FLOW_TABLE),
    MapSpec("fallback_cache", LRU_HASH, 40, 16, _fixed(1000)),
    MapSpec("vip_learned", ARRAY, 4, 4, _size("vips")),
    MapSpec("ch_rings", ARRAY, 4, 4, lambda sizes: sizes["vips"] * sizes["ring"], MMAPABLE),
    MapSpec("reals", ARRAY, 4, 20, _size("reals")),
    MapSpec("reals_stats", PERCPU_ARRAY, 4, 16, _size("reals")),
    MapSpec("lru_miss_stats", PERCPU_ARRAY, 4, 4, _size("reals")),
    MapSpec("vip_miss_stats", ARRAY, 4, 20, _fixed(1)),
    # 22 global counters follow those of the VIPs (datapath, section 1): a small laboratory has fewer VIPs than that.
    MapSpec("stats", PERCPU_ARRAY, 4, 16, lambda sizes: sizes["vips"] + max(sizes["vips"], GLOBAL_COUNTERS)),
    MapSpec("quic_stats_map", PERCPU_ARRAY, 4, 8 * len(layout.QUIC_COUNTERS), _fixed(1)),
    MapSpec("tpr_stats_map", PERCPU_ARRAY, 4, 8 * len(layout.TPR_COUNTERS), _fixed(1)),
    MapSpec("stable_rt_stats", PERCPU_ARRAY, 4, 8 * len(layout.STABLE_RT_COUNTERS), _fixed(1)),
    MapSpec("server_id_stats", PERCPU_ARRAY, 4, 16, _size("vips")),
    MapSpec("decap_vip_stats", PERCPU_ARRAY, 4, 16, _size("vips")),
    MapSpec(
        "server_id_map",
        ARRAY,
        4,
        4,
        _size("server_ids"),
        MMAPABLE,
        lambda shape: "server_id_hash" not in shape.features,
    ),
    MapSpec("server_id_map", HASH, 4, 4, _size("server_ids"), NO_PREALLOC, _with("server_id_hash")),
    MapSpec("quic_lb_vips", ARRAY, 4, 32, _size("vips"), exists=_with("quic_lb")),
    MapSpec("quic_lb_servers", HASH, 24, 4, quic_lb_room, NO_PREALLOC, _with("quic_lb")),
    MapSpec("lpm_src_v4", LPM_TRIE, 8, 4, _size("source_routes"), NO_PREALLOC, _with("source_routing")),
    MapSpec("lpm_src_v6", LPM_TRIE, 20, 4, _size("source_routes"), NO_PREALLOC, _with("source_routing")),
    MapSpec("src_filter_v4", LPM_TRIE, 12, 4, _size("source_filters"), NO_PREALLOC, _with("source_filter")),
    MapSpec("src_filter_v6", LPM_TRIE, 24, 4, _size("source_filters"), NO_PREALLOC, _with("source_filter")),
    MapSpec("src_denied", PERCPU_ARRAY, 4, 16, _size("vips"), exists=_with("source_filter")),
    MapSpec(
        "global_lru_maps", ARRAY_OF_MAPS, 4, 4, _fixed(MAX_CPUS), exists=_with("global_lru"), inner=GLOBAL_FLOW_TABLE
    ),
    MapSpec("fallback_glru", LRU_HASH, 40, 4, _fixed(10_000), exists=_with("global_lru")),
    MapSpec(
        "vip_to_down_reals_map",
        HASH_OF_MAPS,
        20,
        4,
        _size("vips"),
        exists=_with("udp_flow_migration"),
        inner=DOWN_SET,
    ),
    MapSpec("ctl_array", ARRAY, 4, 8, _fixed(16)),
    MapSpec("clock_tick", ARRAY, 4, 16, _fixed(1)),
    MapSpec("capture_filter", ARRAY, 4, 56, _fixed(1), exists=_with("introspection")),
    MapSpec("event_pipe", PERF_EVENT_ARRAY, 4, 4, _fixed(MAX_CPUS), exists=_with("introspection")),
    MapSpec("decap_dst", HASH, 16, 4, _size("vips"), exists=_with("inline_decap")),
    MapSpec("tunnel_src_v4", LPM_TRIE, 8, 4, _fixed(MAX_SOURCES), NO_PREALLOC, _checks_sources),
    MapSpec("tunnel_src_v6", LPM_TRIE, 20, 4, _fixed(MAX_SOURCES), NO_PREALLOC, _checks_sources),
    MapSpec("subprograms", PROG_ARRAY, 4, 4, _fixed(1), exists=_with("inline_decap")),
    MapSpec(NEXT_PROGRAMS, PROG_ARRAY, 4, 4, _fixed(ROOT_SLOTS), exists=_with("chain")),
    MapSpec(
        "pckt_srcs",
        ARRAY,
        4,
        20,
        _fixed(2),
        exists=lambda shape: shape.encapsulation == "gue" or _checks_sources(shape),
    ),
    MapSpec(
        "flow_debug_maps", ARRAY_OF_MAPS, 4, 4, _fixed(MAX_CPUS), exists=_with("flow_debug"), inner=FLOW_DEBUG_TABLE
    ),
)


def global_counters_at(entries: int) -> int:
    """The index of the first global counter in a `stats` of so many entries: the number of VIPs it was made for."""
    return entries // 2 if entries >= 2 * GLOBAL_COUNTERS else entries - GLOBAL_COUNTERS


def balancer_maps(shape: Shape) -> dict[str, MapSpec]:
    """The maps that a balancer of this shape has, by name, in the order they are created."""
    return {spec.name: spec for spec in MAPS if spec.exists(shape)}


DECAP_COUNTERS = ("v4", "v6", "total", "tpr_misrouted", "tpr_total")

DECAP_MAPS: tuple[MapSpec, ...] = (
    MapSpec("decap_vips", HASH, 16, 4, _fixed(4096)),
    MapSpec("decap_src_v4", LPM_TRIE, 8, 4, _fixed(MAX_SOURCES), NO_PREALLOC),
    MapSpec("decap_src_v6", LPM_TRIE, 20, 4, _fixed(MAX_SOURCES), NO_PREALLOC),
    MapSpec("decap_counters", PERCPU_ARRAY, 4, 8 * len(DECAP_COUNTERS), _fixed(1)),
    MapSpec("tpr_server_id", ARRAY, 4, 4, _fixed(1)),
)
"""The maps of program decap, on a real."""

REAL_SOURCES = ("decap_src_v4", "decap_src_v6")
BALANCER_SOURCES = ("tunnel_src_v4", "tunnel_src_v6")
"""The maps of outer sources, of program decap and of a balancer: a host may have both, in one folder."""

EARLIER_SOURCES = MapSpec("decap_sources", HASH, 16, 4, _fixed(4096))
"""The map of earlier versions, which a kept program of theirs may still want."""

HEALTHCHECK_COUNTERS = ("processed", "dropped", "skipped", "too_big", "dst_matched", "src_matched")
HC_IFINDEX = 3
HC_SOURCE_IPV4, HC_SOURCE_IPV6 = 0, 1
HC_SOURCE_MAC, HC_GATEWAY_MAC = 0, 1

HEALTHCHECK_MAPS: tuple[MapSpec, ...] = (
    MapSpec("hc_reals_map", HASH, 4, 20, _fixed(65_536), NO_PREALLOC),
    MapSpec("hc_ctrl_map", ARRAY, 4, 4, _fixed(4)),
    MapSpec("hc_pckt_srcs_map", ARRAY, 4, 20, _fixed(2)),
    MapSpec("hc_pckt_macs", ARRAY, 4, 6, _fixed(2)),
    MapSpec("hc_stats_map", PERCPU_ARRAY, 4, 8 * len(HEALTHCHECK_COUNTERS), _fixed(1)),
    MapSpec("hc_key_map", HASH, 20, 4, _fixed(4096), NO_PREALLOC),
    MapSpec("per_hckey_stats", PERCPU_ARRAY, 4, 8, _fixed(4096)),
)
"""The maps of program healthcheck, on a balancer or another host that probes reals."""

ROOT_MAPS: tuple[MapSpec, ...] = (MapSpec("root_array", PROG_ARRAY, 4, 4, _fixed(ROOT_SLOTS)),)
"""The maps of program root, which shares an interface between several XDP programs."""

HEALTHCHECK_SPECS = {spec.name: spec for spec in HEALTHCHECK_MAPS}
