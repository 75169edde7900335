# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What must hold for any configuration, from any other, stopped anywhere: on maps in memory."""

from __future__ import annotations

import copy
import os
import typing as t
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ConfigError, PlanError
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils.memory_kernel import (
    Actual,
    Entry,
    Host,
    Shape,
    active,
    assert_safe,
    assert_tables,
    assert_vips,
    key_of,
    referred,
)

IPV4_REALS = [f"10.0.0.{last}" for last in range(1, 8)]
IPV6_REALS = [f"fc00::{last}" for last in range(1, 4)]
ADDRESSES = ["198.51.100.1", "198.51.100.2", "203.0.113.0/24", "203.0.112.0/22", "2001:db8::1", "2001:db8:1::/48"]
FLAGS = ["quic", "no_lru", "hash_no_src_port", "local", "udp_flow_migration"]
STATES = ["active", "active", "active", "draining", "down"]

# The same examples on every run, in less than a minute; KATRAN_FLEET_EXAMPLES=30 tries thirty times as many others.
SOAK = int(os.environ.get("KATRAN_FLEET_EXAMPLES", "1"))

some = settings(
    max_examples=40 * SOAK,
    deadline=None,
    derandomize=SOAK == 1,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)


@st.composite
def vip_entries(draw: st.DrawFn, local: frozenset[str]) -> Entry:
    """A full config entry."""
    address = draw(st.sampled_from(ADDRESSES))
    pool = IPV6_REALS if ":" in address else IPV4_REALS + IPV6_REALS[:1]
    reals = [
        {
            "address": real,
            "weight": draw(st.integers(0, 3)),
            "state": draw(st.sampled_from(STATES)),
            "local": real in local,
        }
        for real in draw(st.lists(st.sampled_from(pool), max_size=4, unique=True))
    ]
    return {
        "address": address,
        "port": draw(st.sampled_from([0, 80])),
        "protocol": draw(st.sampled_from(["tcp", "udp"])),
        "flags": draw(st.lists(st.sampled_from(FLAGS), max_size=2, unique=True)),
        "hash": draw(st.sampled_from(["maglev_v2", "maglev_v1"])),
        "reals": reals,
        "down_reals": draw(st.lists(st.sampled_from(pool), max_size=1)),
    }


@st.composite
def configurations(draw: st.DrawFn, sizes: dict[str, int]) -> list[Entry]:
    """A valid configuration for a balancer of these sizes."""
    local = draw(st.frozensets(st.sampled_from(IPV4_REALS), max_size=2))
    vips = draw(st.lists(vip_entries(local), max_size=sizes["vips"], unique_by=key_of))
    for ipv6 in (False, True):
        assume(sum("/" in vip["address"] and (":" in vip["address"]) == ipv6 for vip in vips) <= sizes["cidr_vips"])
    assume(len(referred(vips)) < sizes["reals"])
    return vips


SIZES = st.fixed_dictionaries(
    {
        "vips": st.integers(1, 6),
        "cidr_vips": st.integers(1, 3),
        "reals": st.integers(2, 12),
        "ring": st.sampled_from([13, 13, 31, 61]),
    }
)


@st.composite
def changes(draw: st.DrawFn, number: int = 2) -> tuple[Host, list[list[Entry]]]:
    """A host and so many configurations for it."""
    sizes = draw(SIZES)
    return Host(Shape.of(**sizes)), [draw(configurations(sizes)) for _turn in range(number)]


def allowed(*configurations_: Sequence[Entry]) -> dict[str, frozenset[str]]:
    """VIP → every real that takes new flows of it in any of these configurations."""
    found: dict[str, frozenset[str]] = {}
    for vips in configurations_:
        for vip in vips:
            members = frozenset(address for address, _weight in active(vip, {}))
            found[key_of(vip)] = found.get(key_of(vip), frozenset()) | members
    return found


