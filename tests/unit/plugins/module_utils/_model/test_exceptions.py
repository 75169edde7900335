# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Exceptions to a ring: the hash of many flows against that of one, and which flows are told."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.katran.fleet.plugins.module_utils._model import exceptions, layout
from ansible_collections.katran.fleet.plugins.module_utils._model.exceptions import Known, Rings, VipTable, select
from ansible_collections.katran.fleet.plugins.module_utils._model.flow_selection import is_ipv6
from ansible_collections.katran.fleet.plugins.module_utils._model.hashing import flow_slot

# A busy machine is no fault of what is tested.
PATIENT = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])

TCP, UDP = 6, 17
MAX_VIPS, RING = 16, 1009
NOW = 10**12
A, B = 3, 5


def key(client: str, vip: str, port: int = 80, protocol: int = TCP, sport: int = 31337) -> bytes:
    return layout.flow_key(layout.pack_address(client), layout.pack_address(vip), sport, port, protocol)


def bits(*flags: str) -> int:
    return sum(layout.VIP_FLAGS[flag] for flag in flags)


def vip_table(*vips: tuple[str, int, int, int, int]) -> VipTable:
    """VIPs as (address or prefix, port, protocol, flags, number)."""
    exact, prefixes = {}, {}
    for host, port, protocol, flags, number in vips:
        address, _slash, length = host.partition("/")
        packed, meta = layout.pack_address(address), layout.vip_meta(flags, number)
        if not length:
            exact[layout.vip_definition(packed, port, protocol)] = meta
        elif ":" in address:
            prefixes[True, layout.vip_lpm_key(packed, int(length), port, protocol)] = meta
        else:
            prefixes[False, layout.vip_lpm4_key(packed, int(length), port, protocol)] = meta
    return VipTable(exact, prefixes)


def rings(table: VipTable, slots: Any = None) -> Rings:
    slots = np.full(MAX_VIPS * RING, A, np.uint64) if slots is None else slots
    return Rings(table, slots, MAX_VIPS, RING, frozenset((A, B)), 30)


def told(flows: list[tuple[bytes, int, int]], table: VipTable, slots: Any = None, watched: Any = ()) -> list[Known]:
    """What a scan of (key, real, atime) tells."""
    keys = b"".join(each for each, _real, _atime in flows)
    values = b"".join(layout.real_pos_lru(real, atime) for _key, real, atime in flows)
    number, found = select(keys, values, len(flows), rings(table, slots), exceptions.watch(watched), NOW)
    known = list(found)
    assert number == sum(each.is_exception for each in known)
    return known


FLAGS = st.sets(st.sampled_from(["hash_no_src_port", "hash_dst_port_only", "hash_src_dst_port", "quic", "global_lru"]))


@given(
    st.lists(
        st.tuples(
            st.booleans(), st.binary(min_size=16, max_size=16), st.integers(0, 65535), st.integers(0, 65535), FLAGS
        ),
        min_size=1,
        max_size=30,
    ),
    st.sampled_from([(16, 1009), (512, 65537), (4096, 3), (7, 131071), (65535, 65537)]),
)
@PATIENT
def test_the_hash_of_many_is_that_of_one(flows: Any, sizes: tuple[int, int]) -> None:
    max_vips, ring_size = sizes
    words, wanted = [], []
    for ipv6, source, sport, dport, flags in flows:
        address = source if ipv6 else source[:4]
        words.append(layout.flow_key(address, b"", sport, dport, TCP))
        wanted.append(flow_slot(address, sport, dport, max_vips=max_vips, ring_size=ring_size, flags=flags))
    found = exceptions.flow_slots(
        exceptions.key_words(b"".join(words), len(words)),
        np.array([bits(*flags) for *_rest, flags in flows], np.uint32),
        np.array([ipv6 for ipv6, *_rest in flows], np.bool_),
        max_vips,
        ring_size,
    )
    assert found.tolist() == wanted
    for word, slot, (ipv6, *_rest, flags) in zip(words, wanted, flows, strict=True):
        # A key that ends in zeros tells no family.
        if is_ipv6(word) == ipv6:
            assert exceptions.slot_of(word, bits(*flags), max_vips, ring_size) == slot


@given(st.lists(st.binary(min_size=40, max_size=40), max_size=50), st.integers(0, 30))
@PATIENT
def test_watched_flows_are_found_and_no_others_but_by_chance(keys: list[bytes], count: int) -> None:
    prints = exceptions.fingerprints(exceptions.key_words(b"".join(keys), len(keys)))
    watched = exceptions.watch(keys[:count])
    assert list(watched) == sorted(watched)
    for each, is_watched in zip(keys, np.isin(prints, watched), strict=True):
        assert is_watched == (each in keys[:count])


