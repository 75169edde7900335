# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""VIPs as entries of maps, and what is read back from these."""

from __future__ import annotations

from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.addresses import read_address
from ansible_collections.katran.fleet.plugins.module_utils._model.ids import Ids
from ansible_collections.katran.fleet.plugins.module_utils._model.vip_entries import (
    Actual,
    address_entry,
    adopt,
    down_set_key,
    flag_bits,
    vip_map_entry,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.vips import VipKey
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils._model.empty_balancer import RING, empty


def test_a_cidr_vips_key_begins_with_its_length() -> None:
    address = read_address("203.0.113.0")
    assert address
    wide = VipKey(False, address.packed, 24, 53, "udp", address.text)
    assert vip_map_entry(wide, 4, 7) == (
        "vip_lpm4_map",
        bytes.fromhex("38000000 0035 11 00 cb007100"),
        bytes.fromhex("04000000 07000000"),
    )
    assert address_entry(wide) == ("vip_address_lpm4", bytes.fromhex("18000000 cb007100"), layout.u32(1))
    # As the datapath looks it up: the network address, and the port as configured.
    assert down_set_key(wide) == bytes.fromhex("cb007100") + bytes(12) + bytes.fromhex("0035 11 00")


def test_flags_are_bits() -> None:
    assert flag_bits([]) == 0
    assert flag_bits(["quic", "hash_no_src_port", "udp_flow_migration"]) == 0b1000000101


def test_ids_are_adopted_from_the_kernel() -> None:
    actual = empty()
    one, two = (layout.real_definition(layout.pack_address(f"10.0.0.{last}"), 0) for last in (1, 2))
    v6 = layout.real_definition(layout.pack_address("fc00::1"), 1)
    first, second, strange = b"first", b"second", b"strange"
    # A real under id 0, a real under two ids, a VIP with a number beyond the map, and a key that is no VIP's.
    entries = {
        "reals": {layout.u32(0): two, layout.u32(2): one, layout.u32(3): one, layout.u32(4): v6},
        "vip_map": {first: layout.vip_meta(0, 3), second: layout.vip_meta(0, 99), strange: layout.vip_meta(0, 1)},
    }
    actual = Actual(entries, {}, actual.ring, actual.capacity, RING)
    known = Ids(1, {"10.0.0.2": 1}, [2, 3])
    names = {first: "192.0.2.1:80/tcp", second: "192.0.2.2:80/tcp"}
    real_ids, numbers = adopt(actual, known, Ids(0, {}, [3]), names)
    assert real_ids == Ids(1, {"10.0.0.2": 1, "10.0.0.1": 2, "fc00::1": 4}, [3])
    assert numbers == Ids(0, {"192.0.2.1:80/tcp": 3}, [])
    assert known.assigned == {"10.0.0.2": 1}


def test_an_id_that_a_killed_run_gave_away_in_vain_is_taken_back() -> None:
    """The kernel still has it with its old key: the run got no further than saving what it was about to do."""
    actual = empty()
    one = layout.real_definition(layout.pack_address("10.0.0.1"), 0)
    entries = {"reals": {layout.u32(1): one}, "vip_map": {b"old": layout.vip_meta(0, 2), b"new": layout.vip_meta(0, 3)}}
    actual = Actual(entries, {}, actual.ring, actual.capacity, RING)
    promised = Ids(1, {"10.0.0.9": 1, "10.0.0.8": 2}, [1, 2])
    # Of the numbers, 2 was only promised to another VIP, while 3 has arrived.
    numbers = Ids(0, {"other": 2, "new": 3}, [2, 3])
    found = adopt(actual, promised, numbers, {b"old": "old", b"new": "new"})
    assert found == (Ids(1, {"10.0.0.8": 2, "10.0.0.1": 1}, [2]), Ids(0, {"new": 3, "old": 2}, [3]))
