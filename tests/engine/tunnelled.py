# SPDX-License-Identifier: GPL-3.0-or-later
"""Datagrams as balancers send them to a real, and whether they arrive at a service there."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from pathlib import Path

LINK = "in"
REAL, CLIENT = "198.18.7.1", "203.0.113.7"
REAL6, CLIENT6 = "2001:db8:7::1", "2001:db8:c::7"
A, B, C = "198.51.100.1", "198.51.100.2", "2001:db8::1"
PORT = 5353


@dataclass(frozen=True)
class Tunnel:
    """A datagram to a VIP in a tunnel: of which family the outer header is, "ipip" or "gue", and from where.

    `tos`, `inner_tos`: ToS or traffic class.
    """

    family: int = 4
    kind: str = "ipip"
    source: str = ""
    end: str = ""
    gue_port: int = 6080
    tos: int = 0
    inner_tos: int = 0

    def packet(self, vip: str, payload: bytes = b"ping") -> bytes:
        """The outer packet, without Ethernet."""
        inner_v6 = ":" in vip
        ports = struct.pack("!HHH", 40000, PORT, 8 + len(payload))
        inner = (ipv6 if inner_v6 else ipv4)(
            CLIENT6 if inner_v6 else CLIENT, vip, 17, udp(vip, ports, payload), self.inner_tos
        )
        protocol = 41 if inner_v6 else 4
        if self.kind == "gue":
            inner, protocol = struct.pack("!HHHH", 40000, self.gue_port, 8 + len(inner), 0) + inner, 17
        if self.family == 4:
            return ipv4(self.source or "172.16.1.1", self.end or REAL, protocol, inner, self.tos)
        return ipv6(self.source or "100::1", self.end or REAL6, protocol, inner, self.tos)


def udp(vip: str, ports: bytes, payload: bytes) -> bytes:
    """A UDP datagram from the client; over IPv6 it must have a checksum."""
    if ":" not in vip:
        return ports + bytes(2) + payload
    whole = socket.inet_pton(socket.AF_INET6, CLIENT6) + socket.inet_pton(socket.AF_INET6, vip)
    whole += struct.pack("!II", 8 + len(payload), 17) + ports + bytes(2) + payload + bytes(len(payload) % 2)
    total = sum(struct.unpack(f"!{len(whole) // 2}H", whole))
    total = (total & 0xFFFF) + (total >> 16)
    return ports + struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF or 0xFFFF) + payload


def ipv6(source: str, destination: str, protocol: int, payload: bytes, tos: int = 0) -> bytes:
    header = struct.pack("!IHBB", 6 << 28 | tos << 20, len(payload), protocol, 64)
    return header + b"".join(socket.inet_pton(socket.AF_INET6, each) for each in (source, destination)) + payload


def ipv4(source: str, destination: str, protocol: int, payload: bytes, tos: int = 0) -> bytes:
    header = struct.pack("!BBHHHBBH", 0x45, tos, 20 + len(payload), 0, 0, 64, protocol, 0)
    header += socket.inet_aton(source) + socket.inet_aton(destination)
    total = sum(struct.unpack("!10H", header))
    total = (total & 0xFFFF) + (total >> 16)
    return header[:10] + struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF) + header[12:] + payload


def send(packet: bytes, link: str = LINK) -> None:
    """Let a packet come in by an interface."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
        wire.bind((f"{link}-peer", 0))
        mac = bytes.fromhex(Path(f"/sys/class/net/{link}/address").read_text().strip().replace(":", ""))
        wire.send(mac + bytes(6) + (b"\x08\x00" if packet[0] >> 4 == 4 else b"\x86\xdd") + packet)


def arrives(vip: str, tunnel: Tunnel, link: str = LINK, patience: float = 0.3) -> int | None:
    """The ToS or traffic class with which a datagram in a tunnel arrives at a service on the VIP; None: it does not."""
    v6 = ":" in vip
    with socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM) as service:
        service.bind((vip, PORT))
        service.settimeout(patience)
        if v6:
            service.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, 1)
        else:
            service.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
        send(tunnel.packet(vip), link)
        try:
            data, told, _flags, source = service.recvmsg(64, 64)
        except TimeoutError:
            return None
        assert (data, source[0]) == (b"ping", CLIENT6 if v6 else CLIENT)
        return int(told[0][2][0])