def assert_quiet(host: Host, resource: str, config: Sequence[Entry], state: str = "overridden") -> None:
    """Applying it once more writes and reports nothing."""
    before, steps = host.everything(), host.fuse.steps
    result = host.run(resource, config, state)
    assert (result.changed, result.operations, result.changes, result.before, result.after) == (False, {}, [], [], [])
    assert host.fuse.steps == steps
    assert host.everything() == before


@some
@given(changes())
def test_the_maps_say_what_the_configuration_says(case: tuple[Host, list[list[Entry]]]) -> None:
    host, (first, second) = case
    for vips in (first, second):
        host.run("vips", vips)
        assert_vips(host, vips)
        assert_quiet(host, "vips", vips)


@some
@given(changes())
def test_check_mode_foretells_the_run_and_touches_nothing(case: tuple[Host, list[list[Entry]]]) -> None:
    host, (first, second) = case
    for vips in (first, second):
        before = host.everything()
        foretold = host.check("vips", vips)
        assert host.everything() == before
        host.maps.writes.clear()
        result = host.run("vips", vips)
        assert foretold.changes == result.changes
        assert foretold.operations == result.operations
        assert (foretold.before, foretold.after) == (result.before, result.after)
        assert (foretold.warnings, foretold.drift) == (result.warnings, result.drift)
        assert dict(sorted(host.maps.writes.items())) == result.operations


@some
@given(changes())
def test_no_moment_between_is_wrong(case: tuple[Host, list[list[Entry]]]) -> None:
    host, (first, second) = case
    host.run("vips", first)
    host.fuse.watch = lambda: assert_safe(host.maps, allowed(first, second))
    host.run("vips", second)


@settings(some, max_examples=100 * SOAK)
@given(changes(number=3), st.integers(0, 10_000), st.booleans())
def test_a_run_killed_anywhere_is_taken_up_by_the_next(
    case: tuple[Host, list[list[Entry]]], where: int, same: bool
) -> None:
    host, (first, second, third) = case
    host.run("vips", first)
    # How many writes there are to be killed at is known from a twin that is not.
    twin = Host(host.shape)
    twin.run("vips", first)
    before = twin.fuse.steps
    twin.run("vips", second)
    total = twin.fuse.steps - before
    assert host.killed(where % (total + 1), "vips", second) == (where % (total + 1) < total)
    after = second if same else third
    host.fuse.watch = lambda: assert_safe(host.maps, allowed(first, second, third))
    assert not host.run("vips", after).drift
    assert_vips(host, after)
    assert_quiet(host, "vips", after)


@some
@given(changes(), st.lists(st.integers(0, 10_000), min_size=2, max_size=6))
def test_a_run_killed_again_and_again_comes_through(case: tuple[Host, list[list[Entry]]], wheres: list[int]) -> None:
    host, (first, second) = case
    host.run("vips", first)
    host.fuse.watch = lambda: assert_safe(host.maps, allowed(first, second))
    for where in wheres:
        host.killed(where % 40, "vips", second)
    host.run("vips", second)
    assert_vips(host, second)
    assert_quiet(host, "vips", second)


@some
@given(changes(number=3))
def test_ids_and_numbers_are_kept(case: tuple[Host, list[list[Entry]]]) -> None:
    host, configurations_ = case
    seen: dict[str, int] = {}
    numbers: dict[str, int] = {}
    for vips in configurations_:
        host.run("vips", vips)
        ids, now = ids_of(host.actual())
        assert {address: number for address, number in seen.items() if address in ids}.items() <= ids.items()
        assert {key: number for key, number in numbers.items() if key in now}.items() <= now.items()
        assert ids == host.state.real_ids.assigned
        assert now == host.state.vip_numbers.assigned
        # Only what was there in the run before is sure to keep its id.
        seen, numbers = ids, now


