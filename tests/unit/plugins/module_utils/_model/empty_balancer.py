# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel has of a balancer in which nothing is."""

from __future__ import annotations

from ansible_collections.katran.fleet.plugins.module_utils._model.vip_entries import Actual

RING = 13


def empty(vips: int = 4, reals: int = 5) -> Actual:
    """A balancer in which nothing is."""
    names = ("vip_map", "vip_addresses", "reals", "vip_to_down_reals_map")
    capacity = {
        "vip_map": vips,
        "vip_addresses": vips,
        "reals": reals,
        "server_id_stats": vips,
        "ch_rings": vips * RING,
    }
    return Actual({name: {} for name in names}, {}, lambda _number: memoryview(bytes(RING * 8)), capacity, RING)
