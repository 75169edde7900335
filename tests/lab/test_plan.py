# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan: whatever a laboratory's size, its addresses are its own, each once, and a host's never change."""

from __future__ import annotations

import ipaddress

import pytest
from fleetlab.fleet import host_at
from fleetlab.plan import (
    CONTROL,
    EVERY_HOST,
    HOSTS,
    MOST_BALANCERS,
    MOST_REALS,
    RANGE_IPV4,
    RANGE_IPV6,
    VIPS_IPV4,
    VIPS_IPV6,
    Lab,
    LabError,
    hosts_of,
    lab_named,
    names,
)

MANAGEMENT = ipaddress.ip_network("198.18.0.0/24")


def test_the_default_plan() -> None:
    assert hosts_of() == HOSTS
    assert [(host.name, host.role, host.management, host.ipv4, host.ipv6) for host in HOSTS] == [
        ("client", "client", "198.18.0.1", "198.18.1.2", "fd6b:6174:7261:1::2"),
        ("router", "router", "198.18.0.253", "198.18.253.2", "fd6b:6174:7261:253::2"),
        ("lb1", "balancer", "198.18.0.11", "198.18.11.2", "fd6b:6174:7261:11::2"),
        ("lb2", "balancer", "198.18.0.12", "198.18.12.2", "fd6b:6174:7261:12::2"),
        ("real1", "real", "198.18.0.21", "198.18.21.2", "fd6b:6174:7261:21::2"),
        ("real2", "real", "198.18.0.22", "198.18.22.2", "fd6b:6174:7261:22::2"),
        ("real3", "real", "198.18.0.23", "198.18.23.2", "fd6b:6174:7261:23::2"),
    ]


@pytest.mark.parametrize("size", [(0, 0), (2, 3), (1, 40), (20, 30), (MOST_BALANCERS, MOST_REALS)])
def test_a_host_is_the_same_in_every_plan(size: tuple[int, int]) -> None:
    hosts = hosts_of(*size)
    assert [len([host for host in hosts if host.role == role]) for role in ("balancer", "real")] == list(size)
    assert set(hosts) <= set(EVERY_HOST)


def test_the_largest_plan_has_every_address_once() -> None:
    everybody = (CONTROL, *EVERY_HOST)
    addresses = [
        ipaddress.ip_address(address)
        for host in everybody
        for address in (host.management, host.ipv4, host.ipv6, host.router_ipv4, host.router_ipv6)
    ]
    assert len(set(addresses)) == len(addresses) == 5 * len(everybody)
    assert len({host.name for host in everybody}) == len(everybody)
    ranges = (ipaddress.ip_network(RANGE_IPV4), ipaddress.ip_network(RANGE_IPV6))
    assert all(any(address in network for network in ranges) for address in addresses)
    vips = (ipaddress.ip_network(VIPS_IPV4), ipaddress.ip_network(VIPS_IPV6))
    assert not any(address in network for address in addresses for network in vips)


def test_links_are_networks_of_their_own() -> None:
    links = [MANAGEMENT]
    links += [ipaddress.ip_network(f"{host.ipv4}/24", strict=False) for host in EVERY_HOST]
    assert len(set(links)) == len(EVERY_HOST) + 1
    assert len({ipaddress.ip_network(f"{host.ipv6}/64", strict=False) for host in EVERY_HOST}) == len(EVERY_HOST)
    hosts_of_management = set(MANAGEMENT.hosts())
    assert all(ipaddress.ip_address(host.management) in hosts_of_management for host in (CONTROL, *EVERY_HOST))


def test_interfaces_have_names_that_linux_takes() -> None:
    assert max(len(f"m-{host.name}") for host in EVERY_HOST) < 16


@pytest.mark.parametrize("size", [(MOST_BALANCERS + 1, 3), (2, MOST_REALS + 1), (-1, 3)])
def test_more_than_there_are_numbers_for(size: tuple[int, int]) -> None:
    with pytest.raises(LabError, match=f"^{size[0]} balancers and {size[1]} reals: a laboratory has up to 99 and 132$"):
        hosts_of(*size)


def test_a_choice_of_a_larger_plan() -> None:
    assert names(lab_named("kfu", "lb20,real30", hosts_of(20, 30)).hosts) == "router, lb20, real30"
    assert lab_named("kfu", None, hosts_of(3, 3)) == Lab("kfu", hosts_of(3, 3))
    with pytest.raises(LabError, match="no host lb4 in the laboratory's plan"):
        lab_named("kfu", "lb4", hosts_of(3, 3))


def test_answers_are_told_apart_in_a_larger_plan() -> None:
    assert [host_at(host.ipv6) for host in hosts_of(20, 30)] == [host.name for host in hosts_of(20, 30)]
