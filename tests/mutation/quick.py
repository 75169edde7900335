# SPDX-License-Identifier: GPL-3.0-or-later
"""A plugin of pytest's: the first failure comes as soon as it can."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import Phase, settings

# A failure is enough; the smallest example that fails is of no interest.
settings.register_profile(
    "mutants", phases=(Phase.explicit, Phase.generate), database=None, derandomize=True, deadline=None
)
settings.load_profile("mutants")

FEW, MANY = 4, 100
"""Examples of a property of whole runs, and of the pure room alone, of which one costs a hundredth of the other's."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the fastest tests first, as far as their times are known, and let slow properties try few examples."""
    for item in items:
        test = getattr(item, "obj", None)
        asked = getattr(test, "_hypothesis_internal_use_settings", None)
        enough = MANY if "_model" in item.path.parts else FEW
        if test and asked and asked.max_examples > enough:
            test._hypothesis_internal_use_settings = settings(asked, max_examples=enough)
    known = Path("mutmut-stats.json")
    if known.exists():
        times = json.loads(known.read_text())["duration_by_test"]
        items.sort(key=lambda item: times.get(item.nodeid, 0.0))
