# SPDX-License-Identifier: GPL-3.0-or-later
"""What a packet costs on this machine's kernel and CPU: ns and million packets a second per core, by kind of packet.

Every figure is the median of several rounds, in each of which all kinds take turns; what replaying a packet costs is
taken off. Caches are hot and no driver is in it, so this is the most that a core can do. --costs compares programs with
one feature to one with none. Figures of different machines, or of a busy one, do not compare. Needs root.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import struct
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet, Raw

from ansible_collections.katran.fleet.plugins.module_utils._kernel import bpf
from ansible_collections.katran.fleet.plugins.module_utils._kernel.cpus import possible_cpus
from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.features import FEATURES
from ansible_collections.katran.fleet.plugins.module_utils._model.map_specs import ARRAY, PROG_ARRAY
from ansible_collections.katran.fleet.plugins.module_utils._program import compiler
from ansible_collections.katran.fleet.tests.conformance.provision import ACTIONS, ROOT, Balancer, provision

KEPT, SHORTEST = 128, 132
GATEWAY, MAC = "02:00:00:00:00:fe", "02:00:00:00:00:01"
CLIENT4, CLIENT6 = "192.0.2.7", "2001:db8:c::7"
OWN4, OWN6, OTHER4 = "203.0.113.1", "2001:db8:f::1", "203.0.113.9"
REALS4 = [{"address": f"10.0.0.{number}"} for number in range(1, 9)]
REALS6 = [{"address": f"fd00::{number:x}"} for number in range(1, 9)]
LOCAL = [{"address": f"10.0.1.{number}", "local": True} for number in range(1, 9)]
SERVER_ID = 1025
ALLOWED = ["192.0.2.0/24", *(f"10.{number}.0.0/16" for number in range(14))]
"""With the one that is denied and everybody else, 17 prefixes."""


def vip(address: str, port: int, protocol: str, reals: list[dict[str, Any]], *flags: str) -> dict[str, Any]:
    return {"address": address, "port": port, "protocol": protocol, "reals": reals, "flags": list(flags)}


VIPS = [
    vip("198.51.100.1", 80, "tcp", REALS4),
    vip("198.51.100.1", 53, "udp", REALS4),
    vip("198.51.100.2", 80, "tcp", REALS6),
    vip("2001:db8:1::1", 80, "tcp", REALS6),
    vip("198.51.100.3", 0, "tcp", REALS4),
    vip("198.51.100.4", 53, "udp", REALS4, "no_lru"),
    vip("198.51.100.5", 0, "tcp", REALS4, "hash_dst_port_only"),
    vip("198.51.100.6", 443, "udp", REALS4, "quic"),
]
SCENARIO: dict[str, Any] = {"vips": VIPS, "server_ids": [{"id": SERVER_ID, "real": "10.0.0.3"}]}


def tcp(destination: str, flags: str = "A", source: str = "", **fields: Any) -> Packet:
    client = source or (CLIENT6 if ":" in destination else CLIENT4)
    family = IPv6 if ":" in destination else IP
    return family(src=client, dst=destination) / TCP(sport=31337, dport=80, flags=flags, **fields)


def udp(destination: str, port: int = 53, payload: bytes = b"") -> Packet:
    return IP(src=CLIENT4, dst=destination) / UDP(sport=31337, dport=port) / Raw(payload)


def frame(*layers: Packet) -> bytes:
    """A frame of these layers, filled up so that all of what is put back is there."""
    packet: Packet = Ether(src=GATEWAY, dst=MAC)
    for layer in layers:
        packet /= layer
    missing = SHORTEST - len(packet)
    return bytes(packet / Raw(bytes(missing)) if missing > 0 else packet)


def answer(request: Packet) -> Packet:
    """What the VIP sent back, as a router on the way quotes it."""
    turned = IP(src=request.dst, dst=request.src) / TCP(sport=80, dport=31337, flags="A")
    return Raw(bytes(turned)[:28])


@dataclass
class Kind:
    """A kind of packet: what is sent, what must become of it, and whether it goes once before it is measured."""

    name: str
    frame: bytes
    action: str = "XDP_TX"
    known: bool = True


ESTABLISHED = tcp("198.51.100.1")


def quic_cid(identity: int) -> bytes:
    """A connection id of layout 2, which has 24 bits of server id behind its first byte."""
    return bytes((0x80,)) + identity.to_bytes(3, "big") + bytes(4)


KINDS = [
    Kind("not IP: passed", frame(ARP()), "XDP_PASS"),
    Kind("TCP to no VIP: passed", frame(tcp(OTHER4)), "XDP_PASS"),
    Kind("TCP, IPv4 to IPv4 real, known flow", frame(ESTABLISHED)),
    Kind("TCP, IPv4 to IPv6 real, known flow", frame(tcp("198.51.100.2"))),
    Kind("TCP, IPv6 to IPv6 real, known flow", frame(tcp("2001:db8:1::1"))),
    Kind("TCP, VIP of any port, known flow", frame(tcp("198.51.100.3"))),
    Kind("UDP, known flow", frame(udp("198.51.100.1"))),
    Kind("TCP SYN: ring, table written", frame(tcp("198.51.100.1", "S"))),
    Kind("UDP without a table (no_lru): ring", frame(udp("198.51.100.4"))),
    Kind("hash by destination port: ring", frame(tcp("198.51.100.5"))),
    Kind("QUIC short header: server id", frame(udp("198.51.100.6", 443, b"\x40" + quic_cid(SERVER_ID)))),
    Kind("QUIC Initial, known flow", frame(udp("198.51.100.6", 443, b"\xc0\0\0\0\1\x08" + bytes(16)))),
    Kind(
        "ICMP fragmentation needed, known flow",
        frame(IP(src=OTHER4, dst="198.51.100.1"), ICMP(type=3, code=4, nexthopmtu=1400), answer(ESTABLISHED)),
    ),
    Kind("ICMP echo request: answered", frame(IP(src=CLIENT4, dst="198.51.100.1"), ICMP())),
]


class Replay:
    """Runs one packet again and again through a program."""

    def __init__(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, "replay.bpf.c")
            source.write_text(Path(__file__).with_name("replay").joinpath("replay.bpf.c").read_text())
            for name in ("include", "kernel"):
                shutil.copytree(ROOT / "bpf" / name, Path(folder, name))
            code = compiler.compile_program(folder, "replay", {})
        self._start = bpf.Map(bpf.create_map(ARRAY, 4, 16 + KEPT, 1, 0, "frame_start"))
        self._target = bpf.Map(bpf.create_map(PROG_ARRAY, 4, 4, 1, 0, "under_test"))
        maps = {"frame_start": self._start.fd, "under_test": self._target.fd}
        self._fd = bpf.load_program(code.bind(maps), name="replay")
        # Its two instructions return XDP_DROP.
        self._nothing = bpf.load_program(struct.pack("=BBhiBBhi", 0xB7, 0, 0, 1, 0x95, 0, 0, 0), name="nothing")

    def _run(self, fd: int, data: bytes, repeat: int) -> bpf.TestRun:
        self._target.update(layout.u32(0), layout.u32(fd))
        self._start.update(layout.u32(0), struct.pack("=QQ", len(data), 0) + data[:KEPT])
        return bpf.test_run(self._fd, data, repeat)

    def once(self, fd: int, kind: Kind) -> None:
        """One run, whose answer must be right."""
        action = ACTIONS[self._run(fd, kind.frame, 1).value]
        if action != kind.action:
            raise SystemExit(f"{kind.name}: {action}, not {kind.action}")

    def time(self, fd: int, kind: Kind, repeat: int) -> float:
        """ns per packet of the program alone."""
        empty = self._run(self._nothing, kind.frame, repeat).nanoseconds
        result = self._run(fd, kind.frame, repeat)
        if ACTIONS[result.value] != kind.action:
            raise SystemExit(f"{kind.name}: {ACTIONS[result.value]}, not {kind.action}")
        return result.nanoseconds - empty


@contextmanager
def balancer(encapsulation: str, features: Sequence[str] = (), **more: Any) -> Iterator[Balancer]:
    """A balancer as it runs: a table on every CPU. `more` adds to, or changes, the scenario."""
    options = {
        "encapsulation": encapsulation,
        "features": list(features),
        "gateway_mac": GATEWAY,
        "source_ipv4": OWN4,
        "source_ipv6": OWN6,
        # So that a core which sees but one flow is no flood.
        "max_new_flows": 1 << 30,
        **more.get("balancer", {}),
    }
    scenario = {**SCENARIO, **more, "balancer": options, "vips": [*VIPS, *more.get("vips", ())]}
    with closing(provision(scenario)) as made:
        for cpu in range(possible_cpus()):
            for name in ("lru_mapping", "global_lru_maps", "flow_debug_maps"):
                if name in made.maps:
                    made.flow_table(name, cpu).close()
        yield made


def measure(replay: Replay, jobs: dict[str, tuple[int, Kind]], options: argparse.Namespace) -> dict[str, list[float]]:
    """Name → ns per packet of each round; the jobs take turns."""
    for fd, kind in jobs.values():
        for _ in range(2 if kind.known else 1):
            replay.once(fd, kind)
    found: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(options.rounds):
        for name, (fd, kind) in jobs.items():
            found[name].append(replay.time(fd, kind, options.repeat))
    return found


def kinds(replay: Replay, encapsulation: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure and print every kind under one encapsulation."""
    with balancer(encapsulation) as made:
        found = measure(replay, {kind.name: (made.prog_fd, kind) for kind in KINDS}, options)
    rows = []
    print(f"\n{encapsulation.upper():<42} {'ns':>6} {'Mpps':>7}   {'lowest':>6} {'highest':>7}")
    for name, values in found.items():
        middle = statistics.median(values)
        print(f"{name:<42} {middle:6.0f} {1000 / max(middle, 0.1):7.1f}   {min(values):6.0f} {max(values):7.0f}")
        rows.append({"encapsulation": encapsulation, "kind": name, "ns": middle, "rounds": values})
    return rows


