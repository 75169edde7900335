# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host is to be against what it is, and that following the plan ends the differences."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.katran.fleet.plugins.module_utils._model.host_plan import (
    LIBRARY,
    RETIRED,
    HostPlan,
    HostSnapshot,
    HostWanted,
    MssRules,
    RealHost,
    Unit,
    UnitState,
    plan_absence,
    plan_host,
    units_of,
)

RESTORE, TIMER = "katran-restore.service", "katran-probe.timer"
FILES = {"bpf/a.c": "1", f"systemd/{RESTORE}": "2", f"systemd/{TIMER}": "3"}
UNITS = {RESTORE: Unit(enabled=True), TIMER: Unit(enabled=True, active=True)}
REAL = RealHost(("eth0",), mtu=1600, mss=1400, vips=("198.51.100.1",))
WANTED = HostWanted(FILES, UNITS, REAL)


def linked(name: str, **state: Any) -> UnitState:
    return UnitState(f"{LIBRARY}/systemd/{name}", **state)


GOOD = HostSnapshot(
    files=dict(FILES),
    units={
        RESTORE: linked(RESTORE, enabled="enabled"),
        TIMER: linked(TIMER, enabled="enabled", active="active"),
        RETIRED[0]: UnitState(),
    },
    sysctls=REAL.sysctls(),
    mtus={"eth0": 1600},
    mss=MssRules(1400, frozenset(["198.51.100.1"])),
)
FRESH = HostSnapshot(
    units={name: UnitState() for name in (RESTORE, TIMER, *RETIRED)},
    sysctls=dict.fromkeys(REAL.sysctls(), "0"),
    mtus={"eth0": 1500},
)


def test_a_host_that_is_what_it_should_be() -> None:
    plan = plan_host(WANTED, GOOD)
    assert (plan.steps, plan.faults, plan.warnings) == ([], [], [])


def test_a_fresh_host() -> None:
    plan = plan_host(WANTED, replace(FRESH, lacks=["Python's bcc", "nftables"]))
    assert plan.changes == [
        "install packages: this host lacks Python's bcc, nftables",
        "write bpf/a.c",
        f"write systemd/{TIMER}",
        f"write systemd/{RESTORE}",
        f"link the unit {RESTORE}",
        f"link the unit {TIMER}",
        "have systemd read its units",
        f"enable {RESTORE}",
        f"enable {TIMER}",
        f"start {TIMER}",
        "net/ipv4/conf/all/arp_ignore 0 → 1",
        "net/ipv4/conf/all/arp_announce 0 → 2",
        "net/ipv4/conf/eth0/rp_filter 0 → 2",
        "MTU of eth0 1500 → 1600",
        "MSS of VIPs 1400 at most",
    ]
    assert plan.before == {
        "net/ipv4/conf/all/arp_ignore": "0",
        "net/ipv4/conf/all/arp_announce": "0",
        "net/ipv4/conf/eth0/rp_filter": "0",
        "eth0": "1500",
    }


def with_unit(name: str, **changes: Any) -> HostSnapshot:
    return replace(GOOD, units={**GOOD.units, name: replace(GOOD.units[name], **changes)})


