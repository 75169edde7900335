# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Maps and programs by bpf(2): the one file of the engine that makes system calls of its own.

Failures are OSError with the kernel's errno; callers turn them into sentences.
Attribute layouts: `union bpf_attr`, linux/bpf.h.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import platform
import struct
import typing as t
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.katran.fleet.plugins.module_utils._layout import (
    ARRAY,
    ARRAY_OF_MAPS,
    HASH,
    HASH_OF_MAPS,
    MMAPABLE,
    NO_PREALLOC,
    NUMA_NODE,
    PERCPU_ARRAY,
)

_SYSCALL = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "ppc64le": 361, "s390x": 351}
_LIBC = ctypes.CDLL(None, use_errno=True)

(
    _MAP_CREATE,
    _MAP_LOOKUP,
    _MAP_UPDATE,
    _MAP_DELETE,
    _MAP_NEXT_KEY,
    _PROG_LOAD,
    _OBJ_PIN,
    _OBJ_GET,
) = range(8)
_PROG_TEST_RUN = 10
_PROG_FD_BY_ID, _MAP_FD_BY_ID, _INFO_BY_FD = 13, 14, 15
_MAP_LOOKUP_BATCH, _MAP_UPDATE_BATCH, _MAP_DELETE_BATCH = 24, 26, 27
_BATCH = 4096

PROG_TYPE_SCHED_CLS, PROG_TYPE_XDP, PROG_TYPE_SOCK_OPS = 3, 6, 13
ATTACH_XDP = 37
_NAME_BYTES = 15
BPFFS_MAGIC = 0xCAFE4A11


def _call(command: int, attributes: bytes) -> tuple[int, int, bytes]:
    """One bpf(2) call: its result, the errno where that is negative, and the attributes as the kernel left them."""
    buffer = ctypes.create_string_buffer(attributes, max(len(attributes), 144))
    result = _LIBC.syscall(_SYSCALL[platform.machine()], command, buffer, len(attributes))
    return result, ctypes.get_errno() if result < 0 else 0, buffer.raw


def _bpf(command: int, attributes: bytes) -> tuple[int, bytes]:
    """One bpf(2) call; returns its result and the attributes; a failure is OSError."""
    result, code, raw = _call(command, attributes)
    if code:
        raise OSError(code, os.strerror(code))
    return result, raw


def _buffer(data: bytes) -> tuple[ctypes.Array[ctypes.c_char], int]:
    buffer = ctypes.create_string_buffer(data, len(data))
    return buffer, ctypes.addressof(buffer)


def _name(name: str) -> bytes:
    return name.encode()[:_NAME_BYTES]


def possible_cpus() -> int:
    """CPUs that the kernel may ever have: the number of values in a per-CPU map's entry."""
    with open("/sys/devices/system/cpu/possible", encoding="ascii") as source:
        return int(source.read().strip().replace(",", "-").rsplit("-", 1)[-1]) + 1


class _Statfs(ctypes.Structure):
    _fields_ = [("f_type", ctypes.c_long), ("rest", ctypes.c_char * 248)]


def is_bpffs(path: str) -> bool:
    """Whether the path lies in a mounted bpf file system (statfs f_type)."""
    result = _Statfs()
    if _LIBC.statfs(os.fsencode(path), ctypes.byref(result)):
        return False
    return bool((result.f_type & 0xFFFFFFFF) == BPFFS_MAGIC)


@dataclass(frozen=True)
class MapInfo:
    """What the kernel says of a map; sizes in bytes, `entries` its capacity."""

    type: int
    id: int
    key_size: int
    value_size: int
    entries: int
    flags: int
    name: str


@dataclass(frozen=True)
class ProgramInfo:
    """What the kernel says of a program: instructions after rewriting, and those the verifier processed."""

    type: int
    id: int
    tag: str
    instructions: int
    verified_instructions: int
    map_ids: tuple[int, ...]
    name: str
    load_time_ns: int


