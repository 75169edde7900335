# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the report's page tells numbers, and that it is one file."""

from __future__ import annotations

import base64
import hashlib
import re

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model.report.page import report_of
from ansible_collections.katran.fleet.plugins.plugin_utils.report_page import (
    About,
    number,
    points,
    rendered,
    share,
    size,
)


def test_numbers_as_people_read_them() -> None:
    assert [number(each) for each in (0, 999, 1000, 12_345_678)] == ["0", "999", "1,000", "12,345,678"]
    assert [share(each) for each in (0, 0.00001, 0.00005, 0.0123, 0.0994, 0.0995, 0.5, 1)] == [
        "0 %", "< 0.01 %", "0.01 %", "1.23 %", "9.94 %", "10.0 %", "50.0 %", "100.0 %",
    ]  # fmt: skip
    assert [points(each) for each in (0.0123, -0.5)] == ["+1.23", "−50.00"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (1234, "1.23 kB"),
        (99_500, "100 kB"),
        (999_499, "999 kB"),
        (999_500, "1 MB"),
        (5 * 10**18, "5 EB"),
        (10**22, "10000 EB"),
    ],
)
def test_bytes(value: int, text: str) -> None:
    assert size(value) == text


def test_one_file_that_loads_nothing() -> None:
    page = rendered(report_of([]), About(0, revision="3b1f"))
    assert "1970-01-01 00:00 UTC · inventory at 3b1f" in page
    assert re.findall(r'\b(?:src|href)=(?!"#)', page) == []
    assert "url(" not in page
    [policy] = re.findall(r'Content-Security-Policy" content="([^"]+)"', page)
    assert policy.startswith("default-src 'none'; ")
    for name, text in (
        ("style", re.findall(r"<style>(.*?)</style>", page, re.DOTALL)),
        ("script", re.findall(r"<script>(.*?)</script>", page, re.DOTALL)),
    ):
        digest = base64.b64encode(hashlib.sha256(text[0].encode()).digest()).decode()
        assert f"{name}-src 'sha256-{digest}'" in policy
