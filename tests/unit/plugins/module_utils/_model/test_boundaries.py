# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bounds, exact sentences and exact bytes of what many things are made of."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.addresses import parse_addresses
from ansible_collections.katran.fleet.plugins.module_utils._model.entries import Asked
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ConfigError
from ansible_collections.katran.fleet.plugins.module_utils._model.faults import MAX_FAULTS, Faults, counted, shortened
from ansible_collections.katran.fleet.plugins.module_utils._model.features import FEATURES, vip_features, vip_words
from ansible_collections.katran.fleet.plugins.module_utils._model.flow_selection import Matcher, vip_selection
from ansible_collections.katran.fleet.plugins.module_utils._model.hashing import (
    flow_hash_ipv4,
    flow_hash_ipv6,
    flow_slot,
    jhash_16bytes,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.limits import Limits
from ansible_collections.katran.fleet.plugins.module_utils._model.map_specs import (
    DEFAULT_SIZES,
    GLOBAL_COUNTERS,
    global_counters_at,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.options import (
    parse_instance,
    parse_interfaces,
    read_mac,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.overlay import RealStates
from ansible_collections.katran.fleet.plugins.module_utils._model.resource import PLANNED, PURGE, STATES
from ansible_collections.katran.fleet.plugins.module_utils._model.sizes import is_prime, read_sizes
from ansible_collections.katran.fleet.plugins.module_utils._model.tables import TABLES
from ansible_collections.katran.fleet.plugins.module_utils._model.vips import Vip, VipKey, VipReal
from ansible_collections.katran.fleet.plugins.module_utils._model.vips_input import Vips, idle_vips

# Faults, told together


def test_twenty_faults_are_told_and_of_more_how_many() -> None:
    lines = [str(number) for number in range(MAX_FAULTS)]
    assert shortened(lines, "and {} more") == lines
    assert shortened([*lines, "x"], "and {} more") == [*lines, "and 1 more"]
    assert shortened([*lines, "x", "y"], "{} left") == [*lines, "2 left"]
    faults = Faults()
    faults.check()
    faults.add("a[0]", "is missing")
    faults.add("b", "is wrong")
    with pytest.raises(ConfigError) as caught:
        faults.check()
    assert str(caught.value) == str(faults) == "a[0]: is missing; b: is wrong"


def test_numbers_of_things() -> None:
    assert [counted(number, "real") for number in (0, 1, 2)] == ["0 reals", "1 real", "2 reals"]


# What is asked of a resource


@pytest.mark.parametrize("state", ["overridden", "deleted"])
@pytest.mark.parametrize("config", [None, []])
def test_nothing_is_no_config_where_everything_would_go(state: str, config: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        Asked(config, state).entries("vips")
    assert str(caught.value) == (
        f"config: state {state} with an empty or absent config would remove every entry of vips:"
        " give allow_empty: true if that is meant"
    )
    assert Asked(config, state, allow_empty=True).entries("vips") in ((), [])
    assert Asked(config, "merged").entries("vips") in ((), [])
    assert Asked(config, "replaced").entries("vips") in ((), [])


def test_the_four_states() -> None:
    before, listed = {"a": 1, "b": 2}, {"b": 3, "c": 4}
    config = [{}]
    assert Asked(config, "merged").applied(before, listed) == {"a": 1, "b": 3, "c": 4}
    assert Asked(config, "replaced").applied(before, listed) == {"a": 1, "b": 3, "c": 4}
    assert Asked(config, "overridden").applied(before, listed) == listed
    assert Asked(config, "overridden").applied(before, listed) is not listed
    assert Asked(config, "deleted").applied(before, listed) == {"a": 1}
    assert Asked([], "deleted", allow_empty=True).applied(before, {}) == {}
    assert before == {"a": 1, "b": 2}
    assert Asked(config, "merged").base(before, "a") == 1
    assert Asked(config, "merged").base(before, "z") is None
    assert Asked(config, "replaced").base(before, "a") is None


def test_the_options_of_a_resources_module() -> None:
    common = {
        "state": {"type": "str", "choices": list(STATES), "default": "merged"},
        "allow_empty": {"type": "bool", "default": False},
    }
    overlay, marks = RealStates(), TABLES["healthcheck_destinations"]
    config = {"type": "list", "elements": "dict"}
    own = {**PURGE, "newest": {"type": "bool", "default": False}}
    assert overlay.spec() == {"config": {**config, "options": overlay.options}, **common, **own, **PLANNED}
    assert marks.spec() == {"config": {**config, "options": marks.options}, **common}
    overlay.spec()["state"]["default"] = "deleted"
    assert overlay.spec()["state"]["default"] == "merged"


# Addresses, names and numbers


def test_addresses_that_a_map_could_take_for_another() -> None:
    faults = Faults()
    assert parse_addresses(["10.0.0.1", "2001:db8::", "10.0.0.1"], "vips", faults) == ("10.0.0.1", "2001:db8::")
    assert faults.lines == []
    assert parse_addresses(["10.0.0.1", "2001:db8::", "x", "10.0.0.2"], "vips", faults, True) == (
        "10.0.0.1",
        "10.0.0.2",
    )
    assert faults.lines == [
        "vips[1]: 2001:db8:: ends in twelve zero bytes, as IPv4 addresses do in the kernel's tables",
        "vips[2]: x is not an IP address",
    ]


@pytest.mark.parametrize("name", ["a", "eth0.100", "a" * 15, "é"])
def test_names_of_interfaces(name: str) -> None:
    faults = Faults()
    assert parse_interfaces([name], faults) == (name,)
    assert faults.lines == []


@pytest.mark.parametrize("name", ["", "a" * 16, ".", "..", "a/b", "a:b", "a b", "a\tb"])
def test_what_is_no_name_of_an_interface(name: str) -> None:
    faults = Faults()
    parse_interfaces(["eth0", name], faults)
    assert faults.lines == [f"interfaces[1]: {name!r} is not the name of an interface"]


def test_an_interface_that_is_listed_twice() -> None:
    faults = Faults()
    assert parse_interfaces(["1", "eth0", 1], faults) == ("1", "eth0", "1")
    assert faults.lines == ["interfaces[2]: 1 is listed twice"]


@pytest.mark.parametrize("mac", ["02:00:00:00:00:0a", "02-00-00-00-00-0A", "00:00:00:00:00:01", "auto", "AUTO"])
def test_macs(mac: str) -> None:
    faults = Faults()
    assert read_mac({"gateway_mac": mac}, "gateway_mac", faults) == mac.lower().replace("-", ":")
    assert faults.lines == []


@pytest.mark.parametrize("mac", ["01:00:00:00:00:01", "00:00:00:00:00:00", "02:00:00:00:00:0a:00", "02:00:00:00:00"])
def test_what_is_no_macs_of_one_host(mac: str) -> None:
    faults = Faults()
    assert read_mac({"gateway_mac": mac}, "gateway_mac", faults) == "auto"
    assert faults.lines == [f"gateway_mac: {mac} is neither auto nor a unicast MAC address"]
    read_mac({"gateway_mac": ""}, "gateway_mac", faults)
    assert faults.lines[1:] == ["gateway_mac: is empty"]


def test_instances() -> None:
    parse_instance("a" * 32, "/sys/fs/bpf")
    parse_instance("0_-", "/")
    rule = "must begin with a lower case letter or digit, then up to 31 of these, _ or -"
    for name in ("", "a" * 33, "_a", "A", "a/b"):
        with pytest.raises(ConfigError) as caught:
            parse_instance(name, "sys")
        assert str(caught.value) == f"instance: {name!r} {rule}; bpffs: sys is not an absolute path"


# Sizes


def test_primes() -> None:
    assert [number for number in range(60) if is_prime(number)] == [
        2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59,
    ]  # fmt: skip
    assert not is_prime(65537 * 3)
    assert not is_prime(257 * 257)


def faults_of(**sizes: Any) -> list[str]:
    faults = Faults()
    read_sizes(sizes, faults)
    return faults.lines


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("cidr_vips", 1, 1 << 20),
        ("reals", 2, 1 << 20),
        ("source_routes", 1, 1 << 26),
        ("server_ids", 2, 1 << 24),
        ("flows", 1, 1 << 28),
        ("global_flows", 1, 1 << 28),
    ],
)
def test_the_bounds_of_sizes(name: str, low: int, high: int) -> None:
    for value in (low, high):
        assert faults_of(**{name: value}) == []
    for value in (low - 1, high + 1, "9", True, 4.0):
        assert faults_of(**{name: value}) == [f"sizes.{name}: {value} is not in {low} to {high}"]


def test_the_table_of_all_rings_is_below_2_to_the_32() -> None:
    assert faults_of(vips=65535, ring=65537) == []
    assert faults_of(vips=65536, ring=65521) == []
    assert faults_of(vips=65536, ring=65537) == [
        "sizes: 65536 VIPs × 65537 slots are more than one table can hold (2^32 - 1)"
    ]
    assert faults_of(ring=2) == ["sizes.ring: 2 is not in 3 to 16777216"]
    assert faults_of(ring=3) == []
    assert faults_of(ring=9) == ["sizes.ring: 9 is not a prime"]
    names = ", ".join(DEFAULT_SIZES)
    found = faults_of(rings=7, reals=1)
    assert found[0] == "sizes.reals: 1 is not in 2 to 1048576"
    assert found[1].startswith("sizes.rings: there is no such size; there are ")
    assert sorted(found[1].partition("there are ")[2].split(", ")) == sorted(names.split(", "))


def test_sizes_that_are_not_given() -> None:
    faults = Faults()
    assert read_sizes(None, faults) == read_sizes({"vips": None}, faults) == DEFAULT_SIZES
    assert read_sizes({"vips": 7}, faults) == {**DEFAULT_SIZES, "vips": 7}
    assert faults.lines == []


def test_where_the_global_counters_are() -> None:
    for vips in (1, GLOBAL_COUNTERS - 1, GLOBAL_COUNTERS, GLOBAL_COUNTERS + 1, 512):
        assert global_counters_at(vips + max(vips, GLOBAL_COUNTERS)) == vips


# Features


def test_what_vips_use() -> None:
    plain = {"address": "198.51.100.1", "flags": "quic,no_lru", "protocol": "udp", "reals": [{"address": "10.0.0.1"}]}
    assert vip_words(plain) == {"quic", "no_lru", "udp"}
    assert vip_features([plain, {}]) == set()
    assert vip_features([plain, {"address": "198.51.100.0/24"}]) == {"cidr_vips"}
    assert vip_features([{"down_reals": ["10.0.0.1"]}]) == {"udp_flow_migration"}
    assert vip_features([{"reals": ["x", {"local": False}, {"local": True}]}]) == {"local_delivery"}
    for flag in ("source_routing", "global_lru", "udp_stable_routing", "udp_flow_migration"):
        assert vip_features([{"flags": [flag]}]) == {flag}
    assert vip_features([{"flags": ["local"]}]) == {"local_delivery"}
    assert {"cidr_vips", "local_delivery"} < set(FEATURES)


def test_what_a_vip_is_called() -> None:
    assert Vips().title({"address": "198.51.100.1", "port": 80, "protocol": "tcp"}) == "vip 198.51.100.1:80/tcp"
    assert Vips().title({"address": "2001:db8::1", "port": 0, "protocol": "udp"}) == "vip [2001:db8::1]:0/udp"


def test_what_a_program_cannot_do_for_vips_is_told() -> None:
    limits = Limits(DEFAULT_SIZES, frozenset())
    plain = Vip(VipKey.read("198.51.100.1:80/tcp"))
    one = replace(plain, flags=("source_routing",))
    local = replace(plain, reals=(VipReal("10.0.0.1"), VipReal("10.0.0.2", local=True)), flags=("global_lru",))
    assert idle_vips([plain, one, local], limits) == [
        "vip 198.51.100.1:80/tcp: needs feature source_routing, which the program does not have",
        "vip 198.51.100.1:80/tcp: needs features global_lru and local_delivery, which the program does not have",
    ]
    assert idle_vips([one, local], Limits(DEFAULT_SIZES, None)) == []
    assert idle_vips([one] * (MAX_FAULTS + 2), limits)[-1] == "and 2 more VIPs"


# Tables


@pytest.mark.parametrize("text", ["0.0.0.0/0", "192.0.2.128/25", "::/0", "2001:db8::/33"])
def test_source_routes_in_the_kernel(text: str) -> None:
    routes = TABLES["source_routes"]
    _key, item = routes.item({"prefix": text, "real": "fc00::1"})
    entry = routes.entry(item)
    assert entry.map == ("lpm_src_v6" if ":" in text else "lpm_src_v4")
    assert routes.key_in(entry.map, entry.key) == text
    reals = {layout.u32(7): "fc00::1"}
    assert routes.row_in(entry.map, entry.key, layout.u32(7), reals) == {"prefix": text, "real": "fc00::1"}
    assert routes.row_in(entry.map, entry.key, layout.u32(8), reals) is None


def test_server_ids_in_the_kernel() -> None:
    assert TABLES["server_ids"].key_in("server_id_map", layout.u32(2**32 - 1)) == 2**32 - 1


@pytest.mark.parametrize("address", ["2001:db8:100::", "2001:db8::1", "198.51.100.1"])
def test_destinations_in_the_kernel(address: str) -> None:
    assert TABLES["decap_destinations"].key_in("decap_dst", layout.pack_address(address)) == address


def test_who_reads_server_ids() -> None:
    ids = TABLES["server_ids"]
    tcp: dict[str, Any] = {"protocol": "tcp", "flags": []}
    for flag in ("quic", "udp_stable_routing"):
        udp = {"protocol": "udp", "flags": [flag]}
        assert ids.needs([{"id": 1}], [tcp, udp]) == set()
        assert ids.followed_by(udp)
    assert ids.needs([{"id": 1}], [tcp]) == {"tcp_server_id"}
    assert ids.needs([], [tcp]) == set()
    assert not ids.followed_by({"protocol": "udp", "flags": []})
    array = DEFAULT_SIZES["server_ids"]
    for number, needs in ((array - 1, set()), (array, {"server_id_hash"}), (2**32, set())):
        assert ids.needs([{"id": number}], []) == needs


# Bytes


def test_high_ports_are_looked_up_by_name() -> None:
    vip = VipKey.read("198.51.100.1:49153/udp")
    flow = layout.flow_key(layout.pack_address("192.0.2.7"), vip.packed, 1, 49153, 17)
    assert Matcher([vip_selection(vip)])(flow, 1)


def test_the_hash_of_a_flow_takes_both_ports_in_network_order() -> None:
    ports = struct.unpack("<I", struct.pack("!HH", 0x1234, 0x5678))[0]
    seed = (65536 * 65537) & 0xFFFFFFFF
    four, six = bytes([192, 0, 2, 7]), bytes(range(16))
    assert flow_slot(four, 0x1234, 0x5678, max_vips=65536, ring_size=65537) == flow_hash_ipv4(four, ports, seed) % 65537
    assert flow_slot(six, 0x1234, 0x5678, max_vips=512, ring_size=65537) == (
        flow_hash_ipv6(six, ports, 512 * 65537, 512) % 65537
    )
    assert jhash_16bytes(six, 1) != jhash_16bytes(six, 2)
    assert flow_slot("::ffff:192.0.2.7", 1, 2, max_vips=512, ring_size=65537) == flow_slot(
        bytes(10) + b"\xff\xff" + four, 1, 2, max_vips=512, ring_size=65537
    )


def test_packed_forms() -> None:
    assert layout.parse_vip_lpm_key(layout.vip_lpm_key(bytes(range(16)), 48, 443, 17)) == (
        bytes(range(16)),
        48,
        443,
        17,
    )
    assert layout.parse_vip_lpm_key(layout.vip_lpm4_key(bytes(range(16)), 24, 443, 6)) == (
        bytes([0, 1, 2, 3]) + bytes(12),
        24,
        443,
        6,
    )
    assert layout.lpm_key(b"abcd", 24) == struct.pack("=I", 24) + b"abcd"
    assert layout.parse_lpm_key(layout.lpm_key(b"abcd", 24)) == (b"abcd", 24)
    assert layout.mac_bytes("02:00:00:00:0a:ff") == bytes.fromhex("020000000aff0000")
    assert layout.parse_mac(bytes.fromhex("02000000000aff")) == "02:00:00:00:00:0a"
    assert layout.sum_cpus(struct.pack("=6Q", 1, 10, 2, 20, 3, 2**40), 2) == [6, 30 + 2**40]
    assert layout.unpack_address(bytes.fromhex("00000000000000000000ffff0a000001"), True) == "::ffff:10.0.0.1"
    assert layout.unpack_address(bytes.fromhex("0a00000100000000"), False) == "10.0.0.1"
    assert layout.pack_address("10.0.0.1") == bytes([10, 0, 0, 1]) + bytes(12)
    assert layout.parse_real_pos_lru(layout.real_pos_lru(2**32 - 1, 2**64 - 1)) == (2**32 - 1, 2**64 - 1)
