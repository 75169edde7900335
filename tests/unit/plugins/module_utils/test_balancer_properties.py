# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What must hold for a balancer's program: from any settings to any other, stopped anywhere, whatever others did."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Callable, Iterable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.katran.fleet.plugins.module_utils._engine.run import run_locked
from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.bytecode import Bytecode
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import FleetError, ProgramError
from ansible_collections.katran.fleet.plugins.module_utils._model.wanted import Wanted
from ansible_collections.katran.fleet.plugins.module_utils._program import canary
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils.balancer_world import (
    ARRAY,
    OURS,
    SHARED,
    assert_balancer,
    balanced,
    counted,
    flow,
    known_flows,
    learn,
    run_vips,
    shared_world,
    wishes,
)
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils.program_world import (
    PINS,
    World,
    assert_foretold,
    assert_quiet,
    some,
)


@pytest.fixture(autouse=True, scope="module")
def no_waiting() -> Iterator[None]:
    """No packet arrives in this world, so nobody waits to count some."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(canary, "WINDOW", 0.0)
        yield


# What others do


def detach_one(world: World) -> None:
    world.host.attached.pop("eth0", None)


def swap_mode(world: World) -> None:
    for name in OURS:
        if name in world.host.attached:
            mode, program = world.host.attached[name]
            world.host.attached[name] = ("generic" if mode == "native" else "native", program)


def lose_slot(world: World) -> None:
    world.host.maps[world.host.pins[ARRAY][1]].entries.clear()


def lose_pins(world: World) -> None:
    for path in [path for path in world.host.pins if path.startswith(f"{PINS}/maps/")][::2]:
        del world.host.pins[path]


def swap_pins(world: World) -> None:
    paths = [path for path in world.host.pins if path.startswith(f"{PINS}/maps/")]
    for path in paths[::3]:
        world.host.pin_twin(path)
    for path in paths[1::3]:
        world.host.pin_foreign(path)


def swap_program(world: World) -> None:
    if f"{PINS}/balancer" in world.host.pins:
        world.host.pin_foreign(f"{PINS}/balancer")


def lose_bytecode(world: World) -> None:
    if "balancer.bytecode.json" in world.host.files.get("blue", {}):
        world.host.files["blue"]["balancer.bytecode.json"] = "{"


def lose_previous(world: World) -> None:
    world.host.pins.pop(f"{PINS}/balancer_previous", None)


def lose_state(world: World) -> None:
    world.host.files.get("blue", {}).pop("state.json", None)


def lose_bpffs(world: World) -> None:
    for path in [path for path in world.host.pins if path.startswith(PINS)]:
        del world.host.pins[path]
    world.host.folders -= {PINS, f"{PINS}/maps", f"{PINS}/maps_next"}


def other_sources(world: World) -> None:
    world.tools.version += 1


def other_addresses(world: World) -> None:
    world.host.gateway = "02:00:00:00:00:0a"
    world.host.own = {"IPv4": "192.0.2.8", "IPv6": ""}


def other_interrupts(world: World) -> None:
    world.host.receive = [1] if world.host.receive == [0, 1] else [0, 1]


def lose_native(world: World) -> None:
    world.host.no_native ^= {"eth0"}


def spoil_values(world: World) -> None:
    for name in ("ctl_array", "pckt_srcs"):
        if f"{PINS}/maps/{name}" in world.host.pins:
            world.host.maps[world.host.pins[f"{PINS}/maps/{name}"][1]].entries.clear()


def lose_table(world: World) -> None:
    path = f"{PINS}/maps/lru_mapping"
    if path in world.host.pins:
        world.host.maps[world.host.pins[path][1]].entries.pop(layout.u32(0), None)


LOSSES: tuple[Callable[[World], None], ...] = (lose_pins, lose_state, lose_bpffs, swap_pins, swap_program)
"""Of these one at a time, and not amid a change: then nothing would tell whose a program is."""

MISCHIEF: tuple[Callable[[World], None], ...] = (
    detach_one,
    swap_mode,
    lose_slot,
    lose_bytecode,
    lose_previous,
    other_sources,
    other_addresses,
    other_interrupts,
    lose_native,
    spoil_values,
    lose_table,
    *LOSSES,
)
PAST = st.lists(
    st.one_of(
        st.tuples(st.just("run"), wishes(), st.just(0)),
        st.tuples(st.just("kill"), wishes(), st.integers(0, 120)),
        st.tuples(st.just("kill"), st.sampled_from(["no balancer", "the balancer before"]), st.integers(0, 40)),
        st.tuples(st.just("mischief"), st.sampled_from(MISCHIEF), st.just(0)),
        st.tuples(st.just("vips"), balanced(), st.just(0)),
        st.tuples(st.just("learn"), st.integers(0, 9), st.just(0)),
    ),
    max_size=5,
)


def attempt(world: World, wanted: t.Any, after: int | None = None) -> bool:
    """A run that is killed after so many changes, or not; False where it said that it could not be."""
    try:
        if after is not None:
            return not world.killed(after, wanted)
        world.run(wanted)
    except FleetError as error:
        if not refusable(error):
            raise
    return True


REFUSALS = (
    "does not fit into",
    "do not fit into",
    "has no previous program to go back to",
    "cannot be rolled back across",
    "does not support XDP mode native",
    "while /nowhere/blue/state.json is lost",
    "has no global address to send GUE from",
)


def refusable(error: FleetError) -> bool:
    """Whether a world as these are may be refused with this sentence."""
    return any(words in str(error) for words in REFUSALS)


def history(world: World, events: Iterable[tuple[str, t.Any, int]]) -> World:
    """A host with a past."""
    settled, last = True, None
    for kind, what, where in events:
        if kind == "mischief":
            if what in LOSSES:
                if not settled and last is not None:
                    attempt(world, last)
                settled = False
            what(world)
        elif kind == "vips":
            if f"{PINS}/balancer" in world.host.pins and "state.json" in world.host.files["blue"] and settled:
                run_vips(world, what)
        elif kind == "learn":
            learn(world, what)
        elif kind == "run":
            settled, last = attempt(world, what), what
        else:
            settled, last = attempt(world, what, where), what
    return world


def finish(world: World) -> None:
    """Let a run that changes nothing of its own finish what a killed one began: only a run does, and no review."""
    balancer = world.balancer()
    balancer.swap.recover(balancer.file.read())
    assert not balancer.swap.unfinished(balancer.file.read())


def settle(world: World, wanted: Wanted) -> bool:
    """Bring the world to what is wanted, as foretold; False where it is refused, foretold as well."""
    finish(world)
    try:
        assert_foretold(world, wanted)
    except FleetError as error:
        if not refusable(error):
            raise
        with pytest.raises(type(error), match=f"^{re.escape(str(error))}$"):
            world.run(wanted)
        return False
    return True


@some
@given(PAST, wishes())
def test_whatever_a_balancer_was_it_becomes_what_is_wanted(past: list[t.Any], wanted: Wanted) -> None:
    world = history(shared_world(), past)
    if not settle(world, wanted):
        return
    if world.balancer().file.read().program.rolled_back_from:
        # It stays so until its sources or settings change.
        other_sources(world)
        assert_foretold(world, wanted)
    assert_balancer(world, wanted)
    assert_quiet(world, wanted)
    # At boot the same, without bcc.
    world.tools.has_bcc = False
    assert_quiet(world, "balancer as it was")


@some
@given(wishes(), balanced(), wishes(), st.integers(0, 10_000), st.booleans())
def test_a_run_killed_anywhere_is_taken_up_by_the_next(
    first: Wanted, config: list[dict[str, t.Any]], second: Wanted, where: int, same: bool
) -> None:
    world = shared_world()
    world.run(first)
    run_vips(world, config)
    total = world.steps(second)
    assert world.killed(where % (total + 1), second) == (where % (total + 1) < total)
    if not same:
        world.run(first)
        assert_balancer(world, first)
        assert_quiet(world, first)
    world.run(second)
    assert_balancer(world, second)
    assert_quiet(world, second)
    # Nothing that the VIPs need was lost on the way.
    assert not run_vips(world, config, check=True).changed
    assert world.run("no balancer").changes
    nothing_left(world)


def nothing_left(world: World) -> None:
    """Of the balancer; the other instance's root is as it was."""
    host = world.host
    assert {path for path in (*host.pins, *host.folders) if path.startswith(PINS)} == set()
    assert (set(host.attached), host.slots(ARRAY), host.files["blue"]) == ({SHARED}, {}, {})


