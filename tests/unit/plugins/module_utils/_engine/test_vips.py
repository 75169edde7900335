# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each change of VIPs and of the overlay costs: which entries of which maps, and not one more."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._engine.request import Result
from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ConfigError, PlanError
from ansible_collections.katran.fleet.plugins.module_utils._model.own_addresses import HostAddresses
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils._engine.counted_runs import (
    ABC,
    EQUAL,
    OTHER,
    RING,
    A,
    B,
    C,
    D,
    apply,
    moved,
    real,
    ring,
    table,
    vip,
)
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils.memory_kernel import (
    Entry,
    Host,
    Shape,
    assert_vips,
    key_of,
)


def test_a_new_vip(host: Host) -> None:
    result = apply(host, OTHER)
    assert result.operations == {"ch_rings": RING, "reals": 2, "vip_addresses": 1, "vip_index": 1, "vip_map": 1}
    result = apply(host, OTHER, ABC)
    # The same address on another port, and one real that is known: B and C are new.
    assert result.operations == {"ch_rings": RING, "reals": 2, "vip_index": 1, "vip_map": 1}
    assert result.changes == ["vip 198.51.100.1:443/tcp: added with 3 reals"]
    assert result.before == []
    assert result.after == [ABC]


def test_a_vip_that_goes(host: Host) -> None:
    apply(host, ABC, OTHER)
    result = apply(host, OTHER)
    assert result.operations == {"ch_rings": RING, "reals": 2, "vip_index": 1, "vip_map": 1}
    assert result.changes == ["vip 198.51.100.1:443/tcp: removed"]
    assert (result.before, result.after) == ([ABC], [])
    result = apply(host)
    assert result.operations == {"ch_rings": RING, "reals": 2, "vip_addresses": 1, "vip_index": 1, "vip_map": 1}
    assert host.maps.snapshot()["rings"] == {}


def changed(host: Host, before: Entry, after: Entry, *others: Entry) -> dict[str, int]:
    """The operations of a change of one VIP."""
    apply(host, before, OTHER, *others)
    result = apply(host, after, OTHER, *others)
    assert_vips(host, [after, OTHER, *others])
    assert (result.before, result.after) == ([before], [after])
    return result.operations


def test_a_weight(host: Host) -> None:
    operations = changed(host, ABC, vip(reals=[real(A), real(B, 3), real(C)]))
    assert operations == {"ch_rings": moved(EQUAL, ring((A, 1), (B, 3), (C, 1)))}


def test_weights_in_the_same_proportion_write_nothing(host: Host) -> None:
    operations = changed(host, ABC, vip(reals=[real(A, 5), real(B, 5), real(C, 5)]))
    assert operations == {}
    assert host.run("vips", [ABC, OTHER]).changes == [
        f"vip 198.51.100.1:443/tcp: weight of {address} 5 → 1" for address in (A, B, C)
    ]


@pytest.mark.parametrize("drained", [real(C, 0), real(C, state="draining"), real(C, state="down")])
def test_a_drain_keeps_the_real_for_its_old_flows(host: Host, drained: Entry) -> None:
    operations = changed(host, ABC, vip(reals=[real(A), real(B), drained]))
    assert operations == {"ch_rings": moved(EQUAL, ring((A, 1), (B, 1)))}
    assert C in {address for address, _local in host.actual().reals.values()}


def test_down_with_flow_migration(host: Host) -> None:
    flags = ["udp_flow_migration"]
    up = vip(flags=flags, protocol="udp", reals=[real(A), real(B), real(C)])
    down = vip(flags=flags, protocol="udp", reals=[real(A), real(B), real(C, state="down")])
    slots = moved(EQUAL, ring((A, 1), (B, 1)))
    assert changed(host, up, down) == {"ch_rings": slots, "vip_to_down_reals_map": 1}
    assert apply(host, up, OTHER).operations == {"ch_rings": slots, "vip_to_down_reals_map": 1}


def test_a_list_of_down_reals(host: Host) -> None:
    flags = ["udp_flow_migration"]
    before = vip(flags=flags, protocol="udp", reals=[real(B)])
    after = vip(flags=flags, protocol="udp", reals=[real(B)], down_reals=[A, C])
    assert changed(host, before, after) == {"reals": 1, "vip_to_down_reals_map": 1}


