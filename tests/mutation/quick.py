# SPDX-License-Identifier: GPL-3.0-or-later
"""A plugin of pytest's: the first failure comes as soon as it can."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import Phase, settings

# A failure is enough; the smallest example that fails is of no interest.
settings.register_profile("mutants", phases=(Phase.explicit, Phase.generate), database=None, derandomize=True, deadline=None)
settings.load_profile("mutants")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the fastest tests first, as far as their times are known."""
    known = Path("mutmut-stats.json")
    if known.exists():
        times = json.loads(known.read_text())["duration_by_test"]
        items.sort(key=lambda item: times.get(item.nodeid, 0.0))
