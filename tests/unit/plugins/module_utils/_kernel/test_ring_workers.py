# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many rings in several processes."""

from __future__ import annotations

import os
import signal
import sys
import threading
from array import array
from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._kernel import ring_workers
from ansible_collections.katran.fleet.plugins.module_utils._kernel.ring_workers import _Helper, build_rings, each_ring
from ansible_collections.katran.fleet.plugins.module_utils._model.ring import RING_HASHES, Job, build_ring
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils.ring_reals import some_reals

JOBS: list[Job] = [(some_reals(1 + i % 9), 1009, RING_HASHES[i % 2]) for i in range(40)]


def no_children() -> bool:
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return True
    return False


@pytest.fixture
def two_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1})
    monkeypatch.setattr(threading, "active_count", lambda: 1)


@pytest.mark.usefixtures("two_cpus")
@pytest.mark.parametrize("processes", [1, 2, 3])
def test_many_rings(processes: int) -> None:
    rings = build_rings(JOBS, processes)
    assert rings == [build_ring(*job) for job in JOBS]
    assert rings[0] is rings[18]
    assert no_children()


@pytest.mark.usefixtures("two_cpus")
def test_many_rings_survive_their_helper(monkeypatch: pytest.MonkeyPatch) -> None:
    parent = os.getpid()

    def dies_in_child(*job: Any) -> array[int]:
        if os.getpid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)
        return build_ring(*job)

    monkeypatch.setattr(ring_workers, "build_ring", dies_in_child)
    assert build_rings(JOBS) == [build_ring(*job) for job in JOBS]
    assert no_children()


@pytest.mark.usefixtures("two_cpus")
def test_many_rings_without_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_process() -> int:
        raise BlockingIOError

    monkeypatch.setattr(os, "fork", no_process)
    assert build_rings(JOBS) == [build_ring(*job) for job in JOBS]


@pytest.mark.usefixtures("two_cpus")
def test_a_bad_ring_among_many_raises_and_leaves_no_child() -> None:
    for at in (0, 1):
        jobs = [*JOBS]
        jobs[at] = ([("10.0.0", 1)], 1009, "maglev_v2")
        with pytest.raises(ValueError, match=r"10\.0\.0"):
            build_rings(jobs)
        assert no_children()


@pytest.mark.usefixtures("two_cpus")
def test_a_helper_without_parent_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    parent = os.getpid()
    monkeypatch.setattr(os, "getppid", lambda: 1 if os.getpid() != parent else 0)
    helper = _Helper(JOBS[:2])
    assert helper._wait() == 1
    helper.stop()


def test_one_process_with_threads_or_few_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_process() -> int:
        raise AssertionError

    monkeypatch.setattr(os, "fork", no_process)
    assert len(build_rings(JOBS[:5])) == 5
    monkeypatch.setattr(threading, "active_count", lambda: 2)
    assert len(build_rings(JOBS)) == len(JOBS)
    assert build_rings([]) == []


@pytest.mark.usefixtures("two_cpus")
def test_rings_that_nobody_waits_for_leave_no_child() -> None:
    rings = each_ring(JOBS)
    assert next(rings) == build_ring(*JOBS[0])
    rings.close()
    assert no_children()


@pytest.mark.usefixtures("two_cpus")
def test_a_ring_is_kept_no_longer_than_it_is_asked_for() -> None:
    """512 rings of 65,537 slots are 33 MB where all of them are kept."""
    jobs: list[Job] = [(some_reals(3 + each), 1009, "maglev_v2") for each in range(12)]
    rings = each_ring([*jobs, jobs[0]])
    first = next(rings)
    others = [sys.getrefcount(ring) for ring in rings]
    # The list comprehension's name and the call's argument; the last is the first once more.
    assert others[:-1] == [2] * (len(jobs) - 1)
    assert others[-1] == 3
    assert first == build_ring(*jobs[0])
