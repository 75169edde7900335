# SPDX-License-Identifier: GPL-3.0-or-later
"""What the model's tests need of the real program: the same state, the same counters, one CPU."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import struct
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.katran.fleet.plugins.module_utils._kernel import bpf
from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.tests.conformance.provision import Balancer

STRUCTS = {
    "quic_stats": (
        "quic_stats_map",
        (
            "ch_routed cid_initial cid_invalid_server_id cid_invalid_server_id_sample cid_routed"
            " cid_unknown_real_dropped cid_v0 cid_v1 cid_v2 cid_v3"
            " dst_match_in_lru dst_mismatch_in_lru dst_not_found_in_lru"
        ),
    ),
    "tpr_stats": ("tpr_stats_map", "ch_routed dst_mismatch_in_lru sid_routed tcp_syn"),
    "stable_rt_stats": (
        "stable_rt_stats",
        "ch_routed cid_routed cid_invalid_server_id cid_unknown_real_dropped invalid_packet_type",
    ),
}


@contextlib.contextmanager
def one_cpu() -> Iterator[int]:
    """Stay on one CPU, whose number this gives: tables, counters and the flood's second are each CPU's own."""
    allowed = os.sched_getaffinity(0)
    cpu = min(allowed)
    os.sched_setaffinity(0, {cpu})
    try:
        yield cpu
    finally:
        os.sched_setaffinity(0, allowed)


def reprovision(balancer: Balancer, scenario: Mapping[str, Any]) -> None:
    """Make a provisioned balancer follow *scenario*: other VIPs, rings, down sets and routes; tables stay."""
    kept = {(vip["address"], vip["port"], vip["protocol"]) for vip in scenario["vips"]}
    for address, port, protocol in set(balancer.vips) - kept:
        balancer.maps["vip_map"].delete(
            layout.vip_definition(layout.pack_address(address), port, layout.PROTOCOLS[protocol])
        )
        balancer.maps["vip_addresses"].delete(layout.pack_address(address))
    balancer.set_vips(scenario["vips"])
    routes = {route["prefix"] for route in scenario.get("source_routes", ())}
    for name in ("lpm_src_v4", "lpm_src_v6"):
        for key, _value in list(balancer.maps[name].items()) if name in balancer.maps else ():
            packed, length = layout.parse_lpm_key(key)
            if f"{ipaddress.ip_address(packed)}/{length}" not in routes:
                balancer.maps[name].delete(key)
    wanted = {real["address"] for vip in scenario["vips"] for real in vip["reals"]}
    wanted |= {real for vip in scenario["vips"] for real in vip.get("down_reals", ())}
    wanted |= {entry["real"] for name in ("source_routes", "server_ids") for entry in scenario.get(name, ())}
    for address, number in balancer.reals.items():
        if address not in wanted:
            balancer.maps["reals"].update(layout.u32(number), bytes(20))


def load_tables(balancer: Balancer, tables: Mapping[str, Any]) -> None:
    """What no module writes, in the form of Model.load_tables."""
    for flow in tables.get("global", ()):
        key = layout.flow_key(
            layout.pack_address(flow["source"]),
            layout.pack_address(flow["destination"]),
            flow["source_port"],
            flow["destination_port"],
            layout.PROTOCOLS[flow["protocol"]],
        )
        balancer.maps["fallback_glru"].update(key, layout.u32(balancer.real(flow["real"])))
    for entry in tables.get("server_ids", ()):
        balancer.maps["server_id_map"].update(layout.u32(entry["id"]), layout.u32(entry["real_id"]))
    if "traced" in tables:
        vip = tables["traced"]
        definition = layout.vip_definition(
            layout.pack_address(vip["address"]), vip["port"], layout.PROTOCOLS[vip["protocol"]]
        )
        balancer.maps["vip_miss_stats"].update(layout.u32(0), definition)
    if tables.get("introspect"):
        balancer.maps["ctl_array"].update(layout.u32(5), (1).to_bytes(8, "little"))


def counters(balancer: Balancer) -> dict[str, Any]:
    """Every counter that is not zero, in the form of Model.counters."""
    vips = {number: f"{address}:{port}/{protocol}" for (address, port, protocol), number in balancer.vips.items()}
    reals = {number: address for address, number in balancer.reals.items()}

    def named(table: Mapping[int, tuple[int, ...]], names: Mapping[int, str]) -> dict[str, Any]:
        return {names[number]: list(values) for number, values in table.items()}

    found: dict[str, Any] = {
        "stats": {str(index): list(pair) for index, pair in balancer.stats().items() if index != 2},
        "vip_stats": {f"{a}:{port}/{proto}": list(pair) for (a, port, proto), pair in balancer.vip_stats().items()},
        "reals_stats": named(balancer.counters("reals_stats"), reals),
        "lru_miss_stats": {reals[n]: value for n, (value,) in balancer.counters("lru_miss_stats").items()},
        "server_id_stats": named(balancer.counters("server_id_stats"), vips),
        "decap_vip_stats": {vips[n]: pair[0] for n, pair in balancer.counters("decap_vip_stats").items()},
    }
    if "src_denied" in balancer.maps:
        found["src_denied"] = named(balancer.counters("src_denied"), vips)
    for name, (table, fields) in STRUCTS.items():
        values = balancer.counters(table).get(0, ())
        found[name] = {field: value for field, value in zip(fields.split(), values, strict=False) if value}
    for slot, other in balancer.behind.items():
        found |= {f"slot {slot}: {name}": table for name, table in counters(other).items()}
    return {name: table for name, table in found.items() if table}


def flows(balancer: Balancer, cpu: int | None) -> dict[bytes, tuple[str, bool]]:
    """The connection table of *cpu*, or the one that all share, in the form of Model.flows."""
    reals = {number: address for address, number in balancer.reals.items()}
    found = {}
    for key, value in (
        _table(balancer, "lru_mapping", cpu) if cpu is not None else balancer.maps["fallback_cache"].items()
    ):
        real, atime = layout.parse_real_pos_lru(value)
        found[key] = reals[real], atime != 0
    return found


def flow_times(balancer: Balancer, cpu: int) -> dict[bytes, int]:
    """The times in the connection table of *cpu*, in the form of Model.flow_times."""
    return {key: _signed(layout.parse_real_pos_lru(value)[1]) for key, value in _table(balancer, "lru_mapping", cpu)}


def age(balancer: Balancer, cpu: int, seconds: int) -> None:
    """What Model.age does, to the tables of *cpu*."""
    inner = balancer.maps["lru_mapping"].lookup(layout.u32(cpu))
    assert inner is not None
    with bpf.map_by_id(layout.parse_u32(inner)) as table:
        for key, value in list(table.items()):
            real, atime = layout.parse_real_pos_lru(value)
            if atime:
                table.update(key, layout.real_pos_lru(real, (atime - seconds * 1_000_000_000) % (1 << 64)))
    checks, start = flood_window(balancer, cpu)
    set_flood_window(balancer, cpu, checks, start - seconds * 1_000_000_000)


def flood_window(balancer: Balancer, cpu: int) -> tuple[int, int]:
    """(checks in the current second, when that began) of *cpu*."""
    value = balancer.maps["stats"].lookup(_flood_key(balancer))
    assert value is not None
    checks, start = struct.unpack_from("=Qq", value, 16 * cpu)
    return int(checks), int(start)


def set_flood_window(balancer: Balancer, cpu: int, checks: int, start: int) -> None:
    """The reverse."""
    value = bytearray(balancer.maps["stats"].lookup(_flood_key(balancer)) or b"")
    struct.pack_into("=Qq", value, 16 * cpu, checks, start)
    balancer.maps["stats"].update(_flood_key(balancer), bytes(value))


def _flood_key(balancer: Balancer) -> bytes:
    return layout.u32(balancer.settings.sizes["vips"] + 2)


def _signed(number: int) -> int:
    return number - (1 << 64) if number >> 63 else number


def debugged(balancer: Balancer, cpu: int) -> dict[bytes, tuple[bytes, bytes]]:
    """What the program wrote to flow_debug_maps on *cpu*, in the form of Model.debugged."""
    return {key: (value[:16], value[16:]) for key, value in _table(balancer, "flow_debug_maps", cpu)}


def _table(balancer: Balancer, name: str, cpu: int) -> list[tuple[bytes, bytes]]:
    inner = balancer.maps[name].lookup(layout.u32(cpu))
    assert inner is not None
    with bpf.map_by_id(layout.parse_u32(inner)) as table:
        return list(table.items())
