# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model.falling import falling


@pytest.mark.parametrize(
    ("rates", "line"),
    [
        ([], ""),
        ([0.0], "0 packets/s"),
        ([12400.4, 3100.0, 0.2, 0.0, 0.0], "12,400 → 3,100 → 0 packets/s"),
        (list(map(float, range(30, 0, -1))), "30 → 26 → 22 → 18 → 13 → 9 → 5 → 1 packets/s"),
    ],
)
def test_a_line_that_is_read_at_a_glance(rates: list[float], line: str) -> None:
    assert falling(rates) == line


def test_other_units() -> None:
    assert falling([3, 1], "flows") == "3 → 1 flows"
