# SPDX-License-Identifier: GPL-3.0-or-later
"""512 VIPs that share 100 reals: one of these dies, and katran looks. `make bench-large`, `bench-katran` do more."""

from __future__ import annotations

import random
import resource
from collections.abc import Iterator

import pytest

from ansible_collections.katran.fleet.tests.engine.katran import install, katran
from ansible_collections.katran.fleet.tests.engine.large import ALONE, VIPS, Large, large

SECONDS, LATE_SECONDS = 4.0, 0.1
STATUS_CPU, READING_CPU = 1.5, 0.05
"""A status takes a third of that, and a reading of top a fourth: at one a second, 5 % of a core is the bound."""


@pytest.fixture(scope="module")
def one() -> Iterator[Large]:
    with large(ALONE) as found:
        yield found


def test_a_dead_real_is_out_of_512_rings_within_seconds_and_back_within_seconds(one: Large) -> None:
    """Silent, which takes longest to be seen; while every ring is written, other reals are asked in time."""
    found = one.trial("10.0.0.46", "silent", random.Random(7))
    print(found)
    if found.late > LATE_SECONDS:
        # A machine that stalled, as shared ones do now and then, says nothing of the agent: once more.
        found = one.trial("10.0.0.47", "silent", random.Random(8))
        print(found)
    assert found.out <= SECONDS
    assert found.back <= SECONDS
    assert found.late <= LATE_SECONDS


def cpu(*words: str) -> float:
    """CPU seconds of one run of katran."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = katran(*words)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert (done.returncode, done.stderr) in ((0, ""), (1, ""), (2, "")), done
    assert done.stdout.count("198.18.") >= VIPS
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.usefixtures("one")
def test_a_look_costs_little() -> None:
    install()
    # The first compiles what it imports.
    katran("status")
    assert min(cpu("status") for _attempt in range(3)) <= STATUS_CPU
    few, many = (min(cpu("top", "--interval", "0.2", "--count", count) for _attempt in range(2)) for count in "16")
    assert (many - few) / 5 <= READING_CPU
