# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What must hold for program healthcheck: from any settings to any other, stopped anywhere, beside others' filters."""

from __future__ import annotations

import struct
import typing as t
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ProgramError
from ansible_collections.katran.fleet.plugins.module_utils._model.healthcheck_settings import HealthcheckSettings
from ansible_collections.katran.fleet.plugins.module_utils._model.vips import VipKey
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils.memory_host import MemoryHost
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils.program_world import (
    INTERFACES,
    PINS,
    PROGRAM_MAPS,
    World,
    assert_foretold,
    assert_quiet,
    some,
)

COUNTED = tuple(VipKey.read(name) for name in ("192.0.2.1:80/tcp", "192.0.2.1:81/udp", "[2001:db8::1]:80/tcp"))


@st.composite
def wishes(draw: st.DrawFn) -> HealthcheckSettings:
    return HealthcheckSettings(
        interface=draw(st.sampled_from(INTERFACES)),
        encapsulation=draw(st.sampled_from(["ipip", "gue"])),
        gue_port=6080,
        source_ipv4=draw(st.sampled_from(["auto", "10.0.0.7"])),
        source_ipv6=draw(st.sampled_from(["auto", "fc00::7"])),
        source_mac=draw(st.sampled_from(["auto", "02:00:00:00:02:01"])),
        gateway_mac=draw(st.sampled_from(["auto", "02:00:00:00:02:02"])),
        max_frame=1514,
        counted_vips=tuple(sorted(draw(st.sets(st.sampled_from(COUNTED))))),
        source_dir="/sources",
    )


# What others do


def lose_filters(world: World) -> None:
    for filters in world.host.filters.values():
        filters[:] = [each for each in filters if each.name == "foreign"]


def lose_qdisc(world: World) -> None:
    world.host.qdiscs.clear()
    world.host.filters.clear()


def add_foreign(world: World) -> None:
    world.host.filter_foreign("eth0")


def double(world: World) -> None:
    for filters in world.host.filters.values():
        filters += [each._replace(priority=each.priority + 2000) for each in filters[:1] if each.name != "foreign"]


def spoil_values(world: World) -> None:
    for path, (kind, number) in world.host.pins.items():
        if kind == "map" and path.endswith(("hc_pckt_macs", "hc_ctrl_map")):
            world.host.maps[number].entries.clear()


def other_gateway(world: World) -> None:
    world.host.gateway = "02:00:00:00:00:0a"


def other_sources(world: World) -> None:
    world.tools.version += 1


def lose_bpffs(world: World) -> None:
    world.host.wipe_bpffs()


MISCHIEF: tuple[Callable[[World], None], ...] = (
    lose_filters,
    lose_qdisc,
    add_foreign,
    double,
    spoil_values,
    other_gateway,
    other_sources,
    lose_bpffs,
)
PAST = st.lists(
    st.one_of(
        st.tuples(st.just("run"), wishes(), st.just(0)),
        st.tuples(st.just("kill"), wishes(), st.integers(0, 40)),
        st.tuples(st.just("kill"), st.just("no healthcheck"), st.integers(0, 20)),
        st.tuples(st.just("mischief"), st.sampled_from(MISCHIEF), st.just(0)),
    ),
    max_size=4,
)


def history(world: World, events: list[tuple[str, t.Any, int]]) -> World:
    """A host with a past."""
    killed = None
    for kind, what, where in events:
        if kind == "mischief":
            if what is lose_bpffs and killed is not None:
                # Amid a change nothing else would tell whose a filter is.
                world.run(killed)
                killed = None
            what(world)
        elif kind == "run":
            world.run(what)
            killed = None
        else:
            killed = what if world.killed(where, what) else None
    return world


# What must be there


def assert_there(world: World, wanted: HealthcheckSettings) -> None:
    host = world.host
    _kind, number = host.pins[f"{PINS}/healthcheck"]
    mine = {name: [each for each in filters if each.name != "foreign"] for name, filters in host.filters.items()}
    assert {name: [each.program_id for each in filters] for name, filters in mine.items() if filters} == {
        wanted.interface: [number]
    }
    assert set(host.pins) == {f"{PINS}/healthcheck", *(f"{PINS}/maps/{name}" for name in PROGRAM_MAPS["healthcheck"])}
    assert set(host.programs[number].info.map_ids) == {
        host.pins[f"{PINS}/maps/{name}"][1] for name in PROGRAM_MAPS["healthcheck"]
    }
    index = host.interfaces.index(wanted.interface) + 2
    assert host.entries(f"{PINS}/maps/hc_ctrl_map") == {struct.pack("=I", 3): struct.pack("=I", index)}
    gateway = host.gateway if wanted.gateway_mac == "auto" else wanted.gateway_mac
    own = f"02:00:00:00:01:{index:02x}" if wanted.source_mac == "auto" else wanted.source_mac
    macs = host.entries(f"{PINS}/maps/hc_pckt_macs")
    assert macs == {layout.u32(0): layout.mac_bytes(own)[:6], layout.u32(1): layout.mac_bytes(gateway)[:6]}
    sources = host.entries(f"{PINS}/maps/hc_pckt_srcs_map")
    for ipv6, given_, family in ((False, wanted.source_ipv4, "IPv4"), (True, wanted.source_ipv6, "IPv6")):
        text = host.own[family] if given_ == "auto" else given_
        assert layout.unpack_address(sources[layout.u32(int(ipv6))], ipv6) == text
    keys = host.entries(f"{PINS}/maps/hc_key_map")
    assert set(keys) == {
        layout.vip_definition(vip.packed, vip.port, layout.PROTOCOLS[vip.protocol]) for vip in wanted.counted_vips
    }
    assert len(set(keys.values())) == len(keys)


