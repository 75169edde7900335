# SPDX-License-Identifier: GPL-3.0-or-later
"""Every command of the pages about all else, the first half, run; docpages/ has how."""

from __future__ import annotations

from pathlib import Path

import pytest
from docpages.cases import check, identity
from docpages.fleet import pages

PAGES = pages(".", "monitoring", "pipelines", initials="abcdefghij")


@pytest.mark.parametrize("path", PAGES, ids=identity)
def test_a_page_does_what_it_says(path: Path, request: pytest.FixtureRequest) -> None:
    check(path, request)