ALIKE = st.builds(
    layout.flow_key,
    st.sampled_from([bytes(16), bytes([1]) * 16]),
    st.sampled_from([b"dest" + bytes(12), b"desu" + bytes(12), b"dest" + bytes(11) + b"!"]),
    st.sampled_from([7, 8]),
    st.sampled_from([80, 81, 336]),
    st.sampled_from([TCP, UDP]),
)
"""Flow keys that differ in little."""


@given(st.lists(ALIKE, min_size=1, max_size=40))
@PATIENT
def test_rows_are_of_one_group_where_all_but_the_source_is_equal(keys: list[bytes]) -> None:
    words = exceptions.key_words(b"".join(keys), len(keys))
    families = [each[0] % 2 == 1 for each in keys]
    places = [(each[16:32], each[34:38], family) for each, family in zip(keys, families, strict=True)]
    with pytest.MonkeyPatch.context() as patch:
        for multipliers in (exceptions._MULTIPLIERS, (0, 0, 0)):
            # Where every mixture is the same, the whole is compared.
            patch.setattr(exceptions, "_MULTIPLIERS", multipliers)
            rows, groups = exceptions._groups(words, np.array(families, np.bool_))
            assert len(rows) == len(set(places))
            assert [places[rows[group]] for group in groups] == places


VIP = ("198.51.100.1", 80, TCP, 0, 2)


def test_what_the_ring_would_choose_is_no_exception() -> None:
    one, two = key("192.0.2.7", "198.51.100.1"), key("192.0.2.8", "198.51.100.1")
    assert told([(one, A, 0), (two, B, 0)], vip_table(VIP)) == [Known(two, B, True, 0)]


def test_the_slot_decides_and_nothing_else() -> None:
    one = key("192.0.2.7", "198.51.100.1")
    slots = np.full(MAX_VIPS * RING, A, np.uint64)
    slots[2 * RING + flow_slot("192.0.2.7", 31337, 80, max_vips=MAX_VIPS, ring_size=RING)] = B
    assert told([(one, B, 0)], vip_table(VIP), slots) == []
    assert told([(one, A, 0)], vip_table(VIP), slots) == [Known(one, A, True, 0)]


def test_an_empty_ring_makes_every_flow_one() -> None:
    one = key("192.0.2.7", "198.51.100.1")
    assert told([(one, A, 0)], vip_table(VIP), np.zeros(MAX_VIPS * RING, np.uint64)) == [Known(one, A, True, 0)]


def test_flows_without_a_vip_or_a_real_are_none() -> None:
    other_port, other_real = key("192.0.2.7", "198.51.100.1", 81), key("192.0.2.7", "198.51.100.1")
    flows = [(other_port, B, 0), (other_real, 4, 0), (other_real, 9, 0), (other_real, 1 << 31, 0), (other_real, 0, 0)]
    assert told(flows, vip_table(VIP)) == []


def test_old_udp_entries_do_not_count() -> None:
    table = vip_table(("198.51.100.1", 80, UDP, 0, 2))
    one = key("192.0.2.7", "198.51.100.1", protocol=UDP)
    assert told([(one, B, NOW - 30 * 10**9)], table) == [Known(one, B, True, NOW - 30 * 10**9)]
    assert told([(one, B, NOW - 30 * 10**9 - 1)], table, watched=[one]) == []
    # The coarse clock of packets may be ahead.
    assert told([(one, B, NOW + 10**6)], table) == [Known(one, B, True, NOW + 10**6)]


def test_a_watched_flow_is_told_with_what_it_has() -> None:
    one, two = key("192.0.2.7", "198.51.100.1"), key("192.0.2.8", "198.51.100.1")
    assert told([(one, A, 0), (two, A, 0)], vip_table(VIP), watched=[one]) == [Known(one, A, False, 0)]


def test_watching_hides_nothing_and_finds_all() -> None:
    keys = [key(f"192.0.2.{last}", "198.51.100.1") for last in range(7, 17)]
    flows = [(each, B if place == 9 else A, place) for place, each in enumerate(keys)]
    assert told(flows, vip_table(VIP), watched=keys[:9]) == [
        *(Known(each, A, False, place) for place, each in enumerate(keys[:9])),
        Known(keys[9], B, True, 9),
    ]


def test_a_batch_may_have_room_left() -> None:
    one, ends = key("192.0.2.7", "198.51.100.1"), bytes(200)
    values = layout.real_pos_lru(B, 7) + bytes(160)
    number, found = select(one + ends, values, 1, rings(vip_table(VIP)), exceptions.watch(()), NOW)
    assert (number, list(found)) == (1, [Known(one, B, True, 7)])
    number, found = select(ends, values, 0, rings(vip_table(VIP)), exceptions.watch([one]), NOW)
    assert (number, list(found)) == (0, [])


