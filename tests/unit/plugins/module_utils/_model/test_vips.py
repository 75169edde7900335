# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""VIPs in their own form, their names, and what a change of them is called."""

from __future__ import annotations

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model.vip_changes import vip_changes
from ansible_collections.katran.fleet.plugins.module_utils._model.vips import VipKey, vip_to_config
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils._model.configs import reals, vip, vip6, vips


def test_own_form_is_sorted_and_canonical() -> None:
    after, _warnings = vips(
        [
            vip("2001:DB8::0:1", reals=reals("FC00:0::2", "fc00::1")),
            vip(port=80, protocol="udp", flags=["quic", "no_lru", "quic"], down_reals=["10.0.0.10", "10.0.0.9"]),
            vip(port=80),
        ]
    )
    assert [str(key) for key in sorted(after)] == [
        "198.51.100.1:80/tcp",
        "198.51.100.1:80/udp",
        "[2001:db8::1]:443/tcp",
    ]
    _tcp, udp, v6 = (vip_to_config(after[key]) for key in sorted(after))
    assert (udp["flags"], udp["down_reals"]) == (["no_lru", "quic"], ["10.0.0.9", "10.0.0.10"])
    assert [real["address"] for real in v6["reals"]] == ["fc00::1", "fc00::2"]


def test_vip_key_from_the_kernel() -> None:
    after, _warnings = vips([vip("192.0.2.0/30"), vip6()])
    for key in after:
        assert VipKey.of(key.packed, key.ipv6, key.prefixlen, key.port, key.protocol) == key
        assert str(VipKey.of(key.packed, key.ipv6, key.prefixlen, key.port, key.protocol)) == str(key)


@pytest.mark.parametrize(
    "name",
    ["198.51.100.1:443/tcp", "198.51.100.0/24:0/udp", "[2001:db8::1]:53/udp", "[2001:db8::/32]:0/tcp", "[::/0]:0/udp"],
)
def test_the_name_of_a_vip(name: str) -> None:
    assert str(VipKey.read(name)) == name


@pytest.mark.parametrize("name", ["", "web:443/tcp", "198.51.100.1/24:0/tcp", "198.51.100.1/tcp", "198.51.100.1:x/tcp"])
def test_what_is_no_name_of_a_vip(name: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        VipKey.read(name)


def test_changes_in_domain_words() -> None:
    before, _warnings = vips(
        [
            vip(reals=[{"address": "10.0.0.11"}, {"address": "10.0.0.12"}, {"address": "10.0.0.13", "local": True}]),
            vip(port=80),
        ]
    )
    after, _warnings = vips(
        [
            vip(
                flags=["no_lru"],
                hash="maglev_v1",
                reals=[
                    {"address": "10.0.0.9", "state": "draining"},
                    {"address": "10.0.0.11", "weight": 10},
                    {"address": "10.0.0.13", "local": False},
                    {"address": "10.0.0.14"},
                ],
                down_reals=["10.0.0.11"],
            ),
            vip(port=1, reals=reals("10.0.0.11")),
        ],
        "overridden",
    )
    assert vip_changes(before, after) == [
        "vip 198.51.100.1:1/tcp: added with 1 real",
        "vip 198.51.100.1:80/tcp: removed",
        "vip 198.51.100.1:443/tcp: flags none → no_lru",
        "vip 198.51.100.1:443/tcp: hash maglev_v2 → maglev_v1",
        "vip 198.51.100.1:443/tcp: real 10.0.0.9 added (weight 1, draining)",
        "vip 198.51.100.1:443/tcp: weight of 10.0.0.11 1 → 10",
        "vip 198.51.100.1:443/tcp: real 10.0.0.12 removed",
        "vip 198.51.100.1:443/tcp: local of 10.0.0.13 true → false",
        "vip 198.51.100.1:443/tcp: real 10.0.0.14 added (weight 1)",
        "vip 198.51.100.1:443/tcp: 10.0.0.11 listed as down",
    ]
    assert vip_changes(before=after, after=before)[-1] == "vip 198.51.100.1:443/tcp: 10.0.0.11 no longer listed as down"
