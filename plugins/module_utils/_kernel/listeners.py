# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""TCP sockets that listen in this network namespace, by the kernel's socket diagnostics (linux/inet_diag.h)."""

from __future__ import annotations

import os
import socket
import struct
import typing as t
from collections.abc import Iterator

_SOCK_DIAG, _BY_FAMILY, _DONE, _ERROR = 4, 20, 3, 2
_REQUEST_DUMP = 0x301
_LISTEN = 10
_HEADER, _MESSAGE = 16, 72
_CGROUP_ID = 21


class Listener(t.NamedTuple):
    """A listening socket. `cookie`: its number while the host is up; `group`: that of its control group."""

    cookie: int
    port: int
    group: int


def listeners() -> list[Listener]:
    """Every TCP socket that listens. Up to kernel 5.8 nothing is known of their groups, and none is listed."""
    found = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _SOCK_DIAG) as asked:
        for family in (socket.AF_INET, socket.AF_INET6):
            request = struct.pack("=BBBBI", family, socket.IPPROTO_TCP, 0, 0, 1 << _LISTEN) + bytes(48)
            asked.send(struct.pack("=IHHII", _HEADER + len(request), _BY_FAMILY, _REQUEST_DUMP, 1, 0) + request)
            found += [each for body in _answers(asked) if (each := _listener(body)) is not None]
    return found


def _answers(asked: socket.socket) -> Iterator[bytes]:
    """The bodies of the messages of one dump."""
    while True:
        data = asked.recv(1 << 20)
        while data:
            length, kind = struct.unpack_from("=IH", data)
            if kind == _DONE:
                return
            if kind == _ERROR:
                code = -struct.unpack_from("=i", data, _HEADER)[0]
                raise OSError(code, os.strerror(code))
            yield data[_HEADER:length]
            data = data[(length + 3) // 4 * 4 :]


def _listener(body: bytes) -> Listener | None:
    port = struct.unpack_from("!H", body, 4)[0]
    low, high = struct.unpack_from("=II", body, 44)
    at = _MESSAGE
    while at + 4 <= len(body):
        length, kind = struct.unpack_from("=HH", body, at)
        if kind == _CGROUP_ID:
            return Listener(high << 32 | low, port, struct.unpack_from("=Q", body, at + 4)[0])
        at += max((length + 3) // 4 * 4, 4)
    return None
