# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of a host's plan, each whole: verb, subject, value and sentence."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model.host_plan import (
    LIBRARY,
    RETIRED,
    HostSnapshot,
    HostWanted,
    MssRules,
    RealHost,
    Step,
    Unit,
    UnitState,
    plan_host,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.link_mtu import Links, Tunnel
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils._model.test_host_plan import GOOD, WANTED

A, B = "198.51.100.1", "198.51.100.2"
RELOAD = Step("reload", "", "", "have systemd read its units")


def steps(there: HostSnapshot, wanted: HostWanted = WANTED) -> list[Step]:
    return plan_host(wanted, there).steps


def test_packages_that_are_lacking() -> None:
    assert steps(replace(GOOD, lacks=("bcc", "clang"))) == [
        Step("install", "", "", "install packages: this host lacks bcc, clang")
    ]


@pytest.mark.parametrize(
    ("there", "real", "step"),
    [
        (MssRules(1400, frozenset([A])), RealHost(("eth0",), vips=(A,)), ("0", "MSS of VIPs 1400 → as it comes")),
        (None, RealHost(("eth0",), mss=1400, vips=(A,)), ("1400", "MSS of VIPs 1400 at most")),
        (MssRules(1300, frozenset([A])), RealHost(("eth0",), mss=1400, vips=(A,)), ("1400", "MSS of VIPs 1300 → 1400")),
        (
            MssRules(1400, frozenset([A]), sound=False),
            RealHost(("eth0",), mss=1400, vips=(A,)),
            ("1400", "MSS of VIPs 1400: its rules changed, repaired"),
        ),
        (
            MssRules(1400, frozenset()),
            RealHost(("eth0",), mss=1400, vips=(B, A)),
            ("1400", f"MSS of VIPs 1400 at most for {A}, {B} too"),
        ),
    ],
)
def test_the_mss_of_vips(there: MssRules | None, real: RealHost, step: tuple[str, str]) -> None:
    seen = HostSnapshot(sysctls=real.sysctls(), mtus={"eth0": 1500}, mss=there)
    assert steps(seen, HostWanted(real=real)) == [Step("mss", "", *step)]


def test_a_parameter() -> None:
    real = RealHost(("eth0",))
    seen = HostSnapshot(sysctls={**real.sysctls(), "net/ipv4/conf/all/arp_ignore": "0"}, mtus={"eth0": 1500})
    name = "net/ipv4/conf/all/arp_ignore"
    assert steps(seen, HostWanted(real=real)) == [Step("sysctl", name, "1", f"{name} 0 → 1")]


@pytest.mark.parametrize(
    ("active", "stops"),
    [("active", True), ("activating", True), ("deactivating", True), ("inactive", False), ("failed", False)],
)
def test_a_unit_of_an_earlier_version(active: str, stops: bool) -> None:
    name = RETIRED[0]
    found = steps(replace(GOOD, units={**GOOD.units, name: UnitState("", active=active)}))
    stop = [Step("stop", name, "", f"stop {name}")] if stops else []
    assert found == [*stop, Step("unlink", name, "", f"remove the unit {name} of an earlier version"), RELOAD]


@pytest.mark.parametrize(
    ("active", "verb"),
    [
        ("active", None),
        ("activating", None),
        ("reloading", None),
        ("inactive", "start"),
        ("failed", "start"),
        ("deactivating", "start"),
    ],
)
def test_whether_a_unit_works(active: str, verb: str | None) -> None:
    name = "katran-x.service"
    target = f"{LIBRARY}/systemd/{name}"
    seen = HostSnapshot(units={name: UnitState(target, "enabled", active)})
    found = steps(seen, HostWanted({}, {name: Unit(True, True)}))
    assert found == ([Step("start", name, "", f"start {name}")] if verb else [])


def test_units_that_nobody_has_seen_are_linked() -> None:
    name = "katran-x.service"
    found = plan_host(HostWanted({}, {name: Unit(True, True)}), HostSnapshot())
    assert found.steps == [
        Step("link", name, "", f"link the unit {name}"),
        RELOAD,
        Step("enable", name, "", f"enable {name}"),
        Step("start", name, "", f"start {name}"),
    ]


@pytest.mark.parametrize("check", ["warn", "fail", "off"])
def test_a_link_that_is_too_small(check: str) -> None:
    real = RealHost(("eth0",), mtu=1510)
    seen = HostSnapshot(sysctls=real.sysctls(), mtus={"eth0": 1510, "eth1": 1400})
    found = plan_host(HostWanted(real=real, links=Links(check, Tunnel())), seen)
    # The MTU that is wanted counts, not the one that was; and all interfaces that are seen.
    said = {"warn": found.warnings, "fail": found.faults}.get(check, [])
    assert [line.partition(",")[0] for line in said] == (
        [] if check == "off" else ["interface eth0 has MTU 1510", "interface eth1 has MTU 1400"]
    )
    assert [*found.warnings, *found.faults] == said