@some
@given(st.integers(3, 6), st.lists(st.lists(st.integers(1, 9), max_size=5, unique=True), min_size=3, max_size=8))
def test_a_freed_id_comes_back_last_and_clean(limit: int, turns: list[list[int]]) -> None:
    host = Host(Shape.of(reals=limit))
    free: list[set[int]] = []
    ever: set[int] = set()
    before: dict[int, str] = {}
    for last in turns:
        vip = full("198.51.100.1", [f"10.0.0.{each}" for each in last[: limit - 1]])
        host.maps.flows = {bytes([number]): number for number in range(limit)}
        host.maps.counters = {name: dict.fromkeys(range(limit), 7) for name in ("reals_stats", "lru_miss_stats")}
        host.run("vips", [vip])
        now = {number: address for number, (address, _local) in host.actual().reals.items()}
        reused = {number for number in now if number in ever and before.get(number) != now[number]}
        if reused:
            assert ever | set(now) == set(range(1, limit)), "an id was reused while another was never used"
        new_owner = reused & set(before)
        for turn in free:
            left = turn - reused
            assert not left or not new_owner, "an id was reused at once while another had waited longer"
            if left:
                # Whoever waited longer than these is taken first.
                assert not any((later & reused) for later in free[free.index(turn) + 1 :])
        assert set(host.maps.flows.values()) == set(range(limit)) - reused
        for counters in host.maps.counters.values():
            assert set(counters) == set(range(limit)) - reused
        free = [turn - reused for turn in free] + [set(before) - set(now)]
        ever |= set(now)
        before = now


@some
@given(changes())
def test_a_lost_state_is_taken_from_the_kernel(case: tuple[Host, list[list[Entry]]]) -> None:
    host, (first, second) = case
    host.run("vips", first)
    before = host.actual()
    maps = host.maps.snapshot()
    host.file.files.clear()
    assert host.check("vips", None, "merged").operations == {}
    host.run("vips", None, "merged")
    assert host.maps.snapshot()["rings"] == maps["rings"]
    host.file.files.clear()
    host.fuse.watch = lambda: assert_safe(host.maps, allowed(first, second))
    host.run("vips", second)
    assert_vips(host, second)
    after = host.actual()
    ids, numbers = ids_of(after)
    old_ids, old_numbers = ids_of(before)
    assert {address: old_ids[address] for address in old_ids if address in ids}.items() <= ids.items()
    assert {key: old_numbers[key] for key in old_numbers if key in numbers}.items() <= numbers.items()
    assert_quiet(host, "vips", second)


def ids_of(actual: Actual) -> tuple[dict[str, int], dict[str, int]]:
    """Real → id, VIP → number."""
    ids = {address: number for number, (address, _local) in actual.reals.items()}
    return ids, {key: number for key, (_flags, number, _ring, _down) in actual.vips.items()}


# The overlay


OVERLAYS = st.dictionaries(
    st.sampled_from(IPV4_REALS + IPV6_REALS), st.sampled_from(["active", "draining", "down"]), max_size=4
)


def overlay_config(overlay: Mapping[str, str]) -> list[Entry]:
    return [{"address": address, "state": state} for address, state in overlay.items()]


@some
@given(changes(), OVERLAYS, OVERLAYS)
def test_the_overlay_lies_over_every_vip(
    case: tuple[Host, list[list[Entry]]], first: dict[str, str], second: dict[str, str]
) -> None:
    host, (vips, others) = case
    assume(max(len(first), len(second)) <= host.shape.sizes["reals"])
    host.run("vips", vips)
    for overlay in (first, second):
        foretold = host.check("reals", overlay_config(overlay))
        result = host.run("reals", overlay_config(overlay))
        assert (foretold.operations, foretold.changes) == (result.operations, result.changes)
        assert_vips(host, vips, overlay)
        assert_quiet(host, "reals", overlay_config(overlay))
        assert_quiet(host, "vips", vips)
    host.run("vips", others)
    assert_vips(host, others, second)
    host.run("reals", None)
    assert_vips(host, others)


# Everything together