# What features cost


@dataclass
class Use:
    """How a feature is used: a packet of it, and the packet to compare with, on a program without it."""

    kind: Kind
    against: Kind
    more: dict[str, Any] = field(default_factory=dict)
    prepare: Callable[[Balancer], None] | None = None


KNOWN_TCP = Kind("TCP, known flow", frame(ESTABLISHED))
KNOWN_UDP = Kind("UDP, known flow", frame(udp("198.51.100.1")))
SYN = Kind("TCP SYN", frame(tcp("198.51.100.1", "S")))
QUIC = Kind("QUIC, server id", frame(udp("198.51.100.6", 443, b"\x40" + quic_cid(SERVER_ID))))
FOREIGN = Kind("to no VIP", frame(tcp(OTHER4)), "XDP_PASS")
TUNNEL = frame(IP(src="172.16.0.1", dst=OWN4), UDP(sport=1, dport=6080), IP(src=CLIENT4, dst=OTHER4), TCP())


def fill_global_table(made: Balancer) -> None:
    """One flow in the global tables of all CPUs, and in no connection table."""
    key = layout.flow_key(layout.pack_address(CLIENT4), layout.pack_address("198.51.100.20"), 31337, 80, 6)
    for _cpu, number in list(made.maps["global_lru_maps"].items()):
        with bpf.map_by_id(layout.parse_u32(number)) as table:
            table.update(key, layout.u32(made.real("10.0.0.1")))


