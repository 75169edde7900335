# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Flows that are asked for, the packets made of them, and the tunnels that come back."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ConfigError
from ansible_collections.katran.fleet.plugins.module_utils._model.simulated_flows import (
    Flow,
    build_frame,
    parse_flows,
    read_tunnel,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.vips import vips_from_config


def entry(**options: Any) -> dict[str, Any]:
    return {
        "source": "192.0.2.7",
        "destination": "198.51.100.1",
        "source_port": 31337,
        "destination_port": 443,
        "protocol": "tcp",
        "server_id": None,
        **options,
    }


def flow(**options: Any) -> Flow:
    return parse_flows([entry(**options)])[0]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"source": "192.0.2"}, "flows[0].source: 192.0.2 is not an IP address"),
        ({"destination": "web"}, "flows[0].destination: web is not an IP address"),
        ({"source": "2001:db8::1"}, "flows[0]: 2001:db8::1 and 198.51.100.1 are not of one family"),
        ({"source_port": -1}, "flows[0].source_port: -1 is not a port (0 to 65535)"),
        ({"destination_port": 65536}, "flows[0].destination_port: 65536 is not a port (0 to 65535)"),
        ({"server_id": 2**32}, "flows[0].server_id: 4294967296 is not a server id (1 to 4294967295)"),
    ],
)
def test_each_fault_has_its_sentence(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_flows([entry(**options)])
    assert str(caught.value) == sentence


def test_there_must_be_some_flows_but_not_too_many() -> None:
    with pytest.raises(ConfigError, match=r"^flows: 0 flows, but it takes 1 to 10000$"):
        parse_flows([])
    with pytest.raises(ConfigError, match=r"^flows: 10001 flows, but it takes 1 to 10000$"):
        parse_flows([entry()] * 10_001)


def test_an_ipv4_packet_is_valid() -> None:
    frame = build_frame(flow(), frozenset())
    assert frame[12:14] == b"\x08\x00"
    header = frame[14:34]
    assert sum(int.from_bytes(header[at : at + 2], "big") for at in range(0, 20, 2)) % 0xFFFF == 0
    assert int.from_bytes(header[2:4], "big") == len(frame) - 14
    assert frame[47] == 0x10, "an open connection's packet has ACK alone"


def test_an_ipv6_packet_is_valid() -> None:
    frame = build_frame(flow(source="2001:db8::7", destination="2001:db8::1", protocol="udp"), frozenset())
    assert frame[12:14] == b"\x86\xdd"
    assert frame[20] == 17
    assert int.from_bytes(frame[18:20], "big") == len(frame) - 54 == int.from_bytes(frame[58:60], "big")


@pytest.mark.parametrize(
    ("options", "flags", "tail"),
    [
        ({"protocol": "tcp", "server_id": 1025}, set(), bytes.fromhex("0101b70601040000")),
        ({"protocol": "udp", "server_id": 1025}, {"quic"}, bytes.fromhex("40c000000401").ljust(16, b"\0")),
        ({"protocol": "udp", "server_id": 1025}, {"udp_stable_routing"}, bytes.fromhex("52000401").ljust(16, b"\0")),
        ({"protocol": "udp"}, {"quic"}, bytes(16)),
    ],
)
def test_a_server_id_goes_where_the_vip_looks_for_it(options: dict[str, Any], flags: set[str], tail: bytes) -> None:
    assert build_frame(flow(**options), frozenset(flags)).endswith(tail)


@pytest.mark.parametrize(
    ("address", "port", "flags", "ports"),
    [
        ("198.51.100.1", 443, set(), (31337, 443)),
        ("198.51.100.1", 443, {"hash_no_src_port"}, (0, 443)),
        ("198.51.100.1", 0, set(), (31337, 0)),
        ("198.51.100.1", 0, {"hash_src_dst_port"}, (31337, 443)),
        ("198.51.100.0/24", 443, set(), (31337, 0)),
        ("198.51.100.0/24", 0, {"hash_dst_port_only", "hash_no_src_port"}, (0, 443)),
    ],
)
def test_the_key_of_a_flow_depends_on_its_vip(address: str, port: int, flags: set[str], ports: tuple[int, int]) -> None:
    options: dict[str, Any] = {"flags": [], "hash": "maglev_v2", "reals": [], "down_reals": []}
    vip = next(iter(vips_from_config([{"address": address, "port": port, "protocol": "tcp", **options}])))
    asked = flow()
    key = asked.key(vip, frozenset(flags))
    assert key == layout.flow_key(layout.pack_address("192.0.2.7"), layout.pack_address("198.51.100.1"), *ports, 6)
    assert key in asked.possible_keys()


def test_tunnels_are_read_by_their_outer_headers() -> None:
    ethernet = bytes.fromhex("020000000009020000000001")
    ipip = ethernet + bytes.fromhex("080045000028000000004004b7d9ac10687b0a000001") + bytes(20)
    assert read_tunnel(ipip) == {
        "type": "ipip",
        "source": "172.16.104.123",
        "destination": "10.0.0.1",
        "gateway_mac": "02:00:00:00:00:09",
    }
    addresses = bytes.fromhex("fc00" + "00" * 13 + "01" + "fc00" + "00" * 13 + "02")
    gue = ethernet + bytes.fromhex("86dd60000000001c1140") + addresses + bytes.fromhex("7a6917c0001c0000")
    assert read_tunnel(gue) == {
        "type": "gue",
        "source": "fc00::1",
        "destination": "fc00::2",
        "gateway_mac": "02:00:00:00:00:09",
        "source_port": 31337,
        "destination_port": 6080,
    }
