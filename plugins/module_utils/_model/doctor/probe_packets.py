# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packets of probe flows: what is put into the tunnel, the tunnel as the datapath makes it, and what comes back. Pure.

A TCP probe is told by its sequence number, which its answer acknowledges, a datagram by its ports, an echo by its
identifier and number.
"""

from __future__ import annotations

import struct
import typing as t

from .. import layout
from ..addresses import Address
from ..checksum import checksum

TCP, UDP, ICMP, ICMPV6 = 6, 17, 1, 58
_IPIP, _IPV6_IN = 4, 41
_SYN, _RST, _ACK = 0x02, 0x04, 0x10
_ECHO = {ICMP: 8, ICMPV6: 128}
_ECHO_REPLY = {ICMP: 0, ICMPV6: 129}
_UNREACHABLE = {ICMP: 3, ICMPV6: 1}
_TOO_BIG = (ICMPV6, 2)
_PORT = {ICMP: 3, ICMPV6: 4}
_NEEDS_FRAGMENTS = 4
_TTL = 64
_MSS = 1460


class Way(t.NamedTuple):
    """How the datapath tunnels (docs/datapath.md, section 4). Prefixes and sources: packed, 16 bytes."""

    gue_port: int
    prefix4: bytes
    prefix6: bytes
    source4: bytes = bytes(16)
    source6: bytes = bytes(16)


class Answer(t.NamedTuple):
    """What came back. `kind`: syn_ack, reset, datagram, echo, refused, unreachable or too_big.

    `source`: who sent it; `vip`: who a probe was for, by what is quoted, else the sender. `token`: of the probe: what a
    segment acknowledges less one, a datagram's own port, an echo's identifier << 16 | number. `port`: our port of TCP
    and UDP. `mss`: that a SYN-ACK announces, 0 where it does not.
    """

    kind: str
    source: bytes
    vip: bytes
    token: int
    port: int = 0
    mss: int = 0


def _packed(address: Address) -> bytes:
    return address.packed if address.ipv6 else address.packed[:4]


def _pseudo(source: bytes, destination: bytes, protocol: int, length: int) -> bytes:
    if len(source) == 16:
        return source + destination + struct.pack("!II", length, protocol)
    return source + destination + struct.pack("!HH", protocol, length)


def ip(source: bytes, destination: bytes, protocol: int, payload: bytes, ttl: int = _TTL) -> bytes:
    """An IP packet of either family; the addresses' lengths say which."""
    if len(source) == 16:
        return struct.pack("!IHBB", 6 << 28, len(payload), protocol, ttl) + source + destination + payload
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 0, 0, ttl, protocol, 0) + source + destination
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def segment(source: Address, destination: Address, ports: tuple[int, int], sequence: int, reset: bool = False) -> bytes:
    """A SYN, or the RST that ends what it began. `ports`: (ours, the service's)."""
    options = b"" if reset else struct.pack("!BBH", 2, 4, _MSS if not source.ipv6 else _MSS - 20)
    flags = _RST if reset else _SYN
    offset = (20 + len(options)) // 4 << 4
    body = struct.pack("!HHIIBBHHH", *ports, sequence, 0, offset, flags, 0 if reset else 64240, 0, 0) + options
    return _with_checksum(source, destination, TCP, body, 16)


def datagram(source: Address, destination: Address, ports: tuple[int, int], payload: bytes = b"") -> bytes:
    """A UDP datagram."""
    body = struct.pack("!HHHH", *ports, 8 + len(payload), 0) + payload
    return _with_checksum(source, destination, UDP, body, 6)


def echo(source: Address, destination: Address, token: int, size: int = 0) -> bytes:
    """An echo request; `size`: bytes of the whole IP packet, if it is to be so long."""
    protocol = ICMPV6 if source.ipv6 else ICMP
    head = 48 if source.ipv6 else 28
    body = struct.pack("!BBHI", _ECHO[protocol], 0, 0, token) + bytes(max(0, size - head))
    return _with_checksum(source, destination, protocol, body, 2)


def _with_checksum(source: Address, destination: Address, protocol: int, body: bytes, at: int) -> bytes:
    one, other = _packed(source), _packed(destination)
    covered = body if protocol == ICMP else _pseudo(one, other, protocol, len(body)) + body
    found = checksum(covered)
    if protocol == UDP and not found:
        found = 0xFFFF
    return ip(one, other, protocol, body[:at] + struct.pack("!H", found) + body[at + 2 :])


