# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.katran.fleet.plugins.module_utils._model.gate_flows import (
    EACH,
    MOST,
    flow_fault,
    flow_faults,
    flows_to,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.simulated_flows import parse_flows
from ansible_collections.katran.fleet.plugins.module_utils._model.verdicts import NO_WORDS
from ansible_collections.katran.fleet.plugins.module_utils._model.vips import Vip, VipKey, VipReal

KEY = VipKey.read("198.51.100.1:443/tcp")
VIP = Vip(KEY, reals=(VipReal("10.0.0.1"), VipReal("10.0.0.2")))
NAMES = [
    "198.51.100.1:80/tcp",
    "198.51.100.0/24:0/udp",
    "[2001:db8:1::1]:443/udp",
    "[2001:db8:1::/64]:0/tcp",
    "0.0.0.0/0:0/tcp",
]
SENT = {
    "action": "sent",
    "vip": str(KEY),
    "real": "10.0.0.1",
    "reason": "ring",
    "detail": "slot 1",
    "local": False,
    "encapsulation": {"destination": "10.0.0.1"},
}


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        ({}, ""),
        ({"action": "passed", "local": True}, ""),
        ({"action": "dropped", "reason": "denied"}, ""),
        ({"reason": "source_route", "real": "10.9.0.1", "encapsulation": {"destination": "10.9.0.1"}}, ""),
        ({"action": "dropped", "vip": None, "reason": "no_vip"}, "dropped, as if for no VIP"),
        ({"action": "passed", "vip": None, "reason": "no_vip"}, "passed, as if for no VIP"),
        ({"action": "dropped"}, "dropped, on the way to real 10.0.0.1 (slot 1)"),
        ({"action": "aborted"}, "aborted, on the way to real 10.0.0.1 (slot 1)"),
        ({"action": "dropped", "reason": "no_real"}, "found no real (slot 1)"),
        ({"encapsulation": {"destination": "10.0.0.2"}}, "sent to 10.0.0.2, and counted for real 10.0.0.1"),
        ({"real": None}, "sent to 10.0.0.1, and counted for real None"),
        (
            {"real": "10.9.0.1", "encapsulation": {"destination": "10.9.0.1"}},
            "sent to 10.9.0.1, which is no real of the VIP",
        ),
    ],
)
def test_answers(answer: dict[str, Any], fault: str) -> None:
    assert flow_fault({**SENT, **answer}, {str(KEY): VIP}, NO_WORDS) == fault


def test_a_vip_without_an_active_real_drops_rightly() -> None:
    idle = Vip(KEY, reals=(VipReal("10.0.0.1", 0), VipReal("10.0.0.2", 1, "down")))
    assert flow_fault({**SENT, "action": "dropped", "reason": "no_real"}, {str(KEY): idle}, NO_WORDS) == ""


def test_one_sentence_for_a_vip() -> None:
    answers = [SENT, {**SENT, "action": "dropped"}, {**SENT, "action": "aborted"}]
    assert flow_faults([VIP] * 3, answers, {KEY: VIP}, NO_WORDS) == [
        f"vip {KEY}: of 3 simulated packets, 2 dropped, on the way to real 10.0.0.1 (slot 1)"
    ]


def test_clients_are_such_as_a_vips_lists_let_in() -> None:
    allowed = Vip(KEY, allow=("203.0.113.8/30",), reals=VIP.reals)
    assert {flow["source"] for _vip, flow in flows_to([allowed])} <= {f"203.0.113.{last}" for last in range(8, 12)}


@settings(deadline=None, max_examples=20)
@given(
    st.sampled_from(NAMES),
    st.sampled_from([1, 7, 300, 2500]),
)
def test_flows_are_such_as_a_simulation_takes(name: str, vips: int) -> None:
    key = VipKey.read(name)
    found = flows_to([Vip(key, reals=VIP.reals)] * vips)
    assert len(found) <= max(MOST, vips)
    assert len(found) >= vips
    flows = [options for _vip, options in found[:EACH]]
    assert len(parse_flows(flows)) == len(flows)
    for flow in flows:
        assert ipaddress.ip_address(flow["destination"]) in ipaddress.ip_network(key.address)
        assert flow["protocol"] == key.protocol
        assert flow["destination_port"] == key.port or not key.port
