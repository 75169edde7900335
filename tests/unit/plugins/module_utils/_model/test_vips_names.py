# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of VIPs, cut short or whole, their order, and how two VIPs differ in words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.vip_changes import vip_changes
from ansible_collections.katran.fleet.plugins.module_utils._model.vips import (
    Vip,
    VipKey,
    VipName,
    VipReal,
    sorted_flags,
    vip_to_config,
    vips_from_config,
)


@pytest.mark.parametrize(
    ("name", "host", "port", "protocol"),
    [
        ("198.51.100.1", "198.51.100.1", None, None),
        ("198.51.100.1:0", "198.51.100.1", 0, None),
        ("198.51.100.1:65535/udp", "198.51.100.1", 65535, "udp"),
        ("198.51.100.0/24:443/tcp", "198.51.100.0/24", 443, "tcp"),
        ("2001:db8::1", "2001:db8::1", None, None),
        ("2001:DB8::/32", "2001:db8::/32", None, None),
        ("[2001:db8::1]", "2001:db8::1", None, None),
        ("[2001:db8::1]:53", "2001:db8::1", 53, None),
        ("[2001:db8::/32]:53/udp", "2001:db8::/32", 53, "udp"),
        ("[::ffff:10.0.0.1]:53/udp", "::ffff:10.0.0.1", 53, "udp"),
    ],
)
def test_what_a_name_says(name: str, host: str, port: int | None, protocol: str | None) -> None:
    found = VipName.read(name)
    assert found is not None
    assert (found.host.text, found.port, found.protocol) == (host, port, protocol)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ":80",
        "198.51.100.1:",
        "198.51.100.1:65536",
        "198.51.100.1:80/",
        "198.51.100.1:80/sctp",
        "198.51.100.1/tcp",
        "198.51.100.1:80/tcp ",
        "[198.51.100.1",
        "2001:db8::1:80/tcp",
        "[2001:db8::1]80/tcp",
        "[2001:db8::1]/32",
        "198.51.100.0/33",
    ],
)
def test_what_says_nothing(name: str) -> None:
    assert VipName.read(name) is None


@pytest.mark.parametrize("name", ["198.51.100.1", "198.51.100.1:80", "web"])
def test_only_a_whole_name_is_a_key(name: str) -> None:
    with pytest.raises(ValueError, match=f"^{name} is not the name of a VIP$"):
        VipKey.read(name)


def test_keys_are_equal_by_what_they_mean() -> None:
    key = VipKey.read("198.51.100.1:80/tcp")
    assert key == VipKey(False, key.packed, None, 80, "tcp", "anything")
    assert (key.address, str(key)) == ("198.51.100.1", "198.51.100.1:80/tcp")
    wide = VipKey.read("[2001:db8::/32]:0/udp")
    assert (wide.address, str(wide), wide.prefixlen, wide.ipv6) == ("2001:db8::/32", "[2001:db8::/32]:0/udp", 32, True)
    assert wide.packed == layout.pack_address("2001:db8::")


def test_keys_from_the_kernel() -> None:
    four = layout.vip_definition(layout.pack_address("198.51.100.1"), 80, 6)
    six = layout.vip_definition(layout.pack_address("2001:db8:100::"), 53, 17)
    assert VipKey.of_definition(four) == VipKey.read("198.51.100.1:80/tcp")
    assert VipKey.of_definition(six) == VipKey.read("[2001:db8:100::]:53/udp")
    assert str(VipKey.of_definition(layout.vip_definition(bytes(16), 80, 132))) == "0.0.0.0:80/132"


def test_the_order_of_keys() -> None:
    names = [
        "198.51.100.0:9/udp",
        "198.51.100.0/24:1/tcp",
        "198.51.100.0/25:0/tcp",
        "198.51.100.0/25:1/tcp",
        "198.51.100.0/25:1/udp",
        "198.51.100.1:0/tcp",
        "[::1]:0/tcp",
    ]
    keys = [VipKey.read(name) for name in reversed(names)]
    assert [str(key) for key in sorted(keys)] == names
    assert not keys[0] < keys[0]


def test_flags_are_sorted_by_their_bits() -> None:
    flags = list(layout.VIP_FLAGS)
    assert sorted_flags([*reversed(flags), flags[0]]) == tuple(sorted(flags, key=layout.VIP_FLAGS.__getitem__))


WEB = VipKey.read("198.51.100.1:80/tcp")


def vip(*reals: VipReal, **options: Any) -> Vip:
    return Vip(WEB, reals=reals, **options)


def changes(old: Vip, new: Vip) -> list[str]:
    found = vip_changes({WEB: old}, {WEB: new})
    assert all(line.startswith(f"vip {WEB}: ") for line in found)
    return [line.removeprefix(f"vip {WEB}: ") for line in found]


def test_differences_in_words() -> None:
    one, two = VipReal("10.0.0.2"), VipReal("10.0.0.10", 5, "down", local=True)
    assert changes(vip(one), vip(one)) == []
    assert changes(vip(flags=("quic", "no_lru")), vip()) == ["flags quic,no_lru → none"]
    assert changes(vip(), vip(flags=("quic",))) == ["flags none → quic"]
    assert changes(vip(), vip(hash="maglev_v1")) == ["hash maglev_v2 → maglev_v1"]
    assert changes(vip(), vip(two, one)) == [
        "real 10.0.0.2 added (weight 1)",
        "real 10.0.0.10 added (weight 5, down)",
    ]
    assert changes(vip(two, one), vip()) == ["real 10.0.0.2 removed", "real 10.0.0.10 removed"]
    assert changes(vip(two), vip(VipReal("10.0.0.10"))) == [
        "weight of 10.0.0.10 5 → 1",
        "state of 10.0.0.10 down → active",
        "local of 10.0.0.10 true → false",
    ]
    assert changes(vip(down_reals=("10.0.0.2", "10.0.0.3")), vip(down_reals=("10.0.0.3", "10.0.0.10"))) == [
        "10.0.0.2 no longer listed as down",
        "10.0.0.10 listed as down",
    ]


def test_vips_that_come_and_go() -> None:
    other = VipKey.read("198.51.100.1:81/tcp")
    assert vip_changes({WEB: vip()}, {other: Vip(other, reals=(VipReal("10.0.0.1"),) * 2)}) == [
        f"vip {WEB}: removed",
        f"vip {other}: added with 2 reals",
    ]
    assert vip_changes({}, {WEB: vip()}) == [f"vip {WEB}: added with 0 reals"]


def test_their_own_form_is_read_back() -> None:
    reals = (VipReal("10.0.0.1", 0, "draining", local=True), VipReal("fc00::1", 7))
    one = vip(*reals, flags=("quic",), hash="maglev_v1", down_reals=("10.0.0.9",))
    wide = VipKey.read("[2001:db8::/32]:0/udp")
    assert vip_to_config(one) == {
        "address": "198.51.100.1",
        "port": 80,
        "protocol": "tcp",
        "flags": ["quic"],
        "hash": "maglev_v1",
        "reals": [
            {"address": "10.0.0.1", "weight": 0, "state": "draining", "local": True},
            {"address": "fc00::1", "weight": 7, "state": "active", "local": False},
        ],
        "down_reals": ["10.0.0.9"],
    }
    both = {WEB: one, wide: replace(vip(), key=wide)}
    assert vips_from_config([vip_to_config(each) for each in both.values()]) == both