def tunnelled(way: Way, encapsulation: str, inner: bytes, real: Address, sport: int) -> bytes:
    """A packet in the tunnel to a real, as the datapath makes it. `sport`: the inner flow's source port."""
    ipv6 = inner[0] >> 4 == 6
    client = inner[20:24] if ipv6 else inner[12:16]
    port = struct.pack("!H", sport)
    swapped = port[::-1]
    target = _packed(real)
    if encapsulation == "ipip":
        protocol = _IPV6_IN if ipv6 else _IPIP
        if real.ipv6:
            source = way.prefix6[:12] + _xor(client[:2], port) + client[2:]
        else:
            source = way.prefix4[:2] + _xor(client[2:], swapped)
        return ip(source, target, protocol, inner)
    if real.ipv6:
        outer_port = _xor(port, client[:2] if ipv6 else client[2:])
        source = way.source6
    else:
        outer_port, source = _xor(swapped, client[2:]), way.source4[:4]
    body = outer_port + struct.pack("!HHH", way.gue_port, 8 + len(inner), 0) + inner
    found = checksum(_pseudo(source, target, UDP, len(body)) + body) or 0xFFFF
    return ip(source, target, UDP, body[:6] + struct.pack("!H", found) + body[8:])


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(left ^ right for left, right in zip(one, other, strict=True))


def outer_source(packet: bytes) -> str:
    """From where a packet claims to come."""
    ipv6 = packet[0] >> 4 == 6
    return layout.unpack_address(packet[8:24] if ipv6 else packet[12:16], ipv6)


def read_answer(packet: bytes) -> Answer | None:
    """What a packet to this host says of a probe; None where it is none that says anything."""
    try:
        return _read(packet)
    except (struct.error, IndexError):
        return None


def _headers(packet: bytes) -> tuple[bytes, bytes, int, bytes]:
    """(source, destination, protocol, payload) of an IP packet; extension headers are none that answers have."""
    if packet[0] >> 4 == 6:
        return packet[8:24], packet[24:40], packet[6], packet[40:]
    return packet[12:16], packet[16:20], packet[9], packet[(packet[0] & 15) * 4 :]


def _read(packet: bytes) -> Answer | None:
    source, _own, protocol, body = _headers(packet)
    if protocol == TCP:
        _sport, port, _sequence, acknowledged, offset, flags = struct.unpack_from("!HHIIBB", body)
        token = (acknowledged - 1) & 0xFFFFFFFF
        if flags & _RST:
            return Answer("reset", source, source, token, port)
        if flags & (_SYN | _ACK) == _SYN | _ACK:
            return Answer("syn_ack", source, source, token, port, _mss(body[20 : (offset >> 4) * 4]))
        return None
    if protocol == UDP:
        _sport, port = struct.unpack_from("!HH", body)
        return Answer("datagram", source, source, port, port)
    if protocol in _ECHO:
        return _read_icmp(protocol, source, body)
    return None


def _mss(options: bytes) -> int:
    """The option MSS of TCP's options, 0 where there is none."""
    at = 0
    while at < len(options) and options[at]:
        if options[at] == 1:
            at += 1
            continue
        if options[at] == 2:
            return int(struct.unpack_from("!H", options, at + 2)[0])
        at += max(2, options[at + 1])
    return 0


def _read_icmp(protocol: int, source: bytes, body: bytes) -> Answer | None:
    kind, code = body[0], body[1]
    if kind == _ECHO_REPLY[protocol]:
        return Answer("echo", source, source, struct.unpack_from("!I", body, 4)[0])
    too_big = (protocol, kind) == _TOO_BIG or (protocol == ICMP and (kind, code) == (3, _NEEDS_FRAGMENTS))
    if kind != _UNREACHABLE[protocol] and not too_big:
        return None
    # What is quoted is the packet that we sent: in the tunnel, or the tunnel itself.
    _own, target, inner, quoted = _headers(body[8:])
    word = "too_big" if too_big else "refused" if code == _PORT[protocol] else "unreachable"
    if inner == TCP:
        port, _service, sequence = struct.unpack_from("!HHI", quoted)
        return Answer(word, source, target, sequence, port)
    if inner == UDP:
        port = struct.unpack_from("!H", quoted)[0]
        return Answer(word, source, target, port, port)
    if inner in _ECHO:
        return Answer(word, source, target, struct.unpack_from("!I", quoted, 4)[0])
    return Answer(word, source, target, 0)
