# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an announcement is decided from."""

from __future__ import annotations

import itertools
import typing as t
from dataclasses import replace

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model.checks import Announce, Check, Probe, Target
from ansible_collections.katran.fleet.plugins.module_utils._model.health import Answer, Health
from ansible_collections.katran.fleet.plugins.module_utils._model.overlay import Overlay
from ansible_collections.katran.fleet.plugins.module_utils._model.seen_vips import (
    by_real,
    doubt_path,
    host_faults,
    see_vip,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.verdicts import Verdict
from ansible_collections.katran.fleet.plugins.module_utils._model.vips import Vip, VipKey, VipReal
from ansible_collections.katran.fleet.plugins.module_utils._model.watch import UNSEEN, Place, unpinned

KEY = VipKey.read("198.51.100.1:443/tcp")
ONE, TWO, THREE = (f"10.0.0.{last}" for last in (11, 12, 13))
PROBE = Probe("tcp")
VIP = Vip(KEY, reals=tuple(VipReal(real) for real in (ONE, TWO, THREE)), check=Check(PROBE))
DOWN = Answer("down", "no answer", 0.5)
SILENT = Health("down", last=DOWN)
WELL = Health("active", last=Answer("active", took=0.01))


def target(real: str, probe: Probe = PROBE) -> Target:
    return Target(real, "198.51.100.1", 443, probe)


def verdict(real: str, state: str = "down", reason: str = "refused") -> Verdict:
    return Verdict(str(KEY), real, state, "2026-11-27T12:00:00+00:00", reason)


def see(**more: t.Any) -> t.Any:
    given: dict[str, t.Any] = {
        "vip": VIP,
        "overlay": {},
        "verdicts": {},
        "members": [ONE, TWO, THREE],
        "filled": True,
        "healths": {},
    }
    return see_vip(**{**given, **more})


def test_a_vip_that_is_well() -> None:
    assert see() == (KEY, Announce(), 3, 3, 3, True, True, (), "", 0.0)
    assert see(vip=replace(VIP, announce=Announce(min_healthy=2))).announce.min_healthy == 2


@pytest.mark.parametrize("states", list(itertools.product((None, Health(), SILENT, WELL), repeat=3)))
def test_what_has_a_state_need_not_be_told(states: tuple[Health | None, ...]) -> None:
    healths = {real: (target(real), each) for real, each in zip((ONE, TWO, THREE), states, strict=True) if each}
    without = {real: told for real, told in healths.items() if not told[1].state}
    assert see(healths=without) == see(healths=healths)


def test_who_is_held_in_by_the_floor_is_not_healthy() -> None:
    found = see(verdicts={real: verdict(real) for real in (ONE, TWO)}, members=[TWO, THREE])
    assert (found.capable, found.members, found.healthy) == (3, 2, 1)
    assert found.failing == ("10.0.0.11 down: refused", "10.0.0.12 down: refused")


def test_one_that_starts_slowly_is_healthy() -> None:
    slow = verdict(ONE, "active", "")._replace(share=10)
    assert see(verdicts={ONE: slow}).healthy == 3
    assert see(verdicts={ONE: slow}).failing == ()


def test_as_many_are_named_as_can_be_read() -> None:
    reals = tuple(VipReal(f"10.0.0.{last}") for last in range(1, 9))
    found = see(
        vip=replace(VIP, reals=reals),
        verdicts={real.address: verdict(real.address, "draining", "") for real in reals},
        members=[],
    )
    assert found.failing == ("10.0.0.1 draining", "10.0.0.2 draining", "10.0.0.3 draining")


def test_by_hand_is_no_failure() -> None:
    overlay = {ONE: Overlay(ONE, "down"), TWO: Overlay(TWO, "draining")}
    found = see(overlay=overlay, verdicts={ONE: verdict(ONE)}, members=[THREE])
    assert (found.capable, found.members, found.healthy, found.failing) == (1, 1, 1, ())
    everyone = {real: Overlay(real, "draining") for real in (ONE, TWO, THREE)}
    assert see(overlay=everyone, members=[])[2:7] == (0, 0, 0, True, True)
    assert see(overlay={real: Overlay(real, "down") for real in everyone}, members=[]).keeps is False


class TestWaiting:
    def test_for_checks_without_a_verdict(self) -> None:
        healths = {ONE: (target(ONE), Health()), TWO: (target(TWO), WELL)}
        found = see(healths=healths)
        assert found.waiting == "the check of 10.0.0.11 has no verdict"
        # Four answers in a row at 1 s, the last of which may be silence, and some more.
        assert found.patience == 4 * 1.0 + 0.5 + 2.0

    def test_all_of_them_are_counted_and_the_reason_is_told(self) -> None:
        unmade = Health(last=Answer("", "program healthcheck is not attached"))
        found = see(healths={real: (target(real), unmade) for real in (ONE, TWO, THREE)})
        assert found.waiting == (
            "the checks of 10.0.0.11 and 2 more reals have no verdict (program healthcheck is not attached)"
        )

    def test_no_longer_than_half_a_minute(self) -> None:
        slow = Probe("tcp", interval=60.0, fall=10)
        assert see(healths={ONE: (target(ONE, slow), Health())}).patience == 30.0

    def test_for_the_slowest(self) -> None:
        slow, quick = Probe("tcp", interval=0.2, timeout=2.0, rise=5, fall=2), Probe("tcp", fall=1, rise=1)
        healths = {ONE: (target(ONE, quick), Health()), TWO: (target(TWO, slow), Health())}
        found = see(healths=healths)
        assert found.waiting == "the checks of 10.0.0.11 and 1 more real have no verdict"
        assert found.patience == 5 * 2.0 + 2.0 + 2.0

    @pytest.mark.parametrize("last", [Answer("", ""), Answer("down", "refused"), None])
    def test_what_was_answered_is_no_reason(self, last: Answer | None) -> None:
        healths = {ONE: (target(ONE), Health(last=last))}
        assert see(healths=healths).waiting == "the check of 10.0.0.11 has no verdict"

    def test_not_for_what_is_told(self) -> None:
        assert see(healths={ONE: (target(ONE, Probe("external")), Health())}).waiting == ""

    def test_not_for_one_that_is_out_by_hand(self) -> None:
        healths = {ONE: (target(ONE), Health())}
        assert see(overlay={ONE: Overlay(ONE, "down")}, members=[TWO, THREE], healths=healths).waiting == ""


class TestTheWayToReals:
    def doubt(self, healths: dict[str, Health], vip: Vip = VIP, probe: Probe = PROBE) -> str:
        pairs = {(vip.key, real): (target(real, probe), health) for real, health in healths.items()}
        return doubt_path({vip.key: vip}, pairs)

    def test_is_in_doubt_where_all_are_silent(self) -> None:
        assert self.doubt({ONE: SILENT, TWO: SILENT}) == (
            "all 2 reals that are checked are silent, so the way to them may be broken here: traffic is asked to go"
            " elsewhere"
        )

    @pytest.mark.parametrize(
        "other",
        [
            WELL,
            Health(),
            Health("down", last=Answer("down", "connection refused", 0.001)),
            Health("down", last=Answer("active", "", 0.6)),
            Health("draining", last=Answer("draining", "status 503", 0.6)),
            Health("down"),
        ],
    )
    def test_is_not_where_anything_else_is_heard(self, other: Health) -> None:
        assert self.doubt({ONE: SILENT, TWO: other}) == ""

    def test_is_not_because_of_one_real(self) -> None:
        assert self.doubt({ONE: SILENT}) == ""
        assert self.doubt({}) == ""

    def test_is_not_judged_by_reals_of_this_host(self) -> None:
        local = replace(VIP, reals=(VipReal(ONE), VipReal(TWO), VipReal(THREE, local=True)))
        assert self.doubt({ONE: SILENT, TWO: SILENT, THREE: WELL}, local) != ""
        assert self.doubt({ONE: SILENT, THREE: SILENT}, local) == ""

    def test_is_not_judged_by_what_others_say(self) -> None:
        assert self.doubt({ONE: SILENT, TWO: SILENT}, probe=Probe("external")) == ""

    def test_is_in_doubt_whatever_else_there_is(self) -> None:
        gone = VipKey.read("198.51.100.9:443/tcp")
        told = Probe("external")
        local = replace(VIP, reals=(*VIP.reals[:2], VipReal(THREE, local=True)))
        pairs = {
            (gone, THREE): (target(THREE), WELL),
            (KEY, THREE): (target(THREE), WELL),
            (KEY, "10.0.0.14"): (target("10.0.0.14", told), WELL),
            (KEY, ONE): (target(ONE), SILENT),
            (KEY, TWO): (target(TWO), SILENT),
        }
        assert doubt_path({KEY: local}, pairs).startswith("all 2 reals that are checked are silent")

    def test_is_proven_by_what_is_answered_in_time(self) -> None:
        last = Health("down", last=DOWN._replace(took=0.49))
        assert self.doubt({ONE: SILENT, TWO: last, THREE: SILENT}) == ""

    def test_is_not_judged_by_vips_that_are_gone(self) -> None:
        assert doubt_path({}, {(KEY, real): (target(real), SILENT) for real in (ONE, TWO)}) == ""


class TestTheHost:
    ETH0, ETH1 = (Place("blue", "balancer", name) for name in ("eth0", "eth1"))

    def test_is_well(self) -> None:
        others = {Place("red", "balancer", "eth0"): "off", Place("blue", "decap", "eth0"): "off"}
        assert host_faults("blue", {self.ETH0: "", **others}, "02:00:00:00:00:09") == ()

    def test_has_a_program_that_is_off(self) -> None:
        places = {self.ETH0: "", self.ETH1: "interface eth1: it was taken off"}
        assert host_faults("blue", places, "02:00:00:00:00:09") == ("interface eth1: it was taken off",)

    def test_is_served_without_a_pin(self) -> None:
        places = {self.ETH0: unpinned(self.ETH0), self.ETH1: "off"}
        assert host_faults("blue", places, "02:00:00:00:00:09") == ("off",)
        assert host_faults("blue", {self.ETH0: unpinned(self.ETH1)}, "02:00:00:00:00:09") == (unpinned(self.ETH1),)

    def test_cannot_be_looked_at_for_the_moment(self) -> None:
        unseen = Place("blue", "balancer", UNSEEN)
        assert host_faults("blue", {unseen: "damaged", self.ETH0: ""}, "02:00:00:00:00:09") == ()
        assert host_faults("blue", {unseen: "damaged", self.ETH0: "off"}, "02:00:00:00:00:09") == ("off",)

    def test_could_never_be_looked_at(self) -> None:
        places = {Place("blue", "balancer", UNSEEN): "damaged"}
        assert host_faults("blue", places, "02:00:00:00:00:09") == ("damaged",)

    @pytest.mark.parametrize("gateway", ["", None])
    def test_has_nothing(self, gateway: str | None) -> None:
        assert host_faults("blue", {}, gateway) == (
            "the program of balancer blue is attached nowhere",
            "the gateway's MAC is not known",
        )


def test_verdicts_of_one_vip() -> None:
    other = verdict(ONE)._replace(vip="198.51.100.2:443/tcp")
    assert by_real(str(KEY), [verdict(TWO), other]) == {TWO: verdict(TWO)}
