# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Maps and programs by bpf(2): the one file that makes system calls of its own.

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
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain

from .._model.map_specs import (
    ARRAY,
    ARRAY_OF_MAPS,
    HASH,
    HASH_OF_MAPS,
    LPM_TRIE,
    LRU_HASH,
    MMAPABLE,
    NAME_BYTES,
    NUMA_NODE,
    PERCPU_ARRAY,
)
from .._model.snapshot import MapInfo, ProgramInfo
from .cpus import possible_cpus
from .open_map import KindError

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
ATTACH_SOCK_OPS, ATTACH_XDP = 3, 37
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


def command(number: int, attributes: bytes) -> bytes:
    """A call for what only some modules do; the attributes as the kernel left them."""
    return _bpf(number, attributes)[1]


def _buffer(data: bytes) -> tuple[ctypes.Array[ctypes.c_char], int]:
    buffer = ctypes.create_string_buffer(data, len(data))
    return buffer, ctypes.addressof(buffer)


def _split(data: bytes, size: int) -> Iterator[bytes]:
    return chain.from_iterable(struct.iter_unpack(f"{size}s", data))


def _name(name: str) -> bytes:
    return name.encode()[:NAME_BYTES]


class _Statfs(ctypes.Structure):
    _fields_ = [("f_type", ctypes.c_long), ("rest", ctypes.c_char * 248)]


def is_bpffs(path: str) -> bool:
    """Whether the path lies in a mounted bpf file system (statfs f_type)."""
    result = _Statfs()
    if _LIBC.statfs(os.fsencode(path), ctypes.byref(result)):
        return False
    return bool((result.f_type & 0xFFFFFFFF) == BPFFS_MAGIC)


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
            size, stride = self.info.key_size, self.stride
            yield from zip(_split(keys[: count * size], size), _split(values[: count * stride], stride), strict=True)

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

    def fill(self, most: int = _BATCH) -> tuple[int, bool]:
        """(entries of a hash, whether they were all counted): beyond `most` it is reckoned from those that were read.

        The kernel goes through buckets, of which there are the next power of two of the map's size, and answers with
        the number of the one to go on with (kernel/bpf/hashtab.c, __htab_map_lookup_and_delete_batch).
        """
        size = min(most, self.info.entries)
        after, after_at = _buffer(bytes(max(self.info.key_size, 8)))
        _keys, keys_at = _buffer(bytes(self.info.key_size * size))
        _values, values_at = _buffer(bytes(self.stride * size))
        attributes = struct.pack("=QQQQIIQQ", 0, after_at, keys_at, values_at, size, self.fd, 0, 0)
        _result, code, raw = _call(_MAP_LOOKUP_BATCH, attributes)
        if code not in (0, errno.ENOENT):
            raise OSError(code, os.strerror(code))
        count, walked = struct.unpack_from("=I", raw, 32)[0], struct.unpack_from("=I", after.raw)[0]
        buckets = 1 << (self.info.entries - 1).bit_length()
        if code or walked >= buckets or not walked:
            return count, bool(code) or walked >= buckets
        return min(count * buckets // walked, self.info.entries), False

    def update_many(self, entries: Sequence[tuple[bytes, bytes]]) -> None:
        """Write entries in batches; on failure OSError, with the entries before the faulty one written."""
        if len(entries) < 2 or self.info.type in (ARRAY_OF_MAPS, HASH_OF_MAPS):
            for key, value in entries:
                self.update(key, value)
            return
        for start in range(0, len(entries), _BATCH):
            chunk = entries[start : start + _BATCH]
            keys, values = zip(*chunk, strict=True)
            _keys, keys_at = _buffer(b"".join(keys))
            _values, values_at = _buffer(b"".join(values))
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
        """Remove entries, in batches where the kind of map has them; one that is not there is no failure."""
        if len(keys) < 2 or self.info.type not in (HASH, LRU_HASH, LPM_TRIE):
            for key in keys:
                self.delete(key)
            return
        start = 0
        while start < len(keys):
            chunk = keys[start : start + _BATCH]
            _keys, keys_at = _buffer(b"".join(chunk))
            attributes = struct.pack("=QQQQIIQQ", 0, 0, keys_at, 0, len(chunk), self.fd, 0, 0)
            _result, code, raw = _call(_MAP_DELETE_BATCH, attributes)
            if code not in (0, errno.ENOENT):
                raise OSError(code, os.strerror(code))
            # The batch ends before a key that is not there.
            start += struct.unpack_from("=I", raw, 32)[0] + 1 if code else len(chunk)

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


def wait_for_programs() -> None:
    """Return when every run of a program that had begun is over: a write to a map of maps waits for that."""
    zero = struct.pack("=I", 0)
    with (
        Map(create_map(ARRAY, 4, 4, 1)) as inner,
        Map(create_map(ARRAY_OF_MAPS, 4, 4, 1, inner_fd=inner.fd)) as outer,
    ):
        outer.update(zero, struct.pack("=I", inner.fd))


def pin(fd: int, path: str) -> None:
    """Pin an object under a path in a bpffs; EEXIST where something is pinned there already."""
    _text, at = _buffer(os.fsencode(path) + b"\0")
    _bpf(_OBJ_PIN, struct.pack("=QII", at, fd, 0))


def open_pin(path: str) -> int:
    """The file descriptor of a pinned object; FileNotFoundError where there is none."""
    _text, at = _buffer(os.fsencode(path) + b"\0")
    return _bpf(_OBJ_GET, struct.pack("=QII", at, 0, 0))[0]


_KINDS = {"map": "a map", "prog": "a program", "link": "a link"}


def _open_kind(path: str, wanted: str) -> int:
    """The file descriptor of a pinned object of one kind; KindError where it is of another."""
    try:
        fd = open_pin(path)
    except PermissionError as error:
        if os.path.isdir(path):
            raise KindError(path, "a folder") from error
        raise
    # The kernel answers a question about a map with what it knows of a program, if it is one.
    kind = os.readlink(f"/proc/self/fd/{fd}").removeprefix("anon_inode:").strip("[]")[4:]
    if kind != wanted:
        os.close(fd)
        raise KindError(path, _KINDS.get(kind, "another object"))
    return fd


def open_map(path: str) -> Map:
    """A pinned map; FileNotFoundError where there is none, KindError where it is something else."""
    return Map(_open_kind(path, "map"))


def open_program(path: str) -> int:
    """The file descriptor of a pinned program; FileNotFoundError where there is none, KindError likewise."""
    return _open_kind(path, "prog")


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
    """Unpin what is pinned under these paths, or remove an empty folder; one that is not there is no failure."""
    for path in paths:
        with suppress(FileNotFoundError):
            try:
                os.unlink(path)
            except (IsADirectoryError, PermissionError):
                if not os.path.isdir(path):
                    raise
                os.rmdir(path)


def memory_bytes(fd: int) -> int:
    """The kernel memory that a map takes, as it accounts it."""
    with open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as source:
        for line in source:
            if line.startswith("memlock:"):
                return int(line.split()[1])
    return 0
