# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages of rtnetlink (linux/netlink.h, linux/rtnetlink.h): how they are put together, and taken apart."""

from __future__ import annotations

import errno
import math
import os
import socket
import struct
import time
from collections.abc import Container, Iterable, Iterator, Mapping

_HEADER = struct.Struct("=IHHII")
_ERROR, _DONE = 2, 3
_REQUEST, _ACK, _INTERRUPTED, _DUMP = 0x01, 0x04, 0x10, 0x01 | 0x300
"""NLM_F_REQUEST; NLM_F_ACK; NLM_F_DUMP_INTR: something changed while it was read; NLM_F_REQUEST | NLM_F_DUMP."""

_SOL_NETLINK, _STRICT = 270, 12
"""NETLINK_GET_STRICT_CHK: the kernel looks at what a dump asks for, and leaves the rest out."""

_ATTEMPTS = 5
_AT_ONCE = 64
"""Messages in one datagram: their acknowledgements fit into the socket's buffer."""

_PAUSE_SECONDS = 0.005
"""Between datagrams: who listens to changes has a buffer for some 200, and loses what does not fit."""

_LARGEST = 1 << 18


def u32(data: bytes) -> int:
    """A number of four bytes, in the host's order."""
    return int(struct.unpack_from("=I", data)[0])


def attribute(kind: int, data: bytes) -> bytes:
    """One attribute, padded."""
    return struct.pack("=HH", len(data) + 4, kind) + data + bytes(-len(data) % 4)


def read_attributes(data: bytes) -> dict[int, bytes]:
    """Attributes by kind."""
    found = {}
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        # The two highest bits say that it is nested, or in network order.
        found[kind & 0x3FFF] = data[4:length]
        data = data[max(aligned(length), 4) :]
    return found


def aligned(length: int) -> int:
    """A length with its padding."""
    return (length + 3) & ~3


_UNKNOWN = (errno.EOPNOTSUPP, errno.EINVAL)


def dump(
    request: int, answer: int, body: bytes, strict: bool = False, nothing: Container[int] = _UNKNOWN
) -> list[bytes]:
    """The bodies of all answers of this kind; none where the kernel answers an error of `nothing`.

    `strict`: the kernel leaves out what the body does not ask for. OSError with every other error; InterruptedError
    where something changed each time that it was read: what was read then may lack what did not.
    """
    for _attempt in range(_ATTEMPTS):
        try:
            found, whole = dump_once(request, answer, body, strict)
        except OSError as error:
            if error.errno in nothing:
                return []
            raise
        if whole:
            return found
    raise InterruptedError(errno.EINTR, f"it changed each of the {_ATTEMPTS} times that it was read")


def dump_once(request: int, answer: int, body: bytes, strict: bool, most: float = math.inf) -> tuple[list[bytes], bool]:
    """The same, read once, and whether nothing changed meanwhile. No more is read once there are more than `most`."""
    found: list[bytes] = []
    whole = True
    with _opened() as link:
        if strict:
            link.setsockopt(_SOL_NETLINK, _STRICT, 1)
        link.send(_HEADER.pack(_HEADER.size + len(body), request, _DUMP, 1, 0) + body)
        while len(found) <= most:
            for kind, flags, _sequence, message in _messages(link.recv(_LARGEST)):
                whole = whole and not flags & _INTERRUPTED
                if kind == _ERROR or (kind == _DONE and _code(message)):
                    # What the kernel gives up half-way ends with its error.
                    raise _failure(message)
                if kind == _DONE:
                    return found, whole
                if kind == answer:
                    found.append(message)
    return found, False


def exchange(requests: Iterable[tuple[int, int, bytes]]) -> list[int]:
    """Send (kind, flags, body) each, in order; the kernel's answer to each: 0, or the number of an error."""
    left = list(requests)
    found: list[int] = []
    with _opened() as link:
        while left:
            if found:
                time.sleep(_PAUSE_SECONDS)
            batch, left = left[:_AT_ONCE], left[_AT_ONCE:]
            answers: dict[int, int] = {}
            link.send(b"".join(_request(number, *each) for number, each in enumerate(batch)))
            while len(answers) < len(batch):
                for kind, _flags, sequence, message in _messages(link.recv(_LARGEST)):
                    if kind == _ERROR:
                        answers[sequence] = _code(message)
            found += [answers[number] for number in range(len(batch))]
    return found


def _request(number: int, kind: int, flags: int, body: bytes) -> bytes:
    length = _HEADER.size + len(body)
    return _HEADER.pack(length, kind, flags | _REQUEST | _ACK, number, 0) + body + bytes(-length % 4)


def _opened() -> socket.socket:
    link = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    link.bind((0, 0))
    return link


def _messages(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """(kind, flags, sequence number, body) of each message of a datagram."""
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, flags, sequence, _port = _HEADER.unpack_from(data, at)
        yield kind, flags, sequence, data[at + _HEADER.size : at + length]
        at += max(aligned(length), _HEADER.size)


def _failure(message: bytes) -> OSError:
    code = _code(message)
    return OSError(code, os.strerror(code))


def _code(message: bytes) -> int:
    """The number of the error in the body of NLMSG_ERROR or NLMSG_DONE, 0: there is none."""
    return -int(struct.unpack_from("=i", message)[0]) if len(message) >= 4 else 0


def number_of(found: Mapping[int, bytes], kind: int, otherwise: int = 0) -> int:
    """The number in an attribute, or what stands for it where there is none."""
    return u32(found[kind]) if kind in found else otherwise