@some
@given(wishes(), wishes(), st.integers(0, 10_000), st.integers(0, 10_000))
def test_a_removal_killed_anywhere_is_taken_up_by_the_next(
    first: Wanted, second: Wanted, where: int, when: int
) -> None:
    world = shared_world()
    world.run(first)
    world.killed(where % (world.steps(second) + 1), second)
    finish(world)
    assert world.run("no balancer", check=True).changes == world.twin().run("no balancer").changes
    world.killed(when % (world.steps("no balancer") + 1), "no balancer")
    world.run("no balancer")
    nothing_left(world)
    assert_quiet(world, "no balancer")


@some
@given(wishes(), balanced(), st.sets(st.integers(0, 9), max_size=6), wishes(), st.integers(0, 10_000), st.booleans())
def test_flows_and_counters_move_along(
    first: Wanted,
    config: list[dict[str, t.Any]],
    numbers: set[int],
    second: Wanted,
    where: int,
    wanders: bool,
) -> None:
    world = shared_world()
    world.run(first)
    run_vips(world, config)
    for number in sorted(numbers):
        learn(world, number)
    before = counted(world)
    if wanders:
        other_interrupts(world)
    if world.killed(where % (2 * world.steps(second) + 1), second):
        world.run(second)
    assert known_flows(world) == {flow(number) for number in numbers}
    assert counted(world) == before
    assert not run_vips(world, config, check=True).changed


