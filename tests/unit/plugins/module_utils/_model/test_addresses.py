# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses and prefixes, read as strictly by inet_pton, which knows no short form, no octal and no zone."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import sys
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ansible_collections.katran.fleet.plugins.module_utils._model.addresses import (
    Address,
    Prefix,
    parse_addresses,
    read_address,
    read_prefix,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.faults import Faults
from ansible_collections.katran.fleet.plugins.module_utils._model.options import parse_interfaces

TEXTS = st.one_of(
    st.ip_addresses().map(str),
    st.from_regex(r"[0-9]{1,4}(\.[0-9]{1,4}){2,3}", fullmatch=True),
    st.from_regex(r"[0-9a-fA-F:]{2,20}(\.[0-9]{1,3}){0,3}", fullmatch=True),
    st.text(max_size=6),
)


def pton(text: str) -> tuple[bool, bytes] | None:
    """(IPv6, packed) of an address as inet_pton reads it."""
    for ipv6, family in ((False, socket.AF_INET), (True, socket.AF_INET6)):
        with contextlib.suppress(OSError, ValueError):
            return ipv6, socket.inet_pton(family, text)
    return None


@given(text=TEXTS)
@example("10.0.0")
@example("010.0.0.1")
@example("10.0.0.1/8")
@example("10.0.0.1 ")
@example("fe80::1%lo")
@example("::ffff:1.2.3.4")
@example("1")
def test_addresses_as_inet_pton_reads_them(text: str) -> None:
    expected = pton(text)
    found = read_address(text)
    if expected is None:
        assert found is None
        return
    assert found is not None
    assert (found.ipv6, found.packed) == (expected[0], expected[1].ljust(16, b"\0"))
    assert read_address(found.text) == found
    assert ipaddress.ip_address(found.text).packed == expected[1]


@given(network=st.one_of(st.ip_addresses(), st.ip_addresses(v=4)), length=st.integers(-1, 130))
def test_prefixes(network: Any, length: int) -> None:
    found = read_prefix(f"{network}/{length}")
    try:
        expected = ipaddress.ip_network(f"{network}/{length}")
    except ValueError:
        assert isinstance(found, str)
        return
    assert isinstance(found, Prefix)
    assert (found.address.packed, found.length) == (expected.network_address.packed.ljust(16, b"\0"), length)
    assert ipaddress.ip_network(found.text) == expected


def test_lists_of_addresses_and_interfaces() -> None:
    faults = Faults()
    assert parse_addresses(["FC00::1", "fc00::1", "10.0.0.1", "10.0.0"], "sources", faults) == (
        "fc00::1",
        "10.0.0.1",
    )
    assert parse_interfaces(["lo"], faults) == ("lo",)
    assert faults.lines == ["sources[3]: 10.0.0 is not an IP address"]


def test_an_address_knows_itself() -> None:
    assert read_address("10.0.0.1") == Address("10.0.0.1", bytes([10, 0, 0, 1]) + bytes(12), False)


@pytest.mark.parametrize("text", ["10.0.0.1", "2001:DB8::1", "::ffff:1.2.3.4", "10.0.0", "fe80::1%lo", "x", ""])
def test_addresses_are_read_alike_without_netaddr(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = read_address.__wrapped__(text)
    monkeypatch.setitem(sys.modules, "netaddr", None)
    assert read_address.__wrapped__(text) == expected
