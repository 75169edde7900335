# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the map of healthcheck destinations is to hold."""

from __future__ import annotations

from ansible_collections.katran.fleet.plugins.module_utils._engine.healthcheck_destinations import destination_entries
from ansible_collections.katran.fleet.plugins.module_utils._model.tables import HealthcheckDestination


def test_a_destination_is_a_real_definition_under_its_mark() -> None:
    entries = destination_entries([HealthcheckDestination(1, "10.0.0.1"), HealthcheckDestination(2**32 - 1, "fc00::1")])
    assert entries == {
        bytes.fromhex("01000000"): bytes.fromhex("0a000001" + "00" * 16),
        bytes.fromhex("ffffffff"): bytes.fromhex("fc00" + "00" * 13 + "01" + "01000000"),
    }
