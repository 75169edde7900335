# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A newly compiled program proves itself before it is attached.

The same bytecode is bound to scratch maps and given packets whose answers are known: built here from the design of the
datapath, section 3 and 4, not by the program. Addresses are those for documentation (RFC 5737, RFC 3849).
"""

from __future__ import annotations

import ipaddress
import os
import struct
import time
import typing as t
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from ansible_collections.katran.fleet.plugins.module_utils import _kernel as kernel
from ansible_collections.katran.fleet.plugins.module_utils import _layout as layout
from ansible_collections.katran.fleet.plugins.module_utils._config import BalancerSettings
from ansible_collections.katran.fleet.plugins.module_utils._program import Bytecode, ProgramError, load

ACTIONS = {0: "ABORTED", 1: "DROP", 2: "PASS", 3: "TX", 4: "REDIRECT"}
DROP, PASS, TX = 1, 2, 3

HOST_MAC = bytes.fromhex("020000000001")
CLIENT_MAC = bytes.fromhex("020000000002")
GATEWAY_MAC = bytes.fromhex("020000000003")
CLIENT4, CLIENT6 = "203.0.113.7", "2001:db8:c::7"
ROUTED4, ROUTED6 = "203.0.113.200", "2001:db8:cc::9"
ROUTER4, ROUTER6 = "198.51.100.99", "2001:db8:99::99"
VIP4, VIP4_TO_6, VIP4_EMPTY, VIP4_SPECIAL = "192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"
VIP6 = "2001:db8::1"
CIDR4, CIDR6 = "192.0.2.200", "2001:db8:5::9"
STRANGER4, STRANGER6, TUNNEL4 = "192.0.2.99", "2001:db8::99", "192.0.2.50"
REALS = {1: "198.51.100.1", 2: "2001:db8:1::1", 3: "198.51.100.2", 4: "2001:db8:1::2", 5: "198.51.100.3"}
"""Id → real; the last one is local to the host."""
REAL4_ID, REAL6_ID, OTHER4_ID, OTHER6_ID, LOCAL_ID = REALS
REAL4, REAL6, OTHER4, OTHER6, LOCAL = REALS.values()
SOURCE4, SOURCE6 = "198.51.100.250", "2001:db8:2::250"
SERVER_ID = 1027
SPORT = 31337
_SCRATCH_ENTRIES = {"server_id_map": 4096, "lpm_src_v4": 16, "lpm_src_v6": 16, "fallback_glru": 64}
_FEW = 64
"""Entries that a scratch map has at least, however few the balancer's own has."""
_LONGEST = 3000
"""Bytes of a frame that BPF_PROG_TEST_RUN takes for certain: a page, less head and tail room."""
_FLOOD = 2
"""Index after the number of VIPs in `stats` of the check for too many new flows."""


@dataclass(frozen=True)
class Packet:
    """A frame, the action that must come, and the frame that must come out (None: only the action counts).

    `real`: the highest id of a real that it takes.
    """

    name: str
    frame: bytes
    action: int
    out: bytes | None = None
    real: int = 1


def _packed(address: str) -> bytes:
    return ipaddress.ip_address(address).packed


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    total = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~int(total) & 0xFFFF


def _ipv4(
    source: bytes, destination: bytes, protocol: int, payload: bytes, tos: int = 0, fragment: int = 0, ttl: int = 64
) -> bytes:
    size = 20 + len(payload)
    head = struct.pack("!BBHHHBBH4s4s", 0x45, tos, size, 0, fragment, ttl, protocol, 0, source, destination)
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def _ipv6(source: bytes, destination: bytes, protocol: int, payload: bytes, tos: int = 0) -> bytes:
    return struct.pack("!IHBB", 6 << 28 | tos << 20, len(payload), protocol, 64) + source + destination + payload


def _pseudo(source: bytes, destination: bytes, protocol: int, length: int) -> bytes:
    return source + destination + struct.pack("!II", length, protocol)


def _transport(source: bytes, destination: bytes, protocol: int, segment: bytes, at: int) -> bytes:
    value = checksum(_pseudo(source, destination, protocol, len(segment)) + segment)
    return segment[:at] + struct.pack("!H", value or (0xFFFF if protocol == 17 else 0)) + segment[at + 2 :]


