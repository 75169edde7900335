# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What bird says, read and judged. What it really says, tests/engine/test_announce_bgp.py asks it."""

from __future__ import annotations

from ansible_collections.katran.fleet.plugins.module_utils._model.doctor.announced import (
    Session,
    no_daemon,
    of_sessions,
    places,
    sessions,
)

PROTOCOLS = """\
Name       Proto      Table      State  Since         Info
device1    Device     ---        up     20:43:28.205
katran_learn4 Kernel     katran_vips4 up     20:43:28.205
  Channel ipv4
    State:          UP

katran_198_18_11_1 BGP        ---        up     2026-11-27 20:43:43.649  Established
  BGP state:          Established
  Channel ipv4
    State:          UP
    Table:          katran_vips4
katran_6 BGP        ---        start  20:43:45.573  Active        Socket: Connection refused
  Channel ipv6
    State:          DOWN
"""
UP, DOWN = (
    Session("katran_198_18_11_1", True, "Established", frozenset({"ipv4"})),
    Session("katran_6", False, "Active        Socket: Connection refused", frozenset({"ipv6"})),
)


def test_sessions() -> None:
    assert sessions(PROTOCOLS.splitlines()) == [UP, DOWN]
    assert sessions([]) == []


def test_places() -> None:
    lines = [
        "Table katran_vips4:",
        "198.18.200.1/32      unicast [katran_learn4 20:43:28.205] * (10)",
        "\tdev lo",
        "198.51.100.0/24      unicast [katran_learn4 20:43:28.205] * (10)",
        "                     unicast [katran_learn4 20:43:28.205] (10)",
        "2001:DB8::1/128      unicast [katran_learn6 20:43:28.205] * (10)",
        "",
    ]
    assert places(lines) == {"198.18.200.1", "198.51.100.0/24", "2001:db8::1"}


def test_what_neighbours_are_told() -> None:
    routes = {"198.18.200.1": 1, "2001:db8::1": 2}
    told = {UP.name: {"198.18.200.1"}}
    assert list(of_sessions(routes, routes, 198, [UP], told)) == []
    # A session of one family says nothing of the other's.
    assert list(of_sessions([], {"2001:db8::1": 1}, 198, [UP], {UP.name: set()})) == []
    (filtered,) = of_sessions(routes, routes, 198, [UP], {UP.name: set()})
    assert "does not tell the router of 198.18.200.1, which table 198 has" in filtered.cause
    (down,) = of_sessions(routes, routes, 198, [UP, DOWN], told)
    assert "katran_6 is not established: Active" in down.cause
    (lost,) = of_sessions([*routes, "192.0.2.1"], routes, 198, [UP], told)
    assert lost.about == "192.0.2.1"
    names = {each.name for each in (filtered, down, lost, no_daemon(198, "there is no socket"))}
    assert names == {"route_filtered"}


def test_of_several_balancers_on_a_host_some_are_not_announced() -> None:
    routes = {"198.51.100.1": 1}
    (silent,) = of_sessions(routes, routes, 198, [UP], {UP.name: {"198.51.100.2"}}, shared=True)
    assert not silent.error
    assert "katran_bgp" in silent.remedy
    # A session that is told of nothing is no sign of another balancer's being announced.
    (all_filtered,) = of_sessions(routes, routes, 198, [UP], {UP.name: set()}, shared=True)
    assert all_filtered.error
    # One of which neighbours are told something, or whose neighbours are away, is as announced as any.
    (filtered,) = of_sessions([], {**routes, "198.51.100.3": 1}, 198, [UP], {UP.name: {"198.51.100.1"}}, shared=True)
    assert filtered.error
    assert "198.51.100.3" in filtered.cause
    (down,) = of_sessions(routes, routes, 198, [DOWN], {}, shared=True)
    assert (down.error, down.about) == (True, DOWN.name)
    assert list(of_sessions([], {}, 198, [UP], {UP.name: set()}, shared=True)) == []
