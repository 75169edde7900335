# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists of clients as entries of maps, and the other way."""

from __future__ import annotations

import ipaddress
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.source_entries import (
    Lists,
    deciding_prefix,
    filter_entries,
    in_order,
    lists_in_kernel,
    source_in,
    source_key,
)


def vip(allow: list[str], deny: list[str]) -> SimpleNamespace:
    return SimpleNamespace(allow=in_order(allow), deny=in_order(deny))


def test_keys_are_as_the_program_reads_them() -> None:
    assert source_key("192.0.2.0/24", 258) == bytes.fromhex("38000000 02010000 c0000200")
    assert source_key("2001:db8::/32", 1) == bytes.fromhex("40000000 01000000 20010db8 00000000 00000000 00000000")
    assert source_in(source_key("192.0.2.0/24", 258)) == "192.0.2.0/24"
    assert source_in(source_key("::/0", 7)) == "::/0"


def test_whom_no_list_has_is_kept_out_only_where_some_are_let_in() -> None:
    everybody = source_key("0.0.0.0/0", 3)
    assert filter_entries(vip([], []), False, 3) == {}
    assert filter_entries(vip([], ["10.0.0.0/8"]), False, 3) == {source_key("10.0.0.0/8", 3): layout.u32(2)}
    assert filter_entries(vip(["10.0.0.0/8"], []), False, 3) == {
        everybody: layout.u32(2),
        source_key("10.0.0.0/8", 3): layout.u32(1),
    }
    assert filter_entries(vip(["0.0.0.0/0"], []), False, 3) == {everybody: layout.u32(1)}


@settings(max_examples=60, derandomize=True, deadline=None)
@given(st.data())
def test_what_the_kernel_has_is_told_as_it_was_listed(data: st.DataObject) -> None:
    known: dict[int, Lists] = {}
    entries: dict[str, dict[bytes, bytes]] = {"src_filter_v4": {}, "src_filter_v6": {}}
    for number in range(3):
        ipv6 = data.draw(st.booleans())
        networks = st.ip_addresses(v=6 if ipv6 else 4).flatmap(
            lambda address: st.integers(1, address.max_prefixlen).map(
                lambda length: str(ipaddress.ip_network((address, length), strict=False))
            )
        )
        prefixes = data.draw(st.lists(networks, unique=True, min_size=1, max_size=5))
        at = data.draw(st.integers(0, len(prefixes)))
        lists = vip(prefixes[:at], prefixes[at:])
        known[number] = lists.allow, lists.deny
        entries["src_filter_v6" if ipv6 else "src_filter_v4"] |= filter_entries(lists, ipv6, number)
    assert lists_in_kernel(entries) == known


@pytest.mark.parametrize(
    ("allow", "deny", "client", "found"),
    [
        (["10.0.0.0/8"], ["10.1.0.0/16"], "10.1.2.3", ("10.1.0.0/16", True)),
        (["10.0.0.0/8"], ["10.1.0.0/16"], "10.2.2.3", ("10.0.0.0/8", True)),
        (["10.0.0.0/8"], [], "192.0.2.1", ("0.0.0.0/0", False)),
        ([], ["0.0.0.0/0"], "192.0.2.1", ("0.0.0.0/0", True)),
        ([], ["10.0.0.0/8"], "192.0.2.1", ("", False)),
        (["2001:db8::/32"], ["2001:db8::/128"], "2001:db8::", ("2001:db8::/128", True)),
    ],
)
def test_the_prefix_that_decides(allow: list[str], deny: list[str], client: str, found: tuple[str, bool]) -> None:
    ipv6 = ":" in client
    entries = filter_entries(vip(allow, deny), ipv6, 1)
    entries |= filter_entries(vip([], ["::/0" if ipv6 else "0.0.0.0/0"]), ipv6, 2)
    assert deciding_prefix(entries, ipaddress.ip_address(client).packed, 1) == found
