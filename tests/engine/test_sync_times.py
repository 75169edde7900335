# SPDX-License-Identifier: GPL-3.0-or-later
"""How fast a balancer scans its flows after a change of a ring, and how soon its peer has the exceptions."""

from __future__ import annotations

from ansible_collections.katran.fleet.tests.engine import two_balancers as two

ALONE = True


def test_exceptions_of_100_000_flows_are_at_the_peer_within_a_second() -> None:
    found = two.measure(100_000, 40_000)
    print(found)
    assert found.exceptions > 4000
    assert found.delivered <= 1.0


def test_a_million_flows_are_scanned_within_five_seconds_and_probes_go_on() -> None:
    found = two.measure(1_000_000, 250_000)
    print(found)
    assert found.exceptions > 40_000
    assert found.scan <= 5.0
    assert found.mib < 200
    # Of a loop that has something to do every ten milliseconds; a probe's timeout is half a second.
    assert found.latest <= 0.25
