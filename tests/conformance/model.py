# SPDX-License-Identifier: GPL-3.0-or-later
"""The balancer's datapath in plain Python: an oracle for the program in bpf/, written from the design alone.

A ``Model`` holds what the control plane writes (VIPs, reals, rings, routes, ids ...) and what the datapath itself
keeps (connection table, counters, flow debug). ``Model.run(frame, now)`` answers what the program must answer: the
XDP action and the whole frame. The steps are numbered as in docs/datapath.md, section 3, each a method.

Addresses, ports and MAC addresses are bytes in network order, as they are in frames; times are nanoseconds.
"""

from __future__ import annotations

import ipaddress
import struct
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

TX, PASS, DROP = "XDP_TX", "XDP_PASS", "XDP_DROP"
Verdict = tuple[str, bytes]
Scenario = Mapping[str, Any]
RingFunction = Callable[[Sequence[tuple[str, int]], int, str], Sequence[int]]
"""(reals as (address, weight), ring size, hash kind) -> for each slot the index of its real, len(reals) for none."""

ICMP, IPIP, TCP, UDP, IPV6_IN_IP, IPV6_FRAGMENT, ICMPV6 = 1, 4, 6, 17, 41, 44, 58
ETHERTYPE_IPV4, ETHERTYPE_IPV6 = b"\x08\x00", b"\x86\xdd"
VLAN_TAGS = (b"\x81\x00", b"\x88\xa8")
PROTOCOLS = {"tcp": TCP, "udp": UDP}
TRANSPORT_HEADER = {TCP: 20, UDP: 8}
NO_PORT = b"\0\0"
SECOND = 1_000_000_000
MAX_TAIL_CALLS = 33
SERVER_ID_OPTION, SERVER_ID_OPTION_LENGTH, MAX_OPTIONS = 0xB7, 6, 15

FLAGS = (
    "hash_no_src_port",
    "no_lru",
    "quic",
    "hash_dst_port_only",
    "source_routing",
    "local",
    "global_lru",
    "hash_src_dst_port",
    "udp_stable_routing",
    "udp_flow_migration",
)
DEFAULT_SIZES = {
    "vips": 512,
    "cidr_vips": 256,
    "reals": 4096,
    "ring": 65537,
    "source_routes": 3_000_000,
    "server_ids": 16_777_214,
    "flows": 1_000_000,
    "global_flows": 100_000,
    "source_filters": 100_000,
}

# Index n of `stats`, counted from max_vips.
(
    MATCHED,
    TCP_MISS,
    FLOOD,
    FALLBACK,
    TOO_BIG,
    SOURCE_ROUTE,
    ENCAPSULATED,
    ENCAP_FAILED,
    GLOBAL,
    RING_DROP,
    DECAPSULATED,
    QUIC_ICMP,
    ICMPV6_TOO_BIG,
    FRAG_NEEDED,
    BALANCED_AGAIN,
    MOVED,
    SEEN,
    SENT,
    DROPPED,
    PASSED,
    EGRESS,
    CIDR_MATCHED,
) = range(22)

EVENT_TCP_MISS, EVENT_TOO_BIG, EVENT_NO_REAL = range(3)

NOT_ECT, ECT_1, ECT_0, CE = range(4)
# RFC 6040, figure 4: the mark inside -> what it becomes under each of Not-ECT, ECT(1), ECT(0), CE outside; None: drop.
ECN_AFTER_TUNNEL = {
    NOT_ECT: (NOT_ECT, NOT_ECT, NOT_ECT, None),
    ECT_0: (ECT_0, ECT_1, ECT_0, CE),
    ECT_1: (ECT_1, ECT_1, ECT_1, CE),
    CE: (CE, CE, CE, CE),
}


QUIC_CHOSEN_BY_CLIENT = {1: (0, 1), 2: (1, 2)}
"""Major version -> the numbers that its long headers have for Initial and 0-RTT."""


@dataclass(frozen=True)
class Settings:
    """What the program is compiled with, and the addresses it is given."""

    gue: bool = False
    gue_port: int = 6080
    features: frozenset[str] = frozenset()
    copy_tos: bool = True
    decap_any: bool = False
    max_frame: int = 1514
    max_new_flows: int = 125_000
    udp_timeout: int = 30
    decap_sources: tuple[str, ...] = ()
    prefix4: bytes = bytes((172, 16))
    prefix6: bytes = b"\x01" + bytes(11)
    gateway_mac: bytes = bytes(6)
    source4: bytes | None = None
    source6: bytes | None = None
    sizes: Mapping[str, int] = field(default_factory=lambda: dict(DEFAULT_SIZES))

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Settings:
        """Settings from the balancer module's options; `auto` and absent sources mean no own address."""
        sources = {}
        for family in ("4", "6"):
            text = options.get(f"source_ipv{family}", "auto")
            sources[family] = None if text in (None, "auto") else packed(text)
        return cls(
            gue=options.get("encapsulation", "ipip") == "gue",
            gue_port=options.get("gue_port", 6080),
            features=frozenset(options.get("features", ())),
            copy_tos=options.get("copy_tos", True),
            decap_any=options.get("decap_any", False),
            decap_sources=tuple(
                options.get("decap_sources")
                or (options.get("source_prefix_ipv4", "172.16.0.0/16"), options.get("source_prefix_ipv6", "100::/64"))
            ),
            max_frame=options.get("max_frame", 1514),
            max_new_flows=options.get("max_new_flows", 125_000),
            udp_timeout=options.get("udp_timeout", 30),
            prefix4=packed(options.get("source_prefix_ipv4", "172.16.0.0/16").split("/")[0])[:2],
            prefix6=packed(options.get("source_prefix_ipv6", "100::/64").split("/")[0])[:12],
            gateway_mac=bytes.fromhex(options.get("gateway_mac", "0" * 12).replace(":", "")),
            source4=sources["4"],
            source6=sources["6"],
            sizes=DEFAULT_SIZES | options.get("sizes", {}),
        )


class Source:
    """An outer source of tunnels: an address or a prefix; `address in source` of packed addresses of its family."""

    def __init__(self, text: str) -> None:
        network = ipaddress.ip_network(text)
        self._network, self._size = network, len(network.network_address.packed)

    def __contains__(self, address: bytes) -> bool:
        return len(address) == self._size and ipaddress.ip_address(address) in self._network


@dataclass
class Real:
    """One entry of `reals`."""

    address: bytes
    local: bool = False


class Vip:
    """One VIP with its flags as attributes, its ring as real ids, and its down set.

    `key`: address or network address, port, protocol.
    """

    def __init__(
        self,
        name: str,
        key: tuple[bytes, bytes, int],
        number: int,
        flags: Sequence[str],
        ring: Sequence[int],
        down: set[int],
    ) -> None:
        unknown = set(flags) - set(FLAGS)
        if unknown:
            raise ValueError(f"{name}: unknown flags {sorted(unknown)}")
        self.name = name
        self.key = key
        self.number = number
        self.ring = ring
        self.down = down
        self.hash_no_src_port = "hash_no_src_port" in flags
        self.no_lru = "no_lru" in flags
        self.quic = "quic" in flags
        self.hash_dst_port_only = "hash_dst_port_only" in flags
        self.source_routing = "source_routing" in flags
        self.local = "local" in flags
        self.global_lru = "global_lru" in flags
        self.hash_src_dst_port = "hash_src_dst_port" in flags
        self.udp_stable_routing = "udp_stable_routing" in flags
        self.udp_flow_migration = "udp_flow_migration" in flags
        self.clients: Prefixes | None = None
        """Prefix -> whether its clients may come in; None where nobody is asked."""
        self.quic_lb: dict[int, QuicLb] = {}


