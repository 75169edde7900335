# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which features a configuration needs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings

from ansible_collections.katran.fleet.plugins.module_utils._model.entries import Asked
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ConfigError
from ansible_collections.katran.fleet.plugins.module_utils._model.features import FLAG_FEATURES, features_needed
from ansible_collections.katran.fleet.plugins.module_utils._model.limits import Limits
from ansible_collections.katran.fleet.plugins.module_utils._model.map_specs import DEFAULT_SIZES
from ansible_collections.katran.fleet.plugins.module_utils._model.vips_input import resolve_vips
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils._model.configs import VIPS, route, server_id, vip


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
