# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists of clients change in steps, between which packets come: every one is under the lists of before or of after."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.ids import Ids
from ansible_collections.katran.fleet.plugins.module_utils._model.operations import Delete, Operation, Put, ZeroCounters
from ansible_collections.katran.fleet.plugins.module_utils._model.source_entries import FILTER_MAPS, in_order
from ansible_collections.katran.fleet.plugins.module_utils._model.source_entries_plan import plan_sources
from ansible_collections.katran.fleet.plugins.module_utils._model.verdicts import NO_WORDS
from ansible_collections.katran.fleet.plugins.module_utils._model.vip_entries import Actual
from ansible_collections.katran.fleet.plugins.module_utils._model.vip_plan import Recorded, VipPlan, plan_vips
from ansible_collections.katran.fleet.plugins.module_utils._model.vips import Vip, VipKey
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils._model.empty_balancer import empty

Maps = dict[str, dict[bytes, bytes]]
Vips = dict[VipKey, Vip]
NAMES = ("198.51.100.1:80/tcp", "198.51.100.2:80/tcp", "198.51.100.3:80/tcp", "[2001:db8::1]:80/tcp")
CLIENTS = {
    False: [f"10.0.0.{last}" for last in range(8)] + ["192.0.2.1"],
    True: ["2001:db8:c::", "2001:db8:c::7", "fc00::1"],
}
PREFIXES = {
    False: ["0.0.0.0/0", "10.0.0.0/8"]
    + [
        str(each)
        for length in (29, 30, 31, 32)
        for each in ipaddress.ip_network("10.0.0.0/29").subnets(new_prefix=length)
    ],
    True: ["::/0", "2001:db8::/32", "2001:db8:c::/48", "2001:db8:c::/128"],
}


@st.composite
def listed(draw: st.DrawFn) -> Vips:
    """Some of the VIPs, each with lists or without."""
    found = {}
    for name in NAMES:
        key = VipKey.read(name)
        if draw(st.integers(0, 4)):
            words = draw(st.lists(st.sampled_from(("allow", "deny", "")), min_size=2, max_size=len(PREFIXES[key.ipv6])))
            chosen: dict[str, list[str]] = {"allow": [], "deny": [], "": []}
            for prefix, word in zip(draw(st.permutations(PREFIXES[key.ipv6])), words, strict=False):
                chosen[word].append(prefix)
            found[key] = Vip(key, allow=in_order(chosen["allow"]), deny=in_order(chosen["deny"]))
    return found


def may_come(vip: Vip, client: str) -> bool:
    """By the lists themselves."""
    address = ipaddress.ip_address(client)
    held = [
        (network.prefixlen, may)
        for prefixes, may in ((vip.allow, True), (vip.deny, False))
        for network in map(ipaddress.ip_network, prefixes)
        if address in network
    ]
    return max(held)[1] if held else not vip.allow


def comes(maps: Maps, key: VipKey, client: str) -> bool | None:
    """By the entries, as the program goes by them; None where there is no VIP."""
    meta = maps["vip_map"].get(layout.vip_definition(key.packed, key.port, layout.PROTOCOLS[key.protocol]))
    if meta is None:
        return None
    bits, number = layout.parse_vip_meta(meta)
    if not bits & layout.SOURCE_FILTER:
        return True
    address, best = int(ipaddress.ip_address(client)), (-1, 1)
    for entry, value in maps[FILTER_MAPS[key.ipv6]].items():
        packed, length, owner = layout.parse_source_filter_key(entry)
        if owner == number and not (int.from_bytes(packed, "big") ^ address) >> (8 * len(packed) - length):
            best = max(best, (length, layout.parse_u32(value)))
    return best[1] == 1


def start(vips: int = 16, capacity: int = 1000) -> Actual:
    actual = empty(vips, reals=5)
    entries = {**actual.entries, **{name: {} for name in FILTER_MAPS}}
    room = {**actual.capacity, **dict.fromkeys(FILTER_MAPS, capacity)}
    return replace(actual, entries=entries, capacity=room, filters=True)


def steps(operations: Sequence[Operation], maps: Maps) -> Iterator[Maps]:
    """The maps after every single write."""
    for each in operations:
        if isinstance(each, Put):
            for key, value in each.entries:
                maps[each.map][key] = value
                yield maps
        elif isinstance(each, Delete):
            for key in each.keys:
                del maps[each.map][key]
                yield maps


def plan(wanted: Vips, actual: Actual, numbers: Ids) -> VipPlan:
    return plan_vips(wanted, NO_WORDS, {}, actual, Recorded(Ids(1), numbers, {}))


def held(maps: Maps) -> dict[VipKey, list[bool]]:
    keys = map(VipKey.read, NAMES)
    return {
        key: [bool(comes(maps, key, client)) for client in CLIENTS[key.ipv6]]
        for key in keys
        if comes(maps, key, "10.0.0.1" if not key.ipv6 else "fc00::1") is not None
    }