def _tcp(source: str, destination: str, dport: int, options: bytes = b"", tos: int = 0, sport: int = SPORT) -> bytes:
    """A TCP segment with ACK and four bytes of payload, as an IP packet."""
    src, dst = _packed(source), _packed(destination)
    offset = (20 + len(options)) // 4 << 4
    segment = struct.pack("!HHIIBBHHH", sport, dport, 1, 1, offset, 0x10, 8192, 0, 0) + options + b"kata"
    segment = _transport(src, dst, 6, segment, 16)
    return _ipv4(src, dst, 6, segment, tos) if len(src) == 4 else _ipv6(src, dst, 6, segment, tos)


def _udp(source: str, destination: str, dport: int, payload: bytes) -> bytes:
    src, dst = _packed(source), _packed(destination)
    segment = _transport(src, dst, 17, struct.pack("!HHHH", SPORT, dport, 8 + len(payload), 0) + payload, 6)
    return _ipv4(src, dst, 17, segment) if len(src) == 4 else _ipv6(src, dst, 17, segment)


def _frame(packet: bytes, tags: bytes = b"") -> bytes:
    kind = b"\x08\x00" if packet[0] >> 4 == 4 else b"\x86\xdd"
    return HOST_MAC + CLIENT_MAC + tags + kind + packet


class Answers:
    """What a balancer of these settings must answer."""

    def __init__(self, settings: BalancerSettings) -> None:
        self.settings = settings

    def encapsulated(self, inner: bytes, real: str, tags: bytes = b"", client: str = "") -> bytes:
        """The frame that carries a packet to a real (datapath, section 4). `client`: of an ICMP error's flow."""
        tos = self._tos(inner) if self.settings.copy_tos else 0
        build = self._gue if self.settings.encapsulation == "gue" else self._ipip
        word, port = (_packed(client)[-4:], SPORT) if client else self._client(inner)
        outer = build(inner, _packed(real), tos, word, port)
        kind = b"\x08\x00" if outer[0] >> 4 == 4 else b"\x86\xdd"
        return GATEWAY_MAC + HOST_MAC + tags + kind + outer

    @staticmethod
    def _tos(inner: bytes) -> int:
        return inner[1] if inner[0] >> 4 == 4 else (struct.unpack_from("!H", inner)[0] >> 4) & 0xFF

    @staticmethod
    def _client(inner: bytes) -> tuple[bytes, int]:
        """(client's last 32 bits, source port)."""
        if inner[0] >> 4 == 4:
            return inner[12:16], struct.unpack_from("!H", inner, 20)[0]
        return inner[20:24], struct.unpack_from("!H", inner, 40)[0]

    def _ipip(self, inner: bytes, real: bytes, tos: int, client: bytes, port: int) -> bytes:
        protocol = 4 if inner[0] >> 4 == 4 else 41
        swapped = struct.unpack("<H", struct.pack("!H", port))[0]
        if len(real) == 4:
            prefix = ipaddress.ip_network(self.settings.source_prefix_ipv4).network_address.packed
            low = struct.unpack("<H", client[2:])[0] ^ port
            return _ipv4(prefix[:2] + struct.pack("<H", low), real, protocol, inner, tos)
        prefix = ipaddress.ip_network(self.settings.source_prefix_ipv6).network_address.packed
        word = struct.unpack("<I", client)[0] ^ swapped
        return _ipv6(prefix[:12] + struct.pack("<I", word), real, protocol, inner, tos)

    def _gue(self, inner: bytes, real: bytes, tos: int, client: bytes, port: int) -> bytes:
        as_loaded = struct.unpack("<H", struct.pack("!H", port))[0]
        if len(real) == 4:
            sport = port ^ struct.unpack("<H", client[2:])[0]
        elif inner[0] >> 4 == 4:
            sport = as_loaded ^ struct.unpack("<H", client[2:])[0]
        else:
            sport = as_loaded ^ struct.unpack("<H", client[:2])[0]
        source = _packed(SOURCE4 if len(real) == 4 else SOURCE6)
        head = struct.pack("<H", sport) + struct.pack("!HHH", self.settings.gue_port, 8 + len(inner), 0)
        datagram = _transport(source, real, 17, head + inner, 6)
        return (_ipv4 if len(real) == 4 else _ipv6)(source, real, 17, datagram, tos)