@pytest.mark.parametrize(
    ("there", "changes", "warnings"),
    [
        (with_unit(TIMER, enabled="linked"), [f"enable {TIMER}"], []),
        (with_unit(TIMER, active="inactive"), [f"start {TIMER}"], []),
        (with_unit(TIMER, active="failed"), [f"start {TIMER}"], []),
        (with_unit(TIMER, stale=True), ["have systemd read its units"], []),
        (with_unit(RESTORE, link=None), [f"link the unit {RESTORE}", "have systemd read its units"], []),
        (
            with_unit(TIMER, link="/elsewhere"),
            [f"link the unit {TIMER}, which led to /elsewhere", "have systemd read its units", f"restart {TIMER}"],
            [],
        ),
        (
            with_unit(RESTORE, link=""),
            [f"link the unit {RESTORE}, in place of a file that is kept beside it", "have systemd read its units"],
            [],
        ),
        (
            with_unit(TIMER, link="/dev/null", enabled="masked", active="inactive"),
            [],
            [f"unit {TIMER} is masked on this host, and stays so (systemctl unmask {TIMER})"],
        ),
        (
            with_unit(TIMER, drop_ins=("/etc/systemd/system/x.d/a.conf",)),
            [],
            [f"unit {TIMER} has settings of this host's own: /etc/systemd/system/x.d/a.conf"],
        ),
        (
            with_unit(RESTORE, active="failed"),
            [],
            [f"unit {RESTORE} failed when it last ran (journalctl -u {RESTORE})"],
        ),
        (
            replace(GOOD, files={**FILES, f"systemd/{TIMER}": "9"}),
            [f"rewrite systemd/{TIMER}", "have systemd read its units", f"restart {TIMER}"],
            [],
        ),
        (replace(GOOD, files={**FILES, "bpf/a.c": None}), ["rewrite bpf/a.c"], []),
        (replace(GOOD, files={**FILES, "bpf/stray.h": "4"}), ["remove bpf/stray.h"], []),
        (
            with_unit(RETIRED[0], link="/x", active="active"),
            [
                f"stop {RETIRED[0]}",
                f"remove the unit {RETIRED[0]} of an earlier version",
                "have systemd read its units",
            ],
            [],
        ),
        (
            replace(GOOD, sysctls={**GOOD.sysctls, "net/ipv4/conf/eth0/rp_filter": "1"}),
            ["net/ipv4/conf/eth0/rp_filter 1 → 2"],
            [],
        ),
        (replace(GOOD, mtus={"eth0": 1500}), ["MTU of eth0 1500 → 1600"], []),
        (replace(GOOD, mss=None), ["MSS of VIPs 1400 at most"], []),
        (replace(GOOD, mss=MssRules(1300, frozenset())), ["MSS of VIPs 1300 → 1400"], []),
        (
            replace(GOOD, mss=MssRules(1400, frozenset(["198.51.100.1"]), sound=False)),
            ["MSS of VIPs 1400: its rules changed, repaired"],
            [],
        ),
        (
            replace(GOOD, mss=MssRules(1400, frozenset(["10.0.0.9"]))),
            ["MSS of VIPs 1400 at most for 198.51.100.1 too"],
            [],
        ),
        # What is no VIP any more sends nothing.
        (replace(GOOD, mss=MssRules(1400, frozenset(["198.51.100.1", "198.51.100.2"]))), [], []),
    ],
)
def test_each_difference_is_seen_by_itself(there: HostSnapshot, changes: list[str], warnings: list[str]) -> None:
    plan = plan_host(WANTED, there)
    assert plan.changes == changes
    assert plan.warnings == warnings
    assert plan.faults == []


def test_what_nobody_asks_for_stays() -> None:
    units = {RESTORE: Unit(enabled=True), TIMER: Unit()}
    stopped = replace(with_unit(TIMER, enabled="linked", active="inactive"), mtus={"eth0": 1500}, mss=None)
    assert plan_host(HostWanted(FILES, units), stopped).steps == []
    real = RealHost(("eth0",))
    assert plan_host(HostWanted(FILES, units, real), stopped).steps == []
    assert plan_host(HostWanted(FILES, units, replace(real, mss=1400)), GOOD).steps == []
    # A boot compares the kernel alone.
    assert (
        plan_host(HostWanted(real=REAL), HostSnapshot(sysctls=REAL.sysctls(), mtus={"eth0": 1600}, mss=GOOD.mss)).steps
        == []
    )


def test_what_is_not_wanted_ends() -> None:
    units = {TIMER: Unit(enabled=False, active=False)}
    assert plan_host(HostWanted(FILES, units, replace(REAL, mss=0)), GOOD).changes == [
        f"disable {TIMER}",
        f"stop {TIMER}",
        "MSS of VIPs 1400 → as it comes",
    ]


def test_a_value_of_before_is_noted_but_once() -> None:
    there = replace(GOOD, mtus={"eth0": 9000}, before={"eth0": "1500"})
    assert plan_host(WANTED, there).before == {"eth0": "1500"}


def test_faults() -> None:
    nowhere = replace(GOOD, sysctls={**GOOD.sysctls, "net/ipv4/conf/eth0/rp_filter": None}, mtus={"eth0": None})
    assert plan_host(WANTED, nowhere).faults == ["interface eth0 does not exist on this host"]
    old = replace(GOOD, sysctls={**GOOD.sysctls, "net/ipv4/conf/all/arp_ignore": None})
    assert plan_host(WANTED, old).faults == ["the kernel has no parameter net/ipv4/conf/all/arp_ignore"]


def test_nothing_of_ours_stays() -> None:
    before = {"net/ipv4/conf/eth0/rp_filter": "1", "eth0": "1500"}
    plan = plan_absence(replace(GOOD, before=before))
    assert plan.changes == [
        f"stop {TIMER}",
        f"remove the unit {RESTORE}",
        f"remove the unit {TIMER}",
        "have systemd read its units",
        "net/ipv4/conf/eth0/rp_filter 2 → 1, as it was",
        "MTU of eth0 1600 → 1500, as it was",
        "remove the MSS of VIPs",
        *(f"remove {path}" for path in sorted(FILES)),
    ]
    assert plan_absence(HostSnapshot()).steps == []


