# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Consistent hashing: where the balancer sends a flow, computed without a kernel.

Pure functions over addresses and numbers. The same inputs give the same rings and slots on every host and on the
original balancer, whose hashes these are: FNV-1a variant, SpookyHash V2, MurmurHash3 and Maglev for rings, the Linux
kernel's jhash for flows.
"""

from __future__ import annotations

import ipaddress
import mmap
import os
import re
import signal
import sys
import threading
from array import array
from collections import Counter, deque
from collections.abc import Collection, Generator, Iterator, Sequence
from functools import lru_cache
from itertools import accumulate, chain, cycle, islice, repeat
from math import gcd, log
from typing import Union

Address = Union[bytes, str, ipaddress.IPv4Address, ipaddress.IPv6Address]

# (reals, ring_size, ring_hash) as build_ring takes them.
Job = tuple[Sequence[tuple[Address, int]], int, str]

RING_HASHES = ("maglev_v2", "maglev_v1")

_U32 = 0xFFFFFFFF
_U64 = 0xFFFFFFFFFFFFFFFF
_IPV4_MAPPED = bytes(10) + b"\xff\xff"
_IS_ZERO = b"\1".ljust(256, b"\0")
_ONES = re.compile(b"\1").finditer


def packed_address(address: Address) -> bytes:
    """Return *address* in network order: 4 bytes for IPv4 (IPv4-mapped IPv6 included), 16 for IPv6.

    Bytes are taken as already packed; raises ValueError for anything that is not an address.
    """
    if isinstance(address, bytes):
        packed = address
    else:
        packed = ipaddress.ip_address(address).packed
    if len(packed) not in (4, 16):
        raise ValueError(f"an address has 4 or 16 bytes, not {len(packed)}")
    return packed[12:] if packed[:12] == _IPV4_MAPPED else packed


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
        value = value * 16777619 & _U32
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
def address_hash(address: Address) -> int:
    """The u64 by which a real's address orders and seeds its Maglev permutation."""
    packed = packed_address(address)
    if len(packed) == 4:
        return _h128to64(2, _fnv32(packed))
    return _h128to64(10, _h128to64(*spooky_hash128(packed)))


@lru_cache(maxsize=16384)
def _permutation(address: Address, ring_size: int) -> tuple[int, int, int]:
    """Return (hash, offset, skip) of a real: its k-th wish is ``(offset + k·skip mod 2^32) % ring_size``."""
    value = address_hash(address)
    return value, murmur3(value, 42, 0) % ring_size, murmur3(value, 2718281828, 2307) % (ring_size - 1) + 1


def build_ring(reals: Sequence[tuple[Address, int]], ring_size: int, ring_hash: str = "maglev_v2") -> array[int]:
    """Build a VIP's Maglev ring.

    *reals* are (address, weight) in any order; a real of weight 0 gets no slot. *ring_size* must be prime, from 3 on;
    *ring_hash* is maglev_v2 or maglev_v1 (ValueError for another). Returns *ring_size* indices into *reals*, in an
    array of the smallest typecode that fits (B, H or I). Where no real has weight, every slot holds ``len(reals)``,
    which stands for no real.
    """
    if ring_hash not in RING_HASHES:
        raise ValueError(f"{ring_hash} is not a ring hash")
    active = sorted(
        (*_permutation(address, ring_size), weight, index) for index, (address, weight) in enumerate(reals) if weight
    )
    typecode = _typecode(len(reals))
    if len(active) < 2:
        return array(typecode, [active[0][4] if active else len(reals)]) * ring_size
    _hashes, offsets, skips, weights, indices = zip(*active, strict=True)
    slots = _Maglev(offsets, skips, ring_size).fill(_Turns(weights, ring_size, ring_hash))
    if typecode == "B":
        return array(typecode, bytes(slots).translate(bytes((0, *indices)).ljust(256, b"\0")))
    return array(typecode, map((0, *indices).__getitem__, slots))


def _typecode(reals: int) -> str:
    return "B" if reals < 256 else "H" if reals < 65536 else "I"