def _echo(request: bool) -> bytes:
    body = struct.pack("!BBHHH", 8 if request else 0, 0, 0, 7, 1) + b"katran"
    body = body[:2] + struct.pack("!H", checksum(body)) + body[4:]
    src, dst = _packed(CLIENT4), _packed(VIP4)
    return _ipv4(src, dst, 1, body) if request else _ipv4(dst, src, 1, body)


def _echo6(request: bool) -> bytes:
    src, dst = _packed(CLIENT6), _packed(VIP6)
    if not request:
        src, dst = dst, src
    body = struct.pack("!BBHHH", 128 if request else 129, 0, 0, 7, 1) + b"katran"
    return _ipv6(src, dst, 58, _transport(src, dst, 58, body, 2))


def packets(settings: BalancerSettings) -> list[Packet]:
    """What the program is asked: both families, each way a packet can go, and every feature that is compiled in."""
    answer = Answers(settings)
    tcp4, tcp6 = _tcp(CLIENT4, VIP4, 80, tos=0x20), _tcp(CLIENT6, VIP6, 80, tos=0x20)
    to6 = _tcp(CLIENT4, VIP4_TO_6, 80)
    udp4 = _udp(CLIENT4, VIP4, 53, b"question")
    udp6 = _udp(CLIENT6, VIP6, 53, b"question")
    known = _tcp(CLIENT4, VIP4_SPECIAL, 80)
    stranger = _frame(_tcp(CLIENT4, STRANGER4, 80))
    stranger6 = _frame(_tcp(CLIENT6, STRANGER6, 80))
    reply = CLIENT_MAC + HOST_MAC + b"\x08\x00" + _echo(False)
    reply6 = CLIENT_MAC + HOST_MAC + b"\x86\xdd" + _echo6(False)
    error4, error6 = (
        _unreachable(_tcp(VIP4, CLIENT4, SPORT, sport=80)),
        _unreachable6(_tcp(VIP6, CLIENT6, SPORT, sport=80)),
    )
    found = [
        Packet("TCP to an IPv4 VIP", _frame(tcp4), TX, answer.encapsulated(tcp4, REAL4)),
        Packet("the same again", _frame(tcp4), TX, answer.encapsulated(tcp4, REAL4)),
        Packet("TCP of a known flow", _frame(known), TX, answer.encapsulated(known, OTHER4), OTHER4_ID),
        Packet("TCP to an IPv4 VIP with an IPv6 real", _frame(to6), TX, answer.encapsulated(to6, REAL6), REAL6_ID),
        Packet("TCP to an IPv6 VIP", _frame(tcp6), TX, answer.encapsulated(tcp6, REAL6), REAL6_ID),
        Packet("UDP to an IPv4 VIP", _frame(udp4), TX, answer.encapsulated(udp4, REAL4)),
        Packet("UDP to an IPv6 VIP", _frame(udp6), TX, answer.encapsulated(udp6, REAL6), REAL6_ID),
        Packet("TCP over IPv4 to no VIP", stranger, PASS, stranger),
        Packet("TCP over IPv6 to no VIP", stranger6, PASS, stranger6),
        Packet("ARP", HOST_MAC + CLIENT_MAC + b"\x08\x06" + bytes(28), PASS),
        Packet("a fragment to a VIP", _frame(_fragment(tcp4)), DROP),
        Packet("TCP to a VIP without reals", _frame(_tcp(CLIENT4, VIP4_EMPTY, 80)), DROP),
        Packet("ICMP echo request to an IPv4 VIP", _frame(_echo(True)), TX, reply),
        Packet("ICMP echo request to an IPv6 VIP", _frame(_echo6(True)), TX, reply6),
        Packet("ICMP error of a flow", _frame(error4), TX, answer.encapsulated(error4, REAL4, client=CLIENT4)),
        Packet(
            "ICMPv6 error of a flow", _frame(error6), TX, answer.encapsulated(error6, REAL6, client=CLIENT6), REAL6_ID
        ),
        _quic(answer),
        *_too_big(answer),
    ]
    for feature, make in _FEATURES.items():
        if feature in settings.features:
            found += make(answer)
    if "inline_decap" in settings.features:
        # What goes to that port is a tunnel, whichever VIP has it.
        found = [packet for packet in found if "GUE" in packet.name or _udp_port(packet.frame) != settings.gue_port]
    return [packet for packet in found if packet.real < settings.sizes["reals"]]


