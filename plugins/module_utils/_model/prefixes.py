# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many prefixes at once: a table may have millions, and to read one of them by itself takes a hundred times as long.

What is read here is read as read_prefix reads it. Whatever is not in the plain form is left to it.
"""

from __future__ import annotations

import operator
import struct
import sys
import typing as t
from collections.abc import Sequence
from itertools import chain, repeat

from . import layout
from .addresses import Address, Prefix, never_usable, read_prefix

_OCTETS = {str(octet): octet for octet in range(256)}
_LATER = {f".{octet}": octet for octet in range(256)}
_LENGTHS = {f"/{length}": length for length in range(33)}
_HOST_BITS = [(1 << (32 - length)) - 1 for length in range(33)]


_AT_ONCE = 4096
"""Beyond some thousands, what is made on the way no longer fits into caches."""


class _Columns(t.NamedTuple):
    """Prefixes of IPv4: their four bytes, one after another, and their lengths, a byte each."""

    packed: bytearray
    lengths: bytes


def _columns(texts: Sequence[str]) -> _Columns | None:
    """Prefixes of IPv4; None where a text is not in the canonical form of one."""
    packed, lengths = bytearray(), bytearray()
    for start in range(0, len(texts), _AT_ONCE):
        part = _part(texts[start : start + _AT_ONCE])
        if part is None:
            return None
        packed += part.packed
        lengths += part.lengths
    return _Columns(packed, bytes(lengths))


def _part(texts: Sequence[str]) -> _Columns | None:
    number = len(texts)
    joined = "\n".join(texts)
    # Each part keeps the sign before it, so that no text can make up for what another lacks.
    parts = joined.replace(".", "\n.").replace("/", "\n/").split("\n")
    if joined.count("\n") != number - 1 or len(parts) != 5 * number:
        return None
    packed = bytearray(4 * number)
    try:
        for column, octets in enumerate((_OCTETS, _LATER, _LATER, _LATER)):
            packed[column::4] = bytes(map(octets.__getitem__, parts[column::5]))
        lengths = bytes(map(_LENGTHS.__getitem__, parts[4::5]))
    except KeyError:
        return None
    values = struct.unpack(f">{number}I", packed)
    if any(map(operator.and_, values, map(_HOST_BITS.__getitem__, lengths))):
        return None
    return _Columns(packed, lengths)


def _split(data: bytes | bytearray, size: int) -> list[bytes]:
    return list(chain.from_iterable(struct.iter_unpack(f"{size}s", data)))


def read_prefixes(texts: Sequence[t.Any]) -> list[Prefix] | None:
    """What read_prefix answers to each of these; None where one of them is not in canonical form."""
    try:
        ipv4 = [text for text in texts if ":" not in text]
        columns = _columns(ipv4) if ipv4 else None
    except TypeError:
        return None
    if columns is None and ipv4:
        return None
    found: list[Prefix] = []
    if columns is not None:
        padded = bytearray(layout.ADDRESS_BYTES * len(ipv4))
        for column in range(4):
            padded[column :: layout.ADDRESS_BYTES] = columns.packed[column::4]
        heads = [text.partition("/")[0] for text in ipv4]
        # As the classes make them themselves, without a call of theirs for each.
        fields = zip(heads, _split(padded, layout.ADDRESS_BYTES), repeat(False))
        addresses = map(tuple.__new__, repeat(Address), fields)
        found = list(map(tuple.__new__, repeat(Prefix), zip(addresses, columns.lengths, strict=True)))
    if len(ipv4) == len(texts):
        return found
    quick = iter(found)
    mixed = [read_prefix(text) if ":" in text else next(quick) for text in texts]
    return None if any(isinstance(prefix, str) for prefix in mixed) else t.cast("list[Prefix]", mixed)


def client_keys(texts: Sequence[t.Any]) -> list[bytes] | None:
    """The keys of lpm_src_v4 for prefixes of clients; None where one is not in canonical form, or may be of no use."""
    try:
        columns = _columns(texts) if texts else None
    except TypeError:
        return None
    if columns is None or min(columns.lengths) < 8 or never_usable(set(columns.packed[::4])):
        return None
    keys = bytearray(8 * len(texts))
    keys[0 if sys.byteorder == "little" else 3 :: 8] = columns.lengths
    for column in range(4):
        keys[4 + column :: 8] = columns.packed[column::4]
    return _split(keys, 8)
