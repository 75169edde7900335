# SPDX-License-Identifier: GPL-3.0-or-later
"""A network of its own with a peer that is this process: packets to it are read and written by hand."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import select
import struct
import subprocess
from collections.abc import Iterator

from scapy.layers.inet import IP
from scapy.packet import Packet

HOST, PEER = "198.18.9.1", "198.18.9.2"
_NEWNET = 0x40000000
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000


class Peer:
    """The host's only neighbour, PEER. What it sends has its checksums right unless set."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def send(self, packet: Packet) -> None:
        """Send the host what is above IP."""
        os.write(self._descriptor, bytes(IP(src=PEER, dst=HOST) / packet))

    def receive(self, seconds: float = 2) -> IP:
        """The host's next packet over IPv4."""
        while select.select([self._descriptor], [], [], seconds)[0]:
            packet = os.read(self._descriptor, 4096)
            if packet[0] >> 4 == 4:
                return IP(packet)
        raise AssertionError(f"nothing came within {seconds} s")


@contextlib.contextmanager
def tunnel() -> Iterator[Peer]:
    """Be on a host HOST with no neighbour but that one."""
    libc = ctypes.CDLL(None, use_errno=True)
    before = os.open("/proc/self/ns/net", os.O_RDONLY)
    assert libc.unshare(_NEWNET) == 0, os.strerror(ctypes.get_errno())
    device = os.open("/dev/net/tun", os.O_RDWR)
    try:
        fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", b"tun0", _IFF_TUN | _IFF_NO_PI))
        for command in (f"addr add {HOST}/24 dev tun0", "link set tun0 up"):
            subprocess.run(["ip", *command.split()], check=True)
        yield Peer(device)
    finally:
        os.close(device)
        libc.setns(before, _NEWNET)
        os.close(before)
