# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packets whose answers are known: what a newly compiled program is asked.

Built from the design of the datapath, section 3 and 4, not by the program. Addresses are those for documentation
(RFC 5737, RFC 3849).
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Callable
from dataclasses import dataclass

from .._model.checksum import checksum
from .._model.settings import BalancerSettings

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
QUIC_LB_CONFIGS = (0, 5)
"""Config ids: of ids of the table, and of ids with servers of their own."""

QUIC_LB_SERVER = bytes(range(1, 12))
SPORT = 31337
_LONGEST = 3000
"""Bytes of a frame that BPF_PROG_TEST_RUN takes for certain: a page, less head and tail room."""


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


def address_bytes(address: str) -> bytes:
    return ipaddress.ip_address(address).packed


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
    src, dst = address_bytes(source), address_bytes(destination)
    offset = (20 + len(options)) // 4 << 4
    segment = struct.pack("!HHIIBBHHH", sport, dport, 1, 1, offset, 0x10, 8192, 0, 0) + options + b"kata"
    segment = _transport(src, dst, 6, segment, 16)
    return _ipv4(src, dst, 6, segment, tos) if len(src) == 4 else _ipv6(src, dst, 6, segment, tos)


def _udp(source: str, destination: str, dport: int, payload: bytes) -> bytes:
    src, dst = address_bytes(source), address_bytes(destination)
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
        word, port = (address_bytes(client)[-4:], SPORT) if client else self._client(inner)
        outer = build(inner, address_bytes(real), tos, word, port)
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
        source = address_bytes(SOURCE4 if len(real) == 4 else SOURCE6)
        head = struct.pack("<H", sport) + struct.pack("!HHH", self.settings.gue_port, 8 + len(inner), 0)
        datagram = _transport(source, real, 17, head + inner, 6)
        return (_ipv4 if len(real) == 4 else _ipv6)(source, real, 17, datagram, tos)


def _echo(request: bool) -> bytes:
    body = struct.pack("!BBHHH", 8 if request else 0, 0, 0, 7, 1) + b"katran"
    body = body[:2] + struct.pack("!H", checksum(body)) + body[4:]
    src, dst = address_bytes(CLIENT4), address_bytes(VIP4)
    return _ipv4(src, dst, 1, body) if request else _ipv4(dst, src, 1, body)


def _echo6(request: bool) -> bytes:
    src, dst = address_bytes(CLIENT6), address_bytes(VIP6)
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


def _unreachable(quoted: bytes, vip: str = VIP4) -> bytes:
    """A router's "host unreachable" to the VIP, quoting 28 bytes of what the real sent."""
    body = struct.pack("!BBHI", 3, 1, 0, 0) + quoted[:28]
    body = body[:2] + struct.pack("!H", checksum(body)) + body[4:]
    return _ipv4(address_bytes(ROUTER4), address_bytes(vip), 1, body)


def _unreachable6(quoted: bytes) -> bytes:
    body = struct.pack("!BBHI", 1, 3, 0, 0) + quoted
    src, dst = address_bytes(ROUTER6), address_bytes(VIP6)
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


def _quic_lb(answer: Answers) -> list[Packet]:
    def ask(name: str, cid: bytes, real: int) -> Packet:
        return _sent(f"QUIC-LB, {name}", answer, _udp(CLIENT4, VIP4_SPECIAL, 87, b"\x40" + cid.ljust(32, b"\1")), real)

    table, own = (bytes((config << 5,)) for config in QUIC_LB_CONFIGS)
    return [
        ask("an id that nobody can route", b"\xe0" + SERVER_ID.to_bytes(2, "big"), REAL6_ID),
        ask("a server id of its own", own + QUIC_LB_SERVER, REAL4_ID),
        ask("an id that nobody has, of the same flow", own + QUIC_LB_SERVER[::-1], REAL4_ID),
        ask("a server id of the table", table + SERVER_ID.to_bytes(2, "big"), OTHER4_ID),
    ]


def _vlan(answer: Answers) -> list[Packet]:
    packet = _tcp(CLIENT4, VIP4, 80)
    tag = b"\x81\x00\x00\x2a"
    return [Packet("TCP with an 802.1Q tag", _frame(packet, tag), TX, answer.encapsulated(packet, REAL4, tag))]


def _filtered(answer: Answers) -> list[Packet]:
    """A router's error is about a client's flow: it is the client who may come in or not."""
    allowed, denied = _tcp(CLIENT4, VIP4_SPECIAL, 87), _tcp(ROUTED4, VIP4_SPECIAL, 87)
    error = _unreachable(_tcp(VIP4_SPECIAL, CLIENT4, SPORT, sport=87), VIP4_SPECIAL)
    return [
        _sent("TCP of a client that a VIP allows", answer, allowed, REAL4_ID),
        Packet("TCP of a client that it does not", _frame(denied), DROP),
        _sent("TCP of an IPv6 client that none denies", answer, _tcp(CLIENT6, VIP6, 87), REAL6_ID),
        Packet("TCP of an IPv6 client that a VIP denies", _frame(_tcp(ROUTED6, VIP6, 87)), DROP),
        Packet(
            "ICMP error of a flow of a client that a VIP allows",
            _frame(error),
            TX,
            answer.encapsulated(error, REAL4, client=CLIENT4),
        ),
    ]


def _tunnels(answer: Answers) -> list[Packet]:
    inner = _tcp(CLIENT4, VIP4, 80)
    after = _ipv4(address_bytes(CLIENT4), address_bytes(VIP4), 6, inner[20:], ttl=63)
    here = _frame(_ipv4(address_bytes(CLIENT4), address_bytes(SOURCE4), 4, inner))
    gue = _frame(_udp(CLIENT4, SOURCE4, answer.settings.gue_port, inner))
    elsewhere = _frame(_ipv4(address_bytes(CLIENT4), address_bytes(STRANGER4), 4, inner))
    strange = _frame(_ipv4(address_bytes(STRANGER4), address_bytes(TUNNEL4), 4, inner))
    again = _frame(_ipv4(address_bytes(CLIENT4), address_bytes(TUNNEL4), 4, inner))
    found = [
        Packet("a tunnel to this host", here, PASS, _frame(after)),
        Packet("a GUE tunnel to this host", gue, PASS, _frame(after)),
        Packet("a tunnel to a decapsulation destination", again, TX, answer.encapsulated(after, REAL4)),
    ]
    if not answer.settings.decap_any:
        found.append(Packet("a tunnel to somebody else", elsewhere, PASS, elsewhere))
        found.append(Packet("a tunnel from somebody else", strange, PASS, strange))
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
    "quic_lb": _quic_lb,
    "vlan": _vlan,
    "source_filter": _filtered,
    "inline_decap": _tunnels,
}