def test_without_reals_there_are_no_exceptions() -> None:
    one = key("192.0.2.7", "198.51.100.1")
    table = rings(vip_table(VIP))
    table.real_ids = frozenset()
    number, found = select(one, layout.real_pos_lru(A, 0), 1, table, exceptions.watch([one]), NOW)
    assert (number, list(found)) == (0, [])


def test_without_a_connection_table_the_ring_decides() -> None:
    one = key("192.0.2.7", "198.51.100.1")
    assert told([(one, B, 0)], vip_table(("198.51.100.1", 80, TCP, bits("no_lru", "quic"), 2))) == []


def test_a_forgotten_port_may_be_any_vips() -> None:
    """Of a prefix with a port and of any port alike, the table knows port 0; one that would choose another suffices."""
    flow = key("192.0.2.7", "203.0.113.9", 0)
    slots = np.full(MAX_VIPS * RING, A, np.uint64)
    slots[RING : 2 * RING] = B
    both = vip_table(("203.0.113.0/24", 443, TCP, 0, 0), ("203.0.113.9", 0, TCP, 0, 1))
    assert [each.number for each in both.owners(flow)] == [0, 1]
    assert told([(flow, A, 0)], both, slots) == [Known(flow, A, True, 0)]
    assert told([(flow, B, 0)], both, slots) == [Known(flow, B, True, 0)]
    assert told([(flow, A, 0)], vip_table(("203.0.113.0/24", 443, TCP, 0, 0)), slots) == []


def test_the_longest_prefix_and_the_exact_vip_come_first() -> None:
    table = vip_table(
        ("203.0.113.0/24", 0, TCP, 0, 0),
        ("203.0.113.0/28", 0, TCP, 0, 1),
        ("203.0.113.9", 80, TCP, 0, 2),
        ("203.0.113.9", 0, TCP, 0, 3),
        ("2001:db8::/32", 0, TCP, 0, 4),
        ("2001:db8:7::/48", 0, TCP, 0, 5),
        ("2001:db8:7:8::/64", 0, TCP, 0, 6),
    )

    def numbers(vip: str, port: int) -> list[int]:
        return [each.number for each in table.owners(key("2001::9" if ":" in vip else "192.0.2.7", vip, port))]

    assert numbers("203.0.113.9", 80) == [2]
    assert numbers("203.0.113.9", 0) == [3]
    assert numbers("203.0.113.9", 81) == [], "no VIP keeps that port"
    assert numbers("203.0.113.8", 0) == [1]
    assert numbers("203.0.113.99", 0) == [0]
    assert numbers("203.0.114.1", 0) == []
    assert numbers("2001:db8::1", 0) == [4]
    assert numbers("2001:db8:7::1", 0) == [5]
    assert numbers("2001:db8:7:8::1", 0) == [6]
    assert numbers("2001:db8:8:8::1", 0) == [4]
    assert numbers("2001:db9::1", 0) == []


OWNED = [
    ("203.0.113.0/24", 0, TCP, 0, 0),
    ("203.0.113.0/24", 443, TCP, 0, 1),
    ("203.0.113.9", 80, TCP, 0, 2),
    ("203.1.113.9", 80, TCP, 0, 3),
    ("203.0.113.9", 80, UDP, 0, 4),
    ("203.0.113.9", 336, TCP, 0, 5),
    ("11.0.113.9", 80, TCP, 0, 6),
    ("203.0.0.0/16", 0, TCP, bits("hash_src_dst_port"), 7),
    ("2001:db8::1", 80, TCP, 0, 8),
    ("2001:db8::2", 80, TCP, 0, 9),
    ("2001:db8:5::/48", 0, TCP, 0, 10),
    ("2101:db8::1", 80, TCP, 0, 11),
]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                [
                    *("203.0.113.9", "203.0.113.8", "203.1.113.9", "203.0.7.7", "11.0.113.9"),
                    *("2001:db8::1", "2001:db8::2", "2001:db8:5::1", "2101:db8::1"),
                ]
            ),
            st.sampled_from([0, 80, 336, 443, 256]),
            st.sampled_from([TCP, UDP]),
            st.integers(0, 3),
        ),
        max_size=40,
    )
)
@PATIENT
def test_owners_that_are_remembered_are_those_of_the_flow(flows: Any) -> None:
    table = vip_table(*OWNED)
    known = rings(table)
    # Of one family and port, as like each other as can be.
    flows = [("2001:db8::1", 80, TCP, 0), ("2001:db8::2", 80, TCP, 0), *flows]
    for vip, port, protocol, sport in flows:
        flow = key("2001::9" if ":" in vip else "192.0.2.7", vip, port, protocol, sport)
        assert known.owners(flow) == table.owners(flow)


