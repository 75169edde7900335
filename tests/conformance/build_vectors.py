# SPDX-License-Identifier: GPL-3.0-or-later
"""Packets for every feature of the datapath, with the frames that must come out.

Expected frames are put together with scapy from what the design says, not by the model; the model is then asked the
same questions, and both must agree. Counters at the end of each set are the model's. Tests take them from
own_vectors.py, which builds them once.

usage: PYTHONPATH=collections python tests/conformance/build_vectors.py [FILE]     lists the sets, and writes them there
"""

from __future__ import annotations

import base64
import ipaddress
import itertools
import json
import struct
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6ND_NS,
    ICMPv6PacketTooBig,
    ICMPv6TimeExceeded,
    IPv6,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
)
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q, Ether
from scapy.packet import Packet, Raw

from ansible_collections.katran.fleet.plugins.module_utils._model.hashing import flow_slot
from ansible_collections.katran.fleet.plugins.module_utils._model.ring import build_ring
from ansible_collections.katran.fleet.tests.conformance.model_vectors import Sets, replay

BALANCER, ROUTER, GATEWAY = "02:00:00:00:00:01", "02:00:00:00:00:02", "02:00:00:00:00:fe"
CLIENT4, CLIENT6 = "192.0.2.10", "2001:db8:c::10"
OWN4, OWN6 = "203.0.113.1", "2001:db8:f::1"
DECAP4, DECAP6 = "203.0.113.50", "2001:db8:f::50"
EGRESS4, EGRESS6 = "203.0.113.60", "2001:db8:f::60"
GUE_PORT = 6080
PAYLOAD = b"katran.fleet test"
SIZES = {
    "vips": 64,
    "cidr_vips": 16,
    "reals": 256,
    "ring": 4093,
    "source_routes": 64,
    "server_ids": 200_000,
    "flows": 1000,
    "global_flows": 100,
    "source_filters": 64,
}
ENCAPSULATIONS = ("ipip", "gue")


def v4(number: int) -> str:
    return f"198.51.100.{number}"


def v6(number: int) -> str:
    return f"2001:db8:1::{number}"


def r4(*numbers: int) -> list[str]:
    return [f"10.0.0.{number}" for number in numbers]


def r6(*numbers: int) -> list[str]:
    return [f"fd00::{number}" for number in numbers]


def vip(
    address: str, port: int, protocol: str, reals: Iterable[str | dict[str, Any]], *flags: str, **more: Any
) -> dict[str, Any]:
    entries = [real if isinstance(real, dict) else {"address": real} for real in reals]
    return {"address": address, "port": port, "protocol": protocol, "flags": list(flags), "reals": entries, **more}


# Frames


def frame(packet: Packet, tags: Packet | None = None) -> bytes:
    """*packet* in an Ethernet frame from the router, with *tags* before its EtherType."""
    ethernet = Ether(dst=BALANCER, src=ROUTER)
    return bytes(ethernet / packet if tags is None else ethernet / tags / packet)


def ip(source: str, destination: str, **fields: Any) -> Packet:
    """An IP header; `tos` and `ttl` for either family."""
    if ":" in destination:
        names = {"tos": "tc", "ttl": "hlim"}
        return IPv6(src=source, dst=destination, **{names.get(key, key): value for key, value in fields.items()})
    return IP(src=source, dst=destination, **fields)


def client_of(destination: str) -> str:
    return CLIENT6 if ":" in destination else CLIENT4


