# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""katran_bgp read, and every fault of it told; no sentence shows a password."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.katran.fleet.plugins.module_utils._model.bgp_settings import (
    BgpSettings,
    Neighbor,
    Place,
    as_prefix,
    bgp_warnings,
    parse_bgp,
    parse_table,
    places_of,
    read_places,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.communities import read_community
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ConfigError

NEIGHBOR: dict[str, Any] = {"address": "10.0.0.1", "as": 65000}
BGP: dict[str, Any] = {"as": 65001, "neighbors": [NEIGHBOR]}


def fault_of(**more: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_bgp({**BGP, **more}, "katran_bgp")
    return str(caught.value)


def fault_of_neighbor(**more: Any) -> str:
    return fault_of(neighbors=[{**NEIGHBOR, **more}])


def test_what_is_left_out_has_its_default() -> None:
    assert parse_bgp(BGP) == BgpSettings(65001, (Neighbor("10.0.0.1", 65000),))
    # As AnsibleModule hands options over that were not given.
    empty = {"router_id": None, "bfd": None, "communities": None, "local_pref": None, "prefixes": None}
    neighbor = {**NEIGHBOR, "password": None, "interface": None, "multihop": 0}
    assert parse_bgp({**BGP, **empty, "neighbors": [neighbor]}) == parse_bgp(BGP)


def test_everything_that_may_be_said() -> None:
    neighbors = [
        {"address": "10.0.0.1", "as": "65000", "password": "s3cret", "multihop": 2, "local_address": "10.0.9.9"},
        {"address": "2001:DB8::0:1", "as": 4200000000, "bfd": False, "ttl_security": True, "families": ["ipv6"]},
        {"address": "fe80::1", "as": 65001, "interface": "eth0"},
    ]
    found = parse_bgp(
        {
            "as": 65001,
            "router_id": "10.0.9.9",
            "neighbors": neighbors,
            "bfd": {"interval": 0.3, "multiplier": 5},
            "communities": ["65001:80", "4200000000:1:2", "65001:80"],
            "local_pref": 0,
            "hold_time": 90,
            "graceful_restart": 0,
            "prefixes": ["198.51.100.0/24"],
            "replace_foreign": "yes",
        }
    )
    assert found == BgpSettings(
        local_as=65001,
        neighbors=(
            Neighbor("10.0.0.1", 65000, "s3cret", multihop=2, local_address="10.0.9.9"),
            Neighbor("2001:db8::1", 4200000000, bfd=False, ttl_security=True, families=("ipv6",)),
            Neighbor("fe80::1", 65001, interface="eth0"),
        ),
        router_id="10.0.9.9",
        bfd_interval=300,
        bfd_multiplier=5,
        communities=((65001, 80), (4200000000, 1, 2)),
        local_pref=0,
        hold_time=90,
        graceful_restart=0,
        prefixes=("198.51.100.0/24",),
        replace_foreign=True,
    )


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"as": None}, "katran_bgp.as: is missing"),
        ({"as": 0}, "katran_bgp.as: AS 0 is reserved (RFC 7607)"),
        ({"as": 23456}, "katran_bgp.as: AS 23456 is reserved (RFC 6793)"),
        ({"as": 65535}, "katran_bgp.as: AS 65535 is reserved (RFC 7300)"),
        ({"as": 4294967295}, "katran_bgp.as: AS 4294967295 is reserved (RFC 7300)"),
        ({"as": 4294967296}, "katran_bgp.as: 4294967296 is not in 0 to 4294967295"),
        ({"as": -1}, "katran_bgp.as: -1 is not in 0 to 4294967295"),
        ({"as": "1.10"}, "katran_bgp.as: 1.10 is not a whole number: write 65546 for AS 1.10"),
        ({"as": True}, "katran_bgp.as: True is not a whole number"),
        ({"as": "AS65001"}, "katran_bgp.as: AS65001 is not a whole number"),
        ({"neighbors": None}, "katran_bgp.neighbors: is missing"),
        ({"neighbors": []}, "katran_bgp.neighbors: is empty"),
        ({"neighbors": "10.0.0.1"}, "katran_bgp.neighbors: 10.0.0.1 is not a list"),
        ({"neighbors": ["10.0.0.1"]}, "katran_bgp.neighbors[0]: str is not a mapping"),
        ({"neighbours": []}, "katran_bgp.neighbours: there is no such option; there are as, router_id, neighbors"),
        ({"router_id": "2001:db8::1"}, "katran_bgp.router_id: 2001:db8::1 is not an IPv4 address"),
        ({"router_id": "0.0.0.0"}, "katran_bgp.router_id: 0.0.0.0 is not an IPv4 address"),
        ({"router_id": 7}, "katran_bgp.router_id: 7 is not an IPv4 address"),
        ({"bfd": {"interval": 100}}, "katran_bgp.bfd.interval: 100 is in seconds, and not in 0.01 to 10; for 100 mil"),
        ({"bfd": {"interval": 0.009}}, "katran_bgp.bfd.interval: 0.009 is in seconds, and not in 0.01 to 10"),
        ({"bfd": {"interval": "100 ms"}}, "katran_bgp.bfd.interval: 100 ms is not a number of seconds"),
        ({"bfd": {"interval": "nan"}}, "katran_bgp.bfd.interval: nan is not a number of seconds"),
        ({"bfd": {"interval": "1_0"}}, "katran_bgp.bfd.interval: 1_0 is not a number of seconds"),
        ({"bfd": {"interval": "inf"}}, "katran_bgp.bfd.interval: inf is not a number of seconds"),
        ({"bfd": {"interval": True}}, "katran_bgp.bfd.interval: True is not a number of seconds"),
        ({"bfd": {"multiplier": 0}}, "katran_bgp.bfd.multiplier: 0 is not in 1 to 255"),
        ({"bfd": {"min_rx": 1}}, "katran_bgp.bfd.min_rx: there is no such option; there are interval, multiplier"),
        ({"bfd": True}, "katran_bgp.bfd: bool is not a mapping"),
        ({"communities": "65001:80"}, "katran_bgp.communities: 65001:80 is not a list"),
        ({"communities": ["65001"]}, "katran_bgp.communities[0]: 65001 is not a community"),
        ({"communities": ["1:2:3:4"]}, "katran_bgp.communities[0]: 1:2:3:4 is not a community"),
        ({"communities": ["65536:1"]}, "katran_bgp.communities[0]: 65536:1: 65536 is more than 65535"),
        ({"communities": ["a:b"]}, "katran_bgp.communities[0]: a:b is not a community"),
        ({"communities": ["1:02"]}, "katran_bgp.communities[0]: 1:02 is not a community"),
        ({"communities": ["1:4294967296:1"]}, "4294967296 is more than 4294967295"),
        ({"communities": [3900080]}, "katran_bgp.communities[0]: 3900080 is a number: YAML reads 65001:20 without"),
        ({"communities": ["65001:80 "]}, "has white space in it"),
        ({"local_pref": -1}, "katran_bgp.local_pref: -1 is not in 0 to 4294967295"),
        ({"local_pref": 4294967296}, "katran_bgp.local_pref: 4294967296 is not in 0 to 4294967295"),
        ({"local_pref": "high"}, "katran_bgp.local_pref: high is not a whole number"),
        ({"hold_time": 2}, "katran_bgp.hold_time: 2 is not in 3 to 65535"),
        ({"hold_time": "9" * 5000}, "katran_bgp.hold_time: a number of 5000 digits is none that is meant here"),
        ({"as": "9" * 5000}, "katran_bgp.as: a number of 5000 digits is none that is meant here"),
        ({"communities": ["1:" + "9" * 5000]}, f"katran_bgp.communities[0]: 1:{'9' * 5000} is not a community"),
        ({"graceful_restart": 4096}, "katran_bgp.graceful_restart: 4096 is not in 0 to 4095"),
        ({"prefixes": []}, "katran_bgp.prefixes: is empty, so that nothing would be announced"),
        ({"prefixes": ["198.51.100.1/24"]}, "katran_bgp.prefixes[0]: 198.51.100.1/24 has host bits set"),
        ({"prefixes": ["198.51.100.1"]}, "katran_bgp.prefixes[0]: 198.51.100.1 is not a prefix"),
        ({"replace_foreign": "perhaps"}, "katran_bgp.replace_foreign: perhaps is neither true nor false"),
    ],
)
def test_what_is_wrong_is_told(more: dict[str, Any], said: str) -> None:
    assert said in fault_of(**more)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"as": None}, "katran_bgp.neighbors[0].as: is missing"),
        ({"as": 0}, "katran_bgp.neighbors[0].as: AS 0 is reserved (RFC 7607)"),
        ({"address": None}, "katran_bgp.neighbors[0].address: is missing"),
        ({"address": "10.0.0"}, "katran_bgp.neighbors[0].address: 10.0.0 is not an IP address"),
        ({"address": "010.0.0.1"}, "katran_bgp.neighbors[0].address: 010.0.0.1 is not an IP address"),
        ({"address": "10.0.0.1/24"}, "katran_bgp.neighbors[0].address: 10.0.0.1/24 is a prefix"),
        ({"address": "router.example.net"}, "router.example.net is not an IP address"),
        ({"address": "127.0.0.1"}, "katran_bgp.neighbors[0].address: 127.0.0.1 is a loopback address"),
        ({"address": "224.0.0.5"}, "katran_bgp.neighbors[0].address: 224.0.0.5 is not a unicast address"),
        ({"address": "169.254.1.1"}, "katran_bgp.neighbors[0].address: 169.254.1.1 is a link-local address"),
        ({"address": "fe80::1%eth0"}, "fe80::1%eth0 is not an IP address; the interface is an option of its own"),
        ({"address": "fe80::1"}, "katran_bgp.neighbors[0].interface: is missing"),
        ({"interface": 'eth0"; }'}, "is not the name of an interface"),
        ({"interface": "eth0", "multihop": 2}, "katran_bgp.neighbors[0].multihop: is of no use with an interface"),
        ({"multihop": 256}, "katran_bgp.neighbors[0].multihop: 256 is not in 0 to 255"),
        ({"multihop": True}, "katran_bgp.neighbors[0].multihop: True is not a whole number"),
        ({"local_address": "2001:db8::1"}, "2001:db8::1 is of another family than 10.0.0.1"),
        ({"bfd": 7}, "katran_bgp.neighbors[0].bfd: 7 is neither true nor false"),
        ({"families": []}, "katran_bgp.neighbors[0].families: nothing is none of ipv4, ipv6"),
        ({"families": ["ipv5"]}, "katran_bgp.neighbors[0].families: ipv5 is none of ipv4, ipv6"),
        ({"md5": "x"}, "katran_bgp.neighbors[0].md5: there is no such option"),
    ],
)
def test_what_is_wrong_with_a_neighbor_is_told(more: dict[str, Any], said: str) -> None:
    assert said in fault_of_neighbor(**more)


