# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Flows to ask a simulation for, and the packets that stand for them."""

from __future__ import annotations

import struct
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from . import layout
from .addresses import Address, mapped_fault, read_known_host
from .faults import Faults
from .options import Spec
from .vips import VipKey

FLOWS: Spec = {
    "flows": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "source": {"type": "str", "required": True},
            "destination": {"type": "str", "required": True},
            "source_port": {"type": "int", "required": True},
            "destination_port": {"type": "int", "required": True},
            "protocol": {"type": "str", "choices": ["tcp", "udp"], "required": True},
            "server_id": {"type": "int"},
        },
    }
}

MAX_FLOWS = 10_000
_HOST_MAC, _ROUTER_MAC = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")
_IPV4, _IPV6 = 0x0800, 0x86DD


@dataclass(frozen=True)
class Flow:
    """A flow to ask for. `server_id` 0: its packet names no server."""

    source: Address
    destination: Address
    source_port: int
    destination_port: int
    protocol: str
    server_id: int = 0

    def possible_keys(self) -> list[bytes]:
        """The keys under which a connection table may know it, whatever the VIP's flags: the likeliest first."""
        protocol = layout.PROTOCOLS[self.protocol]
        found = [
            layout.flow_key(self.source.packed, self.destination.packed, sport, dport, protocol)
            for sport in (self.source_port, 0)
            for dport in (self.destination_port, 0)
        ]
        return list(dict.fromkeys(found))

    def key(self, vip: VipKey, flags: frozenset[str]) -> bytes:
        """The key under which it is known as a flow of a VIP (datapath, steps 6 and 8)."""
        exact = vip.prefixlen is None and vip.port != 0
        keeps = exact or flags & {"hash_dst_port_only", "hash_src_dst_port"}
        sport = 0 if "hash_no_src_port" in flags else self.source_port
        dport = self.destination_port if keeps else 0
        return layout.flow_key(
            self.source.packed, self.destination.packed, sport, dport, layout.PROTOCOLS[self.protocol]
        )


def parse_flows(entries: Sequence[Mapping[str, t.Any]]) -> list[Flow]:
    """The option flows, validated. ConfigError lists all faults."""
    faults = Faults()
    found = []
    if not 1 <= len(entries) <= MAX_FLOWS:
        faults.add("flows", f"{len(entries)} flows, but it takes 1 to {MAX_FLOWS}")
    for index, entry in enumerate(entries):
        addresses = []
        for name in ("source", "destination"):
            address = read_known_host(entry[name])
            fault = address if isinstance(address, str) else mapped_fault(address)
            if fault:
                faults.add(f"flows[{index}].{name}", fault)
            elif isinstance(address, Address):
                addresses.append(address)
        for name in ("source_port", "destination_port"):
            if not 0 <= entry[name] <= 65535:
                faults.add(f"flows[{index}].{name}", f"{entry[name]} is not a port (0 to 65535)")
        server = entry.get("server_id") or 0
        if not 0 <= server <= 0xFFFFFFFF:
            faults.add(f"flows[{index}].server_id", f"{server} is not a server id (1 to 4294967295)")
        if len(addresses) < 2:
            continue
        source, destination = addresses
        if source.ipv6 != destination.ipv6:
            faults.add(f"flows[{index}]", f"{source.text} and {destination.text} are not of one family")
        found.append(
            Flow(source, destination, entry["source_port"], entry["destination_port"], entry["protocol"], server)
        )
    faults.check()
    return found


def _checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071) of an even number of bytes."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return int(~total & 0xFFFF)


def build_frame(flow: Flow, flags: frozenset[str]) -> bytes:
    """A frame of the flow: a TCP segment with ACK, or a UDP datagram. `flags`: the VIP's, which say where an id goes.

    Transport checksums are left out: the balancer does not verify them.
    """
    if flow.protocol == "tcp":
        # Kind 0xB7 of length 6 with the id as little-endian u32, behind two bytes of padding (NOP).
        options = b"\x01\x01\xb7\x06" + struct.pack("<I", flow.server_id) if flow.server_id else b""
        offset = (20 + len(options)) // 4 << 4
        body = struct.pack("!HHIIBBHHH", flow.source_port, flow.destination_port, 1, 1, offset, 0x10, 512, 0, 0)
        body += options
    else:
        payload = _udp_payload(flow.server_id, flags)
        body = struct.pack("!HHHH", flow.source_port, flow.destination_port, 8 + len(payload), 0) + payload
    protocol = layout.PROTOCOLS[flow.protocol]
    if flow.source.ipv6:
        head = struct.pack("!IHBB", 6 << 28, len(body), protocol, 64) + flow.source.packed + flow.destination.packed
        return _HOST_MAC + _ROUTER_MAC + _IPV6.to_bytes(2, "big") + head + body
    addresses = flow.source.packed[:4] + flow.destination.packed[:4]
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0, 64, protocol, 0) + addresses
    head = head[:10] + _checksum(head).to_bytes(2, "big") + head[12:]
    return _HOST_MAC + _ROUTER_MAC + _IPV4.to_bytes(2, "big") + head + body


def _udp_payload(server_id: int, flags: frozenset[str]) -> bytes:
    """16 bytes that carry the id: of stable routing's header, else of a short QUIC header with a connection id."""
    if not server_id:
        return bytes(16)
    if "udp_stable_routing" in flags:
        return (b"\x52" + (server_id & 0xFFFFFF).to_bytes(3, "big")).ljust(16, b"\0")
    return (b"\x40\xc0" + server_id.to_bytes(4, "big")).ljust(16, b"\0")


def read_tunnel(frame: bytes) -> dict[str, t.Any]:
    """The outer headers of a frame that was sent: addresses, and for GUE the UDP ports."""
    if int.from_bytes(frame[12:14], "big") == _IPV6:
        protocol, ipv6, first, length, inner = frame[20], True, 22, 16, 54
    else:
        protocol, ipv6, first, length, inner = frame[23], False, 26, 4, 34
    found: dict[str, t.Any] = {
        "type": "gue" if protocol == 17 else "ipip",
        "source": layout.unpack_address(frame[first : first + length], ipv6),
        "destination": layout.unpack_address(frame[first + length : first + 2 * length], ipv6),
        "gateway_mac": layout.parse_mac(frame[:6]),
    }
    if protocol == 17:
        found["source_port"], found["destination_port"] = struct.unpack_from("!HH", frame, inner)
    return found
