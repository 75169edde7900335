# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses of a host, those of lo that are ours among them, and what of them comes, goes and becomes quiet."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model.host_addresses import (
    HostAddress,
    LoopbackPlan,
    on_loopback,
    plan_loopback,
    sources_of_ipv6,
    strangers,
)

A, B, C, D = "198.51.100.1", "198.51.100.2", "198.51.100.3", "2001:db8::1"


def quiet(text: str) -> HostAddress:
    return HostAddress("lo", text, 128 if ":" in text else 32, quiet=True, bare=True)


@pytest.mark.parametrize(
    ("address", "whole", "passage", "ours"),
    [
        (quiet(A), True, False, True),
        (quiet(D), True, False, True),
        (HostAddress("lo", A, 32), True, False, True),
        (HostAddress("lo", A, 31), False, False, False),
        (HostAddress("lo", A, 31, quiet=True, bare=True), False, True, True),
        (HostAddress("lo", A, 31, quiet=True), False, False, False),
        (HostAddress("lo", A, 31, bare=True), False, False, False),
        (HostAddress("lo", A, 30, quiet=True, bare=True), False, False, False),
        (HostAddress("lo", D, 31, quiet=True, bare=True), False, True, False),
        (HostAddress("lo", D, 32), False, False, False),
        (HostAddress("lo", A, 128), False, False, False),
        (HostAddress("lo", D, 64), False, False, False),
        (HostAddress("eth0", A, 32, quiet=True, bare=True), False, False, False),
        (HostAddress("eth0", A, 31, quiet=True, bare=True), False, False, False),
    ],
)
def test_which_are_as_ours_are(address: HostAddress, whole: bool, passage: bool, ours: bool) -> None:
    assert (address.whole, address.passage, address.ours) == (whole, passage, ours)
    assert address.ipv6 == (":" in address.text)


def test_any_spelling() -> None:
    assert HostAddress.of("lo", "2001:DB8:0::1", 128, quiet=True) == HostAddress("lo", D, 128, quiet=True)
    assert HostAddress.of("eth0", A, 24) == HostAddress("eth0", A, 24)


def test_what_comes_goes_and_becomes_quiet() -> None:
    there = [
        quiet(B),
        HostAddress("lo", C, 32),
        HostAddress("lo", "127.0.0.1", 8),
        HostAddress("eth0", "192.0.2.1", 24),
    ]
    assert plan_loopback([D, C, A], [B, C], there) == LoopbackPlan((A, D), (B,), (C,), (A, C, D))
    # What others have put there, or bring, or what is on another interface, is neither added nor ours.
    assert plan_loopback([C, "192.0.2.1", A], [], there, [A]) == LoopbackPlan((), (), (), ())
    # A record of what is gone takes nothing away.
    assert plan_loopback([], [A, B], there) == LoopbackPlan((), (B,), (), ())


def test_an_address_in_passage_is_ours_and_not_settled() -> None:
    passing = HostAddress("lo", A, 31, quiet=True, bare=True)
    assert plan_loopback([A], [A], [passing]) == LoopbackPlan((), (), (A,), (A,))
    assert plan_loopback([A], [A], [quiet(A)]) == LoopbackPlan((), (), (), (A,))
    assert plan_loopback([A], [A], [replace(quiet(A), quiet=False)]).settle == (A,)
    assert plan_loopback([], [A], [passing, quiet(A)]) == LoopbackPlan((), (A,), (), ())


def test_ours_on_lo() -> None:
    there = [quiet(D), quiet(B), HostAddress("lo", A, 8), HostAddress("eth0", C, 32), quiet(B)]
    assert on_loopback(there, [A, B, C, D]) == [B, D]
    assert on_loopback(there, [A]) == []


def test_addresses_that_are_not_the_hosts_own() -> None:
    eth0 = [HostAddress("eth0", f"192.0.2.{last}", 24) for last in (9, 1)]
    local = [HostAddress("lo", "127.0.0.1", 8), HostAddress("eth0", "fe80::1", 64)]
    there = [*eth0, *local, quiet(A), quiet(B)]
    assert strangers(["192.0.2.1", "192.0.2.9", B], there, [A]) == ""
    end = "so packets of balancers to it would not arrive"
    # The address of a VIP that we put there does not count; others' do.
    assert strangers(["192.0.2.1", A], there, [A]) == (
        f"{A} is no address of this host (it has 192.0.2.1, 192.0.2.9, {B}), {end}"
    )
    assert strangers([A, C], local, []) == f"{A}, {C} are no addresses of this host (it has none), {end}"
    # Not all of a host's addresses of one text are ours.
    assert strangers([A], [quiet(A), HostAddress("eth0", A, 24)], [A]) == ""


@pytest.mark.parametrize(("count", "more"), [(6, ""), (7, " and others")])
def test_some_of_many_addresses_are_named(count: int, more: str) -> None:
    there = [HostAddress("eth0", f"192.0.2.{last}", 24) for last in range(1, count + 1)]
    some = ", ".join(f"192.0.2.{last}" for last in range(1, 7))
    assert f"(it has {some}{more})" in strangers([A], there, [])


def test_from_where_own_connections_over_ipv6_come() -> None:
    own = HostAddress("eth0", "2001:db8:1::1", 64)
    there = [
        own,
        replace(own, text="2001:db8:1::2", quiet=True),
        HostAddress("lo", "2001:db8:1::3", 128, quiet=True),
        HostAddress("eth0", "192.0.2.1", 24),
        HostAddress("eth0", "fe80::1", 64),
        HostAddress("lo", "::1", 128),
        HostAddress("lo", D, 128),
    ]
    # One on lo is none where it is deprecated; one on the way out comes before those.
    assert sources_of_ipv6(there, [D]) == ["2001:db8:1::1", "2001:db8:1::2"]
    assert sources_of_ipv6(there, []) == ["2001:db8:1::1", "2001:db8:1::2", D]
