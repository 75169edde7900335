# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which CPUs have a connection table, of how many flows."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model.flow_table_plan import (
    shrinking,
    table_sizes,
    wanted_tables,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.map_specs import LRU_HASH
from ansible_collections.katran.fleet.plugins.module_utils._model.settings import BalancerSettings
from ansible_collections.katran.fleet.plugins.module_utils._model.snapshot import MapInfo
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils.balancer_world import settings_of
