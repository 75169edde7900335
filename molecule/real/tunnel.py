# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask the UDP echo on a VIP's port 7 for an answer, in an IPIP tunnel to a real: `tunnel.py VIP REAL`.

The answer comes from the VIP directly, without a tunnel.
"""

from __future__ import annotations

import socket
import struct
import sys

ECHO, UDP = 7, 17


def header(source: str, destination: str, length: int) -> bytes:
    """An IPv4 header before a UDP datagram of so many bytes (RFC 791)."""
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + length, 0, 0, 64, UDP, 0)
    head += socket.inet_aton(source) + socket.inet_aton(destination)
    total = sum(struct.unpack("!10H", head))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return head[:10] + struct.pack("!H", ~total & 0xFFFF) + head[12:]


def main(vip: str, real: str) -> None:
    """Ask until there is an answer, ten times at most, and print it; exit status 1 where there is none."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening,
        socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_IPIP) as tunnel,
    ):
        tunnel.connect((real, 0))
        own = tunnel.getsockname()[0]
        listening.bind((own, 0))
        listening.settimeout(1.0)
        # No checksum, which UDP over IPv4 allows.
        datagram = struct.pack("!HHHH", listening.getsockname()[1], ECHO, 12, 0) + b"ping"
        for attempt in range(10):
            tunnel.send(header(own, vip, len(datagram)) + datagram)
            try:
                sys.stdout.write(listening.recv(100).decode())
                return
            except TimeoutError:
                sys.stderr.write(f"no answer to question {attempt + 1}\n")
    sys.exit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