class Map:
    """An open map. Keys and values are bytes; a per-CPU value is all CPUs' values, each padded to 8 bytes."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.info = map_info(fd)
        self.stride = self.info.value_size
        if self.info.type == PERCPU_ARRAY:
            self.stride = (self.info.value_size + 7) // 8 * 8 * possible_cpus()

    def close(self) -> None:
        """Close the file descriptor; the map lives on while it is pinned or used."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> t.Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def lookup(self, key: bytes) -> bytes | None:
        """The value under the key, None where there is none."""
        _key_buffer, key_at = _buffer(key)
        value, value_at = _buffer(bytes(self.stride))
        try:
            _bpf(_MAP_LOOKUP, struct.pack("=I4xQQQ", self.fd, key_at, value_at, 0))
        except OSError as error:
            if error.errno == errno.ENOENT:
                return None
            raise
        return value.raw

    def update(self, key: bytes, value: bytes, flags: int = 0) -> None:
        """Write one entry; flags 1 = must not exist, 2 = must exist."""
        _key_buffer, key_at = _buffer(key)
        _value_buffer, value_at = _buffer(value)
        _bpf(_MAP_UPDATE, struct.pack("=I4xQQQ", self.fd, key_at, value_at, flags))

    def delete(self, key: bytes) -> bool:
        """Remove one entry; False where there was none."""
        _key_buffer, key_at = _buffer(key)
        try:
            _bpf(_MAP_DELETE, struct.pack("=I4xQQ", self.fd, key_at, 0))
        except OSError as error:
            if error.errno == errno.ENOENT:
                return False
            raise
        return True

    def each_key(self) -> Iterator[bytes]:
        """Every key, one call each: for small maps and types without batches."""
        current: bytes | None = None
        while True:
            following, following_at = _buffer(bytes(self.info.key_size))
            key_at = 0
            if current is not None:
                _key_buffer, key_at = _buffer(current)
            try:
                _bpf(_MAP_NEXT_KEY, struct.pack("=I4xQQ", self.fd, key_at, following_at))
            except OSError as error:
                if error.errno == errno.ENOENT:
                    return
                raise
            current = following.raw
            yield current

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Every entry; in batches where the kernel has them for this type."""
        if self.info.type in (ARRAY_OF_MAPS, HASH_OF_MAPS):
            yield from self._items_one_by_one()
            return
        for keys, values, count in self.batches():
            for index in range(count):
                yield (
                    keys[index * self.info.key_size : (index + 1) * self.info.key_size],
                    values[index * self.stride : (index + 1) * self.stride],
                )

    def _items_one_by_one(self) -> Iterator[tuple[bytes, bytes]]:
        # Maps of maps by CPU have more slots than there are CPUs, and up to kernel 6.1 a look into one costs 13 ms.
        by_cpu = self.info.type == ARRAY_OF_MAPS
        keys = (struct.pack("=I", cpu) for cpu in range(possible_cpus())) if by_cpu else self.each_key()
        for key in keys:
            value = self.lookup(key)
            if value is not None:
                yield key, value

    def batches(self, size: int = _BATCH) -> Iterator[tuple[bytes, bytes, int]]:
        """(keys, values, count) in batches of up to `size` entries, back to back without padding."""
        size = min(size, max(self.info.entries, 1))
        token, token_at = _buffer(bytes(max(self.info.key_size, 8)))
        after, after_at = _buffer(bytes(max(self.info.key_size, 8)))
        started = False
        while True:
            keys, keys_at = _buffer(bytes(self.info.key_size * size))
            values, values_at = _buffer(bytes(self.stride * size))
            attributes = struct.pack(
                "=QQQQIIQQ", token_at if started else 0, after_at, keys_at, values_at, size, self.fd, 0, 0
            )
            _result, code, raw = _call(_MAP_LOOKUP_BATCH, attributes)
            count = struct.unpack_from("=I", raw, 32)[0]
            if code == errno.ENOSPC:
                # One hash bucket holds more than the batch takes.
                size *= 2
                continue
            if code not in (0, errno.ENOENT):
                raise OSError(code, os.strerror(code))
            if count:
                yield keys.raw, values.raw, count
            if code:
                return
            token.raw = after.raw
            started = True

    def update_many(self, entries: Sequence[tuple[bytes, bytes]]) -> None:
        """Write entries in batches; on failure OSError, with the entries before the faulty one written."""
        if len(entries) < 2 or self.info.type in (ARRAY_OF_MAPS, HASH_OF_MAPS):
            for key, value in entries:
                self.update(key, value)
            return
        for start in range(0, len(entries), _BATCH):
            chunk = entries[start : start + _BATCH]
            _keys, keys_at = _buffer(b"".join(key for key, _value in chunk))
            _values, values_at = _buffer(b"".join(value for _key, value in chunk))
            _bpf(
                _MAP_UPDATE_BATCH,
                struct.pack("=QQQQIIQQ", 0, 0, keys_at, values_at, len(chunk), self.fd, 0, 0),
            )

    def insert_many(self, entries: Iterable[tuple[bytes, bytes]]) -> None:
        """Write those entries whose key is not there. The kernel has no batch for this."""
        key, key_at = _buffer(bytes(self.info.key_size))
        value, value_at = _buffer(bytes(self.stride))
        attributes = struct.pack("=I4xQQQ", self.fd, key_at, value_at, 1)
        for key.raw, value.raw in entries:
            _result, code, _raw = _call(_MAP_UPDATE, attributes)
            if code not in (0, errno.EEXIST):
                raise OSError(code, os.strerror(code))

    def delete_many(self, keys: Sequence[bytes]) -> None:
        """Remove entries; one that is not there is no failure."""
        for key in keys:
            self.delete(key)

    def mmap(self, writable: bool) -> mmap.mmap:
        """The values of a BPF_F_MMAPABLE array, each padded to 8 bytes, shared with the kernel."""
        if not self.info.flags & MMAPABLE:
            raise OSError(errno.EINVAL, f"map {self.info.name} cannot be mapped")
        length = self.info.entries * ((self.info.value_size + 7) // 8 * 8)
        length = (length + mmap.PAGESIZE - 1) // mmap.PAGESIZE * mmap.PAGESIZE
        return mmap.mmap(self.fd, length, mmap.MAP_SHARED, mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0))


def create_map(
    kind: int,
    key_size: int,
    value_size: int,
    entries: int,
    flags: int = 0,
    name: str = "",
    inner_fd: int = 0,
    numa_node: int | None = None,
) -> int:
    """Create a map, sizes in bytes; returns its file descriptor."""
    if numa_node is not None:
        flags |= NUMA_NODE
    return _bpf(
        _MAP_CREATE,
        struct.pack("=IIIIIII16s", kind, key_size, value_size, entries, flags, inner_fd, numa_node or 0, _name(name)),
    )[0]


def pin(fd: int, path: str) -> None:
    """Pin an object under a path in a bpffs; EEXIST where something is pinned there already."""
    _text, at = _buffer(os.fsencode(path) + b"\0")
    _bpf(_OBJ_PIN, struct.pack("=QII", at, fd, 0))


def open_pin(path: str) -> int:
    """The file descriptor of a pinned object; FileNotFoundError where there is none."""
    _text, at = _buffer(os.fsencode(path) + b"\0")
    return _bpf(_OBJ_GET, struct.pack("=QII", at, 0, 0))[0]


def open_map(path: str) -> Map:
    """A pinned map."""
    return Map(open_pin(path))


def map_by_id(map_id: int) -> Map:
    """A map by its kernel-wide id; FileNotFoundError where it is gone."""
    return Map(_bpf(_MAP_FD_BY_ID, struct.pack("=III", map_id, 0, 0))[0])


def program_by_id(program_id: int) -> int:
    """The file descriptor of a program by its kernel-wide id; FileNotFoundError where it is gone."""
    return _bpf(_PROG_FD_BY_ID, struct.pack("=III", program_id, 0, 0))[0]


def _info(fd: int, size: int, attributes: bytes = b"") -> bytes:
    info, at = _buffer(attributes.ljust(size, b"\0"))
    _bpf(_INFO_BY_FD, struct.pack("=IIQ", fd, size, at))
    return info.raw


def map_info(fd: int) -> MapInfo:
    """What the kernel says of an open map."""
    raw = _info(fd, 80)
    kind, map_id, key_size, value_size, entries, flags = struct.unpack_from("=6I", raw)
    return MapInfo(kind, map_id, key_size, value_size, entries, flags, raw[24:40].split(b"\0")[0].decode())


def program_info(fd: int) -> ProgramInfo:
    """What the kernel says of an open program."""
    raw = _info(fd, 224)
    count = struct.unpack_from("=I", raw, 52)[0]
    ids, ids_at = _buffer(bytes(4 * max(count, 1)))
    raw = _info(fd, 224, bytes(52) + struct.pack("=IQ", count, ids_at))
    kind, program_id = struct.unpack_from("=II", raw)
    return ProgramInfo(
        type=kind,
        id=program_id,
        tag=raw[8:16].hex(),
        instructions=struct.unpack_from("=I", raw, 20)[0] // 8,
        verified_instructions=struct.unpack_from("=I", raw, 216)[0],
        map_ids=struct.unpack_from(f"={count}I", ids.raw),
        name=raw[64:80].split(b"\0")[0].decode(),
        load_time_ns=struct.unpack_from("=Q", raw, 40)[0],
    )


class VerifierError(OSError):
    """The kernel refused a program; `log` is what the verifier said, last lines last."""

    def __init__(self, code: int, log: str) -> None:
        super().__init__(code, os.strerror(code))
        self.log = log


def load_program(
    instructions: bytes, kind: int = PROG_TYPE_XDP, attach_type: int = ATTACH_XDP, name: str = "balancer"
) -> int:
    """Load bytecode whose map references are file descriptors; returns the program's. VerifierError says why not."""
    _code, code_at = _buffer(instructions)
    _licence, licence_at = _buffer(b"GPL\0")
    head = struct.pack("=IIQQ", kind, len(instructions) // 8, code_at, licence_at)
    tail = struct.pack("=II16sII", 0, 0, _name(name), 0, attach_type)
    try:
        return _bpf(_PROG_LOAD, head + struct.pack("=IIQ", 0, 0, 0) + tail)[0]
    except OSError as error:
        first = error
    # Loading once more with a log costs only the refused program anything.
    log, log_at = _buffer(bytes(16 << 20))
    try:
        return _bpf(_PROG_LOAD, head + struct.pack("=IIQ", 1, len(log), log_at) + tail)[0]
    except OSError as error:
        text = log.value.decode(errors="replace")
        if not text:
            raise first from error
        raise VerifierError(error.errno or 0, text) from error


@dataclass(frozen=True)
class TestRun:
    """One BPF_PROG_TEST_RUN: the return value, the frame (or data) and the context that it left, ns per run."""

    value: int
    data: bytes
    nanoseconds: int
    context: bytes


def test_run(
    fd: int, data: bytes, repeat: int = 1, context: bytes = b"", flags: int = 0, batch: int = 0, room: int = 512
) -> TestRun:
    """Run a program on a frame without an interface; `room` is how many bytes the frame may grow by."""
    live = bool(flags & 2)
    _source, source_at = _buffer(data)
    out, out_at = _buffer(bytes(0 if live else len(data) + room))
    _context, context_at = _buffer(context)
    context_out, context_out_at = _buffer(bytes(0 if live else len(context)))
    attributes = struct.pack(
        "=IIIIQQIIIIQQIII4x",
        fd,
        0,
        len(data),
        len(out),
        source_at,
        0 if live else out_at,
        repeat,
        0,
        len(context),
        len(context_out),
        context_at if context else 0,
        context_out_at if len(context_out) else 0,
        flags,
        0,
        batch,
    )
    raw = _bpf(_PROG_TEST_RUN, attributes)[1]
    value = struct.unpack_from("=I", raw, 4)[0]
    size = struct.unpack_from("=I", raw, 12)[0]
    duration = struct.unpack_from("=I", raw, 36)[0]
    return TestRun(value, out.raw[:size], duration, context_out.raw)


def remove_pins(paths: Iterable[str]) -> None:
    """Unpin what is pinned under these paths; one that is not there is no failure."""
    for path in paths:
        try:
            os.unlink(path)
        except FileNotFoundError:
            continue


class KernelMaps:
    """The pinned maps of one balancer as the engine sees them (the interface is _memory.Maps).

    `unpinned`: more maps, by name → id.
    """

    def __init__(self, directory: str, unpinned: Mapping[str, int] | None = None) -> None:
        self._directory = directory
        self._unpinned = unpinned or {}
        self._open: dict[str, Map] = {}
        self._ring_map: mmap.mmap | None = None
        self._ring_bytes = 0
        try:
            self._names = frozenset(os.listdir(directory)).union(self._unpinned)
        except FileNotFoundError:
            self._names = frozenset(self._unpinned)

    def close(self) -> None:
        """Close every file descriptor."""
        for opened in self._open.values():
            opened.close()
        self._open.clear()

    def __enter__(self) -> t.Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def map(self, name: str) -> Map:
        """The pinned map of that name."""
        if name not in self._open:
            known = self._unpinned.get(name)
            self._open[name] = open_map(os.path.join(self._directory, name)) if known is None else map_by_id(known)
        return self._open[name]

    def names(self) -> frozenset[str]:
        """The maps that are pinned."""
        return self._names

    def capacity(self, name: str) -> int:
        """How many entries the map can hold."""
        return self.map(name).info.entries

    def entries(self, name: str) -> dict[bytes, bytes]:
        """All entries; of an array the nonzero ones."""
        opened = self.map(name)
        if opened.info.type != ARRAY:
            return dict(opened.items())
        if opened.info.flags & MMAPABLE:
            return dict(nonzero_entries(opened))
        empty = bytes(opened.info.value_size)
        return {key: value for key, value in opened.items() if value != empty}

    def put(self, name: str, entries: Sequence[tuple[bytes, bytes]]) -> None:
        """Write entries."""
        self.map(name).update_many(entries)

    def delete(self, name: str, keys: Sequence[bytes]) -> None:
        """Remove entries; in an array, write zero."""
        opened = self.map(name)
        if opened.info.type == ARRAY:
            empty = bytes(opened.info.value_size)
            opened.update_many([(key, empty) for key in keys])
        else:
            opened.delete_many(keys)

    def set_ring_size(self, ring_size: int) -> None:
        """Say how many slots a VIP's ring has; needed before the first ring is read."""
        self._ring_bytes = ring_size * 8

    def ring(self, number: int) -> memoryview:
        """The live slots of a VIP's ring, 8 bytes each."""
        if self._ring_map is None:
            self._ring_map = self.map("ch_rings").mmap(writable=True)
        return memoryview(self._ring_map)[number * self._ring_bytes : (number + 1) * self._ring_bytes]

    def put_ring(self, number: int, slots: bytes, changed: int) -> None:
        """Write the slots that differ, about `changed`; a store each, so a packet sees the old or the new real."""
        live = self.ring(number).cast("Q")
        new = memoryview(slots).cast("Q")
        if changed * 8 > len(live):
            live[:] = new
            return
        for slot, (old, value) in enumerate(zip(live, new, strict=True)):
            if old != value:
                live[slot] = value

    def down_sets(self) -> dict[bytes, frozenset[int]]:
        """vip_definition → the real ids that are down for it."""
        found = {}
        for key, value in self.map("vip_to_down_reals_map").items():
            with map_by_id(struct.unpack("=I", value)[0]) as inner:
                found[key] = frozenset(struct.unpack("=I", real)[0] for real in inner.each_key())
        return found

    def put_down_set(self, key: bytes, ids: frozenset[int]) -> None:
        """Replace a VIP's set as a whole: a new inner map is filled, then put in place by one write."""
        outer = self.map("vip_to_down_reals_map")
        fd = create_map(HASH, 4, 1, self.capacity("reals"), NO_PREALLOC, "down_reals")
        with Map(fd) as inner:
            inner.update_many([(struct.pack("=I", real), b"\1") for real in sorted(ids)])
            outer.update(key, struct.pack("=I", fd))

    def delete_down_set(self, key: bytes) -> None:
        """Remove a VIP's set."""
        self.map("vip_to_down_reals_map").delete(key)

    def flow_tables(self) -> Iterator[Map]:
        """Every connection table: those of the CPUs, the one they are replacing, and the fallback; the global ones."""
        for name in ("lru_mapping", "lru_outgrown", "fallback_cache", "global_lru_maps", "fallback_glru"):
            if name not in self._names:
                continue
            if self.map(name).info.type != ARRAY_OF_MAPS:
                yield self.map(name)
                continue
            for value in dict(self.map(name).items()).values():
                with map_by_id(struct.unpack("=I", value)[0]) as inner:
                    yield inner

    def purge_flows(self, ids: frozenset[int]) -> int:
        """Remove every connection-table entry that leads to one of these reals; returns how many."""
        count = 0
        for table in self.flow_tables():
            stride = table.info.value_size
            gone = [
                keys[index * 40 : index * 40 + 40]
                for keys, values, size in table.batches()
                for index in range(size)
                if struct.unpack_from("=I", values, index * stride)[0] in ids
            ]
            table.delete_many(gone)
            count += len(gone)
        return count

    def zero_counters(self, name: str, indexes: Iterable[int]) -> None:
        """Set a per-CPU counter array's entries to zero on every CPU."""
        opened = self.map(name)
        opened.update_many([(struct.pack("=I", index), bytes(opened.stride)) for index in indexes])


def nonzero_entries(opened: Map) -> Iterator[tuple[bytes, bytes]]:
    """The nonzero entries of an mmapable array: 128 MiB of mostly zeros is skipped by comparing pages."""
    stride = (opened.info.value_size + 7) // 8 * 8
    with opened.mmap(writable=False) as mapped:
        page = stride * 1024
        empty = bytes(page)
        zero = bytes(opened.info.value_size)
        for start in range(0, opened.info.entries * stride, page):
            chunk = mapped[start : start + page]
            if chunk == empty[: len(chunk)]:
                continue
            for offset in range(0, len(chunk), stride):
                value = chunk[offset : offset + opened.info.value_size]
                if value != zero:
                    index = (start + offset) // stride
                    if index < opened.info.entries:
                        yield struct.pack("=I", index), value


_CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_PERFMON": 38, "CAP_BPF": 39}
_CAP_SYS_ADMIN = 21


def missing_capabilities() -> list[str]:
    """The capabilities that a balancer needs and this process lacks; CAP_SYS_ADMIN includes those for BPF."""
    effective = 0
    with open("/proc/self/status", encoding="ascii") as source:
        for line in source:
            if line.startswith("CapEff:"):
                effective = int(line.split()[1], 16)
    if effective >> _CAP_SYS_ADMIN & 1:
        return [] if effective >> _CAPABILITIES["CAP_NET_ADMIN"] & 1 else ["CAP_NET_ADMIN"]
    return [name for name, bit in _CAPABILITIES.items() if not effective >> bit & 1]


def memory_bytes(fd: int) -> int:
    """The kernel memory that a map takes, as it accounts it."""
    with open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as source:
        for line in source:
            if line.startswith("memlock:"):
                return int(line.split()[1])
    return 0