@st.composite
def tables(draw: st.DrawFn) -> dict[str, list[Entry]]:
    """A configuration of each table."""
    prefixes = draw(
        st.dictionaries(
            st.sampled_from(["192.0.2.0/24", "192.0.0.0/16", "0.0.0.0/0"]), st.sampled_from(IPV4_REALS), max_size=3
        )
    )
    prefixes |= draw(
        st.dictionaries(st.sampled_from(["2001:db8:9::/48", "::/0"]), st.sampled_from(IPV6_REALS), max_size=2)
    )
    numbers = draw(st.dictionaries(st.integers(1, 39), st.sampled_from(IPV4_REALS + IPV6_REALS), max_size=3))
    inside = draw(st.dictionaries(st.sampled_from(["203.0.113.1", "2001:db8:f::1"]), st.booleans(), max_size=2))
    return {
        "source_routes": [{"prefix": prefix, "real": real} for prefix, real in prefixes.items()],
        "server_ids": [{"id": number, "real": real} for number, real in numbers.items()],
        "decap_destinations": [{"address": address, "egress": egress} for address, egress in inside.items()],
    }


@st.composite
def worlds(draw: st.DrawFn) -> dict[str, list[Entry]]:
    """A configuration of every resource but the overlay, for a balancer of the smallest size that holds any."""
    return {"vips": draw(configurations(BIG)), **draw(tables())}


BIG = {"vips": 6, "cidr_vips": 3, "reals": 11, "ring": 13}


def assert_world(host: Host, world: Mapping[str, list[Entry]]) -> None:
    others = {entry["real"] for entries in world.values() for entry in entries if "real" in entry}
    assert_vips(host, world["vips"], others=others)
    assert_tables(host, world)


@settings(some, max_examples=50 * SOAK)
@given(
    worlds(),
    worlds(),
    worlds(),
    st.integers(0, 2),
    st.lists(
        st.tuples(
            st.sampled_from(["vips", "source_routes", "server_ids", "decap_destinations"]),
            st.integers(0, 60),
            st.booleans(),
        ),
        max_size=8,
    ),
)
def test_resources_do_not_get_in_each_others_way(
    first: dict[str, list[Entry]],
    second: dict[str, list[Entry]],
    third: dict[str, list[Entry]],
    spare: int,
    stops: list[tuple[str, int, bool]],
) -> None:
    """Runs of any resource, killed anywhere, in any order: never an unsafe moment, and all converge."""
    addresses = {each for world in (first, second, third) for each in reals_of(world)}
    host = Host(Shape.of(**{**BIG, "reals": max(len(addresses) + 1, 2) + spare}))
    for resource in RESOURCES:
        host.run(resource, first[resource])
    assert_world(host, first)
    may = allowed(first["vips"], second["vips"], third["vips"])
    host.fuse.watch = lambda: assert_safe(host.maps, may)
    for resource, where, last in stops:
        host.killed(where, resource, (third if last else second)[resource])
    for resource in RESOURCES:
        host.run(resource, third[resource])
    # A real that another resource still refers to when this one lets go of it goes with the other's run.
    for resource in RESOURCES:
        host.run(resource, third[resource])
        assert_quiet(host, resource, third[resource])
    assert_world(host, third)


RESOURCES = ("vips", "source_routes", "server_ids", "decap_destinations")


def reals_of(world: Mapping[str, list[Entry]]) -> set[str]:
    return set(referred(world["vips"])) | {
        entry["real"] for entries in world.values() for entry in entries if "real" in entry
    }


@some
@given(worlds(), worlds(), st.integers(1, 12))
def test_there_is_always_a_way_where_there_is_room(
    first: dict[str, list[Entry]], second: dict[str, list[Entry]], reals: int
) -> None:
    """With as many reals as ids, one resource after the other: each has room, or says that there is none."""
    host = Host(Shape.of(**{**BIG, "reals": reals + 1}))
    world: dict[str, list[Entry]] = {resource: [] for resource in RESOURCES}
    for wanted in (first, second):
        for resource in RESOURCES:
            step = {**world, resource: wanted[resource]}
            before = host.everything()
            if len(reals_of(step)) <= reals:
                host.run(resource, wanted[resource])
                world = step
                assert_quiet(host, resource, wanted[resource])
            else:
                with pytest.raises((PlanError, ConfigError), match=r"sizes\.reals|sizes.reals is"):
                    host.run(resource, wanted[resource])
                assert host.everything() == before
        assert_world(host, world)


