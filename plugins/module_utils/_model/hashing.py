# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hashes that the original balancer and the Linux kernel use: of reals for the ring, of flows for a slot in it."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from functools import lru_cache
from typing import Union

from .layout import IPV4_MAPPED

AnyAddress = Union[bytes, str, ipaddress.IPv4Address, ipaddress.IPv6Address]
U32 = 0xFFFFFFFF
_U64 = 0xFFFFFFFFFFFFFFFF


def packed_address(address: AnyAddress) -> bytes:
    """Return *address* in network order: 4 bytes for IPv4 (IPv4-mapped IPv6 included), 16 for IPv6.

    Bytes are taken as already packed; raises ValueError for anything that is not an address.
    """
    if isinstance(address, bytes):
        packed = address
    else:
        packed = ipaddress.ip_address(address).packed
    if len(packed) not in (4, 16):
        raise ValueError(f"an address has 4 or 16 bytes, not {len(packed)}")
    return packed[12:] if packed[:12] == IPV4_MAPPED else packed


def _rotate(value: int, bits: int) -> int:
    return ((value << bits) | (value >> (64 - bits))) & _U64


def _h128to64(upper: int, lower: int) -> int:
    """Fold 128 bits into 64 (CityHash's Hash128to64)."""
    multiplier = 0x9DDFEA08EB382D69
    a = (lower ^ upper) * multiplier & _U64
    a ^= a >> 47
    b = (upper ^ a) * multiplier & _U64
    b ^= b >> 47
    return b * multiplier & _U64


def _fnv32(data: bytes) -> int:
    """FNV-1 with each byte sign-extended to 32 bits before the xor, as a C compiler with signed char does it."""
    value = 2166136261
    for byte in data:
        value = value * 16777619 & U32
        value ^= byte if byte < 0x80 else byte | 0xFFFFFF00
    return value


def spooky_hash128(data: bytes) -> tuple[int, int]:
    """SpookyHash V2 (128 bits, both seeds 0) of exactly 16 bytes; returns its two 64-bit halves."""
    constant = 0xDEADBEEFDEADBEEF
    a = b = 0
    c = constant + int.from_bytes(data[:8], "little") & _U64
    d = constant + int.from_bytes(data[8:], "little") & _U64
    for turns in ((50, 52, 30, 41), (54, 48, 38, 37), (62, 34, 5, 36)):
        c = _rotate(c, turns[0]) + d & _U64
        a ^= c
        d = _rotate(d, turns[1]) + a & _U64
        b ^= d
        a = _rotate(a, turns[2]) + b & _U64
        c ^= a
        b = _rotate(b, turns[3]) + c & _U64
        d ^= b
    c = c + constant & _U64
    d = d + constant + (16 << 56) & _U64
    for turns in ((15, 52, 26, 51), (28, 9, 47, 54), (32, 25, 63, 0)):
        d ^= c
        c = _rotate(c, turns[0])
        d = d + c & _U64
        a ^= d
        d = _rotate(d, turns[1])
        a = a + d & _U64
        b ^= a
        a = _rotate(a, turns[2])
        b = b + a & _U64
        if turns[3]:
            c ^= b
            b = _rotate(b, turns[3])
            c = c + b & _U64
    return a, b


def murmur3(first: int, second: int, seed: int) -> int:
    """First 64 bits of MurmurHash3 x64-128 over the 16 bytes of two little-endian u64."""
    c1, c2 = 0x87C37B91114253D5, 0x4CF5AD432745937F
    h1 = seed ^ _rotate(first * c1 & _U64, 31) * c2 & _U64
    h1 = (_rotate(h1, 27) + seed) * 5 + 0x52DCE729 & _U64
    h2 = seed ^ _rotate(second * c2 & _U64, 33) * c1 & _U64
    h2 = (_rotate(h2, 31) + h1) * 5 + 0x38495AB5 & _U64
    h1 ^= 16
    h2 ^= 16
    h1 = h1 + h2 & _U64
    h2 = h2 + h1 & _U64
    return _murmur3_final(h1) + _murmur3_final(h2) & _U64


def _murmur3_final(value: int) -> int:
    value = (value ^ value >> 33) * 0xFF51AFD7ED558CCD & _U64
    value = (value ^ value >> 33) * 0xC4CEB9FE1A85EC53 & _U64
    return value ^ value >> 33


