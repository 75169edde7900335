# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/doctor.md has a row for each finding, and none of what there is not."""

from __future__ import annotations

import re
from pathlib import Path

from ansible_collections.katran.fleet.plugins.module_utils._model.doctor.finding import NAMES

PAGE = Path(__file__).resolve().parents[3] / "docs/doctor.md"


def test_every_finding_is_told() -> None:
    rows = re.findall(r"^\| \x60(\w+)\x60 \| (.+) \| (.+) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert tuple(name for name, _seen, _remedy in rows) == NAMES
