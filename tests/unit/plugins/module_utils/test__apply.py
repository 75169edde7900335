# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each change of the configuration costs: which entries of which maps, and not one more."""

from __future__ import annotations

import copy
import errno
import typing as t
from dataclasses import replace
from pathlib import Path

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._engine.recovery import recovered
from ansible_collections.katran.fleet.plugins.module_utils._engine.request import Clock, Request, Result
from ansible_collections.katran.fleet.plugins.module_utils._engine.tables import known_table
from ansible_collections.katran.fleet.plugins.module_utils._engine.vips import VipRun
from ansible_collections.katran.fleet.plugins.module_utils._kernel.memory_maps import MemoryMaps
from ansible_collections.katran.fleet.plugins.module_utils._kernel.state_files import StateFile
from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import (
    ConfigError,
    EngineError,
    PlanError,
    StateError,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.ring import build_ring
from ansible_collections.katran.fleet.plugins.module_utils._model.tables import TABLES
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils.memory_kernel import (
    Entry,
    Host,
    Shape,
    assert_vips,
    key_of,
)

RING = 1009
A, B, C, D = (f"10.0.0.{last}" for last in range(1, 5))
WEB = "198.51.100.1"


def vip(address: str = WEB, port: int = 443, **options: t.Any) -> Entry:
    reals = [{"weight": 1, "state": "active", "local": False, **real} for real in options.pop("reals", ())]
    defaults = {"protocol": "tcp", "flags": [], "hash": "maglev_v2", "reals": reals, "down_reals": []}
    return {"address": address, "port": port, **defaults, **options}


def real(address: str, weight: int = 1, **options: t.Any) -> Entry:
    return {"address": address, "weight": weight, **options}


def ring(*reals: tuple[str, int], kind: str = "maglev_v2", size: int = RING) -> list[str | None]:
    """Who has which slot."""
    members = sorted(each for each in reals if each[1])
    if not members:
        return [None] * size
    return [members[index][0] for index in build_ring(members, size, kind)]


def moved(before: list[str | None], after: list[str | None]) -> int:
    return sum(old != new for old, new in zip(before, after, strict=True))


@pytest.fixture
def host() -> Host:
    return Host(Shape.of(vips=8, reals=130, ring=RING, server_ids=100, source_routes=10))


ABC = vip(reals=[real(A), real(B), real(C)])
"""The VIP that the tests below change."""
OTHER = vip(port=80, reals=[real(A), real(D, 3)])
"""A VIP that they leave alone; it has the real A as well."""


def apply(host: Host, *vips: Entry, how: str = "overridden") -> Result:
    """Apply, check the count against the writes, and that doing it again writes nothing."""
    host.maps.writes.clear()
    result = host.run("vips", vips, how)
    assert dict(sorted(host.maps.writes.items())) == result.operations
    steps = host.fuse.steps
    assert not host.run("vips", vips, how).changed
    assert host.fuse.steps == steps
    return result


def test_a_new_vip(host: Host) -> None:
    result = apply(host, OTHER)
    assert result.operations == {"ch_rings": RING, "reals": 2, "vip_addresses": 1, "vip_map": 1}
    result = apply(host, OTHER, ABC)
    # The same address on another port, and one real that is known: B and C are new.
    assert result.operations == {"ch_rings": RING, "reals": 2, "vip_map": 1}
    assert result.changes == ["vip 198.51.100.1:443/tcp: added with 3 reals"]
    assert result.before == []
    assert result.after == [ABC]


def test_a_vip_that_goes(host: Host) -> None:
    apply(host, ABC, OTHER)
    result = apply(host, OTHER)
    assert result.operations == {"ch_rings": RING, "reals": 2, "vip_map": 1}
    assert result.changes == ["vip 198.51.100.1:443/tcp: removed"]
    assert (result.before, result.after) == ([ABC], [])
    result = apply(host)
    assert result.operations == {"ch_rings": RING, "reals": 2, "vip_addresses": 1, "vip_map": 1}
    assert host.maps.snapshot()["rings"] == {}


def changed(host: Host, before: Entry, after: Entry, *others: Entry) -> dict[str, int]:
    """The operations of a change of one VIP."""
    apply(host, before, OTHER, *others)
    result = apply(host, after, OTHER, *others)
    assert_vips(host, [after, OTHER, *others])
    assert (result.before, result.after) == ([before], [after])
    return result.operations


EQUAL = ring((A, 1), (B, 1), (C, 1))


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
    assert changed(host, ABC, {**ABC, "flags": ["no_lru", "quic"]}) == {"vip_map": 1}
    assert host.run("vips", [ABC, OTHER]).changes == ["vip 198.51.100.1:443/tcp: flags no_lru,quic → none"]


def test_flow_migration_on_a_vip_with_down_reals(host: Host) -> None:
    plain = vip(protocol="udp", reals=[real(A), real(B, state="down")])
    assert changed(host, plain, {**plain, "flags": ["udp_flow_migration"]}) == {
        "vip_map": 1,
        "vip_to_down_reals_map": 1,
    }
    assert apply(host, plain, OTHER).operations == {"vip_map": 1, "vip_to_down_reals_map": 1}


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
    assert apply(pure, vip(), OTHER).operations == {"vip_map": 1}
    assert apply(pure, HASHED, OTHER).operations == {"vip_learned": 1, "vip_map": 1}
    assert marked(pure)
    # Whatever else it becomes, as long as it does not learn; and so once it does.
    both = vip(flags=["hash_dst_port_only", "hash_no_src_port"])
    assert apply(pure, both, OTHER).operations == {"vip_map": 1}
    assert marked(pure)
    assert apply(pure, vip(), OTHER).operations == {"vip_learned": 1, "vip_map": 1}
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


def overlay(host: Host, *entries: Entry, how: str = "merged") -> Result:
    host.maps.writes.clear()
    result = host.run("reals", entries, how)
    assert dict(sorted(host.maps.writes.items())) == result.operations
    assert not host.run("reals", entries, how).changed
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
    assert overlay(host, {"address": A}, how="deleted").operations == {"ch_rings": slots}


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


# Tables


def table(host: Host, resource: str, *entries: Entry, how: str = "overridden") -> Result:
    host.maps.writes.clear()
    result = host.run(resource, entries, how)
    assert dict(sorted(host.maps.writes.items())) == result.operations
    steps = host.fuse.steps
    assert not host.run(resource, entries, how).changed
    assert host.fuse.steps == steps
    return result


def test_source_routes(host: Host) -> None:
    apply(host, ABC)
    first = [{"prefix": "192.0.2.0/24", "real": A}, {"prefix": "2001:db8::/32", "real": "fc00::1"}]
    result = table(host, "source_routes", *first)
    assert result.operations == {"lpm_src_v4": 1, "lpm_src_v6": 1, "reals": 1}
    assert result.changes == [
        "source route 192.0.2.0/24: added (10.0.0.1)",
        "source route 2001:db8::/32: added (fc00::1)",
    ]
    result = table(host, "source_routes", {"prefix": "192.0.2.0/24", "real": B}, how="merged")
    assert result.operations == {"lpm_src_v4": 1}
    assert result.changes == ["source route 192.0.2.0/24: 10.0.0.1 → 10.0.0.2"]
    result = table(host, "source_routes", {"prefix": "2001:db8::/32"}, how="deleted")
    assert result.operations == {"lpm_src_v6": 1, "reals": 1}
    assert result.changes == ["source route 2001:db8::/32: removed"]


def test_server_ids(host: Host) -> None:
    result = table(host, "server_ids", {"id": 1, "real": A}, {"id": 2, "real": A}, {"id": 99, "real": B})
    assert result.operations == {"reals": 2, "server_id_map": 3}
    result = table(host, "server_ids", {"id": 2, "real": B}, {"id": 99, "real": B})
    assert result.operations == {"reals": 1, "server_id_map": 2}
    assert result.changes == ["server id 1: removed", "server id 2: 10.0.0.1 → 10.0.0.2"]


def test_decap_destinations(host: Host) -> None:
    result = table(host, "decap_destinations", {"address": WEB, "egress": True}, {"address": "fc00::9", "egress": None})
    assert result.operations == {"decap_dst": 2}
    result = table(host, "decap_destinations", {"address": WEB, "egress": False}, how="merged")
    assert result.operations == {"decap_dst": 1}
    assert result.changes == ["decapsulation destination 198.51.100.1: egress → ingress"]


def test_all_reals_of_a_table_change_while_every_id_is_taken() -> None:
    host = Host(Shape.of(reals=4))
    table(host, "server_ids", *({"id": number, "real": f"10.0.0.{number}"} for number in (1, 2, 3)))
    host.maps.flows = {b"a": 1, b"b": 2}
    result = table(host, "server_ids", *({"id": number, "real": f"10.9.0.{number}"} for number in (1, 2, 3)))
    # Each entry goes before its id leads elsewhere, and comes back.
    assert result.operations == {"reals": 3, "server_id_map": 6}
    assert host.maps.flows == {}


# Failures


class Refusing(MemoryMaps):
    """Maps of which one refuses to be written."""

    def __init__(self, shape: Shape, name: str, code: int) -> None:
        super().__init__(shape)
        self.name = name
        self.code = code

    def put(self, name: str, entries: t.Any) -> None:
        if name == self.name:
            raise OSError(self.code, "refused")
        super().put(name, entries)


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        (errno.E2BIG, "map vip_map: it is full (E2BIG): raise the size of the balancer that limits it"),
        (errno.ENOSPC, "map vip_map: it is full (ENOSPC): raise the size of the balancer that limits it"),
        (
            errno.EPERM,
            "map vip_map: the kernel does not permit it (EPERM): CAP_BPF is missing, or a lockdown or LSM forbids it",
        ),
        (errno.EBUSY, "map vip_map: the kernel is busy (EBUSY)"),
        (errno.ENOMEM, "map vip_map: the kernel has no memory left (ENOMEM)"),
        (errno.EINVAL, "map vip_map: the kernel refused (refused)"),
    ],
)
def test_a_map_that_refuses_is_named(tmp_path: Path, code: int, sentence: str) -> None:
    shape = Shape.of()
    file = StateFile("blue", "/sys/fs/bpf", str(tmp_path))
    request = Request("blue", "/sys/fs/bpf", 1, False)
    maps = Refusing(shape, "vip_map", code)

    def run() -> Result:
        state = recovered(file, file.read(), maps)
        return VipRun(request, maps, file, state, Clock()).run([ABC], "overridden", False)

    with pytest.raises(EngineError) as refused:
        run()
    assert str(refused.value) == f"{sentence}; the next run goes on from here"
    maps.name = ""
    assert run().operations == {"vip_map": 1}
    assert not run().changed


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