@pytest.mark.parametrize(
    ("password", "said"),
    [
        ('hunter2"', 'has a " in it'),
        ("hunter2\n", "has a line end"),
        ("hunter2\x00", "has a line end or another character in it that cannot be seen"),
        ("hunter2é", "has a character in it that is not of ASCII"),
        (" hunter2", "has white space at an end"),
        ("hunter2" * 12, "has 84 characters, and the kernel takes 80"),
        ("", "is empty"),
        (7777777, "is not a text: put quotes around it"),
        (["hunter2"], "is not a text"),
        (True, "is not a text"),
    ],
)
def test_a_password_that_cannot_be_one_is_told_and_not_shown(password: Any, said: str) -> None:
    told = fault_of_neighbor(password=password)
    assert f"katran_bgp.neighbors[0].password: {said}" in told
    assert "hunter2" not in told
    assert "7777777" not in told


def test_two_neighbors_of_one_address() -> None:
    again = {"address": "2001:db8:0::1", "as": 65000}
    told = fault_of(neighbors=[NEIGHBOR, {"address": "2001:db8::1", "as": 65000}, NEIGHBOR, again])
    assert told == (
        "katran_bgp.neighbors[2].address: 10.0.0.1 is that of neighbors[0] too; "
        "katran_bgp.neighbors[3].address: 2001:db8::1 is that of neighbors[1] too"
    )
    # A link-local address is one of each interface.
    both = [{"address": "fe80::1", "as": 65000, "interface": name} for name in ("eth0", "eth1")]
    assert len(parse_bgp({**BGP, "neighbors": both}).neighbors) == 2


