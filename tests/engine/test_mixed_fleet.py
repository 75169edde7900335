# SPDX-License-Identifier: GPL-3.0-or-later
"""Ours beside a Katran behind ECMP, for a moment; `make bench-katran-mixed` does it for ten minutes."""

from __future__ import annotations

from ansible_collections.katran.fleet.tests.engine.mixed_fleet import run_mixed


def test_whichever_balancer_a_packet_meets_its_flow_has_one_real() -> None:
    found = run_mixed(1.5)
    print(found)
    assert found.arrived == found.packets > 1000
    assert found.both > 50
    assert found.misrouted == 0