def test_an_interface_that_is_gone_is_told_when_a_host_is_removed() -> None:
    plan = plan_absence(replace(FRESH, mtus={"eth0": 1500, "eth1": None}, before={"eth1": "1500", "eth0": "1400"}))
    assert plan.changes == ["MTU of eth0 1500 → 1400, as it was"]
    said = (
        "interface eth1 does not exist on this host: where it moved to another network namespace, its MTU and rp_filter"
    )
    assert plan.warnings == [f"{said} stay"]


def test_a_host_with_programs_is_not_removed() -> None:
    there = replace(GOOD, instances=["blue", "green"])
    plan = plan_absence(there, ["blue"])
    assert plan.steps == []
    assert len(plan.faults) == 1
    assert plan.faults[0].startswith(
        "instance green keeps its state in /var/lib/katran-fleet/green, and without the units"
    )
    assert plan_absence(there, ["blue", "green"]).changes == plan_absence(GOOD).changes


def test_a_boot_does_what_can_be_done_without_an_interface() -> None:
    real = replace(REAL, interfaces=("eth0", "eth1"))
    there = replace(FRESH, sysctls=dict.fromkeys(real.sysctls(), "0"), mtus={"eth0": 1500, "eth1": None})
    plan = plan_host(HostWanted(real=real), there, boot=True)
    assert plan.missing == ["interface eth1 does not exist on this host"]
    assert (plan.subjects("mtu"), plan.faults) == (["eth0"], [])
    assert "net/ipv4/conf/eth0/rp_filter" in plan.subjects("sysctl")
    assert "net/ipv4/conf/eth1/rp_filter" not in plan.subjects("sysctl")
    assert plan_host(HostWanted(real=real), there).faults == plan.missing


def test_open_folders_are_closed() -> None:
    plan = plan_host(WANTED, replace(GOOD, open_folders={"/var/lib/katran-fleet": 0o755}))
    assert plan.changes == ["close /var/lib/katran-fleet to all but root (mode 0755 → 0700)"]
    assert plan.subjects("close") == ["/var/lib/katran-fleet"]


@pytest.mark.parametrize(
    ("path", "restarts"),
    [
        ("ansible_collections/katran/fleet/plugins/module_utils/_engine/watch.py", True),
        ("katran-watch", True),
        ("systemd/katran-watch.service", True),
        ("katran-restore", False),
        ("bpf/a.c", False),
    ],
)
@pytest.mark.parametrize("gone", [True, False])
def test_a_resident_unit_is_restarted_with_another_engine(path: str, restarts: bool, gone: bool) -> None:
    name = "katran-watch.service"
    units = {name: Unit(enabled=True, active=True, resident=True)}
    there = HostSnapshot(files={path: "1"}, units={name: linked(name, enabled="enabled", active="active")})
    plan = plan_host(HostWanted({} if gone else {path: "2"}, units), there)
    # Of the unit's own file, what was written counts; one that is gone is none of this version's.
    assert plan.subjects("restart") == ([name] if restarts and not (gone and path.startswith("systemd/")) else [])


# Whatever a host is, following the plan leaves no difference, and check mode says what a run does.


def followed(there: HostSnapshot, plan: HostPlan, wanted: HostWanted) -> HostSnapshot:
    """The host after these steps."""
    files, units, sysctls, mtus, mss = (
        dict(there.files),
        dict(there.units),
        dict(there.sysctls),
        dict(there.mtus),
        there.mss,
    )
    for step in plan.steps:
        name = step.subject
        match step.verb:
            case "write":
                assert wanted.files is not None
                files[name] = wanted.files[name]
            case "remove":
                del files[name]
            case "link":
                units[name] = replace(units[name], link=f"{LIBRARY}/systemd/{name}", stale=True)
            case "unlink":
                units[name] = UnitState()
            case "reload":
                units = {each: replace(unit, stale=False) for each, unit in units.items()}
            case "enable" | "disable":
                assert not units[name].stale, "systemd does not know the unit as it is"
                units[name] = replace(units[name], enabled="enabled" if step.verb == "enable" else "linked")
            case "start" | "restart":
                assert not units[name].stale
                units[name] = replace(units[name], active="active")
            case "stop":
                units[name] = replace(units[name], active="inactive")
            case "sysctl":
                sysctls[name] = step.value
            case "mtu":
                mtus[name] = int(step.value)
            case "mss":
                mss = MssRules(int(step.value), plan.bounded_vips(())) if int(step.value) else None
    return replace(there, lacks=[], files=files, units=units, sysctls=sysctls, mtus=mtus, mss=mss, before=plan.before)


