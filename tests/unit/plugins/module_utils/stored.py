# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs leave on disk, in full."""

from __future__ import annotations

import typing as t

from ansible_collections.katran.fleet.plugins.module_utils._model.map_specs import DEFAULT_SIZES

SETTINGS: dict[str, t.Any] = {
    "interfaces": ["eth0"],
    "mode": "native",
    "encapsulation": "ipip",
    "gue_port": 6080,
    "features": [],
    "source_ipv4": "auto",
    "source_ipv6": "auto",
    "source_prefix_ipv4": "172.16.0.0/16",
    "source_prefix_ipv6": "100::/64",
    "gateway_mac": "auto",
    "copy_tos": True,
    "decap_any": False,
    "sizes": DEFAULT_SIZES,
    "max_frame": 1514,
    "max_new_flows": 125000,
    "udp_timeout": 30,
    "forwarding_cores": "auto",
    "replace_foreign": False,
    "root_array": None,
    "numa": "auto",
    "source_dir": "/usr/lib/katran-fleet/bpf",
    "state": "attached",
}


def stored_vip(address: str, *reals: str, **options: t.Any) -> dict[str, t.Any]:
    """A VIP as state.json has it."""
    return {
        "address": address,
        "port": 80,
        "protocol": "tcp",
        "flags": [],
        "hash": "maglev_v2",
        "reals": [{"address": real, "weight": 1, "state": "active", "local": False} for real in reals],
        "down_reals": [],
        **options,
    }
