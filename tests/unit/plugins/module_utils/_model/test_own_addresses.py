# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""VIPs that would take ssh away from the balancer, its gateway or a real."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model.entries import Asked
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ConfigError
from ansible_collections.katran.fleet.plugins.module_utils._model.own_addresses import (
    HostAddresses,
    covered_gateways,
    covered_own,
    host_sentences,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.vips import Vip, VipKey
from ansible_collections.katran.fleet.plugins.module_utils._model.vips_input import resolve_vips
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils._model.configs import ALL, reals, vip

HOST = HostAddresses(
    own=("192.0.2.10", "2001:db8:2::10", "203.0.113.1"),
    loopback=("203.0.113.1",),
    gateways=("192.0.2.1", "fe80::1", "2001:db8:2::1"),
)
REASON = "what is sent to the real, packets of balancers among it, would be balanced"
REMEDY = "give allow_own_addresses: true (variable katran_allow_own_addresses) if that is meant"


def made(*entries: dict[str, Any]) -> dict[VipKey, Vip]:
    return resolve_vips({}, Asked(list(entries), "overridden", False, ALL))[0]


@pytest.mark.parametrize(
    ("address", "port", "protocol", "covered"),
    [
        ("192.0.2.10", 0, "tcp", True),
        ("192.0.2.10", 0, "udp", True),
        ("192.0.2.10", 22, "tcp", True),
        ("192.0.2.10", 22, "udp", False),
        ("192.0.2.10", 2222, "tcp", False),
        ("192.0.2.10", 443, "tcp", False),
        ("192.0.2.11", 0, "tcp", False),
        ("192.0.2.10/32", 443, "tcp", True),
        ("192.0.2.8/30", 443, "udp", True),
        ("192.0.2.12/30", 443, "tcp", False),
        ("192.0.0.0/16", 53, "udp", True),
        ("2001:db8:2::10", 0, "tcp", True),
        ("2001:db8:2::/64", 443, "tcp", True),
        ("2001:db8:3::/64", 443, "tcp", False),
        # The first bytes of an IPv6 address are no IPv4 address.
        ("c000:20a::1", 0, "tcp", False),
        ("c000::/16", 0, "tcp", False),
    ],
)
def test_which_vips_cover_own_addresses(address: str, port: int, protocol: str, covered: bool) -> None:
    assert bool(covered_own(made(vip(address, port, protocol)), HOST, 22)) == covered


def test_ssh_may_have_another_port() -> None:
    vips = made(vip("192.0.2.10", 2222))
    assert covered_own(vips, HOST, 22) == {}
    assert list(covered_own(vips, HOST, 2222).values()) == [["192.0.2.10"]]


def test_gateways() -> None:
    found = covered_gateways(made(vip("192.0.2.0/29"), vip("2001:db8:2::1", 0), vip("192.0.2.1", 443)), HOST, 22)
    assert {str(key): addresses for key, addresses in found.items()} == {
        "192.0.2.0/29:443/tcp": ["192.0.2.1"],
        "[2001:db8:2::1]:0/tcp": ["2001:db8:2::1"],
    }


def test_addresses_that_are_there_for_the_vip() -> None:
    vips = made(vip("203.0.113.1", 0))
    assert covered_own(vips, HOST, 22)
    served = HostAddresses(HOST.own, HOST.loopback, HOST.gateways, frozenset(["203.0.113.1"]))
    assert covered_own(vips, served, 22) == {}
    local = made(vip("203.0.113.1", 0, reals=[{"address": "10.0.0.1", "local": True}]))
    assert covered_own(local, HOST, 22) == {}
    # Not the address that ssh comes by.
    local = made(vip("192.0.2.10", 0, reals=[{"address": "10.0.0.1", "local": True}]))
    assert covered_own(local, HOST, 22)


def test_sentences() -> None:
    (own, gateway) = host_sentences(made(vip("192.0.2.0/24", 443)), HOST, 22)
    assert own[1] == (
        "192.0.2.0/24:443/tcp covers this host's gateway 192.0.2.1: what is sent to the gateway would be balanced, and"
        f" the gateway cut off; {REMEDY}"
    )
    assert gateway[1] == (
        "192.0.2.0/24:443/tcp covers this host's own address 192.0.2.10: what is sent to the host would be balanced,"
        f" and ssh to it cut off; {REMEDY}"
    )


@pytest.mark.parametrize(
    ("entries", "where", "key", "covered"),
    [
        ([vip("10.0.0.0/8", reals=reals("10.0.0.1"))], 0, "10.0.0.0/8:443/tcp", "10.0.0.1"),
        (
            [vip(reals=reals(*(f"10.0.0.{n}" for n in range(1, 6)))), vip("10.0.0.0/29")],
            1,
            "10.0.0.0/29:443/tcp",
            "10.0.0.1, 10.0.0.2, 10.0.0.3 and 2 more",
        ),
        ([vip("10.0.0.1", 0), vip(reals=reals("10.0.0.1"))], 0, "10.0.0.1:0/tcp", "10.0.0.1"),
        ([vip("10.0.0.1", 22), vip(reals=reals("10.0.0.1"))], 0, "10.0.0.1:22/tcp", "10.0.0.1"),
        (
            [vip("fc00::/64", protocol="udp", flags=["udp_flow_migration"], down_reals=["fc00::9"])],
            0,
            "[fc00::/64]:443/udp",
            "fc00::9",
        ),
    ],
)
def test_vips_that_cover_reals(entries: list[dict[str, Any]], where: int, key: str, covered: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve_vips({}, Asked(entries, "overridden", False, ALL))
    assert str(caught.value) == f"vips[{where}].address: {key} covers the real {covered}: {REASON}; {REMEDY}"
    kept, _warnings = resolve_vips({}, Asked(entries, "overridden", False, ALL, allow_own_addresses=True))
    # What was meant once is no reason to refuse another VIP.
    resolve_vips(kept, Asked([vip("198.51.100.9")], "merged", False, ALL))
    resolve_vips(kept, Asked(entries, "deleted", False, ALL))


def test_vips_that_leave_reals_alone() -> None:
    resolve_vips(
        {},
        Asked(
            [
                vip("10.0.0.1", 443, reals=reals("10.0.0.2")),
                vip("10.0.0.2", 22, "udp", reals=reals("10.0.0.1")),
                vip("10.1.0.0/16", reals=[{"address": "10.1.0.1", "local": True}]),
            ],
            "overridden",
            False,
            ALL,
        ),
    )