@some
@given(worlds())
def test_what_is_read_back_changes_nothing(world: dict[str, list[Entry]]) -> None:
    host = Host(Shape.of(**{**BIG, "reals": 20}))
    for resource in RESOURCES:
        host.run(resource, world[resource])
    for state in ("merged", "replaced", "overridden"):
        for resource in RESOURCES:
            # What the run itself reports, and what is on file.
            assert_quiet(host, resource, read_back(host, resource), state)
    with_all = {resource: read_back(host, resource) for resource in RESOURCES}
    assert_world(host, with_all)


def read_back(host: Host, resource: str) -> list[Entry]:
    result = host.check(resource, [])
    return result.before


# States


def merged_by_hand(before: list[Entry], given_: list[Entry]) -> list[Entry]:
    """What state merged means, in the words of the interface: unmentioned options keep their value."""
    after = {key_of(vip): copy.deepcopy(vip) for vip in before}
    for entry in given_:
        vip = after.setdefault(
            key_of(entry), {**full(entry["address"], []), **{name: entry[name] for name in ("port", "protocol")}}
        )
        for name in ("flags", "hash", "down_reals"):
            if entry.get(name) is not None:
                vip[name] = entry[name]
        reals = {real["address"]: real for real in vip["reals"]}
        for real in entry.get("reals") or ():
            old = reals.setdefault(
                real["address"], {"address": real["address"], "weight": 1, "state": "active", "local": False}
            )
            old.update({name: value for name, value in real.items() if value is not None})
        vip["reals"] = list(reals.values())
    return list(after.values())


def full(address: str, reals: Sequence[str]) -> Entry:
    return {
        "address": address,
        "port": 80,
        "protocol": "tcp",
        "flags": [],
        "hash": "maglev_v2",
        "reals": [{"address": real, "weight": 1, "state": "active", "local": False} for real in reals],
        "down_reals": [],
    }


@st.composite
def partial(draw: st.DrawFn, vips: list[Entry]) -> list[Entry]:
    """The entries with some of their options left out, or given as none, as Ansible gives what is not said."""
    given_ = copy.deepcopy(vips)
    for vip in given_:
        for name in draw(st.sets(st.sampled_from(["flags", "hash", "reals", "down_reals"]))):
            vip[name] = None
        for real in vip["reals"] or ():
            for name in draw(st.sets(st.sampled_from(["weight", "state"]))):
                real[name] = None
            real["local"] = real["local"] or None
    return given_


@some
@given(st.data())
def test_the_four_states(data: st.DataObject) -> None:
    sizes = {"vips": 6, "cidr_vips": 6, "reals": 20, "ring": 13}
    before = data.draw(configurations(sizes))
    listed = data.draw(partial(data.draw(configurations(sizes))))
    state = data.draw(st.sampled_from(["merged", "replaced", "overridden", "deleted"]))
    keys = {key_of(vip) for vip in listed}
    defaulted = merged_by_hand([], listed)
    if state == "merged":
        after = merged_by_hand(before, listed)
    elif state == "overridden":
        after = defaulted
    else:
        after = [vip for vip in before if key_of(vip) not in keys] + (defaulted if state == "replaced" else [])
    flags: dict[str, set[bool]] = {}
    for vip in after:
        for real in vip["reals"]:
            flags.setdefault(real["address"], set()).add(real["local"])
    assume(len(after) <= sizes["vips"] and not any(len(each) > 1 for each in flags.values()))
    host = Host(Shape.of(**sizes))
    host.run("vips", before)
    if listed or state in ("merged", "replaced"):
        host.run("vips", listed, state, allow_empty=False)
        assert_vips(host, after)
        assert_quiet(host, "vips", listed, state)
    else:
        with pytest.raises(ConfigError, match="allow_empty: true"):
            host.run("vips", listed, state, allow_empty=False)
        host.run("vips", listed, state, allow_empty=True)
        assert_vips(host, [])