class _Turns:
    """Whose turn it is, by position in hash order: *first*, once, then *period* over and over."""

    def __init__(self, weights: Sequence[int], ring_size: int, ring_hash: str) -> None:
        self.first: list[int] = []
        self.period = list(range(len(weights)))
        self.shares = [1 / len(weights)] * len(weights)
        if ring_hash == "maglev_v1":
            if max(weights) > 1:
                self.first = list(islice(chain.from_iterable(map(repeat, self.period, weights)), ring_size))
        elif min(weights) < max(weights):
            self.period = self._weighted(weights, ring_size)
            total = sum(weights)
            self.shares = [weight / total for weight in weights]

    @staticmethod
    def _weighted(weights: Sequence[int], ring_size: int) -> list[int]:
        """Return maglev_v2's order: in round n = 1, 2, … a real takes a turn if n·weight/largest reaches an integer."""
        divisor = gcd(*weights)
        largest = max(weights) // divisor
        count = len(weights)
        # The whole period, or enough for the ring: rounding down costs each real less than a turn.
        rounds = min(largest, (ring_size + count) * largest * divisor // sum(weights) + 1)
        turns: list[int] = []
        for real, weight in enumerate(weights):
            # Its j-th turn comes in round ⌈j·largest/weight⌉; sorting by (round, real) replaces a walk over all rounds.
            step = weight // divisor
            turns += [-(-turn * largest // step) * count + real for turn in range(1, rounds * step // largest + 1)]
        turns.sort()
        return [turn % count for turn in turns]

    def after(self, taken: int, turns: int) -> tuple[list[int], list[int]]:
        """Return the *turns* turns that follow the first *taken* ones: some once, then others over and over."""
        once = self.first[taken : taken + turns]
        start = max(0, taken - len(self.first)) % len(self.period)
        period = self.period[start:] + self.period[:start]
        if len(period) > turns:
            return once + period[: turns - len(once)], []
        return once, period

    def counts(self, taken: int, turns: int) -> list[float]:
        """Return about how many of the next *turns* turns each real has."""
        first = Counter(self.first[taken : taken + turns])
        later = turns - first.total()
        return [first[real] + share * later for real, share in enumerate(self.shares)]


class _Maglev:
    """One ring while it is filled.

    A real is a generator that takes one slot for it each time it is resumed, and leaves its last wish in *wishes* when
    it is closed. A plain walk tries about M·ln M wishes for M slots, most of them for the last few percent of slots.
    From there on, stretches of a real's wishes are gathered by strided slices, and what is taken in them is skipped in
    C; for the last few slots the distance to each is computed. Both need wishes affine in k, below 2^32.
    """

    def __init__(self, offsets: Sequence[int], skips: Sequence[int], ring_size: int) -> None:
        self.size = ring_size
        self.skips = skips
        # Each real's wish that it took last or tries next, % ring_size or before.
        self.wishes = list(offsets)
        # Of each slot 1 + the number of its real, 0 while it is free.
        self.ring = [0] * ring_size

    def fill(self, turns: _Turns) -> list[int]:
        """Give every slot to a real; return for each slot 1 + the number of its real."""
        size, reals = self.size, range(len(self.skips))
        if any(wish + size * skip > _U32 for wish, skip in zip(self.wishes, self.skips, strict=True)):
            self._take(turns, size, 0, [self._walk_restarting(real) for real in reals])
        else:
            # Below this number of free slots, a turn costs less by distances than by wishes.
            few = int((size / 5) ** 0.5) + 1
            # Gathering costs some microseconds per real, and saves as much only where a real has many wishes to try.
            more = size // 20 if len(reals) * few < size else few
            self._take(turns, size, more, [self._walk(real) for real in reals])
            if few < more:
                lengths = self._lengths(turns, more, few)
                free = self._free() * 2
                self._take(turns, more, few, [self._leap(real, lengths[real], free) for real in reals])
            self._finish(turns)
        return self.ring

    def _free(self) -> bytes:
        """Return one byte per slot: 1 if it is free, else 0."""
        return bytes(self.ring if len(self.skips) < 256 else map(bool, self.ring)).translate(_IS_ZERO)

    def _take(self, turns: _Turns, left: int, goal: int, takers: list[Generator[None, None, None]]) -> None:
        """Take turns from *left* free slots down to *goal*."""
        once, period = turns.after(self.size - left, left - goal)
        whose = chain([takers[real] for real in once], cycle([takers[real] for real in period]))
        deque(map(next, islice(whose, max(0, left - goal))), maxlen=0)
        for taker in takers:
            taker.close()

    def _walk_restarting(self, real: int) -> Generator[None, None, None]:
        """Wish by wish, for wishes that pass 2^32.

        Above 2^16 slots there are skips that lead past free slots for ages, if not for ever. A real that tried 64 times
        as many wishes as there are slots, several times what the last free slot of all takes, gets the first free ones.
        """
        ring, size, skip, wish = self.ring, self.size, self.skips[real], self.wishes[real]
        for _try in repeat(None, 64 * size):
            if not ring[wish % size]:
                ring[wish % size] = real + 1
                yield
            wish = wish + skip & _U32
        slot = 0
        while True:
            slot = ring.index(0, slot)
            ring[slot] = real + 1
            yield

    def _walk(self, real: int) -> Generator[None, None, None]:
        """Wish by wish."""
        ring, size, skip, at = self.ring, self.size, self.skips[real], self.wishes[real]
        owner = real + 1
        try:
            while True:
                while ring[at]:
                    at += skip
                    if at >= size:
                        at -= size
                ring[at] = owner
                yield
        finally:
            self.wishes[real] = at

    def _leap(self, real: int, length: int, free: bytes) -> Generator[None, None, None]:
        """From free wish to free wish, *length* wishes at a time; *free*: the slots free so far, two times."""
        ring, size, skip, wish = self.ring, self.size, self.skips[real], self.wishes[real]
        try:
            while True:
                start = wish
                for found in _ONES(_gather(free, start % size, skip, length)):
                    wish = start + found.start() * skip
                    if not ring[wish % size]:
                        ring[wish % size] = real + 1
                        yield
                wish = start + length * skip
        finally:
            self.wishes[real] = wish

    def _lengths(self, turns: _Turns, left: int, goal: int) -> list[int]:
        """Return how many wishes each real tries, about, from *left* free slots down to *goal*.

        A turn's waiting time is geometric with mean M/left; the answer is the sum's mean and one standard deviation.
        """
        size = self.size
        mean = size * log(left / goal) / (left - goal)
        variance = size * size * (1 / goal - 1 / left) / (left - goal)
        counts = turns.counts(size - left, left - goal)
        return [min(size, int(count * mean + (count * variance) ** 0.5 + mean)) for count in counts]

    def _finish(self, turns: _Turns) -> None:
        """Take the turns that are left, computing how many wishes away each free slot is."""
        ring, size = self.ring, self.size
        free = [found.start() for found in _ONES(self._free())]
        inverses = [0] * len(self.skips)
        once, period = turns.after(size - len(free), len(free))
        for real in islice(chain(once, cycle(period)), len(free)):
            skip, wish = self.skips[real], self.wishes[real]
            inverse = inverses[real] = inverses[real] or pow(skip, -1, size)
            slot = (wish + min([(slot - wish) * inverse % size for slot in free]) * skip) % size
            free.remove(slot)
            ring[slot] = real + 1
            self.wishes[real] = slot


def _stride(skip: int, ring_size: int, length: int) -> tuple[int, int]:
    """Return (columns, step) with ``columns·skip ≡ step (mod ring_size)``, |step| small: how to slice *length* wishes.

    Every columns-th wish lies step slots further, so *length* wishes are columns interleaved strided slices, or several
    times as many when the ring ends before. The candidates are the convergents of skip/ring_size; the one that needs
    the fewest slices is returned.
    """
    best, columns, step = length + 1, 1, skip
    last, this, before, now, sign = ring_size, skip, 0, 1, 1
    while this and now < best:
        slices = now * -(-length // (now * (ring_size // this)))
        if slices < best:
            best, columns, step = slices, now, sign * this
        quotient = last // this
        last, this = this, last - quotient * this
        before, now = now, before + quotient * now
        sign = -sign
    return columns, step


def _gather(twice: bytes, start: int, skip: int, length: int) -> bytearray:
    """Return ``twice[(start + k·skip) % ring_size]`` for k < *length*; *twice* has one byte per slot, two times."""
    size = len(twice) // 2
    columns, step = _stride(skip, size, length)
    rows = min(size // abs(step), -(-length // columns))
    block = bytearray(columns * rows)
    gathered = bytearray()
    while len(gathered) < length:
        for column, at in enumerate(range(start, start + columns * skip, skip)):
            first = at % size if step > 0 else at % size + size
            block[column::columns] = twice[first : first + rows * step : step]
        start = (start + columns * rows * skip) % size
        gathered += block
    del gathered[length:]
    return gathered


def _jhash_mix(a: int, b: int, c: int) -> tuple[int, int, int]:
    for bits_a, bits_b, bits_c in ((4, 6, 8), (16, 19, 4)):
        a = a - c & _U32 ^ (c << bits_a | c >> 32 - bits_a) & _U32
        c = c + b & _U32
        b = b - a & _U32 ^ (a << bits_b | a >> 32 - bits_b) & _U32
        a = a + c & _U32
        c = c - b & _U32 ^ (b << bits_c | b >> 32 - bits_c) & _U32
        b = b + a & _U32
    return a, b, c


def _jhash_final(a: int, b: int, c: int) -> int:
    for bits_c, bits_a, bits_b in ((14, 11, 25), (16, 4, 14), (24, 0, 0)):
        c = (c ^ b) - (b << bits_c | b >> 32 - bits_c) & _U32
        if bits_a:
            a = (a ^ c) - (c << bits_a | c >> 32 - bits_a) & _U32
            b = (b ^ a) - (a << bits_b | a >> 32 - bits_b) & _U32
    return c


def jhash_2words(first: int, second: int, seed: int) -> int:
    """The kernel's jhash_2words (include/linux/jhash.h): u32 of two u32."""
    start = seed + 0xDEADBEEF + (2 << 2)
    return _jhash_final(first + start & _U32, second + start & _U32, start & _U32)


def jhash_16bytes(data: bytes, seed: int) -> int:
    """The kernel's jhash (include/linux/jhash.h) of 16 bytes on a little-endian host."""
    start = 0xDEADBEEF + 16 + seed
    words = [int.from_bytes(data[at : at + 4], "little") for at in (0, 4, 8, 12)]
    a, b, c = _jhash_mix(words[0] + start & _U32, words[1] + start & _U32, words[2] + start & _U32)
    return _jhash_final(a + words[3] & _U32, b, c)


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
    source: Address,
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
    seed = max_vips * ring_size & _U32
    if len(packed) == 4:
        return flow_hash_ipv4(packed, ports, seed) % ring_size
    return flow_hash_ipv6(packed, ports, seed, max_vips) % ring_size


def ring_slots(ring: array[int], ids: Sequence[int]) -> bytes:
    """Return a ring as ch_rings holds it: for each slot 8 bytes, a little-endian u32 real id and 4 zero bytes.

    *ring* is build_ring's answer and *ids* the real ids of its reals, in their order; a slot of no real gets id 0.
    """
    table = [*ids, 0]
    if ring.itemsize == 1:
        # bytes.translate and strided copies keep the whole conversion in C: a tenth of the time of an array of ids.
        indices = ring.tobytes()
        slots = bytearray(8 * len(ring))
        for byte in range(4):
            if any(real_id >> 8 * byte & 0xFF for real_id in table):
                column = bytes(real_id >> 8 * byte & 0xFF for real_id in table)
                slots[byte::8] = indices.translate(column.ljust(256, b"\0"))
        return bytes(slots)
    wide = array("Q", map(table.__getitem__, ring))
    if sys.byteorder == "big":
        wide.byteswap()
    return wide.tobytes()


def build_rings(jobs: Sequence[Job], processes: int = 2) -> list[array[int]]:
    """Build the ring of each job, (reals, ring_size, ring_hash), and return them in the jobs' order.

    Like build_ring for each, but equal jobs are built once and share one array, which is not to be changed. Up to
    *processes* processes do the work, if there are as many CPUs and enough to do; none is left when this returns or
    raises.
    """
    keys: list[Job] = [(tuple(reals), ring_size, ring_hash) for reals, ring_size, ring_hash in jobs]
    distinct = list(dict.fromkeys(keys))
    shares = min(processes, len(os.sched_getaffinity(0)), len(distinct) // 4)
    # Forking with threads alive may leave a lock locked for ever in the child.
    if shares < 2 or threading.active_count() > 1:
        rings = {job: build_ring(*job) for job in distinct}
    else:
        rings = {}
        helpers = [_Helper(distinct[share::shares]) for share in range(1, shares)]
        try:
            rings.update((job, build_ring(*job)) for job in distinct[::shares])
            for helper in helpers:
                rings.update(zip(helper.jobs, helper.rings(), strict=True))
        finally:
            for helper in helpers:
                helper.stop()
    return [rings[key] for key in keys]


class _Helper:
    """A child process that builds rings into memory shared with its parent."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        """Start to build; with no process to be had, rings() builds them."""
        self.jobs = jobs
        self.pid = 0
        ends = accumulate(ring_size * array(_typecode(len(reals))).itemsize for reals, ring_size, _ring_hash in jobs)
        self.ends = list(ends)
        self.memory = mmap.mmap(-1, self.ends[-1])
        parent = os.getpid()
        try:
            self.pid = os.fork()
        except OSError:
            return
        if self.pid == 0:
            code = 1
            try:
                self._build(parent)
                code = 0
            finally:
                # The child must neither unwind into its parent's callers nor flush its buffers.
                os._exit(code)

    def _build(self, parent: int) -> None:
        for job in self.jobs:
            # A parent that was killed cannot stop its helper, which holds the parent's locks open.
            if os.getppid() != parent:
                os._exit(1)
            self.memory.write(build_ring(*job).tobytes())

    def rings(self) -> Iterator[array[int]]:
        """Wait for the child and yield the rings in the order of the jobs; build them here if it failed."""
        if self._wait() != 0:
            yield from (build_ring(*job) for job in self.jobs)
            return
        start = 0
        for (reals, _ring_size, _ring_hash), end in zip(self.jobs, self.ends, strict=True):
            yield array(_typecode(len(reals)), self.memory[start:end])
            start = end

    def _wait(self) -> int:
        pid, self.pid = self.pid, 0
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) if pid else 1

    def stop(self) -> None:
        """End the child if it still runs, and free the memory."""
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            self._wait()
        self.memory.close()
