# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""VIPs, reals and their entries as the kernel tells them, at the edges."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.ids import Ids
from ansible_collections.katran.fleet.plugins.module_utils._model.operations import digest
from ansible_collections.katran.fleet.plugins.module_utils._model.vip_entries import (
    Actual,
    address_entry,
    adopt,
    down_set_key,
    known_keys,
    real_entries,
    unsettled,
    vip_map_entry,
    vips_in_kernel,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.vips import Vip, VipKey, VipReal

RING = 4
HTTP, DNS = VipKey.read("198.51.100.1:80/tcp"), VipKey.read("[2001:db8::1]:53/udp")
WIDE4, WIDE6 = VipKey.read("203.0.113.0/24:0/udp"), VipKey.read("[2001:db8::/32]:0/tcp")


def real(address: str, flags: int = 0) -> bytes:
    family = layout.REAL_IPV6 if ":" in address else 0
    return layout.real_definition(layout.pack_address(address), family | flags)


def ring(*ids: int) -> memoryview:
    return memoryview(struct.pack(f"={RING}Q", *ids))


def actual(
    entries: Mapping[str, Mapping[bytes, bytes]],
    rings: Mapping[int, memoryview] | None = None,
    down: Mapping[bytes, frozenset[int]] | None = None,
    limit: int = 4,
) -> Actual:
    found = rings or {}
    blank = ring(0, 0, 0, 0)
    return Actual(
        {"reals": {}, **entries}, down or {}, lambda number: found.get(number, blank), {"server_id_stats": limit}, RING
    )


def visible(*vips: tuple[VipKey, int, int]) -> dict[str, dict[bytes, bytes]]:
    maps: dict[str, dict[bytes, bytes]] = {}
    for vip, flags, number in vips:
        name, key, value = vip_map_entry(vip, flags, number)
        maps.setdefault(name, {})[key] = value
    return maps


def test_where_vips_are_visible() -> None:
    packed = layout.pack_address("2001:db8::")
    assert vip_map_entry(HTTP, 1, 2) == ("vip_map", layout.vip_definition(HTTP.packed, 80, 6), layout.vip_meta(1, 2))
    assert vip_map_entry(DNS, 0, 0)[:2] == ("vip_map", layout.vip_definition(DNS.packed, 53, 17))
    assert vip_map_entry(WIDE6, 3, 1) == ("vip_lpm_map", layout.vip_lpm_key(packed, 32, 0, 6), layout.vip_meta(3, 1))
    assert address_entry(HTTP) == ("vip_addresses", HTTP.packed, layout.u32(1))
    assert address_entry(WIDE6) == ("vip_address_lpm6", layout.lpm_key(packed, 32), layout.u32(1))
    assert down_set_key(DNS) == layout.vip_definition(DNS.packed, 53, 17)


def test_an_empty_ring_is_empty_to_its_last_slot() -> None:
    there = actual({}, {1: ring(0, 0, 0, 7), 2: ring(7, 0, 0, 0)})
    assert there.is_empty(0)
    assert not there.is_empty(1)
    assert not there.is_empty(2)


def test_a_ring_is_digested_once() -> None:
    asked = []

    def read(number: int) -> memoryview:
        asked.append(number)
        return ring(number, 0, 0, 0)

    there = Actual({}, {}, read, {}, RING)
    for number in (1, 2, 1):
        assert there.digest(number) == digest(ring(number, 0, 0, 0))
    assert asked == [1, 2]


def test_numbers_that_packets_see() -> None:
    assert actual(visible((HTTP, 9, 0), (WIDE4, 9, 3), (WIDE6, 9, 2))).numbers() == {0, 2, 3}
    assert actual({}).numbers() == set()


def test_what_reals_is_to_hold() -> None:
    ids = Ids(1, {"10.0.0.1": 4, "fc00::1": 2, "10.0.0.9": 3})
    assert real_entries({"10.0.0.1": False, "fc00::1": True}, ids) == {
        layout.u32(4): real("10.0.0.1"),
        layout.u32(2): real("fc00::1", layout.REAL_LOCAL),
    }
    assert real_entries({"10.0.0.1": True}, ids) == {layout.u32(4): real("10.0.0.1", layout.REAL_LOCAL)}


def test_reused_ids_that_still_hold_what_was_there() -> None:
    ids = Ids(1, {"10.0.0.1": 1, "10.0.0.2": 2, "10.0.0.3": 3, "10.0.0.4": 4}, [1, 2, 3])
    there = {layout.u32(1): real("10.0.0.1"), layout.u32(2): real("10.9.9.9"), layout.u32(4): real("10.9.9.9")}
    assert unsettled(ids, there) == {2, 3}


def test_ids_are_adopted_below_the_number_of_vips() -> None:
    there = actual({**visible((HTTP, 0, 3), (DNS, 0, 4)), "reals": {layout.u32(5): real("fc00::1")}})
    names = {key: str(vip) for key, vip in known_keys(there).items()}
    reals, numbers = adopt(there, Ids(1), Ids(0), names)
    assert reals == Ids(1, {"fc00::1": 5})
    assert numbers == Ids(0, {str(HTTP): 3})
    # A balancer whose counters are not there has numbers for none.
    nothing = Actual(there.entries, {}, there.ring, {}, RING)
    assert adopt(nothing, Ids(1), Ids(0), names)[1] == Ids(0)


def test_keys_of_vips() -> None:
    there = actual(visible((HTTP, 0, 0), (DNS, 0, 1), (WIDE4, 0, 2), (WIDE6, 0, 3)))
    assert set(known_keys(there).values()) == {HTTP, DNS, WIDE4, WIDE6}
    assert [str(vip) for vip in sorted(known_keys(there).values())] == list(map(str, (HTTP, WIDE4, WIDE6, DNS)))
    strange = {
        "vip_map": {layout.vip_definition(HTTP.packed, 80, 132): b"", **visible((HTTP, 0, 0))["vip_map"]},
        "vip_lpm4_map": {layout.vip_lpm4_key(WIDE4.packed, 24, 0, 1): b"", **visible((WIDE4, 0, 0))["vip_lpm4_map"]},
    }
    assert set(known_keys(actual(strange)).values()) == {HTTP, WIDE4}


REALS = {
    layout.u32(1): real("10.0.0.1"),
    layout.u32(2): real("fc00::2", layout.REAL_LOCAL),
    layout.u32(3): real("10.0.0.3"),
}


def test_vips_are_read_back_from_the_kernel() -> None:
    quic = layout.VIP_FLAGS["quic"] | layout.VIP_FLAGS["no_lru"]
    there = actual(
        {"reals": REALS, **visible((HTTP, 0, 0), (DNS, quic, 3), (WIDE4, 0, 4))},
        {0: ring(3, 1, 3, 0), 3: ring(2, 2, 2**63 + 2, 9)},
        {down_set_key(DNS): frozenset({3, 1, 9})},
    )
    one, two, three = VipReal("10.0.0.1"), VipReal("fc00::2", local=True), VipReal("10.0.0.3")
    assert vips_in_kernel(there) == {
        HTTP: Vip(HTTP, reals=(one, three)),
        DNS: Vip(DNS, ("no_lru", "quic"), reals=(two,), down_reals=("10.0.0.1", "10.0.0.3")),
    }


@pytest.mark.parametrize("strange", [layout.vip_definition(HTTP.packed, 81, 132)])
def test_what_is_no_vip_is_passed_over(strange: bytes) -> None:
    entries: dict[str, Any] = {"vip_map": {strange: layout.vip_meta(0, 1), **visible((HTTP, 0, 0))["vip_map"]}}
    assert list(vips_in_kernel(actual({"reals": REALS, **entries}, {0: ring(1, 1, 1, 1)}))) == [HTTP]
    high = visible((DNS, 0, 4), (HTTP, 0, 0))
    assert list(vips_in_kernel(actual({"reals": REALS, **high}))) == [HTTP]
