# SPDX-License-Identifier: GPL-3.0-or-later
"""Searching and purging the kernel's own tables."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._engine.flows import (
    Found,
    open_flow_tables,
    purge_flows,
    purge_gone,
)
from ansible_collections.katran.fleet.plugins.module_utils._engine.flows_info import find_flows
from ansible_collections.katran.fleet.plugins.module_utils._kernel import bpf
from ansible_collections.katran.fleet.plugins.module_utils._kernel.edges import KernelEdges
from ansible_collections.katran.fleet.plugins.module_utils._kernel.maps import KernelMaps
from ansible_collections.katran.fleet.plugins.module_utils._kernel.pins import Paths, create_pinned
from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ConfigError, EngineError
from ansible_collections.katran.fleet.plugins.module_utils._model.map_specs import DEFAULT_SIZES, MAPS
from ansible_collections.katran.fleet.plugins.module_utils._model.vips import VipKey, vips_from_config
from ansible_collections.katran.fleet.tests.engine.sandbox import BPFFS, request, sandbox

PATHS = Paths(BPFFS, "default", "balancer")
SIZES = {**DEFAULT_SIZES, "vips": 8, "reals": 8, "flows": 5000, "global_flows": 500}
REALS = {1: "10.0.0.1", 2: "10.0.0.2", 3: "fc00::3"}
TCP, UDP = 6, 17


def key(client: str, vip: str, port: int, protocol: int = TCP, sport: int = 31337) -> bytes:
    return layout.flow_key(layout.pack_address(client), layout.pack_address(vip), sport, port, protocol)


A = key("192.0.2.7", "198.51.100.1", 80)
B = key("192.0.2.8", "198.51.100.1", 80, UDP)
C = key("192.0.2.7", "198.51.100.1", 0)
D = key("2001:db8::7", "2001:db8::1", 443)


@pytest.fixture(autouse=True)
def maps() -> Iterator[KernelMaps]:
    """A balancer's maps, with tables for CPU 0 and 1, and one flow in each kind of table."""
    specs = {spec.name: spec for spec in MAPS}
    with sandbox(), ExitStack() as stack:
        KernelEdges.make_folders(PATHS.folders())
        for name in ("vip_map", "reals", "lru_mapping", "fallback_cache", "global_lru_maps", "fallback_glru"):
            stack.enter_context(create_pinned(specs[name], SIZES, PATHS.map(name)))
        live = stack.enter_context(KernelMaps(PATHS.maps))
        for name, cpus in (("lru_mapping", (0, 1)), ("global_lru_maps", (0,))):
            inner = specs[name].inner
            assert inner is not None
            for cpu in cpus:
                fd = bpf.create_map(
                    inner.type, inner.key_size, inner.value_size, inner.entries(SIZES), inner.flags, inner.name
                )
                live.map(name).update(layout.u32(cpu), layout.u32(fd))
                os.close(fd)
        for number, address in REALS.items():
            flags = layout.REAL_IPV6 if ":" in address else 0
            value = layout.real_definition(layout.pack_address(address), flags)
            live.map("reals").update(layout.u32(number), value)
        exact = layout.vip_definition(layout.pack_address("198.51.100.1"), 80, TCP)
        live.map("vip_map").update(exact, layout.vip_meta(0, 0))
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        put("lru_mapping", 0, A, layout.real_pos_lru(1, 0))
        put("lru_mapping", 1, B, layout.real_pos_lru(2, now - 5 * 10**9))
        put("fallback_cache", None, C, layout.real_pos_lru(7, 0))
        put("global_lru_maps", 0, D, layout.u32(3))
        put("fallback_glru", None, A, layout.u32(2))
        yield live


def put(name: str, cpu: int | None, flow: bytes, value: bytes) -> None:
    with KernelMaps(PATHS.maps) as live, ExitStack() as stack:
        for table in open_flow_tables(live, stack):
            if (table.name, table.cpu) == (name, cpu):
                table.map.update(flow, value)


def left() -> list[tuple[str, int | None, bytes]]:
    with KernelMaps(PATHS.maps) as live, ExitStack() as stack:
        return [
            (table.name, table.cpu, flow)
            for table in open_flow_tables(live, stack)
            for flow, _value in table.map.items()
        ]


def find(limit: int = 100, **filters: str) -> Found:
    return find_flows(request(), {"vip": None, "real": None, "client": None, "limit": limit, **filters})


def purge(check: bool = False, **options: Any) -> Found:
    return purge_flows(request(check), {"vip": None, "real": None, "client": None, **options})


def test_a_table_that_cpus_share_is_one(maps: KernelMaps) -> None:
    outer = maps.map("global_lru_maps")
    value = outer.lookup(layout.u32(0))
    assert value is not None
    with bpf.map_by_id(layout.parse_u32(value)) as table:
        outer.update(layout.u32(1), layout.u32(table.fd))
    found = find_flows(request(), {"limit": 10})
    rows = [(each["cpu"], each["entries"]) for each in found.tables if each["table"] == "global_lru_maps"]
    assert rows == [(None, 1)]
    assert len([row for row in found.flows if row["table"] == "global_lru_maps"]) == 1


