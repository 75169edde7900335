# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of captured packets that Wireshark and tcpdump read: pcapng (draft-ietf-opsawg-pcapng).

Blocks in the host's byte order; times are nanoseconds since the epoch. Of the packet options, `epb_packetid` pairs the
frames of one packet and `epb_verdict` has what an XDP program answered, as xdpdump writes them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass

_SECTION, _INTERFACE, _STATISTICS, _PACKET = 0x0A0D0D0A, 1, 5, 6
_MAGIC = 0x1A2B3C4D
_ETHERNET = 1
_NANOSECONDS = 9
_XDP_VERDICT = 2

INBOUND, OUTBOUND = 1, 2
"""Lowest bits of `epb_flags`."""

Options = Iterable[tuple[int, bytes]]


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _options(options: Options) -> bytes:
    found = b"".join(struct.pack("=HH", code, len(value)) + _padded(value) for code, value in options)
    return found + bytes(4) if found else b""


def _block(kind: int, body: bytes) -> bytes:
    length = struct.pack("=I", 12 + len(body))
    return struct.pack("=I", kind) + length + body + length


def section(application: str, system: str, comment: str = "") -> bytes:
    """The head of a file."""
    options = [(1, comment.encode())] if comment else []
    options += [(3, system.encode()), (4, application.encode())]
    return _block(_SECTION, struct.pack("=IHHq", _MAGIC, 1, 0, -1) + _options(options))


def interface(name: str, description: str, snaplen: int) -> bytes:
    """An interface of Ethernet frames; the first in the file is number 0."""
    options = [(2, name.encode()), (3, description.encode()), (9, bytes((_NANOSECONDS,)))]
    return _block(_INTERFACE, struct.pack("=HHI", _ETHERNET, 0, snaplen) + _options(options))


def _stamp(nanoseconds: int) -> bytes:
    return struct.pack("=II", nanoseconds >> 32, nanoseconds & 0xFFFFFFFF)


@dataclass(frozen=True)
class Packet:
    """A frame of an interface: the bytes there are, and how many it had. `nanoseconds` since the epoch.

    `identity`: the same for all frames of one packet; `queue`: the CPU; `verdict`: an XDP action.
    """

    interface: int
    nanoseconds: int
    data: bytes
    length: int
    flags: int
    identity: int
    queue: int
    comment: str = ""
    verdict: int | None = None

    def block(self) -> bytes:
        """As it is in the file."""
        options = [(1, self.comment.encode())] if self.comment else []
        options += [(2, struct.pack("=I", self.flags)), (5, struct.pack("=Q", self.identity))]
        options.append((6, struct.pack("=I", self.queue)))
        if self.verdict is not None:
            options.append((7, bytes((_XDP_VERDICT,)) + struct.pack("=Q", self.verdict)))
        head = struct.pack("=I", self.interface) + _stamp(self.nanoseconds)
        head += struct.pack("=II", len(self.data), self.length)
        return _block(_PACKET, head + _padded(self.data) + _options(options))


def statistics(number: int, nanoseconds: int, received: int, lost: int) -> bytes:
    """At the end: how many frames interface `number` gave, and how many of them are not in the file."""
    options = [(4, struct.pack("=Q", received)), (5, struct.pack("=Q", lost))]
    return _block(_STATISTICS, struct.pack("=I", number) + _stamp(nanoseconds) + _options(options))
