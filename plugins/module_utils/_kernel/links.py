# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's interfaces and the addresses of lo, for a look that cannot wait for pyroute2 to be imported."""

from __future__ import annotations

import socket
import struct
import typing as t

from .._model.snapshot import Attachment
from .rtnetlink import attribute, dump, number_of, read_attributes

_NEWLINK, _GETLINK, _NEWADDR, _GETADDR = 16, 18, 20, 22
_NAME, _MTU, _XDP = 3, 4, 43
_XDP_ATTACHED, _XDP_PROGRAM = 2, 4
_MASK, _NO_COUNTERS = 29, 1 << 3
"""IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS: of all that is told of an interface, its counters take the longest."""

_ADDRESS, _LOCAL = 1, 2
_UP = 0x1
_LOOPBACK = 1
"""lo is the first interface of every network namespace."""

_MODES = {1: "native", 2: "generic", 3: "offload", 4: "multi"}
_LINK = struct.Struct("=BxHiII")
_ADDR = struct.Struct("=BBBBI")


class Link(t.NamedTuple):
    """An interface. `up`: as an administrator has it; `xdp`: the program that XDP runs there, None where none."""

    name: str
    up: bool
    mtu: int
    xdp: Attachment | None


def read_links() -> dict[str, Link]:
    """Every interface by its name. OSError where the kernel does not tell."""
    body = _LINK.pack(socket.AF_UNSPEC, 0, 0, 0, 0) + attribute(_MASK, struct.pack("=I", _NO_COUNTERS))
    found = {}
    for message in dump(_GETLINK, _NEWLINK, body):
        _family, _type, index, flags, _change = _LINK.unpack_from(message)
        told = read_attributes(message[_LINK.size :])
        name = told.get(_NAME, b"").split(b"\0")[0].decode()
        xdp = read_attributes(told.get(_XDP, b""))
        program = number_of(xdp, _XDP_PROGRAM)
        mode = _MODES.get(xdp.get(_XDP_ATTACHED, b"\0")[0], "unknown")
        attached = Attachment(name, index, program, mode) if program else None
        found[name] = Link(name, bool(flags & _UP), number_of(told, _MTU), attached)
    return found


def addresses_of_lo() -> list[str]:
    """The addresses of interface lo but the host's own (127.0.0.1, ::1), canonical text."""
    found = []
    for message in dump(_GETADDR, _NEWADDR, _ADDR.pack(socket.AF_UNSPEC, 0, 0, 0, 0)):
        family, _length, _flags, _scope, index = _ADDR.unpack_from(message)
        told = read_attributes(message[_ADDR.size :])
        address = told.get(_LOCAL) or told.get(_ADDRESS)
        if index == _LOOPBACK and address and family in (socket.AF_INET, socket.AF_INET6):
            found.append(socket.inet_ntop(family, address))
    return [text for text in found if text not in ("127.0.0.1", "::1")]