@pytest.mark.parametrize("given", [None, 5, "65001", [], [BGP]])
def test_what_is_no_mapping_is_told(given: Any) -> None:
    with pytest.raises(ConfigError, match=r"^katran_bgp: (is empty|\w+ is not a mapping)"):
        parse_bgp(given, "katran_bgp")


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMED = st.dictionaries(
    st.sampled_from(["address", "as", "password", "bfd", "multihop", "interface", "families"]), ANYTHING
)


@given(
    st.dictionaries(
        st.sampled_from(["as", "router_id", "bfd", "communities", "local_pref", "hold_time", "prefixes"]), ANYTHING
    ),
    st.lists(NAMED, max_size=3) | ANYTHING,
)
def test_whatever_is_written_is_read_or_told(options: dict[str, Any], neighbors: Any) -> None:
    with contextlib.suppress(ConfigError):
        assert parse_bgp({"as": 65001, **options, "neighbors": neighbors}).neighbors


@given(
    st.lists(st.integers(0, 65535), min_size=2, max_size=2)
    | st.lists(st.integers(0, 2**32 - 1), min_size=3, max_size=3)
)
def test_communities_are_read_as_written(numbers: list[int]) -> None:
    assert read_community(":".join(map(str, numbers))) == tuple(numbers)


def test_a_local_preference_for_nobody_is_told() -> None:
    assert bgp_warnings(parse_bgp(BGP)) == []
    assert "local_pref" in bgp_warnings(parse_bgp({**BGP, "local_pref": 50}))[0]
    inside = {**BGP, "local_pref": 50, "neighbors": [{**NEIGHBOR, "as": 65001}]}
    assert bgp_warnings(parse_bgp(inside)) == []