@pytest.mark.parametrize("text", ["[", '[{"id": 1}]', '{"id": 1}', "[1]"])
def test_a_damaged_table_file_is_said_to_be_so(tmp_path: Path, text: str) -> None:
    file = StateFile("blue", "/sys/fs/bpf", str(tmp_path))
    file.write_file("server_ids.json", text)
    with pytest.raises(StateError, match=r"server_ids\.json is damaged \(.*\): move it away, and the next run adopts"):
        known_table(TABLES["server_ids"], file, file.read(), {"reals": {}})


def test_an_empty_balancer_is_told_apart_from_a_lost_state(host: Host) -> None:
    assert apply(host, ABC).warnings == []
    host.file.files.clear()
    result = host.run("vips", [{**ABC, "flags": ["no_lru"]}], "merged")
    assert result.operations == {"vip_map": 1}
    sentence = (
        "state.json of balancer blue was lost: weights, hashes and drained reals of its VIPs are not known;"
        " apply the whole configuration (state overridden)"
    )
    assert result.warnings == [sentence]


def test_what_killed_runs_left_in_rings_is_safe_from_another_resources_run(host: Host) -> None:
    assert host.killed(50, "vips", [ABC])
    assert host.killed(1, "vips", [])
    assert {address for address, _local in host.actual().reals.values()} == {A, B, C}
    table(host, "server_ids", {"id": 1, "real": D})
    # No VIP has them as far as the file knows, but a ring may.
    assert {address for address, _local in host.actual().reals.values()} == {A, B, C, D}
    apply(host)
    assert {address for address, _local in host.actual().reals.values()} == {D}


