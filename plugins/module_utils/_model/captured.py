# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packets as the balancer's program copies them for whoever captures: what is asked for, and what comes.

Layouts: `capture_filter` and `capture_metadata` of bpf/include/structs.h.
"""

from __future__ import annotations

import struct
import typing as t
from dataclasses import dataclass

from . import layout
from .addresses import Address, Prefix, read_address, read_prefix
from .errors import ConfigError

EVENT_IN, EVENT_OUT = 3, 4
SNAPLEN = 65_535
MAX_PACKETS = 1_000_000

_FILTER = struct.Struct("=II16s16s2s2xIII")
_METADATA = struct.Struct("=IIIBBBxQII")

HOW = {
    1: "connection table",
    2: "global table",
    3: "server id",
    4: "source route",
    5: "ring",
}
"""`how` of an event → what chose the real."""

VERDICTS = {0: "aborted", 1: "dropped", 2: "passed to the host", 3: "sent"}
"""XDP action → what became of the packet."""


@dataclass(frozen=True)
class Client:
    """Whose packets: a prefix, and a port (0: any)."""

    prefix: Prefix
    port: int = 0

    @classmethod
    def read(cls, text: str) -> Client:
        """From 192.0.2.7:31337, 192.0.2.0/24, 2001:db8::7 or [2001:db8::]/64. ConfigError where it is none of these."""
        host, port = text, "0"
        if text.startswith("["):
            host, _bracket, rest = text[1:].partition("]")
            length, colon, port = rest.partition(":")
            host, port = host + length, port if colon else "0"
        elif text.count(":") == 1:
            host, _colon, port = text.partition(":")
        found = read_prefix(host) if "/" in host else read_address(host)
        if isinstance(found, str):
            raise ConfigError(f"client: {found}")
        if found is None or not (port.isascii() and port.isdecimal()) or int(port) > 65535:
            raise ConfigError(f"client: {text} is neither an address nor a prefix, with a port behind a colon or none")
        if isinstance(found, Address):
            found = Prefix(found, 128 if found.ipv6 else 32)
        return cls(found, int(port))

    def mask(self) -> bytes:
        """The 16 bytes of which a client's address has to be the same."""
        width = 128 if self.prefix.address.ipv6 else 32
        bits = (1 << width) - (1 << (width - self.prefix.length))
        return bits.to_bytes(width // 8, "big").ljust(layout.ADDRESS_BYTES, b"\0")


def capture_filter(number: int, real: int, client: Client | None, snaplen: int, limit: int) -> bytes:
    """capture_filter (56): of a VIP by its number, `real` 0: of any, so many packets and bytes of a frame at most."""
    address = client.prefix.address.packed if client else bytes(layout.ADDRESS_BYTES)
    mask = client.mask() if client else bytes(layout.ADDRESS_BYTES)
    port = (client.port if client else 0).to_bytes(2, "big")
    return _FILTER.pack(number, real, address, mask, port, snaplen, limit, 0)


@dataclass(frozen=True)
class Frame:
    """A copied frame, as it came or as it left. `at`: nanoseconds of the monotonic clock; `length`: of the whole frame.

    `how` and `verdict`: keys of HOW and VERDICTS; `from_icmp`: an ICMP error about a flow of the VIP.
    """

    out: bool
    at: int
    cpu: int
    vip: int
    real: int
    how: int
    verdict: int
    from_icmp: bool
    length: int
    data: bytes

    @property
    def why(self) -> str:
        """What chose the real, "" where nothing did."""
        return HOW.get(self.how, "")


def parse_event(cpu: int, raw: bytes) -> Frame | None:
    """The frame in an event; None for events of another kind."""
    if len(raw) < _METADATA.size:
        return None
    event, length, kept, how, verdict, from_icmp, at, vip, real = _METADATA.unpack_from(raw)
    if event not in (EVENT_IN, EVENT_OUT):
        return None
    data = raw[_METADATA.size : _METADATA.size + kept]
    return Frame(event == EVENT_OUT, at, cpu, vip, real, how, verdict, bool(from_icmp), length, data)


class Pairs:
    """Numbers the packets: a frame that leaves a CPU is the one that came to it last."""

    def __init__(self) -> None:
        self._last: dict[int, int] = {}
        self.packets = 0

    def number(self, frame: Frame) -> int | None:
        """The packet's number from 1 on; None for a frame that leaves and was lost as it came."""
        if frame.out:
            return self._last.pop(frame.cpu, None)
        self.packets += 1
        self._last[frame.cpu] = self.packets
        return self.packets


_FLAGS = ((0x02, "S"), (0x01, "F"), (0x04, "R"), (0x08, "P"), (0x10, "."))


def _endpoint(packed: bytes, ipv6: bool, port: int | None) -> str:
    text = layout.unpack_address(packed, ipv6)
    if port is None:
        return text
    return f"[{text}]:{port}" if ipv6 else f"{text}:{port}"


def summary(data: bytes) -> str:
    """The outermost addresses of an Ethernet frame, ports and TCP flags where it has them, in a line."""
    at = 12
    kind = data[at : at + 2]
    while kind in (b"\x81\x00", b"\x88\xa8"):
        at += 4
        kind = data[at : at + 2]
    ip = data[at + 2 :]
    if kind == b"\x08\x00" and len(ip) >= 20:
        ipv6, protocol, source, destination, rest = False, ip[9], ip[12:16], ip[16:20], ip[(ip[0] & 15) * 4 :]
    elif kind == b"\x86\xdd" and len(ip) >= 40:
        ipv6, protocol, source, destination, rest = True, ip[6], ip[8:24], ip[24:40], ip[40:]
    else:
        return "a frame that was cut short"
    name = {1: "icmp", 4: "ipip", 41: "ipip", 58: "icmp6", **layout.PROTOCOL_NAMES}.get(protocol, str(protocol))
    ports: tuple[int | None, int | None] = (None, None)
    if protocol in layout.PROTOCOL_NAMES and len(rest) >= 4:
        ports = t.cast("tuple[int, int]", struct.unpack_from("!HH", rest))
    flags = ""
    if protocol == layout.PROTOCOLS["tcp"] and len(rest) >= 14:
        flags = " [" + "".join(letter for bit, letter in _FLAGS if rest[13] & bit) + "]"
    ends = (_endpoint(each, ipv6, port) for each, port in zip((source, destination), ports, strict=True))
    return f"{' > '.join(ends)} {name}{flags}"