def foreign(host: MemoryHost) -> int:
    return sum(each.name == "foreign" for filters in host.filters.values() for each in filters)


@some
@given(PAST, wishes())
def test_whatever_it_was_it_becomes_what_is_wanted(past: list[t.Any], wanted: HealthcheckSettings) -> None:
    world = history(World(), past)
    others = foreign(world.host)
    assert_foretold(world, wanted)
    assert_there(world, wanted)
    assert foreign(world.host) == others
    assert_quiet(world, wanted)
    world.tools.has_bcc = False
    assert_quiet(world, "healthcheck as it was")


@some
@given(PAST, wishes(), wishes(), st.integers(0, 10_000), st.integers(0, 10_000))
def test_a_run_killed_anywhere_is_taken_up_by_the_next(
    past: list[t.Any], first: HealthcheckSettings, second: HealthcheckSettings, where: int, when: int
) -> None:
    world = history(World(), past)
    world.run(first)
    total = world.steps(second)
    assert world.killed(where % (total + 1), second) == (where % (total + 1) < total)
    world.run(second)
    assert_there(world, second)
    assert_quiet(world, second)
    world.killed(when % (world.steps("no healthcheck") + 1), "no healthcheck")
    assert_foretold(world, "no healthcheck")
    host = world.host
    assert (host.pins, host.folders, host.files["blue"]) == ({}, set(), {})
    assert all(each.name == "foreign" for filters in host.filters.values() for each in filters)
    # No clsact of ours stays where nobody uses it.
    assert all(host.filters.get(name) for name in host.qdiscs)
    assert_quiet(world, "no healthcheck")


@some
@given(wishes(), wishes(), st.lists(st.integers(0, 40), max_size=2))
def test_no_way_out_is_without_its_program_that_had_it(
    first: HealthcheckSettings, second: HealthcheckSettings, kills: list[int]
) -> None:
    world = World()
    world.run(first)
    same = first.interface == second.interface

    def watch() -> None:
        running = {name for name, filters in world.host.filters.items() if filters}
        assert not same or first.interface in running
        # Nor does a key ever lead to a place that two VIPs share.
        keys = [number for path, (_kind, number) in world.host.pins.items() if path.endswith("hc_key_map")]
        for number in keys:
            places = list(world.host.maps[number].entries.values())
            assert len(places) == len(set(places))

    world.host.fuse.watch = watch
    for where in kills:
        world.killed(where, second)
    world.run(second)
    assert_there(world, second)


@some
@given(wishes(), st.lists(st.sampled_from(COUNTED), min_size=1, unique=True), st.randoms(use_true_random=False))
def test_a_counted_vip_keeps_its_place(wanted: HealthcheckSettings, vips: list[VipKey], random: t.Any) -> None:
    world = World()
    places: dict[bytes, bytes] = {}
    for _turn in range(4):
        chosen = tuple(random.sample(vips, random.randint(0, len(vips))))
        world.run(HealthcheckSettings(**{**vars(wanted), "counted_vips": tuple(sorted(chosen))}))
        now = world.host.entries(f"{PINS}/maps/hc_key_map")
        assert {key: place for key, place in places.items() if key in now}.items() <= now.items()
        places = now


def test_two_instances_do_not_take_each_others_filter() -> None:
    world = World()
    wanted = HealthcheckSettings("eth0", "ipip", 6080, "auto", "auto", "auto", "auto", 1514, (), "/sources")
    world.run(wanted)
    there = world.host.filters["eth0"][0]
    # The same program with the same tag, whose maps went with its pins.
    world.host.files["green"] = dict(world.host.files["blue"])
    world.instance = "green"
    world.run(wanted)
    assert there in world.host.filters["eth0"]
    assert len(world.host.filters["eth0"]) == 2


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        ({"gateway": ""}, "^gateway_mac auto: no IPv4 default route; give the MAC as gateway_mac$"),
        ({"own": {"IPv4": "", "IPv6": ""}}, "^source_ipv4 and source_ipv6 auto: interface eth0 has no address; give"),
        ({"qdiscs": {"eth0": "ingress"}}, "^interface eth0 has a qdisc ingress, beside which there is no room"),
        ({"interfaces": ["eth1"]}, "^interface eth0 does not exist on this host$"),
    ],
)
def test_what_the_host_does_not_tell_is_told(spoil: dict[str, t.Any], sentence: str) -> None:
    world = World()
    for name, value in spoil.items():
        setattr(world.host, name, value)
    wanted = HealthcheckSettings("eth0", "ipip", 6080, "auto", "auto", "auto", "auto", 1514, (), "/sources")
    before = world.host.everything()
    for check in (True, False):
        with pytest.raises(ProgramError, match=sentence):
            world.run(wanted, check)
    assert world.host.everything() == before


@pytest.mark.parametrize("lack", ["has_pyroute2", "mounted", "has_bcc"])
def test_what_the_host_lacks_is_passed_over_by_a_review(lack: str) -> None:
    world = World()
    wanted = HealthcheckSettings("eth0", "ipip", 6080, "auto", "auto", "auto", "auto", 1514, (), "/sources")
    owner = world.tools if lack == "has_bcc" else world.host
    setattr(owner, lack, False)
    foretold = world.run(wanted, check=True)
    assert "attach healthcheck to the egress of eth0" in foretold.changes
    with pytest.raises(ProgramError):
        world.run(wanted)
    setattr(owner, lack, True)
    done = world.run(wanted)
    assert set(foretold.changes) <= set(done.changes)