def test_a_real_that_goes(host: Host) -> None:
    operations = changed(host, ABC, vip(reals=[real(A), real(B)]))
    assert operations == {"ch_rings": moved(EQUAL, ring((A, 1), (B, 1))), "reals": 1}


def test_a_real_that_goes_but_is_used_elsewhere(host: Host) -> None:
    operations = changed(host, ABC, vip(reals=[real(B), real(C)]))
    assert operations == {"ch_rings": moved(EQUAL, ring((B, 1), (C, 1)))}


@pytest.mark.parametrize(
    ("resource", "entry"),
    [("source_routes", {"prefix": "192.0.2.0/24", "real": C}), ("server_ids", {"id": 7, "real": C})],
)
def test_a_real_that_a_table_uses_stays(host: Host, resource: str, entry: Entry) -> None:
    apply(host, ABC)
    assert sum(host.run(resource, [entry]).operations.values()) == 1
    assert apply(host, vip(reals=[real(A), real(B)])).operations == {"ch_rings": moved(EQUAL, ring((A, 1), (B, 1)))}
    table = {"source_routes": "lpm_src_v4", "server_ids": "server_id_map"}[resource]
    assert host.run(resource, []).operations == {table: 1, "reals": 1}


def test_the_last_real_that_goes_leaves_an_empty_ring(host: Host) -> None:
    operations = changed(host, vip(reals=[real(B)]), vip(reals=[]))
    assert operations == {"ch_rings": RING, "reals": 1}
    assert set(host.actual().vips[key_of(ABC)][2]) == {None}
    assert apply(host, vip(reals=[real(B, 0)]), OTHER).operations == {"reals": 1}


def test_the_local_flag(host: Host) -> None:
    operations = changed(host, ABC, vip(reals=[real(A), real(B, local=True), real(C)]))
    assert operations == {"reals": 1}


def test_the_hash(host: Host) -> None:
    weighted = vip(reals=[real(A), real(B, 2), real(C)])
    operations = changed(host, weighted, {**weighted, "hash": "maglev_v1"})
    reals = ((A, 1), (B, 2), (C, 1))
    assert operations == {"ch_rings": moved(ring(*reals), ring(*reals, kind="maglev_v1"))}


def test_a_flag(host: Host) -> None:
    assert changed(host, ABC, {**ABC, "flags": ["no_lru", "quic"]}) == {"vip_index": 1, "vip_map": 1}
    assert host.run("vips", [ABC, OTHER]).changes == ["vip 198.51.100.1:443/tcp: flags no_lru,quic → none"]


def test_flow_migration_on_a_vip_with_down_reals(host: Host) -> None:
    plain = vip(protocol="udp", reals=[real(A), real(B, state="down")])
    assert changed(host, plain, {**plain, "flags": ["udp_flow_migration"]}) == {
        "vip_index": 1,
        "vip_map": 1,
        "vip_to_down_reals_map": 1,
    }
    assert apply(host, plain, OTHER).operations == {"vip_index": 1, "vip_map": 1, "vip_to_down_reals_map": 1}


def learned(host: Host) -> dict[int, bytes]:
    return {layout.parse_u32(key): value for key, value in host.maps.entries("vip_learned").items()}


HASHED = vip(flags=["hash_dst_port_only"])


def marked(host: Host, name: str = "198.51.100.1:443/tcp") -> bool:
    """Whether the program looks for flows of a VIP; no other number is marked."""
    number = host.state.vip_numbers.assigned.get(name)
    found = learned(host)
    assert found in ({}, {number: layout.u32(1)})
    return bool(found)


@pytest.fixture
def pure() -> Host:
    """A balancer that asks for no server ids, so that the ring alone says where a hash_dst_port_only VIP's flows go."""
    shape = Shape.of(vips=8, reals=130, ring=RING, cidr_vips=8)
    assert "tcp_server_id" not in shape.features
    return Host(shape)


