# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures between their two marks in docs/performance.md."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs/performance.md"


def machine() -> str:
    """What a reader has to know of the machine before any figure."""
    return f"Linux {platform.release()}, {os.cpu_count()} cores"


def write_figures(name: str, lines: Iterable[str]) -> None:
    """Put *lines* where the page has the figures of tests/bench/*name*, in place of those that are there."""
    begin, end = f"<!-- figures of tests/bench/{name} -->", "<!-- end of these figures -->"
    before, _begin, rest = PAGE.read_text(encoding="utf-8").partition(begin)
    _old, there, after = rest.partition(end)
    if not there:
        raise SystemExit(f"{PAGE}: no place for the figures, which begins with {begin}")
    block = "\n".join([begin, "", "```", *lines, "```", "", end])
    PAGE.write_text(before + block + after, encoding="utf-8")
