# SPDX-License-Identifier: GPL-3.0-or-later
"""An XDP program that passes every packet, for the router's end of a balancer's link.

veth delivers frames sent by XDP_TX only to a peer whose NAPI runs, and it runs when that peer has an XDP program of its
own. Two instructions need no compiler.
"""

from __future__ import annotations

import ctypes
import os
import platform
import socket
import struct

from fleetlab.plan import LabError

_BPF_SYSCALL = {"x86_64": 321, "aarch64": 280}
_BPF_PROG_LOAD = 5
_BPF_PROG_TYPE_XDP = 6
# Set r0 to XDP_PASS (2), then exit.
_INSTRUCTIONS = struct.pack("<BBhi", 0xB7, 0, 0, 2) + struct.pack("<BBhi", 0x95, 0, 0, 0)

_RTM_SETLINK = 19
_NLM_F_REQUEST_ACK = 0x5
_NLMSG_ERROR = 2
_IFLA_XDP_NESTED = 43 | 0x8000
_IFLA_XDP_FD = 1
_IFLA_XDP_FLAGS = 3
_XDP_FLAGS_DRV_MODE = 4


def load() -> int:
    """Load the program and return its file descriptor."""
    number = _BPF_SYSCALL.get(platform.machine())
    if number is None:
        raise LabError(f"the number of bpf(2) on {platform.machine()} is not known here")
    code = ctypes.create_string_buffer(_INSTRUCTIONS, len(_INSTRUCTIONS))
    licence = ctypes.create_string_buffer(b"GPL")
    attributes = ctypes.create_string_buffer(
        struct.pack("<IIQQ", _BPF_PROG_TYPE_XDP, 2, ctypes.addressof(code), ctypes.addressof(licence)).ljust(48, b"\0")
    )
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor: int = libc.syscall(number, _BPF_PROG_LOAD, attributes, 48)
    if descriptor < 0:
        raise LabError(f"loading the XDP pass program: {os.strerror(ctypes.get_errno())}")
    return descriptor


def detach(interface: str) -> None:
    """Take whatever XDP program *interface* of the current network namespace has off it."""
    attach(-1, interface)


def attach(program: int, interface: str) -> None:
    """Attach the program in native mode to *interface* of the current network namespace."""

    def attribute(kind: int, payload: bytes) -> bytes:
        length = 4 + len(payload)
        return struct.pack("<HH", length, kind) + payload.ljust(-(-len(payload) // 4) * 4, b"\0")

    nested = attribute(_IFLA_XDP_FD, struct.pack("<i", program)) + attribute(
        _IFLA_XDP_FLAGS, struct.pack("<I", _XDP_FLAGS_DRV_MODE)
    )
    body = struct.pack("<BxHiII", socket.AF_UNSPEC, 0, socket.if_nametoindex(interface), 0, 0)
    body += attribute(_IFLA_XDP_NESTED, nested)
    message = struct.pack("<IHHII", 16 + len(body), _RTM_SETLINK, _NLM_F_REQUEST_ACK, 1, 0) + body
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as netlink:
        netlink.sendto(message, (0, 0))
        answer = netlink.recv(65536)
    kind = struct.unpack_from("<H", answer, 4)[0]
    code = struct.unpack_from("<i", answer, 16)[0] if kind == _NLMSG_ERROR else 0
    if code:
        raise LabError(f"attaching the XDP pass program to {interface}: {os.strerror(-code)}")