def tcp(
    destination: str,
    dport: int = 80,
    sport: int = 31337,
    flags: str = "A",
    *,
    source: str | None = None,
    payload: bytes = PAYLOAD,
    options: bytes = b"",
    **fields: Any,
) -> Packet:
    """A TCP segment to *destination*; *options* as raw bytes, a multiple of four of them."""
    header = TCP(sport=sport, dport=dport, flags=flags, seq=1, ack=2, dataofs=5 + len(options) // 4)
    return ip(source or client_of(destination), destination, **fields) / header / Raw(options + payload)


def udp(
    destination: str,
    dport: int = 53,
    sport: int = 31337,
    *,
    source: str | None = None,
    payload: bytes = PAYLOAD,
    chksum: int | None = None,
    **fields: Any,
) -> Packet:
    """A UDP datagram to *destination*."""
    header = UDP(sport=sport, dport=dport, chksum=chksum)
    return ip(source or client_of(destination), destination, **fields) / header / Raw(payload)


def icmp_error(
    destination: str, quoted: bytes, kind: int | None = None, code: int | None = None, mtu: int = 1400, **fields: Any
) -> Packet:
    """An ICMP error to *destination* that quotes *quoted*: frag needed / packet too big unless said otherwise."""
    if ":" in destination:
        source = "2001:db8:e::1"
        if kind in (None, 2):
            return ip(source, destination, **fields) / ICMPv6PacketTooBig(mtu=mtu, code=code or 0) / Raw(quoted)
        if kind == 1:
            return ip(source, destination, **fields) / ICMPv6DestUnreach(code=code or 0) / Raw(quoted)
        return ip(source, destination, **fields) / ICMPv6TimeExceeded(type=kind) / Raw(quoted)
    header = ICMP(type=3 if kind is None else kind, code=4 if code is None else code, nexthopmtu=mtu)
    return ip("203.0.113.99", destination, **fields) / header / Raw(quoted)


def answer_of(packet: Packet) -> bytes:
    """The start of what a VIP answered, as an ICMP error quotes it: IP header and 8 bytes."""
    data = bytes(packet)
    return data[: (40 if data[0] >> 4 == 6 else 20) + 8]


def quic_short(cid: bytes) -> bytes:
    return b"\x40" + cid


def quic_long(kind: int, cid: bytes, version: int = 1) -> bytes:
    return bytes((0xC0 | kind << 4,)) + version.to_bytes(4, "big") + bytes((len(cid),)) + cid + b"\0" + PAYLOAD


def cid(version: int, identity: int) -> bytes:
    """An 8-byte connection id that carries *identity*."""
    if version == 1:
        start = bytes((0x40 | identity >> 10, identity >> 2 & 0xFF, (identity & 3) << 6 | 0x15))
    elif version == 2:
        start = bytes((0x80,)) + identity.to_bytes(3, "big")
    else:
        start = bytes((version << 6,)) + identity.to_bytes(4, "big")
    return start.ljust(8, b"\x5a")


# Expectations


def on_the_wire(value: int) -> bytes:
    """A u16 as a little-endian host stores it."""
    return struct.pack("<H", value)


def loaded16(data: bytes) -> int:
    return int(struct.unpack("<H", data)[0])


def loaded32(data: bytes) -> int:
    return int(struct.unpack("<I", data)[0])


def swapped(value: int) -> int:
    return value >> 8 | (value & 0xFF) << 8


class Set:
    """One set of packets and the balancer they are for."""

    def __init__(
        self,
        name: str,
        vips: list[dict[str, Any]],
        *,
        follows: str | None = None,
        tables: Mapping[str, Any] | None = None,
        modules: Mapping[str, Any] | None = None,
        **balancer: Any,
    ) -> None:
        options = {"encapsulation": "ipip", "features": [], "gateway_mac": GATEWAY, "sizes": SIZES, **balancer}
        if options["encapsulation"] == "gue" or "inline_decap" in options["features"]:
            options = {"source_ipv4": OWN4, "source_ipv6": OWN6, **options}
        if "inline_decap" in options["features"]:
            options = {"decap_sources": TUNNEL_SOURCES, **options}
        self.name = name
        self.options = options
        self.vips = vips
        self.entry: dict[str, Any] = {"follows": follows} if follows else {}
        self.entry["scenario"] = {"balancer": options, "vips": vips, **(modules or {})}
        if tables:
            self.entry["tables"] = tables
        self.packets: list[dict[str, Any]] = []
        self.entry["packets"] = self.packets

    def _add(self, description: str, data: bytes, action: str, out: bytes, after: float | None) -> None:
        packet = {
            "description": description,
            "in": base64.b64encode(data).decode(),
            "action": action,
            "out": base64.b64encode(out).decode(),
        }
        self.packets.append(packet if after is None else {**packet, "after": after})

    def passes(self, description: str, data: Packet | bytes, out: bytes | None = None) -> None:
        data = data if isinstance(data, bytes) else frame(data)
        self._add(description, data, "XDP_PASS", data if out is None else out, None)

    def drops(self, description: str, data: Packet | bytes) -> None:
        data = data if isinstance(data, bytes) else frame(data)
        self._add(description, data, "XDP_DROP", data, None)

    def sends(self, description: str, data: Packet | bytes, out: bytes) -> None:
        data = data if isinstance(data, bytes) else frame(data)
        self._add(description, data, "XDP_TX", out, None)

    def balances(
        self,
        description: str,
        data: Packet | bytes,
        real: str | None = None,
        *,
        to: dict[str, Any] | None = None,
        client: str | None = None,
        sport: int | None = None,
        dport: int | None = None,
        decapsulated: bytes | None = None,
        after: float | None = None,
    ) -> None:
        """*data* goes out encapsulated, to *real* or else to the one that the ring of VIP *to* has for it.

        *client*, *sport*, *dport* and *to* are read from the packet unless given (ICMP errors quote them);
        *decapsulated* is the frame that is balanced where that is not *data* itself.
        """
        data = data if isinstance(data, bytes) else frame(data)
        inner = decapsulated or data
        l3 = 14
        while inner[l3 - 2 : l3] in (b"\x81\x00", b"\x88\xa8"):
            l3 += 4
        ipv6 = inner[l3] >> 4 == 6
        l4 = l3 + (40 if ipv6 else 20)
        addresses = inner[l3 + 8 : l4] if ipv6 else inner[l3 + 12 : l4]
        half = len(addresses) // 2
        client = client or str(ipaddress.ip_address(addresses[:half]))
        sport = int.from_bytes(inner[l4 : l4 + 2], "big") if sport is None else sport
        dport = int.from_bytes(inner[l4 + 2 : l4 + 4], "big") if dport is None else dport
        entry = to or self.vip_of(str(ipaddress.ip_address(addresses[half:])), dport, inner[l3 + (6 if ipv6 else 9)])
        flags = entry["flags"]
        if real is None:
            real = self.by_ring(entry, client, sport, dport)
            if "hash_dst_port_only" in flags:
                client = "::" if ipv6 else "0.0.0.0"
        if "hash_no_src_port" in flags:
            sport = 0
        out = self.encapsulated(inner, l3, real, client, sport)
        self._add(description, data, "XDP_TX", out, after)

    def vip_of(self, address: str, port: int, protocol: int) -> dict[str, Any]:
        name = {6: "tcp", 17: "udp"}[protocol]
        for wanted in (port, 0):
            for entry in self.vips:
                if (entry["address"], entry["port"], entry["protocol"]) == (address, wanted, name):
                    return entry
        raise LookupError(f"{address}:{port}/{name}")

    def by_ring(self, entry: dict[str, Any], client: str, sport: int, dport: int) -> str:
        sizes = self.options["sizes"]
        slot = flow_slot(
            client,
            sport,
            dport,
            max_vips=sizes["vips"],
            ring_size=sizes["ring"],
            flags=entry["flags"],
            port_matched=entry["port"] == dport and "/" not in entry["address"],
        )
        reals = [(real["address"], real.get("weight", 1)) for real in entry["reals"]]
        ring = build_ring(reals, sizes["ring"], entry.get("hash", "maglev_v2"))
        return str(reals[ring[slot]][0])

    def encapsulated(self, data: bytes, l3: int, real: str, client: str, sport: int) -> bytes:
        """Section 4 of the design in scapy's words: what goes out for the IP packet at *l3* of *data*."""
        ipv6 = data[l3] >> 4 == 6
        if ipv6:
            length = int.from_bytes(data[l3 + 4 : l3 + 6], "big") + 40
            tos = int.from_bytes(data[l3 : l3 + 2], "big") >> 4 & 0xFF
        else:
            length = int.from_bytes(data[l3 + 2 : l3 + 4], "big")
            tos = data[l3 + 1]
        if not self.options.get("copy_tos", True):
            tos = 0
        inner, padding = data[l3 : l3 + length], data[l3 + length :]
        outer = self._outer_gue(inner, real, client, sport) if self.options["encapsulation"] == "gue" else None
        outer = outer or self._outer_ipip(ipv6, real, client, sport)
        if ":" in real:
            outer.tc, outer.hlim, outer.fl, ethertype = tos, 64, 0, b"\x86\xdd"
        else:
            outer.tos, outer.ttl, outer.id, outer.flags, ethertype = tos, 64, 0, 0, b"\x08\x00"
        macs = bytes.fromhex((GATEWAY + BALANCER).replace(":", ""))
        return macs + data[12 : l3 - 2] + ethertype + bytes(outer / Raw(inner)) + padding

    def _outer_ipip(self, ipv6: bool, real: str, client: str, sport: int) -> Packet:
        number = int(ipaddress.ip_address(client))
        if ":" in real:
            prefix = int(ipaddress.ip_network(self.options.get("source_prefix_ipv6", "100::/64")).network_address)
            word = loaded32((number & 0xFFFFFFFF).to_bytes(4, "big")) ^ loaded16(sport.to_bytes(2, "big"))
            source6 = ipaddress.IPv6Address(prefix + int.from_bytes(struct.pack("<I", word), "big"))
            return IPv6(src=str(source6), dst=real, nh=41 if ipv6 else 4)
        prefix = int(ipaddress.ip_network(self.options.get("source_prefix_ipv4", "172.16.0.0/16")).network_address)
        source4 = ipaddress.IPv4Address(prefix | (number & 0xFFFF) ^ swapped(sport))
        return IP(src=str(source4), dst=real, proto=4)

    def _outer_gue(self, inner: bytes, real: str, client: str, sport: int) -> Packet:
        port = loaded16(sport.to_bytes(2, "big"))
        address = ipaddress.ip_address(client).packed
        if len(address) == 16:
            port ^= loaded32(address[12:]) & 0xFFFF
        elif ":" in real:
            port ^= loaded32(address) >> 16
        else:
            port = swapped(port) ^ loaded32(address) >> 16
        header = UDP(sport=int.from_bytes(on_the_wire(port), "big"), dport=self.options.get("gue_port", GUE_PORT))
        if inner[0] >> 4 == 4 and inner[9] == 17 and inner[26:28] == b"\0\0":
            header.chksum = 0
        source = self.options["source_ipv6" if ":" in real else "source_ipv4"]
        return ip(source, real) / header


def echo_reply(request: Packet, tags: Packet | None = None) -> bytes:
    """The frame that answers an echo request, checksums by scapy."""
    reply = request.copy()
    reply.src, reply.dst = request.dst, request.src
    if isinstance(reply, IPv6):
        reply.hlim = 64
        fields = request[ICMPv6EchoRequest]
        reply[IPv6].remove_payload()
        reply /= ICMPv6EchoReply(code=fields.code, id=fields.id, seq=fields.seq, data=fields.data)
    else:
        reply.ttl = 64
        reply[ICMP].type = 0
        del reply[IP].chksum
        del reply[ICMP].chksum
    ethernet = Ether(dst=ROUTER, src=BALANCER)
    return bytes(ethernet / reply if tags is None else ethernet / tags / reply)


def too_big(data: bytes, l3: int = 14, max_frame: int = 1514) -> bytes:
    """The ICMP error that answers the frame *data*, which is too long."""
    macs_and_tags = data[6:12] + data[:6] + data[12:l3]
    if data[l3] >> 4 == 6:
        source, destination = (str(ipaddress.ip_address(data[l3 + at : l3 + at + 16])) for at in (8, 24))
        error = IPv6(src=destination, dst=source, hlim=64) / ICMPv6PacketTooBig(mtu=max_frame - 14)
        return macs_and_tags + bytes(error / Raw(data[l3 : l3 + 248]))
    source, destination = (str(ipaddress.ip_address(data[l3 + at : l3 + at + 4])) for at in (12, 16))
    error4 = IP(src=destination, dst=source, ttl=64, id=0) / ICMP(type=3, code=4, nexthopmtu=max_frame - 14)
    return macs_and_tags + bytes(error4 / Raw(data[l3 : l3 + 84]))


# The sets

COMMON_VIPS = [
    vip(v4(1), 80, "tcp", r4(1, 2, 3)),
    vip(v4(1), 53, "udp", [{"address": address, "weight": weight} for weight, address in enumerate(r4(1, 2, 3), 1)]),
    vip(v4(2), 0, "tcp", r4(1, 2, 3)),
    vip(v4(2), 443, "tcp", r4(4)),
    vip(v4(3), 0, "udp", r6(1, 2, 3), hash="maglev_v1"),
    vip(v4(3), 80, "tcp", r6(1, 2, 3)),
    vip(v6(1), 80, "tcp", r6(1, 2, 3)),
    vip(v6(1), 0, "udp", r6(1, 2, 3, 4, 5)),
    vip(v4(4), 0, "tcp", r4(1, 2, 3), "hash_no_src_port"),
    vip(v6(4), 80, "tcp", r6(1, 2, 3), "hash_no_src_port"),
    vip(v4(5), 0, "tcp", r4(1, 2, 3), "hash_dst_port_only"),
    vip(v4(5), 0, "udp", r6(1, 2, 3), "hash_dst_port_only"),
    vip(v6(5), 0, "udp", r6(1, 2, 3), "hash_dst_port_only"),
    vip(v4(6), 0, "udp", r4(1, 2, 3), "hash_src_dst_port"),
    vip(v6(6), 0, "tcp", r6(1, 2, 3), "hash_src_dst_port"),
    vip(v4(7), 80, "tcp", [*r4(1, 2), *r6(1, 2)], "no_lru"),
    vip(v4(8), 80, "tcp", []),
    vip(v6(8), 53, "udp", []),
    vip(v4(9), 80, "tcp", [{"address": "10.0.0.1", "weight": 0}]),
]


def basic(encapsulation: str) -> Set:
    """What every balancer does, in either encapsulation."""
    s = Set(encapsulation, COMMON_VIPS, encapsulation=encapsulation)
    for flags, name in (("S", "SYN"), ("A", "ACK"), ("PA", "PSH"), ("FA", "FIN"), ("R", "RST"), ("SA", "SYN and ACK")):
        s.balances(f"TCP {name}, IPv4 VIP, IPv4 real", tcp(v4(1), flags=flags, sport=1000 + len(name)))
    s.balances("TCP, IPv4 VIP, IPv6 real", tcp(v4(3)))
    s.balances("TCP, IPv6 VIP, IPv6 real", tcp(v6(1)))
    s.balances("UDP, IPv4 VIP, IPv4 real", udp(v4(1)))
    s.balances("UDP, IPv4 VIP, IPv6 real, VIP with port 0", udp(v4(3), 4711))
    s.balances("UDP, IPv6 VIP, IPv6 real, VIP with port 0", udp(v6(1), 4711))
    for number, source in enumerate(("192.0.2.255", "255.255.255.254", "1.0.0.1", "192.0.255.0")):
        s.balances(f"client {source} in the outer source", tcp(v4(1), source=source, sport=0xFF00 + number))
        s.balances(f"client {source} towards an IPv6 real", tcp(v4(3), source=source, sport=0x00FF + number))
    for number, source in enumerate(("2001:db8::ffff:ffff", "::ffff:192.0.2.1", "ff00::1:0")):
        s.balances(f"client {source} in the outer source", tcp(v6(1), source=source, sport=0xABC0 + number))
    s.balances("source port 0", udp(v4(1), sport=0))
    s.balances("source port 65535", udp(v6(1), sport=65535))
    s.balances("ToS with DSCP and ECN is copied, IPv4 in IPv4", tcp(v4(1), tos=0xBB))
    s.balances("ToS is copied, IPv4 in IPv6", tcp(v4(3), tos=0x8C))
    s.balances("traffic class is copied, IPv6 in IPv6; the flow label is not", tcp(v6(1), tos=0xE3, fl=0xABCDE))
    s.balances("don't-fragment is no fragment", _with_ip_flags(tcp(v4(1), sport=2000), 2, 0))
    s.balances("the reserved flag is no fragment", _with_ip_flags(tcp(v4(1), sport=2001), 4, 0))
    s.balances("TTL 1 is not the balancer's business", tcp(v4(1), ttl=1))
    s.balances("hop limit 0 is not the balancer's business", tcp(v6(1), ttl=0))
    s.balances("no payload", tcp(v4(1), payload=b""))
    s.balances("UDP without payload", udp(v4(1), payload=b""))
    s.balances("UDP without payload, IPv6", udp(v6(1), payload=b""))
    s.balances("odd payload", udp(v4(1), payload=b"odd"))
    s.balances("UDP checksum 0 over IPv4", udp(v4(1), chksum=0))
    s.balances("UDP checksum 0 over IPv4 towards an IPv6 real", udp(v4(3), 9, chksum=0))
    s.balances("padding after the IPv4 length stays and counts nowhere", frame(udp(v4(1), payload=b"x")) + bytes(17))
    s.balances("padding that is not zero", frame(udp(v4(3), 9, payload=b"x")) + b"\xa5" * 9)
    s.balances("padding after the IPv6 length", frame(tcp(v6(1), payload=b"")) + bytes(7))
    s.balances("1514 bytes are not too long", tcp(v4(1), payload=bytes(1460)))
    s.drops("1515 bytes are too long", tcp(v4(1), payload=bytes(1461)))
    s.drops("1515 bytes are too long, IPv6", tcp(v6(1), payload=bytes(1441)))
    s.passes("1515 bytes to no VIP are no concern", tcp(v4(77), payload=bytes(1461)))

    s.balances("port 0 matches any port", tcp(v4(2), 8080))
    s.balances("the exact port comes before port 0", tcp(v4(2), 443), r4(4)[0])
    s.balances("VIP with port 0: another port is the same flow", tcp(v4(2), 9090))
    s.balances("VIP with port 0 and packet to port 0", tcp(v4(2), 0))
    s.passes("another port of a VIP's address", tcp(v4(1), 81))
    s.passes("another protocol of a VIP's address", udp(v4(1), 80))
    s.passes("not a VIP, IPv4", tcp(v4(77)))
    s.passes("not a VIP, IPv6", udp(v6(77)))
    s.drops("a VIP without reals drops, IPv4", tcp(v4(8)))
    s.drops("a VIP without reals drops, IPv6", udp(v6(8)))
    s.drops("a VIP whose only real has weight 0 drops", tcp(v4(9), flags="S"))

    s.balances("hash_no_src_port: port 1 of a client", tcp(v4(4), sport=1))
    s.balances("hash_no_src_port: port 60000 of the same client", tcp(v4(4), sport=60000))
    s.balances("hash_no_src_port, IPv6", tcp(v6(4), sport=60000))
    s.balances("hash_dst_port_only: one client", tcp(v4(5), 5001, source="192.0.2.1"))
    s.balances("hash_dst_port_only: another client, same real", tcp(v4(5), 5001, source="192.0.2.200", sport=7))
    s.balances("hash_dst_port_only: another port", tcp(v4(5), 5002))
    s.balances("hash_dst_port_only, IPv6 real", udp(v4(5), 5001))
    s.balances("hash_dst_port_only, IPv6", udp(v6(5), 5001))
    s.balances("hash_dst_port_only, IPv6, another client", udp(v6(5), 5001, source="2001:db8:c::99", sport=7))
    s.balances("hash_src_dst_port: VIP with port 0 hashes the port", udp(v4(6), 5001))
    s.balances("hash_src_dst_port: another port is another flow", udp(v4(6), 5002))
    s.balances("hash_src_dst_port, IPv6", tcp(v6(6), 5001))
    s.balances("no_lru: by the ring", tcp(v4(7)))
    s.balances("no_lru: by the ring again", tcp(v4(7)))

    s.passes("ARP", frame(ARP(pdst=v4(1))))
    s.passes("EtherType of a tag, but the feature vlan is off", frame(tcp(v4(1)), Dot1Q(vlan=7)))
    s.passes("EtherType MPLS", bytes(Ether(dst=BALANCER, src=ROUTER, type=0x8847) / Raw(bytes(60))))
    s.passes("only an Ethernet header, IPv4", bytes(Ether(dst=BALANCER, src=ROUTER, type=0x0800)))
    s.passes("only an Ethernet header, IPv6", bytes(Ether(dst=BALANCER, src=ROUTER, type=0x86DD)))
    for protocol, name in ((2, "IGMP"), (4, "IPIP"), (41, "IPv6 in IPv4"), (47, "GRE"), (132, "SCTP"), (58, "ICMPv6")):
        s.passes(f"{name} over IPv4 to a VIP", ip(CLIENT4, v4(1), proto=protocol) / Raw(bytes(40)))
    for protocol, name in (
        (0, "hop-by-hop"),
        (1, "ICMPv4"),
        (4, "IPv4"),
        (41, "IPv6"),
        (43, "routing"),
        (60, "options"),
    ):
        s.passes(f"{name} over IPv6 to a VIP", ip(CLIENT6, v6(1), nh=protocol) / Raw(bytes(40)))
    s.passes("an IPv4 header alone, protocol GRE", ip(CLIENT4, v4(1), proto=47))
    s.passes("an IPv6 header alone, no next header", ip(CLIENT6, v6(1), nh=59))
    s.passes("hop-by-hop header before TCP", IPv6(src=CLIENT6, dst=v6(1)) / IPv6ExtHdrHopByHop() / TCP(dport=80))
    return s


def _with_ip_flags(packet: Packet, flags: int, offset: int) -> Packet:
    packet.flags, packet.frag = flags, offset
    return packet


def malformed() -> Set:
    """Step 2: what cannot be balanced is dropped only where a VIP was meant."""
    s = Set("malformed", COMMON_VIPS)
    both: list[tuple[str, Callable[[str], bytes]]] = [
        ("IPv4 options", lambda to: frame(IP(src=CLIENT4, dst=to, options=[Raw(b"\x01\x01\x01\x00")]) / TCP(dport=80))),
        ("IPv4 header length 4 words", lambda to: frame(IP(src=CLIENT4, dst=to, ihl=4) / TCP(dport=80))),
        ("IPv4 header length 0", lambda to: frame(IP(src=CLIENT4, dst=to, ihl=0) / TCP(dport=80))),
        ("IPv4 header length 15 words", lambda to: frame(IP(src=CLIENT4, dst=to, ihl=15) / TCP(dport=80))),
        ("first fragment", lambda to: frame(_with_ip_flags(udp(to), 1, 0))),
        ("middle fragment", lambda to: frame(_with_ip_flags(udp(to), 1, 100))),
        ("last fragment", lambda to: frame(_with_ip_flags(udp(to), 0, 1))),
        ("last fragment with an offset in the upper bits alone", lambda to: frame(_with_ip_flags(udp(to), 0, 0x1000))),
        ("fragment of ICMP", lambda to: frame(_with_ip_flags(ip(CLIENT4, to) / ICMP(), 1, 0))),
        ("TCP header cut to 0 bytes", lambda to: frame(tcp(to))[:34]),
        ("TCP header cut to 1 byte", lambda to: frame(tcp(to))[:35]),
        ("TCP header cut to 4 bytes", lambda to: frame(tcp(to))[:38]),
        ("TCP header cut to 13 bytes", lambda to: frame(tcp(to))[:47]),
        ("TCP header cut to 19 bytes", lambda to: frame(tcp(to))[:53]),
        ("UDP header cut to 0 bytes", lambda to: frame(udp(to))[:34]),
        ("UDP header cut to 7 bytes", lambda to: frame(udp(to))[:41]),
        ("ICMP header cut to 0 bytes", lambda to: frame(ip(CLIENT4, to) / ICMP())[:34]),
        ("ICMP header cut to 7 bytes", lambda to: frame(ip(CLIENT4, to) / ICMP())[:41]),
    ]
    for name, build in both:
        s.drops(f"{name}, to a VIP address", build(v4(1)))
        s.passes(f"{name}, to another address", build(v4(77)))
    both6: list[tuple[str, Callable[[str], bytes]]] = [
        ("fragment", lambda to: frame(IPv6(src=CLIENT6, dst=to) / IPv6ExtHdrFragment(m=1) / UDP() / Raw(PAYLOAD))),
        ("fragment header alone", lambda to: frame(IPv6(src=CLIENT6, dst=to, nh=44))),
        ("TCP header cut to 0 bytes", lambda to: frame(tcp(to))[:54]),
        ("TCP header cut to 19 bytes", lambda to: frame(tcp(to))[:73]),
        ("UDP header cut to 0 bytes", lambda to: frame(udp(to))[:54]),
        ("UDP header cut to 7 bytes", lambda to: frame(udp(to))[:61]),
        ("ICMPv6 header cut to 0 bytes", lambda to: frame(ip(CLIENT6, to) / ICMPv6EchoRequest())[:54]),
        ("ICMPv6 header cut to 7 bytes", lambda to: frame(ip(CLIENT6, to) / ICMPv6EchoRequest())[:61]),
    ]
    for name, build in both6:
        s.drops(f"IPv6: {name}, to a VIP address", build(v6(1)))
        s.passes(f"IPv6: {name}, to another address", build(v6(77)))
    for length in (15, 24, 33):
        s.passes(f"IPv4 header cut: {length} bytes of frame, no destination to read", frame(tcp(v4(1)))[:length])
    for length in (15, 38, 53):
        s.passes(f"IPv6 header cut: {length} bytes of frame, no destination to read", frame(tcp(v6(1)))[:length])
    s.balances("exactly the TCP header", frame(tcp(v4(1), payload=b""))[:54])
    s.balances("exactly the UDP header", frame(udp(v4(1), payload=b""))[:42])
    s.balances("exactly the TCP header, IPv6", frame(tcp(v6(1), payload=b""))[:74])
    s.balances("exactly the UDP header, IPv6", frame(udp(v6(1), payload=b""))[:62])
    s.balances("the wrong IP checksum is the real's business", tcp(v4(1), chksum=1))
    s.drops("a fragment to a VIP address, port and protocol of no VIP", _with_ip_flags(udp(v4(1), 9), 1, 0))
    return s


def with_length(packet: Packet, length: int) -> bytes:
    """The frame of *packet*, with that total or payload length in its IP header; IPv4's checksum follows."""
    if isinstance(packet, IPv6):
        packet.plen = length
    else:
        packet.len = length
    return frame(packet)


def _any_echo(to: str, **fields: Any) -> Packet:
    kind = ICMPv6EchoRequest(data=PAYLOAD) if ":" in to else ICMP() / Raw(PAYLOAD)
    return ip(client_of(to), to, **fields) / kind


def _any_error(to: str) -> Packet:
    return icmp_error(to, answer_of(tcp(client_of(to), 9, 80, source=to)))


def _any_gre(to: str) -> Packet:
    header = ip(client_of(to), to)
    header.setfieldval("nh" if ":" in to else "proto", 47)
    return header / Raw(PAYLOAD)


def _any_ipip(to: str) -> Packet:
    return tunnelled(to, tcp(v4(1)), "ipip")


def lengths() -> Set:
    """Steps 1, 2 and 5: IP lengths against the frame, and frames that are for many."""
    s = Set(
        "lengths",
        [*COMMON_VIPS, *DECAP_VIPS[-1:], vip("198.51.100.128/25", 80, "tcp", r4(1))],
        features=["vlan", "inline_decap", "cidr_vips", "icmp_too_big"],
        modules=DECAP_MODULES,
    )

    _own_lengths(s)
    _lengths_behind_tags(s)
    for kind in ENCAPSULATIONS:
        _lengths_of_tunnels(s, kind)
    _frames_for_many(s)
    return s


def _own_lengths(s: Set) -> None:
    """Every length that the frame does not hold, or that does not hold the headers."""
    builds: dict[str, tuple[Callable[[str], Packet], int]] = {
        "TCP": (tcp, 20),
        "UDP": (udp, 8),
        "echo request": (_any_echo, 8),
        "ICMP error": (_any_error, 8),
        "GRE": (_any_gre, 0),
        "IPIP": (_any_ipip, 0),
    }
    for name, (build, header) in builds.items():
        for address, stranger in ((v4(1), v4(77)), (v6(1), v6(77))):
            base = 0 if ":" in address else 20
            held = len(bytes(build(address))) - (0 if base else 40)
            short = {0, base - 1, base + header - 1} - {-1, held}
            for length in sorted({length for length in short if 0 <= length < base + header}):
                s.drops(f"{name} to {address}, length {length}: below its headers", with_length(build(address), length))
                s.passes(f"{name}, length {length}, to no VIP", with_length(build(stranger), length))
            for length in (held + 1, held + 20, 1500, 65535):
                s.drops(f"{name} to {address}, length {length}: not all there", with_length(build(address), length))
                s.passes(f"{name}, length {length}, to no VIP", with_length(build(stranger), length))
            padded = with_length(build(address), held + 7) + bytes(6)
            s.drops(f"{name} to {address}: one byte more than with its padding", padded)
    for address in (v4(1), v6(1)):
        for name, build, header in (("TCP", tcp, 20), ("UDP", udp, 8)):
            length = header + (20 if "." in address else 0)
            port = 80 if header == 20 else 53
            text = f"{name} to {address}: the headers alone, and padding"
            s.balances(text, with_length(build(address, port), length))
            s.balances(f"{text} of 46 bytes", with_length(build(address, port, payload=b""), length) + bytes(46))
    s.passes("IPv6, a jumbogram's length 0 before options", with_length(ip(CLIENT6, v6(1), nh=0) / Raw(bytes(80)), 0))
    s.drops("IPv6, a jumbogram's length 0 and no options", with_length(tcp(v6(1)), 0))
    s.passes("IPv6, length 0, no next header", with_length(ip(CLIENT6, v6(1), nh=59) / Raw(bytes(8)), 0))
    s.drops("to an address of a CIDR VIP", with_length(tcp(v4(200)), 65535))


def _lengths_behind_tags(s: Set) -> None:
    """And of frames that are too long, and in what ICMP quotes."""
    tags = Dot1Q(vlan=1) / Dot1Q(vlan=2)
    for to in (v4(1), v6(1)):
        packet = tcp(to)
        held = len(frame(packet)) - (54 if ":" in to else 14)
        s.balances(f"to {to} behind two tags: all there", frame(packet, tags))
        s.drops(f"to {to} behind two tags: the tags are not the packet's", with_length_tagged(packet, held + 1, tags))
        s.drops(f"to {to} behind two tags: all but the last byte", frame(tcp(to), tags)[:-1])
    big = tcp(v4(1), payload=bytes(1461))
    s.sends("too long, and all there", big, too_big(frame(big)))
    s.drops("too long, and not all there", with_length(tcp(v4(1), payload=bytes(1461)), 1502))
    s.balances(
        "quoted in ICMP, a length counts for nothing",
        icmp_error(v4(1), answer_of(tcp(CLIENT4, 9, 80, source=v4(1), len=65535))),
        **_quoted(v4(1), s, 9),
    )
    s.balances(
        "IPv6: quoted in ICMP, a length counts for nothing",
        icmp_error(v6(1), answer_of(tcp(CLIENT6, 9, 80, source=v6(1), plen=3))),
        **_quoted(v6(1), s, 9),
    )


def _lengths_of_tunnels(s: Set, kind: str) -> None:
    """Outer lengths are step 2's business; inner ones are too, once the packet is balanced again."""
    for own, listed in ((OWN4, DECAP4), (OWN6, DECAP6)):
        for to in (own, listed):
            outer = tunnelled(to, tcp(v4(1)), kind)
            held = len(bytes(outer)) - (40 if ":" in to else 0)
            for length in (held + 1, 65535):
                s.passes(
                    f"{kind} to {to}, outer length {length}: not all there",
                    with_length(tunnelled(to, tcp(v4(1)), kind), length),
                )
        for to in (OWN4, OWN6, DECAP4, DECAP6):
            empty = len(bytes(tunnelled(to, b"", kind))) - (40 if ":" in to else 0)
            for length in (empty, empty + 19):
                text = f"{kind} to {to}, outer length {length}: the inner header is padding"
                s.passes(text, with_length(tunnelled(to, tcp(v4(1)), kind), length))
        held = len(bytes(tcp(v4(1))))
        for length in (0, 19, 39, held + 1, 65535):
            inner, after = tcp(v4(1), len=length), tcp(v4(1), len=length, ttl=63)
            s.drops(f"{kind} to {listed}, inner length {length}", tunnelled(listed, inner, kind))
            s.passes(f"{kind} to {own}, inner length {length}: the host's", tunnelled(own, inner, kind), frame(after))
        inner, after = tcp(v4(77), len=9999), tcp(v4(77), len=9999, ttl=63)
        s.passes(f"{kind} to {listed}, inner length 9999, to no VIP", tunnelled(listed, inner, kind), frame(after))
    s.drops(f"{kind} to {DECAP6}, inner payload length", tunnelled(DECAP6, tcp(v6(1), plen=9999), kind))


def _frames_for_many(s: Set) -> None:
    """Multicast and broadcast MAC addresses."""
    for number, mac in enumerate(("ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01", "33:33:00:00:00:01", "03:00:00:00:00:00")):
        for name, build in (("TCP", tcp), ("echo request", _any_echo), ("ICMP error", _any_error)):
            for to in (v4(1), v6(1)):
                s.passes(f"{name} to {to} by {mac}", bytes(Ether(dst=mac, src=ROUTER) / build(to)))
        s.passes(f"a tunnel by {mac}", bytes(Ether(dst=mac, src=ROUTER) / _any_ipip(DECAP4)))
        s.passes(f"a tunnel to this host by {mac}", bytes(Ether(dst=mac, src=ROUTER) / _any_ipip(OWN4)))
        s.passes(f"a fragment by {mac}", bytes(Ether(dst=mac, src=ROUTER) / _with_ip_flags(udp(v4(1)), 1, 0)))
        s.passes(f"too long by {mac}", bytes(Ether(dst=mac, src=ROUTER) / tcp(v4(1), payload=bytes(1461))))
        tagged = bytes(Ether(dst=mac, src=ROUTER) / Dot1Q(vlan=number) / tcp(v4(1)))
        s.passes(f"behind a tag by {mac}", tagged)


def with_length_tagged(packet: Packet, length: int, tags: Packet) -> bytes:
    """The same behind VLAN tags."""
    data = with_length(packet, length)
    return data[:12] + bytes(Ether(dst=BALANCER) / tags)[12:-2] + data[12:]


def remembered() -> list[Set]:
    """Who is in the connection table: the same flows before and after a change of every ring."""
    old, new = r4(1), r4(2)
    flags: dict[int, tuple[str, ...]] = {
        10: (),
        11: ("no_lru",),
        12: ("hash_dst_port_only",),
        13: ("hash_no_src_port",),
        14: ("hash_src_dst_port",),
    }

    def vips(reals: list[str]) -> list[dict[str, Any]]:
        return [
            *(
                vip(v4(number), 0, protocol, reals, *names)
                for number, names in flags.items()
                for protocol in ("tcp", "udp")
            ),
            vip(v6(10), 80, "tcp", r6(1) if reals == old else r6(2)),
            vip(v6(10), 80, "udp", r6(1) if reals == old else r6(2)),
            vip(v4(15), 80, "tcp", reals),
            # A real stays known as long as something refers to it.
            vip(v4(99), 9, "tcp", [*old, *r6(1)]),
        ]

    def quoted(sport: int) -> bytes:
        return answer_of(tcp(CLIENT4, sport, 80, source=v4(15)))

    before = Set("remembered_1", vips(old))
    before.balances("TCP flow: the table learns", tcp(v4(10)))
    before.balances("TCP flow that begins with SYN: the table learns", tcp(v4(10), sport=1, flags="S"))
    before.balances("TCP flow to be reset later", tcp(v4(10), sport=2))
    before.balances("TCP flow to be begun anew", tcp(v4(10), sport=3))
    before.balances("RST of an unknown flow: the table does not learn", tcp(v4(10), sport=4, flags="RA"))
    before.balances("UDP flow: the table learns", udp(v4(10)))
    before.balances("IPv6 TCP flow: the table learns", tcp(v6(10)))
    before.balances("IPv6 UDP flow: the table learns", udp(v6(10), 80))
    before.balances("no_lru: the table does not learn", tcp(v4(11)))
    before.balances("hash_dst_port_only: the table does not learn", tcp(v4(12)))
    before.balances("hash_dst_port_only, UDP: the table does not learn", udp(v4(12)))
    before.balances("hash_no_src_port: the table learns the client", tcp(v4(13)))
    before.balances("hash_src_dst_port: the table learns the port", udp(v4(14), 53))
    before.balances(
        "ICMP error about an unknown flow: the table learns",
        icmp_error(v4(15), quoted(5)),
        old[0],
        **_quoted(v4(15), before, 5),
    )
    error = icmp_error(v4(15), answer_of(tcp(CLIENT4, 6, 80, source=v4(15), flags="SA")))
    before.balances("ICMP error that quotes a SYN", error, old[0], **_quoted(v4(15), before, 6))
    error = icmp_error(v4(15), bytes(tcp(CLIENT4, 7, 80, source=v4(15), flags="R")))
    before.balances("ICMP error that quotes a RST has no RST meaning", error, old[0], **_quoted(v4(15), before, 7))

    after = Set("remembered_2", vips(new), follows="remembered_1")
    after.balances("TCP flow: table hit", tcp(v4(10)), old[0])
    after.balances("TCP flow that began with SYN: table hit", tcp(v4(10), sport=1), old[0])
    after.balances("RST of a known flow: table hit", tcp(v4(10), sport=2, flags="R"), old[0])
    after.balances("RST leaves the entry", tcp(v4(10), sport=2), old[0])
    after.balances("SYN ignores the table", tcp(v4(10), sport=3, flags="S"), new[0])
    after.balances("SYN rewrote the entry", tcp(v4(10), sport=3), new[0])
    after.balances("flow that began with RST: by the new ring", tcp(v4(10), sport=4), new[0])
    after.balances("UDP flow: table hit", udp(v4(10)), old[0])
    after.balances("UDP flow to another port of a VIP with port 0: the same entry", udp(v4(10), 54), old[0])
    after.balances("IPv6 TCP flow: table hit", tcp(v6(10)), r6(1)[0])
    after.balances("IPv6 UDP flow: table hit", udp(v6(10), 80), r6(1)[0])
    after.balances("no_lru: by the new ring", tcp(v4(11)), new[0])
    after.balances("hash_dst_port_only: by the new ring", tcp(v4(12)))
    after.balances("hash_dst_port_only, UDP: by the new ring", udp(v4(12)))
    after.balances("hash_no_src_port: another port of the client is the same entry", tcp(v4(13), sport=9), old[0])
    after.balances("hash_src_dst_port: table hit", udp(v4(14), 53), old[0])
    after.balances("hash_src_dst_port: another port is another entry", udp(v4(14), 54), new[0])
    for sport in (5, 6, 7):
        after.balances("flow that the table learned from an ICMP error", tcp(v4(15), sport=sport), old[0])
    after.balances(
        "ICMP error about a known flow: table hit", icmp_error(v4(15), quoted(5)), old[0], **_quoted(v4(15), after, 5)
    )
    after.balances("new flow: by the new ring", tcp(v4(10), sport=77, flags="S"), new[0])

    gone = Set("remembered_3", [entry for entry in vips(new) if entry["port"] != 9], follows="remembered_2")
    gone.balances("table hit on a real that is gone: balanced anew", tcp(v4(10)), new[0])
    gone.balances("table hit on a real that is gone, UDP: balanced anew", udp(v4(10)), new[0])
    gone.balances("table hit on a real that is gone, IPv6: balanced anew", tcp(v6(10)), r6(2)[0])
    return [before, after, gone]


def _quoted(
    address: str, s: Set, sport: int, dport: int = 80, client: str | None = None, protocol: int = 6
) -> dict[str, Any]:
    """What an ICMP error about a flow to *address* leaves to `balances`."""
    return {
        "to": s.vip_of(address, dport, protocol),
        "client": client or client_of(address),
        "sport": sport,
        "dport": dport,
    }


def icmp() -> list[Set]:
    """Step 3, in both encapsulations."""
    return [_echo(), *(_icmp_errors(encapsulation) for encapsulation in ENCAPSULATIONS)]


def _echo() -> Set:
    s = Set(
        "echo",
        [*COMMON_VIPS, vip("198.51.100.128/26", 80, "tcp", r4(1)), vip("2001:db8:1:ff::/64", 0, "tcp", r6(1))],
        features=["cidr_vips"],
    )

    def request4(to: str = v4(1), identity: int = 1, data: bytes = PAYLOAD, **fields: Any) -> Packet:
        return ip(CLIENT4, to, **fields) / ICMP(id=identity, seq=1) / Raw(data)

    def request6(to: str = v6(1), identity: int = 1, data: bytes = PAYLOAD, **fields: Any) -> Packet:
        return ip(CLIENT6, to, **fields) / ICMPv6EchoRequest(id=identity, seq=1, data=data)

    for description, request in (
        ("echo request", request4()),
        ("echo request to a VIP without reals", request4(v4(8))),
        ("echo request to an address of an IPv4 CIDR VIP", request4("198.51.100.130")),
        ("echo request with ToS, TTL 1 and an id", request4(ttl=1, tos=0xB8, id=0x1234)),
        ("echo request without data", request4(data=b"")),
        ("echo request of odd length", request4(data=b"odd")),
        ("echo request with another code", ip(CLIENT4, v4(1)) / ICMP(code=7, id=1) / Raw(PAYLOAD)),
        ("echo request with don't-fragment", _with_ip_flags(request4(), 2, 0)),
        ("echo request of 1514 bytes", request4(data=bytes(1472))),
        ("echo request of 1600 bytes: not encapsulated, so not too long", request4(data=bytes(1558))),
        ("IPv6: echo request", request6()),
        ("IPv6: echo request to an address of an IPv6 CIDR VIP", request6("2001:db8:1:ff::7")),
        ("IPv6: echo request with traffic class, flow label and hop limit 1", request6(ttl=1, tos=0x28, fl=0x12345)),
        ("IPv6: echo request without data", request6(data=b"")),
        ("IPv6: echo request of odd length", request6(data=b"odd")),
    ):
        s.sends(f"{description}: answered", request, echo_reply(request))
    bare = ip(CLIENT4, v4(1)) / ICMP()
    s.sends("a message of zeros but for its type: its checksum is 0xffff then", bare, echo_reply(bare))
    for wanted in (0xF8FF, 0xF9FF, 0xFEFF, 0xF800, 0xFFFE, 0xF900, 0xF7FE):
        request = request4(identity=_identity_for(lambda n: request4(identity=n), 22, wanted))
        s.sends(f"ICMP checksum {wanted:#06x}: the adjustment carries round", request, echo_reply(request))
    for wanted in (0x0000, 0x00FF, 0x0101, 0xFFFE):
        request = request6(identity=_identity_for(lambda n: request6(identity=n), 42, wanted))
        s.sends(f"ICMPv6 checksum {wanted:#06x}: the adjustment borrows round", request, echo_reply(request))
    padded = frame(request4(data=b"")) + bytes(18)
    s.sends("padding after an echo request comes back", padded, echo_reply(request4(data=b"")) + bytes(18))
    s.passes("echo request to another address", request4(v4(77)))
    s.passes("IPv6: echo request to another address", request6(v6(77)))
    s.passes("echo reply to a VIP", ip(CLIENT4, v4(1)) / ICMP(type=0) / Raw(PAYLOAD))
    s.passes("IPv6: echo reply to a VIP", ip(CLIENT6, v6(1)) / ICMPv6EchoReply(data=PAYLOAD))
    s.passes(
        "ICMPv6 echo request in IPv4",
        ip(CLIENT4, v4(1), proto=58) / Raw(bytes(ICMPv6EchoRequest(cksum=0x1234, data=PAYLOAD))),
    )
    s.passes("ICMPv4 echo request in IPv6", ip(CLIENT6, v6(1), nh=1) / Raw(bytes(ICMP() / PAYLOAD)))
    s.passes("neighbour solicitation for a VIP", ip(CLIENT6, v6(1)) / ICMPv6ND_NS(tgt=v6(1)))
    for kind, name in (
        (4, "source quench"),
        (5, "redirect"),
        (11, "time exceeded"),
        (12, "parameter problem"),
    ):
        s.passes(f"ICMPv4 {name} to a VIP", icmp_error(v4(1), answer_of(tcp(CLIENT4, 9, 80, source=v4(1))), kind, 0))
    for kind, name in ((3, "time exceeded"), (4, "parameter problem")):
        s.passes(f"ICMPv6 {name} to a VIP", icmp_error(v6(1), answer_of(tcp(CLIENT6, 9, 80, source=v6(1))), kind))
    return s


def _identity_for(build: Callable[[int], Packet], at: int, wanted: int) -> int:
    """The echo id with which the ICMP checksum at byte *at* of the packet is *wanted*."""
    base = int.from_bytes(bytes(build(0))[at : at + 2], "big")
    return (base - wanted) % 0xFFFF


def _icmp_errors(encapsulation: str) -> Set:
    vips = [
        *COMMON_VIPS,
        vip(v4(20), 443, "udp", r4(1, 2, 3), "quic"),
        vip(v6(20), 443, "udp", r6(1, 2, 3), "quic"),
    ]
    s = Set(f"icmp_errors_{encapsulation}", vips, encapsulation=encapsulation)
    answer = answer_of(tcp(CLIENT4, 31337, 80, source=v4(1)))
    answer6 = answer_of(tcp(CLIENT6, 31337, 80, source=v6(1)))
    for code in (0, 1, 2, 3, 4, 5, 9, 13, 15):
        packet = icmp_error(v4(1), answer, 3, code)
        s.balances(f"ICMPv4 unreachable, code {code}, goes to the flow's real", packet, **_quoted(v4(1), s, 31337))
    for mtu in (0, 68, 1279, 1280, 9000, 65535):
        s.balances(f"fragmentation needed, MTU {mtu}", icmp_error(v4(1), answer, mtu=mtu), **_quoted(v4(1), s, 31337))
    for code in (0, 1, 3, 4, 6):
        packet = icmp_error(v6(1), answer6, 1, code)
        s.balances(f"ICMPv6 unreachable, code {code}, goes to the flow's real", packet, **_quoted(v6(1), s, 31337))
    for mtu in (1279, 1280, 65536, 1 << 24):
        s.balances(f"packet too big, MTU {mtu}", icmp_error(v6(1), answer6, mtu=mtu), **_quoted(v6(1), s, 31337))
    s.balances(
        "error towards an IPv6 real",
        icmp_error(v4(3), answer_of(tcp(CLIENT4, 7, 80, source=v4(3)))),
        **_quoted(v4(3), s, 7),
    )
    s.balances("error with ToS", icmp_error(v4(1), answer, tos=0xC0), **_quoted(v4(1), s, 31337))
    s.balances("IPv6 error with traffic class", icmp_error(v6(1), answer6, tos=0xC0), **_quoted(v6(1), s, 31337))
    s.balances(
        "error about UDP",
        icmp_error(v4(1), answer_of(udp(CLIENT4, 9, 53, source=v4(1)))),
        **_quoted(v4(1), s, 9, 53, protocol=17),
    )
    s.balances(
        "error about UDP with checksum 0",
        icmp_error(v4(1), answer_of(udp(CLIENT4, 9, 53, source=v4(1), chksum=0))),
        **_quoted(v4(1), s, 9, 53, protocol=17),
    )
    s.balances(
        "IPv6 error about UDP, VIP with port 0",
        icmp_error(v6(1), answer_of(udp(CLIENT6, 9, 53, source=v6(1)))),
        **_quoted(v6(1), s, 9, 53, protocol=17),
    )
    s.balances(
        "error about a VIP with hash_no_src_port",
        icmp_error(v4(4), answer_of(tcp(CLIENT4, 9, 80, source=v4(4)))),
        **_quoted(v4(4), s, 9),
    )
    s.balances(
        "error about a VIP with hash_dst_port_only",
        icmp_error(v4(5), answer_of(tcp(CLIENT4, 9, 80, source=v4(5)))),
        **_quoted(v4(5), s, 9),
    )
    s.balances(
        "the whole packet quoted",
        icmp_error(v4(1), bytes(tcp(CLIENT4, 31337, 80, source=v4(1)))),
        **_quoted(v4(1), s, 31337),
    )
    s.balances(
        "sent to one VIP, quoting another",
        icmp_error(v4(1), answer_of(tcp(CLIENT4, 5, 80, source=v4(3)))),
        **_quoted(v4(3), s, 5),
    )
    s.balances(
        "IPv6: sent to one VIP, quoting another",
        icmp_error(v6(1), answer_of(tcp(CLIENT6, 5, 80, source=v6(4)))),
        **_quoted(v6(4), s, 5),
    )
    s.balances("error with padding after it", frame(icmp_error(v4(1), answer)) + bytes(6), **_quoted(v4(1), s, 31337))
    s.balances(
        "the ICMP error itself may be of odd length",
        icmp_error(v4(1), bytes(tcp(CLIENT4, 31337, 80, source=v4(1)))[:29]),
        **_quoted(v4(1), s, 31337),
    )
    quic = answer_of(udp(CLIENT4, 31337, 443, source=v4(20)))
    quic6 = answer_of(udp(CLIENT6, 31337, 443, source=v6(20)))
    for code in (1, 3, 4):
        s.balances(
            f"quic VIP: ICMPv4 code {code}",
            icmp_error(v4(20), quic, 3, code),
            **_quoted(v4(20), s, 31337, 443, protocol=17),
        )
    for code in (1, 3, 4):
        s.balances(
            f"quic VIP: ICMPv6 code {code}",
            icmp_error(v6(20), quic6, 1, code),
            **_quoted(v6(20), s, 31337, 443, protocol=17),
        )

    s.passes("error to an address that is no VIP", icmp_error(v4(77), answer_of(tcp(CLIENT4, 9, 80, source=v4(77)))))
    s.passes("error to an address that is no VIP, quoting a VIP", icmp_error(v4(77), answer))
    s.passes("error to a VIP, quoting no VIP", icmp_error(v4(1), answer_of(tcp(CLIENT4, 9, 80, source=v4(77)))))
    s.passes(
        "error to a VIP address, quoting a port that is no VIP's",
        icmp_error(v4(1), answer_of(tcp(CLIENT4, 9, 81, source=v4(1)))),
    )
    s.passes("error that quotes ICMP", icmp_error(v4(1), bytes(ip(v4(1), CLIENT4) / ICMP(type=0) / Raw(PAYLOAD))))
    s.passes("IPv6 error to an address that is no VIP", icmp_error(v6(77), answer6))
    s.passes(
        "IPv6 error that quotes a fragment header",
        icmp_error(v6(1), bytes(IPv6(src=v6(1), dst=CLIENT6, nh=44) / Raw(PAYLOAD))),
    )
    s.drops("error with 7 quoted transport bytes", icmp_error(v4(1), answer[:-1]))
    s.drops("error with no quoted transport bytes", icmp_error(v4(1), answer[:20]))
    s.drops("error that quotes half an IP header", icmp_error(v4(1), answer[:10]))
    s.drops("error that quotes nothing", icmp_error(v4(1), b""))
    s.drops("error that quotes IP options", icmp_error(v4(1), b"\x46" + answer[1:] + bytes(4)))
    s.passes("7 quoted bytes, but to no VIP", icmp_error(v4(77), answer[:-1]))
    s.drops("IPv6 error with 7 quoted transport bytes", icmp_error(v6(1), answer6[:-1]))
    s.drops("IPv6 error that quotes half an IP header", icmp_error(v6(1), answer6[:39]))
    s.passes("IPv6: 7 quoted bytes, but to no VIP", icmp_error(v6(77), answer6[:-1]))
    s.drops(
        "error that is too long", icmp_error(v4(1), bytes(tcp(CLIENT4, 31337, 80, source=v4(1), payload=bytes(1500))))
    )
    return s


def no_tos(encapsulation: str) -> Set:
    """copy_tos off, other source prefixes, another GUE port."""
    s = Set(
        f"settings_{encapsulation}",
        COMMON_VIPS,
        encapsulation=encapsulation,
        copy_tos=False,
        source_prefix_ipv4="10.99.0.0/16",
        source_prefix_ipv6="2001:db8:77:1::/64",
        gue_port=9886,
        source_ipv4="203.0.113.7",
        source_ipv6="2001:db8:f::7",
        max_frame=1000,
    )
    s.balances("ToS is not copied, IPv4 in IPv4", tcp(v4(1), tos=0xFF))
    s.balances("ToS is not copied, IPv4 in IPv6", tcp(v4(3), tos=0xFF))
    s.balances("traffic class is not copied, IPv6 in IPv6", udp(v6(1), 9, tos=0xFF))
    s.balances("max_frame 1000: exactly", udp(v4(1), payload=bytes(1000 - 42)))
    s.drops("max_frame 1000: one more", udp(v4(1), payload=bytes(1001 - 42)))
    return s


def vlan(encapsulation: str) -> Set:
    """Tags are stepped over and kept."""
    s = Set(f"vlan_{encapsulation}", COMMON_VIPS, encapsulation=encapsulation, features=["vlan", "icmp_too_big"])
    one, two, service = Dot1Q(vlan=100, prio=5), Dot1AD(vlan=7) / Dot1Q(vlan=100), Dot1AD(vlan=4094)
    for tags, name in (
        (one, "one 802.1Q tag"),
        (service, "one 802.1ad tag"),
        (two, "802.1ad and 802.1Q"),
        (Dot1Q() / Dot1Q(), "two 802.1Q tags"),
    ):
        s.balances(f"{name}: IPv4", frame(tcp(v4(1), tos=0x10), tags))
        s.balances(f"{name}: IPv4 to an IPv6 real", frame(tcp(v4(3)), tags))
        s.balances(f"{name}: IPv6", frame(udp(v6(1), 9), tags))
        echo = ip(CLIENT4, v4(1)) / ICMP() / Raw(PAYLOAD)
        s.sends(f"{name}: echo request", frame(echo, tags), echo_reply(echo, tags))
    echo6 = ip(CLIENT6, v6(1)) / ICMPv6EchoRequest(data=PAYLOAD)
    s.sends("one tag: IPv6 echo request", frame(echo6, one), echo_reply(echo6, one))
    s.balances("without a tag", tcp(v4(1)))
    s.balances(
        "ICMP error behind two tags",
        frame(icmp_error(v4(1), answer_of(tcp(CLIENT4, 9, 80, source=v4(1)))), two),
        **_quoted(v4(1), s, 9),
    )
    s.passes("three tags", frame(tcp(v4(1)), Dot1Q() / Dot1Q() / Dot1Q()))
    s.passes("ARP behind a tag", frame(ARP(), one))
    s.passes("no VIP behind a tag", frame(tcp(v4(77)), one))
    for length in (14, 15, 17):
        s.passes(f"first tag cut: {length} bytes of frame", frame(tcp(v4(1)), two)[:length])
    for length in (18, 21):
        s.passes(f"second tag cut: {length} bytes of frame", frame(tcp(v4(1)), two)[:length])
    s.passes("IP header cut behind two tags", frame(tcp(v4(1)), two)[:41])
    s.drops("TCP header cut behind two tags", frame(tcp(v4(1)), two)[:61])
    s.drops("fragment behind a tag", frame(_with_ip_flags(udp(v4(1)), 1, 0), one))
    s.balances("a tag does not count towards max_frame", frame(tcp(v4(1), payload=bytes(1460)), one))
    s.balances("two tags do not count towards max_frame", frame(tcp(v6(1), payload=bytes(1440)), two))
    data = frame(tcp(v4(1), payload=bytes(1461)), one)
    s.sends("too long behind a tag: told, with the tag", data, too_big(data, 18))
    data = frame(tcp(v6(1), payload=bytes(1441)), two)
    s.sends("too long behind two tags: told, with the tags", data, too_big(data, 22))
    return s


def too_long() -> list[Set]:
    """Step 7 with icmp_too_big."""
    s = Set("too_big", COMMON_VIPS, features=["icmp_too_big"])
    for name, packet in (
        ("TCP", tcp(v4(1), payload=bytes(1461))),
        ("UDP with ToS, id and TTL", udp(v4(1), payload=PAYLOAD * 100, tos=0x55, id=77, ttl=3)),
        ("TCP, far too long", tcp(v4(2), 9, payload=bytes(range(256)) * 8)),
        ("IPv6 TCP", tcp(v6(1), payload=bytes(1441))),
        (
            "IPv6 UDP with traffic class, flow label and hop limit",
            udp(v6(1), 9, payload=PAYLOAD * 100, tos=0x55, fl=9, ttl=3),
        ),
        ("VIP without reals", tcp(v4(8), payload=bytes(1461))),
    ):
        s.sends(f"{name}: ICMP error to the sender", packet, too_big(frame(packet)))
    padded = frame(tcp(v4(1), payload=bytes(1400))) + bytes(100)
    s.sends("the frame counts, padding included", padded, too_big(padded))
    s.balances("1514 bytes are balanced", tcp(v4(1), payload=bytes(1460)))
    s.passes("no VIP", tcp(v4(77), payload=bytes(1461)))
    small = Set("too_big_max_frame", COMMON_VIPS, features=["icmp_too_big"], max_frame=1294, encapsulation="gue")
    for packet in (tcp(v4(1), payload=bytes(1241)), udp(v6(1), 9, payload=bytes(1233))):
        small.sends("max_frame 1294 gives MTU 1280", packet, too_big(frame(packet), max_frame=1294))
    small.balances("max_frame 1294: exactly", tcp(v4(1), payload=bytes(1240)))
    return [s, small]


def cidr() -> Set:
    """Step 6 with cidr_vips."""
    vips = [
        vip("198.51.100.0/25", 443, "tcp", r4(1)),
        vip("198.51.100.0/25", 0, "tcp", r4(2)),
        vip("198.51.100.0/26", 0, "tcp", r4(3)),
        vip("198.51.100.16/28", 443, "tcp", r4(4)),
        vip(v4(5), 0, "tcp", r4(5)),
        vip(v4(5), 8443, "tcp", r4(6)),
        vip(v4(6), 443, "tcp", r4(7)),
        vip("0.0.0.0/1", 9, "udp", r4(8)),
        vip("198.51.100.0/24", 0, "udp", r6(8), "hash_src_dst_port"),
        vip("2001:db8:1::/64", 443, "tcp", r6(1)),
        vip("2001:db8:1::/64", 0, "tcp", r6(2)),
        vip("2001:db8:1::/96", 0, "tcp", r6(3)),
        vip("2001:db8:1::100/120", 443, "tcp", r6(4)),
        vip(v6(5), 0, "tcp", r6(5)),
        vip(v6(5), 8443, "tcp", r6(6)),
        vip("::/0", 9, "udp", r6(7)),
        vip("2001:db8:2::/64", 0, "udp", r6(1, 2, 3)),
        vip("203.0.113.0/26", 80, "tcp", r4(1, 2, 3)),
    ]
    s = Set("cidr_ipip", vips, features=["cidr_vips"])

    def find(address: str, port: int, protocol: str = "tcp") -> dict[str, Any]:
        return next(v for v in vips if (v["address"], v["port"], v["protocol"]) == (address, port, protocol))

    for sport, (description, packet, entry) in enumerate(
        (
            ("CIDR VIP with the port", tcp(v4(100), 443), find("198.51.100.0/25", 443)),
            ("CIDR VIP with port 0", tcp(v4(100), 80), find("198.51.100.0/25", 0)),
            ("the longer prefix of two with port 0", tcp(v4(33), 80), find("198.51.100.0/26", 0)),
            ("the port comes before the longer prefix", tcp(v4(33), 443), find("198.51.100.0/25", 443)),
            ("the longer prefix of two with the port", tcp(v4(17), 443), find("198.51.100.16/28", 443)),
            ("an exact VIP with the port comes first", tcp(v4(6), 443), find(v4(6), 443)),
            ("an exact VIP with the port comes before its port 0", tcp(v4(5), 8443), find(v4(5), 8443)),
            (
                "CIDR VIP with the port comes before an exact VIP with port 0",
                tcp(v4(5), 443),
                find("198.51.100.0/25", 443),
            ),
            ("an exact VIP with port 0 comes before CIDR VIPs with port 0", tcp(v4(5), 80), find(v4(5), 0)),
            ("first address of a prefix", tcp("203.0.113.0"), find("203.0.113.0/26", 80)),
            ("last address of a prefix", tcp("203.0.113.63"), find("203.0.113.0/26", 80)),
            (
                "the destination port counts as 0 for every CIDR VIP",
                tcp("203.0.113.9", source="192.0.2.77"),
                find("203.0.113.0/26", 80),
            ),
            ("hash_src_dst_port keeps it", udp(v4(9), 5353), find("198.51.100.0/24", 0, "udp")),
            ("short prefix", udp("9.9.9.9", 9), find("0.0.0.0/1", 9, "udp")),
            ("IPv6: CIDR VIP with the port", tcp("2001:db8:1::1:0:1", 443), find("2001:db8:1::/64", 443)),
            ("IPv6: CIDR VIP with port 0", tcp("2001:db8:1::1:0:1", 80), find("2001:db8:1::/64", 0)),
            ("IPv6: the longer prefix of two with port 0", tcp(v6(1), 80), find("2001:db8:1::/96", 0)),
            ("IPv6: the port comes before the longer prefix", tcp(v6(1), 443), find("2001:db8:1::/64", 443)),
            ("IPv6: the longer prefix of two with the port", tcp(v6(101), 443), find("2001:db8:1::100/120", 443)),
            ("IPv6: an exact VIP with the port comes first", tcp(v6(5), 8443), find(v6(5), 8443)),
            (
                "IPv6: CIDR VIP with the port comes before an exact VIP with port 0",
                tcp(v6(5), 443),
                find("2001:db8:1::/64", 443),
            ),
            ("IPv6: an exact VIP with port 0 comes before CIDR VIPs with port 0", tcp(v6(5), 80), find(v6(5), 0)),
            ("IPv6: prefix of length 0", udp("ff::1", 9), find("::/0", 9, "udp")),
            ("IPv6: several reals", udp("2001:db8:2::2", 10), find("2001:db8:2::/64", 0, "udp")),
        )
    ):
        packet[TCP if TCP in packet else UDP].sport = 5000 + sport
        s.balances(description, packet, to=entry)
    s.balances(
        "ICMP error to an address of a CIDR VIP",
        icmp_error("203.0.113.9", answer_of(tcp(CLIENT4, 5, 80, source="203.0.113.9"))),
        to=find("203.0.113.0/26", 80),
        client=CLIENT4,
        sport=5,
        dport=80,
    )
    s.drops("fragment to an address of a CIDR VIP", _with_ip_flags(udp("203.0.113.9"), 1, 0))
    s.drops("IPv6: cut TCP header to an address of a CIDR VIP", frame(tcp("2001:db8:2::2"))[:70])
    s.passes("outside the prefix", tcp("203.0.113.64"))
    s.passes("another port than the prefix's", tcp("203.0.113.1", 81))
    s.passes("another protocol than the prefix's", udp("203.0.113.1", 80))
    s.passes("an IPv6 prefix of length 0 does not match IPv4", udp("203.0.113.1", 9))
    s.passes("IPv6: an address that begins like an IPv4 prefix", udp("cb00:7101::", 80))
    return s


def cidr_remembered() -> list[Set]:
    """The connection table with CIDR VIPs: every address its own flow, every port the same one."""

    def vips(reals: list[str], reals6: list[str]) -> list[dict[str, Any]]:
        return [
            vip("198.51.100.0/24", 443, "tcp", reals),
            vip("198.51.100.0/24", 0, "udp", reals),
            vip("2001:db8:1::/64", 0, "tcp", reals6),
            vip(v4(99), 9, "tcp", [*r4(1), *r6(1)]),
        ]

    first = Set("cidr_remembered_1", vips(r4(1), r6(1)), features=["cidr_vips"], encapsulation="gue")
    second = Set(
        "cidr_remembered_2",
        vips(r4(2), r6(2)),
        features=["cidr_vips"],
        encapsulation="gue",
        follows="cidr_remembered_1",
    )
    tcp4, udp4, tcp6 = first.vips[:3]
    first.balances("CIDR VIP with a port: the table learns", tcp(v4(1), 443), to=tcp4)
    first.balances("CIDR VIP with port 0: the table learns", udp(v4(1), 53), to=udp4)
    first.balances("IPv6 CIDR VIP: the table learns", tcp(v6(1), 80), to=tcp6)
    tcp4, udp4, tcp6 = second.vips[:3]
    second.balances("table hit", tcp(v4(1), 443), r4(1)[0], to=tcp4)
    second.balances("another address of the prefix: another flow", tcp(v4(2), 443), to=tcp4)
    second.balances("table hit by another port", udp(v4(1), 54), r4(1)[0], to=udp4)
    second.balances("IPv6: table hit", tcp(v6(1), 81), r6(1)[0], to=tcp6)
    second.balances("IPv6: another address", tcp(v6(2), 80), to=tcp6)
    return [first, second]


SERVER_IDS = [
    {"id": 1, "real": "10.0.0.1"},
    {"id": 1022, "real": "10.0.0.2"},
    {"id": 65535, "real": "10.0.0.3"},
    {"id": 100_000, "real": "10.0.0.21"},
    {"id": 1024, "real": "fd00::1"},
    {"id": 66_000, "real": "fd00::2"},
    {"id": 2000, "real": "fd00::3"},
]


# Those whose long headers are numbered as version 1's, and those of which nothing is known: negotiation, next to the
# known ones, reserved to grease (RFC 9000, section 15: 0x?a?a?a?a), Google's and a draft of version 2.
QUIC_LIKE_1 = (1, 0xFF000000, 0xFF00001D, 0xFF0000FF, 0xFACEB000, 0xFACEB002, 0xFACEB00F)
QUIC_OTHERS = (
    *(0, 2, 0x01000000, 0xFEFFFFFF, 0xFF000100, 0xFF010000, 0xFACEAFFF, 0xFACEB010, 0x6B3343CE, 0x6B3343D0),
    *(0xCF43336B, 0x1A2A3A4A, 0xFAFAFAFA, 0x51303530, 0x709A50C4, 0xFFFFFFFF),
)


def quic(encapsulation: str) -> Set:
    """Step 9: server ids in QUIC connection ids."""
    vips = [
        vip(v4(20), 443, "udp", r4(11, 12, 13), "quic"),
        vip(v6(20), 443, "udp", r6(11, 12, 13), "quic"),
        vip(v4(21), 0, "udp", r4(11, 12, 13), "quic", "no_lru"),
        vip(v4(22), 443, "udp", r4(11, 12, 13), "quic", "hash_dst_port_only"),
        vip(v4(23), 443, "udp", [], "quic"),
    ]
    s = Set(f"quic_{encapsulation}", vips, encapsulation=encapsulation, modules={"server_ids": SERVER_IDS})

    def send(description: str, payload: bytes, real: str | None = None, to: str = v4(20), sport: int = 100) -> None:
        s.balances(description, udp(to, 443, sport, payload=payload), real)

    one, two = r4(1)[0], r4(2)[0]
    send("Initial: no id, by the ring", quic_long(0, cid(1, 1)))
    send("0-RTT: no id", quic_long(1, cid(1, 1)))
    send("Handshake with id 1: routed; the table learned another real: rewritten", quic_long(2, cid(1, 1)), one)
    send("short header without id: table hit on the rewritten entry", quic_short(cid(0, 0)), one)
    send("Retry with id 1: same real", quic_long(3, cid(1, 1)), one)
    send("short header, version 1, id 1022", quic_short(cid(1, 1022)), two)
    send("Initial goes by the table too", quic_long(0, cid(1, 1)), two)
    send("version 1: all 16 bits", quic_short(cid(1, 65535)), r4(3)[0], sport=101)
    send("version 2", quic_short(cid(2, 100_000)), r4(21)[0], sport=102)
    send("version 3", quic_short(cid(3, 100_000)), r4(21)[0], sport=103)
    send("version 2 with a small id", quic_long(2, cid(2, 1)), one, sport=104)
    send("version 3 with a small id", quic_long(2, cid(3, 1)), one, sport=105)
    send("flow learned by its id, now without one: table hit", quic_short(bytes(8)), r4(21)[0], sport=103)
    send("id of an IPv6 real", quic_short(cid(1, 1024)), r6(1)[0], sport=106)
    send("id of an IPv6 real, then without id", quic_short(bytes(8)), r6(1)[0], sport=106)
    for version in (1, 2, 3):
        send(f"version {version}, id 0: none", quic_short(cid(version, 0)), sport=110 + version)
        send(f"version {version}, id that nobody has", quic_short(cid(version, 3)), sport=120 + version)
    send("version 0: no id", quic_short(b"\x3f" + b"\xff" * 7), sport=130)
    send("version 2, largest id", quic_short(cid(2, 0xFFFFFF)), sport=131)
    send("version 3, id beyond the table", quic_short(cid(3, 200_000)), sport=132)
    send("version 3, id 2^31 - 1", quic_short(cid(3, 2**31 - 1)), sport=133)
    send("version 3, id 2^31: none", quic_short(cid(3, 2**31)), sport=134)
    send("version 3, id 2^31 + 1: none", quic_short(cid(3, 2**31 + 1)), sport=135)
    send("short header of exactly 9 bytes", quic_short(cid(1, 1)), one, sport=136)
    send("short header of 8 bytes: no id", quic_short(cid(1, 1))[:8], sport=137)
    send("short header without the fixed bit", b"\0" + cid(1, 1), one, sport=138)
    send("first byte 0x80: a long header, Initial", b"\x80" + quic_long(0, cid(1, 1))[1:], sport=149)
    send("first byte 0x7f: a short header", b"\x7f" + cid(1, 1), one, sport=151)
    send("short header of 1 byte: no id", b"\x40", sport=139)
    send("no payload: no id", b"", sport=140)
    send("long header of exactly 14 bytes", quic_long(2, cid(1, 1))[:14], one, sport=141)
    send("long header of 13 bytes: no id", quic_long(2, cid(1, 1))[:13], sport=142)
    send("Initial of 13 bytes: no id", quic_long(0, cid(1, 1))[:13], sport=143)
    send("long header, connection id of 7 bytes: none", quic_long(2, cid(1, 1)[:7]), sport=144)
    send("long header, connection id of 9 bytes", quic_long(2, cid(1, 1) + b"\1"), one, sport=145)
    send("long header, connection id of 20 bytes", quic_long(2, cid(1, 1) + bytes(12)), one, sport=146)
    send("long header, connection id of 255 bytes claimed", quic_long(2, cid(1, 1) * 31 + bytes(7)), one, sport=147)
    send(
        "long header without the fixed bit, mvfst's version",
        b"\xa0" + quic_long(2, cid(1, 1), 0xFACEB00C)[1:],
        one,
        sport=148,
    )
    for number, version in enumerate(QUIC_LIKE_1):
        for kind, name in enumerate(("Initial", "0-RTT", "Handshake", "Retry")):
            real = one if kind >= 2 else None
            text = f"version {version:#010x}, {name}"
            send(text, quic_long(kind, cid(1, 1), version), real, sport=200 + 4 * number + kind)
    for kind, name in enumerate(("Retry", "Initial", "0-RTT", "Handshake")):
        real = one if kind in (0, 3) else None
        send(f"version 2, {name} by its own number", quic_long(kind, cid(1, 1), 0x6B3343CF), real, sport=300 + kind)
    for number, version in enumerate(QUIC_OTHERS):
        for kind in range(4):
            text = f"version {version:#010x}, type {kind}: as an Initial"
            send(text, quic_long(kind, cid(1, 1), version), sport=400 + 4 * number + kind)
    send("a flow routed by its id", quic_long(2, cid(1, 1)), one, sport=500)
    send("a greased version goes by the table", quic_long(2, cid(1, 1022), 0x1A2A3A4A), one, sport=500)
    send("and has taught it nothing", quic_short(bytes(8)), one, sport=500)
    send("IPv6: version 2, Handshake", quic_long(3, cid(1, 1024), 0x6B3343CF), r6(1)[0], to=v6(20), sport=301)
    send("IPv6: version 2, Initial", quic_long(1, cid(1, 1024), 0x6B3343CF), to=v6(20), sport=302)
    send("IPv6: Initial", quic_long(0, cid(1, 1)), to=v6(20))
    send("IPv6: id of an IPv6 real", quic_short(cid(2, 66_000)), r6(2)[0], to=v6(20))
    send("IPv6: table hit on the rewritten entry", quic_short(bytes(8)), r6(2)[0], to=v6(20))
    send("IPv6: Handshake, version 1", quic_long(2, cid(1, 2000)), r6(3)[0], to=v6(20), sport=7)
    send("IPv6: id of an IPv4 real cannot be carried: as not mapped", quic_short(cid(1, 1)), to=v6(20), sport=8)
    send("IPv6: the flow keeps what the ring chose", quic_short(bytes(8)), to=v6(20), sport=8)
    send("IPv6: the flow moves by the id of an IPv6 real", quic_short(cid(1, 1024)), r6(1)[0], to=v6(20), sport=8)
    send(
        "IPv6: and stays with it, whatever the id of an IPv4 real", quic_short(cid(2, 1)), r6(1)[0], to=v6(20), sport=8
    )
    send("no_lru: by id", quic_short(cid(1, 1)), one, to=v4(21))
    send("no_lru: the entry is kept, and matches", quic_short(cid(1, 1)), one, to=v4(21))
    send("no_lru: without id by the ring", quic_short(bytes(8)), to=v4(21))
    send("hash_dst_port_only: by id, the client in the outer source", quic_short(cid(1, 1)), one, to=v4(22))
    send("hash_dst_port_only: table hit, the client in the outer source", quic_short(bytes(8)), one, to=v4(22))
    send("hash_dst_port_only: by the ring, no client in the outer source", quic_short(bytes(8)), to=v4(22), sport=9)
    send("VIP without reals: by id", quic_short(cid(1, 1)), one, to=v4(23))
    s.drops("VIP without reals: without id", udp(v4(23), 443, 9, payload=quic_short(bytes(8))))
    s.balances(
        "ICMP error about a flow that its id routed",
        icmp_error(v4(20), answer_of(udp(CLIENT4, 103, 443, source=v4(20)))),
        r4(21)[0],
        **_quoted(v4(20), s, 103, 443, protocol=17),
    )
    s.balances(
        "ICMP error that quotes a payload with an id: not parsed",
        icmp_error(v4(20), bytes(udp(CLIENT4, 150, 443, source=v4(20), payload=quic_short(cid(1, 1))))),
        **_quoted(v4(20), s, 150, 443, protocol=17),
    )
    return s


def lb_cid(config: int, server: str, nonce: int, says: int | None = None, more: bytes = b"") -> bytes:
    """A connection id of QUIC-LB. `server`: its id in hexadecimal digits; `says`: the length in its first byte."""
    identity = bytes.fromhex(server)
    low = 0x15 if says is None else says
    return bytes((config << 5 | low,)) + identity + b"\xa5" * nonce + more


def lb_short(cid: bytes) -> bytes:
    """As short as a packet of QUIC can be behind this id: header protection takes 20 bytes."""
    return quic_short(cid + b"\x5a" * 20)


def quic_lb(encapsulation: str) -> Set:
    """Step 9 in the layout of QUIC-LB; the first two servers are of the draft's own vectors (appendix B)."""
    own = [
        {"id": "350d28b420", "real": r4(1)[0]},
        {"id": "0000000000", "real": r4(2)[0]},
        {"id": "ffffffffff", "real": r6(1)[0]},
    ]
    longest = [{"id": "00" * 14 + "01", "real": r4(2)[0]}, {"id": "01" + "00" * 14, "real": r4(3)[0]}]
    eight = [{"id": "0102030405060708", "real": r4(1)[0]}]
    configs: list[dict[str, Any]] = [
        {"config": 0, "server_id_length": 3, "nonce_length": 4},
        {"config": 1, "server_id_length": 5, "nonce_length": 5, "servers": own},
        {"config": 2, "server_id_length": 15, "nonce_length": 4, "servers": longest},
        {"config": 4, "server_id_length": 8, "nonce_length": 11},
        {"config": 5, "server_id_length": 8, "nonce_length": 4, "servers": eight},
        {"config": 6, "server_id_length": 1, "nonce_length": 4, "first_octet_encodes_cid_length": True},
    ]
    own6 = [{"id": "0a", "real": r6(1)[0]}]
    configs6 = [configs[0], {"config": 6, "server_id_length": 1, "nonce_length": 18, "servers": own6}]
    vips = [
        vip(v4(20), 443, "udp", r4(11, 12, 13), "quic", quic_lb=configs),
        vip(v6(20), 443, "udp", r6(11, 12, 13), "quic", quic_lb=configs6),
        vip(v4(21), 443, "udp", r4(11, 12, 13), "quic"),
        vip(v4(22), 0, "udp", r4(11, 12, 13), "quic", "no_lru", quic_lb=configs[:1]),
    ]
    ids = [
        {"id": 1, "real": r4(1)[0]},
        {"id": 0x12345, "real": r4(2)[0]},
        {"id": 0x10A, "real": r6(2)[0]},
        {"id": 0x20AA, "real": r4(3)[0]},
    ]
    s = Set(
        f"quic_lb_{encapsulation}",
        vips,
        encapsulation=encapsulation,
        features=["quic_lb"],
        modules={"server_ids": ids},
    )
    ports = itertools.count(100)

    def send(description: str, payload: bytes, real: str | None = None, to: str = v4(20), sport: int = 0) -> None:
        s.balances(description, udp(to, 443, sport or next(ports), payload=payload), real)

    one, two, three = (r4(number)[0] for number in (1, 2, 3))
    send("a number of the table", lb_short(lb_cid(0, "000001", 4)), one, sport=99)
    send("the same flow under another configuration: rewritten", lb_short(lb_cid(1, "0000000000", 5)), two, sport=99)
    send("the same again", lb_short(lb_cid(1, "0000000000", 5)), two, sport=99)
    send("an id that nobody can route: by the table", lb_short(lb_cid(7, "000001", 4)), two, sport=99)
    send("Initial: by the table", quic_long(0, lb_cid(0, "000001", 4)), two, sport=99)
    send("all bytes of a number", lb_short(lb_cid(0, "012345", 4)), two)
    send("a number whose real is IPv6", lb_short(lb_cid(0, "00010a", 4)), r6(2)[0])
    send("number 0: none", lb_short(lb_cid(0, "000000", 4)))
    send("a number that nobody has", lb_short(lb_cid(0, "000002", 4)))
    send("the draft's vector, 3 bytes, which nobody has", lb_short(bytes.fromhex("07c4605e4504cc4f")))
    # The draft prints its second vector with a nonce of nine digits.
    send("the draft's vector, 5 bytes", lb_short(bytes.fromhex("2a350d28b4203487d9700b")), one)
    send("its bytes are not Katran's id", lb_short(lb_cid(2, "350d28b420" + "00" * 10, 4)))
    send("a server with an IPv6 real", lb_short(lb_cid(1, "ffffffffff", 5)), r6(1)[0])
    send("a server that nobody is", lb_short(lb_cid(1, "350d28b421", 5)))
    send("15 bytes", lb_short(lb_cid(2, "00" * 14 + "01", 4)), two)
    send("15 bytes, the first counts", lb_short(lb_cid(2, "01" + "00" * 14, 4)), three)
    send("15 bytes, a server that nobody is", lb_short(lb_cid(2, "01" * 15, 4)))
    send("no such configuration", lb_short(lb_cid(3, "000001", 4)))
    send("a number of 8 bytes", lb_short(lb_cid(4, "00" * 7 + "01", 11)), one)
    send("a number beyond 32 bits", lb_short(lb_cid(4, "0000000100000001", 11)))
    send("a number of 8 bytes beyond the table", lb_short(lb_cid(4, "00000000ffffffff", 11)))
    send("8 bytes", lb_short(lb_cid(5, "0102030405060708", 4)), one)
    send("8 bytes, the last differs", lb_short(lb_cid(5, "0102030405060709", 4)))
    send("it says its length", lb_short(lb_cid(6, "01", 4, says=5)), one)
    send("it says that it is longer: the server's own bytes", lb_short(lb_cid(6, "01", 4, says=7, more=b"xy")), one)
    send("it says that it is too short", lb_short(lb_cid(6, "01", 4, says=4)))
    send("long header: it says its length", quic_long(2, lb_cid(6, "01", 4, says=5)), one)
    send("long header: it says another length", quic_long(2, lb_cid(6, "01", 4, says=6)))
    send("long header: Handshake", quic_long(2, lb_cid(0, "000001", 4)), one)
    send("long header: version 2, Handshake", quic_long(3, lb_cid(0, "000001", 4), 0x6B3343CF), one)
    send("long header: with bytes of the server's own", quic_long(2, lb_cid(0, "000001", 4, more=b"xyz")), one)
    send("long header: one byte short", quic_long(2, lb_cid(0, "000001", 3)))
    send("long header: as short as Katran's ids must not be", quic_long(2, lb_cid(6, "01", 4, says=5)), one)
    send("long header: a greased version", quic_long(2, lb_cid(0, "000001", 4), 0x1A2A3A4A))
    send("long header: 20 bytes from the id on", quic_long(2, lb_cid(0, "000001", 4)).ljust(26, b"\0")[:26], one)
    send("long header: 19 bytes from the id on", quic_long(2, lb_cid(0, "000001", 4)).ljust(26, b"\0")[:25])
    send("short header: 20 bytes from the id on", lb_short(lb_cid(0, "000001", 4))[:21], one)
    send("short header: 19 bytes from the id on", lb_short(lb_cid(0, "000001", 4))[:20])
    send("another VIP has Katran's layout", lb_short(cid(2, 0x12345)), two, to=v4(21))
    send("no_lru: by id", lb_short(lb_cid(0, "0020aa", 4)), three, to=v4(22), sport=9)
    send("no_lru: the entry is kept, and matches", lb_short(lb_cid(0, "0020aa", 4)), three, to=v4(22), sport=9)
    send("no_lru: an id that nobody can route, by the ring", lb_short(lb_cid(1, "0000000000", 5)), to=v4(22), sport=9)
    send("IPv6: a number", lb_short(lb_cid(0, "00010a", 4)), r6(2)[0], to=v6(20))
    send("IPv6: a number of an IPv4 real cannot be carried", lb_short(lb_cid(0, "000001", 4)), to=v6(20))
    send("IPv6: a server", lb_short(lb_cid(6, "0a", 18)), r6(1)[0], to=v6(20))
    send("IPv6: a server of the other VIP", lb_short(lb_cid(1, "350d28b420", 5)), to=v6(20))
    s.balances(
        "ICMP error that quotes a payload with an id: not parsed",
        icmp_error(v4(20), bytes(udp(CLIENT4, 150, 443, source=v4(20), payload=lb_short(lb_cid(0, "000001", 4))))),
        **_quoted(v4(20), s, 150, 443, protocol=17),
    )
    return s


def server_id_hash() -> Set:
    """server_id_map as a hash: ids of 31 bits."""
    ids = [{"id": 2**31 - 1, "real": "10.0.0.1"}, {"id": 2**24 + 1, "real": "10.0.0.2"}, {"id": 7, "real": "fd00::7"}]
    vips = [vip(v4(20), 443, "udp", r4(11, 12), "quic"), vip(v4(1), 80, "tcp", r4(11, 12))]
    s = Set(
        "server_id_hash",
        vips,
        features=["server_id_hash", "tcp_server_id"],
        modules={"server_ids": ids},
        sizes={**SIZES, "server_ids": 16},
    )
    s.balances("id 2^31 - 1", udp(v4(20), 443, 1, payload=quic_short(cid(3, 2**31 - 1))), "10.0.0.1")
    s.balances("id 2^24 + 1", udp(v4(20), 443, 2, payload=quic_short(cid(3, 2**24 + 1))), "10.0.0.2")
    s.balances("id 7", udp(v4(20), 443, 3, payload=quic_short(cid(1, 7))), "fd00::7")
    s.balances("id that nobody has", udp(v4(20), 443, 4, payload=quic_short(cid(3, 2**24 + 2))))
    s.balances("TCP option, id 2^31 - 1", tcp(v4(1), options=server_id(2**31 - 1)), "10.0.0.1")
    s.balances("TCP option, id that nobody has", tcp(v4(1), sport=4, options=server_id(2**32 - 1)))
    return s


def server_id(identity: int, kind: int = 0xB7, length: int = 6) -> bytes:
    """The server-id option behind two NOPs."""
    return b"\x01\x01" + bytes((kind, length)) + identity.to_bytes(4, "little")


def unknown_reals() -> Set:
    """Server ids of reals that cannot be, and of none: the test writes them, the modules would not."""
    vips = [
        vip(v4(20), 443, "udp", r4(11, 12, 13), "quic"),
        vip(v4(30), 80, "udp", r4(11, 12, 13), "udp_stable_routing"),
        vip(v4(1), 80, "tcp", r4(11, 12, 13)),
    ]
    table = [{"id": 5, "real_id": SIZES["reals"]}, {"id": 6, "real_id": 2**32 - 1}, {"id": 7, "real_id": 0}]
    s = Set(
        "unknown_reals",
        vips,
        features=["udp_stable_routing", "tcp_server_id", "introspection"],
        tables={"server_ids": table, "introspect": True},
    )
    for number in (5, 6):
        s.drops(f"QUIC, id {number}: its real is out of range", udp(v4(20), 443, payload=quic_short(cid(1, number))))
        payload = bytes((0x52, 0, 0, number)) + PAYLOAD
        s.drops(f"stable routing, id {number}: its real is out of range", udp(v4(30), 80, payload=payload))
        s.balances(f"TCP, id {number}: its real is out of range, by the ring", tcp(v4(1), options=server_id(number)))
    s.balances("QUIC, id of real 0: none", udp(v4(20), 443, payload=quic_short(cid(1, 7))))
    s.balances("stable routing, id of real 0: none", udp(v4(30), 80, payload=b"\x52\0\0\x07" + PAYLOAD))
    s.balances("TCP, id of real 0: none", tcp(v4(1), sport=2, options=server_id(7)))
    return s


def stable_routing(encapsulation: str) -> Set:
    """Step 10."""
    vips = [
        vip(v4(30), 80, "udp", r4(11, 12, 13), "udp_stable_routing"),
        vip(v6(30), 80, "udp", r6(11, 12, 13), "udp_stable_routing"),
        vip(v4(31), 80, "udp", r4(11, 12, 13)),
        vip(v4(32), 0, "udp", r4(11, 12, 13), "udp_stable_routing", "hash_dst_port_only"),
        vip(v4(33), 80, "udp", [], "udp_stable_routing"),
    ]
    s = Set(
        f"stable_routing_{encapsulation}",
        vips,
        encapsulation=encapsulation,
        features=["udp_stable_routing"],
        modules={"server_ids": SERVER_IDS},
    )

    def header(identity: int, kind: int = 0x52) -> bytes:
        return bytes((kind,)) + identity.to_bytes(3, "big") + bytes(4)

    def send(description: str, payload: bytes, real: str | None = None, to: str = v4(30), sport: int = 100) -> None:
        s.balances(description, udp(to, 80, sport, payload=payload), real)

    send("id 1", header(1) + PAYLOAD, "10.0.0.1")
    send("no entry was written: without id by the ring", PAYLOAD)
    send("id of three bytes", header(100_000), "10.0.0.21")
    send("id of an IPv6 real", header(1024), "fd00::1")
    send("header of exactly 8 bytes", header(1022), "10.0.0.2")
    send("header of 7 bytes", header(1)[:7], sport=101)
    send("header of 1 byte", header(1)[:1], sport=102)
    send("no payload", b"", sport=103)
    send("another packet type", header(1, 0x53), sport=104)
    send("id 0", header(0), sport=105)
    send("id that nobody has", header(3), sport=106)
    send("id beyond the table", header(0xFFFFFF), sport=107)
    send("IPv6: id", header(66_000), "fd00::2", to=v6(30))
    send("IPv6: no id", PAYLOAD, to=v6(30))
    send("IPv6: id of an IPv4 real cannot be carried: as not mapped", header(1), to=v6(30), sport=8)
    send("VIP without the flag", header(1), to=v4(31))
    send("hash_dst_port_only: by id, the client in the outer source", header(1), "10.0.0.1", to=v4(32))
    send("hash_dst_port_only: by the ring", header(0), to=v4(32))
    send("VIP without reals: by id", header(1), "10.0.0.1", to=v4(33))
    s.drops("VIP without reals: without id", udp(v4(33), 80, payload=header(0)))

    def quoted(payload: bytes, cut: int | None = None, to: str = v4(30)) -> Packet:
        return icmp_error(to, bytes(udp(client_of(to), 555, 80, source=to, payload=payload))[:cut])

    about = _quoted(v4(30), s, 555, 80, protocol=17)
    s.balances("ICMP error: id in the quoted payload", quoted(header(1)), "10.0.0.1", **about)
    s.balances("ICMP error: 7 bytes of quoted payload", quoted(header(1), 28 + 7), **about)
    s.balances("ICMP error: no quoted payload", quoted(header(1), 28), **about)
    s.balances(
        "IPv6 ICMP error: id in the quoted payload",
        quoted(header(2000), to=v6(30)),
        "fd00::3",
        **_quoted(v6(30), s, 555, 80, protocol=17),
    )
    s.balances(
        "IPv6 ICMP error: id of an IPv4 real in the quoted payload: as not mapped",
        quoted(header(1), to=v6(30)),
        **_quoted(v6(30), s, 555, 80, protocol=17),
    )
    return s


def tcp_server_id(encapsulation: str) -> Set:
    """Step 11a: server ids in TCP options."""
    vips = [
        vip(v4(1), 80, "tcp", r4(11, 12, 13)),
        vip(v6(1), 80, "tcp", r6(11, 12, 13)),
        vip(v4(2), 0, "tcp", r4(11, 12, 13), "no_lru"),
        vip(v4(3), 0, "tcp", r4(11, 12, 13), "hash_dst_port_only"),
        vip(v4(4), 80, "tcp", []),
        vip(v4(5), 0, "tcp", r4(11, 12, 13), "hash_no_src_port"),
    ]
    s = Set(
        f"tcp_server_id_{encapsulation}",
        vips,
        encapsulation=encapsulation,
        features=["tcp_server_id"],
        modules={"server_ids": SERVER_IDS},
    )
    nop, end = b"\x01", b"\x00"
    option = server_id(1)[2:]
    mss, timestamps = b"\x02\x04\x05\xb4", b"\x08\x0a" + bytes(range(8))
    one = "10.0.0.1"
    walks: list[tuple[str, bytes, str | None]] = [
        ("first, two NOPs behind it", option + nop * 2, one),
        ("behind two NOPs", nop * 2 + option, one),
        ("behind one NOP", nop + option + nop, one),
        ("behind MSS", mss + nop * 2 + option, one),
        ("behind timestamps", timestamps + option, one),
        ("behind MSS, SACK permitted and timestamps", mss + b"\x04\x02" + timestamps + option + nop * 2, one),
        ("before timestamps", option + timestamps, one),
        ("last of 40 bytes", nop * 2 + timestamps * 3 + b"\x04\x02" + option, one),
        ("at the fifteenth step", nop * 14 + option, one),
        ("at the sixteenth step: too far", nop * 15 + option + nop * 3, None),
        ("ten options before it", b"\x0e\x02" * 10 + option + nop * 2, one),
        ("behind the server's own option", server_id(2000, 0xB6)[2:] + option, one),
        ("behind an option of length 1", nop + b"\x0e\x01" + b"\x01" + option + nop * 2, one),
        ("behind the end of options", end + nop + option, None),
        ("option of length 0 before it: no progress", b"\x0e\x00" + option, None),
        ("an option longer than what is left", b"\x0e\x07" + option, None),
        ("an option that ends where options end", b"\x0e\x08" + option, None),
        ("an option one byte longer than that", b"\x0e\x09" + option, None),
        ("length 5", b"\xb7\x05" + option[2:] + nop * 2, None),
        ("length 7", b"\xb7\x07" + option[2:] + nop * 2, None),
        ("length 2", b"\xb7\x02" + option[2:] + nop * 2, None),
        ("length 0", b"\xb7\x00" + option[2:] + nop * 2, None),
        ("cut by the end of options", nop * 3 + option[:5], None),
        ("one byte of it before the end of options", nop * 7 + option[:1], None),
        ("only NOPs", nop * 8, None),
        ("only NOPs, 40 of them", nop * 40, None),
        ("four bytes of options are too few", nop * 4, None),
        ("two options: the first counts", option + server_id(1022)[2:], one),
        ("id 0 is none", server_id(0), None),
        ("id 0, then an id", server_id(0) + server_id(1), None),
        ("id that nobody has", server_id(3), None),
        ("id beyond the table", server_id(2**32 - 1), None),
        ("id of 17 bits", server_id(100_000), "10.0.0.21"),
        ("id of an IPv6 real", server_id(1024), "fd00::1"),
        ("no options", b"", None),
    ]
    for number, (name, options, real) in enumerate(walks):
        s.balances(f"server id {name}", tcp(v4(1), sport=1000 + number, options=options), real)
    for number in (0, 7, 12, 16, 28):
        name, options, real = walks[number]
        s.balances(
            f"IPv6: server id {name}",
            tcp(v6(1), sport=1000 + number, options=options.replace(option, server_id(2000)[2:])),
            "fd00::3" if real else None,
        )

    s.balances("SYN: an id is not looked at", tcp(v4(1), sport=1, flags="S", options=server_id(1)))
    s.balances("SYN and ACK: neither", tcp(v4(1), sport=2, flags="SA", options=server_id(1)))
    s.balances("FIN: looked at", tcp(v4(1), sport=3, flags="FA", options=server_id(1)), one)
    s.balances(
        "the flow began with SYN; its id names another real: rewritten",
        tcp(v4(1), sport=1, options=server_id(1022)),
        "10.0.0.2",
    )
    s.balances("without the option: table hit on the rewritten entry", tcp(v4(1), sport=1), "10.0.0.2")
    s.balances("the same id again", tcp(v4(1), sport=1, options=server_id(1022)), "10.0.0.2")
    s.balances("RST with an id of an unknown flow", tcp(v4(1), sport=4, flags="RA", options=server_id(1)), one)
    s.balances("it was inserted", tcp(v4(1), sport=4), one)
    s.balances("RST with an id rewrites", tcp(v4(1), sport=4, flags="R", options=server_id(1022)), "10.0.0.2")
    s.balances("it was rewritten", tcp(v4(1), sport=4), "10.0.0.2")
    s.balances("an unmapped id leaves the table to decide", tcp(v4(1), sport=4, options=server_id(3)), "10.0.0.2")
    s.balances("no_lru: by id", tcp(v4(2), 9, options=server_id(1)), one)
    s.balances("no_lru: without id by the ring", tcp(v4(2), 9))
    s.balances("hash_dst_port_only: by id, the client in the outer source", tcp(v4(3), 9, options=server_id(1)), one)
    s.balances("hash_dst_port_only: table hit, the client in the outer source", tcp(v4(3), 9), one)
    s.balances("hash_dst_port_only: by the ring, no client in the outer source", tcp(v4(3), 9, sport=5))
    s.balances("hash_no_src_port: by id, port 0 in the outer source", tcp(v4(5), 9, options=server_id(1)), one)
    s.balances("hash_no_src_port: table hit from another port", tcp(v4(5), 9, sport=5), one)
    s.balances("VIP without reals: by id", tcp(v4(4), options=server_id(1)), one)
    s.drops("VIP without reals: without id", tcp(v4(4), sport=9))
    s.balances("IPv6: id of an IPv4 real cannot be carried: as not mapped", tcp(v6(1), sport=5, options=server_id(1)))
    s.balances("IPv6: the flow keeps what the ring chose", tcp(v6(1), sport=5))
    s.balances("IPv6: an IPv6 real's id moves it", tcp(v6(1), sport=5, options=server_id(1024)), "fd00::1")
    s.balances("IPv6: an IPv4 real's id does not", tcp(v6(1), sport=5, options=server_id(1022)), "fd00::1")
    # The data offset says 40 bytes of options; the frame ends before they do.
    cut = frame(_with_offset(tcp(v4(1), sport=6, payload=b"", options=option + nop * 2), 15))
    s.balances("options cut by the frame's end, the id before that", cut, one)
    cut = frame(_with_offset(tcp(v4(1), sport=7, payload=b"", options=nop * 4), 15))
    s.balances("options cut by the frame's end, no id before that", cut)
    cut = frame(_with_offset(tcp(v4(1), sport=8, payload=b"", options=nop * 3 + option[:5]), 15))
    s.balances("the id itself cut by the frame's end", cut)
    low = frame(_with_offset(tcp(v4(1), sport=9, options=option + nop * 2), 4))
    s.balances("data offset below the header: no options", low)
    quoted = bytes(tcp(CLIENT4, 10, 80, source=v4(1), options=server_id(1)))
    s.balances("ICMP error: the quoted options are not looked at", icmp_error(v4(1), quoted), **_quoted(v4(1), s, 10))
    return s


def _with_offset(packet: Packet, words: int) -> Packet:
    packet[TCP].dataofs = words
    return packet


def source_routing() -> list[Set]:
    """Step 11e: routes by the client's address, and who is remembered once they are gone."""
    routes = [
        {"prefix": "192.0.2.0/24", "real": "10.0.0.31"},
        {"prefix": "192.0.2.128/25", "real": "fd00::32"},
        {"prefix": "192.0.2.129/32", "real": "10.0.0.33"},
        {"prefix": "10.0.0.0/8", "real": "10.0.0.34"},
        {"prefix": "2001:db8:c::/48", "real": "fd00::31"},
        {"prefix": "2001:db8:c::/64", "real": "fd00::33"},
        {"prefix": "2001:db8:c::77/128", "real": "fd00::34"},
    ]
    keep = vip(v4(99), 9, "tcp", [*r4(31, 33, 34), *r6(31, 32, 33, 34)])
    vips = [
        vip(v4(40), 80, "tcp", r4(1, 2, 3), "source_routing"),
        vip(v4(40), 0, "udp", r4(1, 2, 3), "source_routing"),
        vip(v6(40), 80, "tcp", r6(1, 2, 3), "source_routing"),
        vip(v4(41), 80, "tcp", r4(1, 2, 3)),
        vip(v4(42), 80, "tcp", r4(1, 2, 3), "source_routing", "hash_dst_port_only"),
        vip(v4(43), 80, "tcp", [], "source_routing"),
        vip(v4(44), 80, "tcp", r4(1, 2, 3), "source_routing", "no_lru"),
        keep,
    ]
    sets = []
    for encapsulation in ENCAPSULATIONS:
        name = f"source_routing_{encapsulation}"
        s = Set(name, vips, encapsulation=encapsulation, features=["source_routing"], modules={"source_routes": routes})
        s.balances("/24", tcp(v4(40)), "10.0.0.31")
        s.balances("/25 within it, towards an IPv6 real", tcp(v4(40), source="192.0.2.200"), "fd00::32")
        s.balances("/32 within that", tcp(v4(40), source="192.0.2.129"), "10.0.0.33")
        s.balances("no route: by the ring", tcp(v4(40), source="203.0.113.77"))
        s.balances("UDP, VIP with port 0", udp(v4(40), source="10.9.9.9"), "10.0.0.34")
        s.balances("IPv6: /64", tcp(v6(40)), "fd00::33")
        s.balances("IPv6: /48", tcp(v6(40), source="2001:db8:c:1::1"), "fd00::31")
        s.balances("IPv6: /128", tcp(v6(40), source="2001:db8:c::77"), "fd00::34")
        s.balances("IPv6: no route", tcp(v6(40), source="2001:db8:d::1"))
        s.balances("RST is routed, and not remembered", tcp(v4(40), sport=3, flags="R"), "10.0.0.31")
        s.balances("VIP without the flag", tcp(v4(41)))
        s.balances("hash_dst_port_only: a route leaves the client in the outer source", tcp(v4(42)), "10.0.0.31")
        s.balances("hash_dst_port_only: no route", tcp(v4(42), source="203.0.113.77"))
        s.balances("VIP without reals, with a route", tcp(v4(43)), "10.0.0.31")
        s.drops("VIP without reals, without a route", tcp(v4(43), source="203.0.113.77"))
        s.balances("no_lru", tcp(v4(44)), "10.0.0.31")
        error = icmp_error(v4(40), answer_of(tcp("192.0.2.200", 6, 80, source=v4(40))))
        about = _quoted(v4(40), s, 6, client="192.0.2.200")
        s.balances("ICMP error: the route of the client in the quoted packet", error, "fd00::32", **about)
        after = Set(f"{name}_after", vips, follows=name, encapsulation=encapsulation, features=["source_routing"])
        after.balances("routes are gone, the flow is remembered", tcp(v4(40)), "10.0.0.31")
        after.balances("remembered towards an IPv6 real", tcp(v4(40), source="192.0.2.200"), "fd00::32")
        after.balances("UDP remembered", udp(v4(40), source="10.9.9.9"), "10.0.0.34")
        after.balances("IPv6 remembered", tcp(v6(40)), "fd00::33")
        after.balances("RST was not remembered", tcp(v4(40), sport=3))
        after.balances("hash_dst_port_only: what a route chose is remembered", tcp(v4(42)), "10.0.0.31")
        after.balances("no_lru: by the ring", tcp(v4(44)))
        after.balances("a new flow: by the ring", tcp(v4(40), sport=4))
        sets += [s, after]
    return sets


def global_lru() -> list[Set]:
    """Step 11c. What the table holds is written by the test: no module writes it."""

    def flow(
        destination: str, port: int, protocol: str, real: str, source: str | None = None, sport: int = 31337
    ) -> dict[str, Any]:
        return {
            "source": source or client_of(destination),
            "destination": destination,
            "source_port": sport,
            "destination_port": port,
            "protocol": protocol,
            "real": real,
        }

    vips = [
        vip(v4(1), 80, "tcp", r4(11, 12), "global_lru"),
        vip(v4(1), 53, "udp", r4(11, 12), "global_lru"),
        vip(v4(2), 0, "tcp", r4(11, 12), "global_lru", "no_lru"),
        vip(v6(1), 80, "tcp", r6(11, 12), "global_lru"),
        vip(v4(3), 80, "tcp", r4(11, 12)),
        vip(v4(4), 0, "tcp", r4(11, 12), "global_lru", "hash_no_src_port"),
        vip(v4(99), 9, "tcp", [*r4(1, 2), *r6(1)]),
    ]
    table = [
        flow(v4(1), 80, "tcp", "10.0.0.1"),
        flow(v4(1), 80, "tcp", "10.0.0.2", sport=2),
        flow(v4(1), 80, "tcp", "10.0.0.1", sport=4),
        flow(v4(1), 80, "tcp", "fd00::1", sport=5),
        flow(v4(1), 53, "udp", "10.0.0.1"),
        flow(v4(2), 0, "tcp", "10.0.0.2"),
        flow(v6(1), 80, "tcp", "fd00::1"),
        flow(v4(3), 80, "tcp", "10.0.0.1"),
        flow(v4(4), 0, "tcp", "10.0.0.1", sport=0),
        flow(v4(1), 80, "tcp", "10.0.0.1", sport=6),
        flow(v6(1), 80, "tcp", "10.0.0.1", sport=7),
        flow(v4(1), 80, "tcp", "10.0.0.2", sport=8),
    ]
    s = Set("global_lru", vips, features=["global_lru"], tables={"global": table})
    s.balances("flow of the global table", tcp(v4(1)), "10.0.0.1")
    s.balances("another flow of it", tcp(v4(1), sport=2), "10.0.0.2")
    s.balances("a flow that it has not: by the ring", tcp(v4(1), sport=3))
    s.balances("SYN does not ask it", tcp(v4(1), sport=4, flags="S"))
    s.balances("the connection table comes first", tcp(v4(1), sport=4))
    s.balances("towards an IPv6 real", tcp(v4(1), sport=5), "fd00::1")
    s.balances("UDP", udp(v4(1)), "10.0.0.1")
    s.balances("no_lru asks it too; VIP with port 0", tcp(v4(2), 81), "10.0.0.2")
    s.balances("no_lru: a flow that it has not", tcp(v4(2), 81, sport=2))
    s.balances("IPv6", tcp(v6(1)), "fd00::1")
    s.balances("VIP without the flag", tcp(v4(3)))
    s.balances("hash_no_src_port: any port of the client", tcp(v4(4), sport=9), "10.0.0.1")
    s.balances(
        "ICMP error about a flow of it",
        icmp_error(v4(1), answer_of(tcp(CLIENT4, 6, 80, source=v4(1)))),
        "10.0.0.1",
        **_quoted(v4(1), s, 6),
    )
    s.balances("RST of a flow of it", tcp(v4(1), sport=6, flags="R"), "10.0.0.1")
    s.drops("IPv6: an entry of an IPv4 real cannot be carried", tcp(v6(1), sport=7))
    gone = Set("global_lru_gone", vips[:-1], follows="global_lru", features=["global_lru"])
    gone.balances("an entry of a real that is gone: by the ring", tcp(v4(1), sport=8))
    gone.balances("no_lru: an entry of a real that is gone: by the ring", tcp(v4(2), 81))
    return [s, gone]


def local_delivery() -> Set:
    """Step 12: this host is one of the reals."""
    here4, here6 = {"address": "10.0.0.9", "local": True}, {"address": "fd00::9", "local": True}
    vips = [
        vip(v4(1), 80, "tcp", [here4], "local"),
        vip(v6(1), 80, "tcp", [here6], "local"),
        vip(v4(2), 80, "tcp", [here4]),
        vip(v4(3), 80, "tcp", r4(1), "local"),
        vip(v4(4), 53, "udp", [here6], "local"),
        vip(v6(4), 53, "udp", r6(1), "local"),
    ]
    s = Set("local_delivery", vips, features=["local_delivery"])
    s.passes("local VIP and local real", tcp(v4(1)))
    s.passes("SYN to a local VIP and real", tcp(v4(1), sport=2, flags="S"))
    s.passes("IPv6: local VIP and local real", tcp(v6(1)))
    s.passes("IPv4 VIP, local IPv6 real", udp(v4(4)))
    s.passes("ICMP error about a local flow", icmp_error(v4(1), answer_of(tcp(CLIENT4, 6, 80, source=v4(1)))))
    s.balances("local real, but not a local VIP", tcp(v4(2)))
    s.balances("local VIP, but not a local real", tcp(v4(3)))
    s.balances("IPv6: local VIP, but not a local real", udp(v6(4)))
    s.drops("1515 bytes are too long for a local real too", tcp(v4(1), payload=bytes(1461)))
    request = ip(CLIENT4, v4(1)) / ICMP() / Raw(PAYLOAD)
    s.sends("echo request to a local VIP is answered here", request, echo_reply(request))
    return s


def chained() -> list[Set]:
    """What one balancer passes goes on to those behind it in the slots of a root program's array."""
    first = [vip(v4(1), 80, "tcp", r4(1, 2, 3)), vip(v6(1), 80, "tcp", r6(1, 2, 3))]
    middle = [
        vip(v4(1), 80, "tcp", r4(9)),
        vip(v4(1), 443, "tcp", r4(4)),
        vip(v4(2), 80, "tcp", r4(4, 5)),
        vip(v4(2), 53, "udp", r6(4, 5)),
        vip(v6(2), 0, "udp", r6(4, 5)),
    ]
    last = [vip(v4(2), 80, "tcp", r4(9)), vip(v4(3), 80, "tcp", r4(6, 7)), vip(v6(3), 80, "tcp", r6(6, 7))]
    return [_three_slots(first, middle, last), _one_slot_free(first, last), _delivered_here()]


def _three_slots(first: list[dict[str, Any]], middle: list[dict[str, Any]], last: list[dict[str, Any]]) -> Set:
    s = Set("chain_ipip", first, features=["chain"], modules={"behind": {"1": middle, "2": last}})
    s.balances("VIP of the first; the second has it too", tcp(v4(1)))
    s.balances("IPv6 VIP of the first", tcp(v6(1)))
    for number, flags in enumerate(("S", "A", "FA", "R")):
        s.balances(
            f"VIP of the second; the third has it too: {flags}", tcp(v4(2), sport=number, flags=flags), to=middle[2]
        )
    s.balances("address of the first, port of the second", tcp(v4(1), 443), to=middle[1])
    s.balances("UDP to the second, IPv6 real", udp(v4(2)), to=middle[3])
    s.balances("IPv6 VIP of the second", udp(v6(2), 9), to=middle[4])
    s.balances("VIP of the third", tcp(v4(3)), to=last[1])
    s.balances("IPv6 VIP of the third", tcp(v6(3)), to=last[2])
    s.balances(
        "ICMP error about a flow of the third",
        icmp_error(v4(3), answer_of(tcp(CLIENT4, 9, 80, source=v4(3)))),
        to=last[1],
        client=CLIENT4,
        sport=9,
        dport=80,
    )
    for address in (v4(1), v4(2), v4(3)):
        request = ip(CLIENT4, address) / ICMP() / Raw(PAYLOAD)
        s.sends(f"echo request to {address}", request, echo_reply(request))
    s.drops("fragment to an address of the first", _with_ip_flags(tcp(v4(1), 443), 1, 0))
    s.drops("fragment to an address of the third", _with_ip_flags(tcp(v4(3)), 1, 0))
    s.drops("1515 bytes to the second", tcp(v4(2), payload=bytes(1461)))
    s.passes("no VIP of any", tcp(v4(77)))
    s.passes("IPv6: no VIP of any", tcp(v6(77)))
    s.passes("address of the third, port of none", tcp(v4(3), 81))
    s.passes("ARP", frame(ARP()))
    return s


def _one_slot_free(first: list[dict[str, Any]], last: list[dict[str, Any]]) -> Set:
    """Nobody is in the slot between; and what goes on is what the first has made of the packet."""
    s = Set(
        "chain_gue",
        first,
        encapsulation="gue",
        features=["chain", "inline_decap", "vlan"],
        modules={"behind": {"2": last}},
    )
    tags = Dot1AD(vlan=3) / Dot1Q(vlan=4)
    s.balances("VIP of the first", tcp(v4(1)))
    s.balances("VIP of the last", tcp(v4(3)), to=last[1])
    s.balances("VIP of the last, two tags", frame(tcp(v6(3)), tags), to=last[2])
    for kind in ENCAPSULATIONS:
        s.balances(
            f"{kind} to this host, with a packet for the last",
            tunnelled(OWN4, tcp(v4(3)), kind),
            to=last[1],
            decapsulated=frame(tcp(v4(3), ttl=63)),
        )
        s.passes(
            f"{kind} to this host, with a packet for none",
            tunnelled(OWN4, tcp(v4(77)), kind),
            frame(tcp(v4(77), ttl=63)),
        )
    s.passes("no VIP of any", tcp(v4(77)))
    return s


def _delivered_here() -> Set:
    """What the first leaves to a real on this host is its own: no other balancer's that would take it."""
    here, here6 = [{"address": "10.0.0.9", "local": True}], [{"address": "fd00::9", "local": True}]
    first = [vip(v4(1), 80, "tcp", here, "local"), vip(v6(1), 80, "tcp", here6, "local"), vip(v4(2), 80, "tcp", here)]
    behind = [vip(v4(1), 0, "tcp", r4(4)), vip(v6(1), 0, "tcp", r6(4)), vip(v4(3), 80, "tcp", here, "local")]
    s = Set("chain_local", first, features=["chain", "local_delivery"], modules={"behind": {"1": behind}})
    for number, flags in enumerate(("S", "A", "FA", "R")):
        s.passes(f"local VIP of the first; the second has it too: {flags}", tcp(v4(1), sport=number, flags=flags))
    s.passes("IPv6: local VIP of the first; the second has it too", tcp(v6(1)))
    s.passes("ICMP error about a local flow", icmp_error(v4(1), answer_of(tcp(CLIENT4, 6, 80, source=v4(1)))))
    s.balances("address of the first, port of the second", tcp(v4(1), 443), to=behind[0])
    s.balances("local real of the first, but not a local VIP", tcp(v4(2)))
    s.passes("local VIP of the second", tcp(v4(3)))
    s.passes("no VIP of any", tcp(v4(77)))
    return s


def migration() -> list[Set]:
    """Step 11d: UDP flows leave a real that is down."""

    def vips(reals: list[str], reals6: list[str], down: list[str]) -> list[dict[str, Any]]:
        return [
            vip(v4(1), 53, "udp", reals, "udp_flow_migration", down_reals=down),
            vip(v4(2), 0, "udp", reals, "udp_flow_migration", down_reals=down),
            vip(v4(3), 53, "udp", reals),
            vip(v4(4), 80, "tcp", reals, "udp_flow_migration", down_reals=down),
            vip(v6(1), 53, "udp", reals6, "udp_flow_migration", down_reals=down),
            vip("198.51.100.128/25", 0, "udp", reals, "udp_flow_migration", down_reals=down),
            vip("2001:db8:2::/64", 53, "udp", reals6, "udp_flow_migration", down_reals=down),
            vip(v4(5), 443, "udp", reals, "udp_flow_migration", "quic", down_reals=down),
            vip(v4(6), 53, "udp", reals, "udp_flow_migration", "no_lru", down_reals=down),
            vip(v4(99), 9, "tcp", [*r4(1, 2), *r6(1, 2)]),
        ]

    options: dict[str, Any] = {
        "features": ["udp_flow_migration", "cidr_vips"],
        "encapsulation": "gue",
        "modules": {"server_ids": [{"id": 1, "real": "10.0.0.1"}]},
    }
    first = Set("migration_1", vips(r4(1), r6(1), []), **options)
    second = Set("migration_2", vips(r4(2), r6(2), []), follows="migration_1", **options)
    third = Set("migration_3", vips(r4(2), r6(2), [*r4(1), *r6(1)]), follows="migration_2", **options)
    fourth = Set("migration_4", vips(r4(3), r6(3), []), follows="migration_3", **options)

    def flows(s: Set, description: str, real4: str | None, real6: str | None, which: tuple[int, ...]) -> None:
        cases = [
            ("UDP", udp(v4(1)), s.vips[0], real4),
            ("UDP, VIP with port 0", udp(v4(2), 5), s.vips[1], real4),
            ("UDP without the flag", udp(v4(3)), s.vips[2], real4),
            ("TCP", tcp(v4(4)), s.vips[3], real4),
            ("UDP over IPv6", udp(v6(1)), s.vips[4], real6),
            ("UDP, CIDR VIP", udp(v4(200), 5), s.vips[5], real4),
            ("UDP, IPv6 CIDR VIP with a port", udp("2001:db8:2::5"), s.vips[6], real6),
        ]
        for number in which:
            name, packet, entry, real = cases[number]
            s.balances(f"{name}: {description}", packet, real, to=entry)

    every = tuple(range(7))
    flows(first, "the table learns", None, None, every)
    flows(second, "nothing is down: the flow stays", "10.0.0.1", "fd00::1", every)
    flows(third, "its real is down: the flow moves", "10.0.0.2", "fd00::2", (0, 1, 4, 5, 6))
    flows(third, "its real is down: the flow stays", "10.0.0.1", None, (2, 3))
    third.balances(
        "quic: a server id still routes to a real that is down",
        udp(v4(5), 443, payload=quic_short(cid(1, 1))),
        "10.0.0.1",
    )
    third.balances(
        "quic: without id the flow moves off the real that is down",
        udp(v4(5), 443, payload=quic_short(bytes(8))),
        "10.0.0.2",
    )
    third.balances("no_lru: by the ring", udp(v4(6)))
    third.balances(
        "ICMP error about a flow of a real that is down: it moves",
        icmp_error(v4(1), answer_of(udp(CLIENT4, 31337, 53, source=v4(1)))),
        "10.0.0.2",
        **_quoted(v4(1), third, 31337, 53, protocol=17),
    )
    flows(fourth, "up again, another ring: the flow stays where it moved", "10.0.0.2", "fd00::2", (0, 1, 4, 5, 6))
    flows(fourth, "up again: the flow never moved", "10.0.0.1", None, (2, 3))
    return [first, second, third, fourth]


def flood() -> list[Set]:
    """More new flows than max_new_flows within a second: balanced, but nothing learned and no route asked."""
    options: dict[str, Any] = {"features": ["source_routing", "udp_flow_migration"], "max_new_flows": 3}
    route = {"source_routes": [{"prefix": "192.0.2.0/24", "real": "10.0.0.31"}]}

    def vips(reals: list[str], down: list[str]) -> list[dict[str, Any]]:
        return [
            vip(v4(1), 80, "tcp", reals),
            vip(v4(2), 53, "udp", reals, "udp_flow_migration", down_reals=down),
            vip(v4(3), 80, "tcp", r4(5), "source_routing"),
            vip(v4(99), 9, "tcp", r4(1, 2, 31)),
        ]

    first = Set("flood_1", vips(r4(1), []), modules=route, **options)
    first.balances("first new flow of this second", udp(v4(2)))
    first.balances("third check (a migrating UDP flow is checked twice)", tcp(v4(3), sport=1), "10.0.0.31")
    first.balances("fourth: balanced, not learned", tcp(v4(1), sport=1))
    first.balances("fifth: the ring, although there is a route", tcp(v4(3), sport=2), "10.0.0.5")
    second = Set("flood_2", vips(r4(2), r4(1)), follows="flood_1", modules=route, **options)
    for sport in range(10, 14):
        second.balances("a new flow", tcp(v4(1), sport=sport))
    second.balances("under flood a UDP flow stays with its real, although that is down", udp(v4(2)), "10.0.0.1")
    second.balances("what the flood kept from the table goes by the new ring", tcp(v4(1), sport=1), "10.0.0.2")
    second.balances("a second later the first is learned again", tcp(v4(1), sport=20), "10.0.0.2", after=1.1)
    third = Set("flood_3", vips(r4(1), r4(2)), follows="flood_2", modules=route, **options)
    third.balances("and known", tcp(v4(1), sport=20), "10.0.0.2")
    third.balances("what the flood hid is not", tcp(v4(1), sport=1), "10.0.0.1")
    third.balances("routes are asked again", tcp(v4(3), sport=9), "10.0.0.31", after=1.1)
    return [first, second, third]


def timeout() -> Set:
    """udp_timeout 2 s, seen through QUIC ids, which put a real into the table that the ring would not choose."""
    s = Set(
        "udp_timeout",
        [vip(v4(20), 443, "udp", r4(11), "quic"), vip(v4(1), 80, "tcp", r4(11))],
        udp_timeout=2,
        features=["tcp_server_id"],
        modules={"server_ids": [{"id": 1, "real": "10.0.0.1"}]},
    )
    by_id, without = quic_short(cid(1, 1)), quic_short(bytes(8))

    def plain(sport: int) -> Packet:
        return udp(v4(20), 443, sport, payload=without)

    s.balances("TCP: the table learns a real by its id", tcp(v4(1), options=server_id(1)), "10.0.0.1")
    s.balances("the table learns a real by its id", udp(v4(20), 443, payload=by_id), "10.0.0.1")
    s.balances("and flow three", udp(v4(20), 443, 3, payload=by_id), "10.0.0.1")
    s.balances("again, flow two", udp(v4(20), 443, 2, payload=by_id), "10.0.0.1")
    s.balances(
        "1.2 s later the id matches, which refreshes the entry", udp(v4(20), 443, payload=by_id), "10.0.0.1", after=1.2
    )
    s.balances("flow three is refreshed by a packet without an id", plain(3), "10.0.0.1")
    s.balances(
        "2.4 s after it was written, the refreshed entry holds",
        udp(v4(20), 443, payload=without),
        "10.0.0.1",
        after=1.2,
    )
    s.balances("flow three, without an id, was refreshed in time", plain(3), "10.0.0.1")
    s.balances("flow two was not refreshed: by the ring", udp(v4(20), 443, 2, payload=without), "10.0.0.11")
    s.balances("and that was learned", udp(v4(20), 443, 2, payload=without), "10.0.0.11")
    s.balances("flow three a second time", plain(3), "10.0.0.1", after=1.2)
    s.balances("and a third, 3.6 s after it was written", plain(3), "10.0.0.1", after=1.2)
    s.balances("flow three, 2.4 s after that: by the ring", plain(3), "10.0.0.11", after=2.4)
    s.balances("TCP entries have no age", tcp(v4(1)), "10.0.0.1")
    return s


DECAP_VIPS = [
    vip(v4(1), 80, "tcp", r4(1, 2, 3)),
    vip(v4(1), 53, "udp", r4(1, 2, 3)),
    vip(v4(2), 0, "udp", r6(1, 2, 3)),
    vip(v6(1), 80, "tcp", r6(1, 2, 3)),
    vip(v6(1), 53, "udp", r6(1, 2, 3)),
    vip(v4(3), GUE_PORT, "udp", r4(1)),
]
TUNNEL_SOURCES = ["203.0.113.96/30", "2001:db8:e::/64"]
DECAP_MODULES = {
    "decap_destinations": [
        {"address": DECAP4},
        {"address": DECAP6},
        {"address": EGRESS4, "egress": True},
        {"address": EGRESS6, "egress": True},
    ]
}


STRANGERS = {
    4: ["203.0.113.95", "203.0.113.100", "172.16.0.1", "0.0.0.0"],
    6: ["2001:db8:e:1::9", "2001:db8:d:ffff:ffff:ffff:ffff:ffff", "100::1", "cb00:7163::"],
}
"""Beside the prefixes; what is listed by default only; and to a table without families the same as one that is."""


def tunnelled(destination: str, inner: Packet | bytes, kind: str, source: str = "", **fields: Any) -> Packet:
    """*inner* in IPIP or GUE towards *destination*."""
    data = inner if isinstance(inner, bytes) else bytes(inner)
    header = ip(source or ("2001:db8:e::9" if ":" in destination else "203.0.113.99"), destination, **fields)
    if kind == "gue":
        return header / UDP(sport=4242, dport=GUE_PORT) / Raw(data)
    number = 41 if data[:1] >= b"\x60" else 4
    header.setfieldval("nh" if ":" in destination else "proto", number)
    return header / Raw(data)


def decap(encapsulation: str, decap_any: bool) -> Set:
    """Step 4, strict or any."""
    name = f"decap_{'any' if decap_any else 'strict'}_{encapsulation}"
    s = Set(
        name,
        DECAP_VIPS,
        encapsulation=encapsulation,
        decap_any=decap_any,
        features=["inline_decap", "vlan", "flow_debug"],
        modules=DECAP_MODULES,
    )
    outers = {4: (OWN4, "203.0.113.2", DECAP4, EGRESS4), 6: (OWN6, "2001:db8:f::2", DECAP6, EGRESS6)}

    def inner4(ttl: int = 64, **fields: Any) -> Packet:
        return tcp(v4(1), ttl=ttl, id=7, **fields)

    def inner6(ttl: int = 64, **fields: Any) -> Packet:
        return tcp(v6(1), ttl=ttl, **fields)

    for kind in ENCAPSULATIONS:
        for outer_family, inner, label in (
            (4, inner4, "IPv4 in IPv4"),
            (6, inner4, "IPv4 in IPv6"),
            (6, inner6, "IPv6 in IPv6"),
        ):
            own, other, listed, egress = outers[outer_family]
            text = f"{kind}, {label}"
            s.passes(f"{text}, to this host: stripped", tunnelled(own, inner(), kind), frame(inner(63)))
            if decap_any:
                s.passes(f"{text}, to another host: stripped", tunnelled(other, inner(), kind), frame(inner(63)))
            else:
                s.passes(f"{text}, to another host: untouched", tunnelled(other, inner(), kind))
            for target, strange in itertools.product((own, listed, egress), STRANGERS[outer_family]):
                sent = tunnelled(target, inner(), kind, strange)
                if not decap_any:
                    s.passes(f"{text}, from {strange} to {target}: untouched", sent)
                elif target == own:
                    s.passes(f"{text}, from {strange} to {target}: stripped", sent, frame(inner(63)))
            s.balances(
                f"{text}, to a listed address: balanced",
                tunnelled(listed, inner(), kind),
                decapsulated=frame(inner(63)),
            )
            if kind == "gue":
                swap = bytes(Ether(dst=ROUTER, src=BALANCER) / inner(63))
                s.sends(f"{text}, to an egress address: sent out", tunnelled(egress, inner(), kind), swap)
            else:
                s.balances(
                    f"{text}, to an egress address: IPIP is balanced",
                    tunnelled(egress, inner(), kind),
                    decapsulated=frame(inner(63)),
                )
            for address, what in ((own, "this host"), (listed, "a listed address"), (egress, "an egress address")):
                s.drops(f"{text}, to {what}, TTL 1 inside", tunnelled(address, inner(1), kind))
            s.drops(f"{text}, to a listed address, TTL 0 inside", tunnelled(listed, inner(0), kind))
            s.balances(
                f"{text}, to a listed address, TTL 2 inside",
                tunnelled(listed, inner(2, sport=2), kind),
                decapsulated=frame(inner(1, sport=2)),
            )
        four = outers[4]
        for address, what in zip(
            four, ("this host", "another host", "a listed address", "an egress address"), strict=True
        ):
            s.passes(f"{kind}, IPv6 in IPv4, to {what}: untouched", tunnelled(address, inner6(), kind))
        s.passes(f"{kind}, IPv6 in IPv4, TTL 1 inside: untouched", tunnelled(DECAP4, inner6(1), kind))
        s.balances(
            f"{kind}: what is balanced again may be UDP to an IPv6 real",
            tunnelled(DECAP6, udp(v4(2), 9), kind),
            decapsulated=frame(udp(v4(2), 9, ttl=63)),
        )
        s.passes(f"{kind}: inside is no VIP", tunnelled(DECAP6, tcp(v4(77)), kind), frame(tcp(v4(77), ttl=63)))
        s.passes(f"{kind}: no VIP inside, to this host", tunnelled(OWN4, udp(v4(77)), kind), frame(udp(v4(77), ttl=63)))
        s.passes(
            f"{kind}: a fragment inside, for a host",
            tunnelled(OWN4, _with_ip_flags(udp(v4(1)), 1, 0), kind),
            frame(_with_ip_flags(udp(v4(1), ttl=63), 1, 0)),
        )
        s.drops(f"{kind}: a fragment inside, for a VIP", tunnelled(DECAP4, _with_ip_flags(udp(v4(1)), 1, 0), kind))
        twice = tunnelled(DECAP6, tunnelled(DECAP4, inner4(), kind, ttl=9), kind)
        s.balances(f"{kind} in {kind}: stripped twice", twice, decapsulated=frame(inner4(63)))
        s.passes(
            f"{kind} in {kind}: the second for this host",
            tunnelled(DECAP6, tunnelled(OWN4, inner4(), kind, ttl=9), kind),
            frame(inner4(63)),
        )
        echo = ip(CLIENT4, v4(1), ttl=1 + 63) / ICMP() / Raw(PAYLOAD)
        s.sends(f"{kind}: an echo request inside is answered", tunnelled(DECAP4, echo, kind), echo_reply(echo))
        tags = Dot1Q(vlan=7)
        s.passes(
            f"{kind} behind a tag, to this host", frame(tunnelled(OWN6, inner4(), kind), tags), frame(inner4(63), tags)
        )
        s.balances(
            f"{kind} behind a tag, to a listed address",
            frame(tunnelled(DECAP6, inner4(), kind), tags),
            decapsulated=frame(inner4(63), tags),
        )
        s.passes(
            f"{kind}: padding stays",
            frame(tunnelled(OWN4, udp(v4(1), payload=b""), kind)) + bytes(9),
            frame(udp(v4(1), payload=b"", ttl=63)) + bytes(9),
        )
        s.passes(f"{kind}: IP options inside, for a host", tunnelled(OWN4, _options(64), kind), frame(_options(63)))
        s.drops(f"{kind}: IP options inside, for a VIP", tunnelled(DECAP4, _options(64), kind))
        # An inner header checksum of 0xfeff and more: the decrement carries round.
        for wanted in (0xFF00, 0xFFFE, 0xFEFE, 0xFEFF):
            packet = _with_ip_checksum(wanted)
            stripped = IP(bytes(packet))
            stripped.ttl -= 1
            del stripped.chksum
            s.passes(f"{kind}: IP checksum {wanted:#06x} inside", tunnelled(OWN4, packet, kind), frame(stripped))
    s.passes(
        "GUE to a VIP's own address and port is not balanced",
        udp(v4(3), GUE_PORT, payload=bytes(inner4())),
        frame(inner4(63)) if decap_any else None,
    )
    s.balances("a GUE source port is no GUE", udp(v4(1), 53, sport=GUE_PORT))
    s.passes("UDP to a listed address, another port", udp(DECAP4, 6081, payload=bytes(inner4())))
    s.passes("TCP to a listed address", tcp(DECAP4, GUE_PORT))
    cut4, cut6 = bytes(inner4())[:19], bytes(inner6())[:39]
    s.passes("a cut IP header inside, to this host: untouched", tunnelled(OWN4, cut4, "ipip"))
    s.passes("a cut IP header inside, to a listed address: untouched", tunnelled(DECAP6, cut6, "gue"))
    alone, less_alone = ip(CLIENT4, v4(1), proto=17), ip(CLIENT4, v4(1), proto=17, ttl=63)
    s.passes("an IP header alone inside, to this host: stripped", tunnelled(OWN4, alone, "gue"), frame(less_alone))
    s.drops("an IP header alone inside, UDP for a VIP, to a listed address", tunnelled(DECAP4, alone, "ipip"))
    alone, less_alone = ip(CLIENT6, v6(1), nh=6), ip(CLIENT6, v6(1), nh=6, ttl=63)
    s.passes("an IPv6 header alone inside, to this host: stripped", tunnelled(OWN6, alone, "ipip"), frame(less_alone))
    s.drops("an IPv6 header alone inside, TCP for a VIP, to a listed address", tunnelled(DECAP6, alone, "gue"))
    cut_inside = frame(tunnelled(v4(1), cut4, "ipip"))
    if decap_any:
        s.drops("a cut IP header inside, to a VIP address", cut_inside)
    else:
        s.passes("a cut IP header inside, to a VIP address: not ours to strip, untouched", cut_inside)
    s.passes("GUE with nothing inside, to this host: untouched", udp(OWN4, GUE_PORT, payload=b""))
    s.balances("a plain packet to a VIP", tcp(v4(1), sport=9))
    s.balances("a plain packet to a VIP, IPv6", tcp(v6(1), sport=9))
    deep = inner4(64, sport=30)
    for _ in range(30):
        deep = tunnelled(DECAP4, deep, "ipip")
    s.balances("stripped thirty times", deep, decapsulated=frame(inner4(63, sport=30)))
    large = tcp(v4(1), payload=bytes(1460))
    less = tcp(v4(1), payload=bytes(1460), ttl=63)
    s.balances("1514 bytes inside, 1550 outside: balanced", tunnelled(DECAP4, large, "gue"), decapsulated=frame(less))
    s.drops("1515 bytes inside: too long", tunnelled(DECAP4, tcp(v4(1), payload=bytes(1461)), "gue"))
    return s


def _options(ttl: int, **fields: Any) -> Packet:
    header = IP(src=CLIENT4, dst=v4(1), ttl=ttl, options=[Raw(b"\x01\x01\x01\x00")], **fields)
    return header / UDP(dport=53) / Raw(PAYLOAD)


def _with_ip_checksum(wanted: int, **fields: Any) -> Packet:
    """A packet whose IP header checksum is *wanted*, by choice of its id."""
    base = int.from_bytes(bytes(udp(v4(77), id=0, **fields))[10:12], "big")
    return udp(v4(77), id=(base - wanted) % 0xFFFF, **fields)


def decap_no_own_address() -> Set:
    """Strict decapsulation where this host has an address of its own in IPv4 alone."""
    s = Set("decap_own_ipv4", DECAP_VIPS, features=["inline_decap"], source_ipv6="auto")
    s.passes("IPv4 in IPv4, to this host: stripped", tunnelled(OWN4, tcp(v4(1)), "ipip"), frame(tcp(v4(1), ttl=63)))
    s.passes("IPv6 in IPv6, to an address that is nobody's: untouched", tunnelled(OWN6, tcp(v6(1)), "ipip"))
    s.passes("IPv6 in IPv6, to ::, which is nobody's: untouched", tunnelled("::", tcp(v6(1)), "ipip"))
    s.passes("GUE, IPv4 in IPv6, to ::: untouched", tunnelled("::", tcp(v4(1)), "gue"))
    return s


ECN_NAMES = ("Not-ECT", "ECT(1)", "ECT(0)", "CE")


def ecn(encapsulation: str) -> Set:
    """Step 4: all sixteen pairs of marks of RFC 6040, section 4.2, under every tunnel that ends here."""
    s = Set(
        f"ecn_{encapsulation}",
        DECAP_VIPS,
        encapsulation=encapsulation,
        features=["inline_decap"],
        modules=DECAP_MODULES,
    )
    tunnels = ((OWN4, DECAP4, EGRESS4, v4(1)), (OWN6, DECAP6, EGRESS6, v4(1)), (OWN6, DECAP6, EGRESS6, v6(1)))
    for kind, (own, listed, egress, to), outside, inside in itertools.product(
        ENCAPSULATIONS, tunnels, range(4), range(4)
    ):
        # The DSCPs differ, and neither moves.
        inner = tcp(to, tos=0xB8 | inside, sport=4 * outside + inside)
        text = f"{kind}, {ECN_NAMES[outside]} over {ECN_NAMES[inside]}"
        mark = {"ECT(1) over ECT(0)": 1, "CE over ECT(0)": 3, "CE over ECT(1)": 3}.get(text[len(kind) + 2 :], inside)
        after = tcp(to, tos=0xB8 | mark, sport=4 * outside + inside, ttl=63)
        packets = {address: tunnelled(address, inner, kind, tos=0x28 | outside) for address in (own, listed, egress)}
        if (outside, inside) == (3, 0):
            for address, packet in packets.items():
                s.drops(f"{text}, to {address}: only its loss can tell", packet)
            continue
        s.passes(f"{text}, to this host", packets[own], frame(after))
        s.balances(f"{text}, balanced: the mark goes on outside", packets[listed], decapsulated=frame(after))
        if kind == "gue":
            swap = bytes(Ether(dst=ROUTER, src=BALANCER) / after)
            s.sends(f"{text}, sent out", packets[egress], swap)
    # Marks and hops change one checksum: both carry round, and neither loses the other's carry.
    for wanted in (0xFF00, 0xFFFE, 0xFEFE, 0xFEFF, 0xFF01, 0x0000, 0x0001):
        packet = _with_ip_checksum(wanted, tos=2)
        stripped = IP(bytes(packet))
        stripped.ttl -= 1
        stripped.tos = 3
        del stripped.chksum
        s.passes(f"CE over ECT(0), IP checksum {wanted:#06x}", tunnelled(OWN4, packet, "ipip", tos=3), frame(stripped))
    nested = tunnelled(DECAP6, tunnelled(DECAP4, tcp(v4(1), tos=2, sport=99), "gue", tos=2), "ipip", tos=3)
    s.balances("a mark on the outermost of three", nested, decapsulated=frame(tcp(v4(1), tos=3, sport=99, ttl=63)))
    lost = tunnelled(DECAP6, tunnelled(DECAP4, tcp(v4(1), sport=99), "gue", tos=2), "ipip", tos=3)
    s.drops("a mark on the outermost of three, and none inside", lost)
    s.passes("a tunnel to somebody else keeps its marks", tunnelled("203.0.113.2", tcp(v4(1), tos=2), "ipip", tos=3))
    s.passes(
        "IP options inside",
        tunnelled(OWN4, _options(64, tos=2), "ipip", tos=3),
        frame(_options(63, tos=3)),
    )
    return s


def everything(encapsulation: str) -> Set:
    """All features at once: they must not get in each other's way."""
    features = [
        "source_routing",
        "tcp_server_id",
        "udp_stable_routing",
        "udp_flow_migration",
        "cidr_vips",
        "global_lru",
        "icmp_too_big",
        "inline_decap",
        "local_delivery",
        "introspection",
        "flow_debug",
        "vlan",
        "source_filter",
    ]
    local = {"address": "10.0.0.9", "local": True}
    vips = [
        vip(v4(1), 80, "tcp", r4(11, 12, 13), "source_routing", "global_lru", deny=["203.0.113.128/25"]),
        vip(v4(1), 53, "udp", r4(11, 12, 13), "udp_stable_routing", "udp_flow_migration", "global_lru"),
        vip(v6(1), 80, "tcp", r6(11, 12, 13), deny=["2001:db8:c:1::/64"]),
        vip(v4(20), 443, "udp", r4(11, 12, 13), "quic", "udp_flow_migration", down_reals=r4(12)),
        vip(v6(20), 443, "udp", r6(11, 12, 13), "quic"),
        vip(v4(5), 0, "tcp", r4(11, 12, 13), "hash_dst_port_only", "local"),
        vip(v4(6), 80, "tcp", [local], "local", "source_routing"),
        vip("198.51.100.128/25", 0, "tcp", r4(11, 12, 13)),
        vip(v4(8), 80, "tcp", []),
    ]
    modules = {
        "server_ids": SERVER_IDS,
        "source_routes": [
            {"prefix": "10.0.0.0/8", "real": "10.0.0.31"},
            {"prefix": "2001:db8::/32", "real": "fd00::31"},
        ],
        **DECAP_MODULES,
    }
    tables = {"introspect": True, "traced": {"address": v4(1), "port": 80, "protocol": "tcp"}}
    s = Set(
        f"everything_{encapsulation}",
        vips,
        encapsulation=encapsulation,
        features=features,
        modules=modules,
        tables=tables,
    )
    tags = Dot1AD(vlan=3) / Dot1Q(vlan=4)
    s.balances("TCP SYN", tcp(v4(1), flags="S"))
    s.balances("TCP", tcp(v4(1), sport=2))
    s.balances("TCP, source route", tcp(v4(1), source="10.1.1.1"), "10.0.0.31")
    s.balances("TCP, server id", tcp(v4(1), sport=3, options=server_id(1)), "10.0.0.1")
    s.balances("TCP, server id, two tags", frame(tcp(v4(1), sport=3, options=server_id(1)), tags), "10.0.0.1")
    s.balances("UDP", udp(v4(1)))
    s.balances("UDP, stable routing", udp(v4(1), payload=b"\x52\0\0\x01" + PAYLOAD), "10.0.0.1")
    s.balances("QUIC, Initial", udp(v6(20), 443, payload=quic_long(0, cid(1, 1))))
    s.balances("QUIC, id", udp(v4(20), 443, payload=quic_short(cid(2, 66_000))), "fd00::2")
    s.balances("hash_dst_port_only", tcp(v4(5), 9))
    s.passes("local", tcp(v4(6)))
    s.balances("local VIP, but a source route", tcp(v4(6), source="10.1.1.1"), "10.0.0.31")
    s.balances("CIDR VIP", tcp(v4(200)), to=vips[7])
    s.drops("no reals", tcp(v4(8)))
    s.drops("a client that is denied", frame(tcp(v4(1), source="203.0.113.200"), tags))
    s.drops("a client of IPv6 that is denied", tcp(v6(1), source="2001:db8:c:1::9"))
    inside = tunnelled(DECAP6, tcp(v4(1), sport=4, options=server_id(1022)), "gue")
    s.balances(
        "GUE, balanced again, server id, two tags",
        frame(inside, tags),
        "10.0.0.2",
        decapsulated=frame(tcp(v4(1), sport=4, options=server_id(1022), ttl=63), tags),
    )
    s.sends(
        "egress", tunnelled(EGRESS6, tcp(v6(77)), "gue"), bytes(Ether(dst=ROUTER, src=BALANCER) / tcp(v6(77), ttl=63))
    )
    s.passes("GUE to this host", tunnelled(OWN6, udp(v4(1)), "gue"), frame(udp(v4(1), ttl=63)))
    big = frame(tcp(v4(1), payload=bytes(1461)), tags)
    s.sends("too long", big, too_big(big, 22))
    inside_big = tunnelled(DECAP6, tcp(v6(1), payload=bytes(1441), source="2001:db9::1"), "ipip")
    s.sends(
        "too long inside", inside_big, too_big(frame(tcp(v6(1), payload=bytes(1441), source="2001:db9::1", ttl=63)))
    )
    echo = ip(CLIENT6, v6(1)) / ICMPv6EchoRequest(data=PAYLOAD)
    s.sends("echo request", frame(echo, tags), echo_reply(echo, tags))
    s.balances("ICMP error", icmp_error(v4(1), answer_of(tcp(CLIENT4, 8, 80, source=v4(1)))), **_quoted(v4(1), s, 8))
    s.passes("no VIP", udp(v6(77)))
    s.drops("fragment", _with_ip_flags(udp(v4(1)), 1, 0))
    return s


def source_filter(encapsulation: str) -> list[Set]:
    """Which clients a VIP takes: the flow's, whoever sent the frame; and none of it for what is no VIP's port."""
    features = ["source_filter", "cidr_vips", "inline_decap", "icmp_too_big"]
    inside, outside = "198.18.0.7", "203.0.113.77"
    inside6, outside6 = "2001:db8:a::7", "2001:db8:b::7"
    few = {"allow": ["198.18.0.0/24", "198.18.0.192/26", "203.0.113.98/32"], "deny": ["198.18.0.128/25"]}
    few6 = {"allow": ["2001:db8:a::/48"], "deny": ["2001:db8:a:1::/64", "2001:db8:a::66/128"]}

    def vips(*, turned: bool) -> list[dict[str, Any]]:
        first: dict[str, Any] = {"deny": ["198.18.0.0/15"]} if turned else few
        return [
            vip(v4(50), 80, "tcp", r4(1, 2, 3), **first),
            vip(v4(50), 53, "udp", r4(1, 2, 3), **({} if turned else few)),
            vip(v6(50), 80, "tcp", r6(1, 2, 3), **few6),
            vip(v4(51), 0, "tcp", r4(1, 2, 3), deny=["203.0.113.0/24"]),
            vip("198.51.101.0/24", 0, "tcp", r4(1, 2, 3), allow=["198.18.0.0/15"]),
            vip(v4(52), 80, "tcp", r4(1, 2, 3), deny=["0.0.0.0/0"]),
            vip(v4(53), 80, "tcp", r4(1, 2, 3), allow=["0.0.0.0/0"], deny=["203.0.113.77/32"]),
            vip(v4(54), 80, "tcp", r4(1, 2, 3)),
            vip(v4(55), 80, "tcp", [], **few),
            vip(v4(56), 443, "udp", r4(1, 2, 3), "quic", "no_lru", "hash_no_src_port", **few),
        ]

    name, options = f"source_filter_{encapsulation}", {"encapsulation": encapsulation, "features": features}
    s = Set(name, vips(turned=False), modules=DECAP_MODULES, **options)
    s.balances("a prefix of allow", tcp(v4(50), source=inside))
    s.drops("everybody else", tcp(v4(50), source=outside))
    s.drops("a longer prefix of deny", tcp(v4(50), source="198.18.0.130"))
    s.balances("a still longer one of allow", tcp(v4(50), source="198.18.0.200"))
    s.drops("next to the prefix", tcp(v4(50), source="198.18.1.7"))
    s.drops("SYN", tcp(v4(50), source=outside, flags="S"))
    s.drops("RST", tcp(v4(50), source=outside, flags="R"))
    s.balances("UDP", udp(v4(50), source=inside))
    s.drops("UDP of others", udp(v4(50), source=outside))
    s.balances("IPv6", tcp(v6(50), source=inside6))
    s.drops("IPv6, others", tcp(v6(50), source=outside6))
    s.drops("IPv6, a /64 of deny", tcp(v6(50), source="2001:db8:a:1::1"))
    s.drops("IPv6, a /128 of deny", tcp(v6(50), source="2001:db8:a::66"))
    s.balances("deny alone lets others in", tcp(v4(51), 4711, source=inside))
    s.drops("and keeps out whom it has, VIP with port 0", tcp(v4(51), 4711, source=outside))
    s.balances("CIDR VIP", tcp("198.51.101.9", 9, source=inside), to=s.vips[4])
    s.drops("CIDR VIP, others", tcp("198.51.101.9", 9, source=outside))
    s.drops("nobody", tcp(v4(52), source=inside))
    s.balances("all but one", tcp(v4(53), source=inside))
    s.drops("that one", tcp(v4(53), source=outside))
    s.balances("a VIP without lists", tcp(v4(54), source=outside))
    s.drops("no reals, and denied", tcp(v4(55), source=outside))
    s.drops("no reals, and let in", tcp(v4(55), source=inside))
    s.drops("QUIC Initial of others", udp(v4(56), 443, source=outside, payload=quic_long(0, cid(1, 1))))
    s.balances("QUIC", udp(v4(56), 443, source=inside, payload=quic_long(0, cid(1, 1))))
    s.passes("to no VIP", tcp(v4(77), source=outside))
    s.passes("to no port of a VIP", tcp(v4(50), 81, source=outside))
    _filtered_errors(s, inside, outside)
    for source in (inside, outside):
        request = ip(source, v4(50)) / ICMP() / Raw(PAYLOAD)
        s.sends(f"echo request of {source} is answered", request, echo_reply(request))
    s.drops("too long, and denied: no answer", tcp(v4(50), source=outside, payload=bytes(1461)))
    big = frame(tcp(v4(50), source=inside, payload=bytes(1461)))
    s.sends("too long", big, too_big(big))
    for kind in ENCAPSULATIONS:
        inner = tcp(v4(50), source=inside, sport=7)
        after = frame(tcp(v4(50), source=inside, sport=7, ttl=63))
        s.balances(f"{kind}, balanced again: the client inside", tunnelled(DECAP4, inner, kind), decapsulated=after)
        s.drops(f"{kind}, others inside", tunnelled(DECAP4, tcp(v4(50), source=outside), kind, source="203.0.113.98"))
    turned = Set(f"{name}_turned", vips(turned=True), follows=name, modules=DECAP_MODULES, **options)
    turned.drops("a flow that is known, once its client is denied", tcp(v4(50), source=inside))
    turned.balances("a client who may come in since", tcp(v4(50), source=outside))
    turned.balances("lists are gone", udp(v4(50), source=outside))
    return [s, turned]


def _filtered_errors(s: Set, inside: str, outside: str) -> None:
    """An ICMP error is about a client's flow, and comes from a router, which is in no list."""

    def about(client: str) -> bytes:
        return answer_of(tcp(client, 9, 80, source=v4(50)))

    quoted = _quoted(v4(50), s, 9, client=inside)
    s.balances("ICMP error of a router about a client who may come in", icmp_error(v4(50), about(inside)), **quoted)
    s.balances("unreachable, likewise", icmp_error(v4(50), about(inside), 3, 1), **quoted)
    s.drops("ICMP error about a client who may not", icmp_error(v4(50), about(outside)))
    error = icmp_error(v4(50), about(outside))
    error[IP].src = inside
    s.drops("also from a router that may", error)
    error6 = answer_of(tcp("2001:db8:a::7", 9, 80, source=v6(50)))
    s.balances("ICMPv6", icmp_error(v6(50), error6), **_quoted(v6(50), s, 9, client="2001:db8:a::7"))
    s.drops("ICMPv6, denied", icmp_error(v6(50), answer_of(tcp("2001:db8:b::7", 9, 80, source=v6(50)))))


def every_set() -> list[Set]:
    """All sets, those that others follow first."""
    sets: list[Set] = []
    for encapsulation in ENCAPSULATIONS:
        sets += [
            basic(encapsulation),
            no_tos(encapsulation),
            vlan(encapsulation),
            quic(encapsulation),
            quic_lb(encapsulation),
            stable_routing(encapsulation),
            tcp_server_id(encapsulation),
            decap(encapsulation, decap_any=False),
            decap(encapsulation, decap_any=True),
            ecn(encapsulation),
            everything(encapsulation),
            *source_filter(encapsulation),
        ]
    sets += [malformed(), lengths(), *remembered(), *icmp(), *too_long(), cidr(), *cidr_remembered(), server_id_hash()]
    sets += [
        *source_routing(),
        *global_lru(),
        local_delivery(),
        *chained(),
        *migration(),
        *flood(),
        timeout(),
        decap_no_own_address(),
    ]
    sets += [unknown_reals()]
    return sets


def build() -> tuple[Sets, list[str]]:
    """All sets with their counters, and where scapy and the model disagree."""
    sets = {s.name: s.entry for s in every_set()}
    wrong = []
    for name, entry in sets.items():
        model, differences = replay(sets, name)
        wrong += differences
        entry["counters"] = model.counters()
    return sets, wrong


def main() -> int:
    sets, wrong = build()
    if wrong:
        print("\n".join(wrong), file=sys.stderr)
        return 1
    for path in sys.argv[1:]:
        Path(path).write_text(json.dumps(sets, indent=1) + "\n")
    for name, entry in sets.items():
        print(f"{len(entry['packets']):4}  {name}")
    print(f"{sum(len(entry['packets']) for entry in sets.values()):4}  in {len(sets)} sets")
    return 0


if __name__ == "__main__":
    sys.exit(main())