def _udp_port(frame: bytes) -> int:
    """The destination port of an untagged frame with UDP, else 0."""
    protocol, at = (frame[23], 36) if frame[12:14] == b"\x08\x00" else (frame[20], 56)
    return int.from_bytes(frame[at : at + 2], "big") if protocol == 17 and len(frame) > at + 2 else 0


def _fragment(packet: bytes) -> bytes:
    return _ipv4(packet[12:16], packet[16:20], packet[9], packet[20:], packet[1], 0x2000)


def _unreachable(quoted: bytes) -> bytes:
    """A router's "host unreachable" to the VIP, quoting 28 bytes of what the real sent."""
    body = struct.pack("!BBHI", 3, 1, 0, 0) + quoted[:28]
    body = body[:2] + struct.pack("!H", checksum(body)) + body[4:]
    return _ipv4(_packed(ROUTER4), _packed(VIP4), 1, body)


def _unreachable6(quoted: bytes) -> bytes:
    body = struct.pack("!BBHI", 1, 3, 0, 0) + quoted
    src, dst = _packed(ROUTER6), _packed(VIP6)
    return _ipv6(src, dst, 58, _transport(src, dst, 58, body, 2))


def _quic(answer: Answers) -> Packet:
    cid = bytes([1 << 6 | SERVER_ID >> 10, SERVER_ID >> 2 & 0xFF, SERVER_ID << 6 & 0xFF]) + bytes(5)
    packet = _udp(CLIENT4, VIP4_SPECIAL, 443, b"\x40" + cid + b"\0")
    return _sent("QUIC with a server id", answer, packet, OTHER4_ID)


def _sent(name: str, answer: Answers, packet: bytes, real: int) -> Packet:
    """A packet that goes to the real with this id."""
    return Packet(name, _frame(packet), TX, answer.encapsulated(packet, REALS[real]), real)


def _cidr(answer: Answers) -> list[Packet]:
    return [
        _sent("TCP to an IPv4 CIDR VIP", answer, _tcp(CLIENT4, CIDR4, 8080), REAL4_ID),
        _sent("TCP to an IPv6 CIDR VIP", answer, _tcp(CLIENT6, CIDR6, 8080), REAL6_ID),
    ]


def _source_route(answer: Answers) -> list[Packet]:
    return [
        _sent("TCP from an IPv4 client with a source route", answer, _tcp(ROUTED4, VIP4_SPECIAL, 81), OTHER4_ID),
        _sent("TCP from an IPv6 client with a source route", answer, _tcp(ROUTED6, VIP6, 81), OTHER6_ID),
    ]


def _tcp_server_id(answer: Answers) -> list[Packet]:
    option = b"\xb7\x06" + struct.pack("<I", SERVER_ID) + b"\x01\x01"
    return [_sent("TCP with a server id option", answer, _tcp(CLIENT4, VIP4_SPECIAL, 82, option), OTHER4_ID)]


def _stable(answer: Answers) -> list[Packet]:
    packet = _udp(CLIENT4, VIP4_SPECIAL, 83, b"\x52" + SERVER_ID.to_bytes(3, "big") + bytes(8))
    return [_sent("UDP with a stable routing id", answer, packet, OTHER4_ID)]


def _local(_answer: Answers) -> list[Packet]:
    frame = _frame(_tcp(CLIENT4, VIP4_SPECIAL, 84))
    return [Packet("TCP to a local VIP", frame, PASS, frame, LOCAL_ID)]


def _migration(answer: Answers) -> list[Packet]:
    return [_sent("UDP of a flow whose real is down", answer, _udp(CLIENT4, VIP4_SPECIAL, 85, b"data"), OTHER4_ID)]


