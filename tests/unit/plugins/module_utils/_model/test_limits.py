# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the settings on file leave room for."""

from __future__ import annotations

from ansible_collections.katran.fleet.plugins.module_utils._model.limits import Limits, limits_of_settings
from ansible_collections.katran.fleet.plugins.module_utils._model.map_specs import DEFAULT_SIZES
from ansible_collections.katran.fleet.plugins.module_utils._model.settings import parse_settings
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils._model.configs import SETTINGS


def test_limits_of_settings() -> None:
    parsed = parse_settings({**SETTINGS, "features": ["vlan"]})
    limits = limits_of_settings(parsed.to_config())
    assert limits == Limits(DEFAULT_SIZES, frozenset({"vlan"}))
