# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What operators write, good and bad, and the limits that it is held to."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import strategies as st

from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.entries import Asked
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ConfigError
from ansible_collections.katran.fleet.plugins.module_utils._model.features import FEATURES
from ansible_collections.katran.fleet.plugins.module_utils._model.limits import Limits
from ansible_collections.katran.fleet.plugins.module_utils._model.map_specs import DEFAULT_SIZES
from ansible_collections.katran.fleet.plugins.module_utils._model.vips import HASHES, REAL_STATES, Vip, VipKey
from ansible_collections.katran.fleet.plugins.module_utils._model.vips_input import resolve_vips

SIZES = {**DEFAULT_SIZES, "vips": 4, "cidr_vips": 2, "reals": 6, "source_routes": 3, "server_ids": 100}
ALL = Limits(SIZES, frozenset(FEATURES) - {"server_id_hash"})
NONE = Limits(SIZES, frozenset())


def vip(address: Any = "198.51.100.1", port: Any = 443, protocol: Any = "tcp", **options: Any) -> dict[str, Any]:
    return {"address": address, "port": port, "protocol": protocol, **options}


def vip6(**options: Any) -> dict[str, Any]:
    return vip("2001:db8::1", **options)


def reals(*addresses: str) -> list[dict[str, Any]]:
    return [{"address": address} for address in addresses]


def vips(
    config: Any, state: str = "merged", before: Any = None, limits: Limits = ALL
) -> tuple[dict[VipKey, Vip], list[str]]:
    return resolve_vips(before or {}, Asked(config, state, False, limits))


# Any VIPs.

HOSTS = st.one_of(
    st.ip_addresses(v=4, network="10.0.0.0/29").filter(lambda address: int(address) & 7),
    st.ip_addresses(v=6, network="fc00::/125").filter(lambda address: int(address) & 7),
).map(str)
REALS = st.lists(
    st.fixed_dictionaries(
        {"address": HOSTS},
        optional={"weight": st.integers(0, 10000), "state": st.sampled_from(REAL_STATES)},
    ),
    max_size=6,
    unique_by=lambda real: real["address"],
)
VIPS = st.lists(
    st.fixed_dictionaries(
        {
            "address": st.sampled_from(["192.0.2.1", "192.0.2.0/30", "192.0.2.8/29"]),
            "port": st.sampled_from([0, 443]),
            "protocol": st.sampled_from(["tcp", "udp"]),
        },
        optional={
            "flags": st.lists(st.sampled_from(sorted(layout.VIP_FLAGS)), unique=True),
            "hash": st.sampled_from(HASHES),
            "reals": REALS,
            "down_reals": st.lists(HOSTS, unique=True, max_size=3),
        },
    ),
    max_size=5,
    unique_by=lambda entry: (entry["address"], entry["port"], entry["protocol"]),
)


# The other resources.


def table_fault(resolve: Any, config: Any, limits: Limits = ALL, state: str = "merged", **more: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        resolve({}, Asked(config, state, False, limits), **more)
    return str(caught.value)


def route(prefix: Any, real: Any = "10.0.0.1") -> dict[str, Any]:
    return {"prefix": prefix, "real": real}


def server_id(number: Any, real: Any = "10.0.0.1") -> dict[str, Any]:
    return {"id": number, "real": real}


# The balancer, as Ansible hands over what nobody mentions.

SETTINGS: dict[str, Any] = {
    "state": "attached",
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
    "sizes": {},
    "max_frame": 1514,
    "max_new_flows": 125000,
    "udp_timeout": 30,
    "forwarding_cores": "auto",
    "replace_foreign": False,
}

# A VIP whose numbers are texts, as templates make them.
GOOD = {"address": "198.51.100.1", "port": "443", "protocol": "tcp"}
