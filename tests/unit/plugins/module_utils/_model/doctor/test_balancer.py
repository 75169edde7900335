# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with a balancer, where no kernel need be spoiled to see it."""

from __future__ import annotations

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model.announcement import Drain
from ansible_collections.katran.fleet.plugins.module_utils._model.doctor.balancer import (
    Link,
    Placed,
    of_differences,
    of_drain,
    of_driver,
    of_fallback,
    of_fill,
    of_gateway,
    of_links,
    of_mtu,
    of_slot,
    of_stale,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.link_mtu import Tunnel
from ansible_collections.katran.fleet.plugins.module_utils._model.snapshot import GatewayAnswer, RootArray

PLACED = Placed("default", "native", {}, {7})
LINK = Link("eth0", True, True, True, 1600, 7, "native", "veth")
MAC = "02:00:00:00:00:01"


def test_modes() -> None:
    assert list(of_links(PLACED, [LINK])) == []
    generic = LINK._replace(mode="generic")
    assert list(of_links(Placed("default", "generic", {}, {7}), [generic])) == []
    (asked,) = of_links(PLACED, [generic])
    (fallen,) = of_links(Placed("default", "auto", {"eth0": "it cannot"}, {7}), [generic])
    assert [(each.name, each.error) for each in (asked, fallen)] == [("generic_mode", True), ("generic_mode", False)]
    assert "though auto was asked for (it cannot)" in fallen.cause


def test_a_slot_of_the_root_array() -> None:
    slot = RootArray("/sys/fs/bpf/root", 1)
    assert list(of_slot(PLACED, slot, 7)) == []
    (empty,) = of_slot(PLACED, slot, None)
    (other,) = of_slot(PLACED, slot, 8)
    assert (empty.name, other.name) == ("program_detached", "foreign_program")
    assert "slot 1 of /sys/fs/bpf/root has another program (id 8)" in other.cause


def test_gateways() -> None:
    assert list(of_gateway("default", "auto", MAC, GatewayAnswer(("eth0",), (), MAC))) == []
    assert list(of_gateway("default", MAC, MAC, GatewayAnswer(("eth0",), (), "", "no route"))) == []
    assert list(of_gateway("default", MAC, MAC, None)) == []
    (nothing,) = of_gateway("default", "auto", "", None)
    assert "ctl_array is empty" in nothing.cause
    sentence = "gateway_mac auto: the IPv4 gateway 192.0.2.1 does not answer; give the MAC as gateway_mac"
    (unknown,) = of_gateway("default", "auto", MAC, GatewayAnswer(("eth0",), (), "", sentence))
    assert unknown.cause == "the gateway's MAC is not known: the IPv4 gateway 192.0.2.1 does not answer"


def test_mtu_goes_by_what_reals_announce() -> None:
    small = LINK._replace(mtu=1500)
    assert list(of_mtu(Tunnel("ipip", 1514, False), 0, [LINK])) == []
    (finding,) = of_mtu(Tunnel("ipip", 1514, False), 1460, [small])
    assert (finding.name, finding.about) == ("mtu_balancer", "eth0")
    assert list(of_mtu(Tunnel("ipip", 1514, False), 1440, [small])) == []
    assert list(of_mtu(Tunnel("ipip", 1514, True), 1440, [small])) != []
    assert list(of_mtu(Tunnel("ipip", 1514, False), 0, [small._replace(exists=False)])) == []


@pytest.mark.parametrize(("sent", "lost", "told"), [(1000, 0, 0), (1000, 5, 0), (1000, 20, 1), (0, 1, 1), (0, 0, 0)])
def test_what_a_driver_drops(sent: int, lost: int, told: int) -> None:
    found = list(of_driver(LINK, sent, {"rx_queue_0_xdp_tx_errors": lost, "rx_queue_1_xdp_tx_errors": 0}))
    assert [finding.name for finding in found] == ["mtu_driver"] * told
    assert all("rx_queue_1" not in finding.cause for finding in found)


def test_counters_and_tables() -> None:
    assert list(of_fallback(0, 0, 0, {1})) == []
    assert list(of_fallback(0, 10, 1000, {1})) == []
    assert list(of_fallback(0, 11, 1000, ())) == []
    assert [each.name for each in of_fallback(1, 10, 1000, ())] == ["fallback_cache"]
    assert [each.name for each in of_fallback(0, 11, 1000, {1})] == ["fallback_cache"]
    assert list(of_fill({"lru_mapping": (949_999, 1_000_000), "fallback_cache": (0, 0)}, 8)) == []
    # What is free is free for one CPU or another.
    assert list(of_fill({"lru_mapping": (1743, 2000)}, 2)) == []
    assert len(list(of_fill({"lru_mapping": (1744, 2000)}, 2))) == 1
    assert list(of_fill({"lru_mapping": (799, 1000)}, 2)) == []
    assert len(list(of_fill({"lru_mapping": (800, 1000)}, 2))) == 1
    (full,) = of_fill({"fallback_glru": (950_000, 1_000_000)}, 8)
    assert "raise global_flows in katran_sizes" in full.remedy
    assert list(of_stale(199, 200)) == []
    assert list(of_stale(999, 2000)) == []
    assert [each.name for each in of_stale(1000, 2000)] == ["stale_flows"]


def test_differences_are_told_in_one_sentence() -> None:
    assert list(of_differences([])) == []
    (finding,) = of_differences([f"line {number}" for number in range(7)])
    assert "line 4; and 2 more" in finding.cause


def test_a_drain_that_was_forgotten() -> None:
    now = 1_800_000_000.0
    assert list(of_drain("default", None, now)) == []
    assert list(of_drain("default", Drain("2027-01-15T07:30:00+00:00", "ann"), now)) == []
    (finding,) = of_drain("default", Drain("2027-01-15T06:30:00+00:00", "ann", True), now)
    assert "its routes are withdrawn" in finding.cause
    # One of which nobody can tell since when it holds.
    (finding,) = of_drain("default", Drain("", "somebody"), now)
    assert "since nobody knows when" in finding.cause
