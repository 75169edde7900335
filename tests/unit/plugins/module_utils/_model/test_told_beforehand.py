# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is told of resources before a run: faults, warnings, and VIPs that a real serves, at their boundaries."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model.inventory import (
    Resources,
    Served,
    canonical,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.records import shown
from ansible_collections.katran.fleet.plugins.module_utils._model.resources import config_faults, config_warnings
from ansible_collections.katran.fleet.plugins.module_utils._model.shape import _value_told
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils._model.configs import ALL, reals, vip

A, B, C = "10.0.0.1", "10.0.0.2", "10.0.0.3"
IDLE = "source_routes: no packet follows them, as no VIP has flag source_routing"


def test_faults_of_each_resource() -> None:
    covering = vip("10.0.0.0/8", reals=reals(A))
    ssh = [vip(A, 2222), vip(reals=reals(A))]
    (line,) = config_faults({"vips": [covering]}, ALL)
    assert line.startswith("vips[0].address: 10.0.0.0/8:443/tcp covers the real 10.0.0.1: ")
    assert config_faults({"vips": [covering]}, ALL, True) == []
    assert config_faults({"vips": ssh}, ALL) == []
    assert len(config_faults({"vips": ssh}, ALL, False, 2222)) == 1
    found = config_faults({"vips": [vip(port=0, flags=["nonsense"])], "server_ids": [{"id": 0, "real": A}]}, ALL)
    assert [sentence.partition("[")[0] for sentence in found] == ["vips", "server_ids"]
    assert config_faults({"vips": "text"}, ALL) != []
    assert config_faults({}, ALL) == []
    # As for state overridden, and an inventory may say that there is nothing.
    assert config_faults({"vips": [], "server_ids": None}, ALL) == []


def test_warnings_of_resources_that_are_valid() -> None:
    octal = "vips[1].port: 291 is what YAML makes of 443 with a 0 before it; if 443 is meant, write it without"
    vips = [vip(), vip(port=291), "nonsense"]
    routes = [{"prefix": "192.0.2.0/24", "real": A}]
    assert config_warnings({"vips": vips}) == [octal]
    assert config_warnings({"vips": vips, "source_routes": routes}) == [octal, IDLE]
    assert config_warnings({"vips": [vip(flags=["source_routing"])], "source_routes": routes}) == []
    assert config_warnings({"source_routes": routes}) == []
    assert config_warnings({"vips": None, "source_routes": routes}) == []
    assert config_warnings({"vips": [], "source_routes": routes}) == [IDLE]
    assert config_warnings({"vips": (vip(port=291),)}) == [octal.replace("[1]", "[0]")]


@pytest.mark.parametrize(
    ("value", "told"),
    [(True, True), (False, False), ("yes", True), ("YES", True), ("no", False), (1, True), (0, False), ("t", True)],
)
def test_truth_as_modules_take_it(value: Any, told: bool) -> None:
    assert _value_told(value, {"type": "bool"}) is told


def test_a_value_of_a_file_is_shown_shortened() -> None:
    assert shown({"a": None}) == '{"a": null}'
    longest = next(length for length in range(1, 999) if shown("x" * length).endswith("…"))
    assert len(shown("x" * (longest - 1))) + 1 == len(shown("x" * longest))
    assert shown("x" * (longest - 1)) == f'"{"x" * (longest - 1)}"'


def served(*vips: Any, **tables: Any) -> Served:
    return Served.of(Resources({"vips": vips, **tables}))


def test_vips_that_lead_to_a_real() -> None:
    found = served(
        vip("198.51.100.1", reals=reals(A, B)),
        vip("198.51.100.2/32", reals=reals(B), down_reals=["10.0.0.3"]),
        vip("198.51.100.0/24", reals=reals(A)),
        vip("2001:db8::1/128", reals="nonsense"),
        vip("2001:db8::/32"),
        "nonsense",
    )
    assert found.everything == {"198.51.100.1", "198.51.100.2", "2001:db8::1"}
    assert found.to([]) == found.everything
    assert found.to([A]) == {"198.51.100.1"}
    assert found.to([B]) == {"198.51.100.1", "198.51.100.2"}
    assert found.to([A, C]) == {"198.51.100.1", "198.51.100.2"}
    assert found.to(["10.0.0.9"]) == set()


def test_vips_whose_tables_lead_to_a_real() -> None:
    ids, routes = [{"id": 7, "real": A}, "nonsense"], [{"prefix": "192.0.2.0/24", "real": B}]
    follows = vip("198.51.100.2", 53, "udp", flags=["source_routing"])
    both = served(vip("198.51.100.1"), follows, server_ids=ids, source_routes=routes)
    assert both.to([A]) == {"198.51.100.1"}
    assert both.to([B]) == {"198.51.100.2"}
    assert both.to([A, B]) == {"198.51.100.1", "198.51.100.2"}
    assert both.to([C]) == set()
    listed = served(vip("198.51.100.1", 53, "udp", reals=reals(A)), vip("198.51.100.2"), server_ids=ids)
    assert listed.to([A]) == {"198.51.100.1", "198.51.100.2"}
    assert served().everything == set()
    assert Served.of(Resources({})).to([A]) == set()


def test_one_spelling_of_an_address() -> None:
    assert [canonical(each) for each in ("FC00:0::1", "10.0.0.1", "web", None)] == [
        "fc00::1",
        "10.0.0.1",
        "web",
        "None",
    ]


@pytest.mark.parametrize(
    ("real", "active"),
    [
        ({}, True),
        ({"state": "active", "weight": "1"}, True),
        ({"state": "draining"}, False),
        ({"weight": 0}, False),
        ({"weight": "0"}, False),
        ({"state": "active", "weight": None}, True),
    ],
)
def test_vips_with_too_few_active_reals(real: dict[str, Any], active: bool) -> None:
    entry = vip(reals=[{"address": A, **real}])
    assert bool(Resources({"vips": [entry]}).starved(1)) is not active
    assert list(Resources({}).starved(1)) == []
