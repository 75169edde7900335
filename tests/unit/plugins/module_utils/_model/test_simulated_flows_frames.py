# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packets that stand for flows, byte for byte, and tunnels of either family."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ConfigError
from ansible_collections.katran.fleet.plugins.module_utils._model.simulated_flows import (
    MAX_FLOWS,
    Flow,
    build_frame,
    parse_flows,
    read_tunnel,
)

ETHERNET = "020000000001 020000000002 "
IPV4 = ETHERNET + "0800 45 00 {length} 0000 0000 40 {protocol} {checksum} c0000207 0a000001 "
IPV6 = (
    ETHERNET + "86dd 60000000 {length} {protocol} 40 20010db8000000000000000000000007 20010db8000000000000000000000001 "
)


def entry(**options: Any) -> dict[str, Any]:
    given = {"source": "192.0.2.7", "destination": "10.0.0.1", "source_port": 49153, "destination_port": 32769}
    return {**given, "protocol": "tcp", **options}


def entry6(**options: Any) -> dict[str, Any]:
    return entry(source="2001:db8::7", destination="2001:db8::1", **options)


def flow(**options: Any) -> Flow:
    return parse_flows([entry(**options)])[0]


TCP_HEAD = "c001 8001 00000001 00000001 {offset} 10 0200 0000 0000 "


@pytest.mark.parametrize(
    ("asked", "flags", "expected"),
    [
        (entry(), set(), IPV4.format(length="0028", protocol="06", checksum="aec8") + TCP_HEAD.format(offset="50")),
        (
            entry(server_id=0xFEDCBA98),
            set(),
            IPV4.format(length="0030", protocol="06", checksum="aec0")
            + TCP_HEAD.format(offset="70")
            + "01 01 b7 06 98badcfe",
        ),
        (
            entry(protocol="udp"),
            set(),
            IPV4.format(length="002c", protocol="11", checksum="aeb9") + "c001 8001 0018 0000" + "00" * 16,
        ),
        (entry6(), set(), IPV6.format(length="0014", protocol="06") + TCP_HEAD.format(offset="50")),
        (
            entry6(protocol="udp", server_id=0xFEDCBA98),
            {"quic"},
            IPV6.format(length="0018", protocol="11") + "c001 8001 0018 0000 40 c0 fedcba98" + "00" * 10,
        ),
        (
            entry6(protocol="udp", server_id=0xFEDCBA98),
            {"udp_stable_routing"},
            IPV6.format(length="0018", protocol="11") + "c001 8001 0018 0000 52 dcba98" + "00" * 12,
        ),
    ],
)
def test_a_frame_is_this(asked: dict[str, Any], flags: set[str], expected: str) -> None:
    assert build_frame(parse_flows([asked])[0], frozenset(flags)).hex() == expected.replace(" ", "")


@pytest.mark.parametrize("address", ["10.0.0.1", "198.51.100.1", "255.255.255.254", "127.255.0.0", "0.0.0.0"])
def test_the_checksum_is_right_whatever_is_carried(address: str) -> None:
    header = build_frame(flow(destination=address), frozenset())[14:34]
    total = sum(struct.unpack("!10H", header))
    assert (total & 0xFFFF) + (total >> 16) == 0xFFFF


def test_the_checksum_is_right_where_the_carry_carries() -> None:
    # The words before the addresses make 0x8534, so that these four add up to 0x1fffe, 0x1ffff and 0x20000.
    for last in ("119.200", "119.201", "119.202", "119.203"):
        header = build_frame(flow(source="255.255.3.1", destination=f"0.1.{last}"), frozenset())[14:34]
        total = sum(struct.unpack("!10H", header))
        assert (total & 0xFFFF) + (total >> 16) in (0xFFFF, 0x1FFFE)


def test_at_the_bounds_nothing_is_wrong() -> None:
    found = flow(source_port=0, destination_port=65535, server_id=2**32 - 1)
    assert (found.source_port, found.destination_port, found.server_id) == (0, 65535, 2**32 - 1)
    assert flow(source_port=65535, destination_port=0).source_port == 65535
    assert len(parse_flows([entry()] * MAX_FLOWS)) == MAX_FLOWS
    assert flow(server_id=None).server_id == flow().server_id == 0


def test_every_fault_of_every_flow_is_told() -> None:
    wrong = entry(source="x", destination="y", source_port=65536, destination_port=-1, server_id=-1)
    with pytest.raises(ConfigError) as caught:
        parse_flows([entry(), wrong, entry(destination="2001:db8::1")])
    assert str(caught.value) == (
        "flows[1].source: x is not an IP address; flows[1].destination: y is not an IP address;"
        " flows[1].source_port: 65536 is not a port (0 to 65535);"
        " flows[1].destination_port: -1 is not a port (0 to 65535);"
        " flows[1].server_id: -1 is not a server id (1 to 4294967295);"
        " flows[2]: 192.0.2.7 and 2001:db8::1 are not of one family"
    )


def test_a_flow_after_one_at_fault_is_read_too() -> None:
    with pytest.raises(ConfigError, match=r"^flows\[0\]\.source: .*; flows\[1\]\.source: "):
        parse_flows([entry(source="x"), entry(source="y")])


def test_the_keys_that_are_possible_begin_with_the_likeliest() -> None:
    ends = (layout.pack_address("192.0.2.7"), layout.pack_address("10.0.0.1"))
    ports = [(49153, 32769), (49153, 0), (0, 32769), (0, 0)]
    assert flow().possible_keys() == [layout.flow_key(*ends, *pair, 6) for pair in ports]
    assert flow(protocol="udp", source_port=0).possible_keys() == [
        layout.flow_key(*ends, *pair, 17) for pair in [(0, 32769), (0, 0)]
    ]


def test_tunnels_of_either_family() -> None:
    head = "020000000009 020000000001 "
    gue4 = head + "0800 45000038000000004011 0000 ac100001 0a000001 c001 8001 0024 0000"
    assert read_tunnel(bytes.fromhex(gue4)) == {
        "type": "gue",
        "source": "172.16.0.1",
        "destination": "10.0.0.1",
        "gateway_mac": "02:00:00:00:00:09",
        "source_port": 49153,
        "destination_port": 32769,
    }
    ends = "fc000000000000000000000000000001 fc000000000000000000000000000002"
    ipip6 = head + "86dd 6000000000142940 " + ends + "00" * 20
    assert read_tunnel(bytes.fromhex(ipip6)) == {
        "type": "ipip",
        "source": "fc00::1",
        "destination": "fc00::2",
        "gateway_mac": "02:00:00:00:00:09",
    }
