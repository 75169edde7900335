# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in for Katran: its object is not in this repository, and may not be copied.

Our datapath behind Katran's map names and published layouts, with nothing of ours around it: no state, no library, maps
that are pinned nowhere (or where Katran's own are), ids in an order of its own, rings that are not mapped, one map for
CIDR VIPs of both families, and a plain XDP attachment. What it has beside Katran's maps, the datapath needs:
vip_addresses and the like. Also a script: `standin.py INTERFACE`, with a scenario in JSON on standard input, provisions
one, prints its program's id, and ends with its standard input; the interface keeps program and maps.
"""

from __future__ import annotations

import contextlib
import functools
import ipaddress
import json
import os
import random
import struct
import sys
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.katran.fleet.plugins.module_utils._kernel import bpf
from ansible_collections.katran.fleet.plugins.module_utils._kernel.cpus import possible_cpus
from ansible_collections.katran.fleet.plugins.module_utils._kernel.stretches import read_stretch
from ansible_collections.katran.fleet.plugins.module_utils._kernel.tc import Egress
from ansible_collections.katran.fleet.plugins.module_utils._kernel.xdp import Interfaces
from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.map_specs import (
    DEFAULT_SIZES,
    HASH,
    HEALTHCHECK_SPECS,
    MMAPABLE,
    NO_PREALLOC,
    balancer_maps,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.ring import build_ring
from ansible_collections.katran.fleet.plugins.module_utils._program import compiler
from ansible_collections.katran.fleet.plugins.module_utils._program.bytecode import load
from ansible_collections.katran.fleet.plugins.module_utils._program.macros import balancer_macros
from ansible_collections.katran.fleet.tests.conformance.provision import Settings

Scenario = Mapping[str, Any]
SIZES = {"vips": 16, "reals": 64, "ring": 1009, "flows": 4000, "global_flows": 1000, "server_ids": 5000}
MORE = {"source_routes": 100, "cidr_vips": 16, "source_filters": 50}
GATEWAY = "02:00:00:00:00:09"
_MAP_UPDATE_BATCH = 26


@dataclass
class Standin:
    """A running one: its maps by their names, and which ids its reals and VIPs have."""

    settings: Settings
    maps: dict[str, bpf.Map] = field(default_factory=dict)
    reals: dict[str, int] = field(default_factory=dict)
    vips: dict[str, int] = field(default_factory=dict)
    fd: int = -1
    free: list[int] = field(default_factory=list)

    @property
    def program(self) -> int:
        """The kernel's id of it."""
        return bpf.program_info(self.fd).id

    def real(self, address: str, local: bool = False) -> int:
        """Its id, given out in no order."""
        if address not in self.reals:
            self.reals[address] = self.free.pop()
        flags = layout.REAL_IPV6 * (":" in address) | layout.REAL_LOCAL * local
        value = layout.real_definition(layout.pack_address(address), flags)
        self.maps["reals"].update(layout.u32(self.reals[address]), value)
        return self.reals[address]

    def put_vip(self, vip: Scenario, number: int) -> None:
        """A VIP with its ring; `stale`: how many of its slots are led elsewhere."""
        text, _slash, length = vip["address"].partition("/")
        packed, protocol = layout.pack_address(text), layout.PROTOCOLS[vip["protocol"]]
        flags = sum(layout.VIP_FLAGS[flag] for flag in vip.get("flags", ()))
        self.vips[f"{vip['address']} {vip['port']} {vip['protocol']}"] = number
        self.put_ring(vip, number)
        definition, meta = layout.vip_definition(packed, vip["port"], protocol), layout.vip_meta(flags, number)
        if length:
            # Katran's program looks into this one for either family; ours has one of its own for IPv4.
            key = layout.vip_lpm_key(packed, int(length), vip["port"], protocol)
            self.maps["vip_lpm_map"].update(key, meta)
            self.maps["cidr_vip_keys"].update(layout.u32(number), definition)
            if ":" not in text:
                self.maps["vip_lpm4_map"].update(layout.vip_lpm4_key(packed, int(length), vip["port"], protocol), meta)
            family = 6 if ":" in text else 4
            address = packed if family == 6 else packed[:4]
            self.maps[f"vip_address_lpm{family}"].update(layout.lpm_key(address, int(length)), layout.u32(1))
        else:
            self.maps["vip_map"].update(definition, meta)
            self.maps["vip_addresses"].update(packed, layout.u32(1))
        if "vip_to_down_reals_map" in self.maps and vip.get("down_reals"):
            with bpf.Map(bpf.create_map(HASH, 4, 1, self.settings.sizes["reals"], NO_PREALLOC)) as inner:
                for real in vip["down_reals"]:
                    inner.update(layout.u32(self.real(real)), b"\1")
                self.maps["vip_to_down_reals_map"].update(definition, layout.u32(inner.fd))

    def put_ring(self, vip: Scenario, number: int) -> None:
        """Write a VIP's ring."""
        size = self.settings.sizes["ring"]
        reals = tuple((real["address"], real.get("weight", 1)) for real in vip["reals"])
        ids = [*(self.real(real["address"], real.get("local", False)) for real in vip["reals"]), 0]
        slots = array("I", map(ids.__getitem__, _ring(reals, size, vip.get("hash", "maglev_v2"))))
        for slot in random.Random(number).sample(range(size), vip.get("stale", 0)):
            slots[slot] = next(each for each in ids[-2::-1] if each != slots[slot])
        write_stretch(self.maps["ch_rings"], number * size, slots)

    def ring(self, number: int) -> array[int]:
        """Slot → real id."""
        size = self.settings.sizes["ring"]
        return array("I", read_stretch(self.maps["ch_rings"], number * size, size))

    def flows(self) -> dict[bytes, tuple[int, int]]:
        """Every flow of the connection tables → (its real's id, the CPU whose table has it)."""
        found = {}
        for key, value in self.maps["lru_mapping"].items():
            with bpf.map_by_id(layout.parse_u32(value)) as table:
                for flow, entry in table.items():
                    found[flow] = (layout.parse_u32(entry), layout.parse_u32(key))
        return found

    def learn(self, flows: Mapping[bytes, int], cpu: int = 0) -> None:
        """Put flows into a CPU's table: flow → real id."""
        value = self.maps["lru_mapping"].lookup(layout.u32(cpu))
        assert value is not None
        with bpf.map_by_id(layout.parse_u32(value)) as table:
            table.update_many([(flow, layout.real_pos_lru(real, 0)) for flow, real in flows.items()])

    def attach(self, interface: str) -> None:
        """Run on an interface."""
        with Interfaces() as links:
            links.replace(interface, self.fd, "native", None)

    def pin(self, folder: str) -> None:
        """Pin the maps, and let them go."""
        os.makedirs(folder)
        for name, opened in self.maps.items():
            bpf.pin(opened.fd, f"{folder}/{name}")

    def close(self) -> None:
        """Forget it; what an interface runs stays."""
        for opened in self.maps.values():
            opened.close()
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


@functools.lru_cache(maxsize=64)
def _ring(reals: tuple[tuple[str, int], ...], size: int, kind: str) -> array[int]:
    return build_ring(reals, size, kind)


def write_stretch(rings: bpf.Map, start: int, slots: array[int]) -> None:
    """Write slots of a ring that is not mapped, from an index on, by one call."""
    keys = array("I", range(start, start + len(slots)))
    places = (0, 0, keys.buffer_info()[0], slots.buffer_info()[0])
    bpf.command(_MAP_UPDATE_BATCH, struct.pack("=QQQQIIQQ", *places, len(slots), rings.fd, 0, 0))


def settings_of(scenario: Scenario) -> Settings:
    """What the datapath is compiled with."""
    options = scenario.get("balancer", {})
    sizes = {**DEFAULT_SIZES, **SIZES, **MORE, **options.get("sizes", {})}
    return Settings.of({"decap_any": True, **options, "sizes": sizes})


def provision(scenario: Scenario) -> Standin:
    """One that runs nowhere yet."""
    settings = settings_of(scenario)
    made = Standin(settings)
    made.free = list(range(1, settings.sizes["reals"]))
    random.Random(len(scenario["vips"])).shuffle(made.free)
    for name, spec in balancer_maps(settings).items():
        inner = -1
        if spec.inner is not None:
            each = spec.inner
            inner = bpf.create_map(each.type, each.key_size, each.value_size, each.entries(settings.sizes), each.flags)
        entries, flags = spec.entries(settings.sizes), spec.flags & ~MMAPABLE
        fd = bpf.create_map(spec.type, spec.key_size, spec.value_size, entries, flags, name, max(inner, 0))
        made.maps[name] = bpf.Map(fd)
        if inner >= 0:
            os.close(inner)
    _tables(made, scenario.get("cpus", range(possible_cpus())))
    _fill(made, scenario)
    bytecode = compiler.compile_program(scenario["sources"], "balancer", balancer_macros(settings))
    # The bytecode is what it is whatever the maps' flags are.
    made.fd = load(bytecode, {name: opened.fd for name, opened in made.maps.items()})
    if "subprograms" in made.maps:
        made.maps["subprograms"].update(layout.u32(0), layout.u32(made.fd))
    return made


def _tables(made: Standin, cpus: Sequence[int]) -> None:
    for name in ("lru_mapping", "global_lru_maps"):
        spec = balancer_maps(made.settings).get(name)
        if spec is None or spec.inner is None:
            continue
        for cpu in cpus:
            each, room = spec.inner, made.settings.sizes["flows"] // len(cpus)
            with bpf.Map(bpf.create_map(each.type, each.key_size, each.value_size, room, each.flags)) as inner:
                made.maps[name].update(layout.u32(cpu), layout.u32(inner.fd))


def _fill(made: Standin, scenario: Scenario) -> None:
    options = scenario.get("balancer", {})
    mac = layout.mac_bytes(options.get("gateway_mac", GATEWAY))
    made.maps["ctl_array"].update(layout.u32(layout.CTL_GATEWAY_MAC), mac)
    for index, name in enumerate(("source_ipv4", "source_ipv6")):
        if "pckt_srcs" in made.maps and name in options:
            value = layout.real_definition(layout.pack_address(options[name]), layout.REAL_IPV6 * index)
            made.maps["pckt_srcs"].update(layout.u32(index), value)
    numbers = list(range(made.settings.sizes["vips"]))
    random.Random(7).shuffle(numbers)
    for vip, number in zip(scenario["vips"], numbers, strict=False):
        made.put_vip(vip, number)
    for entry in scenario.get("server_ids", ()):
        made.maps["server_id_map"].update(layout.u32(entry["id"]), layout.u32(made.real(entry["real"])))
    for entry in scenario.get("source_routes", ()):
        network = ipaddress.ip_network(entry["prefix"])
        key = layout.lpm_key(network.network_address.packed, network.prefixlen)
        made.maps[f"lpm_src_v{network.version}"].update(key, layout.u32(made.real(entry["real"])))
    for entry in scenario.get("decap_destinations", ()):
        flags = layout.DECAP_EGRESS * entry.get("egress", False)
        made.maps["decap_dst"].update(layout.pack_address(entry["address"]), layout.u32(flags))
    for real in scenario.get("idle", ()):
        made.real(real)


@contextlib.contextmanager
def health_checker(interface: str, marks: Mapping[int, str]) -> Iterator[None]:
    """A health checker's program, which lets all pass, on the way out of an interface, with a map of these marks."""
    spec = HEALTHCHECK_SPECS["hc_reals_map"]
    fd = bpf.create_map(spec.type, spec.key_size, spec.value_size, 64, spec.flags, spec.name)
    with bpf.Map(fd) as opened:
        for mark, real in marks.items():
            value = layout.real_definition(layout.pack_address(real), layout.REAL_IPV6 * (":" in real))
            opened.update(layout.u32(mark), value)
        # r1 = the map; r0 = 0; exit: a program that has it, and lets all pass.
        code = struct.pack("=BBhiBBhi", 0x18, 0x11, 0, fd, 0, 0, 0, 0)
        code += bytes.fromhex("b700000000000000") + bytes.fromhex("9500000000000000")
        program = bpf.load_program(code, bpf.PROG_TYPE_SCHED_CLS, 0, "healthcheck")
        try:
            with Egress() as egress:
                place = egress.place(interface)
                assert place is not None
                egress.add_qdisc(interface, place.index)
                egress.add(interface, place.index, program, "healthcheck")
            yield
        finally:
            os.close(program)


def main() -> None:
    scenario = json.load(sys.stdin)
    made = provision(scenario)
    made.attach(sys.argv[1])
    if scenario.get("pin"):
        made.pin(scenario["pin"])
    print(made.program, flush=True)
    made.close()


if __name__ == "__main__":
    main()