# Drift


CORRUPTIBLE = ("vip_map", "vip_lpm_map", "vip_lpm4_map", "vip_addresses", "vip_address_lpm4", "vip_address_lpm6")
CORRUPTIBLE += (
    "vip_learned",
    "cidr_vip_keys",
    "reals",
    "lpm_src_v4",
    "lpm_src_v6",
    "server_id_map",
    "decap_dst",
    "ch_rings",
    "down",
    "vip_index",
)


@settings(some, max_examples=100 * SOAK)
@given(worlds(), st.sampled_from(CORRUPTIBLE), st.sampled_from(["remove", "change", "add"]), st.integers(0, 100))
def test_what_somebody_else_changed_is_told_and_repaired(
    world: dict[str, list[Entry]], name: str, how: str, where: int
) -> None:
    host = Host(Shape.of(**{**BIG, "reals": 20, "cidr_vips": 6}))
    for resource in RESOURCES:
        host.run(resource, world[resource])
    intact = host.maps.snapshot()
    assume(corrupt(host, name, how, where))
    assume(host.maps.snapshot() != intact)
    assert_repaired(host, world, intact)


def assert_repaired(host: Host, world: Mapping[str, list[Entry]], intact: t.Any) -> None:
    """The next runs tell what is not as it was, in as many words as a check, and put it back."""
    told = []
    for resource in RESOURCES:
        foretold = host.check(resource, world[resource])
        result = host.run(resource, world[resource])
        assert (foretold.changes, foretold.operations) == (result.changes, result.operations)
        assert result.changes == result.drift
        assert bool(result.drift) == bool(result.operations)
        told += result.drift
    assert told
    assert host.maps.snapshot() == intact
    for resource in RESOURCES:
        assert_quiet(host, resource, world[resource])


def corrupt(host: Host, name: str, how: str, where: int) -> bool:
    """Change one entry of a map as bpftool would; False where there is nothing to do."""
    if name == "ch_rings":
        ring = host.maps.ring(where % host.shape.sizes["vips"])
        visible = {number for _flags, number, _ring, _down in host.actual().vips.values()}
        if where % host.shape.sizes["vips"] not in visible:
            return False
        at = 8 * (where % host.shape.sizes["ring"])
        ring[at] = {"remove": 0, "change": (ring[at] + 1) % 20, "add": 19}[how]
        return True
    if name == "down":
        sets: dict[bytes, t.Any] = host.maps._down
        keys = sorted(sets)
        if how == "add":
            sets[b"\1" * 20] = frozenset({1})
        elif keys and how == "remove":
            del sets[keys[where % len(keys)]]
        elif keys:
            sets[keys[where % len(keys)]] ^= frozenset({where})
        return how == "add" or bool(keys)
    if name == "vip_index" and how == "remove":
        there, host.maps._index = host.maps._index, None
        return there is not None
    entries = (host.maps._index or {}) if name == "vip_index" else host.maps._entries[name]
    keys = sorted(entries)
    if how == "add":
        foreign = sorted(FOREIGN[name])[where % len(FOREIGN[name])]
        if foreign in entries:
            return False
        entries[foreign] = FOREIGN[name][foreign]
    elif not keys:
        return False
    elif how == "remove":
        del entries[keys[where % len(keys)]]
    else:
        key = keys[where % len(keys)]
        value = bytearray(entries[key])
        # The padding of a real is not ours to tell apart; its flags and address are.
        value[where % (17 if name == "reals" else len(value))] ^= 2
        entries[key] = bytes(value)
    return True