@lru_cache(maxsize=16384)
def address_hash(address: AnyAddress) -> int:
    """The u64 by which a real's address orders and seeds its Maglev permutation."""
    packed = packed_address(address)
    if len(packed) == 4:
        return _h128to64(2, _fnv32(packed))
    return _h128to64(10, _h128to64(*spooky_hash128(packed)))


def _jhash_mix(a: int, b: int, c: int) -> tuple[int, int, int]:
    for bits_a, bits_b, bits_c in ((4, 6, 8), (16, 19, 4)):
        a = a - c & U32 ^ (c << bits_a | c >> 32 - bits_a) & U32
        c = c + b & U32
        b = b - a & U32 ^ (a << bits_b | a >> 32 - bits_b) & U32
        a = a + c & U32
        c = c - b & U32 ^ (b << bits_c | b >> 32 - bits_c) & U32
        b = b + a & U32
    return a, b, c


def _jhash_final(a: int, b: int, c: int) -> int:
    for bits_c, bits_a, bits_b in ((14, 11, 25), (16, 4, 14), (24, 0, 0)):
        c = (c ^ b) - (b << bits_c | b >> 32 - bits_c) & U32
        if bits_a:
            a = (a ^ c) - (c << bits_a | c >> 32 - bits_a) & U32
            b = (b ^ a) - (a << bits_b | a >> 32 - bits_b) & U32
    return c


def jhash_2words(first: int, second: int, seed: int) -> int:
    """The kernel's jhash_2words (include/linux/jhash.h): u32 of two u32."""
    start = seed + 0xDEADBEEF + (2 << 2)
    return _jhash_final(first + start & U32, second + start & U32, start & U32)


def jhash_16bytes(data: bytes, seed: int) -> int:
    """The kernel's jhash (include/linux/jhash.h) of 16 bytes on a little-endian host."""
    start = 0xDEADBEEF + 16 + seed
    words = [int.from_bytes(data[at : at + 4], "little") for at in (0, 4, 8, 12)]
    a, b, c = _jhash_mix(words[0] + start & U32, words[1] + start & U32, words[2] + start & U32)
    return _jhash_final(a + words[3] & U32, b, c)


def flow_hash_ipv4(source: bytes, ports: int, seed: int) -> int:
    """u32 hash of an IPv4 flow.

    *source*: 4 bytes; *ports*: flow_key's u32 at offset 32, as a little-endian host loads it; *seed*: max_vips ×
    ring_size.
    """
    return jhash_2words(int.from_bytes(source, "little"), ports, seed)


def flow_hash_ipv6(source: bytes, ports: int, seed: int, max_vips: int) -> int:
    """u32 hash of an IPv6 flow. *source*: 16 bytes; the others as for flow_hash_ipv4."""
    return jhash_2words(jhash_16bytes(source, max_vips), ports, seed)


def flow_slot(
    source: AnyAddress,
    source_port: int,
    destination_port: int,
    *,
    max_vips: int,
    ring_size: int,
    flags: Collection[str] = (),
    port_matched: bool = True,
) -> int:
    """Return the ring slot, 0 … ring_size − 1, that a flow takes when the ring chooses.

    *flags* are the VIP's flags by name. *port_matched* is False when the flow's port was not matched by an exact VIP
    (a CIDR VIP, or a VIP with port 0): the destination port then counts as 0 unless a flag keeps it. The family of
    *source* is the VIP's family. An IPv4-mapped IPv6 source is hashed as the IPv6 address that is on the wire.
    """
    packed = source if isinstance(source, bytes) else ipaddress.ip_address(source).packed
    if not port_matched and "hash_dst_port_only" not in flags and "hash_src_dst_port" not in flags:
        destination_port = 0
    if "hash_no_src_port" in flags:
        source_port = 0
    if "hash_dst_port_only" in flags:
        packed = bytes(len(packed))
        source_port = destination_port
    # Two network-order u16 read as one little-endian u32.
    ports = int.from_bytes(source_port.to_bytes(2, "big") + destination_port.to_bytes(2, "big"), "little")
    seed = max_vips * ring_size & U32
    if len(packed) == 4:
        return flow_hash_ipv4(packed, ports, seed) % ring_size
    return flow_hash_ipv6(packed, ports, seed, max_vips) % ring_size
