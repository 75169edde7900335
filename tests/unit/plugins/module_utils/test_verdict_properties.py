# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What must hold of what checks say, whatever else is said, in any order, stopped anywhere: on maps in memory."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.katran.fleet.tests.unit.plugins.module_utils.memory_kernel import (
    Entry,
    Host,
    Shape,
    assert_safe,
    assert_vips,
    key_of,
)
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils.test_properties import (
    IPV4_REALS,
    OVERLAYS,
    SIZES,
    SOAK,
    allowed,
    assert_quiet,
    configurations,
    overlay_config,
    some,
)

STRICT = {"active": 0, "draining": 1, "down": 2}


@st.composite
def checked(draw: st.DrawFn, sizes: dict[str, int]) -> list[Entry]:
    """VIPs of which most have a check."""
    vips = draw(configurations(sizes))
    for vip in vips:
        if draw(st.integers(0, 4)):
            # What a probe of a prefix, or of any port, is sent to has to be said.
            vip["check"] = {"type": "tcp", "port": 80, "address": vip["address"].partition("/")[0]}
            vip["check"]["min_healthy"] = draw(st.sampled_from([0, 20, 50, 100]))
            vip["check"] |= {"on_down": "keep"} if draw(st.booleans()) else {}
    return vips


@st.composite
def judged(draw: st.DrawFn, *worlds: list[Entry]) -> list[Entry]:
    """Verdicts about these VIPs' reals, and about others."""
    pairs = [(key_of(vip), real["address"]) for vips in worlds for vip in vips for real in vip["reals"]]
    pairs += [("198.51.100.77:80/tcp", IPV4_REALS[0])]
    found = []
    for vip, real in draw(st.lists(st.sampled_from(pairs), max_size=8, unique=True)):
        found.append(
            {
                "vip": vip,
                "real": real,
                "state": draw(st.sampled_from(["active", "draining", "down", "down"])),
                "since": f"2026-11-27T12:00:0{draw(st.integers(0, 3))}.000+00:00",
                "reason": "connection refused",
                "share": draw(st.sampled_from([10, 100])),
            }
        )
    return found


@st.composite
def cases(draw: st.DrawFn) -> tuple[Host, list[list[Entry]], list[list[Entry]]]:
    """A host, two configurations, and three sets of verdicts."""
    sizes = draw(SIZES)
    worlds = [draw(checked(sizes)) for _turn in range(2)]
    return Host(Shape.of(**sizes)), worlds, [draw(judged(*worlds)) for _turn in range(3)]


def effective(vips: Sequence[Entry], overlay: Mapping[str, str], verdicts: Sequence[Entry]) -> list[Entry]:
    """The same VIPs as if the inventory itself had every word: written down without the engine's rule."""
    found = []
    for vip in vips:
        said = {each["real"]: each for each in verdicts if each["vip"] == key_of(vip)} if "check" in vip else {}
        reals = {
            real["address"]: {**real, "state": overlay.get(real["address"], real["state"])} for real in vip["reals"]
        }
        total = left = sum(real["weight"] for real in reals.values() if real["state"] == "active")
        for real in sorted(reals.values(), key=lambda real: bad(said.get(real["address"]), real["address"])):
            verdict = said.get(real["address"])
            if verdict is None or STRICT[verdict["state"]] <= STRICT[real["state"]]:
                continue
            weight = real["weight"] if real["state"] == "active" else 0
            if weight and 100 * (left - weight) < vip["check"].get("min_healthy", 50) * total:
                continue
            left -= weight
            real["state"] = verdict["state"]
        if vip["hash"] == "maglev_v2":
            for real in reals.values():
                verdict = said.get(real["address"])
                slow = verdict is not None and verdict["state"] == "active" and real["state"] == "active"
                real["weight"] *= verdict["share"] if slow and verdict else 100
        found.append({**vip, "reals": list(reals.values())})
    return found


def bad(verdict: Entry | None, address: str) -> tuple[t.Any, ...]:
    packed = bytes(map(int, address.split("."))) if "." in address else b"\xff" + address.encode()
    return (-STRICT[verdict["state"]], verdict["since"], packed) if verdict else (1, "", packed)


