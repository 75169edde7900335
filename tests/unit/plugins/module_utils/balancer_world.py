# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A balancer on a host in memory: what can be wanted of it, what it balances, and what must be there afterwards."""

from __future__ import annotations

import os
import struct
import typing as t

from hypothesis import strategies as st

from ansible_collections.katran.fleet.plugins.module_utils._engine.recovery import recovered
from ansible_collections.katran.fleet.plugins.module_utils._engine.request import Clock, Request, Result
from ansible_collections.katran.fleet.plugins.module_utils._engine.vips import VipRun
from ansible_collections.katran.fleet.plugins.module_utils._kernel.maps import KernelMaps
from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.bytecode import Bytecode
from ansible_collections.katran.fleet.plugins.module_utils._model.entries import Asked
from ansible_collections.katran.fleet.plugins.module_utils._model.flow_table_plan import (
    FLOW_TABLES,
    cpus_of,
    wanted_tables,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.map_specs import NUMA_NODE, balancer_maps
from ansible_collections.katran.fleet.plugins.module_utils._model.root_settings import RootSettings
from ansible_collections.katran.fleet.plugins.module_utils._model.settings import BalancerSettings
from ansible_collections.katran.fleet.plugins.module_utils._model.snapshot import RootArray, fits
from ansible_collections.katran.fleet.plugins.module_utils._model.state import State
from ansible_collections.katran.fleet.plugins.module_utils._model.wanted import Wanted
from ansible_collections.katran.fleet.plugins.module_utils._program.swap import Swap
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils.memory_host import BPFFS, CPUS
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils.memory_kernel import SIZES
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils.program_world import PINS, World

SHARED, OURS = "eth2", ("eth0", "eth1")
"""The interface of another instance's program root, and those that are the balancer's."""

ARRAY = f"{BPFFS}/katran/shared/maps/root_array"
FEATURES = ("source_routing", "tcp_server_id", "cidr_vips", "global_lru", "inline_decap", "server_id_hash", "vlan")
FAMILIES = ("IPv4", "IPv6")
REALS = ("10.0.0.1", "10.0.0.2", "fc00::1", "fc00::2")


def shared_world() -> World:
    """A host where another instance has its program root on an interface."""
    world = World()
    World(world.host, world.tools, "shared").run(RootSettings((SHARED,), "native", "/sources"))
    return world


@st.composite
def wishes(draw: st.DrawFn, attached: bool = False, modes: bool = True) -> Wanted:
    slot = draw(st.none() | st.builds(RootArray, st.just(ARRAY), st.integers(0, 2)))
    names = draw(st.lists(st.sampled_from(OURS), min_size=1, max_size=2, unique=True))
    sizes = {
        "vips": st.sampled_from([6, 6, 7]),
        "reals": st.sampled_from([10, 10, 12]),
        "ring": st.sampled_from([13, 13, 17]),
        "flows": st.sampled_from([100, 60]),
        "cidr_vips": st.sampled_from([3, 4]),
    }
    settings = BalancerSettings(
        interfaces=() if slot else tuple(names),
        mode=draw(st.sampled_from(["native", "generic", "auto"] if modes else ["native"])),
        encapsulation=draw(st.sampled_from(["ipip", "gue"])),
        gue_port=6080,
        features=frozenset(draw(st.sets(st.sampled_from(FEATURES), max_size=3))),
        source_ipv4=draw(st.sampled_from(["auto", "10.9.0.7"])),
        source_ipv6=draw(st.sampled_from(["auto", "fc00:9::7"])),
        source_prefix_ipv4="172.16.0.0/16",
        source_prefix_ipv6="100::/64",
        gateway_mac=draw(st.sampled_from(["auto", "02:00:00:00:02:02"])),
        copy_tos=True,
        decap_any=draw(st.booleans()),
        sizes={**SIZES, **draw(st.fixed_dictionaries(sizes))},
        max_frame=1514,
        max_new_flows=125_000,
        udp_timeout=draw(st.sampled_from([30, 60])),
        forwarding_cores=draw(st.sampled_from(["auto", (0,), (0, 1)])),
        replace_foreign=False,
        root_array=slot,
        numa=draw(st.sampled_from(["auto", "none"])),
    )
    state = "attached" if attached else draw(st.sampled_from(["attached", "attached", "loaded"]))
    return Wanted(settings, state, "/sources", accept_rehash=True)


@st.composite
def balanced(draw: st.DrawFn) -> list[dict[str, t.Any]]:
    """A configuration of VIPs."""
    names = draw(st.sets(st.sampled_from(["198.51.100.1", "198.51.100.2", "2001:db8::1"])))
    found = []
    for name in sorted(names):
        reals = st.lists(st.sampled_from(REALS[-2:] if ":" in name else REALS), max_size=3, unique=True)
        chosen = [{"address": each} for each in draw(reals)]
        found.append({"address": name, "port": 80, "protocol": "tcp", "reals": chosen})
    return found


def run_vips(world: World, config: list[dict[str, t.Any]], check: bool = False) -> Result:
    """One run of module vips, as apply_locked does it but for the lock."""
    balancer = world.balancer()
    state = balancer.file.read()
    if not check:
        Swap(balancer.file, world.host).recover(state)
    try:
        with KernelMaps(balancer.paths.maps, {}, world.host) as maps:
            state = recovered(balancer.file, state, maps)
            run = VipRun(Request("blue", BPFFS, 1, check), maps, balancer.file, state, Clock())
            return run.run(Asked(config, "overridden", True))
    finally:
        assert not world.host.fds


# Flows and counters


def flow(number: int) -> bytes:
    source, destination = layout.pack_address("203.0.113.9"), layout.pack_address("198.51.100.1")
    return layout.flow_key(source, destination, 1000 + number, 80, layout.PROTOCOLS["tcp"])


def learn(world: World, number: int) -> None:
    """A packet of a flow came: a CPU knows it, and its VIP's counters have one more."""
    for _cpu, table in sorted(flow_tables(world).items())[:1]:
        table[flow(number)] = layout.real_pos_lru(1, number)
    for name, index in (("stats", 0), ("reals_stats", 1)):
        path = f"{PINS}/maps/{name}"
        if path in world.host.pins:
            entries = world.host.maps[world.host.pins[path][1]].entries
            words = struct.unpack("=4Q", entries.get(layout.u32(index), bytes(32)))
            entries[layout.u32(index)] = struct.pack("=4Q", *(word + 1 for word in words))


def flow_tables(world: World) -> dict[int, dict[bytes, bytes]]:
    """CPU → its connection table."""
    path = f"{PINS}/maps/lru_mapping"
    outer = world.host.entries(path) if path in world.host.pins else {}
    return {layout.parse_u32(key): world.host.maps[layout.parse_u32(value)].entries for key, value in outer.items()}


def known_flows(world: World) -> set[bytes]:
    return {key for table in flow_tables(world).values() for key in table}


def counted(world: World) -> dict[str, int]:
    """Counter → its value on all CPUs: of the first VIP, and of the first real."""
    found = {}
    for name, index in (("stats", 0), ("reals_stats", 1)):
        value = world.host.entries(f"{PINS}/maps/{name}").get(layout.u32(index), bytes(32))
        found[name] = layout.sum_cpus(value, 2)[0]
    return found


# What must be there


def assert_balancer(world: World, wanted: Wanted) -> None:
    """The pinned program runs where it is wanted and nowhere else, with all that it takes."""
    host, settings = world.host, wanted.settings
    state = world.balancer().file.read()
    kind, number = host.pins[f"{PINS}/balancer"]
    assert kind == "program"
    found = {name: each for name, each in host.attached.items() if name != SHARED}
    assert {name: each[1] for name, each in found.items()} == dict.fromkeys(wanted.interfaces, number)
    if settings.mode != "auto":
        assert {mode for mode, _number in found.values()} <= {settings.mode}
    assert host.slots(ARRAY) == ({wanted.slot.position: number} if wanted.slot else {})
    _assert_maps(world, settings)
    files = host.files["blue"]
    maps = Bytecode.from_json(files["balancer.bytecode.json"], "", "balancer").maps
    assert set(host.programs[number].info.map_ids) == {host.pins[f"{PINS}/maps/{name}"][1] for name in maps}
    assert set(balancer_maps(settings)) == set(maps)
    _assert_values(world, settings, number)
    _assert_record(state, wanted, host.programs[number].info.tag)
    assert {"state.json", "balancer.bytecode.json"} <= set(files)
    assert "balancer_next.bytecode.json" not in files
    assert f"{PINS}/maps_next" not in host.folders
    if f"{PINS}/balancer_previous" in host.pins or "balancer_previous.bytecode.json" in files:
        assert state.program.previous is not None


def _assert_maps(world: World, settings: BalancerSettings) -> None:
    host = world.host
    specs = balancer_maps(settings)
    pinned = {os.path.basename(path): each[1] for path, each in host.pins.items() if path.startswith(f"{PINS}/maps/")}
    assert set(specs) <= set(pinned)
    for name, spec in specs.items():
        assert fits(spec, host.maps[pinned[name]].info, settings.sizes), name
    others = {path for path in host.pins if path.startswith(f"{PINS}/") and f"{PINS}/maps/" not in path}
    assert others <= {f"{PINS}/balancer", f"{PINS}/balancer_previous"}
    assert host.entries(f"{PINS}/maps/lru_outgrown") == {}
    for name in FLOW_TABLES.keys() & specs.keys():
        entries = host.entries(f"{PINS}/maps/{name}").items()
        there = {layout.parse_u32(key): host.maps[layout.parse_u32(value)].info for key, value in entries}
        cpus = cpus_of(settings, host.receive, CPUS)
        shares = wanted_tables(settings, name, cpus, there)
        assert {cpu: info.entries for cpu, info in there.items()} == shares
        assert len({info.flags & NUMA_NODE for info in there.values()}) == 1


def _assert_values(world: World, settings: BalancerSettings, program: int) -> None:
    host = world.host
    mac = host.gateway if settings.gateway_mac == "auto" else settings.gateway_mac
    assert host.entries(f"{PINS}/maps/ctl_array")[layout.u32(layout.CTL_GATEWAY_MAC)] == layout.mac_bytes(mac)
    specs = balancer_maps(settings)
    if "subprograms" in specs:
        assert host.entries(f"{PINS}/maps/subprograms") == {layout.u32(0): layout.u32(program)}
    if "pckt_srcs" in specs:
        asked = dict(zip(FAMILIES, (settings.source_ipv4, settings.source_ipv6), strict=True))
        found = {family: host.own[family] if text == "auto" else text for family, text in asked.items()}
        assert host.entries(f"{PINS}/maps/pckt_srcs") == {
            layout.u32(index): layout.real_definition(layout.pack_address(address), layout.REAL_IPV6 if index else 0)
            for index, address in enumerate(found.values())
            if address
        }


def _assert_record(state: State, wanted: Wanted, tag: str) -> None:
    program = state.program
    assert state.settings == wanted.to_config()
    assert (program.tag, program.next) == (tag, None)
    assert (sorted(program.interfaces), program.slot) == (sorted(wanted.interfaces), wanted.slot)
    assert set(program.generic) <= set(wanted.interfaces)