def _global(answer: Answers) -> list[Packet]:
    return [_sent("TCP of a flow in the global table", answer, _tcp(CLIENT4, VIP4_SPECIAL, 86), OTHER4_ID)]


def _vlan(answer: Answers) -> list[Packet]:
    packet = _tcp(CLIENT4, VIP4, 80)
    tag = b"\x81\x00\x00\x2a"
    return [Packet("TCP with an 802.1Q tag", _frame(packet, tag), TX, answer.encapsulated(packet, REAL4, tag))]


def _tunnels(answer: Answers) -> list[Packet]:
    inner = _tcp(CLIENT4, VIP4, 80)
    after = _ipv4(_packed(CLIENT4), _packed(VIP4), 6, inner[20:], ttl=63)
    here = _frame(_ipv4(_packed(CLIENT4), _packed(SOURCE4), 4, inner))
    gue = _frame(_udp(CLIENT4, SOURCE4, answer.settings.gue_port, inner))
    elsewhere = _frame(_ipv4(_packed(CLIENT4), _packed(STRANGER4), 4, inner))
    again = _frame(_ipv4(_packed(CLIENT4), _packed(TUNNEL4), 4, inner))
    found = [
        Packet("a tunnel to this host", here, PASS, _frame(after)),
        Packet("a GUE tunnel to this host", gue, PASS, _frame(after)),
        Packet("a tunnel to a decapsulation destination", again, TX, answer.encapsulated(after, REAL4)),
    ]
    if not answer.settings.decap_any:
        found.append(Packet("a tunnel to somebody else", elsewhere, PASS, elsewhere))
    return found


def _too_big(answer: Answers) -> list[Packet]:
    """Frames one byte longer than max_frame."""
    longest = answer.settings.max_frame
    if longest >= _LONGEST:
        return []
    packet, packet6 = _udp(CLIENT4, VIP4, 53, bytes(longest - 41)), _udp(CLIENT6, VIP6, 53, bytes(longest - 61))
    name = "a frame longer than max_frame"
    if "icmp_too_big" not in answer.settings.features:
        return [Packet(name, _frame(packet), DROP)]
    body = struct.pack("!BBHHH", 3, 4, 0, 0, longest - 14) + packet[:84]
    body = body[:2] + struct.pack("!H", checksum(body)) + body[4:]
    reply = _ipv4(packet[16:20], packet[12:16], 1, body)
    body6 = struct.pack("!BBHI", 2, 0, 0, longest - 14) + packet6[:248]
    src, dst = packet6[24:40], packet6[8:24]
    reply6 = _ipv6(src, dst, 58, _transport(src, dst, 58, body6, 2))
    swapped = CLIENT_MAC + HOST_MAC
    return [
        Packet(f"{name}, IPv4", _frame(packet), TX, swapped + b"\x08\x00" + reply),
        Packet(f"{name}, IPv6", _frame(packet6), TX, swapped + b"\x86\xdd" + reply6),
    ]


_FEATURES: dict[str, Callable[[Answers], list[Packet]]] = {
    "cidr_vips": _cidr,
    "source_routing": _source_route,
    "tcp_server_id": _tcp_server_id,
    "udp_stable_routing": _stable,
    "local_delivery": _local,
    "udp_flow_migration": _migration,
    "global_lru": _global,
    "vlan": _vlan,
    "inline_decap": _tunnels,
}