def test_every_table_is_searched() -> None:
    found = find()
    assert found.total == 5
    assert found.reals == [
        {"real": "10.0.0.2", "id": 2, "flows": 2},
        {"real": "10.0.0.1", "id": 1, "flows": 1},
        {"real": None, "id": 7, "flows": 1},
        {"real": "fc00::3", "id": 3, "flows": 1},
    ]
    assert [(each["table"], each["cpu"], each["selected"]) for each in found.tables] == [
        ("lru_mapping", 0, 1),
        ("lru_mapping", 1, 1),
        ("fallback_cache", None, 1),
        ("global_lru_maps", 0, 1),
        ("fallback_glru", None, 1),
    ]
    assert found.tables[0]["capacity"] == 5000
    udp = next(row for row in found.flows if row["protocol"] == "udp")
    assert udp.pop("idle") == pytest.approx(5, abs=2)
    assert udp == {
        "client": "192.0.2.8",
        "client_port": 31337,
        "vip": "198.51.100.1",
        "port": 80,
        "protocol": "udp",
        "real": "10.0.0.2",
        "real_id": 2,
        "table": "lru_mapping",
        "cpu": 1,
        "stale": False,
        "ring": None,
    }
    global_row = next(row for row in found.flows if row["table"] == "global_lru_maps")
    assert (global_row["client"], global_row["real"], global_row["idle"]) == ("2001:db8::7", "fc00::3", None)


def test_the_limit_is_for_the_list_alone() -> None:
    for limit in (0, 2):
        found = find(limit)
        assert (len(found.flows), found.total, sum(each["flows"] for each in found.reals)) == (limit, 5, 5)
    with pytest.raises(ConfigError, match=r"^limit: 100001 is not in 0 to 100000$"):
        find(100_001)


def test_filters_narrow_down() -> None:
    assert find(vip="198.51.100.1:80/tcp").total == 2
    assert find(client="192.0.2.8").total == 1
    assert find(real="10.0.0.2").total == 2
    found = find(real="10.0.0.9")
    assert (found.total, found.warnings) == (0, ["real: the balancer has no real 10.0.0.9"])


def test_check_mode_says_how_many_and_a_run_removes_them() -> None:
    would = purge(check=True, vip="198.51.100.1:80/tcp")
    assert (would.total, len(left())) == (2, 5)
    assert purge(vip="198.51.100.1:80/tcp").total == 2
    assert sorted(left(), key=str) == sorted(
        [("lru_mapping", 1, B), ("fallback_cache", None, C), ("global_lru_maps", 0, D)], key=str
    )
    assert purge(vip="198.51.100.1:80/tcp").total == 0


def test_everything_goes_only_if_so_meant() -> None:
    for check in (True, False):
        with pytest.raises(ConfigError, match=r"^vip: without vip, real or client every flow would be removed"):
            purge(check)
    assert len(left()) == 5
    assert purge(allow_all=True).total == 5
    assert left() == []


def vip_key(address: str, port: int, protocol: str) -> VipKey:
    options: dict[str, Any] = {"flags": [], "hash": "maglev_v2", "reals": [], "down_reals": []}
    return next(iter(vips_from_config([{"address": address, "port": port, "protocol": protocol, **options}])))


def test_what_went_takes_its_flows_along(maps: KernelMaps) -> None:
    assert purge_gone(maps, []) == {}
    gone = [(vip_key("198.51.100.1", 0, "tcp"), None), (vip_key("2001:db8::1", 443, "tcp"), frozenset({1}))]
    assert purge_gone(maps, gone, check=True) == {"fallback_cache": 1}
    assert len(left()) == 5
    assert purge_gone(maps, gone) == {"fallback_cache": 1}
    assert purge_gone(maps, [(None, frozenset({2, 3}))]) == {
        "lru_mapping": 1,
        "global_lru_maps": 1,
        "fallback_glru": 1,
    }
    assert left() == [("lru_mapping", 0, A)]


def test_many_flows(maps: KernelMaps) -> None:
    with ExitStack() as stack:
        table = open_flow_tables(maps, stack)[0].map
        flows = [
            (key(f"192.0.{index >> 8}.{index & 255}", "198.51.100.9", 80), layout.real_pos_lru(1 + index % 2, 0))
            for index in range(4000)
        ]
        table.update_many(flows)
    found = find(10, vip="198.51.100.9", client="192.0.1.0/24")
    assert (found.total, len(found.flows)) == (256, 10)
    assert purge(vip="198.51.100.9:80/tcp", real="10.0.0.1").total == 2000
    assert find(0).total == 2005


def test_no_balancer_is_told() -> None:
    os.unlink(PATHS.map("vip_map"))
    assert purge(check=True, client="192.0.2.7").total == 0
    for work in (find, lambda: purge(client="192.0.2.7")):
        with pytest.raises(EngineError, match=r"^balancer default is not loaded on this host: run module katran"):
            work()
