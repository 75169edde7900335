# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The end of health checks on interfaces of which one is not there any more."""

from __future__ import annotations

from dataclasses import replace

from ansible_collections.katran.fleet.plugins.module_utils._model.healthcheck_plan import plan_removal
from ansible_collections.katran.fleet.plugins.module_utils._model.snapshot import Missing
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils._model.test_healthcheck_plan import (
    GOOD,
    RECORD,
)


def test_an_interface_that_is_not_there() -> None:
    record = replace(RECORD, interfaces=["eth9", "eth0"])
    found = plan_removal(record, GOOD, ())
    sentence = "interface eth9 does not exist on this host: where it moved to another network namespace, its qdisc and"
    assert found.warnings == [f"{sentence} filter stay"]
    assert plan_removal(RECORD, GOOD, ()).warnings == []
    # Where nobody can tell, nothing is said.
    assert plan_removal(record, replace(GOOD, places=Missing("no pyroute2")), ()).warnings == []


def test_lines_of_all_interfaces() -> None:
    place = GOOD.places["eth0"] if not isinstance(GOOD.places, Missing) else None
    assert place is not None
    both = replace(GOOD, places={"eth0": place, "eth1": replace(place, index=4)})
    found = plan_removal(replace(RECORD, interfaces=["eth0", "eth1"]), both, ())
    lines = [line for line in found.changes if line.startswith("detach")]
    assert lines == [f"detach healthcheck from the egress of {name}" for name in ("eth0", "eth1")]
