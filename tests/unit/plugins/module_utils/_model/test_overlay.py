# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said of reals by hand, over what their VIPs say."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model.entries import Asked
from ansible_collections.katran.fleet.plugins.module_utils._model.overlay import Overlay, resolve_reals
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils._model.configs import ALL, table_fault

NOW = "2026-01-02T03:04:05+00:00"


def overlay(before: Any, config: Any, state: str = "merged") -> tuple[dict[str, Overlay], list[str]]:
    return resolve_reals(before, Asked(config, state, False, ALL), NOW, ["10.0.0.1", "10.0.0.2"])


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ([{"address": "10.0.0", "state": "down"}], "reals[0].address: 10.0.0 is not an IP address"),
        ([{"address": "169.254.1.1", "state": "down"}], "reals[0].address: 169.254.1.1 is a link-local address"),
        ([{"address": "10.0.0.1"}], "reals[0].state: is missing"),
        ([{"address": "10.0.0.1", "state": "up"}], "reals[0].state: up is none of active, draining, down"),
        ([{"address": "10.0.0.1", "state": "down"}] * 2, "reals[1].address: 10.0.0.1 is listed twice"),
    ],
)
def test_faults_of_the_overlay(config: list[dict[str, Any]], sentence: str) -> None:
    assert table_fault(resolve_reals, config, since=NOW, known=["10.0.0.1"]) == sentence


def test_overlay() -> None:
    after, warnings = overlay({}, [{"address": "10.0.0.1", "state": "draining"}])
    assert (after, warnings) == ({"10.0.0.1": Overlay("10.0.0.1", "draining", NOW)}, [])
    early = {"10.0.0.1": Overlay("10.0.0.1", "draining", "2025-01-01T00:00:00+00:00")}
    assert overlay(early, [{"address": "10.0.0.1", "state": "draining"}])[0] == early
    assert overlay(early, [{"address": "10.0.0.1", "state": "down"}])[0] == {
        "10.0.0.1": Overlay("10.0.0.1", "down", NOW)
    }
    assert overlay(early, [{"address": "10.0.0.1"}], "deleted") == ({}, [])
    assert overlay({}, [{"address": "10.0.0.3", "state": "down"}])[1] == [
        "reals[0].address: no VIP has the real 10.0.0.3"
    ]


def test_a_real_that_an_earlier_version_let_in_can_be_drained() -> None:
    asked = Asked([{"address": "169.254.1.1", "state": "draining"}], "merged", False, ALL)
    after, warnings = resolve_reals({}, asked, NOW, ["169.254.1.1"])
    assert (after["169.254.1.1"].state, warnings) == ("draining", [])
    rest = resolve_reals(after, Asked([{"address": "169.254.1.1"}], "deleted", False, ALL), NOW, [])
    assert rest == ({}, [])
