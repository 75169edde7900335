# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What balancers tell each other of flows: statements, and how a datagram carries them."""

from __future__ import annotations

import struct
import typing as t
from collections.abc import Sequence

from . import layout
from .flow_selection import is_ipv6
from .sealed import MAX_PAYLOAD, RefusedError

SET, REFRESH, WITHDRAW, RELAY = 1, 2, 3, 4
"""New knowledge; the same once more; a flow that has another real since; what a balancer that is gone had told."""

_HEAD = struct.Struct(">HH")
_RECORD = struct.Struct(">40s16sBBH")
RECORDS = (MAX_PAYLOAD - _HEAD.size) // _RECORD.size
"""As many fit into a datagram."""

_COMPLETE = 1
_ACK_HEAD = struct.Struct(">HxxI")
MAX_ACKED = 128
_ZERO12 = bytes(12)


class Statement(t.NamedTuple):
    """A flow and its real. `real`: 16 bytes, as in real_definition; `age`: minutes since its balancer last said so."""

    word: int
    key: bytes
    real: bytes
    ipv6: bool
    age: int = 0

    @property
    def address(self) -> tuple[bytes, bool]:
        """The real: its packed address and whether it is IPv6."""
        return self.real, self.ipv6


class Told(t.NamedTuple):
    """A datagram's statements. `complete`: with it, the sender has told everything that it knows."""

    statements: list[Statement]
    complete: bool


def pack_told(statements: Sequence[Statement], complete: bool = False) -> bytes:
    """A payload of up to RECORDS statements; of none, it asks for no more than an acknowledgement."""
    head = _HEAD.pack(len(statements), _COMPLETE if complete else 0)
    return head + b"".join(
        _RECORD.pack(each.key, each.real, each.word, each.ipv6, min(each.age, 0xFFFF)) for each in statements
    )


def parse_told(payload: bytes) -> Told:
    """A payload's statements. RefusedError where anything in it is no statement: then none of them counts."""
    if len(payload) < _HEAD.size:
        raise RefusedError("malformed")
    count, bits = _HEAD.unpack_from(payload)
    if bits & ~_COMPLETE or len(payload) != _HEAD.size + count * _RECORD.size:
        raise RefusedError("malformed")
    found = []
    for key, real, word, ipv6, age in _RECORD.iter_unpack(payload[_HEAD.size :]):
        if not SET <= word <= RELAY or ipv6 > 1 or not _is_flow(key, real, bool(ipv6)):
            raise RefusedError("malformed")
        found.append(Statement(word, key, real, bool(ipv6), age))
    return Told(found, bool(bits & _COMPLETE))


def _is_flow(key: bytes, real: bytes, ipv6: bool) -> bool:
    """Whether a key may be a flow's and its packets fit the real: IPv6 goes to no IPv4 real (datapath, section 4)."""
    if key[36] not in layout.PROTOCOL_NAMES or key[37:40] != b"\0\0\0" or not any(key[16:32]) or not any(real):
        return False
    return ipv6 or (real[4:] == _ZERO12 and not is_ipv6(key))


def pack_ack(counters: Sequence[int], held: int) -> bytes:
    """An acknowledgement of up to MAX_ACKED datagrams. `held`: flows that are held for who sent them."""
    return _ACK_HEAD.pack(len(counters), held) + struct.pack(f">{len(counters)}Q", *counters)


def parse_ack(payload: bytes) -> tuple[tuple[int, ...], int]:
    """(counters, flows held). RefusedError where it is no acknowledgement."""
    if len(payload) < _ACK_HEAD.size:
        raise RefusedError("malformed")
    count, held = _ACK_HEAD.unpack_from(payload)
    if count > MAX_ACKED or len(payload) != _ACK_HEAD.size + 8 * count:
        raise RefusedError("malformed")
    return struct.unpack_from(f">{count}Q", payload, _ACK_HEAD.size), held
