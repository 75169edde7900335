# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many rings at once, on two processors."""

from __future__ import annotations

import mmap
import os
import signal
import threading
from array import array
from collections.abc import Iterator, Sequence
from itertools import accumulate

from .._model.ring import Job, build_ring, hashable_job, ring_typecode


def build_rings(jobs: Sequence[Job], processes: int = 2) -> list[array[int]]:
    """Build the ring of each job, (reals, ring_size, ring_hash), and return them in the jobs' order.

    Like build_ring for each, but equal jobs are built once and share one array, which is not to be changed. Up to
    *processes* processes do the work, if there are as many CPUs and enough to do; none is left when this returns or
    raises.
    """
    keys = list(map(hashable_job, jobs))
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
        ends = accumulate(
            ring_size * array(ring_typecode(len(reals))).itemsize for reals, ring_size, _ring_hash in jobs
        )
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
            yield array(ring_typecode(len(reals)), self.memory[start:end])
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
