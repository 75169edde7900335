# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rates of two readings of counters."""

from __future__ import annotations

from ansible_collections.katran.fleet.plugins.module_utils._engine.counters import Counted
from ansible_collections.katran.fleet.plugins.module_utils._engine.rates import Rate, rates
from ansible_collections.katran.fleet.plugins.module_utils._model.vips import VipKey

WEB, DNS = VipKey.read("198.51.100.1:443/tcp"), VipKey.read("198.51.100.2:53/udp")


def test_the_busiest_first() -> None:
    before = Counted({"frames_seen": 100, "lru_misses": 5}, {WEB: (10, 100), DNS: (0, 0)}, {"10.0.0.1": (10, 100)})
    after = Counted({"frames_seen": 300, "lru_misses": 5}, {WEB: (20, 300), DNS: (40, 80)}, {"10.0.0.1": (60, 380)})
    found = rates("default", before, after, 2.0)
    assert found.totals == {"frames": 100.0, "new_flows": 0.0}
    assert found.vips == (Rate(str(DNS), 20.0, 40.0), Rate(str(WEB), 5.0, 100.0))
    assert found.reals == (Rate("10.0.0.1", 25.0, 140.0),)
    assert found.to_data()["vips"][0] == {"name": str(DNS), "packets": 20.0, "bytes": 40.0}


def test_counters_that_began_anew_and_vips_that_came_and_went() -> None:
    before, after = Counted({}, {WEB: (1000, 9000)}), Counted({}, {WEB: (10, 90), DNS: (2, 4)})
    assert rates("default", before, after, 1.0).vips == (Rate(str(WEB), 10.0, 90.0), Rate(str(DNS), 2.0, 4.0))
    assert rates("default", after, before, 0.0).vips == (Rate(str(WEB), 0.0, 0.0),)
