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
from ansible_collections.katran.fleet.plugins.module_utils._model.settings import parse_settings
from ansible_collections.katran.fleet.plugins.module_utils._model.snapshot import MapInfo
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils._model.configs import SETTINGS


def table(entries: int) -> MapInfo:
    return MapInfo(LRU_HASH, 1, 40, 16, entries, 0, "flows")


def wanted(cores: Any, cpus: tuple[int, ...], there: dict[int, int], flows: int = 100) -> dict[int, int]:
    settings = parse_settings({**SETTINGS, "forwarding_cores": cores, "sizes": {"flows": flows}})
    return wanted_tables(settings, "lru_mapping", cpus, {cpu: table(entries) for cpu, entries in there.items()})


@pytest.mark.parametrize(
    ("total", "cpus", "sizes"),
    [
        (100, (0, 1, 2), {0: 34, 1: 33, 2: 33}),
        (101, (7, 2), {2: 51, 7: 50}),
        # A table has room for one flow at least.
        (1, (0, 1), {0: 1, 1: 1}),
        (0, (0,), {0: 1}),
        (5, (), {}),
    ],
)
def test_tables_add_up(total: int, cpus: tuple[int, ...], sizes: dict[int, int]) -> None:
    assert table_sizes(total, cpus) == sizes


def test_a_cpu_that_received_once_may_do_so_again() -> None:
    assert wanted("auto", (0, 1), {3: 50}) == {0: 34, 1: 33, 3: 33}
    # What the operator lists is all there is.
    assert wanted([0, 1], (0, 1), {3: 50}) == {0: 50, 1: 50}


def test_tables_that_are_to_be_smaller() -> None:
    settings = parse_settings({**SETTINGS, "forwarding_cores": [0, 1, 2], "sizes": {"flows": 90}})
    there = {cpu: table(entries) for cpu, entries in {0: 31, 1: 30, 2: 29, 3: 99}.items()}
    assert shrinking(settings, (0, 1, 2), there) == {0: there[0]}