FOREIGN: dict[str, dict[bytes, bytes]] = {
    "vip_map": {
        bytes.fromhex("c6336463") + bytes(12) + b"\0\x50\x06\0": bytes(8),
        bytes.fromhex("c6336463") + bytes(12) + b"\0\x50\x01\0": bytes(4) + b"\xff\0\0\0",
        bytes.fromhex("c6336463") + bytes(12) + b"\0\x51\x11\0": bytes(4) + b"\x05\0\0\0",
    },
    "vip_lpm_map": {b"\x40\0\0\0\0\x50\x06\0" + bytes.fromhex("20010db8") + bytes(12): bytes(8)},
    "vip_lpm4_map": {b"\x28\0\0\0\0\x50\x06\0\x0a\0\0\0": bytes(8)},
    "vip_addresses": {bytes.fromhex("c6336463") + bytes(12): b"\1\0\0\0"},
    "vip_address_lpm4": {b"\x08\0\0\0\x0a\0\0\0": b"\1\0\0\0"},
    "vip_address_lpm6": {b"\x20\0\0\0" + bytes.fromhex("20010db8") + bytes(12): b"\1\0\0\0"},
    "cidr_vip_keys": {b"\x05\0\0\0": b"\1" * 20},
    "vip_learned": {b"\x05\0\0\0": b"\1\0\0\0"},
    "reals": {b"\x12\0\0\0": b"\x0a\x09\x09\x09" + bytes(16), b"\0\0\0\0": b"\x0a\x09\x09\x08" + bytes(16)},
    "lpm_src_v4": {b"\x08\0\0\0\x0a\0\0\0": b"\1\0\0\0", b"\x10\0\0\0\x0b\0\0\0": b"\x63\0\0\0"},
    "lpm_src_v6": {b"\x20\0\0\0" + bytes.fromhex("20010db7") + bytes(12): b"\1\0\0\0"},
    "server_id_map": {b"\0\0\0\0": b"\1\0\0\0", b"\x27\0\0\0": b"\x63\0\0\0"},
    "decap_dst": {bytes.fromhex("c6336463") + bytes(12): bytes(4)},
    "vip_index": {b"\x05\0\0\0": b"\1" * 32},
}


def everything() -> dict[str, list[Entry]]:
    """A world that puts something into every map."""
    wide, narrow = full("203.0.113.0/24", ["10.0.0.1"]), full("2001:db8:1::/48", ["fc00::1"])
    learning = {**full("198.51.100.2", ["10.0.0.2", "10.0.0.3"]), "flags": ["hash_dst_port_only"]}
    down = {**full("198.51.100.3", ["10.0.0.4"]), "protocol": "udp", "flags": ["udp_flow_migration"]}
    down["down_reals"] = ["10.0.0.5"]
    return {
        "vips": [full("198.51.100.1", ["10.0.0.1", "10.0.0.2"]), wide, narrow, learning, down],
        "source_routes": [
            {"prefix": "192.0.2.0/24", "real": "10.0.0.6"},
            {"prefix": "2001:db8:9::/48", "real": "fc00::1"},
        ],
        "server_ids": [{"id": 7, "real": "10.0.0.7"}, {"id": 8, "real": "10.0.0.1"}],
        "decap_destinations": [{"address": "203.0.113.1", "egress": True}],
    }


def cases() -> list[tuple[str, str, int]]:
    """Every kind of drift of every map; of what is added, each entry that another's hand might leave."""
    return [
        (name, how, where)
        for name in CORRUPTIBLE
        for how in ("remove", "change", "add")
        for where in range(len(FOREIGN.get(name, "ab")) if how == "add" else 3)
    ]


@pytest.mark.parametrize(("name", "how", "where"), cases())
def test_each_kind_of_drift(name: str, how: str, where: int) -> None:
    """Examples that are drawn need not be: each of these is tried, on whatever day."""
    host = Host(Shape.of(**{**BIG, "reals": 20, "cidr_vips": 6}))
    world = everything()
    # A VIP that learned while it had other flags.
    earlier = [{**vip, "flags": []} if "hash_dst_port_only" in vip["flags"] else vip for vip in world["vips"]]
    host.run("vips", earlier)
    for resource in RESOURCES:
        host.run(resource, world[resource])
    intact = host.maps.snapshot()
    assert corrupt(host, name, how, where), "there is something to spoil"
    if host.maps.snapshot() == intact:
        assert name in ("ch_rings", "vip_learned")
        return
    assert_repaired(host, world, intact)
