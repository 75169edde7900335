# SPDX-License-Identifier: GPL-3.0-or-later
"""A balancer on scratch maps, provisioned from a scenario: what the conformance tests run packets through.

``provision(scenario)`` is the one place that knows how a scenario becomes maps and a program. Nothing is pinned and
nothing is attached: all of it goes when the object does.
"""

from __future__ import annotations

import functools
import ipaddress
import itertools
import os
import struct
import typing as t
from array import array
from dataclasses import dataclass, field
from pathlib import Path

from ansible_collections.katran.fleet.plugins.module_utils._kernel import bpf
from ansible_collections.katran.fleet.plugins.module_utils._kernel.maps import drop_index, put_index
from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.bytecode import Bytecode
from ansible_collections.katran.fleet.plugins.module_utils._model.map_specs import (
    ARRAY,
    DEFAULT_SIZES,
    HASH,
    LPM_TRIE,
    LRU_HASH,
    NO_PREALLOC,
    PERCPU_ARRAY,
    PROG_ARRAY,
    VIP_INDEX,
    balancer_maps,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.ring import build_ring
from ansible_collections.katran.fleet.plugins.module_utils._model.vip_index import build_index
from ansible_collections.katran.fleet.plugins.module_utils._program import compiler
from ansible_collections.katran.fleet.plugins.module_utils._program.bytecode import load
from ansible_collections.katran.fleet.plugins.module_utils._program.macros import balancer_macros

Scenario = t.Mapping[str, t.Any]
ROOT = Path(__file__).resolve().parents[2]
BPF = os.environ.get("KATRAN_BPF", str(ROOT / "bpf"))
ACTIONS = {0: "XDP_ABORTED", 1: "XDP_DROP", 2: "XDP_PASS", 3: "XDP_TX", 4: "XDP_REDIRECT"}
TC_ACTIONS = {0xFFFFFFFF: "TC_ACT_UNSPEC", 0: "TC_ACT_OK", 2: "TC_ACT_SHOT", 7: "TC_ACT_REDIRECT"}
SMALL = {"source_routes": 64, "server_ids": 1 << 18, "flows": 1000, "global_flows": 1000}
"""Sizes that no packet can tell from the defaults."""
_SMALL_RING = 1000


@dataclass(frozen=True)
class Settings:
    """The balancer module's options, as _model/layout.py and _program/macros.py want them."""

    sizes: t.Mapping[str, int]
    features: frozenset[str]
    encapsulation: str = "ipip"
    decap_any: bool = False
    gue_port: int = 6080
    copy_tos: bool = True
    max_frame: int = 1514
    max_new_flows: int = 125_000
    udp_timeout: int = 30
    source_prefix_ipv4: str = "172.16.0.0/16"
    source_prefix_ipv6: str = "100::/64"

    @classmethod
    def of(cls, options: Scenario) -> Settings:
        known = {name: options[name] for name in cls.__dataclass_fields__ if name in options}
        known["sizes"] = DEFAULT_SIZES | SMALL | options.get("sizes", {})
        known["features"] = frozenset(options.get("features", ()))
        return cls(**known)


@functools.cache
def _compiled(name: str, macros: tuple[tuple[str, int], ...]) -> Bytecode:
    return compiler.compile_program(BPF, name, dict(macros))


@functools.lru_cache(maxsize=256)
def _ring(reals: tuple[tuple[str, int], ...], size: int, kind: str) -> t.Sequence[int]:
    return build_ring([(ipaddress.ip_address(address), weight) for address, weight in reals], size, kind)


def is_ipv6(address: str) -> bool:
    return ":" in address


@dataclass
class Balancer:
    """A loaded balancer and its maps; ids are given in order of appearance."""

    settings: Settings
    maps: dict[str, bpf.Map] = field(default_factory=dict)
    reals: dict[str, int] = field(default_factory=dict)
    vips: dict[tuple[str, int, str], int] = field(default_factory=dict)
    prog_fd: int = -1
    behind: dict[str, Balancer] = field(default_factory=dict)
    """Slot of a root program's array -> the balancer in it, of those behind this one."""

    def real(self, address: str, local: bool = False) -> int:
        """The real's id, assigned on first sight."""
        number = self.reals.setdefault(str(ipaddress.ip_address(address)), len(self.reals) + 1)
        flags = layout.REAL_IPV6 * is_ipv6(address) | layout.REAL_LOCAL * local
        self.maps["reals"].update(layout.u32(number), layout.real_definition(layout.pack_address(address), flags))
        return number

    def set_vips(self, vips: t.Sequence[Scenario]) -> None:
        """Write VIPs, rings and down sets; a VIP that is there already keeps its number."""
        size = self.settings.sizes["ring"]
        for vip in vips:
            text, port, protocol = vip["address"], vip["port"], vip["protocol"]
            free = next(each for each in itertools.count() if each not in self.vips.values())
            number = self.vips.setdefault((text, port, protocol), free)
            address, _slash, prefix = text.partition("/")
            packed = layout.pack_address(address)
            proto = layout.PROTOCOLS[protocol]
            flags = sum(layout.VIP_FLAGS[flag] for flag in vip.get("flags", ()))
            filtered = bool(vip.get("allow") or vip.get("deny")) and "src_filter_v4" in self.maps
            meta = layout.vip_meta(flags | layout.SOURCE_FILTER * filtered, number)
            if "src_filter_v4" in self.maps:
                self.set_sources(number, is_ipv6(address), vip)
            reals = tuple((real["address"], real.get("weight", 1)) for real in vip.get("reals", ()))
            ids = array("I", [self.real(r["address"], r.get("local", False)) for r in vip.get("reals", ())] + [0])
            ring = _ring(reals, size, vip.get("hash", "maglev_v2"))
            filled = array("Q", [ids[place] for place in ring]).tobytes()
            with self.maps["ch_rings"].mmap(writable=True) as slots:
                slots[number * len(filled) : (number + 1) * len(filled)] = filled
            definition = layout.vip_definition(packed, port, proto)
            if prefix and is_ipv6(address):
                self.maps["vip_lpm_map"].update(layout.vip_lpm_key(packed, int(prefix), port, proto), meta)
                self.maps["vip_address_lpm6"].update(layout.lpm_key(packed, int(prefix)), layout.u32(1))
            elif prefix:
                self.maps["vip_lpm4_map"].update(layout.vip_lpm4_key(packed, int(prefix), port, proto), meta)
                self.maps["vip_address_lpm4"].update(layout.lpm_key(packed[:4], int(prefix)), layout.u32(1))
            else:
                self.maps["vip_map"].update(definition, meta)
                self.maps["vip_addresses"].update(packed, layout.u32(1))
            if prefix and "cidr_vip_keys" in self.maps:
                self.maps["cidr_vip_keys"].update(layout.u32(number), definition)
            if "quic_lb_vips" in self.maps:
                self._set_quic_lb(number, vip.get("quic_lb", ()))
            if "vip_to_down_reals_map" in self.maps and "down_reals" in vip:
                down = bpf.create_map(HASH, 4, 1, self.settings.sizes["reals"], NO_PREALLOC)
                inner = bpf.Map(down)
                for real in vip["down_reals"]:
                    inner.update(layout.u32(self.real(real)), b"\1")
                self.maps["vip_to_down_reals_map"].update(definition, layout.u32(down))
                inner.close()
        self.index_vips()

    def forget_index(self) -> None:
        """Let no index be in force, as while VIPs change: the program asks the hash maps."""
        drop_index(self.maps[VIP_INDEX])

    def index_vips(self) -> None:
        """Make the index of what is in vip_map and vip_addresses."""
        index = self.maps[VIP_INDEX]
        addresses = [key for key, _value in self.maps["vip_addresses"].items()]
        filled = build_index(dict(self.maps["vip_map"].items()), addresses, index.info.entries)
        # Nobody else runs the program.
        put_index(index, list(filled.items()), lambda: None)

    def set_sources(self, number: int, ipv6: bool, vip: Scenario) -> None:
        """Write a VIP's lists of clients; whoever is in none is kept out where some are let in."""
        everybody = ["::/0" if ipv6 else "0.0.0.0/0"] if vip.get("allow") else []
        lists = ((2, everybody), (1, vip.get("allow", ())), (2, vip.get("deny", ())))
        sources = self.maps["src_filter_v6" if ipv6 else "src_filter_v4"]
        for key, _value in list(sources.items()):
            if layout.parse_source_filter_key(key)[2] == number:
                sources.delete(key)
        for verdict, prefix in ((verdict, prefix) for verdict, prefixes in lists for prefix in prefixes):
            network = ipaddress.ip_network(prefix)
            key = layout.source_filter_key(network.network_address.packed, network.prefixlen, number)
            sources.update(key, layout.u32(verdict))

    def _set_quic_lb(self, number: int, configs: t.Sequence[Scenario]) -> None:
        forms = [[1, 0, 0, 0] if configs else [0] * 4 for _config in range(8)]
        for each in configs:
            length, servers = each["server_id_length"], each.get("servers")
            flags = 1 | 2 * (servers is not None) | 4 * each.get("first_octet_encodes_cid_length", False)
            forms[each["config"]] = [flags, length, 1 + length + each["nonce_length"], 0]
            for server in servers or ():
                key = struct.pack("=II16s", number, each["config"], bytes.fromhex(server["id"]))
                self.maps["quic_lb_servers"].update(key, layout.u32(self.real(server["real"])))
        self.maps["quic_lb_vips"].update(layout.u32(number), bytes(itertools.chain.from_iterable(forms)))

    def flow_table(self, name: str = "lru_mapping", cpu: int = 0) -> bpf.Map:
        """Give this CPU a table of its own in a map of maps."""
        spec = balancer_maps(self.settings)[name].inner
        assert spec is not None
        inner = bpf.Map(bpf.create_map(spec.type, spec.key_size, spec.value_size, spec.entries(self.settings.sizes)))
        self.maps[name].update(layout.u32(cpu), layout.u32(inner.fd))
        return inner

    def run(self, frame: bytes) -> tuple[str, bytes]:
        """(action, frame) that the program answers."""
        result = bpf.test_run(self.prog_fd, frame)
        return ACTIONS[result.value], result.data

    def counters(self, name: str) -> dict[int, tuple[int, ...]]:
        """The entries of a counter map that are not zero, summed over CPUs; u64 each, u32 in lru_miss_stats."""
        found = {}
        for key, value in self.maps[name].items():
            info = self.maps[name].info
            if info.value_size == 4:
                numbers = (sum(struct.unpack_from("=I", value, at)[0] for at in range(0, len(value), 8)),)
            else:
                words = info.value_size // 8
                every = struct.unpack(f"={len(value) // 8}Q", value)
                numbers = tuple(sum(every[word::words]) for word in range(words))
            if any(numbers):
                found[layout.parse_u32(key)] = numbers
        return found

    def stats(self) -> dict[int, tuple[int, ...]]:
        """stats from max_vips on: index n of the design's table."""
        base = self.settings.sizes["vips"]
        return {index - base: value for index, value in self.counters("stats").items() if index >= base}

    def vip_stats(self) -> dict[tuple[str, int, str], tuple[int, ...]]:
        """(packets, bytes) by VIP."""
        counted = self.counters("stats")
        return {vip: counted[number] for vip, number in self.vips.items() if number in counted}

    def real_stats(self) -> dict[str, tuple[int, ...]]:
        """(packets, bytes) by real."""
        counted = self.counters("reals_stats")
        return {real: counted[number] for real, number in self.reals.items() if number in counted}

    def set_behind(self, options: Scenario, behind: t.Mapping[str, t.Sequence[Scenario]]) -> None:
        """Put balancers with these options into the slots behind this one's, and into no other; slot -> VIPs."""
        self._close_behind()
        self.maps["next_programs"].delete_many([layout.u32(slot) for slot in range(3)])
        for slot, vips in sorted(behind.items(), reverse=True):
            other = provision({"balancer": options, "vips": vips})
            for place, later in self.behind.items():
                other.maps["next_programs"].update(layout.u32(int(place)), layout.u32(later.prog_fd))
            self.behind[slot] = other
            self.maps["next_programs"].update(layout.u32(int(slot)), layout.u32(other.prog_fd))

    def _close_behind(self) -> None:
        for other in self.behind.values():
            other.close()
        self.behind = {}

    def close(self) -> None:
        self._close_behind()
        for opened in self.maps.values():
            opened.close()
        if self.prog_fd >= 0:
            os.close(self.prog_fd)
        self.maps = {}
        self.prog_fd = -1


def provision(scenario: Scenario, cpu: int | None = None) -> Balancer:
    """A balancer as the scenario describes it; *cpu* gets a connection table of its own."""
    options = scenario["balancer"]
    balancer = Balancer(Settings.of(options))
    settings = balancer.settings
    cidr = sum("/" in vip["address"] for vip in scenario["vips"])
    for name, spec in balancer_maps(settings).items():
        inner = -1
        if spec.inner is not None:
            inner = bpf.create_map(
                spec.inner.type,
                spec.inner.key_size,
                spec.inner.value_size,
                spec.inner.entries(settings.sizes),
                spec.inner.flags,
            )
        entries = spec.entries(settings.sizes)
        if name == "ch_rings":
            # A whole one takes 256 MiB; slots of VIPs that are not there are never read.
            most = settings.sizes["vips"] if settings.sizes["ring"] < _SMALL_RING else 1
            entries = max(most, len(scenario["vips"])) * settings.sizes["ring"]
        if "lpm" in name and "vip" in name:
            entries = max(entries, cidr)
        fd = bpf.create_map(spec.type, spec.key_size, spec.value_size, entries, spec.flags, name, max(inner, 0))
        balancer.maps[name] = bpf.Map(fd)
        if inner >= 0:
            os.close(inner)
    fill(balancer, scenario)
    bytecode = _compiled("balancer", tuple(sorted(balancer_macros(settings).items())))
    balancer.prog_fd = load(bytecode, {name: opened.fd for name, opened in balancer.maps.items()})
    if "subprograms" in balancer.maps:
        balancer.maps["subprograms"].update(layout.u32(0), layout.u32(balancer.prog_fd))
    if cpu is not None:
        balancer.flow_table(cpu=cpu).close()
    return balancer


def fill(balancer: Balancer, scenario: Scenario) -> None:
    """Write the scenario's VIPs, reals, routes and ids into the balancer's maps; what is there already stays.

    The balancers behind it are the scenario's alone: one of an earlier scenario would answer what this one passes.
    """
    options = scenario["balancer"]
    balancer.maps["ctl_array"].update(
        layout.u32(layout.CTL_GATEWAY_MAC), layout.mac_bytes(options.get("gateway_mac", "00:00:00:00:00:00"))
    )
    for index, name in enumerate(("source_ipv4", "source_ipv6")):
        address = options.get(name, "auto")
        if "pckt_srcs" in balancer.maps and address != "auto":
            definition = layout.real_definition(layout.pack_address(address), layout.REAL_IPV6 * index)
            balancer.maps["pckt_srcs"].update(layout.u32(index), definition)
    balancer.set_vips(scenario["vips"])
    for entry in scenario.get("server_ids", ()):
        balancer.maps["server_id_map"].update(layout.u32(entry["id"]), layout.u32(balancer.real(entry["real"])))
    for entry in scenario.get("source_routes", ()):
        network = ipaddress.ip_network(entry["prefix"])
        routes = balancer.maps[f"lpm_src_v{network.version}"]
        key = layout.lpm_key(network.network_address.packed, network.prefixlen)
        routes.update(key, layout.u32(balancer.real(entry["real"])))
    prefixes = (options.get(f"source_prefix_ipv{family}", default) for family, default in SOURCE_PREFIXES.items())
    fill_sources(balancer.maps, "tunnel", options.get("decap_sources") or list(prefixes))
    for entry in scenario.get("decap_destinations", ()):
        flags = layout.DECAP_EGRESS * entry.get("egress", False)
        balancer.maps["decap_dst"].update(layout.pack_address(entry["address"]), layout.u32(flags))
    if "next_programs" in balancer.maps:
        balancer.set_behind(options, scenario.get("behind", {}))


SOURCE_PREFIXES = {4: "172.16.0.0/16", 6: "100::/64"}


def fill_sources(maps: t.Mapping[str, bpf.Map], kind: str, sources: t.Iterable[str]) -> None:
    """Take tunnels from these addresses and prefixes; `kind`: as the maps' names begin."""
    for source in sources:
        network = ipaddress.ip_network(source)
        name = f"{kind}_src_v{network.version}"
        if name in maps:
            maps[name].update(layout.lpm_key(network.network_address.packed, network.prefixlen), layout.u32(1))


Specs = t.Mapping[str, tuple[int, int, int, int]]
"""Map name -> bpf(2) type, key size, value size, entries."""

DECAP_MAPS: Specs = {
    "decap_vips": (HASH, 16, 4, 64),
    "decap_src_v4": (LPM_TRIE, 8, 4, 64),
    "decap_src_v6": (LPM_TRIE, 20, 4, 64),
    "decap_counters": (PERCPU_ARRAY, 4, 40, 1),
    "tpr_server_id": (ARRAY, 4, 4, 1),
}
HEALTHCHECK_MAPS: Specs = {
    "hc_reals_map": (HASH, 4, 20, 64),
    "hc_ctrl_map": (ARRAY, 4, 4, 4),
    "hc_pckt_srcs_map": (ARRAY, 4, 20, 2),
    "hc_pckt_macs": (ARRAY, 4, 6, 2),
    "hc_stats_map": (PERCPU_ARRAY, 4, 48, 1),
    "hc_key_map": (HASH, 20, 4, 64),
    "per_hckey_stats": (PERCPU_ARRAY, 4, 8, 64),
}
OPTION_MAPS: Specs = {
    "server_id_own": (ARRAY, 4, 4, 2),
    "server_id_of_socket": (LRU_HASH, 8, 4, 1024),
    "server_id_listeners": (LRU_HASH, 8, 4, 1024),
    "server_id_counters": (PERCPU_ARRAY, 4, 32, 1),
}
ROOT_MAPS: Specs = {"root_array": (PROG_ARRAY, 4, 4, 3)}
COUNTER_MAPS: Specs = {
    "ctl_array": (ARRAY, 4, 4, 1),
    "cntrs_array": (PERCPU_ARRAY, 4, 8, 1),
}


@dataclass
class Small:
    """One of the programs beside the balancer, on maps of its own."""

    maps: dict[str, bpf.Map]
    prog_fd: int

    def counters(self, name: str) -> tuple[int, ...]:
        """The u64 of a per-CPU map's entry 0, summed over CPUs."""
        value = self.maps[name].lookup(layout.u32(0))
        assert value is not None
        words = self.maps[name].info.value_size // 8
        every = struct.unpack(f"={len(value) // 8}Q", value)
        return tuple(sum(every[word::words]) for word in range(words))

    def close(self) -> None:
        for opened in self.maps.values():
            opened.close()
        if self.prog_fd >= 0:
            os.close(self.prog_fd)
        self.maps, self.prog_fd = {}, -1


def load_small(name: str, specs: Specs, macros: t.Mapping[str, int] | None = None) -> Small:
    """Compile and load one of the smaller programs; maps that it does not use are there all the same."""
    maps = {}
    for each, (kind, key_size, value_size, entries) in specs.items():
        flags = NO_PREALLOC if kind == LPM_TRIE else 0
        maps[each] = bpf.Map(bpf.create_map(kind, key_size, value_size, entries, flags, each))
    bytecode = _compiled(name, tuple(sorted((macros or {}).items())))
    return Small(maps, load(bytecode, {each: opened.fd for each, opened in maps.items()}))


def provision_healthcheck(scenario: Scenario) -> Small:
    """The health-check program as a scenario's `healthcheck` and `healthcheck_destinations` have it."""
    options = scenario["healthcheck"]
    macros = {
        "ENCAP_GUE": int(options.get("encapsulation", "ipip") == "gue"),
        "GUE_PORT": options.get("gue_port", 6080),
    }
    loaded = load_small("healthcheck", HEALTHCHECK_MAPS, macros)
    for entry in scenario["healthcheck_destinations"]:
        real = entry["real"]
        definition = layout.real_definition(layout.pack_address(real), layout.REAL_IPV6 * is_ipv6(real))
        loaded.maps["hc_reals_map"].update(layout.u32(entry["mark"]), definition)
    loaded.maps["hc_ctrl_map"].update(layout.u32(3), layout.u32(1))
    for index, family in enumerate(("ipv4", "ipv6")):
        source = layout.real_definition(layout.pack_address(options[f"source_{family}"]), index)
        loaded.maps["hc_pckt_srcs_map"].update(layout.u32(index), source)
    for index, mac in enumerate(("source_mac", "gateway_mac")):
        loaded.maps["hc_pckt_macs"].update(layout.u32(index), layout.mac_bytes(options[mac])[:6])
    return loaded


def run_tc(loaded: Small, frame: bytes, mark: int) -> tuple[str, bytes, int]:
    """(action, frame, mark afterwards) of a tc program on a packet with this mark."""
    context = bytearray(192)
    struct.pack_into("=I", context, 8, mark)
    result = bpf.test_run(loaded.prog_fd, frame, context=bytes(context))
    return TC_ACTIONS[result.value], result.data, struct.unpack_from("=I", result.context, 8)[0]
