# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is captured: clients as they are written, events as they come, packets as they are shown."""

from __future__ import annotations

import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.katran.fleet.plugins.module_utils._model.captured import (
    Client,
    Frame,
    Pairs,
    capture_filter,
    parse_event,
    summary,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "prefix", "port"),
    [
        ("192.0.2.7", "192.0.2.7/32", 0),
        ("192.0.2.7:31337", "192.0.2.7/32", 31337),
        ("192.0.2.0/24", "192.0.2.0/24", 0),
        ("192.0.2.0/24:53", "192.0.2.0/24", 53),
        ("2001:db8::7", "2001:db8::7/128", 0),
        ("2001:db8::/32", "2001:db8::/32", 0),
        ("[2001:db8::7]:443", "2001:db8::7/128", 443),
        ("[2001:db8::]/64", "2001:db8::/64", 0),
        ("[2001:db8::]/64:443", "2001:db8::/64", 443),
    ],
)
def test_clients(text, prefix, port):
    found = Client.read(text)
    assert (found.prefix.text, found.port) == (prefix, port)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "neither an address nor a prefix"),
        ("somebody", "neither"),
        ("192.0.2.7:", "neither"),
        ("192.0.2.7:65536", "neither"),
        ("192.0.2.7:-1", "neither"),
        ("[2001:db8::7]:", "neither"),
        ("192.0.2.1/24", "host bits"),
        ("192.0.2.0/33", "prefix length"),
    ],
)
def test_what_is_no_client(text, words):
    with pytest.raises(ConfigError, match=words):
        Client.read(text)


@given(st.integers(0, (1 << 32) - 1), st.integers(0, 32), st.integers(0, (1 << 32) - 1))
def test_a_filter_takes_those_of_its_prefix(address, length, other):
    network = ipaddress.ip_network((address, length), strict=False)
    data = capture_filter(1, 2, Client.read(str(network)), 3, 4)
    client, mask = data[8:24], data[24:40]
    asked = ipaddress.ip_address(other).packed.ljust(16, b"\0")
    takes = all((one ^ two) & three == 0 for one, two, three in zip(client, asked, mask, strict=True))
    assert takes == (ipaddress.ip_address(other) in network)


def test_any_client():
    assert capture_filter(1, 0, None, 3, 4)[8:42] == bytes(34)


def event(number, data=b"", **fields):
    told = {"length": len(data), "kept": len(data), "how": 5, "verdict": 3, "icmp": 0, "at": 9, "vip": 1, "real": 2}
    return struct.pack("=IIIBBBxQII", number, *{**told, **fields}.values()) + data


def test_events():
    # The kernel fills up what it sends.
    frame = parse_event(1, event(4, b"abc", length=60, icmp=1) + bytes(5))
    assert frame == Frame(True, 9, 1, 1, 2, 5, 3, True, 60, b"abc")
    assert frame.why == "ring"
    assert not parse_event(0, event(3, how=0)).out
    assert parse_event(0, event(3, how=0)).why == ""
    assert [parse_event(0, event(number)) for number in (0, 1, 2, 5)] == [None] * 4
    assert parse_event(0, bytes(31)) is None


def test_pairs():
    pairs = Pairs()

    def numbers(*frames):
        return [pairs.number(parse_event(cpu, event(number))) for number, cpu in frames]

    assert numbers((3, 0), (3, 1), (4, 1), (4, 0), (3, 0), (3, 0), (4, 0), (4, 0)) == [1, 2, 2, 1, 3, 4, 4, None]
    assert pairs.packets == 4


ETHERNET = bytes(12)
IPV4 = b"\x45\0\0\x28" + bytes(5) + b"\x06\0\0" + bytes((192, 0, 2, 7, 198, 51, 100, 1))
TCP = struct.pack("!HHIIBB", 31337, 80, 0, 0, 0x50, 0x12)
IPV6 = (
    b"\x60\0\0\0\0\x08\x11\x40"
    + ipaddress.ip_address("2001:db8::7").packed
    + ipaddress.ip_address("2001:db8::1").packed
)


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (ETHERNET + b"\x08\x00" + IPV4 + TCP, "192.0.2.7:31337 > 198.51.100.1:80 tcp [S.]"),
        (ETHERNET + b"\x81\x00\0\7\x08\x00" + IPV4 + TCP[:4], "192.0.2.7:31337 > 198.51.100.1:80 tcp"),
        (ETHERNET + b"\x86\xdd" + IPV6 + TCP[:8], "[2001:db8::7]:31337 > [2001:db8::1]:80 udp"),
        (ETHERNET + b"\x08\x00" + IPV4[:9] + b"\x04" + IPV4[10:], "192.0.2.7 > 198.51.100.1 ipip"),
        (ETHERNET + b"\x08\x00" + IPV4[:9] + b"\x63" + IPV4[10:], "192.0.2.7 > 198.51.100.1 99"),
        (ETHERNET + b"\x08\x00" + IPV4, "192.0.2.7 > 198.51.100.1 tcp"),
        (ETHERNET + b"\x08\x00" + IPV4[:19], "a frame that was cut short"),
        (ETHERNET + b"\x86\xdd" + IPV6[:39], "a frame that was cut short"),
        (b"", "a frame that was cut short"),
    ],
)
def test_lines(data, line):
    assert summary(data) == line


@given(st.binary(max_size=120))
def test_any_bytes_have_a_line(data):
    assert "\n" not in summary(ETHERNET + data)
