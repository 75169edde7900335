# SPDX-License-Identifier: GPL-3.0-or-later
"""How probes get to their reals."""

from __future__ import annotations

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model.checks import Probe, Target
from ansible_collections.katran.fleet.plugins.module_utils._model.probe_path import Reach, Way, reach_of
from ansible_collections.katran.fleet.plugins.module_utils._model.probe_sysctls import probe_sysctls

OWN = frozenset({"192.0.2.1", "2001:db8::1"})
WAY = Way("eth0", True, {"10.0.0.1": 7, "fc00::1": 8}, OWN)


def reach(real: str, address: str, way: Way = WAY) -> Reach:
    return reach_of(Target(real, address, 80, Probe("tcp")), way)


@pytest.mark.parametrize(("real", "address", "mark"), [("10.0.0.1", "198.51.100.1", 7), ("fc00::1", "2001:db8::2", 8)])
def test_a_real_is_reached_by_its_mark_on_the_interface(real: str, address: str, mark: int) -> None:
    assert reach(real, address) == Reach(mark, "eth0")


def test_a_vip_that_this_host_has_too() -> None:
    assert reach("fc00::1", "2001:db8::1") == Reach(8, "eth0", like="fc00::1")
    assert reach("10.0.0.1", "192.0.2.1") == Reach(7, "eth0")


@pytest.mark.parametrize("way", [WAY, WAY._replace(attached=False, marks={}, device="")])
def test_this_host_is_reached_on_lo(way: Way) -> None:
    assert reach("192.0.2.1", "198.51.100.1", way) == Reach(device="lo")


def test_what_is_in_the_way() -> None:
    assert reach("10.0.0.1", "198.51.100.1", WAY._replace(attached=False)).obstacle
    assert reach("10.0.0.2", "198.51.100.1").obstacle


def test_sysctls_are_of_the_interface_alone() -> None:
    assert probe_sysctls("eth0.7") == {
        "net/ipv4/conf/eth0.7/accept_local": "1",
        "net/ipv4/conf/eth0.7/rp_filter": "2",
    }
