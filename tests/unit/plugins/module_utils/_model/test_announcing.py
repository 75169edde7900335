# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a balancer announces, and in which order its routes change."""

from __future__ import annotations

import typing as t
from collections.abc import Sequence
from dataclasses import replace

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model.announcement import (
    DRAINING,
    READY,
    Drain,
    Ready,
    Route,
    RouteChange,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.announcing import (
    Past,
    Seen,
    SeenVip,
    decide,
    judge_vip,
    route_changes,
    wanted_routes,
    with_failures,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.checks import Announce
from ansible_collections.katran.fleet.plugins.module_utils._model.hold_down import Hold
from ansible_collections.katran.fleet.plugins.module_utils._model.vips import VipKey

WEB = VipKey.read("198.51.100.1:443/tcp")
DNS = VipKey.read("198.51.100.1:53/udp")
OTHER = VipKey.read("198.51.100.2:443/tcp")
PLACE = "198.51.100.1"
WITHDRAW = Announce(last_resort="withdraw")
DEAD: dict[str, t.Any] = {"capable": 2, "members": 1, "healthy": 0}
"""Both of two reals fail, and the floor holds one in."""


def metrics(seen: Seen, pasts: dict[str, Past] | None = None, now: float = 1000.0) -> dict[str, int]:
    return {place: past.ready.metric for place, past in decide(seen, pasts or {}, now).items()}


def one(seen: Seen, pasts: dict[str, Past] | None = None, now: float = 1000.0) -> tuple[int, tuple[str, ...]]:
    """The metric and the reasons of 198.51.100.1."""
    ready = decide(seen, pasts or {}, now)[PLACE].ready
    return ready.metric, ready.reasons


def test_a_ready_vip_is_announced() -> None:
    past = decide(Seen((SeenVip(WEB),)), {}, 1000.0)[PLACE]
    assert past.ready == (PLACE, READY, (), 1000.0, ("198.51.100.1:443/tcp",))
    # As long as that is so, since then.
    assert decide(Seen((SeenVip(WEB),)), {PLACE: past}, 1005.0)[PLACE].ready.since == 1000.0


@pytest.mark.parametrize(
    ("vip", "metric", "words"),
    [
        (SeenVip(WEB), READY, ""),
        (SeenVip(WEB, filled=False), 0, "its ring in the kernel begins with an empty slot, and is to have none"),
        (SeenVip(WEB, capable=0, members=0, healthy=0, filled=False), 0, "none of its reals takes flows"),
        (
            SeenVip(WEB, capable=0, members=0, healthy=0, filled=False, keeps=True),
            DRAINING,
            "none of its reals takes new flows, and old flows are kept",
        ),
        (
            SeenVip(WEB, **DEAD, failing=("10.0.0.11 down: refused",)),
            READY,
            (
                "0 of 2 reals healthy, and announce.min_healthy is 1 (10.0.0.11 down: refused): announced all the same"
                " (last_resort)"
            ),
        ),
        (SeenVip(WEB, WITHDRAW, **DEAD), 0, "0 of 2 reals healthy, and announce.min_healthy is 1"),
        (
            SeenVip(WEB, WITHDRAW, **DEAD, failing=("10.0.0.11 down", "10.0.0.12 draining")),
            0,
            "0 of 2 reals healthy, and announce.min_healthy is 1 (10.0.0.11 down, 10.0.0.12 draining)",
        ),
        (SeenVip(WEB, WITHDRAW, 2, 0, 0, filled=False), 0, "checks took all reals out"),
        (
            SeenVip(WEB, Announce(), 2, 0, 0, filled=False),
            READY,
            "checks took all reals out: announced all the same (last_resort)",
        ),
        (
            SeenVip(WEB, Announce(min_healthy=3, last_resort="withdraw"), 4, 3, 2),
            0,
            "2 of 4 reals healthy, and announce.min_healthy is 3",
        ),
        (SeenVip(WEB, Announce(min_healthy=3, last_resort="withdraw"), 4, 4, 3), READY, ""),
        (SeenVip(WEB, Announce(min_healthy=0, last_resort="withdraw"), **DEAD), READY, ""),
    ],
)
def test_what_one_vip_says(vip: SeenVip, metric: int, words: str) -> None:
    assert judge_vip(vip) == (metric, words)


def test_what_is_wrong_with_the_host_concerns_every_place() -> None:
    seen = Seen((SeenVip(WEB), SeenVip(OTHER)), wrong=("the gateway's MAC is not known",))
    assert metrics(seen) == {PLACE: 0, "198.51.100.2": 0}
    assert one(seen)[1] == ("the gateway's MAC is not known",)
    # Also where reals' health is no matter, and where an earlier agent left a route.
    assert one(replace(seen, routes={PLACE: READY}))[0] == 0
    assert one(replace(seen, vips=(SeenVip(WEB, waiting="no verdict", patience=5.0),), routes={PLACE: READY}))[0] == 0


def test_vips_of_one_address_are_announced_while_one_is_ready() -> None:
    dead = SeenVip(DNS, WITHDRAW, **DEAD)
    metric, reasons = one(Seen((SeenVip(WEB), dead)))
    assert metric == READY
    assert reasons == ("vip 198.51.100.1:53/udp: 0 of 2 reals healthy, and announce.min_healthy is 1",)
    assert one(Seen((dead, SeenVip(WEB, filled=False))))[0] == 0
    # One that is only being left does not take the other along.
    assert one(Seen((SeenVip(WEB), SeenVip(DNS, capable=0, members=0, healthy=0, keeps=True))))[0] == READY


def test_a_vip_that_is_not_to_be_announced_announces_nothing_and_keeps_nothing_back() -> None:
    silent = Announce(enabled=False)
    assert one(Seen((SeenVip(WEB, silent),))) == (0, ("none of its VIPs is to be announced (announce.enabled)",))
    hidden = SeenVip(DNS, silent, filled=False, waiting="no verdict", patience=9.0)
    assert one(Seen((SeenVip(WEB), hidden))) == (READY, ())
    assert one(Seen((SeenVip(WEB, Announce(), **DEAD), SeenVip(DNS, silent))))[0] == READY
    assert one(Seen((SeenVip(WEB, WITHDRAW, **DEAD), SeenVip(DNS, silent))))[0] == 0


class TestBeforeVerdicts:
    WAITS = SeenVip(WEB, waiting="the check of 10.0.0.11 has no verdict", patience=6.0)
    TOLD = ("vip 198.51.100.1:443/tcp: the check of 10.0.0.11 has no verdict",)

    def test_nothing_new_is_announced(self) -> None:
        pasts = decide(Seen((self.WAITS,)), {}, 1000.0)
        assert (pasts[PLACE].ready.metric, pasts[PLACE].ready.reasons) == (0, self.TOLD)
        # A verdict ends it, and it is no route that comes back.
        assert one(Seen((SeenVip(WEB),)), pasts, 1000.5) == (READY, ())

    def test_for_a_while(self) -> None:
        pasts = decide(Seen((self.WAITS,)), {}, 1000.0)
        assert one(Seen((self.WAITS,)), pasts, 1005.9)[0] == 0
        assert one(Seen((self.WAITS,)), pasts, 1006.0) == (READY, self.TOLD)

    @pytest.mark.parametrize("metric", [READY, DRAINING])
    def test_what_an_earlier_agent_announced_stays(self, metric: int) -> None:
        assert one(Seen((self.WAITS,), routes={PLACE: metric})) == (metric, self.TOLD)

    def test_a_new_vip_of_an_address_takes_nothing_away(self) -> None:
        new = SeenVip(DNS, waiting="no verdict", patience=6.0)
        pasts = decide(Seen((SeenVip(WEB),)), {}, 1000.0)
        assert one(Seen((SeenVip(WEB), new), routes={PLACE: READY}), pasts, 1001.0)[0] == READY
        # Where none of them was announced, all of them have to be known.
        assert one(Seen((SeenVip(WEB), new)))[0] == 0

    def test_flow_exceptions_of_peers_are_waited_for_too(self) -> None:
        seen = Seen((SeenVip(WEB),), waiting="flow exceptions of 192.0.2.7 are missing", patience=3.0)
        pasts = decide(seen, {}, 1000.0)
        assert pasts[PLACE].ready.reasons == ("flow exceptions of 192.0.2.7 are missing",)
        assert one(seen, pasts, 1003.0)[0] == READY

    def test_what_concerns_all_is_told_first(self) -> None:
        seen = Seen((self.WAITS,), waiting="flow exceptions of 192.0.2.7 are missing", patience=3.0)
        assert one(seen)[1] == ("flow exceptions of 192.0.2.7 are missing", *self.TOLD)

    def test_a_drained_balancer_is_not_announced_as_ready_meanwhile(self) -> None:
        assert one(Seen((self.WAITS,), routes={PLACE: READY}, drain=Drain("", "anna")))[0] == DRAINING


class TestByHand:
    DRAIN = Drain("2026-11-27T12:00:00+00:00", "anna")

    def test_draining_asks_traffic_to_leave(self) -> None:
        assert one(Seen((SeenVip(WEB),), drain=self.DRAIN)) == (
            DRAINING,
            ("drained by anna since 2026-11-27T12:00:00+00:00",),
        )
        assert one(Seen((SeenVip(WEB, filled=False),), drain=self.DRAIN))[0] == 0

    def test_withdrawing_is_planned(self) -> None:
        seen = Seen((SeenVip(WEB),))
        pasts = decide(seen, {}, 1000.0)
        for at in range(8):
            pasts = decide(replace(seen, drain=self.DRAIN._replace(withdraw=True)), pasts, 1001.0 + at)
            assert pasts[PLACE].ready.metric == 0
            pasts = decide(seen, pasts, 1001.5 + at)
            assert pasts[PLACE].ready.metric == READY, "nobody flaps by hand"

    def test_what_a_run_takes_away_is_not_announced(self) -> None:
        seen = Seen((SeenVip(WEB), SeenVip(OTHER)), leaving={PLACE}, routes={PLACE: READY})
        assert metrics(seen) == {PLACE: 0, "198.51.100.2": READY}
        assert one(seen) == (0, ("a run takes it away",))

    def test_who_withdrew_it_is_told(self) -> None:
        drain = self.DRAIN._replace(withdraw=True)
        assert one(Seen((SeenVip(WEB),), drain=drain))[1] == ("withdrawn by anna since 2026-11-27T12:00:00+00:00",)

    @pytest.mark.parametrize(
        ("wish", "planned"),
        [
            ({}, False),
            ({"wrong": ("off",)}, False),
            ({"path": "all are silent"}, False),
            ({"leaving": {PLACE}}, True),
            ({"drain": DRAIN}, True),
            ({"drain": DRAIN._replace(withdraw=True)}, True),
            ({"vips": (SeenVip(WEB, Announce(enabled=False)),)}, True),
            ({"waiting": "flow exceptions are missing", "patience": 3.0}, True),
        ],
    )
    def test_what_is_somebodys_wish_is_known_as_such_and_no_reason_to_come_back_slower(
        self, wish: dict[str, t.Any], planned: bool
    ) -> None:
        seen = Seen((SeenVip(WEB),))
        changed = decide(replace(seen, **wish), decide(seen, {}, 1000.0), 1001.0)[PLACE]
        assert changed.planned is planned
        went = not planned and not changed.ready.metric
        assert changed.hold == (Hold(1001.0) if went else Hold())
        # Its end is nobody's wish.
        assert decide(seen, {PLACE: changed}, 1002.0)[PLACE].planned is False


def test_a_way_in_doubt_asks_traffic_to_go_elsewhere() -> None:
    assert one(Seen((SeenVip(WEB, Announce(), **DEAD),), path="all are silent"))[0] == DRAINING
    assert one(Seen((SeenVip(WEB, WITHDRAW, **DEAD),), path="all are silent"))[0] == 0
    # A VIP without a check at the same balancer as well: its reals are reached the same way.
    assert one(Seen((SeenVip(WEB),), path="all are silent")) == (DRAINING, ("all are silent",))


def test_a_route_that_goes_twice_comes_back_slower() -> None:
    well, ill = Seen((SeenVip(WEB),)), Seen((SeenVip(WEB),), wrong=("off",))
    pasts = decide(well, {}, 1000.0)
    for now, seen in ((1010.0, ill), (1011.0, well), (1020.0, ill)):
        pasts = decide(seen, pasts, now)
    assert one(well, pasts, 1029.9) == (0, ("it went 2 times in a short time, so it stays away for 10 s",))
    assert one(well, pasts, 1030.0) == (READY, ())


def test_since_when_it_is_so() -> None:
    well, ill = Seen((SeenVip(WEB),)), Seen((SeenVip(WEB),), wrong=("off",))
    pasts = decide(well, {}, 1000.0)
    found = []
    for now, seen in ((1001.0, well), (1002.0, ill), (1003.0, ill), (1004.0, replace(well, path="?")), (1005.0, well)):
        pasts = decide(seen, pasts, now)
        found.append(pasts[PLACE].ready.since)
    assert found == [1000.0, 1002.0, 1002.0, 1004.0, 1005.0]


def test_what_an_earlier_agent_announced_goes_as_what_this_one_did() -> None:
    ill = Seen((SeenVip(WEB),), wrong=("off",))
    assert decide(ill, {}, 1000.0)[PLACE].hold == Hold()
    assert decide(replace(ill, routes={"198.51.100.2": READY}), {}, 1000.0)[PLACE].hold == Hold()
    assert decide(replace(ill, routes={PLACE: DRAINING}), {}, 1000.0)[PLACE].hold == Hold(1000.0)
    assert decide(Seen((SeenVip(WEB),), routes={PLACE: READY}), {}, 1000.0)[PLACE].ready.since == 1000.0


def test_one_that_went_and_came_may_be_taken_away_and_brought_back_by_hand() -> None:
    seen = Seen((SeenVip(WEB),))
    pasts = {PLACE: Past(Ready(PLACE, READY, vips=(str(WEB),)), 1000.0, Hold(1000.0, 1040.0, 3))}
    pasts = decide(replace(seen, drain=Drain("", "anna", withdraw=True)), pasts, 1100.0)
    assert pasts[PLACE].hold == Hold(1000.0, 1040.0, 3)
    pasts = decide(seen, pasts, 1101.0)
    assert (pasts[PLACE].ready.metric, pasts[PLACE].hold) == (READY, Hold(1000.0, 1101.0, 3))


class TestAClockThatIsSetBack:
    SEEN = Seen((SeenVip(WEB),))
    WAITS = Seen((SeenVip(WEB, waiting="no verdict", patience=6.0),))

    @pytest.mark.parametrize("first", [1000.0, 9000.0])
    @pytest.mark.parametrize("since", [1000.0, 9000.0])
    @pytest.mark.parametrize("hold", [Hold(), Hold(500.0, 600.0, 2), Hold(500.0, 9000.0, 2), Hold(9000.0, 600.0, 2)])
    def test_nothing_that_is_remembered_lies_ahead(self, first: float, since: float, hold: Hold) -> None:
        past = Past(Ready(PLACE, READY, (), since, (str(WEB),)), first, hold)
        found = decide(self.SEEN, {PLACE: past}, 2000.0)[PLACE]
        assert (found.first, found.ready.since) == (min(first, 2000.0), min(since, 2000.0))
        assert found.hold == Hold(min(hold.went, 2000.0), min(hold.came, 2000.0), hold.level)
        assert found.ready.metric == READY, "what stands is not held back"

    def test_waits_no_longer(self) -> None:
        pasts = decide(self.WAITS, decide(self.WAITS, {}, 9000.0), 2000.0)
        assert metrics(self.WAITS, pasts, 2005.9) == {PLACE: 0}
        assert metrics(self.WAITS, pasts, 2006.0) == {PLACE: READY}

    def test_holds_no_longer(self) -> None:
        pasts = {PLACE: Past(Ready(PLACE, 0, since=9000.0), 1000.0, Hold(9000.0, 8990.0, 1))}
        pasts = decide(self.SEEN, pasts, 2000.0)
        assert metrics(self.SEEN, pasts, 2009.9) == {PLACE: 0}
        assert metrics(self.SEEN, pasts, 2010.0) == {PLACE: READY}


def test_while_nothing_changes_it_is_the_same_object() -> None:
    pasts = {PLACE: Past(Ready(PLACE, READY, (), 1000.0, (str(WEB),)), 1000.0, Hold(1000.0, 1000.0, 2))}
    for now in (1000.0, 1001.0, 5000.0):
        assert decide(Seen((SeenVip(WEB),)), pasts, now)[PLACE] is pasts[PLACE]


def test_failures_of_the_kernel_are_told() -> None:
    decided = decide(Seen((SeenVip(WEB), SeenVip(OTHER))), {}, 1000.0)
    found = with_failures(decided, {}, {PLACE: "lo is down", "192.0.2.1": "?"})
    assert found[PLACE].ready[1:3] == (0, ("the kernel does not take its route: lo is down",))
    assert found["198.51.100.2"] == decided["198.51.100.2"]
    again = with_failures(decide(Seen((SeenVip(WEB),)), found, 1001.0), found, {PLACE: "lo is down"})
    assert again[PLACE].ready == found[PLACE].ready
    assert decide(Seen((SeenVip(WEB),)), again, 1002.0)[PLACE].ready.metric == READY


def add(place: str, metric: int) -> RouteChange:
    return RouteChange(Route(place, metric), True)


def drop(place: str, metric: int, loopback: bool = True) -> RouteChange:
    return RouteChange(Route(place, metric, loopback), False)


def test_withdrawals_come_first_and_a_metric_changes_without_one() -> None:
    there = [Route("a", 1), Route("b", 1), Route("gone", 1), Route("bad", 1, loopback=False)]
    found = route_changes({"a": 2, "b": 1, "new": 1, "bad": 1}, there, {})
    assert found == [drop("bad", 1, False), drop("gone", 1), add("a", 2), add("new", 1), add("bad", 1), drop("a", 1)]


def test_what_is_as_wanted_stays() -> None:
    assert not route_changes({"a": 2}, [Route("a", 2)], {})
    assert not route_changes({}, [], {})


class TestTwoBalancersOfOneHost:
    def test_each_leaves_the_others_routes(self) -> None:
        there = [Route("theirs", 1), Route("shared", 1), Route("nobodys", 1)]
        assert route_changes({}, there, {"theirs": 1, "shared": None}) == [drop("nobodys", 1)]

    @pytest.mark.parametrize(
        ("mine", "theirs", "metric"),
        [(1, None, 1), (1, 0, 1), (1, 2, 1), (2, 1, 1), (2, 2, 2), (2, 0, 2)],
    )
    def test_the_better_word_holds(self, mine: int, theirs: int | None, metric: int) -> None:
        drain = Drain("", "anna") if mine == DRAINING else None
        decided = decide(Seen((SeenVip(WEB),), drain=drain), {}, 1.0)
        assert wanted_routes(decided, {PLACE: theirs}) == {PLACE: metric}


def test_places_without_an_announcement_get_no_route() -> None:
    assert wanted_routes(decide(Seen((SeenVip(WEB),), wrong=("off",)), {}, 1.0), {}) == {}


def test_prefixes_are_places_of_their_own() -> None:
    keys: Sequence[VipKey] = [VipKey.read("198.51.100.0/24:0/tcp"), VipKey.read("[2001:db8::/64]:443/tcp")]
    assert metrics(Seen(tuple(map(SeenVip, keys)))) == {"198.51.100.0/24": 1, "2001:db8::/64": 1}
