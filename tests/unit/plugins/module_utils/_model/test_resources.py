# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which features a configuration needs, and faults of every resource at once, as a preflight tells them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings

from ansible_collections.katran.fleet.plugins.module_utils._model.entries import Asked
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ConfigError
from ansible_collections.katran.fleet.plugins.module_utils._model.features import FLAG_FEATURES
from ansible_collections.katran.fleet.plugins.module_utils._model.limits import Limits
from ansible_collections.katran.fleet.plugins.module_utils._model.map_specs import DEFAULT_SIZES
from ansible_collections.katran.fleet.plugins.module_utils._model.resources import config_faults, features_needed
from ansible_collections.katran.fleet.plugins.module_utils._model.vips_input import resolve_vips
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils._model.configs import (
    ALL,
    VIPS,
    route,
    server_id,
    vip,
)


@pytest.mark.parametrize(
    ("variables", "features"),
    [
        ({}, []),
        ({"vips": [vip(flags=["quic", "no_lru"])]}, []),
        ({"vips": [vip("10.0.0.0/8")]}, ["cidr_vips"]),
        ({"vips": [vip(down_reals=["10.0.0.1"])]}, ["udp_flow_migration"]),
        ({"vips": [vip(reals=[{"address": "10.0.0.1", "local": True}])]}, ["local_delivery"]),
        *(({"vips": [vip(flags=[flag])]}, [feature]) for flag, feature in FLAG_FEATURES.items()),
        ({"source_routes": [route("10.0.0.0/8")]}, ["source_routing"]),
        ({"decap_destinations": [{"address": "10.0.0.1"}]}, ["inline_decap"]),
        ({"server_ids": [server_id(1)], "vips": [vip()]}, ["tcp_server_id"]),
        ({"server_ids": [server_id(1)], "vips": [vip(), vip(protocol="udp", flags=["quic"])]}, []),
        ({"server_ids": [server_id(1)], "vips": [vip(protocol="udp")]}, []),
        ({"server_ids": [server_id(DEFAULT_SIZES["server_ids"])]}, ["server_id_hash"]),
        ({"server_ids": [server_id(DEFAULT_SIZES["server_ids"] - 1)]}, []),
        ({"server_ids": [server_id("nonsense")]}, []),
    ],
)
def test_features_needed(variables: dict[str, Any], features: list[str]) -> None:
    assert features_needed(**variables) == features


@settings(deadline=None)
@given(config=VIPS)
def test_what_needs_no_more_features_has_them(config: Any) -> None:
    def entries() -> Iterator[Any]:
        yield from config

    needed = features_needed(entries())
    resolve_vips({}, Asked(config, "merged", False, Limits(DEFAULT_SIZES, frozenset(needed))))
    for feature in needed:
        with pytest.raises(ConfigError, match=f"feature {feature}"):
            resolve_vips({}, Asked(config, "merged", False, Limits(DEFAULT_SIZES, frozenset(needed) - {feature})))


def test_a_word_is_a_list_of_flags() -> None:
    assert features_needed([{"address": "x", "flags": "udp_stable_routing,quic"}]) == ["udp_stable_routing"]


@pytest.mark.parametrize(
    ("resources", "sentences"),
    [
        ({}, []),
        ({"vips": None, "source_routes": []}, []),
        # As Ansible reads them: numbers and truths as texts, one word as a list.
        (
            {
                "vips": [
                    vip(port="443", flags="quic", protocol="udp", reals=[{"address": "10.0.0.1", "weight": "5"}]),
                    vip(port=80, reals=[{"address": "10.0.0.1", "local": "no"}], down_reals="10.0.0.7,10.0.0.8"),
                ],
                "server_ids": [{"id": "7", "real": "10.0.0.1"}],
                "decap_destinations": [{"address": "192.0.2.1", "egress": "yes"}],
            },
            [],
        ),
        (
            {
                "vips": [vip(port=70000), vip("x")],
                "source_routes": [{"prefix": "192.0.2.1/24", "real": "10.0.0.1"}],
                "server_ids": [{"id": "x", "real": "10.0.0.1"}, "10.0.0.1"],
                "decap_destinations": [{"address": "224.0.0.1"}],
            },
            [
                "vips[0].port: 70000 is not a port (0 to 65535); vips[1].address: x is not an IP address",
                "source_routes[0].prefix: 192.0.2.1/24 has host bits set; the network is 192.0.2.0/24",
                "server_ids[0].id: x is not a whole number; server_ids[1]: 10.0.0.1 is not a mapping",
                "decap_destinations[0].address: 224.0.0.1 is not a unicast address",
            ],
        ),
        (
            {
                "vips": [vip(), vip("2001:db8::1", reals=[]), vip("10.9.0.0/24", reals=[])],
                "source_routes": [{"prefix": "192.0.2.0/24", "real": vip()["address"]}, "x", {"real": "10.0.0.7"}],
                "server_ids": [{"id": 7, "real": "2001:DB8:0::1"}],
            },
            [
                "source_routes[1]: x is not a mapping; source_routes[2].prefix: is missing",
                f"source_routes[0].real: {vip()['address']} is the address of a VIP; a real has an address of its own",
                "server_ids[0].real: 2001:DB8:0::1 is the address of a VIP; a real has an address of its own",
            ],
        ),
    ],
)
def test_faults_of_everything(resources: dict[str, Any], sentences: list[str]) -> None:
    assert config_faults(resources, ALL) == sentences
