# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Drift beside what the configuration says: an empty ring, a VIP without down reals, a real that changes as well."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils.memory_kernel import Host, Shape

NAME = "198.51.100.1:80/udp"


@pytest.fixture
def host() -> Host:
    return Host(Shape.of())


def vip(**real: Any) -> dict[str, Any]:
    reals = [{"address": "10.0.0.1", **real}]
    return {
        "address": "198.51.100.1",
        "port": 80,
        "protocol": "udp",
        "flags": ["udp_flow_migration"],
        "reals": reals,
    }


def test_slots_in_a_ring_that_is_to_be_empty(host: Host) -> None:
    config = [vip(weight=0)]
    host.run("vips", config)
    number = host.state.vip_numbers.assigned[NAME]
    host.maps.ring(number).cast("B")[8:12] = layout.u32(1)
    for run in (host.check, host.run):
        assert run("vips", config).drift == [f"vip {NAME}: 1 ring slots changed, repaired"]
    assert not any(host.maps.ring(number))
    assert not host.run("vips", config).changed


def test_down_reals_of_a_vip_that_has_none(host: Host) -> None:
    config = [vip()]
    host.run("vips", config)
    key = layout.vip_definition(layout.pack_address("198.51.100.1"), 80, 17)
    host.maps._down[key] = frozenset({1})
    sentence = f"vip {NAME}: down reals that are not ours, removed from vip_to_down_reals_map"
    for run in (host.check, host.run):
        assert run("vips", config).drift == [sentence]
    assert host.maps.down_sets() == {}
    # Where it had some by the configuration before, their end is no drift.
    host.run("vips", [{**vip(), "down_reals": ["10.0.0.1"]}])
    assert host.maps.down_sets()
    assert host.run("vips", config).drift == []


@pytest.mark.parametrize("local", [False, True])
def test_the_address_of_a_real_that_the_run_changes_too(host: Host, local: bool) -> None:
    host.run("vips", [vip(local=not local)])
    [(key, value)] = host.maps.entries("reals").items()
    host.maps._entries["reals"][key] = bytes([value[0] ^ 1]) + value[1:]
    for run in (host.check, host.run):
        assert run("vips", [vip(local=local)]).drift == ["real 10.0.0.1: changed in reals, repaired"]
    # The flag alone is what the configuration says.
    assert host.run("vips", [vip(local=not local)]).drift == []
