# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The order of findings."""

from __future__ import annotations

from ansible_collections.katran.fleet.plugins.module_utils._model.doctor.finding import (
    NAMES,
    NOT_EXAMINED,
    Finding,
    in_order,
)


def test_names_are_distinct() -> None:
    assert len(set(NAMES)) == len(NAMES)
    assert NAMES[-1] == NOT_EXAMINED


def test_errors_come_first_and_nothing_twice() -> None:
    late, early = Finding("agent_down", "", "", ""), Finding("gateway_mac", "", "", "")
    warning = Finding("gateway_mac", "", "", "", error=False)
    assert in_order([warning, late, early, late]) == [early, late, warning]
