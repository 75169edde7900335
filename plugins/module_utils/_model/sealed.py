# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sealed datagrams between balancers: ChaCha20-Poly1305 under keys that no other session has had or will have.

    0 "KS"  2 version  3 kind  4 length of the datagram (u16)  6 zero (2)
    8 node: 16 random bytes of the process that sends
    24 opening: 16 random bytes of who opens the session
    40 answer: 16 random bytes of who accepts it; zero in OPEN
    56 counter (u64)
    64 sealed payload, 16 bytes longer than the payload

All in network order; the header is authenticated as a whole. The key of a datagram is HMAC-SHA256(shared key,
"katran_sync 1" ‖ kind ‖ opening ‖ answer), its nonce four zero bytes and the counter: each key is of one direction, and
random bytes of both ends are in those that carry anything. So no nonce comes twice, whoever restarts, and what was
recorded of one session opens in no other. docs/flow-sync.md has the protocol.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
import typing as t
from functools import lru_cache

MAGIC, VERSION = b"KS", 1
OPEN, ACCEPT, DATA, ACK = 1, 2, 3, 4
RANDOM_BYTES = 16
NOTHING = bytes(RANDOM_BYTES)
KEY_BYTES = 32
TAG_BYTES = 16
_HEADER = struct.Struct(">2sBBH2x16s16s16sQ")
HEADER_BYTES = _HEADER.size
MAX_DATAGRAM = 1232
"""What IPv6 carries everywhere (RFC 8200, section 5: 1280) without its header and UDP's."""

MAX_PAYLOAD = MAX_DATAGRAM - HEADER_BYTES - TAG_BYTES

CAUSES = (
    "stranger",
    "flood",
    "cut",
    "version",
    "reflected",
    "key",
    "session",
    "replayed",
    "reordered",
    "malformed",
)
"""Why a datagram is refused. `key`: of another key, or altered; `session`: of one that is not open."""


class RefusedError(Exception):
    """A datagram that changes nothing; `cause`: one of CAUSES."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


class Header(t.NamedTuple):
    """What is told in the clear, and cannot be altered unnoticed."""

    kind: int
    node: bytes
    opening: bytes
    answer: bytes
    counter: int

    def pack(self, payload: int) -> bytes:
        """The header of a datagram with so many bytes of payload."""
        length = HEADER_BYTES + payload + TAG_BYTES
        return _HEADER.pack(MAGIC, VERSION, self.kind, length, self.node, self.opening, self.answer, self.counter)


@lru_cache(maxsize=512)
def _cipher(key: bytes, kind: int, opening: bytes, answer: bytes) -> t.Any:
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    told = b"katran_sync 1" + bytes((kind,)) + opening + answer
    return ChaCha20Poly1305(hmac.new(key, told, hashlib.sha256).digest())


def seal(key: bytes, header: Header, payload: bytes) -> bytes:
    """A datagram. A (kind, opening, answer, counter) must never be used for two payloads."""
    if len(payload) > MAX_PAYLOAD:
        raise ValueError(f"{len(payload)} bytes are more than the {MAX_PAYLOAD} of a datagram")
    head = header.pack(len(payload))
    cipher = _cipher(key, header.kind, header.opening, header.answer)
    return head + t.cast(bytes, cipher.encrypt(bytes(4) + header.counter.to_bytes(8, "big"), payload, head))


def read_header(datagram: bytes) -> Header:
    """The header, not yet to be trusted. RefusedError where it is none."""
    if len(datagram) < HEADER_BYTES + TAG_BYTES:
        raise RefusedError("cut")
    magic, version, kind, length, node, opening, answer, counter = _HEADER.unpack_from(datagram)
    if magic != MAGIC or version != VERSION or kind not in (OPEN, ACCEPT, DATA, ACK):
        raise RefusedError("version")
    if length != len(datagram):
        raise RefusedError("cut")
    return Header(kind, node, opening, answer, counter)


def unseal(key: bytes, header: Header, datagram: bytes) -> bytes:
    """The payload. RefusedError where the datagram was not sealed with this key, or was altered since."""
    from cryptography.exceptions import InvalidTag

    cipher = _cipher(key, header.kind, header.opening, header.answer)
    try:
        nonce = bytes(4) + header.counter.to_bytes(8, "big")
        return t.cast(bytes, cipher.decrypt(nonce, datagram[HEADER_BYTES:], datagram[:HEADER_BYTES]))
    except InvalidTag:
        raise RefusedError("key") from None


class Window:
    """Which counters of a session were seen: tells a replayed datagram from one that is late."""

    BITS = 1024

    def __init__(self) -> None:
        self.highest = 0
        self._seen = 0

    def judge(self, counter: int) -> str:
        """Say new, reordered (later ones came before) or replayed; what is too old to tell counts as replayed."""
        if counter > self.highest:
            self._seen = (self._seen << min(counter - self.highest, self.BITS) | 1) & ((1 << self.BITS) - 1)
            self.highest = counter
            return "new"
        bit = 1 << (self.highest - counter) if self.highest - counter < self.BITS else 0
        if counter == 0 or not bit or self._seen & bit:
            return "replayed"
        self._seen |= bit
        return "reordered"
