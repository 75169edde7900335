# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What programs send by bpf_perf_event_output: a ring of memory for each CPU, which the kernel fills and we empty.

perf_event_open(2) and `struct perf_event_mmap_page` of linux/perf_event.h. A ring ends with its file descriptor, and
its place in the map with the map's: nothing is left of a process that is killed.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import platform
import select
import struct
import typing as t
from collections.abc import Iterator
from contextlib import suppress

from .cpus import online_cpus
from .open_map import Map

_SYSCALL = {"x86_64": 298, "aarch64": 241, "riscv64": 241, "ppc64le": 319, "s390x": 331}
_LIBC = ctypes.CDLL(None, use_errno=True)

_TYPE_SOFTWARE, _BPF_OUTPUT, _SAMPLE_RAW, _CLOSE_ON_EXEC = 1, 10, 1 << 10, 8
_ENABLE = 0x2400
_LOST, _SAMPLE = 2, 9
_HEAD_AT, _TAIL_AT = 1024, 1032
_ATTRIBUTES = 112


def _open(cpu: int) -> int:
    # type, size, config, sample_period, sample_type, read_format, flags, wakeup_events
    attributes = struct.pack("=IIQQQQQI", _TYPE_SOFTWARE, _ATTRIBUTES, _BPF_OUTPUT, 1, _SAMPLE_RAW, 0, 0, 1).ljust(
        _ATTRIBUTES, b"\0"
    )
    buffer = ctypes.create_string_buffer(attributes, _ATTRIBUTES)
    number = _SYSCALL[platform.machine()]
    found: int = _LIBC.syscall(number, ctypes.byref(buffer), -1, cpu, -1, ctypes.c_ulong(_CLOSE_ON_EXEC))
    if found < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return found


class _Ring:
    """One CPU's."""

    def __init__(self, cpu: int, size: int) -> None:
        self.cpu = cpu
        self.fd = _open(cpu)
        try:
            self._memory = mmap.mmap(self.fd, mmap.PAGESIZE + size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        except OSError:
            os.close(self.fd)
            raise
        self._size = size
        fcntl.ioctl(self.fd, _ENABLE, 0)

    def close(self) -> None:
        self._memory.close()
        os.close(self.fd)

    def _bytes(self, at: int, length: int) -> bytes:
        start = at % self._size
        first = min(length, self._size - start)
        base = mmap.PAGESIZE + start
        return self._memory[base : base + first] + self._memory[mmap.PAGESIZE : mmap.PAGESIZE + length - first]

    def read(self) -> Iterator[tuple[int, bytes]]:
        """(type, what follows its head) of each record that is there."""
        head = struct.unpack_from("=Q", self._memory, _HEAD_AT)[0]
        tail = struct.unpack_from("=Q", self._memory, _TAIL_AT)[0]
        while tail < head:
            kind, _misc, length = struct.unpack("=IHH", self._bytes(tail, 8))
            record = self._bytes(tail + 8, length - 8)
            tail += length
            # What was copied may be overwritten from here on.
            struct.pack_into("=Q", self._memory, _TAIL_AT, tail)
            yield kind, record


class PerfRings:
    """The rings of all CPUs that are online, behind a map of type perf_event_array."""

    def __init__(self, output: Map, size: int) -> None:
        """`size`: bytes of each, a power of two of pages at least. OSError where the kernel does not permit it."""
        self.lost = 0
        self._rings: list[_Ring] = []
        self._poll = select.poll()
        try:
            for cpu in online_cpus():
                if cpu < output.info.entries:
                    ring = _Ring(cpu, size)
                    self._rings.append(ring)
                    output.update(struct.pack("=I", cpu), struct.pack("=I", ring.fd))
                    self._poll.register(ring.fd, select.POLLIN)
        except OSError:
            self.close()
            raise
        self._output = output

    def close(self) -> None:
        """Take the rings away."""
        for ring in self._rings:
            with suppress(OSError, AttributeError):
                self._output.delete(struct.pack("=I", ring.cpu))
            ring.close()
        self._rings = []

    def __enter__(self) -> t.Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def wait(self, seconds: float) -> None:
        """Until there is something, or the time is up."""
        self._poll.poll(max(seconds, 0) * 1000)

    def read(self) -> Iterator[tuple[int, bytes]]:
        """(CPU, data) of what there is, CPU by CPU; what had no room is counted in `lost`."""
        for ring in self._rings:
            for kind, record in ring.read():
                if kind == _SAMPLE:
                    length = struct.unpack_from("=I", record)[0]
                    yield ring.cpu, record[4 : 4 + length]
                elif kind == _LOST:
                    self.lost += struct.unpack_from("=QQ", record)[1]
