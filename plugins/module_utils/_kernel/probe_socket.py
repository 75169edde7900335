# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sockets of probe flows: frames out of an interface, what comes back to this host, and ports that never answer."""

from __future__ import annotations

import ctypes
import select
import socket
import struct
import time
import typing as t
from collections.abc import Iterator
from contextlib import ExitStack

_ETH_P_IP, _ETH_P_IPV6 = 0x0800, 0x86DD
_SO_ATTACH_FILTER = 26
_BUFFER = 1 << 20
_LARGEST = 65535

_LOAD_WORD, _JUMP_EQUAL, _RETURN = 0x20, 0x15, 0x06
"""Instructions of classic BPF (linux/bpf_common.h): load a word, jump if equal, return."""


def _attach(one: socket.socket, *program: tuple[int, int, int, int]) -> None:
    """Let a socket take only the packets for which a program of classic BPF returns more than 0."""
    code = b"".join(struct.pack("HBBI", *step) for step in program)
    held = ctypes.create_string_buffer(code, len(code))
    one.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", len(program), ctypes.addressof(held)))


class ProbeSocket:
    """Sends frames, and sees what comes to its own addresses. A context manager."""

    def __init__(self, own: t.Mapping[bool, bytes]) -> None:
        """`own`: whether IPv6 → the address that probes are sent from."""
        self._own, self._stack = own, ExitStack()
        self._senders: dict[str, socket.socket] = {}
        self._listeners: dict[socket.socket, bool] = {}
        self._mute: dict[tuple[bool, int], socket.socket] = {}

    def __enter__(self) -> t.Self:
        for ipv6, address in self._own.items():
            kind = _ETH_P_IPV6 if ipv6 else _ETH_P_IP
            tap = self._stack.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(kind)))
            tap.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
            # By the last word of the destination, so that a busy host's other packets cost nothing.
            last = struct.unpack("!I", address[-4:])[0]
            _attach(
                tap,
                (_LOAD_WORD, 0, 0, 36 if ipv6 else 16),
                (_JUMP_EQUAL, 0, 1, last),
                (_RETURN, 0, 0, _LARGEST),
                (_RETURN, 0, 0, 0),
            )
            self._listeners[tap] = ipv6
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def port(self, ipv6: bool, kind: int, number: int) -> int:
        """A port of ours, the same for the same number, that answers nothing: the kernel would reset what comes back.

        `kind`: SOCK_STREAM or SOCK_DGRAM. OSError where there is none left.
        """
        key = ipv6, number * 2 + (kind == socket.SOCK_DGRAM)
        if key not in self._mute:
            family = socket.AF_INET6 if ipv6 else socket.AF_INET
            one = self._stack.enter_context(socket.socket(family, kind))
            _attach(one, (_RETURN, 0, 0, 0))
            address = socket.inet_ntop(family, self._own[ipv6])
            one.bind((address, 0))
            if kind == socket.SOCK_STREAM:
                one.listen(1)
            self._mute[key] = one
        return int(self._mute[key].getsockname()[1])

    def send(self, interface: str, frame: bytes) -> None:
        """Send a frame. OSError where the interface does not take it."""
        if interface not in self._senders:
            one = self._stack.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
            one.bind((interface, 0))
            self._senders[interface] = one
        self._senders[interface].send(frame)

    def receive(self, deadline: float) -> Iterator[bytes]:
        """IP packets to our addresses, until the deadline (time.monotonic) or nobody asks for more."""
        while True:
            left = deadline - time.monotonic()
            ready = select.select(list(self._listeners), [], [], max(0.0, left))[0]
            if not ready:
                return
            for tap in ready:
                yield tap.recv(_LARGEST, socket.MSG_DONTWAIT)