class Scratch:
    """Scratch maps of a balancer, provisioned for the packets above."""

    def __init__(self, settings: BalancerSettings, stack: ExitStack) -> None:
        self.settings = settings
        self.maps: dict[str, kernel.Map] = {}
        self.rings: dict[int, int] = {}
        for name, spec in layout.balancer_maps(settings).items():
            entries = max(_SCRATCH_ENTRIES.get(name, spec.entries(settings.sizes)), _FEW)
            if name == "ch_rings":
                entries = (len(REALS) + 1) * settings.sizes["ring"]
            inner = 0
            if spec.inner is not None:
                inner = kernel.create_map(
                    spec.inner.type, spec.inner.key_size, spec.inner.value_size, _FEW, spec.inner.flags
                )
                stack.callback(os.close, inner)
            fd = kernel.create_map(spec.type, spec.key_size, spec.value_size, entries, spec.flags, name, inner)
            self.maps[name] = kernel.Map(fd)
            stack.callback(self.maps[name].close)
        self._provision()

    def _provision(self) -> None:
        put = self._put
        put("ctl_array", layout.u32(layout.CTL_GATEWAY_MAC), GATEWAY_MAC + b"\0\0")
        for number, address in REALS.items():
            flags = (layout.REAL_IPV6 if ":" in address else 0) | (layout.REAL_LOCAL if number == LOCAL_ID else 0)
            put("reals", layout.u32(number), layout.real_definition(layout.pack_address(address), flags))
        put("server_id_map", layout.u32(SERVER_ID), layout.u32(OTHER4_ID))
        if "pckt_srcs" in self.maps:
            put("pckt_srcs", layout.u32(0), layout.real_definition(layout.pack_address(SOURCE4), 0))
            put("pckt_srcs", layout.u32(1), layout.real_definition(layout.pack_address(SOURCE6), layout.REAL_IPV6))
        self._vip(VIP4, 80, "tcp", REAL4_ID)
        self._vip(VIP4, 53, "udp", REAL4_ID)
        self._vip(VIP4_TO_6, 80, "tcp", REAL6_ID)
        self._vip(VIP4_EMPTY, 80, "tcp", 0)
        self._vip(VIP6, 80, "tcp", REAL6_ID)
        self._vip(VIP6, 53, "udp", REAL6_ID)
        self._vip(VIP4_SPECIAL, 443, "udp", REAL4_ID, "quic")
        self._vip(VIP4_SPECIAL, 80, "tcp", REAL4_ID)
        put("fallback_cache", _flow(80, "tcp"), layout.real_pos_lru(OTHER4_ID, 0))
        self._provision_features()

    def _provision_features(self) -> None:
        put = self._put
        features = self.settings.features
        if "cidr_vips" in features:
            key = layout.vip_lpm4_key(layout.pack_address("192.0.2.192"), 26, 8080, 6)
            put("vip_lpm4_map", key, layout.vip_meta(0, self._ring(REAL4_ID)))
            key = layout.vip_lpm_key(layout.pack_address("2001:db8:5::"), 48, 8080, 6)
            put("vip_lpm_map", key, layout.vip_meta(0, self._ring(REAL6_ID)))
        if "source_routing" in features:
            self._vip(VIP4_SPECIAL, 81, "tcp", REAL4_ID, "source_routing")
            self._vip(VIP6, 81, "tcp", REAL6_ID, "source_routing")
            put("lpm_src_v4", layout.lpm_key(_packed("203.0.113.128"), 25), layout.u32(OTHER4_ID))
            put("lpm_src_v6", layout.lpm_key(_packed("2001:db8:cc::"), 48), layout.u32(OTHER6_ID))
        if "tcp_server_id" in features:
            self._vip(VIP4_SPECIAL, 82, "tcp", REAL4_ID)
        if "udp_stable_routing" in features:
            self._vip(VIP4_SPECIAL, 83, "udp", REAL4_ID, "udp_stable_routing")
        if "local_delivery" in features:
            self._vip(VIP4_SPECIAL, 84, "tcp", LOCAL_ID, "local")
        if "udp_flow_migration" in features:
            self._vip(VIP4_SPECIAL, 85, "udp", OTHER4_ID, "udp_flow_migration")
            # A flow of a moment ago.
            put("fallback_cache", _flow(85, "udp"), layout.real_pos_lru(REAL4_ID, time.monotonic_ns()))
            with kernel.Map(kernel.create_map(layout.HASH, 4, 1, _FEW, layout.NO_PREALLOC)) as down:
                down.update(layout.u32(REAL4_ID), b"\1")
                vip = layout.vip_definition(layout.pack_address(VIP4_SPECIAL), 85, layout.PROTOCOLS["udp"])
                put("vip_to_down_reals_map", vip, layout.u32(down.fd))
        if "global_lru" in features:
            self._vip(VIP4_SPECIAL, 86, "tcp", REAL4_ID, "global_lru")
            put("fallback_glru", _flow(86, "tcp"), layout.u32(OTHER4_ID))
        if "inline_decap" in features:
            put("decap_dst", layout.pack_address(TUNNEL4), layout.u32(0))

    def _put(self, name: str, key: bytes, value: bytes) -> None:
        self.maps[name].update(key, value)

    def _ring(self, real: int) -> int:
        """The number of the ring whose every slot is one real."""
        if real not in self.rings:
            number = self.rings[real] = len(self.rings)
            size = self.settings.sizes["ring"]
            with self.maps["ch_rings"].mmap(writable=True) as slots:
                slots[number * size * 8 : (number + 1) * size * 8] = struct.pack("=Q", real) * size
        return self.rings[real]

    def _vip(self, address: str, port: int, protocol: str, real: int, flag: str | None = None) -> None:
        number = self._ring(real)
        packed = layout.pack_address(address)
        self._put("vip_addresses", packed, layout.u32(1))
        flags = layout.VIP_FLAGS[flag] if flag else 0
        key = layout.vip_definition(packed, port, layout.PROTOCOLS[protocol])
        self._put("vip_map", key, layout.vip_meta(flags, number))

    def calm(self) -> None:
        """Forget how many flows were new in this second: however few the settings allow, the next one is among them."""
        stats = self.maps["stats"]
        stats.update(layout.u32(self.settings.sizes["vips"] + _FLOOD), bytes(stats.stride))


