# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a lost state keeps, and what it says."""

from __future__ import annotations

from ansible_collections.katran.fleet.tests.unit.plugins.module_utils._engine.counted_runs import (
    ABC,
    OTHER,
    RING,
    A,
    B,
    C,
    apply,
    real,
    vip,
)
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils.memory_kernel import Host


def test_an_empty_balancer_is_told_apart_from_a_lost_state(host: Host) -> None:
    assert apply(host, ABC).warnings == []
    host.file.files.clear()
    result = host.run("vips", [{**ABC, "flags": ["no_lru"]}], "merged")
    assert result.operations == {"vip_index": 1, "vip_map": 1}
    sentence = (
        "state.json of balancer blue was lost: weights, hashes, checks and drained reals of its VIPs are not known;"
        " apply the whole configuration (state overridden)"
    )
    assert result.warnings == [sentence]


def test_a_lost_state_keeps_what_no_ring_shows_until_all_vips_are_told(host: Host) -> None:
    drained = vip(reals=[real(A), real(B, 0), real(C, state="draining", local=True)])
    apply(host, drained)
    before = host.maps.snapshot()
    host.file.files.clear()
    assert host.run("vips", [OTHER], "merged").operations["reals"] == 1
    host.run("server_ids", [{"id": 1, "real": A}])
    host.run("reals", [{"address": A, "state": "active"}])
    assert before["entries"]["reals"].items() <= host.maps.snapshot()["entries"]["reals"].items()
    assert apply(host, OTHER).operations == {"ch_rings": RING, "reals": 2, "vip_index": 1, "vip_map": 1}
