# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The features that can be compiled in, and those that a configuration needs."""

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Mapping

from .shape import words

FEATURES: tuple[str, ...] = (
    "source_routing",
    "tcp_server_id",
    "udp_stable_routing",
    "udp_flow_migration",
    "cidr_vips",
    "global_lru",
    "icmp_too_big",
    "inline_decap",
    "local_delivery",
    "introspection",
    "flow_debug",
    "server_id_hash",
    "vlan",
    "source_filter",
    "quic_lb",
    "chain",
)

FLAG_FEATURES = {
    "source_routing": "source_routing",
    "global_lru": "global_lru",
    "udp_stable_routing": "udp_stable_routing",
    "udp_flow_migration": "udp_flow_migration",
    "local": "local_delivery",
}
"""VIP flag → the feature that must be compiled in."""


def vip_words(vip: Mapping[str, t.Any]) -> set[str]:
    """The flags of a VIP in config's own form, and its protocol."""
    return {*words(vip.get("flags")), str(vip.get("protocol"))}


def vip_features(vips: Iterable[Mapping[str, t.Any]]) -> set[str]:
    """The features that VIPs in config's own form use. They need not be valid."""
    found: set[str] = set()
    flags: set[str] = set()
    for vip in vips:
        flags.update(words(vip.get("flags")))
        if "/" in str(vip.get("address", "")):
            found.add("cidr_vips")
        if vip.get("down_reals"):
            found.add("udp_flow_migration")
        if vip.get("allow") or vip.get("deny"):
            found.add("source_filter")
        if vip.get("quic_lb"):
            found.add("quic_lb")
        if any(isinstance(real, Mapping) and real.get("local") for real in vip.get("reals") or ()):
            found.add("local_delivery")
    found.update(feature for flag, feature in FLAG_FEATURES.items() if flag in flags)
    return found
