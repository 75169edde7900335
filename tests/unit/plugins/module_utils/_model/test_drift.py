# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What somebody else changed is told, also where the configuration says little about it or changes at the same time."""

from __future__ import annotations

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.vip_entries import down_set_key
from ansible_collections.katran.fleet.plugins.module_utils._model.vips import vips_from_config
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils._engine.counted_runs import RING, A, B, real, vip
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils.memory_kernel import Host, Shape

IDLE = vip(reals=[real(A, 0)])
MOVING = vip(port=53, protocol="udp", flags=["udp_flow_migration"], reals=[real(A), real(B)])


@pytest.fixture
def host() -> Host:
    found = Host(Shape.of(vips=8, reals=130, ring=RING, server_ids=100, source_routes=10))
    found.run("vips", [IDLE, MOVING])
    return found


def id_of(host: Host, address: str) -> int:
    return host.state.real_ids.assigned[address]


def test_a_ring_that_was_empty_and_is_not(host: Host) -> None:
    number = host.state.vip_numbers.assigned["198.51.100.1:443/tcp"]
    host.maps.put_ring(number, (layout.u32(id_of(host, A)) + bytes(4)) * RING, RING)
    done = host.run("vips", [IDLE, MOVING])
    assert done.drift == [f"vip 198.51.100.1:443/tcp: {RING} ring slots changed, repaired"]
    assert not any(host.maps.ring(number))


def test_a_down_set_of_a_vip_that_has_none(host: Host) -> None:
    [key] = list(vips_from_config([MOVING]))
    host.maps.put_down_set(down_set_key(key), frozenset({id_of(host, A)}))
    assert host.run("vips", [IDLE, MOVING]).drift == [
        "vip 198.51.100.1:53/udp: down reals that are not ours, removed from vip_to_down_reals_map"
    ]
    # One that ends because its VIP's does is the configuration's doing.
    down = {**MOVING, "reals": [real(A), real(B, state="down")]}
    host.run("vips", [IDLE, down])
    assert host.run("vips", [IDLE, MOVING]).drift == []


def test_a_real_that_was_changed_while_the_configuration_makes_it_local(host: Host) -> None:
    changed = layout.real_definition(layout.pack_address("10.9.9.9"), 0)
    host.maps.put("reals", [(layout.u32(id_of(host, A)), changed)])
    local = [vip(reals=[real(A, 0, local=True)]), {**MOVING, "reals": [real(A, local=True), real(B)]}]
    assert host.run("vips", local).drift == [f"real {A}: changed in reals, repaired"]
    # Of its flag alone, the configuration is the cause.
    assert host.run("vips", [IDLE, MOVING]).drift == []
