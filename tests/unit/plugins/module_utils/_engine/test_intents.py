# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run writes down before it writes into maps, for the run that comes after it was killed."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._engine.opened import limits_of
from ansible_collections.katran.fleet.plugins.module_utils._engine.request import Request
from ansible_collections.katran.fleet.plugins.module_utils._model.map_specs import DEFAULT_SIZES
from ansible_collections.katran.fleet.plugins.module_utils._model.state import State
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils.memory_kernel import Host, Shape


def vip(address: str, *reals: str) -> dict[str, Any]:
    return {"address": address, "port": 80, "protocol": "tcp", "reals": [{"address": real} for real in reals]}


TABLES: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {
    "source_routes": (
        [{"prefix": "192.0.2.0/24", "real": "10.0.0.1"}],
        [{"prefix": f"192.0.{number}.0/24", "real": "10.0.0.2"} for number in range(5)],
    ),
    "server_ids": (
        [{"id": 7, "real": "10.0.0.1"}],
        [{"id": number, "real": "10.0.0.2"} for number in range(1, 9)],
    ),
    "decap_destinations": (
        [{"address": "203.0.113.1", "egress": True}],
        [{"address": f"203.0.113.{number}", "egress": False} for number in range(1, 6)],
    ),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_says_that_it_is_being_written(name: str) -> None:
    before, after = TABLES[name]
    host = Host(Shape.of())
    host.run(name, before)
    began = False
    for step in range(30):
        killed = host.killed(step, name, after)
        began = began or host.state.interrupted == [name]
        if not killed:
            break
        # What it left is its own doing.
        assert not host.check(name, before).drift
        assert not host.run(name, before).drift
        assert host.state.interrupted == []
    assert began
    assert not killed


def test_a_digest_that_may_be_outdated_is_forgotten_and_others_are_kept() -> None:
    """A run that is killed amid a ring leaves it as no digest says; one that it does not touch is as it was."""
    host = Host(Shape.of())
    one, two = vip("198.51.100.1", "10.0.0.1"), vip("198.51.100.2", "10.0.0.1", "10.0.0.2")
    host.run("vips", [one, two])
    digests = dict(host.state.rings)
    assert set(digests) == {"198.51.100.1:80/tcp", "198.51.100.2:80/tcp"}
    changed = vip("198.51.100.1", "10.0.0.1", "10.0.0.3")
    seen = []
    for step in range(60):
        if not host.killed(step, "vips", [changed, two]):
            break
        if host.state.interrupted:
            seen.append(dict(host.state.rings))
        host.run("vips", [one, two])
    assert seen
    assert all(rings == {"198.51.100.2:80/tcp": digests["198.51.100.2:80/tcp"]} for rings in seen)


def test_a_balancer_whose_state_was_lost_has_the_room_of_its_maps() -> None:
    sizes = {"vips": 5, "cidr_vips": 2, "reals": 9, "ring": 31, "server_ids": 77, "source_routes": 6}
    host = Host(Shape.of(**sizes))
    request = Request("blue", "/sys/fs/bpf", 1, check=False)
    limits = limits_of(request, State("blue", "/sys/fs/bpf", lost=True), host.maps)
    assert {name: limits.sizes[name] for name in sizes} == sizes
    assert limits.features is None
    assert all(DEFAULT_SIZES[name] != size for name, size in sizes.items())
