# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What must hold of announcements whatever happens to a balancer, and in whichever order."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.katran.fleet.plugins.module_utils._model.announcement import DRAINING, READY, Drain, Route
from ansible_collections.katran.fleet.plugins.module_utils._model.announcing import (
    Past,
    Seen,
    SeenVip,
    decide,
    route_changes,
    wanted_routes,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.checks import Announce
from ansible_collections.katran.fleet.plugins.module_utils._model.hold_down import LONGEST_SECONDS
from ansible_collections.katran.fleet.plugins.module_utils._model.ready_file import ReadyFile
from ansible_collections.katran.fleet.plugins.module_utils._model.vips import VipKey

SOAK = int(os.environ.get("KATRAN_FLEET_EXAMPLES", "1"))
some = settings(max_examples=150 * SOAK, deadline=None, derandomize=SOAK == 1, database=None)

KEYS = [VipKey.read(name) for name in ("198.51.100.1:443/tcp", "198.51.100.1:53/udp", "[2001:db8::1]:443/tcp")]
PATIENCE = 10.0


@dataclass
class World:
    """A balancer whose routes are those of a kernel in memory."""

    pasts: dict[str, Past] = field(default_factory=dict)
    routes: set[Route] = field(default_factory=set)
    now: float = 1000.0

    def look(self, seen: Seen) -> dict[str, int]:
        """One look of the agent; place → metric."""
        routes = {route.place: route.metric for route in self.routes}
        self.pasts = decide(replace(seen, routes=routes), self.pasts, self.now)
        for route, adds in route_changes(wanted_routes(self.pasts, {}), self.routes, {}):
            (self.routes.add if adds else self.routes.discard)(route)
        return {route.place: route.metric for route in self.routes}

    def restart(self) -> None:
        """What the agent knows goes through its file."""
        file = ReadyFile.from_json(ReadyFile(places=self.pasts).to_json(), "ready.json")
        self.pasts = {place: replace(past, first=self.now) for place, past in file.places.items()}


def seen_vips(keep: bool | None = None) -> st.SearchStrategy[tuple[SeenVip, ...]]:
    """VIPs in any condition that can be, or all with `last_resort: keep`."""

    @st.composite
    def vip(draw: st.DrawFn, key: VipKey) -> SeenVip:
        capable = draw(st.integers(0, 3))
        members = draw(st.integers(0, capable))
        resort = "keep" if keep else draw(st.sampled_from(["keep", "withdraw"]))
        return SeenVip(
            key,
            Announce(draw(st.booleans()) or bool(keep), draw(st.integers(0, 3)), (), resort),
            capable,
            members,
            draw(st.integers(0, members)),
            bool(members) and draw(st.booleans()),
            draw(st.booleans()),
            (),
            draw(st.sampled_from(["", "", "no verdict"])),
            PATIENCE,
        )

    return st.tuples(*map(vip, KEYS))


DRAINS = st.sampled_from([None, None, None, Drain("", "anna"), Drain("", "anna", withdraw=True)])
SEEN = st.builds(
    Seen,
    vips=seen_vips(),
    wrong=st.sampled_from([(), (), ("the program is off",)]),
    path=st.sampled_from(["", "", "all are silent"]),
    drain=DRAINS,
    leaving=st.sampled_from([(), (), {"198.51.100.1"}]),
)
STEPS = st.lists(st.tuples(SEEN, st.sampled_from([0.1, 1.0, 5.0, 70.0, 400.0, -3600.0]), st.booleans()), max_size=12)


@some
@given(STEPS)
def test_no_look_announces_what_must_not_be(steps: Iterable[tuple[Seen, float, bool]]) -> None:
    world = World()
    for seen, wait, restarts in steps:
        if restarts:
            world.restart()
        before = {route.place: route.metric for route in world.routes}
        found = world.look(seen)
        if seen.wrong:
            assert not found
        for place, metric in found.items():
            vips = [vip for vip in seen.vips if vip.key.address == place and vip.announce.enabled]
            assert vips, "one that announces nothing does"
            assert place not in seen.leaving
            if seen.drain is not None:
                assert metric == DRAINING
                assert not seen.drain.withdraw
            first = world.pasts[place].first
            if not before.get(place) and any(vip.waiting for vip in vips):
                assert world.now - first >= PATIENCE
        for past in world.pasts.values():
            assert past.ready.metric in (0, READY, DRAINING)
            assert past.ready.metric == READY or past.ready.reasons, "why not?"
            assert past.ready.since <= world.now
        world.now += wait


@some
@given(STEPS)
def test_a_second_look_changes_nothing(steps: Iterable[tuple[Seen, float, bool]]) -> None:
    world = World()
    for seen, wait, _restarts in steps:
        first = world.look(seen)
        pasts = world.pasts
        assert world.look(seen) == first
        assert world.pasts == pasts
        world.now += wait


@some
@given(STEPS)
def test_what_is_ready_is_announced_in_the_end(steps: Iterable[tuple[Seen, float, bool]]) -> None:
    world = World()
    for seen, wait, restarts in steps:
        if restarts:
            world.restart()
        world.look(seen)
        world.now += wait
    well = Seen(tuple(map(SeenVip, KEYS)))
    world.look(well)
    world.now += LONGEST_SECONDS
    assert world.look(well) == {"198.51.100.1": READY, "2001:db8::1": READY}


@some
@given(st.lists(st.tuples(seen_vips(keep=True), st.sampled_from([0.1, 1.0, 30.0, 400.0])), max_size=12))
def test_reals_health_alone_withdraws_nothing(steps: Iterable[tuple[tuple[SeenVip, ...], float]]) -> None:
    world = World()
    world.look(Seen(tuple(map(SeenVip, KEYS))))
    for vips, wait in steps:
        ill = tuple(vip._replace(capable=3, filled=bool(vip.members)) for vip in vips)
        assert set(world.look(Seen(ill))) == {"198.51.100.1", "2001:db8::1"}
        world.now += wait


@settings(some, max_examples=25 * SOAK)
@given(st.lists(st.sampled_from([0.1, 1.0, 9.0, 61.0, 150.0]), min_size=1, max_size=100))
def test_a_route_that_flaps_comes_back_seldom(waits: list[float]) -> None:
    """Whatever the rhythm: at once, twice, after 10 s, after 20 s: more does not fit into a minute."""
    world, came, was = World(), [], False
    well = Seen((SeenVip(KEYS[0]),))
    for number in range(6000):
        if world.now > 4600.0:
            break
        there = bool(world.look(well if number % 2 == 0 else replace(well, wrong=("off",))))
        if there and not was:
            came.append(world.now)
        was = there
        world.now += waits[number % len(waits)]
    assert max(sum(at <= other < at + 60.0 for other in came) for at in came) <= 4
    # It went twice in a minute at most six times, then stays away for 5 min; what goes more seldom is not flapping.
    assert len(came) <= 3600 / 60 + 6


@some
@given(
    st.dictionaries(st.sampled_from("abcdef"), st.sampled_from([READY, DRAINING])),
    st.sets(st.builds(Route, st.sampled_from("abcdef"), st.integers(0, 3), st.booleans())),
)
def test_routes_are_changed_without_a_gap_and_withdrawn_first(wanted: Mapping[str, int], there: set[Route]) -> None:
    routes = set(there)
    stay = {place for place in wanted if any(route.loopback and route.place == place for route in there)}
    changes = route_changes(wanted, there, {})
    for route, adds in changes:
        assert (route in routes) != adds
        (routes.add if adds else routes.discard)(route)
        assert stay <= {each.place for each in routes if each.loopback}
    assert routes == {Route(place, metric) for place, metric in wanted.items()}
    assert not route_changes(wanted, routes, {})
    added = [number for number, change in enumerate(changes) if change.adds]
    gone = [number for number, change in enumerate(changes) if change.route.place not in wanted]
    assert not added or not gone or max(gone) < min(added)