def _flow(port: int, protocol: str) -> bytes:
    """The key of the client's flow to the special VIP."""
    source, destination = layout.pack_address(CLIENT4), layout.pack_address(VIP4_SPECIAL)
    return layout.flow_key(source, destination, SPORT, port, layout.PROTOCOLS[protocol])


def self_test(bytecode: Bytecode, settings: BalancerSettings) -> dict[str, t.Any]:
    """Run every packet; returns {packets, seconds}. ProgramError names the packet that came out wrong, and how."""
    started = time.monotonic()
    try:
        with ExitStack() as stack:
            scratch = Scratch(settings, stack)
            fd = load(bytecode, {name: each.fd for name, each in scratch.maps.items()})
            stack.callback(os.close, fd)
            if "subprograms" in scratch.maps:
                scratch.maps["subprograms"].update(layout.u32(0), layout.u32(fd))
            asked = packets(settings)
            for packet in asked:
                scratch.calm()
                _ask(fd, packet)
    except OSError as error:
        raise ProgramError(f"self-test: the kernel refused an operation: {error.strerror or error}") from error
    return {"packets": len(asked), "seconds": round(time.monotonic() - started, 3)}


_FIELDS4 = {15: "ToS", 16: "length", 22: "TTL", 23: "protocol", 24: "header checksum", 26: "source", 30: "destination"}
_FIELDS6 = {18: "length", 20: "next header", 21: "hop limit", 22: "source", 38: "destination"}


def _field(frame: bytes, at: int) -> str:
    """The name of the outermost header's field at an offset of a frame, for the operator."""
    if at < 12:
        return "the destination MAC" if at < 6 else "the source MAC"
    fields = _FIELDS4 if frame[12:14] == b"\x08\x00" else _FIELDS6 if frame[12:14] == b"\x86\xdd" else {}
    end = 34 if fields is _FIELDS4 else 54
    starts = [start for start in fields if start <= at < end]
    return f"the outer {fields[starts[-1]]}" if starts else "what follows"


def _ask(fd: int, packet: Packet) -> None:
    run = kernel.test_run(fd, packet.frame)
    got = ACTIONS.get(run.value, str(run.value))
    end = "the program is not attached, and what was there goes on"
    if run.value != packet.action:
        raise ProgramError(f"self-test: {packet.name}: the program answers {got}, not {ACTIONS[packet.action]}; {end}")
    if packet.out is not None and run.data != packet.out:
        at = next(
            (i for i, (a, b) in enumerate(zip(run.data, packet.out, strict=False)) if a != b),
            min(len(run.data), len(packet.out)),
        )
        got, want = (data[at : at + 4].hex() or "nothing" for data in (run.data, packet.out))
        raise ProgramError(
            f"self-test: {packet.name}: the frame differs from byte {at} on, {_field(packet.out, at)}"
            f" (got {got}, want {want}); {end}"
        )