def test_flows_of_a_vip_that_learns_no_more_are_still_looked_for(pure: Host) -> None:
    assert apply(pure, HASHED, OTHER).operations.get("vip_learned") is None
    assert apply(pure, vip(), OTHER).operations == {"vip_index": 1, "vip_map": 1}
    assert apply(pure, HASHED, OTHER).operations == {"vip_index": 1, "vip_learned": 1, "vip_map": 1}
    assert marked(pure)
    # Whatever else it becomes, as long as it does not learn; and so once it does.
    both = vip(flags=["hash_dst_port_only", "hash_no_src_port"])
    assert apply(pure, both, OTHER).operations == {"vip_index": 1, "vip_map": 1}
    assert marked(pure)
    assert apply(pure, vip(), OTHER).operations == {"vip_index": 1, "vip_learned": 1, "vip_map": 1}
    assert not marked(pure)
    # The tables outlive it.
    apply(pure, OTHER)
    apply(pure, HASHED, OTHER)
    assert marked(pure)


def test_a_vip_that_never_learned_has_no_flows_to_look_for(pure: Host) -> None:
    for flags in (["no_lru"], ["hash_dst_port_only"], ["no_lru", "source_routing"], ["hash_dst_port_only", "no_lru"]):
        apply(pure, vip(flags=flags), OTHER)
        apply(pure, OTHER)
    apply(pure, HASHED, OTHER)
    assert not marked(pure)


def test_flows_that_another_vip_of_the_same_address_learned_are_looked_for(pure: Host) -> None:
    apply(pure, vip("198.51.100.0/24", port=0))
    assert not marked(pure)
    apply(pure, HASHED)
    assert marked(pure)


def test_a_vip_that_learns_by_server_id_is_marked_for_a_program_that_does_not(pure: Host) -> None:
    shape = replace(pure.shape, features=pure.shape.features | {"tcp_server_id"})
    asking = Host(shape)
    apply(asking, HASHED)
    assert marked(asking)
    apply(pure, HASHED)
    assert not marked(pure)


def test_flows_that_a_vip_learned_before_its_run_was_killed_are_looked_for(pure: Host) -> None:
    apply(pure, OTHER)
    twin = copy.deepcopy(pure)
    twin.fuse.steps = 0
    twin.run("vips", [vip(), OTHER])
    visible = 0
    for stop in range(twin.fuse.steps):
        host = copy.deepcopy(pure)
        assert host.killed(stop, "vips", [vip(), OTHER])
        seen = "198.51.100.1:443/tcp" in host.actual().vips
        visible += seen
        # The next run wants it otherwise at once, or only after it was gone.
        for ways in ([[HASHED, OTHER]], [[OTHER], [HASHED, OTHER]]):
            after = copy.deepcopy(host)
            for vips in ways:
                result = after.run("vips", vips)
                assert not result.drift
            assert marked(after) or not seen
    assert visible


def test_what_a_lost_state_knew_of_flows_is_read_from_the_kernel(pure: Host) -> None:
    apply(pure, vip(), OTHER)
    apply(pure, HASHED, OTHER)
    del pure.file.files["state.json"]
    apply(pure, HASHED, OTHER)
    assert marked(pure)


def test_a_cidr_vip(host: Host) -> None:
    apply(host, OTHER)
    wide = vip("203.0.113.0/24", reals=[real(A)])
    six = vip("2001:db8::/48", reals=[real("fc00::1")])
    assert apply(host, OTHER, wide, six).operations == {
        "ch_rings": 2 * RING,
        "cidr_vip_keys": 2,
        "reals": 1,
        "vip_address_lpm4": 1,
        "vip_address_lpm6": 1,
        "vip_lpm4_map": 1,
        "vip_lpm_map": 1,
    }


def test_one_real_of_a_hundred_moves_little_beyond_its_share() -> None:
    host = Host(Shape.of(vips=1, reals=200, ring=65537))
    hundred = [real(f"10.0.1.{last}") for last in range(100)]
    apply(host, vip(reals=hundred))
    slots = apply(host, vip(reals=[*hundred, real(A)])).operations["ch_rings"]
    share = host.actual().vips[key_of(ABC)][2].count(A)
    assert share == pytest.approx(65537 / 101, rel=0.01)
    assert slots - share <= 0.01 * 65537


