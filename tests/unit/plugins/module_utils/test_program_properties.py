# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What must hold for the programs of a real and of a shared interface: from any settings to any other, stopped
anywhere, on a host in memory that others change as well.
"""

from __future__ import annotations

import struct
import typing as t
from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.decap_settings import RealSettings
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ProgramError
from ansible_collections.katran.fleet.plugins.module_utils._model.map_specs import REAL_SOURCES
from ansible_collections.katran.fleet.plugins.module_utils._model.root_settings import RootSettings
from ansible_collections.katran.fleet.plugins.module_utils._model.settings import RootArray
from ansible_collections.katran.fleet.plugins.module_utils._model.source_plan import source_of
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils.memory_host import BPFFS
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils.program_world import (
    INTERFACES,
    PINS,
    PROGRAM_MAPS,
    World,
    assert_foretold,
    assert_quiet,
    some,
)

VIPS = ("198.51.100.1", "198.51.100.2", "2001:db8::1")
ARRAY = f"{PINS}/maps/root_array"


# What is wanted


def places(modes: bool = True) -> st.SearchStrategy[dict[str, t.Any]]:
    return st.fixed_dictionaries(
        {
            "interfaces": st.lists(st.sampled_from(INTERFACES), min_size=1, max_size=3, unique=True).map(tuple),
            "mode": st.sampled_from(["native", "generic"] if modes else ["native"]),
        }
    )


some_vips = st.lists(st.sampled_from(VIPS), max_size=3, unique=True).map(tuple)


@st.composite
def reals(draw: st.DrawFn, exact: bool = False, modes: bool = True) -> RealSettings:
    return RealSettings(
        **draw(places(modes)),
        vips=draw(some_vips if exact else st.none() | some_vips),
        keep_vips=False if exact else draw(st.booleans()),
        keep_sources=False if exact else draw(st.booleans()),
        sources=draw(st.sampled_from([(), ("10.0.0.1/32",), ("10.0.0.0/24", "fc00::/7")])),
        gue_port=draw(st.sampled_from([6080, 6090, 7000])),
        server_id=draw(st.sampled_from([0, 7])),
        loopback=draw(st.booleans()),
        source_dir="/sources",
        how=draw(st.sampled_from(["xdp", "xdp", "tc"])),
    )


def roots(modes: bool = True) -> st.SearchStrategy[RootSettings]:
    return places(modes).map(lambda place: RootSettings(**place, source_dir="/sources"))


# What others do


def detach_one(world: World) -> None:
    world.host.attached.pop("eth0", None)


def swap_mode(world: World) -> None:
    for name, (mode, program) in world.host.attached.items():
        world.host.attached[name] = ("generic" if mode == "native" else "native", program)


def lose_pins(world: World) -> None:
    for path in list(world.host.pins)[::2]:
        del world.host.pins[path]


def swap_pins(world: World) -> None:
    for index, (path, (kind, _number)) in enumerate(list(world.host.pins.items())):
        if kind == "map" and index % 2:
            world.host.pin_twin(path)
        else:
            world.host.pin_foreign(path)


def lose_record(world: World) -> None:
    for name in ("decap.json", "root.json"):
        world.host.files.get("blue", {}).pop(name, None)


def lose_bytecode(world: World) -> None:
    for name in ("decap.bytecode.json", "root.bytecode.json"):
        if name in world.host.files.get("blue", {}):
            world.host.files["blue"][name] = "{"


def lose_bpffs(world: World) -> None:
    world.host.wipe_bpffs()


def other_sources(world: World) -> None:
    world.tools.version += 1


def spoil_maps(world: World) -> None:
    for path, (kind, number) in world.host.pins.items():
        if kind == "map" and path.endswith(("decap_vips", "decap_src_v4")):
            entries = world.host.maps[number].entries
            for key in list(entries)[:1]:
                del entries[key]
            address = layout.pack_address("203.0.113.9")
            entries[address if path.endswith("vips") else layout.lpm_key(address[:4], 32)] = layout.u32(1)


def spoil_loopback(world: World) -> None:
    world.host.addresses.discard(VIPS[0])
    world.host.addresses.add(VIPS[1])
    world.host.loud.add(VIPS[1])


MISCHIEF: tuple[Callable[[World], None], ...] = (
    detach_one,
    swap_mode,
    lose_pins,
    swap_pins,
    lose_record,
    lose_bytecode,
    lose_bpffs,
    other_sources,
    spoil_maps,
    spoil_loopback,
)
PAST: dict[str, st.SearchStrategy[t.Any]] = {
    "decap": st.lists(
        st.one_of(
            st.tuples(st.just("run"), reals(), st.just(0)),
            st.tuples(st.just("kill"), reals(), st.integers(0, 40)),
            st.tuples(st.just("kill"), st.sampled_from(["no decap", frozenset(VIPS[:1])]), st.integers(0, 20)),
            st.tuples(st.just("mischief"), st.sampled_from(MISCHIEF), st.just(0)),
        ),
        max_size=4,
    ),
    "root": st.lists(
        st.one_of(
            st.tuples(st.just("run"), roots(), st.just(0)),
            st.tuples(st.just("kill"), roots(), st.integers(0, 20)),
            st.tuples(st.just("kill"), st.just("no root"), st.integers(0, 10)),
            st.tuples(st.just("mischief"), st.sampled_from(MISCHIEF[:7]), st.just(0)),
        ),
        max_size=4,
    ),
}


LOSSES = (lose_pins, lose_record, lose_bpffs)
"""Of these one at a time, and not amid a change: then nothing would tell whose a program is."""


def history(world: World, events: Iterable[tuple[str, t.Any, int]]) -> World:
    """A host with a past."""
    settled, last = True, None
    for kind, what, where in events:
        if kind == "mischief":
            if what in LOSSES:
                if not settled and last is not None:
                    world.run(last)
                settled = False
            what(world)
        elif isinstance(what, frozenset):
            world.killed(where, what)
        elif kind == "run":
            world.run(what)
            settled, last = True, what
        else:
            settled, last = not world.killed(where, what), what
    return world


# What must be there


def assert_attached(world: World, program: str, wanted: RealSettings | RootSettings) -> None:
    """The pinned program runs where it is wanted, in the mode that is wanted, and nowhere else."""
    host = world.host
    kind, number = host.pins[f"{PINS}/{program}"]
    assert kind == "program"
    by_tc = isinstance(wanted, RealSettings) and wanted.how == "tc"
    assert host.attached == ({} if by_tc else dict.fromkeys(wanted.interfaces, (wanted.mode, number)))
    filters = {name: [each.program_id for each in there] for name, there in host.inward.items() if there}
    assert filters == ({name: [number] for name in wanted.interfaces} if by_tc else {})
    # What was made for it goes with it.
    assert set(host.qdiscs) == set(wanted.interfaces if by_tc else ())
    assert set(host.pins) == {f"{PINS}/{program}", *(f"{PINS}/maps/{name}" for name in PROGRAM_MAPS[program])}
    used = {host.pins[f"{PINS}/maps/{name}"][1] for name in PROGRAM_MAPS[program]}
    assert set(host.programs[number].info.map_ids) == used
    assert sorted(host.files["blue"]) == [f"{program}.bytecode.json", f"{program}.json"]


def assert_real(world: World, wanted: RealSettings) -> None:
    host = world.host
    assert_attached(world, "decap", wanted)
    vips = set(wanted.vips or ())
    assert addresses(world, "decap_vips") == vips
    assert sources(world) == set(wanted.sources)
    found = host.entries(f"{PINS}/maps/tpr_server_id")
    assert found == ({bytes(4): struct.pack("=I", wanted.server_id)} if wanted.server_id else {})
    assert not wanted.loopback or vips <= host.addresses
    assert not host.loud.intersection(world.real().home.record().loopback)
    assert {"127.0.0.1", "::1"} <= host.addresses


def addresses(world: World, name: str) -> set[str]:
    entries = world.host.entries(f"{PINS}/maps/{name}")
    return {layout.unpack_address(key, any(key[4:])) for key in entries}


def sources(world: World) -> set[str]:
    return {source_of(key) for name in REAL_SOURCES for key in world.host.entries(f"{PINS}/maps/{name}")}


# decap


@some
@given(PAST["decap"], reals(exact=True))
def test_whatever_a_real_was_it_becomes_what_is_wanted(past: list[t.Any], wanted: RealSettings) -> None:
    world = history(World(), past)
    assert_foretold(world, wanted)
    assert_real(world, wanted)
    assert_quiet(world, wanted)
    # At boot the same, without sources and bcc.
    world.tools.has_bcc = False
    assert_quiet(world, "decap as it was")


@some
@given(reals(), reals(exact=True), st.integers(0, 10_000), st.booleans())
def test_a_reals_run_killed_anywhere_is_taken_up_by_the_next(
    first: RealSettings, second: RealSettings, where: int, same: bool
) -> None:
    world = World()
    world.run(first)
    total = world.steps(second)
    assert world.killed(where % (total + 1), second) == (where % (total + 1) < total)
    if not same:
        world.run(first)
    world.run(second)
    assert_real(world, second)
    assert_quiet(world, second)
    gone = world.run("no decap")
    assert gone.changes
    nothing_left(world)


def nothing_left(world: World) -> None:
    host = world.host
    assert (host.pins, host.folders, host.attached, host.files["blue"]) == ({}, set(), {}, {})
    assert host.addresses <= {"127.0.0.1", "::1"}


@some
@given(reals(), reals(), st.integers(0, 10_000), st.integers(0, 10_000))
def test_a_removal_killed_anywhere_is_taken_up_by_the_next(
    first: RealSettings, second: RealSettings, where: int, when: int
) -> None:
    world = World()
    world.run(first)
    world.killed(where % (world.steps(second) + 1), second)
    world.killed(when % (world.steps("no decap") + 1), "no decap")
    world.run("no decap")
    nothing_left(world)
    assert_quiet(world, "no decap")


@some
@given(PAST["decap"], some_vips, st.integers(0, 10_000))
def test_what_is_not_withdrawn_stays(past: list[t.Any], served: tuple[str, ...], where: int) -> None:
    world = history(World(), past)
    record = world.real().home.record()
    before = set(record.settings.vips) if record.settings else set()
    others = {name: world.host.attached[name] for name in world.host.attached}
    wanted = frozenset(served)
    if world.killed(where % (world.steps(wanted) + 2), wanted):
        world.run(wanted)
    else:
        assert_quiet(world, wanted)
    after = world.real().home.record()
    assert (set(after.settings.vips) if after.settings else set()) == before & wanted
    if f"{PINS}/maps/decap_vips" in world.host.pins:
        assert not addresses(world, "decap_vips") & before - wanted
    assert world.host.attached == others


@some
@given(reals(exact=True), reals(), st.integers(0, 10_000))
def test_what_a_killed_run_began_to_serve_is_kept_by_one_that_keeps(
    first: RealSettings, second: RealSettings, where: int
) -> None:
    world = World()
    world.run(first)
    world.killed(where % (world.steps(second) + 1), second)
    begun = addresses(world, "decap_vips")
    keeping = RealSettings(**{**vars(second), "vips": None})
    world.run(keeping)
    assert begun <= addresses(world, "decap_vips")
    assert_quiet(world, keeping)


# A packet never finds its way without a program


@some
@given(st.data())
def test_no_path_is_without_a_program_that_had_one(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from([reals, roots]))
    first, second = data.draw(kind(modes=False)), data.draw(kind(modes=False))
    world = World()
    world.run(first)
    stay = set(first.interfaces) & set(second.interfaces)

    def with_program() -> set[str]:
        """By XDP or at the ingress of tc: also from one to the other, a packet meets one of them."""
        return set(world.host.attached) | {name for name, there in world.host.inward.items() if there}

    def watch() -> None:
        assert stay <= with_program()

    world.host.fuse.watch = watch
    for where in (data.draw(st.integers(0, 30)), data.draw(st.integers(0, 30))):
        world.killed(where, second)
    world.run(second)
    assert with_program() == set(second.interfaces)


# root


@some
@given(PAST["root"], roots(), st.integers(0, 10_000))
def test_whatever_root_was_it_becomes_what_is_wanted(past: list[t.Any], wanted: RootSettings, where: int) -> None:
    world = history(World(), past)
    if world.killed(where % (2 * world.steps(wanted) + 1), wanted):
        world.run(wanted)
    assert_foretold(world, wanted)
    assert_attached(world, "root", wanted)
    assert_quiet(world, wanted)
    world.tools.has_bcc = False
    assert_quiet(world, "root as it was")
    world.host.wipe_bpffs()
    world.run("root as it was")
    assert_attached(world, "root", wanted)
    world.killed(where % (world.steps("no root") + 1), "no root")
    world.run("no root")
    nothing_left(world)


@some
@given(roots(), roots())
def test_what_is_in_its_slots_stays(first: RootSettings, second: RootSettings) -> None:
    world = World()
    world.run(first)
    world.host.interfaces.append("eth9")
    mine = world.host.attach_foreign("eth9")
    descriptor = world.host.open_program_by_id(mine)
    world.host.put_program(RootArray(ARRAY, 1), descriptor)
    world.host.close(descriptor)
    world.tools.version += 1
    world.run(second)
    assert world.host.slots(ARRAY) == {1: mine}
    before = world.host.everything()
    for check in (True, False):
        with pytest.raises(ProgramError, match=rf"^program root still runs slot 1 \(program id {mine}\)"):
            world.run("no root", check)
    assert world.host.everything() == before


# What is in the way


@some
@given(st.data())
def test_anothers_program_is_in_the_way(data: st.DataObject) -> None:
    world = World()
    kind = data.draw(st.sampled_from([reals, roots]))
    wanted = data.draw(kind())
    if isinstance(wanted, RealSettings):
        wanted = replace(wanted, how="xdp")
    world.host.attach_foreign(wanted.interfaces[-1], data.draw(st.sampled_from(["native", "generic"])))
    before = world.host.everything()
    for check in (True, False):
        with pytest.raises(ProgramError, match=r"already has an XDP program that is not ours \(id \d+\); detach it"):
            world.run(wanted, check)
    assert world.host.everything() == before


@pytest.mark.parametrize("lack", ["has_pyroute2", "mounted", "has_bcc"])
@pytest.mark.parametrize("kind", ["decap", "root"])
def test_what_the_host_lacks_is_told_by_a_run_and_passed_over_by_a_review(lack: str, kind: str) -> None:
    world = World()
    place = {"interfaces": ("eth0",), "mode": "native"}
    wanted: t.Any = RootSettings(**place, source_dir="/sources")
    if kind == "decap":
        wanted = RealSettings(
            **place,
            vips=VIPS[:1],
            keep_vips=False,
            sources=(),
            gue_port=6080,
            server_id=0,
            loopback=True,
            source_dir="/sources",
        )
    setattr(world.tools if lack == "has_bcc" else world.host, lack, False)
    before = world.host.everything()
    foretold = world.run(wanted, check=True)
    sentences = {
        "has_pyroute2": "^the Python module pyroute2 is missing on this host",
        "mounted": f"^bpffs: {BPFFS} is not a bpf file system on this host \\(mount -t bpf bpf {BPFFS}\\)$",
        "has_bcc": "^the Python module bcc is missing on this host",
    }
    with pytest.raises(ProgramError, match=sentences[lack]):
        world.run(wanted)
    assert world.host.everything() == before
    assert foretold.warnings == (
        [f"bpffs: {BPFFS} is not a bpf file system on this host yet"] if lack == "mounted" else []
    )
    setattr(world.tools if lack == "has_bcc" else world.host, lack, True)
    assert world.run(wanted).changes == foretold.changes


def test_an_interface_that_is_not_there() -> None:
    world = World()
    wanted = RootSettings(("eth0", "nix0"), "native", "/sources")
    for check in (True, False):
        with pytest.raises(ProgramError, match=r"^interface nix0 does not exist on this host$"):
            world.run(wanted, check)


def test_where_one_interface_cannot_none_is_changed() -> None:
    world = World()
    world.host.no_native.add("eth1")
    for there in (None, RootSettings(("eth0", "eth1"), "generic", "/sources")):
        if there is not None:
            world.run(there)
        before = dict(world.host.attached)
        with pytest.raises(ProgramError, match=r"^interface eth1 does not support XDP mode native: "):
            world.run(RootSettings(("eth0", "eth1"), "native", "/sources"))
        assert world.host.attached == before


def test_bytecode_that_is_lost_is_told_at_boot() -> None:
    world = World()
    world.run(RootSettings(("eth0",), "native", "/sources"))
    world.host.files["blue"]["root.bytecode.json"] = "{"
    sentence = r"^/nowhere/blue/root\.bytecode\.json is missing or damaged: run a deploy$"
    with pytest.raises(ProgramError, match=sentence):
        world.run("root as it was")
