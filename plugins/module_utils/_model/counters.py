# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The names of what the program counts (datapath.md, section 1, `stats`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

DENIED = "source_denied"
"""The name of what lists of clients keep out of all VIPs, which program and maps count by VIP (`src_denied`)."""

GLOBAL_COUNTERS: tuple[tuple[str, str], ...] = (
    ("packets", "lru_misses"),
    ("tcp_syn_misses", "tcp_non_syn_misses"),
    ("flood_checks", "flood_second"),
    ("fallback_cache", ""),
    ("icmp_too_big_v4", "icmp_too_big_v6"),
    ("source_route_misses", "source_route_hits"),
    ("decap_destination", ""),
    ("encapsulation_failures_v4", "encapsulation_failures_v6"),
    ("global_lru_absent", "global_lru_hits"),
    ("real_outside_map", "ring_slot_empty"),
    ("decapsulated_v4", "decapsulated_v6"),
    ("quic_icmp", "quic_icmp_ignored"),
    ("icmpv6_too_big_received", "icmpv6_too_big_below_1280"),
    ("icmpv4_frag_needed_received", "icmpv4_frag_needed_below_1280"),
    ("recirculated_v4", "recirculated_v6"),
    ("udp_flows_migrated", ""),
    ("frames_seen", "bytes_seen"),
    ("frames_sent", "bytes_sent"),
    ("frames_dropped", "bytes_dropped"),
    ("frames_passed", "bytes_passed"),
    ("egress_decapsulated_v4", "egress_decapsulated_v6"),
    ("cidr_vip_matches", ""),
)
"""Names of v1 and v2 of stats[max_vips + n], in the order of n; an empty name is not counted."""


def named(stats: Callable[[int], Sequence[int]], max_vips: int) -> dict[str, int]:
    """Name → value of GLOBAL_COUNTERS. `stats`: (v1, v2) at an index of map stats."""
    found: dict[str, int] = {}
    for index, names in enumerate(GLOBAL_COUNTERS):
        values = stats(max_vips + index)
        found.update({name: value for name, value in zip(names, values, strict=True) if name})
    return found