@some
@given(wishes(attached=True, modes=False), wishes(attached=True, modes=False), st.integers(0, 120), st.integers(0, 120))
def test_no_path_is_without_a_program_that_had_one(first: Wanted, second: Wanted, where: int, when: int) -> None:
    world = shared_world()
    world.run(first)
    stay = {*first.interfaces} & {*second.interfaces}
    slot = first.slot if first.slot == second.slot else None

    def watch() -> None:
        assert stay <= set(world.host.attached)
        assert slot is None or slot.position in world.host.slots(ARRAY)

    world.host.fuse.watch = watch
    world.killed(where, second)
    world.killed(when, second)
    world.run(second)
    assert_balancer(world, second)


@some
@given(wishes(), wishes(), st.integers(0, 10_000))
def test_the_program_before_comes_back(first: Wanted, second: Wanted, where: int) -> None:
    """As it was before, where its maps are there; the second time nothing changes."""
    world = shared_world()
    world.run(first)
    tag = world.balancer().file.read().program.tag
    world.tools.version += 1
    world.run(second)
    migrated = world.balancer().file.read().program.previous
    if migrated is not None and migrated.migrated:
        with pytest.raises(ProgramError, match=r"^balancer blue cannot be rolled back across a migration of its maps"):
            world.run("the balancer before")
        return
    twin = world.twin()
    foretold = assert_foretold(twin, "the balancer before")
    assert foretold.changes
    if world.killed(where % (2 * world.steps("the balancer before") + 1), "the balancer before"):
        world.run("the balancer before")
    for each in (world, twin):
        assert each.balancer().file.read().program.tag == tag
        assert_quiet(each, "the balancer before")
        # What it left does not come back by itself.
        result = each.run(second)
        assert (result.changed, bool(result.warnings)) == (False, True)
        assert_quiet(each, "balancer as it was")
        each.tools.version += 1
        each.run(second)
        assert_balancer(each, second)
        assert_quiet(each, second)


@some
@given(wishes(), balanced())
def test_after_a_boot_it_is_as_it_was(wanted: Wanted, config: list[dict[str, t.Any]]) -> None:
    world = shared_world()
    world.run(wanted)
    run_vips(world, config)
    world.host.attached.clear()
    world.host.wipe_bpffs()
    world.tools.has_bcc = False
    World(world.host, world.tools, "shared").run("root as it was")
    world.run("balancer as it was")
    run_vips(world, config)
    assert_balancer(world, wanted)
    assert_quiet(world, "balancer as it was")


@some
@given(wishes())
def test_the_gateway_is_followed(wanted: Wanted) -> None:
    world = shared_world()
    world.run(wanted)
    assert_quiet(world, "today's gateway")
    world.host.gateway = "02:00:00:00:00:0a"
    answers: list[t.Any] = []
    for check in (True, False):
        job = world.balancer().following()
        job.prepare()
        answers.append(run_locked(job, check).changes)
    auto = wanted.settings.gateway_mac == "auto"
    assert answers == [["gateway MAC 02:00:00:00:00:09 → 02:00:00:00:00:0a"] if auto else []] * 2
    assert_balancer(world, wanted)
    assert_quiet(world, wanted)


@some
@given(wishes(attached=True), balanced(), st.integers(0, 10_000), st.integers(0, 9))
def test_whatever_is_pinned_in_its_place_no_map_of_the_programs_is_lost(
    wanted: Wanted, config: list[dict[str, t.Any]], where: int, number: int
) -> None:
    world = shared_world()
    world.run(wanted)
    run_vips(world, config)
    learn(world, number)
    maps = Bytecode.from_json(world.host.files["blue"]["balancer.bytecode.json"], "", "balancer").maps
    before = {name: world.host.pins[f"{PINS}/maps/{name}"] for name in maps}
    swap_pins(world)
    if where % 2:
        swap_program(world)
    foretold = world.run(wanted, check=True).changes
    world.killed(where % (world.steps(wanted) + 1), wanted)
    finish(world)
    world.run(wanted)
    assert [line for line in foretold if line.startswith("pin ")]
    assert {name: world.host.pins[f"{PINS}/maps/{name}"] for name in maps} == before
    assert known_flows(world) == {flow(number)}
    assert_balancer(world, wanted)
    assert_quiet(world, wanted)
    assert not run_vips(world, config, check=True).changed
