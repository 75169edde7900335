# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs at the edges: full maps, numbers that are out of reach, and every moment at which a run may be killed."""

from __future__ import annotations

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._engine.opened import limits_of, read_actual
from ansible_collections.katran.fleet.plugins.module_utils._engine.request import Request
from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ConfigError
from ansible_collections.katran.fleet.plugins.module_utils._model.ids import Ids
from ansible_collections.katran.fleet.plugins.module_utils._model.operations import Delete, Put
from ansible_collections.katran.fleet.plugins.module_utils._model.state import State
from ansible_collections.katran.fleet.plugins.module_utils._model.table import TableEntry
from ansible_collections.katran.fleet.plugins.module_utils._model.table_plan import plan_entries
from ansible_collections.katran.fleet.plugins.module_utils._model.vip_entries import adopt, known_keys, vip_map_entry
from ansible_collections.katran.fleet.plugins.module_utils._model.vip_plan import references
from ansible_collections.katran.fleet.plugins.module_utils._model.vips import Vip, VipKey, VipReal, vips_from_config
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils._engine.counted_runs import (
    ABC,
    OTHER,
    RING,
    A,
    B,
    C,
    real,
    vip,
)
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils.memory_kernel import Entry, Host, Shape

VIPS = 8
"""As many VIPs as the fixture's host has room for."""


def put_vip(host: Host, entry: Entry, number: int) -> None:
    [key] = list(vips_from_config([entry]))
    name, map_key, value = vip_map_entry(key, 0, number)
    host.maps.put(name, [(map_key, value)])


@pytest.mark.parametrize("number", [VIPS, VIPS + 1, 0xFFFFFFFF])
def test_a_number_beyond_the_rings_is_nobodys(host: Host, number: int) -> None:
    host.run("vips", [ABC])
    before = host.maps.snapshot()
    put_vip(host, OTHER, number)
    actual = read_actual(host.maps)
    names = {key: str(vip) for key, vip in known_keys(actual).items()}
    assert "198.51.100.1:80/tcp" not in adopt(actual, Ids(1), Ids(0), names)[1].assigned
    assert host.run("vips", [ABC]).drift == ["vip 198.51.100.1:80/tcp: not ours, removed from vip_map"]
    assert host.maps.snapshot() == before
    put_vip(host, OTHER, number)
    host.run("vips", [ABC, OTHER])
    assert host.state.vip_numbers.assigned["198.51.100.1:80/tcp"] < VIPS


def test_the_last_number_is_somebodys(host: Host) -> None:
    host.run("vips", [ABC])
    put_vip(host, OTHER, VIPS - 1)
    actual = read_actual(host.maps)
    names = {key: str(vip) for key, vip in known_keys(actual).items()}
    assert adopt(actual, Ids(1), Ids(0), names)[1].assigned["198.51.100.1:80/tcp"] == VIPS - 1


@pytest.mark.parametrize("room", [1, 2, 3])
def test_what_goes_goes_first_only_where_there_is_no_room_otherwise(room: int) -> None:
    have = {layout.u32(number): layout.u32(1) for number in range(2)}
    wanted = [TableEntry("server_id_map", layout.u32(number), A) for number in (1, 2)]
    values = {A: layout.u32(1)}
    operations = plan_entries(wanted, ["server_id_map"], {"server_id_map": have}, {"server_id_map": room}, values)
    put = Put("server_id_map", ((layout.u32(2), layout.u32(1)),))
    gone = Delete("server_id_map", (layout.u32(0),))
    assert operations == ([put, gone] if room > 2 else [gone, put])


def test_a_real_is_local_if_one_of_its_vips_says_so() -> None:
    keys = [VipKey.read(f"198.51.100.1:{port}/tcp") for port in (80, 81, 82)]
    vips = [
        Vip(key, reals=(VipReal(A, local=local),), down_reals=(B,))
        for key, local in zip(keys, (False, True, False), strict=True)
    ]
    assert references(vips) == {A: True, B: False}
    assert references(vips[:1]) == {A: False, B: False}


@pytest.mark.parametrize("address", ["2001:db8::", "2001:db8:1:2::", "2001:0:0:2::", "::1:0:0:0:0", "::7"])
def test_an_ipv6_vip_whose_address_ends_in_zeros(address: str) -> None:
    key = VipKey.of_definition(layout.vip_definition(layout.pack_address(address), 80, 6))
    # Only one whose first four bytes are all that there is cannot be told from IPv4, and is refused.
    assert key.ipv6 == any(layout.pack_address(address)[4:])
    if address != "2001:db8::":
        assert key == VipKey.read(f"[{address}]:80/tcp")


def test_without_a_state_the_maps_tell_how_much_there_is_room_for(host: Host) -> None:
    lost = State("blue", "/sys/fs/bpf", lost=True)
    sizes = limits_of(Request("blue", "/sys/fs/bpf", 1, False), lost, host.maps).sizes
    assert {name: sizes[name] for name in ("vips", "reals", "ring", "server_ids", "source_routes")} == {
        "vips": VIPS,
        "reals": 130,
        "ring": RING,
        "server_ids": 100,
        "source_routes": 10,
    }
    del host.file.files["state.json"]
    many = vip(reals=[real(f"10.1.0.{last}") for last in range(1, 131)])
    with pytest.raises(ConfigError, match=r"^vips: 130 reals, but sizes\.reals is 130 and id 0 is never one$"):
        host.run("vips", [many])


# Killed

ROUTES = [{"prefix": f"192.0.{third}.0/24", "real": each} for third, each in enumerate((A, B, C))]
OTHERS = [{"prefix": f"192.0.{third}.0/24", "real": each} for third, each in enumerate((B, B, A, C))]


def fresh() -> Host:
    return Host(Shape.of(vips=VIPS, reals=130, ring=13, server_ids=100, source_routes=10))


def test_a_tables_run_that_was_killed_is_no_drift_for_the_next() -> None:
    after, killed = 0, True
    while killed:
        host = fresh()
        host.run("vips", [ABC])
        host.run("source_routes", ROUTES)
        killed = host.killed(after, "source_routes", OTHERS)
        # Whoever comes next, with what was wanted before or then, finds nobody else's hand in it.
        for rows in (ROUTES, OTHERS) if after % 2 else (OTHERS, ROUTES):
            assert host.run("source_routes", rows).drift == []
            assert not host.run("source_routes", rows).changed
        assert host.run("vips", [ABC]).drift == []
        after += 1
    assert after > 6


def test_a_killed_runs_rings_are_not_vouched_for() -> None:
    changed = vip(reals=[real(A), real(B, 9), real(C)])
    after, killed, forgotten = 0, True, 0
    while killed:
        host = fresh()
        host.run("vips", [ABC, OTHER])
        known = host.state.rings
        killed = host.killed(after, "vips", [changed, OTHER])
        state = host.state
        if state.interrupted:
            forgotten += 1
            assert state.rings == {"198.51.100.1:80/tcp": known["198.51.100.1:80/tcp"]}
        for vips in ([ABC, OTHER], [changed, OTHER]):
            assert host.run("vips", vips).drift == []
        after += 1
    assert forgotten > 2
