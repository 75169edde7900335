# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.katran.fleet.tests.unit.plugins.module_utils.memory_kernel import Host, Shape

# Where its assertions fail, pytest shows what they compared, as it does for those of tests.
pytest.register_assert_rewrite("ansible_collections.katran.fleet.tests.unit.plugins.module_utils._engine.counted_runs")


@pytest.fixture
def host() -> Host:
    # An import above the registration would come too early for it.
    from ansible_collections.katran.fleet.tests.unit.plugins.module_utils._engine.counted_runs import RING

    return Host(Shape.of(vips=8, reals=130, ring=RING, server_ids=100, source_routes=10))