@settings(max_examples=50, deadline=None, derandomize=True)
@given(listed(), listed(), st.integers(0, 40), st.sampled_from((16, 3)))
def test_no_client_meets_half_of_a_change_wherever_it_is_cut_off(
    before: Vips, after: Vips, cut: int, room: int
) -> None:
    """Also where there is room for VIPs only once others went, and their numbers are given out within the run."""
    assume(max(len(before), len(after)) <= room)
    actual = start(room)
    maps: Maps = {name: dict(entries) for name, entries in actual.entries.items()}
    first = plan(before, actual, Ids(0))
    for _each in steps(first.operations, maps):
        pass
    numbers = first.vip_numbers.settled()
    for _again in range(2):
        second = plan(after, replace(actual, entries=maps), numbers)
        for done, _each in enumerate(steps(second.operations, maps)):
            for key in map(VipKey.read, NAMES):
                for client in CLIENTS[key.ipv6]:
                    verdict = comes(maps, key, client)
                    allowed = {may_come(vips[key], client) for vips in (before, after) if key in vips}
                    assert verdict is None or verdict in allowed, (str(key), client)
            if done == cut:
                break
        # What was numbered stays so, as the file says before the first write.
        numbers = second.vip_numbers
        cut = -1
    for key, vip in after.items():
        assert [comes(maps, key, client) for client in CLIENTS[key.ipv6]] == [
            may_come(vip, client) for client in CLIENTS[key.ipv6]
        ]
    again = plan(after, replace(actual, entries=maps), numbers.settled())
    assert again.operations == []
    mine = {second.vip_numbers.assigned[str(key)] for key in after}
    left = {layout.parse_source_filter_key(entry)[2] for name in FILTER_MAPS for entry in maps[name]}
    assert left <= mine


def entry(length: int, number: int = 0) -> bytes:
    return layout.source_filter_key(bytes((10, 0, 0, 0)), length, number)


ALLOW, DENY = layout.u32(1), layout.u32(2)


def test_longer_prefixes_come_first_and_go_last() -> None:
    want = {entry(8): ALLOW, entry(24): ALLOW, entry(16): DENY}
    put, nothing = plan_sources("src_filter_v4", want, {}, 10)
    assert put == [Put("src_filter_v4", ((entry(24), ALLOW), (entry(16), DENY), (entry(8), ALLOW)))]
    assert nothing == []
    assert plan_sources("src_filter_v4", {}, want, 10) == (
        [],
        [Delete("src_filter_v4", (entry(8), entry(16), entry(24)))],
    )


@pytest.mark.parametrize("room", [1, 2])
def test_what_goes_is_first_where_there_is_no_room_for_both(room: int) -> None:
    there, want = {entry(8): DENY}, {entry(16): DENY}
    put, delete = Put("src_filter_v4", ((entry(16), DENY),)), Delete("src_filter_v4", (entry(8),))
    assert plan_sources("src_filter_v4", want, there, room) == (([delete, put], []) if room == 1 else ([put], [delete]))


@pytest.mark.parametrize("room", [1, 2])
def test_another_value_has_room_where_the_trie_is_full(room: int) -> None:
    """Linux 6.1 answers ENOSPC to an update of a key that a full trie has."""
    put = Put("src_filter_v4", ((entry(8), ALLOW),))
    first = [Delete("src_filter_v4", (entry(8),))] if room == 1 else []
    assert plan_sources("src_filter_v4", {entry(8): ALLOW}, {entry(8): DENY}, room) == ([*first, put], [])


def test_a_number_that_is_given_out_again_has_nothing_left_of_before() -> None:
    actual = start()
    stale = {FILTER_MAPS[0]: {entry(8, number=0): ALLOW}, FILTER_MAPS[1]: {}}
    actual = replace(actual, entries={**actual.entries, **stale}, capacity={**actual.capacity, "server_id_stats": 1})
    key = VipKey.read(NAMES[0])
    numbers = Ids(0, {}, [0])
    done = plan({key: Vip(key, deny=("192.0.2.0/24",))}, actual, numbers).operations
    assert done.index(ZeroCounters("src_denied", (0,))) < done.index(Delete(FILTER_MAPS[0], (entry(8),)))
    names = [each.map for each in done if isinstance(each, Put)]
    assert names.index(FILTER_MAPS[0]) < names.index("vip_map")
    assert done.index(Delete(FILTER_MAPS[0], (entry(8),))) < done.index(
        next(each for each in done if isinstance(each, Put) and each.map == FILTER_MAPS[0])
    )


def test_without_the_maps_the_flag_is_not_set() -> None:
    """Else a program that has them, and them empty, would ask who the client is."""
    key = VipKey.read(NAMES[0])
    for filters in (False, True):
        actual = replace(start(), filters=filters, entries=empty(vips=16).entries)
        done = plan({key: Vip(key, deny=("192.0.2.0/24",))}, actual, Ids(0)).operations
        (value,) = [each.entries[0][1] for each in done if isinstance(each, Put) and each.map == "vip_map"]
        # They are there, and no run that changes no VIP reads them.
        assert bool(layout.parse_vip_meta(value)[0] & layout.SOURCE_FILTER) == filters
