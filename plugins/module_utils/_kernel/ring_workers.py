# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many rings at once, on two processors."""

from __future__ import annotations

import fcntl
import os
import signal
import threading
from array import array
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import suppress

from .._model.ring import Job, build_ring, hashable_job, ring_typecode

_AHEAD = 1 << 20
"""Bytes of rings that a helper may be ahead."""


def build_rings(jobs: Sequence[Job], processes: int = 2) -> list[array[int]]:
    """The rings of each_ring, all of them."""
    return list(each_ring(jobs, processes))


def each_ring(jobs: Sequence[Job], processes: int = 2) -> Generator[array[int], None, None]:
    """Build the ring of each job, (reals, ring_size, ring_hash), and yield them in the jobs' order.

    Like build_ring for each, but equal jobs are built once and share one array, which is not to be changed; it is kept
    until the last of them. Up to *processes* processes do the work, if there are as many CPUs and enough to do; none is
    left when this ends, raises or is closed.
    """
    keys = list(map(hashable_job, jobs))
    distinct = list(dict.fromkeys(keys))
    shares = min(processes, len(os.sched_getaffinity(0)), len(distinct) // 4)
    # Forking with threads alive may leave a lock locked for ever in the child.
    if shares < 2 or threading.active_count() > 1:
        shares = 1
    helpers: list[_Helper] = []
    try:
        helpers.extend(_Helper(distinct[share::shares]) for share in range(1, shares))
        turns = {job: turn % shares for turn, job in enumerate(distinct)}
        left = Counter(keys)
        # All at once: between what their users need for a moment, they would be far apart.
        rings = {job: array(ring_typecode(len(job[0])), [0]) * job[1] for job in distinct}
        done: set[Job] = set()
        for key in keys:
            if key not in done:
                done.add(key)
                turn = turns[key]
                if not turn or not helpers[turn - 1].read(rings[key]):
                    rings[key][:] = build_ring(*key)
            left[key] -= 1
            yield rings[key] if left[key] else rings.pop(key)
    finally:
        for helper in helpers:
            helper.stop()


class _Helper:
    """A child process that builds rings and hands them over by a pipe, as many ahead as this holds."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        """Start to build, if there is a process to be had."""
        self.pid = 0
        parent = os.getpid()
        reader, writer = os.pipe()
        self.reader = os.fdopen(reader, "rb")
        # More than a user may have is no failure: then it is less ahead.
        with suppress(OSError):
            fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, _AHEAD)
        try:
            self.pid = os.fork()
        except OSError:
            os.close(writer)
            return
        if self.pid == 0:
            code = 1
            try:
                self.reader.close()
                self._build(jobs, parent, writer)
                code = 0
            finally:
                # The child must neither unwind into its parent's callers nor flush its buffers.
                os._exit(code)
        os.close(writer)

    @staticmethod
    def _build(jobs: Sequence[Job], parent: int, writer: int) -> None:
        for job in jobs:
            # A parent that was killed cannot stop its helper, which holds the parent's locks open.
            if os.getppid() != parent:
                os._exit(1)
            ring = memoryview(build_ring(*job)).cast("B")
            while ring:
                ring = ring[os.write(writer, ring) :]

    def read(self, ring: array[int]) -> bool:
        """Wait for the next ring, in the order of the jobs; False where there is none, as the child failed."""
        if self.pid and self.reader.readinto(ring) < len(ring) * ring.itemsize:
            self._wait()
        return bool(self.pid)

    def _wait(self) -> int:
        pid, self.pid = self.pid, 0
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) if pid else 1

    def stop(self) -> None:
        """End the child if it still runs."""
        self.reader.close()
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            self._wait()
