# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which flows a search or a purge takes, at the edges: families, ports, and VIPs that look alike."""

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
    parse_filters,
    vip_selection,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.vips import VipKey, vips_from_config

TCP, UDP = 6, 17
BY_PORT = layout.VIP_FLAGS["hash_dst_port_only"]
BOTH_PORTS = layout.VIP_FLAGS["hash_src_dst_port"]


def key(client: str, vip: str, port: int = 80, protocol: int = TCP, sport: int = 31337) -> bytes:
    return layout.flow_key(layout.pack_address(client), layout.pack_address(vip), sport, port, protocol)


def vip_key(address: str, port: int, protocol: str = "tcp") -> VipKey:
    options: dict[str, Any] = {"flags": [], "hash": "maglev_v2", "reals": [], "down_reals": []}
    return next(iter(vips_from_config([{"address": address, "port": port, "protocol": protocol, **options}])))


def takes(flow: bytes, **params: str) -> bool:
    return Matcher([parse_filters(params, (), {})])(flow, 1)


def test_an_ipv6_address_is_one_address() -> None:
    assert takes(key("2001:db8:7::1", "2001:db8::1"), vip="2001:db8::1")
    assert not takes(key("2001:db8:7::1", "2001:db8::2"), vip="2001:db8::1")
    assert not takes(key("2001:db8:7::1", "2001:db8::2"), vip="[2001:db8::1]:80/tcp")
    assert takes(key("2001:db8:7::1", "2001:db8::2"), client="2001:db8:7::1")
    assert not takes(key("2001:db8:7::2", "2001:db8::2"), client="2001:db8:7::1")


def test_a_prefix_reaches_as_far_as_it_says() -> None:
    for inside in ("198.51.100.128", "198.51.100.255"):
        assert takes(key("192.0.2.1", inside), vip="198.51.100.128/25")
    for outside in ("198.51.100.127", "198.51.101.128"):
        assert not takes(key("192.0.2.1", outside), vip="198.51.100.128/25")
    assert takes(key("2001:db8:7::1", "2001:db8:0:1:8000::"), vip="2001:db8:0:1:8000::/65")
    assert not takes(key("2001:db8:7::1", "2001:db8:0:1:7fff::1"), vip="2001:db8:0:1:8000::/65")


def test_an_exact_port_takes_no_other_nor_the_forgotten_one() -> None:
    for vip, client in (("198.51.100.1", "192.0.2.7"), ("2001:db8::1", "2001:db8:7::1")):
        host = f"[{vip}]" if ":" in vip else vip
        # By itself it is looked up by name; with a client it is tried.
        one = parse_filters({"vip": f"{host}:443/tcp", "client": client}, (), {})
        for selection in (one, vip_selection(vip_key(vip, 443))):
            matcher = Matcher([selection])
            assert matcher(key(client, vip, 443), 1)
            assert not matcher(key(client, vip, 0), 1)
            assert not matcher(key(client, vip, 444), 1)
            assert not matcher(key(client, vip, 443, UDP), 1)


def test_a_vip_of_any_port_has_its_own_flows_though_it_is_an_exact_key_itself() -> None:
    vip = vip_key("198.51.100.1", 0)
    exact = {layout.vip_definition(vip.packed, port, TCP) for port in (0, 443)}
    matcher = Matcher([vip_selection(vip, exact)])
    assert matcher(key("192.0.2.7", "198.51.100.1", 0), 1)
    assert matcher(key("192.0.2.7", "198.51.100.1", 80), 1)
    assert not matcher(key("192.0.2.7", "198.51.100.1", 443), 1)
    assert matcher(key("192.0.2.7", "198.51.100.1", 444), 1)


def test_a_search_for_a_vip_of_any_port_leaves_out_what_has_its_own() -> None:
    exact = {layout.vip_definition(layout.pack_address("198.51.100.1"), 443, TCP)}
    matcher = Matcher([parse_filters({"vip": "198.51.100.1:0/tcp"}, exact, {})])
    assert not matcher(key("192.0.2.7", "198.51.100.1", 443), 1)
    assert matcher(key("192.0.2.7", "198.51.100.1", 444), 1)


def test_what_is_to_be_spared_is_asked_of_the_flow() -> None:
    spared = key("192.0.2.7", "198.51.100.1", 80)
    matcher = Matcher([vip_selection(vip_key("198.51.100.0/24", 80), spare=spared.__eq__)])
    assert not matcher(spared, 1)
    assert matcher(key("192.0.2.8", "198.51.100.1", 80), 1)