PATHS = st.sampled_from([*FILES, "bpf/b.c", "stray"])
VALUES = st.sampled_from(["0", "1", "2"])
STATES = st.builds(
    UnitState,
    st.sampled_from([None, "", "/elsewhere", "here"]),
    st.sampled_from(["", "enabled", "linked", "disabled"]),
    st.sampled_from(["active", "inactive", "failed", "activating"]),
    st.just(()),
    st.booleans(),
)
RULES = st.none() | st.builds(
    MssRules, st.sampled_from([1300, 1400]), st.frozensets(st.sampled_from(["198.51.100.1", "fc00::1"])), st.booleans()
)
HOSTS = st.builds(
    HostSnapshot,
    lacks=st.sampled_from([[], ["nftables"]]),
    files=st.dictionaries(PATHS, st.sampled_from(["1", "2", "3", None])),
    units=st.fixed_dictionaries({RESTORE: STATES, TIMER: STATES, RETIRED[0]: STATES}),
    sysctls=st.fixed_dictionaries(dict.fromkeys(REAL.sysctls(), VALUES)),
    mtus=st.fixed_dictionaries({"eth0": st.sampled_from([1500, 1600])}),
    mss=RULES,
)
MAYBE = st.sampled_from([None, True, False])
WISHES = st.builds(
    HostWanted,
    st.sampled_from([FILES, {**FILES, "bpf/b.c": "7"}]),
    st.fixed_dictionaries({RESTORE: st.builds(Unit, st.just(True)), TIMER: st.builds(Unit, MAYBE, MAYBE)}),
    st.sampled_from([None, REAL, RealHost(("eth0",)), replace(REAL, vips=None), replace(REAL, mss=1300, mtu=0)]),
)


@settings(deadline=None, max_examples=400)
@given(there=HOSTS, wanted=WISHES)
def test_a_plan_ends_all_differences(there: HostSnapshot, wanted: HostWanted) -> None:
    units = {
        name: replace(unit, link=f"{LIBRARY}/systemd/{name}") if unit.link == "here" else unit
        for name, unit in there.units.items()
    }
    there = replace(there, units=units)
    plan = plan_host(wanted, there)
    after = followed(there, plan, wanted)
    again = plan_host(wanted, after)
    assert again.steps == []
    assert len(set(plan.changes)) == len(plan.changes)


@settings(deadline=None, max_examples=200)
@given(there=HOSTS, wanted=WISHES, cut=st.integers(0, 20))
def test_a_run_that_was_killed_is_finished_by_the_next(there: HostSnapshot, wanted: HostWanted, cut: int) -> None:
    there = replace(there, units={name: replace(unit, link=None) for name, unit in there.units.items()})
    plan = plan_host(wanted, there)
    begun = replace(plan, steps=plan.steps[:cut])
    there = replace(followed(there, begun, wanted), lacks=[])
    there = followed(there, plan_host(wanted, there), wanted)
    assert plan_host(wanted, there).steps == []


AGENT, WATCH = "katran-agent.service", "katran-watch.service"
RESIDENT, OFF = Unit(enabled=True, active=True, resident=True), Unit(enabled=False, active=False, resident=True)


@pytest.mark.parametrize(
    ("agent", "there", "units"),
    [
        (True, {}, {AGENT: RESIDENT, WATCH: OFF}),
        (False, {AGENT: UnitState("", "enabled", "active")}, {AGENT: OFF, WATCH: RESIDENT}),
        # Who does not say, as role real, leaves a balancer that the host is too what it is.
        (None, {}, {AGENT: OFF, WATCH: RESIDENT}),
        (None, {AGENT: UnitState("", "enabled", "failed")}, {AGENT: RESIDENT, WATCH: OFF}),
        (None, {AGENT: UnitState("", "disabled", "active")}, {AGENT: OFF, WATCH: RESIDENT}),
    ],
)
def test_a_host_is_watched_by_one(agent: bool | None, there: dict[str, UnitState], units: dict[str, Unit]) -> None:
    assert units_of(agent, there) == {"katran-restore.service": Unit(enabled=True), **units}


def test_the_timer_of_an_earlier_version_goes() -> None:
    timer, service = "katran-refresh.timer", "katran-refresh.service"
    units = {timer: linked(timer, enabled="enabled", active="active"), service: linked(service, enabled="static")}
    plan = plan_host(HostWanted({}), HostSnapshot(units=units))
    assert plan.changes == [
        f"stop {timer}",
        f"remove the unit {timer} of an earlier version",
        f"remove the unit {service} of an earlier version",
        "have systemd read its units",
    ]
