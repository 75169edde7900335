# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run does to program healthcheck: its steps, and the lines that name them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.bytecode import Bytecode
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ProgramError
from ansible_collections.katran.fleet.plugins.module_utils._model.healthcheck_plan import (
    HealthcheckSnapshot,
    Resolved,
    plan_healthcheck,
    plan_removal,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.healthcheck_record import HealthcheckRecord
from ansible_collections.katran.fleet.plugins.module_utils._model.healthcheck_settings import (
    HealthcheckSettings,
    options_of,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.map_specs import (
    HC_GATEWAY_MAC,
    HC_IFINDEX,
    HC_SOURCE_IPV4,
    HC_SOURCE_IPV6,
    HC_SOURCE_MAC,
    HEALTHCHECK_MAPS,
    HEALTHCHECK_SPECS,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.operations import Delete, Put, ZeroCounters
from ansible_collections.katran.fleet.plugins.module_utils._model.program_plan import ProgramPlan
from ansible_collections.katran.fleet.plugins.module_utils._model.snapshot import (
    EgressPlace,
    Fault,
    Filter,
    MapInfo,
    Missing,
    ProgramInfo,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.steps import (
    AddQdisc,
    Compile,
    Conclude,
    CreateMaps,
    Fill,
    Intend,
    Keep,
    Load,
    PutFilter,
    Remove,
    RemoveFilter,
    RemoveQdisc,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.vips import VipKey

SETTINGS = HealthcheckSettings("eth0", "gue", 6080, "auto", "auto", "auto", "auto", 1514, (), "/src")
RESOLVED = Resolved(3, "02:00:00:00:00:0a", "02:00:00:00:00:01", "192.0.2.10", "2001:db8::10")
KEPT = Bytecode("healthcheck", bytes(8), ("hc_ctrl_map",), "dd", 1.0)
MAPS = {
    spec.name: MapInfo(spec.type, 100 + number, spec.key_size, spec.value_size, spec.entries({}), spec.flags, spec.name)
    for number, spec in enumerate(HEALTHCHECK_MAPS)
}
PROGRAM = ProgramInfo(3, 77, "bb", 10, 20, tuple(info.id for info in MAPS.values()), "healthcheck")
OURS, OLDER, FOREIGN = Filter(1, 1, 77, "katran"), Filter(2, 1, 76, "katran"), Filter(3, 1, 99, "other")
ENTRIES = {
    "hc_ctrl_map": {layout.u32(HC_IFINDEX): layout.u32(3)},
    "hc_pckt_srcs_map": {
        layout.u32(HC_SOURCE_IPV4): layout.real_definition(layout.pack_address("192.0.2.10"), 0),
        layout.u32(HC_SOURCE_IPV6): layout.real_definition(layout.pack_address("2001:db8::10"), layout.REAL_IPV6),
    },
    "hc_pckt_macs": {
        layout.u32(HC_SOURCE_MAC): bytes.fromhex("02000000000a"),
        layout.u32(HC_GATEWAY_MAC): bytes.fromhex("020000000001"),
    },
    "hc_key_map": {},
}
AFTER = {
    **options_of(SETTINGS),
    "source_mac": "02:00:00:00:00:0a",
    "gateway_mac": "02:00:00:00:00:01",
    "source_ipv4": "192.0.2.10",
    "source_ipv6": "2001:db8::10",
}
RECORD = HealthcheckRecord(
    source_digest="dd",
    tag="bb",
    interfaces=["eth0"],
    settings=AFTER,
    source_dir="/src",
    options=options_of(SETTINGS),
)
GOOD = HealthcheckSnapshot(
    maps=MAPS,
    current=PROGRAM,
    pins=frozenset({77}),
    running={77: PROGRAM, 76: replace(PROGRAM, id=76), 99: replace(PROGRAM, id=99, tag="zz", map_ids=())},
    digest="dd",
    kept=KEPT,
    directory="/sys/fs/bpf/katran/default",
    places={"eth0": EgressPlace(3, "02:00:00:00:00:0a", "clsact", (OURS,), frozenset({(1, 0), (1, 1)}))},
    resolved=RESOLVED,
    entries=ENTRIES,
)


def plan(seen: HealthcheckSnapshot = GOOD, record: HealthcheckRecord = RECORD, **options: Any) -> ProgramPlan:
    return plan_healthcheck(replace(SETTINGS, **options), record, seen)


def on_egress(*filters: Filter, qdisc: str | None = "clsact", **other: EgressPlace) -> HealthcheckSnapshot:
    return replace(GOOD, places={"eth0": EgressPlace(3, None, qdisc, filters), **other})


def steps(found: ProgramPlan, *kinds: type[Any]) -> list[Any]:
    return found.of(*kinds)


def test_what_is_as_it_should_be_stays() -> None:
    found = plan()
    assert (found.steps, found.changes, found.warnings, found.lacks) == ([], [], [], [])
    assert (found.before, found.after) == (AFTER, AFTER)


def test_a_fresh_host() -> None:
    fresh = HealthcheckSnapshot(
        digest="dd",
        places={"eth0": EgressPlace(3, "02:00:00:00:00:0a")},
        resolved=RESOLVED,
        destinations={layout.u32(7): b"real"},
    )
    found = plan(fresh, HealthcheckRecord())
    assert found.changes == [
        f"create {len(HEALTHCHECK_MAPS)} maps",
        "compile the program healthcheck (gue)",
        "load the program healthcheck",
        "interface number none → 3",
        "IPv4 source none → 192.0.2.10",
        "IPv6 source none → 2001:db8::10",
        "source MAC none → 02:00:00:00:00:0a",
        "gateway MAC none → 02:00:00:00:00:01",
        "add the qdisc clsact to eth0",
        "attach healthcheck to the egress of eth0",
    ]
    begun = HealthcheckRecord(interfaces=["eth0"], qdiscs=["eth0"])
    ended = replace(begun, settings=AFTER, options=options_of(SETTINGS), source_dir="/src")
    assert found.ordered() == [
        Compile("/src", {"ENCAP_GUE": 1, "GUE_PORT": 6080, "MAX_FRAME": 1514}),
        Intend(begun),
        CreateMaps(HEALTHCHECK_MAPS, {}),
        Fill("hc_reals_map", ((layout.u32(7), b"real"),)),
        *(Put(name, (pair,)) for name in ENTRIES for pair in ENTRIES[name].items()),
        Load(tuple(spec.name for spec in HEALTHCHECK_MAPS)),
        AddQdisc("eth0", 3),
        PutFilter("eth0", 3, None),
        Keep(),
        Conclude(ended),
    ]


def test_a_map_that_is_there_is_not_filled_by_others() -> None:
    assert not steps(plan(replace(GOOD, destinations={b"k": b"v"})), Fill)
    gone = {name: info for name, info in MAPS.items() if name != "hc_reals_map"}
    assert steps(plan(replace(GOOD, maps=gone, destinations={b"k": b"v"})), Fill) == [
        Fill("hc_reals_map", ((b"k", b"v"),))
    ]
    assert not steps(plan(replace(GOOD, maps=gone)), Fill)


@pytest.mark.parametrize(
    ("resolved", "line"),
    [
        ({"index": 4}, "interface number 3 → 4"),
        ({"source_ipv4": "192.0.2.11"}, "IPv4 source 192.0.2.10 → 192.0.2.11"),
        ({"source_ipv4": ""}, "IPv4 source 192.0.2.10 → none"),
        ({"source_ipv6": "2001:db8::11"}, "IPv6 source 2001:db8::10 → 2001:db8::11"),
        ({"source_ipv6": ""}, "IPv6 source 2001:db8::10 → none"),
        ({"source_mac": "02:00:00:00:00:0b"}, "source MAC 02:00:00:00:00:0a → 02:00:00:00:00:0b"),
        ({"gateway_mac": "02:00:00:00:00:02"}, "gateway MAC 02:00:00:00:00:01 → 02:00:00:00:00:02"),
    ],
)
def test_one_value_that_differs_is_put_right(resolved: dict[str, Any], line: str) -> None:
    found = plan(replace(GOOD, resolved=replace(RESOLVED, **resolved)))
    assert found.changes == [line]
    put, concluded = found.ordered()
    assert isinstance(put, Put)
    assert isinstance(concluded, Conclude)
    if not next(iter(resolved.values())):
        assert put.entries[0][1] == bytes(20)


def counted(*names: str) -> tuple[VipKey, ...]:
    return tuple(VipKey.read(f"{name}:80/tcp") for name in names)


def key_of(vip: VipKey) -> bytes:
    return layout.vip_definition(vip.packed, vip.port, 6)


def with_keys(**places: int) -> HealthcheckSnapshot:
    keys = {key_of(counted(name.replace("_", "."))[0]): layout.u32(place) for name, place in places.items()}
    return replace(GOOD, entries={**ENTRIES, "hc_key_map": keys})


A, B = counted("198.51.100.1", "198.51.100.2")


def test_counted_vips_get_the_lowest_free_place_and_keep_it() -> None:
    there = replace(GOOD, entries={**ENTRIES, "hc_key_map": {key_of(A): layout.u32(0)}})
    assert steps(plan(there, counted_vips=(A,)), Put, ZeroCounters) == []
    found = plan(there, counted_vips=(A, B))
    assert found.changes == ["count probes of 198.51.100.2:80/tcp"]
    assert found.ordered()[:2] == [
        ZeroCounters("per_hckey_stats", (1,)),
        Put("hc_key_map", ((key_of(B), layout.u32(1)),)),
    ]
    assert not steps(found, Delete)


def test_a_vip_that_is_not_counted_any_more() -> None:
    there = replace(GOOD, entries={**ENTRIES, "hc_key_map": {key_of(B): layout.u32(0), key_of(A): layout.u32(1)}})
    found = plan(there)
    assert found.changes == [
        "no longer count probes of 198.51.100.1:80/tcp",
        "no longer count probes of 198.51.100.2:80/tcp",
    ]
    assert steps(found, Delete) == [Delete("hc_key_map", (key_of(B), key_of(A)))]


def test_where_every_place_is_taken_the_lowest_freed_one_is_used() -> None:
    room = HEALTHCHECK_SPECS["per_hckey_stats"].entries({})
    every = [VipKey.read(f"10.0.{n // 256}.{n % 256}:80/tcp") for n in range(room)]
    # Two go, whose places are 5 and 2; what comes takes 2, then 5.
    there = {key_of(vip): layout.u32((n + 3) % room) for n, vip in enumerate(every)}
    stay = tuple(vip for n, vip in enumerate(every) if n not in (2, room - 1))
    found = plan(replace(GOOD, entries={**ENTRIES, "hc_key_map": there}), counted_vips=(*stay, A, B))
    assert steps(found, ZeroCounters) == [ZeroCounters("per_hckey_stats", (place,)) for place in (2, 5)]
    assert steps(found, Put) == [Put("hc_key_map", ((key_of(vip), layout.u32(n)),)) for vip, n in ((A, 2), (B, 5))]


def test_a_qdisc_that_is_there_is_used_and_not_ours() -> None:
    found = plan(on_egress(), replace(RECORD, interfaces=[]))
    assert found.changes == ["attach healthcheck to the egress of eth0"]
    assert found.ordered() == [
        Intend(replace(RECORD, interfaces=["eth0"])),
        PutFilter("eth0", 3, None),
        Conclude(RECORD),
    ]


def test_a_qdisc_beside_which_there_is_no_room() -> None:
    with pytest.raises(ProgramError) as caught:
        plan(on_egress(qdisc="ingress"))
    assert str(caught.value) == (
        "interface eth0 has a qdisc ingress, beside which there is no room for clsact:"
        " replace it by clsact, which takes the same filters"
    )


def test_an_older_filter_is_replaced_and_what_is_too_many_goes() -> None:
    found = plan(on_egress(OLDER, FOREIGN, OURS))
    assert steps(found, PutFilter, RemoveFilter) == [PutFilter("eth0", 3, OLDER), RemoveFilter("eth0", 3, OURS)]
    assert not steps(plan(on_egress(OURS, FOREIGN)), PutFilter)


def test_a_qdisc_of_ours_stays_on_record() -> None:
    ours = replace(RECORD, qdiscs=["eth0"])
    assert plan(record=ours).steps == []
    assert steps(plan(on_egress(qdisc=None), ours), Conclude)[0].record.qdiscs == ["eth0"]


def test_another_interface() -> None:
    other = EgressPlace(4, None, "clsact", (replace_id(OURS),), frozenset({(1, 0), (1, 1)}))
    record = replace(RECORD, interfaces=["eth1"], qdiscs=["eth1"])
    found = plan(on_egress(qdisc=None, eth1=other), record)
    assert found.changes == [
        "add the qdisc clsact to eth0",
        "attach healthcheck to the egress of eth0",
        "detach healthcheck from eth1",
    ]
    assert found.ordered() == [
        Intend(replace(record, interfaces=["eth0", "eth1"], qdiscs=["eth0", "eth1"])),
        AddQdisc("eth0", 3),
        PutFilter("eth0", 3, None),
        RemoveFilter("eth1", 4, OURS),
        RemoveQdisc("eth1", 4),
        Conclude(replace(RECORD, qdiscs=["eth0"])),
    ]


def replace_id(one: Filter) -> Filter:
    return one._replace(program_id=77)


def test_an_interface_that_is_gone_is_left_all_the_same() -> None:
    found = plan(record=replace(RECORD, interfaces=["eth0", "eth9"]))
    assert found.changes == ["detach healthcheck from eth9"]
    assert found.ordered() == [Conclude(RECORD)]


def test_what_a_host_cannot_say() -> None:
    with pytest.raises(ProgramError, match=r"^interface eth0 does not exist on this host$"):
        plan(replace(GOOD, absent=["eth0"]))
    with pytest.raises(ProgramError, match=r"^no default route$"):
        plan(replace(GOOD, resolved=Fault("no default route")))
    one, two, three, four = (Missing(name) for name in ("bpffs", "places", "resolved", "sources"))
    assert plan(replace(GOOD, bpffs=one, places=two, resolved=three, digest=four)).lacks == [one, two, three, four]


def test_what_is_compiled_in_comes_from_where_it_was() -> None:
    found = plan(replace(GOOD, digest="ee"), source_dir="")
    assert steps(found, Conclude)[0].record.source_dir == "/src"
    assert "compile the program healthcheck (gue)" in found.changes


# Its end

FILES = ("healthcheck.json", "healthcheck.bytecode.json", "healthcheck_destinations.json")


def test_the_end() -> None:
    place = EgressPlace(3, None, "clsact", (OURS, OLDER), frozenset({(1, 0), (1, 1), (2, 0), (2, 1)}))
    found = plan_removal(replace(RECORD, qdiscs=["eth0"]), replace(GOOD, places={"eth0": place}), FILES)
    assert (found.before, found.after) == (AFTER, {})
    assert found.changes == [
        "detach healthcheck from the egress of eth0",
        "detach healthcheck from the egress of eth0",
        "remove the qdisc clsact from eth0",
        "remove the maps and program of healthcheck pinned in /sys/fs/bpf/katran/default",
        "remove the state of healthcheck",
        "forget the health-check destinations",
    ]
    assert found.ordered() == [
        RemoveFilter("eth0", 3, OURS),
        RemoveFilter("eth0", 3, OLDER),
        RemoveQdisc("eth0", 3),
        Remove(tuple(MAPS), FILES),
    ]


def test_a_qdisc_that_others_use_or_made_stays() -> None:
    entries = frozenset({(1, 0), (1, 1), (3, 0), (3, 1)})
    shared = replace(GOOD, places={"eth0": EgressPlace(3, None, "clsact", (OURS, FOREIGN), entries)})
    inbound = replace(GOOD, places={"eth0": EgressPlace(3, None, "clsact", (OURS,), ingress=True)})
    ours = replace(RECORD, qdiscs=["eth0"])
    for record, seen in ((ours, shared), (ours, inbound), (RECORD, GOOD), (replace(RECORD, qdiscs=["eth1"]), GOOD)):
        found = plan_removal(record, seen, ())
        assert steps(found, RemoveFilter) == [RemoveFilter("eth0", 3, OURS)]
        assert not steps(found, RemoveQdisc)


def test_the_end_of_what_never_was() -> None:
    found = plan_removal(HealthcheckRecord(), HealthcheckSnapshot(places=Missing("no pyroute2")), ())
    assert (found.changes, found.lacks) == ([], [])
    assert found.steps == [Remove((), FILES)]
    lost = Missing("no pyroute2")
    assert plan_removal(RECORD, replace(GOOD, places=lost), ()).lacks == [lost]


def test_a_program_whose_pins_are_lost_is_known_by_its_tag_where_it_was() -> None:
    seen = replace(GOOD, maps={}, pins=frozenset(), current=None)
    assert seen.filters(RECORD, "eth0") == [OURS]
    assert seen.filters(replace(RECORD, interfaces=["eth1"]), "eth0") == []
    assert seen.filters(replace(RECORD, tag="cc"), "eth0") == []
    assert GOOD.filters(RECORD, "eth1") == []