def test_the_sentences_of_filters() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_filters({"vip": "web", "client": "192.0.2.0/33"}, (), {})
    assert str(caught.value) == (
        "vip: web is no VIP; write one as 198.51.100.1, 198.51.100.1:443/tcp or [2001:db8::1]:443/udp;"
        " client: 192.0.2.0/33 is neither an IP address nor a prefix"
    )


def test_everything_is_selected_whatever_vips_there_are() -> None:
    assert Matcher([Selection(exact=(b"x",))])(key("192.0.2.7", "198.51.100.1"), 1)
    assert not Matcher([Selection(ids=frozenset(), exact=(b"x",))])(key("192.0.2.7", "198.51.100.1"), 1)
    assert not Matcher([])(key("192.0.2.7", "198.51.100.1"), 1)


# Whose a flow may be as well


def others(flow: bytes, gone: VipKey, *stay: tuple[VipKey, int]) -> bool:
    return Owners(stay).others(gone, flow)


def test_a_vip_of_another_protocol_is_passed_over() -> None:
    gone = vip_key("198.51.100.0/24", 443)
    flow = key("192.0.2.7", "198.51.100.1", 443)
    stay = [(vip_key("198.51.100.1", 443, "udp"), 0), (vip_key("198.51.100.1", 443), 0)]
    assert not others(flow, gone, stay[0])
    assert others(flow, gone, *stay)


def test_a_key_that_tells_the_port_is_of_the_vip_that_is_found_first() -> None:
    gone = vip_key("198.51.100.0/24", 0)
    flow = key("192.0.2.7", "198.51.100.1", 443)
    assert others(flow, gone, (vip_key("198.51.100.1", 443), 0))
    assert not others(flow, gone, (vip_key("198.51.100.1", 444), 0))
    # One of any port whose flows forget their port has none with it.
    assert not others(flow, gone, (vip_key("198.51.100.1", 0), 0))
    assert others(flow, gone, (vip_key("198.51.100.1", 0), BY_PORT))
    assert others(flow, gone, (vip_key("198.51.100.1", 0), BOTH_PORTS))
    assert not others(flow, gone, (vip_key("198.51.100.1", 0), layout.VIP_FLAGS["no_lru"]))
    assert others(flow, gone, (vip_key("198.51.100.0/25", 443), BY_PORT))
    assert not others(flow, gone, (vip_key("198.51.0.0/16", 0), BY_PORT))
    assert not others(flow, gone, (vip_key("198.51.100.128/25", 443), BY_PORT))


def test_a_key_without_a_port_may_be_anybodys_that_forgets_it() -> None:
    gone = vip_key("198.51.100.0/24", 443)
    flow = key("192.0.2.7", "198.51.100.1", 0)
    assert others(flow, gone, (vip_key("198.51.0.0/16", 80), 0))
    assert not others(flow, gone, (vip_key("198.51.0.0/16", 443), 0))
    assert others(flow, gone, (vip_key("198.51.100.0/25", 443), 0))
    assert not others(flow, gone, (vip_key("198.51.100.1", 443), 0))
    assert not others(flow, gone, (vip_key("198.51.100.0/25", 443), BY_PORT))


def test_the_longest_prefix_is_found_first_down_to_none_at_all() -> None:
    flow = key("192.0.2.7", "198.51.100.1", 443)
    everything, half = vip_key("0.0.0.0/0", 443), vip_key("128.0.0.0/1", 443)
    assert others(flow, everything, (half, BY_PORT))
    assert not others(flow, half, (everything, BY_PORT))


def test_prefixes_of_ipv6_have_flows_of_ipv6() -> None:
    gone = vip_key("2001:db8::/32", 443)
    flow = key("2001:db8:7::1", "2001:db8::1", 443)
    assert others(flow, gone, (vip_key("2001:db8::/48", 443), BY_PORT))
    assert not others(flow, gone, (vip_key("2001:db8:1::/48", 443), BY_PORT))
    stay = [(vip_key("2001:db8::/48", 443), BY_PORT)]
    matcher = Matcher([vip_selection(gone, (), None, partial(Owners(stay).others, gone))])
    assert not matcher(flow, 1)
    assert matcher(key("2001:db8:7::1", "2001:db8:1::1", 443), 1)
    assert not matcher(key("2001:db8:7::1", "2001:db9::1", 443), 1)
