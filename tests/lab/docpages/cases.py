# SPDX-License-Identifier: GPL-3.0-or-later
"""What test_pages_*.py have in common: one test for each page."""

from __future__ import annotations

from pathlib import Path

import pytest
from fleetlab.names import TESTED
from fleetlab.runs import Fleet

from docpages import fleet as pages


def identity(path: Path) -> str:
    """The name of a page's test: handbook/add-a-vip."""
    return pages.name_of(path).removeprefix("docs/").removesuffix(".md")


def check(path: Path, request: pytest.FixtureRequest) -> None:
    """Run one page; the fleet that pages share is asked for only where one needs it."""

    def shared() -> Fleet:
        fleet: Fleet = request.getfixturevalue("pages_fleet")
        return fleet

    pages.run(path, TESTED, shared, print)
