# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sentences and orders at their boundaries: gateways, VIPs that cover hosts, readiness, the end of a host's units."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model.addresses import no_address
from ansible_collections.katran.fleet.plugins.module_utils._model.decap_settings import parse_staying
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ConfigError
from ansible_collections.katran.fleet.plugins.module_utils._model.gateways import (
    Behind,
    DefaultRoute,
    Hop,
    one_gateway,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.host_plan import HostSnapshot, UnitState, plan_absence
from ansible_collections.katran.fleet.plugins.module_utils._model.kernel_view import _by_address
from ansible_collections.katran.fleet.plugins.module_utils._model.own_addresses import (
    covering_sentences,
    own_options,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.readiness import hold_back_vips
from ansible_collections.katran.fleet.plugins.module_utils._model.snapshot import GatewayAnswer
from ansible_collections.katran.fleet.plugins.module_utils._model.vips import VipKey
from ansible_collections.katran.fleet.plugins.module_utils._model.vips_input import active_reals
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils._model.configs import reals, vip, vips

A, B = Hop("192.0.2.1", 2), Hop("192.0.2.2", 3)
MAC, OTHER = "02:00:00:00:00:01", "02:00:00:00:00:02"


def test_interfaces_that_lead_to_different_macs() -> None:
    answer = one_gateway([Behind("eth0", (A,), A.address, MAC), Behind("eth1", (B,), B.address, OTHER)])
    assert answer == GatewayAnswer(
        ("eth0", "eth1"),
        (A, B),
        "",
        (
            f"gateway_mac auto: eth0 leads to 192.0.2.1 ({MAC}) and eth1 leads to 192.0.2.2 ({OTHER}), but a balancer"
            " sends to one MAC, out of the interface that a packet came from: give gateway_mac if one MAC will do for"
            " all, or each interface an instance of its own"
        ),
        differs=True,
    )


def test_an_interface_without_an_answer_of_its_own() -> None:
    answer = one_gateway([Behind("eth1", (B,), reasons=("no route", "silent")), Behind("eth0", (A,), A.address, MAC)])
    assert answer == GatewayAnswer(
        ("eth1", "eth0"),
        (B, A),
        MAC,
        "",
        (f"gateway_mac auto: no route, silent: what comes in by eth1 is sent to {MAC} there, the gateway of eth0",),
    )


def test_where_a_route_comes_in_the_order() -> None:
    assert [DefaultRoute(table, 3, ()).order() for table in (254, 253, 7)] == [(0, 254, 3), (1, 253, 3), (2, 7, 3)]


@pytest.mark.parametrize(("count", "words"), [(1, "a"), (3, "a, b, c"), (4, "a, b, c and 1 more")])
def test_as_many_addresses_as_a_sentence_names(count: int, words: str) -> None:
    (key,) = vips([vip()])[0]
    found = covering_sentences({key: ["a", "b", "c", "d"][:count]}, "the real", "why")
    assert found == {
        key: (
            f"198.51.100.1:443/tcp covers the real {words}: why; give allow_own_addresses: true (variable"
            " katran_allow_own_addresses) if that is meant"
        )
    }
    assert isinstance(key, VipKey)


def test_the_options_about_own_addresses() -> None:
    assert own_options() == {
        "allow_own_addresses": {"type": "bool", "default": False},
        "ssh_port": {"type": "int", "default": 22},
    }


def test_reals_that_wait_are_named_in_the_order_of_addresses() -> None:
    addresses = ("10.0.0.10", "10.0.0.9", "fc00::1")
    wanted, _warnings = vips([vip(reals=reals(*addresses))])
    warnings = hold_back_vips({}, wanted, addresses, ())[1]
    assert warnings == [
        "vip 198.51.100.1:443/tcp: no new flow to 10.0.0.9, 10.0.0.10, fc00::1 yet, not ready (unready_reals)"
    ]


def test_reals_that_take_new_flows() -> None:
    entries: list[dict[str, Any]] = [
        {"address": "10.0.0.1", "weight": 0},
        {"address": "10.0.0.2", "weight": 1},
        {"address": "10.0.0.3", "state": "draining"},
    ]
    (found,) = vips([vip(reals=entries)])[0].values()
    assert active_reals(found) == ["10.0.0.2"]


def test_what_is_no_address() -> None:
    assert no_address("[2001:db8::1]") == "[2001:db8::1] is not an IP address: write it without brackets"
    assert no_address("[lb1]") == "[lb1] is not an IP address"
    assert no_address("10.0.0.1/24") == "10.0.0.1/24 is a prefix; an IP address is asked for, such as 10.0.0.1"
    assert no_address("10.0.0.1/24/24") == "10.0.0.1/24/24 is a prefix; an IP address is asked for, such as 10.0.0.1"
    assert no_address("lb1/24") == "lb1/24 is not an IP address"
    assert no_address("lb1") == "lb1 is not an IP address"


def test_faults_of_what_a_withdrawal_leaves() -> None:
    with pytest.raises(ConfigError) as told:
        parse_staying({"vips": None, "sources": ["lb1"]})
    assert str(told.value) == (
        "vips: state withdrawn needs the VIPs that stay; sources[0]: lb1 is neither an IP address nor a prefix"
    )
    found = parse_staying({"vips": ["198.51.100.1"], "sources": ["10.0.0.0/8"]})
    assert (found.vips, found.sources) == (frozenset({"198.51.100.1"}), frozenset({"10.0.0.0/8"}))
    assert parse_staying({"vips": ["198.51.100.1"]}).sources is None


def test_timers_are_stopped_first_and_only_what_works() -> None:
    def unit(active: str) -> UnitState:
        return UnitState(None, "", active)

    there = {
        "a.service": unit("active"),
        "c.timer": unit("reloading"),
        "b.timer": unit("active"),
        "d.service": unit("reloading"),
        "e.service": unit("inactive"),
        "f.timer": unit("failed"),
    }
    found = plan_absence(HostSnapshot(units=there))
    assert [step.sentence for step in found.steps] == [
        f"stop {each}" for each in ("b.timer", "c.timer", "a.service", "d.service")
    ]


def test_an_instance_that_stays_is_a_fault() -> None:
    found = plan_absence(
        HostSnapshot(instances=("blue", "green"), units={"a.service": UnitState(None, "", "active")}), ["green"]
    )
    assert found.faults == [
        (
            "instance blue keeps its state in /var/lib/katran-fleet/blue, and without the units nothing would bring it"
            " back at boot: first remove its programs (modules balancer, decap, server_id_option, healthcheck and"
            " xdp_root with state absent)"
        )
    ]
    assert found.steps == []
    assert plan_absence(HostSnapshot(instances=("blue",)), ["blue"]).faults == []


def test_slots_without_a_real_come_first() -> None:
    assert sorted(["fc00::1", "10.0.0.10", "", "10.0.0.9"], key=_by_address) == ["", "10.0.0.9", "10.0.0.10", "fc00::1"]
