# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is foreseen of a balancer is what its review says, and what its run then does."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.katran.fleet.plugins.module_utils._engine.foresight import Configured, foresee
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ConfigError
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils.memory_kernel import Entry, Host, Shape, key_of
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils.stored import SETTINGS
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils.test_properties import (
    IPV4_REALS,
    changes,
    some,
)

ORDER = ("vips", "source_routes", "server_ids", "decap_destinations")
"""In which a play applies them."""

ROUTES = st.lists(
    st.fixed_dictionaries(
        {
            "prefix": st.sampled_from([f"192.0.2.{last}/32" for last in range(6)]),
            "real": st.sampled_from(IPV4_REALS[:3]),
        }
    ),
    max_size=4,
    unique_by=lambda row: row["prefix"],
)
IDS = st.lists(
    st.fixed_dictionaries({"id": st.integers(1, 39), "real": st.sampled_from(IPV4_REALS[:3])}),
    max_size=4,
    unique_by=lambda row: row["id"],
)
SINKS = st.lists(
    st.fixed_dictionaries({"address": st.sampled_from([f"10.9.0.{last}" for last in range(1, 5)])}),
    max_size=3,
    unique_by=lambda row: row["address"],
)
TOLD = st.fixed_dictionaries({"source_routes": ROUTES, "server_ids": IDS, "decap_destinations": SINKS})
Resources = Mapping[str, Sequence[Entry]]


def configured(host: Host, resources: Resources) -> Configured:
    shape = host.shape
    settings = {**SETTINGS, "sizes": dict(shape.sizes), "features": sorted(shape.features)}
    return Configured(resources, settings, min_active=0)


def in_order(resources: Resources) -> list[tuple[str, Sequence[Entry]]]:
    return [(name, resources[name]) for name in ORDER if name in resources]


def slots(host: Host) -> dict[str, tuple[str | None, ...]]:
    return {name: owners for name, (_flags, _number, owners, _down) in host.actual().vips.items()}


def hold_together(host: Host, before: Resources, after: Resources) -> None:
    """Compare what is foreseen with what the host, which is as `before` says, says and does."""
    foreseen = foresee(configured(host, before), configured(host, after))
    owners = slots(host)
    for name, config in in_order(after):
        reviewed = host.check(name, config)
        told = foreseen.results[name]
        assert (told.changes, told.operations) == (reviewed.changes, reviewed.operations), name
        assert (told.before, told.after) == (reviewed.before, reviewed.after)
        done = host.run(name, config)
        assert (told.changes, told.operations) == (done.changes, done.operations), name
    now = slots(host)
    moved = {
        name: sum(was != is_ for was, is_ in zip(owners[name], now[name], strict=True))
        for name in owners.keys() & now.keys()
    }
    assert dict(foreseen.moved) == {name: number for name, number in moved.items() if number}


def applied(host: Host, resources: Resources) -> None:
    for name, config in in_order(resources):
        host.run(name, config)


@some
@given(changes())
def test_vips_are_foreseen(case: tuple[Host, list[list[Entry]]]) -> None:
    host, (first, second) = case
    applied(host, {"vips": first})
    hold_together(host, {"vips": first}, {"vips": second})


@some
@given(changes(3))
def test_what_the_host_was_before_does_not_matter(case: tuple[Host, list[list[Entry]]]) -> None:
    host, (first, second, third) = case
    applied(host, {"vips": first})
    applied(host, {"vips": second})
    foreseen = foresee(configured(host, {"vips": second}), configured(host, {"vips": third}))
    reviewed = host.check("vips", third)
    assert foreseen.results["vips"].changes == reviewed.changes


@some
@given(changes(), TOLD, TOLD)
def test_tables_are_foreseen(case: tuple[Host, list[list[Entry]]], old: Resources, new: Resources) -> None:
    host, (first, second) = case
    host = Host(Shape.of(vips=6, cidr_vips=3, reals=16))
    before, after = {"vips": first, **old}, {"vips": second, **new}
    applied(host, before)
    hold_together(host, before, after)


def test_the_same_again_is_nothing() -> None:
    host = Host()
    vips = [{"address": "198.51.100.1", "port": 80, "protocol": "tcp", "reals": [{"address": "10.0.0.1"}]}]
    foreseen = foresee(configured(host, {"vips": vips}), configured(host, {"vips": vips}))
    assert not foreseen.results["vips"].changed
    assert (foreseen.moved, foreseen.untouched) == ({}, ())


def test_what_no_variable_is_about_any_more_stays() -> None:
    host = Host()
    before = {"vips": [], "source_routes": [{"prefix": "192.0.2.0/24", "real": "10.0.0.1"}], "server_ids": []}
    foreseen = foresee(configured(host, before), configured(host, {"vips": []}))
    assert foreseen.untouched == ("source_routes",)
    assert list(foreseen.results) == ["vips"]


def test_what_has_no_room_is_an_error() -> None:
    host = Host(Shape.of(vips=1, reals=2))
    one: dict[str, t.Any] = {"address": "198.51.100.1", "port": 80, "protocol": "tcp"}
    both = [{**one, "reals": [{"address": "10.0.0.1"}, {"address": "10.0.0.2"}]}]
    with pytest.raises(ConfigError, match=r"2 reals, but sizes\.reals is 2"):
        foresee(configured(host, {"vips": []}), configured(host, {"vips": both}))
    assert key_of(both[0]) == "198.51.100.1:80/tcp"