def test_five_hundred_vips_of_which_one_changes() -> None:
    host = Host(Shape.of(vips=500, reals=600, ring=31))
    fleet = [
        vip(f"198.51.{last // 250}.{last % 250}", reals=[real(A), real(f"10.1.{last // 250}.{last % 250}")])
        for last in range(500)
    ]
    host.run("vips", fleet)
    fleet[250]["reals"][1]["weight"] = 3
    result = host.check("vips", fleet)
    assert result.changes == ["vip 198.51.1.0:443/tcp: weight of 10.1.1.0 1 → 3"]
    assert len(result.before) == len(result.after) == 1
    assert set(result.operations) == {"ch_rings"}


# The overlay


def overlay(host: Host, *entries: Entry, state: str = "merged") -> Result:
    host.maps.writes.clear()
    result = host.run("reals", entries, state)
    assert dict(sorted(host.maps.writes.items())) == result.operations
    assert not host.run("reals", entries, state).changed
    return result


def test_a_real_is_drained_in_every_vip_that_has_it(host: Host) -> None:
    apply(host, ABC, OTHER, vip(port=22, reals=[real(D)]))
    slots = moved(EQUAL, ring((B, 1), (C, 1))) + moved(ring((A, 1), (D, 3)), ring((D, 1)))
    result = overlay(host, {"address": A, "state": "draining"})
    assert result.operations == {"ch_rings": slots}
    assert result.changes == ["real 10.0.0.1: as its VIPs say → draining"]
    assert result.after == [{"address": A, "state": "draining"}]
    # The deploy after it does not undo it, and says so.
    again = apply(host, ABC, OTHER, vip(port=22, reals=[real(D)]))
    assert not again.changed
    assert len(again.warnings) == 1
    assert again.warnings[0].startswith("real 10.0.0.1 is draining by hand since 20")
    assert overlay(host, {"address": A}, state="deleted").operations == {"ch_rings": slots}


def test_an_overlay_that_puts_down(host: Host) -> None:
    up = vip(flags=["udp_flow_migration"], protocol="udp", reals=[real(A), real(B), real(C)])
    apply(host, up)
    slots = moved(EQUAL, ring((A, 1), (B, 1)))
    result = overlay(host, {"address": C, "state": "down"})
    assert result.operations == {"ch_rings": slots, "vip_to_down_reals_map": 1}
    # From down to draining: out of the down set, and still out of the ring.
    assert overlay(host, {"address": C, "state": "draining"}).operations == {"vip_to_down_reals_map": 1}


def test_an_overlay_that_overrules_a_state(host: Host) -> None:
    apply(host, vip(reals=[real(A), real(B), real(C, state="draining")]))
    slots = moved(ring((A, 1), (B, 1)), EQUAL)
    assert overlay(host, {"address": C, "state": "active"}).operations == {"ch_rings": slots}


def test_an_overlay_of_a_real_that_no_vip_has(host: Host) -> None:
    result = host.run("reals", [{"address": "10.9.9.9", "state": "down"}], "merged")
    assert result.operations == {}
    assert result.warnings == ["reals[0].address: no VIP has the real 10.9.9.9"]


def test_bad_input_changes_nothing(host: Host) -> None:
    apply(host, ABC)
    before = host.everything()
    with pytest.raises(ConfigError, match=r"vips\[1\]\.address: 10\.0\.0 is not an IP address"):
        host.run("vips", [OTHER, {**ABC, "address": "10.0.0"}])
    assert host.everything() == before


def test_more_vips_than_fit(host: Host) -> None:
    with pytest.raises(ConfigError, match=r"vips: 9 VIPs, but sizes\.vips is 8"):
        host.run("vips", [vip(port=port) for port in range(1, 10)])


def test_more_reals_than_fit_together() -> None:
    host = Host(Shape.of(reals=4))
    host.run("server_ids", [{"id": 1, "real": A}, {"id": 2, "real": B}])
    before = host.everything()
    with pytest.raises(PlanError, match=r"sizes\.reals: 4 reals, but the balancer has room for 3"):
        host.run("vips", [vip(reals=[real(C), real(D)])])
    assert host.everything() == before