@dataclass(frozen=True)
class QuicLb:
    """What the connection ids of one config id look like. `servers`: by their id; None: those of server_ids."""

    server_bytes: int
    whole: int
    says_length: bool
    servers: Mapping[bytes, int] | None


class Packet:
    """A frame on its way through the steps: where its headers are, and the flow it belongs to.

    `source` ... `protocol` are the flow's (for a packet from ICMP, those of the quoted packet turned round, and as
    rewritten by hashing flags); the frame's own addresses stay readable at `l3`.
    """

    __slots__ = (
        "destination",
        "destination_port",
        "frame",
        "from_icmp",
        "ip_bytes",
        "ip_protocol",
        "ipv6",
        "l3",
        "l4",
        "payload",
        "protocol",
        "rst",
        "source",
        "source_port",
        "syn",
        "tos",
    )

    frame: bytes
    l3: int
    l4: int
    payload: int
    ipv6: bool
    ip_protocol: int
    ip_bytes: int
    tos: int
    source: bytes
    destination: bytes
    source_port: bytes
    destination_port: bytes
    protocol: int
    from_icmp: bool
    syn: bool
    rst: bool


def packed(address: str) -> bytes:
    """*address* in network order."""
    return ipaddress.ip_address(address).packed


def ones_sum(data: bytes) -> int:
    """One's-complement sum of the 16-bit words of *data* (even length), modulo 0xffff.

    A big-endian number is congruent to the sum of its 16-bit digits modulo 2**16 - 1.
    """
    return int.from_bytes(data, "big") % 0xFFFF


def ip_checksum(header: bytes) -> int:
    """RFC 1071 checksum of data that is not all zero."""
    return -ones_sum(header) % 0xFFFF


def _mix(a: int, b: int, c: int) -> tuple[int, int, int]:
    """__jhash_mix of the kernel's jhash.h."""
    m = 0xFFFFFFFF
    a = ((a - c) & m) ^ ((c << 4 | c >> 28) & m)
    c = (c + b) & m
    b = ((b - a) & m) ^ ((a << 6 | a >> 26) & m)
    a = (a + c) & m
    c = ((c - b) & m) ^ ((b << 8 | b >> 24) & m)
    b = (b + a) & m
    a = ((a - c) & m) ^ ((c << 16 | c >> 16) & m)
    c = (c + b) & m
    b = ((b - a) & m) ^ ((a << 19 | a >> 13) & m)
    a = (a + c) & m
    c = ((c - b) & m) ^ ((b << 4 | b >> 28) & m)
    b = (b + a) & m
    return a, b, c


def _final(a: int, b: int, c: int) -> int:
    """__jhash_final of the kernel's jhash.h."""
    m = 0xFFFFFFFF
    c = ((c ^ b) - (b << 14 | b >> 18)) & m
    a = ((a ^ c) - (c << 11 | c >> 21)) & m
    b = ((b ^ a) - (a << 25 | a >> 7)) & m
    c = ((c ^ b) - (b << 16 | b >> 16)) & m
    a = ((a ^ c) - (c << 4 | c >> 28)) & m
    b = ((b ^ a) - (a << 14 | a >> 18)) & m
    return ((c ^ b) - (b << 24 | b >> 8)) & m


JHASH_INITVAL = 0xDEADBEEF


def jhash_2words(first: int, second: int, seed: int) -> int:
    """jhash_2words of the kernel's jhash.h."""
    start = (seed + JHASH_INITVAL + (2 << 2)) & 0xFFFFFFFF
    return _final((first + start) & 0xFFFFFFFF, (second + start) & 0xFFFFFFFF, start)


def jhash_16(data: bytes, seed: int) -> int:
    """jhash of the kernel's jhash.h over 16 bytes."""
    start = (seed + JHASH_INITVAL + 16) & 0xFFFFFFFF
    words = struct.unpack("<4I", data)
    a, b, c = _mix(*((start + word) & 0xFFFFFFFF for word in words[:3]))
    return _final((a + words[3]) & 0xFFFFFFFF, b, c)


class Prefixes:
    """Longest-prefix match for one address family: prefixes as (mask, network), longest first."""

    def __init__(self) -> None:
        self._entries: list[tuple[int, int, Any]] = []

    def add(self, text: str, value: Any) -> None:
        network = ipaddress.ip_network(text)
        self._entries.append((int(network.netmask), int(network.network_address), value))
        self._entries.sort(key=lambda entry: -entry[0])

    def find(self, address: bytes) -> Any | None:
        number = int.from_bytes(address, "big")
        for mask, network, value in self._entries:
            if number & mask == network:
                return value
        return None


