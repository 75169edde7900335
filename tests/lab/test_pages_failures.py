# SPDX-License-Identifier: GPL-3.0-or-later
"""Every command of the pages about what fails, and what then, run; docpages/ has how."""

from __future__ import annotations

from pathlib import Path

import pytest
from docpages.cases import check, identity
from docpages.fleet import pages

PAGES = pages("failures")


@pytest.mark.parametrize("path", PAGES, ids=identity)
def test_a_page_does_what_it_says(path: Path, request: pytest.FixtureRequest) -> None:
    check(path, request)
