# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The index of VIPs tells of each key what the hash maps do."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.katran.fleet.plugins.module_utils._model import layout, vip_index
from ansible_collections.katran.fleet.plugins.module_utils._model.map_specs import NO_VIP, index_slots
from ansible_collections.katran.fleet.plugins.module_utils._model.vip_index import CROWDED, build_index, indexed

ADDRESSES = st.one_of(
    st.integers(0, 0xFFFFFFFF).map(lambda number: number.to_bytes(4, "big").ljust(16, b"\0")),
    st.binary(min_size=16, max_size=16),
)
KEYS = st.builds(layout.vip_definition, ADDRESSES, st.integers(0, 0xFFFF), st.sampled_from([6, 17]))


@given(st.dictionaries(KEYS, st.binary(min_size=8, max_size=8), max_size=40), st.lists(KEYS, max_size=20))
def test_what_is_in_it_is_found_and_nothing_else(vips: dict[bytes, bytes], others: list[bytes]) -> None:
    slots = index_slots(max(len(vips), 1))
    index = build_index(vips, {key[:16] for key in vips}, slots)
    assert {key: indexed(index, key, slots) for key in {*vips, *others}} == {
        key: vips.get(key) for key in {*vips, *others}
    }
    assert all(indexed(index, key[:16] + b"\0\0\0\xff", slots) == bytes(8) for key in vips)


@given(st.dictionaries(KEYS, st.binary(min_size=8, max_size=8), max_size=40), st.randoms())
def test_it_is_the_same_whatever_the_order(vips: dict[bytes, bytes], order: random.Random) -> None:
    shuffled = list(vips.items())
    order.shuffle(shuffled)
    assert build_index(dict(shuffled), [], 512) == build_index(vips, [], 512)


@pytest.mark.parametrize("count", [512, 4096])
def test_as_many_as_there_is_room_for(count: int) -> None:
    """VIPs of one network on neighbouring ports, as they are given out: none has to be asked of vip_map."""
    packed = (layout.pack_address(f"10.{number >> 8}.{number & 255}.1") for number in range(count))
    vips = {
        layout.vip_definition(address, 80 + number % 7, 6): layout.vip_meta(0, number)
        for number, address in enumerate(packed)
    }
    slots = index_slots(count)
    index = build_index(vips, {key[:16] for key in vips}, slots)
    assert {key: indexed(index, key, slots) for key in vips} == vips
    assert len(index) < slots


@pytest.mark.parametrize(
    "address",
    [
        "2001:db8::{:x}",
        "2001:db8::{:x}00",
        "2001:db8:{:x}::1",
        "2001:db8:0:{:x}::",
        "{:x}::1",
        "10.0.0.{}",
        "10.{}.0.1",
    ],
)
def test_neighbours_of_either_family_are_told_apart(address: str) -> None:
    """Wherever in an address two VIPs differ: packets are told of none to ask vip_map."""
    vips = {
        layout.vip_definition(layout.pack_address(address.format(number)), port, protocol): layout.vip_meta(0, number)
        for number in range(1, 255)
        for port, protocol in ((443, 6), (443, 17))
    }
    slots = index_slots(len(vips))
    index = build_index(vips, {key[:16] for key in vips}, slots)
    assert {key: indexed(index, key, slots) for key in vips} == vips
    assert all(indexed(index, key[:16] + b"\0\0\0\xff", slots) == bytes(8) for key in vips)


def test_no_key_finds_a_slot_in_which_nobody_is() -> None:
    """Zeros are what a packet asks for that quotes nothing: protocol 0 of address 0."""
    vips = {layout.vip_definition(layout.pack_address("10.0.0.1"), 80, 6): layout.vip_meta(0, 7)}
    for slots in (8, 16, 4096):
        assert indexed(build_index(vips, [], slots), bytes(20), slots) is None


def test_keys_that_no_displacement_separates_are_asked_of_the_map(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vip_index, "_hash", lambda _key: 0)
    vips = {layout.vip_definition(bytes([number] * 16), 80, 6): bytes(8) for number in (1, 2)}
    index = build_index(vips, [], 16)
    assert index == {layout.u32(0): NO_VIP + layout.u32(CROWDED) + bytes(8)}
    with pytest.raises(LookupError):
        indexed(index, next(iter(vips)), 16)


@pytest.mark.parametrize(("vips", "slots"), [(1, 8), (2, 16), (3, 32), (512, 4096), (513, 8192)])
def test_there_is_room_for_every_vip_and_its_address(vips: int, slots: int) -> None:
    assert index_slots(vips) == slots