def test_a_lost_state_keeps_what_no_ring_shows_until_all_vips_are_told(host: Host) -> None:
    drained = vip(reals=[real(A), real(B, 0), real(C, state="draining", local=True)])
    apply(host, drained)
    before = host.maps.snapshot()
    host.file.files.clear()
    assert host.run("vips", [OTHER], "merged").operations["reals"] == 1
    host.run("server_ids", [{"id": 1, "real": A}])
    host.run("reals", [{"address": A, "state": "active"}])
    assert before["entries"]["reals"].items() <= host.maps.snapshot()["entries"]["reals"].items()
    assert apply(host, OTHER).operations == {"ch_rings": RING, "reals": 2, "vip_map": 1}


def test_a_full_table_is_replaced(host: Host) -> None:
    """There is room for none of the new entries before the old ones are gone."""
    first = [{"prefix": f"192.0.{last}.0/24", "real": A} for last in range(10)]
    table(host, "source_routes", *first)
    second = [{"prefix": f"198.18.{last}.0/24", "real": A} for last in range(10)]
    assert table(host, "source_routes", *second).operations == {"lpm_src_v4": 20}


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


def test_a_killed_run_of_a_table_does_not_hide_what_somebody_did_to_others(host: Host) -> None:
    apply(host, ABC)
    table(host, "decap_destinations", {"address": "192.0.2.1"})
    assert host.killed(2, "server_ids", [{"id": 1, "real": "10.0.0.9"}])
    for name in ("vip_map", "decap_dst"):
        host.maps.delete(name, list(host.maps.entries(name)))
    result = apply(host, ABC)
    assert result.drift == ["vip 198.51.100.1:443/tcp: missing in vip_map, repaired"]
    result = table(host, "decap_destinations", {"address": "192.0.2.1"})
    assert result.drift == ["decapsulation destination 192.0.2.1: missing in decap_dst, repaired"]
    # Of what it began itself nothing is said, and when it has ended, everything is again.
    result = table(host, "server_ids")
    assert result.drift == []
    host.maps.delete("reals", list(host.maps.entries("reals"))[:1])
    assert [line for line in apply(host, ABC).drift if "missing in reals" in line]


def test_the_reals_to_which_others_lead(host: Host) -> None:
    assert apply(host, ABC).references == {"source_routes": [], "server_ids": []}
    table(host, "server_ids", {"id": 1, "real": B}, {"id": 2, "real": A})
    table(host, "source_routes", {"prefix": "192.0.2.0/24", "real": C})
    assert apply(host, ABC).references == {"source_routes": [C], "server_ids": [A, B]}


def test_entries_that_a_killed_run_did_not_reach_keep_their_real(host: Host) -> None:
    table(host, "server_ids", {"id": 1, "real": A})
    # Killed with the intent saved and the new real written, before the entry leads to it.
    assert host.killed(2, "server_ids", [{"id": 1, "real": B}])
    apply(host, vip(reals=[real(C)]))
    assert host.actual().tables["server_id_map"] == {"1": A}
    assert {address for address, _local in host.actual().reals.values()} == {A, B, C}