def test_down_sets_of_somebody_else_give_way() -> None:
    host = Host(Shape.of(vips=2))
    for last in (1, 2):
        host.maps.put_down_set(bytes([last]) * 20, frozenset({1}))
    result = apply(host, vip(protocol="udp", flags=["udp_flow_migration"], reals=[real(A, state="down")]))
    assert result.operations["vip_to_down_reals_map"] == 3


def test_an_id_is_in_quarantine_or_in_use(host: Host) -> None:
    tight = Host(Shape.of(vips=1, reals=2))
    for port, address in ((1, A), (2, B), (3, C)):
        apply(tight, vip(port=port, reals=[real(address)]))
        state = tight.state
        assert (state.real_ids.assigned, state.real_ids.quarantine) == ({address: 1}, [])
        assert (list(state.vip_numbers.assigned.values()), state.vip_numbers.quarantine) == ([0], [])


def test_what_a_killed_run_left_is_not_called_somebodys_change(host: Host) -> None:
    apply(host, ABC)
    assert host.killed(5, "reals", [{"address": A, "state": "draining"}])
    result = host.run("vips", [ABC])
    assert result.drift == []
    assert result.changes == ["what an interrupted run left behind is put in order"]
    assert set(result.operations) == {"ch_rings"}


def test_the_reals_to_which_others_lead(host: Host) -> None:
    assert apply(host, ABC).references == {"source_routes": [], "server_ids": []}
    table(host, "server_ids", {"id": 1, "real": B}, {"id": 2, "real": A})
    table(host, "source_routes", {"prefix": "192.0.2.0/24", "real": C})
    assert apply(host, ABC).references == {"source_routes": [C], "server_ids": [A, B]}


def test_vips_that_cover_the_hosts_own_addresses(host: Host) -> None:
    host.addresses = HostAddresses(own=("192.0.2.10",), gateways=("192.0.2.1",))
    cutting = vip(address="192.0.2.10", port=0, reals=[real(A)])
    steps = host.fuse.steps
    for check in (False, True):
        with pytest.raises(ConfigError, match=r"^vips\[1\]\.address: 192\.0\.2\.10:0/tcp covers this host's own addr"):
            host.run("vips", [ABC, cutting], check=check)
        with pytest.raises(ConfigError, match=r"^vips\[0\]\.address: 192\.0\.2\.0/30:443/tcp covers this host's gat"):
            host.run("vips", [vip(address="192.0.2.0/30", reals=[real(A)])], check=check)
    assert host.fuse.steps == steps
    assert host.run("vips", [ABC, cutting], allow_own_addresses=True).warnings == []
    # A fleet that has such a VIP learns of it with the next run, which for other VIPs is no reason to fail.
    (warning,) = host.run("vips", [OTHER], "merged").warnings
    assert warning.startswith("vip 192.0.2.10:0/tcp covers this host's own address 192.0.2.10: ")
    with pytest.raises(ConfigError, match="covers this host's own address"):
        host.run("vips", [ABC, cutting])
    assert host.run("vips", [cutting], "deleted").changed


def test_what_the_host_is_asked_only_where_it_matters(host: Host) -> None:
    class Unasked:
        own = property(lambda _self: pytest.fail("asked"))

    host.addresses = Unasked()  # type: ignore[assignment]  # stands for addresses that nobody may look at
    apply(host, ABC, OTHER)


def test_vips_without_the_flag_that_source_routes_take(host: Host) -> None:
    sentence = "source_routes: no packet follows them, as no VIP has flag source_routing"
    routed = vip(flags=["source_routing"], reals=[real(A)])
    apply(host, routed)
    assert table(host, "source_routes", {"prefix": "192.0.2.0/24", "real": A}).warnings == []
    assert apply(host, routed, OTHER).warnings == []
    assert apply(host, ABC, OTHER).warnings == [sentence]
    assert table(host, "source_routes", {"prefix": "192.0.2.0/25", "real": A}).warnings == [sentence]