def counting(vips: Sequence[Entry], verdicts: Sequence[Entry]) -> list[tuple[str, str]]:
    """(VIP, real) of the verdicts that say something."""
    pairs = {(key_of(vip), real["address"]) for vip in vips if "check" in vip for real in vip["reals"]}
    return sorted(
        (each["vip"], each["real"])
        for each in verdicts
        if (each["vip"], each["real"]) in pairs and (each["state"], each["share"]) != ("active", 100)
    )


def stored(host: Host) -> list[tuple[str, str]]:
    return [(each["vip"], each["real"]) for each in host.state.verdicts]


@some
@given(cases(), OVERLAYS)
def test_the_maps_say_what_all_words_say(
    case: tuple[Host, list[list[Entry]], list[list[Entry]]], overlay: dict[str, str]
) -> None:
    host, (vips, others), (first, second, _third) = case
    overlay = dict(list(overlay.items())[: host.shape.sizes["reals"]])
    host.run("vips", vips)
    for verdicts in (first, second):
        foretold = host.check("verdicts", verdicts)
        host.maps.writes.clear()
        result = host.run("verdicts", verdicts)
        assert (foretold.changes, foretold.operations) == (result.changes, result.operations)
        assert (foretold.warnings, result.drift) == (result.warnings, [])
        purged = {"lru_mapping": result.operations["lru_mapping"]} if "lru_mapping" in result.operations else {}
        assert {**host.maps.writes, **purged} == result.operations
        assert_vips(host, effective(vips, {}, verdicts))
        assert stored(host) == counting(vips, verdicts)
        assert_quiet(host, "verdicts", verdicts)
        # A deploy keeps every word.
        assert_quiet(host, "vips", vips)
    host.run("reals", overlay_config(overlay))
    assert_vips(host, effective(vips, overlay, second))
    assert_quiet(host, "verdicts", second)
    host.run("vips", others)
    assert_vips(
        host, effective(others, overlay, [each for each in second if (each["vip"], each["real"]) in stored(host)])
    )
    assert stored(host) == counting(others, [each for each in second if pair_of(each) in counting(vips, second)])
    host.run("verdicts", [])
    assert_vips(host, effective(others, overlay, []))
    assert host.state.verdicts == []


def pair_of(verdict: Entry) -> tuple[str, str]:
    return verdict["vip"], verdict["real"]


@settings(some, max_examples=100 * SOAK)
@given(cases(), st.integers(0, 10_000), st.booleans())
def test_a_run_killed_anywhere_is_taken_up_by_the_next(
    case: tuple[Host, list[list[Entry]], list[list[Entry]]], where: int, same: bool
) -> None:
    host, (vips, _others), (first, second, third) = case
    twin = Host(host.shape)
    for each in (host, twin):
        each.run("vips", vips)
        each.run("verdicts", first)
        each.purged.clear()
    before = twin.fuse.steps
    twin.run("verdicts", second)
    total = twin.fuse.steps - before
    host.fuse.watch = lambda: assert_safe(host.maps, allowed(vips))
    assert host.killed(where % (total + 1), "verdicts", second) == (where % (total + 1) < total)
    after = second if same else third
    assert not host.run("verdicts", after).drift
    assert_vips(host, effective(vips, {}, after))
    assert_quiet(host, "verdicts", after)
    if same:
        # Whatever the kill left undone, no flow to what went down is forgotten.
        assert set(twin.purged) <= set(host.purged)


@settings(some, max_examples=60 * SOAK)
@given(cases(), st.lists(st.tuples(st.booleans(), st.integers(0, 60)), min_size=1, max_size=5))
def test_deploys_and_checks_killed_in_any_order_come_through(
    case: tuple[Host, list[list[Entry]], list[list[Entry]]], stops: list[tuple[bool, int]]
) -> None:
    host, (vips, others), (first, second, _third) = case
    host.run("vips", vips)
    host.run("verdicts", first)
    host.fuse.watch = lambda: assert_safe(host.maps, allowed(vips, others))
    for is_deploy, where in stops:
        host.killed(where, *(("vips", others) if is_deploy else ("verdicts", second)))
    host.run("vips", others)
    host.run("verdicts", second)
    assert_vips(host, effective(others, {}, second))
    assert_quiet(host, "verdicts", second)
    assert_quiet(host, "vips", others)