def reporting(made: Balancer) -> None:
    made.maps["ctl_array"].update(layout.u32(layout.CTL_INTROSPECTION), struct.pack("=Q", 1))


QUIC_LB = [{"config": 0, "server_id_length": 2, "nonce_length": 6}]
QUIC_LB_CID = b"\x10" + SERVER_ID.to_bytes(2, "big") + b"\xa5" * 40

USES: dict[str, Use] = {
    "source_routing": Use(
        Kind("SYN by a source route", frame(tcp("198.51.100.20", "S"))),
        SYN,
        {
            "vips": [vip("198.51.100.20", 80, "tcp", REALS4, "source_routing")],
            "source_routes": [{"prefix": "192.0.2.0/24", "real": "10.0.0.8"}],
        },
    ),
    "tcp_server_id": Use(
        Kind(
            "TCP with a server id",
            frame(tcp("198.51.100.1", options=[("NOP", None), ("NOP", None), (0xB7, struct.pack("<I", SERVER_ID))])),
        ),
        KNOWN_TCP,
    ),
    "udp_stable_routing": Use(
        Kind("UDP with an id", frame(udp("198.51.100.20", 53, b"\x52" + SERVER_ID.to_bytes(3, "big") + bytes(8)))),
        KNOWN_UDP,
        {"vips": [vip("198.51.100.20", 53, "udp", REALS4, "udp_stable_routing")]},
    ),
    "udp_flow_migration": Use(
        Kind("UDP, VIP with a down set", frame(udp("198.51.100.20"))),
        KNOWN_UDP,
        {"vips": [vip("198.51.100.20", 53, "udp", REALS4, "udp_flow_migration") | {"down_reals": ["10.0.0.99"]}]},
    ),
    "cidr_vips": Use(
        Kind("TCP to a CIDR VIP", frame(tcp("203.0.113.77"))),
        KNOWN_TCP,
        {"vips": [vip("203.0.113.64/26", 80, "tcp", REALS4)]},
    ),
    "global_lru": Use(
        Kind("TCP by the global table", frame(tcp("198.51.100.20"))),
        KNOWN_TCP,
        {"vips": [vip("198.51.100.20", 80, "tcp", REALS4, "global_lru")]},
        fill_global_table,
    ),
    "inline_decap": Use(Kind("GUE to this host", TUNNEL, "XDP_PASS"), FOREIGN),
    "local_delivery": Use(
        Kind("TCP to a real on this host", frame(tcp("198.51.100.20")), "XDP_PASS"),
        KNOWN_TCP,
        {"vips": [vip("198.51.100.20", 80, "tcp", LOCAL, "local")]},
    ),
    "introspection": Use(
        Kind("TCP without a table, event 0 on", frame(tcp("198.51.100.20"))),
        Kind("TCP without a table", frame(tcp("198.51.100.20"))),
        {"vips": [vip("198.51.100.20", 80, "tcp", REALS4, "no_lru")]},
        reporting,
    ),
    "server_id_hash": Use(QUIC, QUIC),
    "source_filter": Use(
        Kind("TCP of a client that is let in", frame(tcp("198.51.100.20"))),
        KNOWN_TCP,
        {"vips": [vip("198.51.100.20", 80, "tcp", REALS4) | {"allow": ALLOWED, "deny": ["192.0.2.128/25"]}]},
    ),
    "quic_lb": Use(
        Kind("QUIC-LB, a number of server_ids", frame(udp("198.51.100.20", 443, b"\x40" + QUIC_LB_CID))),
        QUIC,
        {"vips": [vip("198.51.100.20", 443, "udp", REALS4, "quic") | {"quic_lb": QUIC_LB}]},
    ),
    "vlan": Use(Kind("TCP with one tag", frame(Dot1Q(vlan=7), ESTABLISHED)), KNOWN_TCP),
}