def test_places_of_an_inventory() -> None:
    vips = [
        {"address": "2001:db8::1", "announce": {"communities": ["65001:1"]}},
        {"address": "198.51.100.9", "announce": {"communities": ["65001:2", "65001:1"]}},
        {"address": "198.51.100.9", "announce": {"communities": ["65001:3"]}},
        {"address": "198.51.100.9"},
        {"address": "203.0.113.0/24"},
        {"address": "198.51.100.10", "announce": {"enabled": False, "communities": ["65001:1"]}},
        {"address": "nonsense"},
        "nonsense",
    ]
    found = places_of(vips)
    assert found == [
        {"place": "198.51.100.9/32", "communities": ["65001:1", "65001:2", "65001:3"]},
        {"place": "203.0.113.0/24", "communities": []},
        {"place": "2001:db8::1/128", "communities": ["65001:1"]},
    ]
    assert read_places(found)[0] == Place("198.51.100.9/32", ((65001, 1), (65001, 2), (65001, 3)))


def test_places_that_are_none() -> None:
    with pytest.raises(ConfigError) as caught:
        read_places([{"place": "10.0.0"}, {"place": "10.0.0.1", "communities": ["1"]}])
    assert str(caught.value) == (
        "places[0].place: 10.0.0 is not an IP address; "
        "places[1].communities[0]: 1 is not a community: write a:b, or a:b:c for a large one"
    )
    assert as_prefix("10.0.0.1") == "10.0.0.1/32"
    assert as_prefix("2001:DB8::/32") == "2001:db8::/32"


@pytest.mark.parametrize("table", [0, 253, 254, 255, -1, 1 << 32, "main", True, "0198"])
def test_a_table_that_cannot_hold_the_routes(table: Any) -> None:
    with pytest.raises(ConfigError, match="katran_announce_table: "):
        parse_table(table, "katran_announce_table")


def test_tables_that_can() -> None:
    assert [parse_table(table) for table in (1, "198", 252, 256, (1 << 32) - 1)] == [1, 198, 252, 256, 4294967295]