def test_a_port_that_is_kept_is_of_a_vip_that_keeps_it() -> None:
    keeps = bits("hash_src_dst_port")
    table = vip_table(("203.0.113.0/24", 0, TCP, keeps, 1), ("198.51.100.7", 0, TCP, keeps, 2))
    assert [each.number for each in table.owners(key("192.0.2.7", "203.0.113.5", 4443))] == [1]
    assert [each.number for each in table.owners(key("192.0.2.7", "198.51.100.7", 22))] == [2]
    # One that was forgotten is not, but for the VIP that has no port itself.
    assert [each.number for each in table.owners(key("192.0.2.7", "198.51.100.7", 0))] == [2]
    assert table.owners(key("192.0.2.7", "203.0.113.5", 0)) == ()
    wide = vip_table(("203.0.113.0/24", 256, TCP, keeps, 1), ("203.0.113.0/24", 1, TCP, keeps, 2))
    assert [each.number for each in wide.owners(key("192.0.2.7", "203.0.113.5", 256))] == [1]
    assert wide.owners(key("192.0.2.7", "203.0.113.5", 257)) == ()


def test_what_may_be_held() -> None:
    flow = key("192.0.2.7", "198.51.100.1")

    def holds(*flags: str) -> bool:
        return vip_table(("198.51.100.1", 80, TCP, bits(*flags), 2)).may_hold(flow)

    assert holds("global_lru")
    assert holds("global_lru", "quic")
    assert not holds()
    assert not holds("global_lru", "no_lru"), "the global table would decide also of new connections"
    assert not vip_table().may_hold(flow)


CLIENTS = st.sampled_from(["192.0.2.7", "192.0.2.8", "10.9.8.7"])
PLACES = st.sampled_from([("198.51.100.1", 80), ("198.51.100.1", 443), ("203.0.113.4", 0), ("203.0.113.5", 0)])


@given(
    st.lists(st.tuples(CLIENTS, PLACES, st.integers(1, 65535), st.sampled_from([A, B, 7])), min_size=1, max_size=40),
    st.integers(0, 2**32),
)
@PATIENT
def test_a_scan_tells_what_one_flow_at_a_time_would(flows: Any, seed: int) -> None:
    table = vip_table(
        ("198.51.100.1", 80, TCP, 0, 0),
        ("198.51.100.1", 443, TCP, bits("hash_no_src_port"), 1),
        ("203.0.113.0/24", 0, TCP, 0, 2),
    )
    slots = np.random.default_rng(seed).choice(np.array([A, B], np.uint64), MAX_VIPS * RING)
    entries, wanted = [], []
    for client, (vip, port), source_port, real in flows:
        sport = 0 if port == 443 else source_port
        entry = key(client, vip, port, sport=sport)
        entries.append((entry, real, 0))
        number = {80: 0, 443: 1, 0: 2}[port]
        slot = flow_slot(client, sport, port, max_vips=MAX_VIPS, ring_size=RING)
        if real in (A, B) and slots[number * RING + slot] != real:
            wanted.append(Known(entry, real, True, 0))
    assert told(entries, table, slots) == wanted


@pytest.mark.parametrize(
    ("client", "vip"),
    [
        # Of each, as little as tells it from IPv4 in a key.
        *[("3000::", f"2001:{rest}") for rest in ("0:1::", ":1:0:0:0", ":1")],
        *[(f"2001:{rest}", "3000::") for rest in ("0:1::", ":1:0:0:0", ":1")],
        ("2001:db8::7", "2001:db8::1"),
    ],
)
def test_flows_over_ipv6_too(client: str, vip: str) -> None:
    flow = key(client, vip)
    slots = np.full(MAX_VIPS * RING, A, np.uint64)
    slots[2 * RING + flow_slot(client, 31337, 80, max_vips=MAX_VIPS, ring_size=RING)] = B
    table = vip_table((vip, 80, TCP, 0, 2))
    assert told([(flow, B, 0)], table, slots) == []
    assert told([(flow, A, 0)], table, slots) == [Known(flow, A, True, 0)]
    # Beside one over IPv4, whose family is its own.
    other = key("192.0.2.7", "198.51.100.1", sport=7)
    slots[5 * RING + flow_slot("192.0.2.7", 7, 80, max_vips=MAX_VIPS, ring_size=RING)] = B
    table = vip_table((vip, 80, TCP, 0, 2), ("198.51.100.1", 80, TCP, 0, 5))
    assert told([(flow, A, 0), (other, B, 0)], table, slots) == [Known(flow, A, True, 0)]