class Model:
    """The balancer: settings, provisioned state, connection tables and counters.

    `has_cpu_table` and `has_global_cpu_table` say whether this CPU has tables of its own; only counters tell.
    """

    def __init__(self, settings: Settings, ring: RingFunction) -> None:
        self.settings = settings
        self.has_cpu_table = False
        self.has_global_cpu_table = False
        self.introspecting = False
        self._build_ring = ring
        self._real_ids: dict[bytes, int] = {}
        self._vip_numbers: dict[tuple[str, int, str], int] = {}
        self._rings: dict[tuple[Any, ...], Sequence[int]] = {}

        self.vips: dict[tuple[bytes, bytes, int], Vip] = {}
        self.cidr_vips: dict[tuple[int, bytes, int], Prefixes] = {}
        self.vip_addresses: set[bytes] = set()
        self.cidr_addresses: dict[int, Prefixes] = {}
        self.reals: dict[int, Real] = {}
        self.source_routes: dict[int, Prefixes] = {}
        self.server_ids: dict[int, int] = {}
        self.decap_destinations: dict[bytes, bool] = {}
        self.traced: tuple[bytes, bytes, int] | None = None

        self.table: dict[bytes, tuple[int, int]] = {}
        self.global_table: dict[bytes, int] = {}
        self.flow_debug: dict[tuple[bytes, bytes, int, int, int], tuple[bytes, bytes]] = {}
        self.events: list[tuple[int, int, bytes]] = []
        self.behind: dict[str, Model] = {}
        self._is_here = False

        self.general = [[0, 0] for _ in range(22)]
        self.vip_stats: dict[int, list[int]] = defaultdict(lambda: [0, 0])
        self.reals_stats: dict[int, list[int]] = defaultdict(lambda: [0, 0])
        self.server_id_stats: dict[int, list[int]] = defaultdict(lambda: [0, 0])
        self.decap_vip_stats: dict[int, int] = defaultdict(int)
        self.lru_miss_stats: dict[int, int] = defaultdict(int)
        self.quic_stats: dict[str, int] = defaultdict(int)
        self.tpr_stats: dict[str, int] = defaultdict(int)
        self.stable_rt_stats: dict[str, int] = defaultdict(int)
        self.src_denied: dict[int, list[int]] = defaultdict(lambda: [0, 0])
        self._apply_settings(settings)

    # Provisioning

    def _apply_settings(self, settings: Settings) -> None:
        self.settings = settings
        sizes = settings.sizes
        self._gue_port = settings.gue_port.to_bytes(2, "big")
        self._max_reals = sizes["reals"]
        self._ring_size = sizes["ring"]
        self._hash_seed6 = sizes["vips"]
        self._hash_seed = sizes["vips"] * sizes["ring"] & 0xFFFFFFFF
        self._features = settings.features
        self._inline_decap = "inline_decap" in settings.features
        self._tunnel_sources = [Source(text) for text in settings.decap_sources or ("172.16.0.0/16", "100::/64")]
        self._cidr = "cidr_vips" in settings.features
        self._udp_timeout = settings.udp_timeout * SECOND

    @classmethod
    def from_scenario(cls, scenario: Scenario, ring: RingFunction) -> Model:
        """A fresh balancer provisioned with *scenario* (module names to options)."""
        model = cls(Settings.from_options(scenario["balancer"]), ring)
        model.provision(scenario)
        return model

    def real_id(self, address: str) -> int:
        """The id of the real at *address*, assigned on first use and kept."""
        key = packed(address)
        number = self._real_ids.setdefault(key, len(self._real_ids) + 1)
        self.reals.setdefault(number, Real(key))
        return number

    def provision(self, scenario: Scenario) -> None:
        """Make the provisioned state exactly *scenario*; connection tables and counters stay, but for those behind."""
        self._apply_settings(Settings.from_options(scenario["balancer"]))
        self.reals = {}
        self.vips, self.cidr_vips = {}, {}
        self.vip_addresses, self.cidr_addresses = set(), {}
        overlay = {entry["address"]: entry["state"] for entry in scenario.get("reals", ())}
        for entry in scenario.get("vips", ()):
            self._provision_vip(entry, overlay)
        self.source_routes = {4: Prefixes(), 16: Prefixes()}
        for entry in scenario.get("source_routes", ()):
            length = ipaddress.ip_network(entry["prefix"]).max_prefixlen // 8
            self.source_routes[length].add(entry["prefix"], self.real_id(entry["real"]))
        self.server_ids = {entry["id"]: self.real_id(entry["real"]) for entry in scenario.get("server_ids", ())}
        self.decap_destinations = {
            packed(entry["address"]): entry.get("egress", False) for entry in scenario.get("decap_destinations", ())
        }
        self.behind = {
            slot: Model.from_scenario({"balancer": scenario["balancer"], "vips": vips}, self._build_ring)
            for slot, vips in sorted(scenario.get("behind", {}).items())
        }

    def load_tables(self, tables: Mapping[str, Any]) -> None:
        """What no module writes: `global` flows and their real, `server_ids` by real id, `traced`, `introspect`."""
        for flow in tables.get("global", ()):
            key = packed(flow["source"]) + packed(flow["destination"])
            key += struct.pack("!HHB", flow["source_port"], flow["destination_port"], PROTOCOLS[flow["protocol"]])
            self.global_table[key] = self.real_id(flow["real"])
        if "traced" in tables:
            vip = tables["traced"]
            self.traced = packed(vip["address"]), vip["port"].to_bytes(2, "big"), PROTOCOLS[vip["protocol"]]
        for entry in tables.get("server_ids", ()):
            self.server_ids[entry["id"]] = entry["real_id"]
        self.introspecting = tables.get("introspect", self.introspecting)

    def _provision_vip(self, entry: Mapping[str, Any], overlay: Mapping[str, str]) -> None:
        address, port, protocol = entry["address"], entry["port"], entry["protocol"]
        flags = entry.get("flags") or ()
        number = self._vip_numbers.setdefault((address, port, protocol), len(self._vip_numbers))
        weights: list[tuple[str, int]] = []
        down = {self.real_id(real) for real in entry.get("down_reals") or ()}
        for real in entry.get("reals") or ():
            identity = self.real_id(real["address"])
            self.reals[identity].local |= bool(real.get("local"))
            state = overlay.get(real["address"], real.get("state", "active"))
            if state == "down" and "udp_flow_migration" in flags:
                down.add(identity)
            weights.append((real["address"], real.get("weight", 1) if state == "active" else 0))
        key = port.to_bytes(2, "big"), PROTOCOLS[protocol]
        name, network = f"{address}:{port}/{protocol}", packed(address.partition("/")[0])
        vip = Vip(name, (network, *key), number, flags, self._ring(weights, entry.get("hash")), down)
        if entry.get("allow") or entry.get("deny"):
            vip.clients = Prefixes()
            for word, may in (("allow", True), ("deny", False)):
                for prefix in entry.get(word) or ():
                    vip.clients.add(prefix, may)
            if entry.get("allow"):
                # The sort is stable, so that one of the same length that is listed comes before it.
                vip.clients.add("::/0" if ":" in address else "0.0.0.0/0", False)
        for each in entry.get("quic_lb") or ():
            servers = each.get("servers")
            vip.quic_lb[each["config"]] = QuicLb(
                each["server_id_length"],
                1 + each["server_id_length"] + each["nonce_length"],
                each.get("first_octet_encodes_cid_length", False),
                None if servers is None else {bytes.fromhex(s["id"]): self.real_id(s["real"]) for s in servers},
            )
        if "/" in address:
            length = ipaddress.ip_network(address).max_prefixlen // 8
            self.cidr_vips.setdefault((length, *key), Prefixes()).add(address, vip)
            self.cidr_addresses.setdefault(length, Prefixes()).add(address, vip)
        else:
            self.vips[vip.key] = vip
            self.vip_addresses.add(network)

    def _ring(self, weights: Sequence[tuple[str, int]], kind: str | None) -> Sequence[int]:
        key = (tuple(weights), self._ring_size, kind or "maglev_v2")
        if key not in self._rings:
            ids = [self.real_id(address) for address, _ in weights] + [0]
            self._rings[key] = [ids[index] for index in self._build_ring(weights, self._ring_size, key[2])]
        return self._rings[key]

    # Reading

    def real_text(self, number: int) -> str:
        """The address of real *number*."""
        for address, identity in self._real_ids.items():
            if identity == number:
                return str(ipaddress.ip_address(address))
        return str(number)

    def counters(self) -> dict[str, Any]:
        """Every counter that is not zero, by the names of section 1; VIPs and reals by address, not by number.

        Index 2 of `stats` holds a time and is left out.
        """
        vips = {number: f"{key[0]}:{key[1]}/{key[2]}" for key, number in self._vip_numbers.items()}

        def by_vip(table: Mapping[int, Any]) -> dict[str, Any]:
            return {vips[number]: value for number, value in sorted(table.items())}

        def by_real(table: Mapping[int, Any]) -> dict[str, Any]:
            return {self.real_text(number): value for number, value in sorted(table.items())}

        tables = {
            "stats": {
                str(index): list(pair) for index, pair in enumerate(self.general) if index != FLOOD and any(pair)
            },
            "vip_stats": by_vip(self.vip_stats),
            "reals_stats": by_real(self.reals_stats),
            "lru_miss_stats": by_real(self.lru_miss_stats),
            "server_id_stats": by_vip(self.server_id_stats),
            "decap_vip_stats": by_vip(self.decap_vip_stats),
            "quic_stats": dict(sorted(self.quic_stats.items())),
            "tpr_stats": dict(sorted(self.tpr_stats.items())),
            "stable_rt_stats": dict(sorted(self.stable_rt_stats.items())),
            "src_denied": by_vip(self.src_denied),
        }
        for slot, other in self.behind.items():
            tables |= {f"slot {slot}: {name}": table for name, table in other.counters().items()}
        return {name: table for name, table in tables.items() if table}

    def flows(self) -> dict[bytes, tuple[str, bool]]:
        """The connection table by flow_key as maps hold it: (the real's address, whether the entry has a time)."""
        return {_flow_key(flow): (self.real_text(real), atime != 0) for flow, (real, atime) in self.table.items()}

    def flow_times(self) -> dict[bytes, int]:
        """The connection table by flow_key: when each entry was written or refreshed, 0 for TCP."""
        return {_flow_key(flow): atime for flow, (_real, atime) in self.table.items()}

    def age(self, seconds: int) -> None:
        """Make all that was remembered so much older: entries of flows, and the flood's window."""
        for flow, (real, atime) in self.table.items():
            self.table[flow] = real, atime and atime - seconds * SECOND
        self.general[FLOOD][1] -= seconds * SECOND

    def debugged(self) -> dict[bytes, tuple[bytes, bytes]]:
        """flow_debug_maps by flow_key, ports in host order: (l4_hop, this_hop), 16 bytes each."""
        return {
            source.ljust(16, b"\0") + destination.ljust(16, b"\0") + struct.pack("=HHB3x", sport, dport, protocol): (
                hops[0].ljust(16, b"\0"),
                hops[1].ljust(16, b"\0"),
            )
            for (source, destination, sport, dport, protocol), hops in self.flow_debug.items()
        }

    # The packet

    def run(self, frame: bytes, now: int) -> Verdict:
        """Answer *frame* at time *now* (ns): the action and the whole frame as it leaves the last program."""
        action, answer = self._run_alone(frame, now)
        if "chain" in self._features:
            for other in self.behind.values():
                if action != PASS or self._is_here:
                    break
                action, answer = other.run(answer, now)
        return action, answer

    def _run_alone(self, frame: bytes, now: int) -> Verdict:
        self._is_here = False
        for _ in range(MAX_TAIL_CALLS + 1):
            if len(frame) < 14:
                return DROP, frame
            self.general[SEEN][0] += 1
            self.general[SEEN][1] += len(frame)
            action, answer = self._balance(frame, now)
            if action != "again":
                break
            frame = answer
        else:
            action = DROP
        counter = self.general[{TX: SENT, DROP: DROPPED, PASS: PASSED}[action]]
        counter[0] += 1
        counter[1] += len(frame)
        return action, answer

    def _balance(self, frame: bytes, now: int) -> Verdict:
        packet = Packet()
        packet.frame = frame
        packet.from_icmp = packet.syn = packet.rst = False
        verdict = self.step_1_ethernet(packet) or self.step_2_headers(packet)
        if verdict:
            return verdict
        if packet.ip_protocol in (ICMP, ICMPV6):
            verdict = self.step_3_icmp(packet)
        else:
            verdict = (self._inline_decap and self.step_4_decapsulate(packet)) or self.step_5_transport(packet)
        if verdict:
            return verdict
        vip = self.step_6_vip(packet)
        if vip is None:
            return PASS, frame
        verdict = self.step_6_client(packet, vip) or self.step_7_frame_length(packet)
        if verdict:
            return verdict
        self.step_8_matched(packet, vip)

        flow = b"%b%b%b%b%c" % (
            packet.source,
            packet.destination,
            packet.source_port,
            packet.destination_port,
            packet.protocol,
        )
        real: int | None = 0
        if vip.quic and packet.protocol == UDP:
            real = self.step_9_quic(packet, vip, flow, now)
        if real == 0 and vip.udp_stable_routing and packet.protocol == UDP and "udp_stable_routing" in self._features:
            real = self.step_10_stable_routing(packet)
        if real == 0:
            real = self.step_11_choose(packet, vip, flow, now)
        if real is None:
            return DROP, frame
        return self.step_12_deliver(packet, vip, real)

    def step_1_ethernet(self, packet: Packet) -> Verdict | None:
        """Find the IP header; only with `vlan` behind one or two tags. What is for many is for no balancer."""
        frame, l3 = packet.frame, 14
        if frame[0] & 1:
            return PASS, frame
        ethertype = frame[12:14]
        if "vlan" in self._features:
            while ethertype in VLAN_TAGS and l3 < 22 and len(frame) >= l3 + 4:
                l3 += 4
                ethertype = frame[l3 - 2 : l3]
        packet.l3 = l3
        packet.ipv6 = ethertype == ETHERTYPE_IPV6
        if not packet.ipv6 and ethertype != ETHERTYPE_IPV4:
            return PASS, frame
        return None

    def is_vip_address(self, address: bytes) -> bool:
        """Whether any VIP, whatever its port and protocol, has *address*, CIDR VIPs included."""
        if address in self.vip_addresses:
            return True
        prefixes = self.cidr_addresses.get(len(address)) if self._cidr else None
        return prefixes is not None and prefixes.find(address) is not None

    def _refuse(self, packet: Packet) -> Verdict:
        """What a packet that cannot be balanced gets: DROP where a VIP was meant, else it is not ours to drop."""
        return (DROP if self.is_vip_address(packet.destination) else PASS), packet.frame

    def step_2_headers(self, packet: Packet) -> Verdict | None:
        """Read the IP header; options, fragments, and lengths or headers that are not there, cannot be balanced."""
        frame, l3 = packet.frame, packet.l3
        if packet.ipv6:
            if len(frame) < l3 + 40:
                return PASS, frame
            packet.source, packet.destination = frame[l3 + 8 : l3 + 24], frame[l3 + 24 : l3 + 40]
            packet.ip_bytes = frame[l3 + 4] << 8 | frame[l3 + 5]
            packet.tos = (frame[l3] & 0x0F) << 4 | frame[l3 + 1] >> 4
            protocol = frame[l3 + 6]
            packet.l4 = l3 + 40
            if protocol == IPV6_FRAGMENT:
                return self._refuse(packet)
            header = 8 if protocol == ICMPV6 else TRANSPORT_HEADER.get(protocol, 0)
        else:
            if len(frame) < l3 + 20:
                return PASS, frame
            packet.source, packet.destination = frame[l3 + 12 : l3 + 16], frame[l3 + 16 : l3 + 20]
            packet.ip_bytes = frame[l3 + 2] << 8 | frame[l3 + 3]
            packet.tos = frame[l3 + 1]
            protocol = frame[l3 + 9]
            packet.l4 = l3 + 20
            if frame[l3] & 0x0F != 5 or frame[l3 + 6] & 0x3F or frame[l3 + 7]:
                return self._refuse(packet)
            header = 8 if protocol == ICMP else TRANSPORT_HEADER.get(protocol, 0)
        packet.protocol = packet.ip_protocol = protocol
        # Where the packet ends by its own length; the frame may go on with padding.
        end = packet.ip_bytes + (packet.l4 if packet.ipv6 else l3)
        if not packet.l4 + header <= end <= len(frame):
            return self._refuse(packet)
        return None

    def step_3_icmp(self, packet: Packet) -> Verdict | None:
        """Answer echo requests; recover the flow towards the VIP that an error message quotes."""
        frame, l4 = packet.frame, packet.l4
        if packet.ip_protocol != (ICMPV6 if packet.ipv6 else ICMP):
            return PASS, frame
        echo, errors = (128, (1, 2)) if packet.ipv6 else (8, (3,))
        kind, code = frame[l4], frame[l4 + 1]
        if (kind != echo and kind not in errors) or not self.is_vip_address(packet.destination):
            return PASS, frame
        if kind == echo:
            return TX, self._echo_reply(packet)
        if packet.ipv6:
            if kind == 2:
                self._count_mtu(ICMPV6_TOO_BIG, int.from_bytes(frame[l4 + 4 : l4 + 8], "big"))
        elif code == 4:
            self._count_mtu(FRAG_NEEDED, frame[l4 + 6] << 8 | frame[l4 + 7])
        return None if self._read_quoted(packet) else (DROP, frame)

    @staticmethod
    def _read_quoted(packet: Packet) -> bool:
        """Take the flow from the packet that an ICMP error quotes, turned round; False where it cannot be read."""
        frame, quoted = packet.frame, packet.l4 + 8
        ports = quoted + (40 if packet.ipv6 else 20)
        if len(frame) < ports + 8:
            return False
        if packet.ipv6:
            packet.source, packet.destination = frame[quoted + 24 : ports], frame[quoted + 8 : quoted + 24]
            packet.protocol = frame[quoted + 6]
        else:
            if frame[quoted] & 0x0F != 5:
                return False
            packet.source, packet.destination = frame[quoted + 16 : ports], frame[quoted + 12 : quoted + 16]
            packet.protocol = frame[quoted + 9]
        packet.source_port, packet.destination_port = frame[ports + 2 : ports + 4], frame[ports : ports + 2]
        packet.payload = ports + 8
        packet.from_icmp = True
        return True

    def _count_mtu(self, index: int, mtu: int) -> None:
        self.general[index][0] += 1
        self.general[index][1] += mtu < 1280

    def _echo_reply(self, packet: Packet) -> bytes:
        frame, l3, l4 = packet.frame, packet.l3, packet.l4
        checksum = frame[l4 + 2] << 8 | frame[l4 + 3]
        if packet.ipv6:
            header = frame[l3 : l3 + 7] + b"\x40" + packet.destination + packet.source
            # 128 becomes 129, so the checksum loses 0x0100: subtracted with end-around borrow.
            checksum -= 0x0100
            checksum -= checksum < 0
            kind = b"\x81"
        else:
            header = frame[l3 : l3 + 8] + b"\x40\x01\0\0" + packet.destination + packet.source
            header = header[:10] + ip_checksum(header).to_bytes(2, "big") + header[12:]
            # 8 becomes 0, so the checksum gains 0x0800; 0xffff, unlike 0, stays valid for a message of zeros.
            checksum += 0x0800
            checksum = (checksum & 0xFFFF) + (checksum >> 16)
            kind = b"\0"
        return b"".join(
            (
                frame[6:12],
                frame[:6],
                frame[12:l3],
                header,
                kind,
                frame[l4 + 1 : l4 + 2],
                (checksum & 0xFFFF).to_bytes(2, "big"),
                frame[l4 + 4 :],
            )
        )

    def step_4_decapsulate(self, packet: Packet) -> Verdict | None:
        """Strip IPIP and GUE: balance the inner packet again, send it out, or pass it to the host."""
        frame, inner = packet.frame, packet.l4
        gue = packet.ip_protocol == UDP and frame[inner + 2 : inner + 4] == self._gue_port
        if gue:
            inner += 8
            inner_ipv6 = frame[inner : inner + 1] != b"" and frame[inner] & 0x30 != 0
        elif packet.ip_protocol in (IPIP, IPV6_IN_IP):
            inner_ipv6 = packet.ip_protocol == IPV6_IN_IP
        else:
            return None
        if inner_ipv6 and not packet.ipv6:
            return PASS, frame
        listed = packet.destination in self.decap_destinations
        strict = not self.settings.decap_any
        if strict and not (listed or self._is_own_address(packet)):
            return PASS, frame
        if strict and not any(packet.source in network for network in self._tunnel_sources):
            return PASS, frame
        if listed:
            self.general[ENCAPSULATED][0] += 1
        end = packet.ip_bytes + (packet.l4 if packet.ipv6 else packet.l3)
        if end < inner + (40 if inner_ipv6 else 20):
            return self._refuse(packet)
        self.general[DECAPSULATED][packet.ipv6] += 1
        stripped = self._strip(packet, inner, inner_ipv6)
        return (DROP, frame) if stripped is None else self._decapsulated(packet, stripped, inner_ipv6, gue, listed)

    def _is_own_address(self, packet: Packet) -> bool:
        return packet.destination == (self.settings.source6 if packet.ipv6 else self.settings.source4)

    @staticmethod
    def _strip(packet: Packet, inner: int, ipv6: bool) -> bytes | None:
        """The frame without what is between its Ethernet header and *inner*, one hop further, with the outer mark.

        None where hops end, or where the receiver would not understand the mark.
        """
        frame, l3 = packet.frame, packet.l3
        shift = 4 if ipv6 else 0
        mark = frame[inner + 1] >> shift & 3
        merged = ECN_AFTER_TUNNEL[mark][packet.tos & 3]
        hops = frame[inner + (7 if ipv6 else 8)] - 1
        if merged is None or hops <= 0:
            return None
        change = merged - mark << shift
        start = bytes((frame[inner], frame[inner + 1] + change))
        if ipv6:
            ethertype, begin, end = ETHERTYPE_IPV6, start + frame[inner + 2 : inner + 7], b""
        else:
            ethertype, begin = ETHERTYPE_IPV4, start + frame[inner + 2 : inner + 8]
            # One less in the upper byte of its word; as RFC 1624 and a recomputation have it, 0xffff becomes 0.
            checksum = ((frame[inner + 10] << 8 | frame[inner + 11]) + 0x0100 - change) % 0xFFFF
            end = frame[inner + 9 : inner + 10] + checksum.to_bytes(2, "big")
        return b"%b%b%b%c%b%b" % (frame[: l3 - 2], ethertype, begin, hops, end, frame[inner + len(begin + end) + 1 :])

    def _decapsulated(self, packet: Packet, stripped: bytes, inner_ipv6: bool, gue: bool, listed: bool) -> Verdict:
        flow = self._inner_flow(stripped[packet.l3 :], inner_ipv6) if gue else None
        if flow and "flow_debug" in self._features:
            self.flow_debug[flow] = packet.source, packet.destination
        if not listed:
            if flow:
                self._count_decap_vip(flow)
            return PASS, stripped
        if gue and self.decap_destinations[packet.destination]:
            self.general[EGRESS][inner_ipv6] += 1
            return TX, stripped[6:12] + stripped[:6] + stripped[12:]
        self.general[BALANCED_AGAIN][inner_ipv6] += 1
        return "again", stripped

    @staticmethod
    def _inner_flow(inner: bytes, ipv6: bool) -> tuple[bytes, bytes, int, int, int] | None:
        """(source, destination, source port, destination port, protocol) of an inner packet.

        None where it has no ports: other protocols, later fragments; and behind IP options, where nobody reads them.
        """
        if ipv6:
            source, destination, protocol, l4 = inner[8:24], inner[24:40], inner[6], 40
        else:
            source, destination, protocol, l4 = inner[12:16], inner[16:20], inner[9], 20
        plain = ipv6 or (inner[0] & 0x0F == 5 and not inner[6] & 0x1F and not inner[7])
        if not plain or protocol not in TRANSPORT_HEADER or len(inner) < l4 + 4:
            return None
        sport, dport = struct.unpack_from("!HH", inner, l4)
        return source, destination, sport, dport, protocol

    def _count_decap_vip(self, flow: tuple[bytes, bytes, int, int, int]) -> None:
        _source, destination, _sport, port, protocol = flow
        vip = self.vips.get((destination, port.to_bytes(2, "big"), protocol))
        if vip:
            self.decap_vip_stats[vip.number] += 1

    def step_5_transport(self, packet: Packet) -> Verdict | None:
        """Only TCP and UDP are balanced."""
        frame, l4 = packet.frame, packet.l4
        if packet.protocol == TCP:
            flags = frame[l4 + 13]
            packet.syn, packet.rst = flags & 0x02 != 0, flags & 0x04 != 0
        elif packet.protocol != UDP:
            return PASS, frame
        packet.source_port, packet.destination_port = frame[l4 : l4 + 2], frame[l4 + 2 : l4 + 4]
        packet.payload = l4 + 8
        return None

    def step_6_vip(self, packet: Packet) -> Vip | None:
        """The VIP: exact before CIDR, with the port before port 0; all but the first lose the port in the flow."""
        address, port, protocol = packet.destination, packet.destination_port, packet.protocol
        vip = self.vips.get((address, port, protocol))
        if vip is not None:
            return vip
        vip = (
            self._cidr_vip(address, port, protocol)
            or self.vips.get((address, NO_PORT, protocol))
            or self._cidr_vip(address, NO_PORT, protocol)
        )
        if vip is not None and not vip.hash_dst_port_only and not vip.hash_src_dst_port:
            packet.destination_port = NO_PORT
        return vip

    def _cidr_vip(self, address: bytes, port: bytes, protocol: int) -> Vip | None:
        if not self._cidr:
            return None
        prefixes = self.cidr_vips.get((len(address), port, protocol))
        vip: Vip | None = prefixes.find(address) if prefixes else None
        if vip is not None:
            self.general[CIDR_MATCHED][0] += 1
        return vip

    def step_6_client(self, packet: Packet, vip: Vip) -> Verdict | None:
        """Drop what comes from a client, by the flow, that the VIP's lists keep out."""
        if vip.clients is None or "source_filter" not in self._features or vip.clients.find(packet.source) is not False:
            return None
        self.src_denied[vip.number][0] += 1
        self.src_denied[vip.number][1] += packet.ip_bytes
        return DROP, packet.frame

    def step_7_frame_length(self, packet: Packet) -> Verdict | None:
        """A frame too long to be encapsulated: tell its sender, or drop it."""
        frame, l3 = packet.frame, packet.l3
        if len(frame) - (l3 - 14) <= self.settings.max_frame:
            return None
        self._event(EVENT_TOO_BIG, frame)
        if "icmp_too_big" not in self._features:
            return DROP, frame
        self.general[TOO_BIG][packet.ipv6] += 1
        mtu = self.settings.max_frame - 14
        ethernet = frame[6:12] + frame[:6] + frame[12:l3]
        if packet.ipv6:
            message = b"\x02\0\0\0" + mtu.to_bytes(4, "big") + frame[l3 : l3 + 248]
            addresses = frame[l3 + 24 : l3 + 40] + frame[l3 + 8 : l3 + 24]
            header = struct.pack("!IHBB", 0x60000000, 256, ICMPV6, 64) + addresses
            pseudo_header = addresses + struct.pack("!IHBB", 256, 0, 0, ICMPV6)
        else:
            message = b"\x03\x04\0\0" + mtu.to_bytes(4, "big") + frame[l3 : l3 + 84]
            addresses = frame[l3 + 16 : l3 + 20] + frame[l3 + 12 : l3 + 16]
            header = _ipv4_header(0, 112, ICMP, addresses)
            pseudo_header = b""
        checksum = ip_checksum(pseudo_header + message)
        return TX, ethernet + header + message[:2] + checksum.to_bytes(2, "big") + message[4:]

    def step_8_matched(self, packet: Packet, vip: Vip) -> None:
        """Count the packet; find the connection table."""
        self.general[MATCHED][0] += 1
        if vip.hash_no_src_port:
            packet.source_port = NO_PORT
        if not self.has_cpu_table:
            self.general[FALLBACK][0] += 1

    def step_9_quic(self, packet: Packet, vip: Vip, flow: bytes, now: int) -> int | None:
        """The real that a QUIC connection id names; 0 for none, None for a drop."""
        if packet.from_icmp:
            code = packet.frame[packet.l4 + 1]
            self.general[QUIC_ICMP][0] += 1
            self.general[QUIC_ICMP][1] += code in ((3, 4) if packet.ipv6 else (1, 3))
            return 0
        stats = self.quic_stats
        found = self._quic_connection_id(packet)
        if found is None:
            stats["cid_initial"] += 1
            self.server_id_stats[vip.number][0] += 1
            return 0
        cid, said = found
        if vip.quic_lb and "quic_lb" in self._features:
            named = self._quic_lb_server(vip, cid, said)
            if named is None:
                stats["ch_routed"] += 1
                return 0
            identity, real = named[0], self._carried(named[1], packet)
        else:
            version, identity = self._quic_server_id(cid if said is None or said >= 8 else b"")
            if identity == 0:
                stats["ch_routed"] += 1
                return 0
            stats[f"cid_v{version}"] += 1
            real = self._real_of_server(identity, packet)
        if real == 0:
            stats["cid_invalid_server_id"] += 1
            stats["cid_invalid_server_id_sample"] = identity
            stats["ch_routed"] += 1
            return 0
        if real >= self._max_reals:
            stats["cid_unknown_real_dropped"] += 1
            self._event(EVENT_NO_REAL, packet.frame)
            return None
        stats["cid_routed"] += 1
        known = self._remember_route(flow, real, now, now)
        stats[f"dst_{known}_in_lru"] += 1
        if known == "mismatch":
            self.server_id_stats[vip.number][1] += 1
        return real

    @staticmethod
    def _quic_connection_id(packet: Packet) -> tuple[bytes, int | None] | None:
        """The payload from the destination connection id on, and how long that is said to be, None where nobody does.

        b"" for none; None where the client chose it.
        """
        payload = packet.frame[packet.payload :]
        if payload and payload[0] < 0x80:
            return payload[1:] if len(payload) >= 9 else b"", None
        if len(payload) < 14:
            return b"", None
        # Initial and 0-RTT by each version's numbers (RFC 9000, table 5; RFC 9369, section 3.2).
        numbers = QUIC_CHOSEN_BY_CLIENT.get(_quic_version(int.from_bytes(payload[1:5], "big")))
        if numbers is None or payload[0] >> 4 & 3 in numbers:
            return None
        return payload[6:], payload[5]

    def _quic_lb_server(self, vip: Vip, cid: bytes, said: int | None) -> tuple[int, int] | None:
        """(first 8 bytes of the server id as a number, its real or 0); None for an id that nobody can route."""
        if len(cid) < 20 or cid[0] >> 5 not in vip.quic_lb:
            return None
        config = vip.quic_lb[cid[0] >> 5]
        own = cid[0] % 32 + 1
        if said is not None and said < config.whole:
            return None
        if config.says_length and (own < config.whole or said not in (None, own)):
            return None
        server = cid[1 : 1 + config.server_bytes]
        if config.servers is not None:
            return int.from_bytes(server[:8], "big"), config.servers.get(server, 0)
        number = int.from_bytes(server, "big")
        return (number, self.server_ids.get(number, 0)) if number else None

    @staticmethod
    def _quic_server_id(cid: bytes) -> tuple[int, int]:
        """(version, server id) of a connection id; id 0 for none."""
        version = cid[0] >> 6 if cid else 0
        if version == 1:
            return 1, (cid[0] & 0x3F) << 10 | cid[1] << 2 | cid[2] >> 6
        if version == 2:
            return 2, int.from_bytes(cid[1:4], "big")
        if version == 3:
            identity = int.from_bytes(cid[1:5], "big")
            return 3, identity if identity < 1 << 31 else 0
        return 0, 0

    def _real_of_server(self, identity: int, packet: Packet) -> int:
        """The real that a server id is mapped to; 0 for none, and for one that cannot carry the packet."""
        return self._carried(self.server_ids.get(identity, 0) if identity else 0, packet)

    def _carried(self, real: int, packet: Packet) -> int:
        """The real, or 0 where it cannot carry the packet."""
        carried = real not in self.reals or not packet.ipv6 or len(self.reals[real].address) == 16
        return real if carried else 0

    def _remember_route(self, flow: bytes, real: int, atime: int, now: int) -> str:
        """Set the connection table to what a server id says; how it compares with what the table had."""
        entry = self.table.get(flow)
        if entry is None:
            if not self._under_flood(now):
                self.table[flow] = real, atime
            return "not_found"
        self.table[flow] = real, atime
        return "match" if entry[0] == real else "mismatch"

    def step_10_stable_routing(self, packet: Packet) -> int | None:
        """The real that a stable-routing header names; 0 for none, None for a drop."""
        stats = self.stable_rt_stats
        payload = packet.frame[packet.payload : packet.payload + 8]
        if len(payload) < 8 or payload[0] != 0x52:
            stats["invalid_packet_type"] += 1
            stats["ch_routed"] += 1
            return 0
        identity = int.from_bytes(payload[1:4], "big")
        if identity == 0:
            stats["ch_routed"] += 1
            return 0
        real = self._real_of_server(identity, packet)
        if real == 0:
            stats["cid_invalid_server_id"] += 1
            stats["ch_routed"] += 1
            return 0
        if real >= self._max_reals:
            stats["cid_unknown_real_dropped"] += 1
            self._event(EVENT_NO_REAL, packet.frame)
            return None
        stats["cid_routed"] += 1
        return real

    def step_11_choose(self, packet: Packet, vip: Vip, flow: bytes, now: int) -> int | None:
        """The real by server id, table, global table, source route or ring; None for a drop."""
        real = 0
        udp = packet.protocol == UDP
        if not udp and "tcp_server_id" in self._features:
            real = self.step_11a_tcp_server_id(packet, vip, flow, now)
            if real:
                return real
        if not packet.syn:
            if not vip.no_lru:
                real = self.step_11b_table(flow, udp, now)
            if not real and vip.global_lru and "global_lru" in self._features:
                real = self.step_11c_global_table(flow)
        if udp and vip.udp_flow_migration and "udp_flow_migration" in self._features:
            real = self.step_11d_migrate(vip, real, now)
        return real or self.step_11e_new_flow(packet, vip, flow, now)

    def step_11a_tcp_server_id(self, packet: Packet, vip: Vip, flow: bytes, now: int) -> int:
        stats = self.tpr_stats
        if packet.syn:
            stats["tcp_syn"] += 1
            self.server_id_stats[vip.number][0] += 1
            return 0
        identity = 0 if packet.from_icmp else self._tcp_server_id(packet)
        real = self._real_of_server(identity, packet)
        if real == 0 or real >= self._max_reals:
            stats["ch_routed"] += 1
            return 0
        stats["sid_routed"] += 1
        if not vip.no_lru and self._remember_route(flow, real, 0, now) == "mismatch":
            stats["dst_mismatch_in_lru"] += 1
            self.server_id_stats[vip.number][1] += 1
        return real

    @staticmethod
    def _tcp_server_id(packet: Packet) -> int:
        """The server id in the TCP options; 0 for none."""
        begin = packet.l4 + 20
        length = (packet.frame[packet.l4 + 12] >> 4) * 4 - 20
        if length < SERVER_ID_OPTION_LENGTH:
            return 0
        options = packet.frame[begin : begin + length]
        at = 0
        for _ in range(MAX_OPTIONS):
            kind, step = options[at : at + 1], options[at + 1 : at + 2]
            if kind == b"\x01":
                at += 1
                continue
            if not step or kind == b"\0" or step[0] > length - at:
                return 0
            if kind[0] == SERVER_ID_OPTION:
                value = options[at + 2 : at + SERVER_ID_OPTION_LENGTH]
                whole = step[0] == SERVER_ID_OPTION_LENGTH and len(value) == 4
                return int.from_bytes(value, "little") if whole else 0
            at += step[0]
        return 0

    def step_11b_table(self, flow: bytes, udp: bool, now: int) -> int:
        entry = self.table.get(flow)
        if entry is None:
            return 0
        real, atime = entry
        if udp:
            if now - atime > self._udp_timeout:
                return 0
            if real in self.reals:
                self.table[flow] = real, now
        return real if real in self.reals else 0

    def step_11c_global_table(self, flow: bytes) -> int:
        if not self.has_global_cpu_table:
            self.general[GLOBAL][0] += 1
        real = self.global_table.get(flow, 0)
        if real not in self.reals:
            return 0
        self.general[GLOBAL][1] += 1
        return real

    def step_11d_migrate(self, vip: Vip, real: int, now: int) -> int:
        if not self._under_flood(now) and real in vip.down:
            self.general[MOVED][0] += 1
            return 0
        return real

    def _under_flood(self, now: int) -> bool:
        window = self.general[FLOOD]
        if now - window[1] > SECOND:
            window[0], window[1] = 1, now
        else:
            window[0] += 1
        return window[0] > self.settings.max_new_flows

    def step_11e_new_flow(self, packet: Packet, vip: Vip, flow: bytes, now: int) -> int | None:
        tcp = packet.protocol == TCP
        if tcp:
            self.general[TCP_MISS][0 if packet.syn else 1] += 1
            if not packet.syn:
                self._event(EVENT_TCP_MISS, packet.frame)
        flood = self._under_flood(now)
        real = 0
        if vip.source_routing and not flood and "source_routing" in self._features:
            real = self.source_routes[len(packet.source)].find(packet.source) or 0
            self.general[SOURCE_ROUTE][1 if real else 0] += 1
        by_ring = real == 0
        if by_ring:
            ports = packet.source_port + packet.destination_port
            if vip.hash_dst_port_only:
                packet.source = bytes(len(packet.source))
                ports = packet.destination_port * 2
            real = vip.ring[self._flow_hash(packet.source, ports) % self._ring_size]
            if real == 0:
                self.general[RING_DROP][1] += 1
                return None
        if real >= self._max_reals:
            self.general[RING_DROP][0] += 1
            return None
        if not (vip.no_lru or flood or packet.rst or (by_ring and vip.hash_dst_port_only)):
            self.table[flow] = real, 0 if tcp else now
        self.general[MATCHED][1] += 1
        if self.traced == vip.key:
            self.lru_miss_stats[real] += 1
        return real

    def _flow_hash(self, source: bytes, ports: bytes) -> int:
        if len(source) == 16:
            word = jhash_16(source, self._hash_seed6)
        else:
            word = int.from_bytes(source, "little")
        return jhash_2words(word, int.from_bytes(ports, "little"), self._hash_seed)

    def step_12_deliver(self, packet: Packet, vip: Vip, real: int) -> Verdict:
        """Count; leave the packet to this host where it is a real itself, else encapsulate."""
        for stats in (self.vip_stats[vip.number], self.reals_stats[real]):
            stats[0] += 1
            stats[1] += packet.ip_bytes
        target = self.reals[real]
        if vip.local and target.local and "local_delivery" in self._features:
            self._is_here = True
            return PASS, packet.frame
        to_ipv6 = len(target.address) == 16
        if packet.ipv6 and not to_ipv6:
            self.general[ENCAP_FAILED][0] += 1
            return DROP, packet.frame
        return TX, self._encapsulate(packet, target.address, to_ipv6)

    def _encapsulate(self, packet: Packet, real: bytes, to_ipv6: bool) -> bytes:
        """Section 4: the frame in IPIP or GUE towards *real*."""
        frame, l3 = packet.frame, packet.l3
        length = packet.ip_bytes + 40 if packet.ipv6 else packet.ip_bytes
        tos = packet.tos if self.settings.copy_tos else 0
        if self.settings.gue:
            source = (self.settings.source6 if to_ipv6 else self.settings.source4) or bytes(len(real))
            protocol, length = UDP, length + 8 & 0xFFFF
            middle = self._gue_header(packet, source + real, length, to_ipv6)
        else:
            source = self._ipip_source6(packet) if to_ipv6 else self._ipip_source4(packet)
            protocol, middle = IPV6_IN_IP if packet.ipv6 else IPIP, b""
        if to_ipv6:
            ethertype = ETHERTYPE_IPV6
            outer = struct.pack("!IHBB", 0x60000000 | tos << 20, length & 0xFFFF, protocol, 64) + source + real
        else:
            ethertype = ETHERTYPE_IPV4
            outer = _ipv4_header(tos, length + 20 & 0xFFFF, protocol, source + real)
        return b"".join(
            (self.settings.gateway_mac, frame[:6], frame[12 : l3 - 2], ethertype, outer, middle, frame[l3:])
        )

    def _ipip_source4(self, packet: Packet) -> bytes:
        client, port = packet.source, packet.source_port
        return self.settings.prefix4 + bytes((client[2] ^ port[1], client[3] ^ port[0]))

    def _ipip_source6(self, packet: Packet) -> bytes:
        client, port = packet.source[-4:], packet.source_port
        return self.settings.prefix6 + bytes((client[0] ^ port[0], client[1] ^ port[1], client[2], client[3]))

    def _gue_header(self, packet: Packet, addresses: bytes, length: int, to_ipv6: bool) -> bytes:
        """The outer UDP header; *addresses* are the outer ones, *length* the outer UDP length."""
        client, port = packet.source, packet.source_port
        if packet.ipv6:
            source_port = bytes((port[0] ^ client[12], port[1] ^ client[13]))
        elif to_ipv6:
            source_port = bytes((port[0] ^ client[2], port[1] ^ client[3]))
        else:
            source_port = bytes((port[1] ^ client[2], port[0] ^ client[3]))
        header = source_port + self._gue_port + length.to_bytes(2, "big")
        frame, l3, l4 = packet.frame, packet.l3, packet.l4
        if not packet.ipv6 and packet.ip_protocol == UDP and frame[l4 + 6 : l4 + 8] == b"\0\0":
            return header + b"\0\0"
        total = ones_sum(frame[l3:l4]) + ones_sum(header) + ones_sum(addresses) + UDP + length
        if packet.ipv6:
            total -= ones_sum(frame[l3 + 8 : l3 + 40]) + packet.ip_protocol + packet.ip_bytes
        elif packet.ip_protocol != ICMP:
            total -= ones_sum(frame[l3 + 12 : l3 + 20]) + packet.ip_protocol + packet.ip_bytes - 20
        return header + (0xFFFF - total % 0xFFFF).to_bytes(2, "big")

    def _event(self, event: int, frame: bytes) -> None:
        if self.introspecting and "introspection" in self._features:
            self.events.append((event, len(frame), frame[:128]))


def _quic_version(number: int) -> int:
    """1 for QUIC version 1, its drafts and mvfst's versions; 2 for version 2; 0 for any other, negotiation included."""
    if number == 0x6B3343CF:
        return 2
    if number == 1 or 0xFF000000 <= number <= 0xFF0000FF or 0xFACEB000 <= number <= 0xFACEB00F:
        return 1
    return 0


def _flow_key(flow: bytes) -> bytes:
    """The model's key of a flow as struct flow_key."""
    half = (len(flow) - 5) // 2
    source, destination = flow[:half], flow[half : 2 * half]
    return source.ljust(16, b"\0") + destination.ljust(16, b"\0") + flow[-5:] + bytes(3)


def _ipv4_header(tos: int, total_length: int, protocol: int, addresses: bytes) -> bytes:
    header = struct.pack("!BBHIBBH", 0x45, tos, total_length, 0, 64, protocol, 0) + addresses
    return header[:10] + ip_checksum(header).to_bytes(2, "big") + header[12:]
