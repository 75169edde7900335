# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The features that can be compiled in, and those that a configuration needs."""

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Mapping, Sequence

from .map_specs import DEFAULT_SIZES
from .shape import is_number, words

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
)

FLAG_FEATURES = {
    "source_routing": "source_routing",
    "global_lru": "global_lru",
    "udp_stable_routing": "udp_stable_routing",
    "udp_flow_migration": "udp_flow_migration",
    "local": "local_delivery",
}
"""VIP flag → the feature that must be compiled in."""


def features_needed(
    vips: Iterable[Mapping[str, t.Any]] = (),
    source_routes: Sequence[t.Any] = (),
    decap_destinations: Sequence[t.Any] = (),
    server_ids: Sequence[Mapping[str, t.Any]] = (),
) -> list[str]:
    """The features that this configuration uses, sorted. It need not be valid: the modules say what is wrong."""
    found: set[str] = set()
    flags: set[str] = set()
    for vip in vips:
        flags.update(words(vip.get("flags")))
        if "/" in str(vip.get("address", "")):
            found.add("cidr_vips")
        if vip.get("down_reals"):
            found.add("udp_flow_migration")
        if any(isinstance(real, Mapping) and real.get("local") for real in vip.get("reals") or ()):
            found.add("local_delivery")
        if vip.get("protocol") == "tcp":
            flags.add("tcp")
    found.update(feature for flag, feature in FLAG_FEATURES.items() if flag in flags)
    if source_routes:
        found.add("source_routing")
    if decap_destinations:
        found.add("inline_decap")
    if server_ids and "tcp" in flags and not flags & {"quic", "udp_stable_routing"}:
        # Nobody else would read them. Beside QUIC, TCP may go without: then the operator has to say it.
        found.add("tcp_server_id")
    if any(is_number(entry.get("id"), DEFAULT_SIZES["server_ids"], 0xFFFFFFFF) for entry in server_ids):
        found.add("server_id_hash")
    return sorted(found)
