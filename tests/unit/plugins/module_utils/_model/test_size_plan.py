# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Maps of other sizes: which are made anew, what has no room there, and what that does to flows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model.balancer_snapshot import BalancerSnapshot, Room
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ProgramError
from ansible_collections.katran.fleet.plugins.module_utils._model.ids import Ids
from ansible_collections.katran.fleet.plugins.module_utils._model.map_specs import (
    ARRAY,
    DEFAULT_SIZES,
    HASH,
    balancer_maps,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.settings import BalancerSettings, parse_settings
from ansible_collections.katran.fleet.plugins.module_utils._model.size_plan import (
    asks_room,
    check_room,
    has_contents,
    maps_to_migrate,
    rehash_lines,
    seeds_hash,
    sizes_of,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.snapshot import MapInfo, ProgramInfo
from ansible_collections.katran.fleet.plugins.module_utils._model.state import ProgramRecord, State
from ansible_collections.katran.fleet.plugins.module_utils._model.wanted import Wanted
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils.stored import SETTINGS

FEATURES = ["cidr_vips", "source_routing", "inline_decap", "global_lru", "udp_flow_migration"]
PATH = "/var/lib/katran-fleet/edge/state.json"


def settings(features: list[str] | None = None, **sizes: int) -> BalancerSettings:
    used = FEATURES if features is None else features
    return parse_settings({**SETTINGS, "features": used, "sizes": {**DEFAULT_SIZES, **sizes}})


def infos(of: BalancerSettings) -> dict[str, MapInfo]:
    return {
        name: MapInfo(spec.type, 100 + at, spec.key_size, spec.value_size, spec.entries(of.sizes), spec.flags, name)
        for at, (name, spec) in enumerate(balancer_maps(of).items())
    }


def state(**options: Any) -> State:
    return State("edge", "/sys/fs/bpf", **options)


def test_maps_say_of_what_sizes_they_are() -> None:
    sizes = {"vips": 64, "cidr_vips": 32, "reals": 100, "ring": 1009, "source_routes": 77, "server_ids": 500}
    assert sizes_of(infos(settings(**sizes))) == sizes
    # So few VIPs that the global counters take more room than theirs.
    assert sizes_of(infos(settings([], vips=3)))["vips"] == 3
    assert sizes_of({}) == {}
    some = infos(settings(**sizes))
    assert sizes_of({"vip_map": some["vip_map"]}) == {"vips": 64}
    assert sizes_of({"decap_dst": some["decap_dst"], "reals": some["reals"]}) == {"vips": 64, "reals": 100}
    assert sizes_of({"stats": some["stats"]}) == {"vips": 64}


def test_what_differs_is_made_anew() -> None:
    there = infos(settings())
    assert maps_to_migrate(settings(), there) == []
    assert maps_to_migrate(settings(cidr_vips=7), there) == [
        "vip_lpm_map",
        "vip_lpm4_map",
        "vip_address_lpm4",
        "vip_address_lpm6",
    ]
    assert maps_to_migrate(settings([*FEATURES, "server_id_hash"]), there) == ["server_id_map"]
    # A map that is not there is made for the first time.
    del there["vip_lpm_map"]
    assert "vip_lpm_map" not in maps_to_migrate(settings(cidr_vips=7), there)


def test_whether_maps_were_ever_in_use() -> None:
    program = ProgramInfo(6, 77, "bb", 1, 1, (), "balancer")
    assert not has_contents(state(), BalancerSnapshot())
    assert has_contents(state(), BalancerSnapshot(current=program))
    assert has_contents(state(program=ProgramRecord(tag="bb")), BalancerSnapshot())
    assert has_contents(state(vips=[{}]), BalancerSnapshot())


def test_which_sizes_seed_the_hash() -> None:
    there = infos(settings())
    assert not seeds_hash(settings(reals=7, cidr_vips=5, server_ids=9), there)
    assert seeds_hash(settings(vips=7), there)
    assert seeds_hash(settings(ring=1009), there)


def test_where_there_may_be_no_room() -> None:
    there = infos(settings(source_routes=10, server_ids=100))
    assert asks_room("lpm_src_v4", there["lpm_src_v4"], settings(source_routes=9))
    assert not asks_room("lpm_src_v4", there["lpm_src_v4"], settings(source_routes=10))
    assert not asks_room("ch_rings", there["ch_rings"], settings(vips=1))
    hashed = replace(there["server_id_map"], type=HASH)
    assert asks_room("server_id_map", hashed, settings(server_ids=100))
    assert not asks_room("server_id_map", hashed, settings([*FEATURES, "server_id_hash"], server_ids=100))
    assert not asks_room("server_id_map", there["server_id_map"], settings(server_ids=100))
    assert not asks_room("lpm_src_v4", replace(there["lpm_src_v4"], type=HASH), settings(source_routes=10))


def fault(of: BalancerSettings, seen: BalancerSnapshot, before: State | None = None) -> str:
    try:
        check_room(before or state(), of, list(seen.room), seen)
    except ProgramError as error:
        return str(error)
    return ""


def held(name: str, entries: int, highest: int, **there: Any) -> BalancerSnapshot:
    info = infos(settings(source_routes=10, server_ids=100))[name]
    return BalancerSnapshot(maps={name: replace(info, **there)}, room={name: Room(entries, highest)})


def test_numbers_that_vips_and_reals_have_must_fit() -> None:
    before = state(
        vip_numbers=Ids(0, {"198.51.100.2:80/tcp": 4, "198.51.100.1:80/tcp": 3}), real_ids=Ids(1, {"10.0.0.1": 5})
    )
    none = BalancerSnapshot()
    assert fault(settings(vips=5, reals=6), none, before) == ""
    assert fault(settings(vips=4, reals=6), none, before) == (
        "sizes.vips: VIP 198.51.100.2:80/tcp has number 4, which does not fit into 4;"
        " remove it first or choose a larger size"
    )
    assert fault(settings(vips=2, reals=6), none, before).startswith(
        "sizes.vips: VIP 198.51.100.1:80/tcp has number 3,"
    )
    assert fault(settings(vips=5, reals=5), none, before) == (
        "sizes.reals: real 10.0.0.1 has number 5, which does not fit into 5; remove it first or choose a larger size"
    )


def test_entries_must_fit() -> None:
    assert fault(settings(source_routes=8), held("lpm_src_v4", 8, 0)) == ""
    assert fault(settings(source_routes=8), held("lpm_src_v4", 9, 0)) == (
        "sizes.source_routes: map lpm_src_v4 has 9 entries, which do not fit into 8;"
        " remove some first or choose a larger size"
    )
    # Where there is as much room as before, it is enough, whatever was counted.
    assert fault(settings(source_routes=10), held("lpm_src_v4", 99, 99)) == ""


def test_ids_of_an_array_must_fit() -> None:
    assert fault(settings(server_ids=90), held("server_id_map", 3, 89)) == ""
    assert fault(settings(server_ids=90), held("server_id_map", 3, 90)) == (
        "sizes.server_ids: id 90 of map server_id_map does not fit into 90; remove it first or choose a larger size"
    )


def test_ids_that_only_a_hash_can_hold() -> None:
    there = held("server_id_map", 3, 100, type=HASH)
    assert fault(settings(server_ids=100), there) == (
        "features: server_id_hash cannot go while there is server id 100: without it they are less than"
        " sizes.server_ids (100); remove it first"
    )
    assert fault(settings(server_ids=101), there) == ""
    assert fault(settings([*FEATURES, "server_id_hash"], server_ids=90), there) == ""
    assert fault(settings([*FEATURES, "server_id_hash"], server_ids=2), there).startswith("sizes.server_ids: map ")


def test_only_what_was_counted_is_looked_at() -> None:
    info = infos(settings(source_routes=10))["lpm_src_v4"]
    seen = BalancerSnapshot(maps={"lpm_src_v4": info})
    check_room(state(), settings(source_routes=1), ["lpm_src_v4"], seen)
    assert info.type != ARRAY


def rehash(of: BalancerSettings, before: State | None = None, **options: Any) -> tuple[list[str], list[str]]:
    wanted = Wanted(of, "attached", "/src", accept_rehash=options.pop("accept", False))
    return rehash_lines(PATH, wanted, before or state(), BalancerSnapshot(maps=infos(settings()), **options))


def test_sizes_that_move_no_flow() -> None:
    assert rehash(settings()) == ([], [])
    reals = DEFAULT_SIZES["reals"]
    assert rehash(settings(reals=7)) == ([], [f"reals {reals} → 7"])


def test_a_rehash_is_told_with_what_it_moves_and_wants_consent() -> None:
    vips, ring = DEFAULT_SIZES["vips"], DEFAULT_SIZES["ring"]
    both = settings(vips=7, ring=1009)
    assert rehash(both, accept=True, moves=(900, 300)) == (
        ["rehash: of 900 flows in the connection tables, 300 would be chosen another real"],
        [f"vips {vips} → 7", f"ring {ring} → 1009"],
    )
    assert rehash(both, accept=True)[0][0].startswith("rehash: of 0 flows in the connection tables, 0 would ")
    with pytest.raises(ProgramError) as caught:
        rehash(both, moves=(900, 300))
    assert str(caught.value) == (
        f"sizes: vips {vips} → 7, ring {ring} → 1009 seed the flow hash: of 900 flows in the connection tables, 300"
        " would be chosen another real by a balancer that does not know them; change the whole fleet, and give"
        " accept_rehash: true"
    )


def test_a_rehash_needs_to_know_the_weights() -> None:
    lost = state()
    lost.lost = True
    with pytest.raises(ProgramError) as caught:
        rehash(settings(vips=7, ring=1009), lost, accept=True)
    vips, ring = DEFAULT_SIZES["vips"], DEFAULT_SIZES["ring"]
    assert str(caught.value) == (
        f"sizes: vips {vips} → 7, ring {ring} → 1009 cannot change while {PATH} is lost, because the reals' weights"
        " are unknown; apply the VIPs first"
    )
    assert rehash(settings(), lost) == ([], [])
