# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hashes of addresses and flows, beside known answers and their definitions."""

from __future__ import annotations

import ipaddress
import struct
from itertools import cycle, islice
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.katran.fleet.plugins.module_utils._model.hashing import (
    AnyAddress,
    address_hash,
    flow_slot,
    jhash_2words,
    jhash_16bytes,
    murmur3,
    packed_address,
    spooky_hash128,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.ring import build_ring
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils.ring_reals import RING_SIZE


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("0.0.0.0", 1248788040303403724),
        ("10.0.0.1", 15452190748042156372),
        ("127.128.0.255", 2814030629016017110),
        ("::", 5935093788021811433),
        ("fe80::1:2:3:4", 1153161021751175135),
        ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 16064220632631203133),
    ],
)
def test_address_hash(address: str, expected: int) -> None:
    assert address_hash(address) == expected
    assert address_hash(ipaddress.ip_address(address)) == expected
    assert address_hash(ipaddress.ip_address(address).packed) == expected


def test_ipv4_mapped_addresses_hash_as_ipv4() -> None:
    assert address_hash("::ffff:10.0.0.1") == address_hash("10.0.0.1")
    assert packed_address("::ffff:10.0.0.1") == bytes([10, 0, 0, 1])


@pytest.mark.parametrize("address", ["10.0.0", "10.0.0.1/32", "", b"", b"12345"])
def test_packed_address_refuses(address: str | bytes) -> None:
    with pytest.raises(ValueError, match="address"):
        packed_address(address)


def test_murmur3_and_spooky_hash_known_answers() -> None:
    assert murmur3(0, 0, 0) == 5457549051747178710
    assert murmur3(1, 2, 3) == 10457249316712511538
    assert spooky_hash128(bytes(16)) == (14287136007156031928, 6259842637685504657)
    assert spooky_hash128(bytes(range(16))) == (3747599441836582481, 9830931528838436925)


# Published test packets: the source and ports, and where the ring of three equal reals sends them.
FLOW_REALS_V4 = [("10.0.0.1", 1), ("10.0.0.2", 1), ("10.0.0.3", 1)]
FLOW_REALS_V6 = [("fc00::1", 1), ("fc00::2", 1), ("fc00::3", 1)]


@pytest.mark.parametrize(
    ("source", "source_port", "port", "flags", "port_matched", "real"),
    [
        ("192.168.1.1", 31337, 80, [], True, "10.0.0.3"),
        ("192.168.1.1", 31337, 42, [], False, "10.0.0.2"),
        ("192.168.1.1", 31337, 80, [], True, "fc00::1"),
        ("fc00:2::1", 31337, 80, [], True, "fc00::3"),
        ("192.168.1.1", 31337, 42, ["hash_dst_port_only"], False, "10.0.0.2"),
        ("192.168.1.100", 1337, 42, ["hash_dst_port_only"], False, "10.0.0.2"),
        ("192.168.1.42", 31337, 443, ["quic"], True, "10.0.0.2"),
        ("fc00:2::42", 31337, 443, ["quic"], True, "fc00::1"),
    ],
)
def test_flows_of_published_packets(
    source: str, source_port: int, port: int, flags: list[str], port_matched: bool, real: str
) -> None:
    reals = FLOW_REALS_V4 if "." in real else FLOW_REALS_V6
    slot = flow_slot(
        source, source_port, port, max_vips=512, ring_size=RING_SIZE, flags=flags, port_matched=port_matched
    )
    assert reals[build_ring(reals, RING_SIZE)[slot]][0] == real


def test_flow_slot_and_flags() -> None:
    def slot(source: AnyAddress = "192.0.2.7", source_port: int = 1234, port: int = 443, **options: Any) -> int:
        return flow_slot(source, source_port, port, max_vips=512, ring_size=RING_SIZE, **options)

    assert slot() == 51461
    assert slot("2001:db8::7") == 56758
    assert slot(bytes([192, 0, 2, 7])) == slot()
    assert slot("::ffff:192.0.2.7") != slot()
    assert slot() != slot(source_port=1235)
    assert slot() != slot(port=444)
    assert slot(port_matched=False) == slot(port=444, port_matched=False) == slot(port=0)
    kept: dict[str, Any] = {"flags": ["hash_src_dst_port"], "port_matched": False}
    assert slot(**kept) == slot() != slot(port=444, **kept)
    assert slot(flags=["hash_no_src_port"]) == slot(source_port=0)
    by_port: dict[str, Any] = {"flags": ["hash_dst_port_only", "hash_no_src_port"], "port_matched": False}
    assert slot(**by_port) == slot("198.51.100.1", source_port=9, **by_port) == slot("0.0.0.0", source_port=443)
    assert slot(**by_port) != slot(port=444, **by_port)


def plain_jhash(words: list[int], seed: int, length: int) -> int:
    """jhash of 12 bytes or of 16, word for word as jhash.h has it."""

    def rol(value: int, bits: int) -> int:
        return (value << bits | value >> (32 - bits)) % 2**32

    v = [(0xDEADBEEF + length + seed) % 2**32] * 3
    for start in range(0, len(words), 3):
        if start:
            for i, j, bits in zip(cycle((0, 1, 2)), cycle((2, 0, 1)), (4, 6, 8, 16, 19, 4), strict=False):
                v[i] = (v[i] - v[j]) % 2**32 ^ rol(v[j], bits)
                v[j] = (v[j] + v[(i + 1) % 3]) % 2**32
        for i, word in enumerate(words[start : start + 3]):
            v[i] = (v[i] + word) % 2**32
    for i, j, bits in zip(
        islice(cycle((2, 0, 1)), 7), islice(cycle((1, 2, 0)), 7), (14, 11, 25, 16, 4, 14, 24), strict=True
    ):
        v[i] = ((v[i] ^ v[j]) - rol(v[j], bits)) % 2**32
    return v[2]


@given(data=st.binary(min_size=16, max_size=16), seed=st.integers(0, 2**32 - 1))
def test_jhash(data: bytes, seed: int) -> None:
    words = list(struct.unpack("<4I", data))
    assert jhash_2words(words[0], words[1], seed) == plain_jhash([*words[:2], 0], seed, 8)
    assert jhash_16bytes(data, seed) == plain_jhash(words, seed, 16)
