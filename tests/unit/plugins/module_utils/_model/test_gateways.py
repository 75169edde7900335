# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which next hop of which default route counts, and that all interfaces must share one MAC."""

from __future__ import annotations

from ansible_collections.katran.fleet.plugins.module_utils._model.gateways import (
    Behind,
    DefaultRoute,
    Group,
    Hop,
    expanded,
    hops_over,
    one_gateway,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.snapshot import GatewayAnswer

A, B, C = Hop("192.0.2.1", 2), Hop("192.0.2.2", 2), Hop("fd00::1", 3)
MACS = [f"02:00:00:00:00:0{last}" for last in range(1, 4)]


def test_tables_come_in_the_order_of_the_kernels_own_rules_and_routes_by_metric() -> None:
    keys = [(7, 1), (254, 9), (253, 0), (254, 2), (1000, 0)]
    routes = [DefaultRoute(*key, ()) for key in keys]
    order = sorted(routes, key=DefaultRoute.order)
    assert [(each.table, each.metric) for each in order] == [(254, 2), (254, 9), (253, 0), (7, 1), (1000, 0)]


def test_objects_are_expanded_and_lost_members_left_out() -> None:
    objects = {1: A, 2: Hop("192.0.2.9", 2, lost=True), 3: C, 4: Group((3, 2, 1)), 5: Group((4, 8))}
    assert expanded(1, objects) == (A,)
    # A route that has but this one waits for it to come back.
    assert expanded(2, objects) == (objects[2],)
    assert expanded(4, objects) == (C, A)
    assert expanded(5, objects) == (C, A)
    assert expanded(6, objects) == ()


def test_hops_over_some_interfaces_each_once() -> None:
    routes = [DefaultRoute(254, 0, (A, C)), DefaultRoute(254, 5, (B, A))]
    assert hops_over(routes, {2}) == [A, B]
    assert hops_over(routes, None) == [A, C, B]
    assert hops_over(routes, set()) == []


def test_each_mac_is_named_once() -> None:
    behind = [
        Behind("eth0", (A,), A.address, MACS[0]),
        Behind("eth1", (B,), B.address, MACS[0]),
        Behind("eth2", (C,), C.address, MACS[1]),
        Behind("eth3", reasons=("no route",)),
    ]
    answer = one_gateway(behind)
    assert (answer.mac, answer.differs) == ("", True)
    places = f"eth0 leads to 192.0.2.1 ({MACS[0]}) and eth2 leads to fd00::1 ({MACS[1]}),"
    assert places in answer.sentence
    assert "eth1" not in answer.sentence
    assert answer.hops == (A, B, C)
    # An earlier answer does not stand against it, as it does against silence.
    earlier = GatewayAnswer(answer.interfaces, answer.hops, MACS[0])
    assert answer.upheld(earlier) is answer
    silent = GatewayAnswer(answer.interfaces, answer.hops, "", "silent")
    assert silent.upheld(earlier) is earlier


def test_none_answers() -> None:
    answer = one_gateway([Behind("eth0", reasons=("a", "b")), Behind("eth1", reasons=("b", "c"))])
    assert answer == GatewayAnswer(
        ("eth0", "eth1"), (), "", "gateway_mac auto: a, b, c; give the MAC as gateway_mac", (), False
    )


def test_any_interface() -> None:
    answer = one_gateway([Behind("", (A,), A.address, MACS[2])])
    assert answer == GatewayAnswer((), (A,), MACS[2])
