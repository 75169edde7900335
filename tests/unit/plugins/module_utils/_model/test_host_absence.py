# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The end of a host of the fleet, step by step."""

from __future__ import annotations

from dataclasses import replace

from ansible_collections.katran.fleet.plugins.module_utils._model.host_plan import (
    HostSnapshot,
    MssRules,
    RealHost,
    Step,
    UnitState,
    plan_absence,
)

BEFORE = {"net/ipv4/conf/all/arp_ignore": "0", "eth0": "1500", "eth1": "1500"}
THERE = HostSnapshot(
    files={"bpf/a.c": "1", "systemd/b.service": None},
    units={
        "a.timer": UnitState("/usr/lib/katran-fleet/systemd/a.timer", "enabled", "active"),
        "b.service": UnitState("", "enabled", "inactive"),
        "c.service": UnitState(None, "", "activating"),
        "d.service": UnitState(None, "", "failed"),
    },
    sysctls={"net/ipv4/conf/all/arp_ignore": "1", "net/ipv4/conf/all/arp_announce": "2", "net/x": None},
    mtus={"eth0": 1600, "eth1": 1500, "eth9": None},
    mss=MssRules(1400, frozenset({"198.51.100.1"})),
    before={**BEFORE, "net/x": "7", "eth9": "1500"},
)


def test_everything_of_ours_goes_and_what_was_before_comes_back() -> None:
    assert plan_absence(THERE).steps == [
        Step("stop", "a.timer", "", "stop a.timer"),
        Step("unlink", "a.timer", "", "remove the unit a.timer"),
        Step("unlink", "b.service", "", "remove the unit b.service"),
        Step("reload", "", "", "have systemd read its units"),
        Step("sysctl", "net/ipv4/conf/all/arp_ignore", "0", "net/ipv4/conf/all/arp_ignore 1 → 0, as it was"),
        Step("mtu", "eth0", "1500", "MTU of eth0 1600 → 1500, as it was"),
        Step("mss", "", "0", "remove the MSS of VIPs"),
        Step("remove", "bpf/a.c", "", "remove bpf/a.c"),
        Step("remove", "systemd/b.service", "", "remove systemd/b.service"),
    ]


def test_a_host_without_anything_of_ours_is_left_alone() -> None:
    assert plan_absence(HostSnapshot()).steps == []
    idle = replace(THERE, units={"d.service": UnitState(None, "", "failed")}, mss=None, files={}, before={})
    assert plan_absence(idle).steps == []


def test_what_a_real_needs_of_its_kernel() -> None:
    real = RealHost(("eth0", "eth1"), mtu=1600)
    assert real.sysctls() == {
        "net/ipv4/conf/all/arp_ignore": "1",
        "net/ipv4/conf/all/arp_announce": "2",
        "net/ipv4/conf/eth0/rp_filter": "2",
        "net/ipv4/conf/eth1/rp_filter": "2",
    }
    assert real.mtus() == {"eth0": 1600, "eth1": 1600}
    assert RealHost(("eth0",)).mtus() == {}
    asking = RealHost(("eth0",), probes_from=("eth2",)).sysctls()
    assert {name: value for name, value in asking.items() if "eth2" in name} == {
        "net/ipv4/conf/eth2/accept_local": "1",
        "net/ipv4/conf/eth2/rp_filter": "2",
    }
