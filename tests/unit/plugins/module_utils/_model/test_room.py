# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether what is in a balancer's maps has room in smaller ones: to the last number, id and entry."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model.balancer_snapshot import BalancerSnapshot, Room
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ProgramError
from ansible_collections.katran.fleet.plugins.module_utils._model.ids import Ids
from ansible_collections.katran.fleet.plugins.module_utils._model.map_specs import ARRAY, HASH, LPM_TRIE
from ansible_collections.katran.fleet.plugins.module_utils._model.settings import parse_settings
from ansible_collections.katran.fleet.plugins.module_utils._model.size_plan import check_room
from ansible_collections.katran.fleet.plugins.module_utils._model.snapshot import MapInfo
from ansible_collections.katran.fleet.plugins.module_utils._model.state import State
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils._model.configs import SETTINGS

STATE = State("default", "/sys/fs/bpf")


def check(
    sizes: dict[str, int], state: State = STATE, maps: dict[str, tuple[int, int, Room]] | None = None, **options: Any
) -> str:
    """The sentence of what does not fit; empty where all does. `maps`: name → (type, entries, what is in it)."""
    found = maps or {}
    seen = BalancerSnapshot(
        maps={name: MapInfo(kind, 1, 4, 4, entries, 0, name) for name, (kind, entries, _room) in found.items()},
        room={name: room for name, (_kind, _entries, room) in found.items()},
    )
    try:
        check_room(state, parse_settings({**SETTINGS, "sizes": sizes, **options}), list(found), seen)
    except ProgramError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(("size", "noun", "name"), [("vips", "VIP", "vip_numbers"), ("reals", "real", "real_ids")])
def test_numbers_begin_at_zero_so_that_the_size_is_none(size: str, noun: str, name: str) -> None:
    state = replace(STATE, **{name: Ids(0, {"first": 3, "last": 7})})
    assert check({size: 8}, state) == ""
    assert check({size: 7}, state) == (
        f"sizes.{size}: {noun} last has number 7, which does not fit into 7; remove it first or choose a larger size"
    )


def test_ids_of_an_array_begin_at_zero() -> None:
    maps = {"server_id_map": (ARRAY, 5000, Room(2, 4000))}
    assert check({"server_ids": 4001}, maps=maps) == ""
    assert check({"server_ids": 4000}, maps=maps).startswith(
        "sizes.server_ids: id 4000 of map server_id_map does not fit into 4000;"
    )


def test_a_hash_that_becomes_an_array_asks_for_its_highest_id() -> None:
    maps = {"server_id_map": (HASH, 5000, Room(2, 4000))}
    assert check({"server_ids": 4001}, maps=maps) == ""
    assert check({"server_ids": 4000}, maps=maps).startswith("features: server_id_hash cannot go while there is server")
    # One that stays a hash has room for any id.
    assert check({"server_ids": 2}, maps=maps, features=["server_id_hash"]) == ""


@pytest.mark.parametrize(("name", "size"), [("lpm_src_v4", "source_routes"), ("vip_lpm4_map", "cidr_vips")])
def test_entries_of_others_are_counted(name: str, size: str) -> None:
    maps = {name: (LPM_TRIE, 20, Room(10, 0))}
    assert check({size: 10}, maps=maps) == ""
    assert check({size: 9}, maps=maps).startswith(f"sizes.{size}: map {name} has 10 entries, which do not fit into 9;")
    # What is full may grow.
    assert check({size: 30}, maps={name: (LPM_TRIE, 20, Room(20, 0))}) == ""
