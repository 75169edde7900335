# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which flows a search or a purge takes."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ConfigError
from ansible_collections.katran.fleet.plugins.module_utils._model.flow_selection import (
    Matcher,
    Owners,
    Selection,
    is_ipv6,
    parse_filters,
    vip_selection,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.vips import VipKey, vips_from_config

TCP, UDP = 6, 17
REALS = {"10.0.0.1": 1, "10.0.0.2": 2, "fd00::1": 3}


def key(client: str, vip: str, port: int = 80, protocol: int = TCP, sport: int = 31337) -> bytes:
    return layout.flow_key(layout.pack_address(client), layout.pack_address(vip), sport, port, protocol)


def vip_key(address: str, port: int, protocol: str = "tcp") -> VipKey:
    options: dict[str, Any] = {"flags": [], "hash": "maglev_v2", "reals": [], "down_reals": []}
    return next(iter(vips_from_config([{"address": address, "port": port, "protocol": protocol, **options}])))


FLOWS = {
    "a": (key("192.0.2.7", "198.51.100.1", 80), 1),
    "b": (key("192.0.2.8", "198.51.100.1", 443), 2),
    "c": (key("203.0.113.9", "198.51.100.1", 0), 1),
    "d": (key("192.0.2.7", "198.51.100.9", 53, UDP), 2),
    "e": (key("2001:db8:7::1", "2001:db8::1", 80), 3),
    "f": (key("2001:db8:8::1", "2001:db8::1", 443, UDP), 3),
    "g": (key("192.0.2.7", "203.0.113.5", 0), 2),
}


def chosen(*selections: Selection) -> str:
    matcher = Matcher(selections)
    return "".join(sorted(name for name, flow in FLOWS.items() if matcher(*flow)))


def filtered(**params: str) -> str:
    return chosen(parse_filters(params, (), REALS))


@pytest.mark.parametrize(
    ("params", "names"),
    [
        ({}, "abcdefg"),
        ({"vip": "198.51.100.1"}, "abc"),
        ({"vip": "198.51.100.1:80"}, "a"),
        ({"vip": "198.51.100.1:443/tcp"}, "b"),
        ({"vip": "198.51.100.1:443/udp"}, ""),
        ({"vip": "198.51.100.0/24"}, "abcd"),
        ({"vip": "0.0.0.0/0"}, "abcdg"),
        ({"vip": "2001:db8::1"}, "ef"),
        ({"vip": "[2001:db8::1]"}, "ef"),
        ({"vip": "[2001:db8::1]:443/udp"}, "f"),
        ({"vip": "[2001:db8::/32]:80/tcp"}, "e"),
        ({"vip": "::/0"}, "ef"),
        ({"client": "192.0.2.7"}, "adg"),
        ({"client": "192.0.2.0/24"}, "abdg"),
        ({"client": "2001:db8:7::/48"}, "e"),
        ({"client": "::/0"}, "ef"),
        ({"real": "10.0.0.1"}, "ac"),
        ({"real": "10.0.0.9"}, ""),
        ({"client": "192.0.2.7", "vip": "198.51.100.0/24", "real": "10.0.0.2"}, "d"),
    ],
)
def test_filters(params: dict[str, str], names: str) -> None:
    assert filtered(**params) == names


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        ({"vip": "10.0.0"}, "vip: 10.0.0 is no VIP; write one as "),
        ({"vip": "198.51.100.1:65536"}, "vip: 198.51.100.1:65536 is no VIP; "),
        ({"vip": "198.51.100.1:80/sctp"}, "vip: 198.51.100.1:80/sctp is no VIP; "),
        ({"vip": "198.51.100.1/24"}, "vip: 198.51.100.1/24 is no VIP; "),
        ({"client": "192.0.2.7/24"}, "client: 192.0.2.7/24 is neither an IP address nor a prefix"),
        ({"real": "web1"}, "real: web1 is not an IP address"),
    ],
)
def test_a_filter_that_is_none_is_named(params: dict[str, str], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_filters(params, (), REALS)
    assert str(caught.value).startswith(sentence)


def test_all_faults_are_told_together() -> None:
    with pytest.raises(ConfigError, match=r"^vip: .*; client: .*; real: "):
        parse_filters({"vip": "x", "client": "y", "real": "z"}, (), REALS)


def test_a_vip_of_any_port_leaves_the_flows_of_exact_vips_alone() -> None:
    exact = {layout.vip_definition(layout.pack_address("198.51.100.1"), 443, TCP)}
    assert chosen(vip_selection(vip_key("198.51.100.1", 0), exact)) == "ac"
    assert chosen(vip_selection(vip_key("198.51.100.0/24", 0), exact)) == "ac"


def test_a_prefix_with_a_port_has_flows_without_one() -> None:
    assert chosen(vip_selection(vip_key("203.0.113.0/24", 443))) == "g"
    assert chosen(vip_selection(vip_key("198.51.100.0/24", 443))) == "bc"


def test_vips_and_reals_that_went_together() -> None:
    gone = [
        vip_selection(vip_key("198.51.100.1", 80), (), frozenset({2})),
        vip_selection(vip_key("198.51.100.1", 443), (), frozenset({2})),
        vip_selection(vip_key("2001:db8::1", 80)),
        Selection(ids=frozenset()),
    ]
    assert chosen(*gone) == "be"
    assert chosen(*gone, Selection(ids=frozenset({1}))) == "abce"
    assert chosen() == ""


def test_one_vip_named_twice_counts_for_both() -> None:
    key_of = vip_key("198.51.100.1", 80)
    assert chosen(vip_selection(key_of, (), frozenset({1})), vip_selection(key_of, (), frozenset({2}))) == "a"
    assert chosen(vip_selection(key_of, (), frozenset({9})), vip_selection(key_of)) == "a"
    assert chosen(vip_selection(key_of), vip_selection(key_of, (), frozenset({9}))) == "a"


def test_only_no_filter_at_all_is_everything() -> None:
    assert parse_filters({}, (b"x",), REALS).is_everything()
    assert not parse_filters({"vip": "0.0.0.0/0"}, (), REALS).is_everything()
    assert not parse_filters({"real": "10.0.0.9"}, (), REALS).is_everything()


def test_the_family_is_told_by_what_ipv4_leaves_zero() -> None:
    assert not is_ipv6(FLOWS["a"][0])
    assert is_ipv6(FLOWS["e"][0])
    assert is_ipv6(key("2001:db8::", "2001:db8::1"))


# Whose a flow may be


@pytest.mark.parametrize(
    ("gone", "names"),
    [
        (("203.0.113.0/24", 443), "h"),
        # The shorter prefix never saw these.
        (("203.0.113.16/28", 443), "ik"),
        # Or the /24's, whose port the key does not tell.
        (("203.0.113.8", 0), ""),
        (("203.0.113.7", 443), "m"),
    ],
)
def test_a_purge_spares_what_may_be_anothers(gone: tuple[str, int], names: str) -> None:
    flows = {
        "h": key("192.0.2.7", "203.0.113.99", 0),
        "i": key("192.0.2.7", "203.0.113.17", 0),
        "j": key("192.0.2.7", "203.0.113.8", 0),
        "k": key("192.0.2.7", "203.0.113.18", 0),
        "m": key("192.0.2.7", "203.0.113.7", 443),
    }
    every = [("203.0.113.7", 443), ("203.0.113.8", 0), ("203.0.113.16/28", 443), ("203.0.113.0/24", 443)]
    stay = [(vip_key(*each), 0) for each in every if each != gone]
    exact = [layout.vip_definition(each.packed, each.port, TCP) for each, _flags in stay if each.prefixlen is None]
    going = vip_key(*gone)
    matcher = Matcher([vip_selection(going, exact, None, partial(Owners(stay).others, going))])
    assert "".join(name for name, flow in flows.items() if matcher(flow, 1)) == names


@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [
        ("client", "::ffff:10.0.0.1", "client: ::ffff:10.0.0.1 is an IPv4 address in IPv6 form; write 10.0.0.1"),
        ("real", "::ffff:10.0.0.1", "real: ::ffff:10.0.0.1 is an IPv4 address in IPv6 form; write 10.0.0.1"),
        ("vip", "[::ffff:10.0.0.1]:443/tcp", "vip: ::ffff:10.0.0.1 is an IPv4 address in IPv6 form; write 10.0.0.1"),
        ("client", "192.0.2.1\r", r"client: '192.0.2.1\r' has a carriage return in it (line ends of DOS)"),
        ("real", "10.0.0.1 ", "real: '10.0.0.1 ' has white space in it"),
        ("vip", "\t198.51.100.1", r"vip: '\t198.51.100.1' has white space in it"),
    ],
)
def test_what_no_flow_can_have(option: str, value: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_filters({option: value}, (), {})
    assert str(caught.value) == sentence