def costs(replay: Replay, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure and print what each feature costs: on and unused, on the two commonest packets; and used."""
    rows = []
    print(f"\n{'IPIP, ns more per packet':<20} {'TCP':>6} {'UDP':>6}   used")
    for feature in options.only or FEATURES:
        use = USES.get(feature)
        more = use.more if use else {}
        features = (feature,)
        with balancer("ipip", (), **_without(more)) as plain, balancer("ipip", features, **more) as made:
            if use and use.prepare:
                use.prepare(made)
            jobs = {
                "TCP off": (plain.prog_fd, KNOWN_TCP),
                "TCP on": (made.prog_fd, KNOWN_TCP),
                "UDP off": (plain.prog_fd, KNOWN_UDP),
                "UDP on": (made.prog_fd, KNOWN_UDP),
            }
            if use:
                jobs |= {"not used": (plain.prog_fd, use.against), "used": (made.prog_fd, use.kind)}
            found = measure(replay, jobs, options)
        unused = [_difference(found[f"{kind} on"], found[f"{kind} off"]) for kind in ("TCP", "UDP")]
        row: dict[str, Any] = {"feature": feature, "tcp": unused[0], "udp": unused[1]}
        text = ""
        if use:
            row["used"] = _difference(found["used"], found["not used"])
            text = f"{row['used']:+6.1f}  {use.kind.name} ({statistics.median(found['used']):.0f} ns)"
        rows.append(row)
        print(f"{feature:<24} {unused[0]:+6.1f} {unused[1]:+6.1f}  {text}")
    return rows


def _without(more: dict[str, Any]) -> dict[str, Any]:
    """What a program without the feature can be given of its scenario."""
    vips = [
        {
            **each,
            "flags": [flag for flag in each["flags"] if flag == "no_lru"],
            "down_reals": [],
            "allow": [],
            "deny": [],
        }
        for each in more.get("vips", ())
        if "/" not in each["address"]
    ]
    return {"vips": vips}


def _difference(values: Sequence[float], others: Sequence[float]) -> float:
    return statistics.median(one - other for one, other in zip(values, others, strict=True))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encapsulation", nargs="*", default=["ipip", "gue"], help="ipip, gue (default: both)")
    parser.add_argument("--costs", action="store_true", help="what each optional feature costs, instead")
    parser.add_argument("--only", nargs="+", choices=FEATURES, help="with --costs: these features")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--repeat", type=int, default=200_000, help="packets per measurement")
    parser.add_argument("--json", type=Path, help="write the figures, all rounds, to this file")
    options = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    print(f"Linux {os.uname().release}, {options.rounds} rounds of {options.repeat:,} packets; medians, one core")
    replay = Replay()
    if options.costs:
        rows = costs(replay, options)
    else:
        rows = [row for each in options.encapsulation for row in kinds(replay, each, options)]
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
