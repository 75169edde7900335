# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The end of programs whose interface is not there any more, and reals that an option lists."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model.balancer_plan import plan_removal
from ansible_collections.katran.fleet.plugins.module_utils._model.balancer_snapshot import BalancerSnapshot
from ansible_collections.katran.fleet.plugins.module_utils._model.decap_plan import plan_removal as plan_decap_removal
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ConfigError
from ansible_collections.katran.fleet.plugins.module_utils._model.readiness import parse_reals
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils._model.test_balancer_plan_steps import (
    GOOD,
    RECORD,
    state,
)
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils._model.test_decap_plan_steps import GOOD as REAL
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils._model.test_decap_plan_steps import (
    RECORD as REAL_RECORD,
)

STAYS = "does not exist on this host: where it moved to another network namespace, program"


def test_a_balancer_whose_interfaces_are_gone() -> None:
    record = replace(RECORD, interfaces=["eth0", "eth7", "eth8"])
    found = plan_removal(state(record), replace(GOOD, absent=("eth8", "eth7")), "/x", [])
    assert found.warnings == [
        f"interface {name} {STAYS} balancer may still run there (ip -n NAMESPACE link set {name} xdp off)"
        for name in ("eth7", "eth8")
    ]
    assert plan_removal(state(record), GOOD, "/x", []).warnings == []


@pytest.mark.parametrize("options", [{"maps": GOOD.maps}, {"pins": frozenset({77})}, {"strays": {"vip_map": "a file"}}])
def test_whatever_is_pinned_is_removed(options: dict[str, object]) -> None:
    seen = replace(BalancerSnapshot(directory="/sys/fs/bpf/x"), **options)  # type: ignore[arg-type]  # of any of them
    found = plan_removal(state(replace(RECORD, interfaces=[])), seen, "/x", [])
    assert found.changes == ["remove the maps and programs pinned in /sys/fs/bpf/x", "remove the state in /x"]


def test_what_was_learned_is_kept_until_the_end() -> None:
    known = state()
    assert plan_removal(known, GOOD, "/x", []).learned == known.learned


def test_a_real_whose_interface_is_gone() -> None:
    record = replace(REAL_RECORD, interfaces=["eth9", "eth0"])
    found = plan_decap_removal(record, replace(REAL, absent=("eth9",)), ())
    assert found.warnings == [
        f"interface eth9 {STAYS} decap may still run there (ip -n NAMESPACE link set eth9 xdp off)"
    ]


def test_reals_that_an_option_lists() -> None:
    assert parse_reals(["10.0.0.1", "FC00::1"], "unready_reals") == frozenset({"10.0.0.1", "fc00::1"})
    assert parse_reals([], "unready_reals") == frozenset()
    with pytest.raises(ConfigError, match=r"^unready_reals\[1\]: web "):
        parse_reals(["10.0.0.1", "web"], "unready_reals")
