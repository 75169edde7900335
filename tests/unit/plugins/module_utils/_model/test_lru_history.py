# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose flows the connection tables may know, beside the same found by trying every address and port."""

from __future__ import annotations

import ipaddress
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.katran.fleet.plugins.module_utils._model.lru_history import MAX_NAMES, learners, may_be_known
from ansible_collections.katran.fleet.plugins.module_utils._model.vips import Vip, vips_from_config


def vip(address: str, port: int = 80, protocol: str = "tcp", *flags: str) -> Vip:
    entry = {"address": address, "port": port, "protocol": protocol, "flags": list(flags)}
    entry |= {"hash": "maglev_v2", "reals": [], "down_reals": []}
    return next(iter(vips_from_config([entry]).values()))


def pure(address: str, port: int = 80, protocol: str = "tcp") -> Vip:
    return vip(address, port, protocol, "hash_dst_port_only")


@pytest.mark.parametrize(
    ("protocol", "flags", "tcp_server_id", "learns"),
    [
        ("tcp", [], False, True),
        ("udp", [], False, True),
        ("tcp", ["no_lru"], False, False),
        ("tcp", ["no_lru"], True, False),
        ("tcp", ["hash_dst_port_only"], False, False),
        ("tcp", ["hash_dst_port_only"], True, True),
        ("udp", ["hash_dst_port_only"], True, False),
        ("udp", ["hash_dst_port_only", "quic"], False, True),
        ("tcp", ["hash_dst_port_only", "quic"], False, False),
        ("udp", ["no_lru", "quic"], False, True),
        ("udp", ["hash_dst_port_only", "source_routing"], False, True),
        ("udp", ["hash_dst_port_only", "source_routing", "no_lru"], False, False),
    ],
)
def test_who_learns(protocol: str, flags: list[str], tcp_server_id: bool, learns: bool) -> None:
    one = vip("198.51.100.1", 443, protocol, *flags)
    assert learners([one], tcp_server_id) == ([f"198.51.100.1:443/{protocol}"] if learns else [])


def test_who_learned_stays() -> None:
    before = ["198.51.100.1:443/tcp", "[2001:db8::/32]:0/udp"]
    assert learners([vip("198.51.100.2")], False, before) == sorted([*before, "198.51.100.2:80/tcp"])


@pytest.mark.parametrize(
    ("one", "name", "known"),
    [
        (pure("198.51.100.1"), "198.51.100.1:80/tcp", True),
        (pure("198.51.100.1"), "198.51.100.1:80/udp", False),
        (pure("198.51.100.1"), "198.51.100.1:81/tcp", False),
        (pure("198.51.100.1"), "198.51.100.1:0/tcp", True),
        (pure("198.51.100.1", 0), "198.51.100.1:81/tcp", True),
        (pure("198.51.100.1"), "198.51.100.0/24:80/tcp", True),
        (pure("198.51.100.0/24"), "198.51.100.1:80/tcp", True),
        (pure("198.51.100.0/24"), "198.51.101.0:80/tcp", False),
        (pure("198.51.100.0/24"), "198.51.0.0/16:80/tcp", True),
        (pure("2001:db8::1"), "[2001:db8::/32]:80/tcp", True),
        (pure("2001:db8::/32"), "32.1.13.184:80/tcp", False),
        (vip("198.51.100.1"), "198.51.100.1:80/tcp", False),
    ],
)
def test_whose_flows_may_be_known(one: Vip, name: str, known: bool) -> None:
    assert may_be_known([one], [name]) == ({one.key} if known else set())


SMALL = st.builds(
    lambda number, length: str(ipaddress.ip_network((number >> (32 - length) << (32 - length), length))).removesuffix(
        "/32"
    ),
    st.integers(0, 15).map((0x0A000000).__add__),
    st.integers(28, 32),
)
KEYS = st.builds(lambda address, port: (address, port, "tcp"), SMALL, st.sampled_from([0, 80, 81]))


@settings(max_examples=300, deadline=None)
@given(st.lists(KEYS, max_size=6), st.lists(KEYS, max_size=6))
def test_spans_meet_where_an_address_and_a_port_do(
    ours: list[tuple[str, int, str]], theirs: list[tuple[str, int, str]]
) -> None:
    def flows(key: tuple[str, int, str]) -> set[tuple[str, int]]:
        ports = (80, 81, 82) if key[1] == 0 else (key[1],)
        return set(itertools.product(map(str, ipaddress.ip_network(key[0])), ports))

    vips = {one.key: one for one in (pure(*key) for key in ours)}
    known = may_be_known(vips.values(), learners([vip(*key) for key in theirs], False))
    expected = {pure(*key).key for key in ours if any(flows(key) & flows(other) for other in theirs)}
    assert known == expected


def test_names_do_not_grow_without_end() -> None:
    many = [vip(str(ipaddress.ip_address(0x0A000000 + number))) for number in range(MAX_NAMES + 1)]
    few = [vip("2001:db8::1"), vip("10.0.0.1", 53, "udp")]
    names = learners([*many, *few], False)
    assert names == ["0.0.0.0/0:0/tcp", "10.0.0.1:53/udp", "[2001:db8::1]:80/tcp"]
    assert learners(many[:5], False, names) == [
        "0.0.0.0/0:0/tcp",
        *sorted(names[1:] + [str(one.key) for one in many[:5]]),
    ]
    assert may_be_known([pure("203.0.113.1"), pure("203.0.113.1", 53, "udp")], names) == {pure("203.0.113.1").key}
