# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What waits until a real is ready."""

from __future__ import annotations

from ansible_collections.katran.fleet.plugins.module_utils._model.readiness import hold_back_rows, hold_back_vips
from ansible_collections.katran.fleet.plugins.module_utils._model.tables import DecapDestination, ServerId
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils._model.configs import reals, vip, vips


def test_a_real_that_is_not_ready_takes_no_new_flow() -> None:
    two, one = reals("10.0.0.1", "10.0.0.2"), reals("10.0.0.1")
    draining = [one[0], {"address": "10.0.0.2", "state": "draining"}]
    wanted, _warnings = vips([vip(reals=two)])
    unready = frozenset({"10.0.0.2", "10.0.0.9"})
    warning = "vip 198.51.100.1:443/tcp: no new flow to 10.0.0.2 yet, not ready (unready_reals)"
    for before, held in (
        ([], one),
        ([vip()], one),
        ([vip(reals=draining)], draining),
        ([vip(port=80, reals=two)], one),
    ):
        known, _warnings = vips(before)
        waiting, _warnings = vips([vip(reals=held)])
        assert hold_back_vips(known, wanted, unready, ()) == (waiting, [warning])
        assert hold_back_vips(known, waiting, unready, ()) == (waiting, [])
        assert hold_back_vips(known, wanted, (), ()) == (wanted, [])
    # What takes them already goes on.
    heavier, _warnings = vips([vip(reals=[one[0], {"address": "10.0.0.2", "weight": 9}])])
    assert hold_back_vips(wanted, heavier, unready, unready) == (heavier, [])


def test_a_real_that_nobody_looked_at_is_worth_a_warning() -> None:
    known, _warnings = vips([vip(reals=reals("10.0.0.1"))])
    wanted, _warnings = vips([vip(reals=reals("10.0.0.1", "10.0.0.2")), vip(port=80, reals=reals("10.0.0.1"))])
    assert hold_back_vips(known, wanted, (), {"10.0.0.1", "10.0.0.2"}) == (
        wanted,
        [
            "vip 198.51.100.1:80/tcp: new flows go to 10.0.0.1, not known to be ready (unseen_reals)",
            "vip 198.51.100.1:443/tcp: new flows go to 10.0.0.2, not known to be ready (unseen_reals)",
        ],
    )
    # A balancer that is new knows nothing at all.
    assert hold_back_vips({}, wanted, (), {"10.0.0.1", "10.0.0.2"}) == (wanted, [])


def test_no_entry_leads_newly_to_a_real_that_is_not_ready() -> None:
    def ids(**rows: str) -> dict[str, ServerId]:
        return {key: ServerId(ord(key), real) for key, real in rows.items()}

    unready = frozenset({"10.0.0.2"})
    before = ids(a="10.0.0.1", b="10.0.0.2", c="10.0.0.1")
    after = ids(a="10.0.0.2", b="10.0.0.2", d="10.0.0.2", e="10.0.0.3")
    held = ids(a="10.0.0.1", b="10.0.0.2", e="10.0.0.3")
    assert hold_back_rows(before, after, unready) == (held, ["a", "d"])
    assert hold_back_rows(before, after, frozenset()) == (after, [])
    destinations = {"192.0.2.1": DecapDestination("192.0.2.1", False)}
    assert hold_back_rows({}, destinations, unready) == (destinations, [])
