# SPDX-License-Identifier: GPL-3.0-or-later
"""README.md is short, and what it links to is in the clone: on Galaxy links are those of the repository."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

CLONE = Path(__file__).resolve().parents[2]
REPOSITORY = re.compile(
    r"https://(?:raw\.githubusercontent|github)\.com/katran-fleet/katran\.fleet/(?:(?:blob|tree)/)?main/([^)#\s]+)"
)
READMES = [CLONE / "README.md", *sorted(CLONE.glob("roles/*/README.md"))]


def test_it_is_under_two_screens() -> None:
    assert len((CLONE / "README.md").read_text(encoding="utf-8").splitlines()) <= 100


@pytest.mark.parametrize("page", READMES, ids=lambda page: str(page.relative_to(CLONE)))
def test_links_work_on_galaxy(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert all(link.startswith("https://") for link in re.findall(r"\]\(([^)]+)\)", text))
    linked = REPOSITORY.findall(text)
    assert linked
    assert [path for path in linked if not (CLONE / path).exists()] == []


def test_its_pictures_are_small_and_come_with_the_artifact() -> None:
    pictures = [
        path for path in REPOSITORY.findall((CLONE / "README.md").read_text(encoding="utf-8")) if "pictures" in path
    ]
    assert pictures
    ignored = yaml.safe_load((CLONE / "galaxy.yml").read_text(encoding="utf-8"))["build_ignore"]
    assert not any(pattern in path for pattern in ignored if not pattern.startswith((".", "*")) for path in pictures)
    assert all((CLONE / path).stat().st_size < 300_000 for path in pictures)
    # It plays as an image does: without scripts, and without anything from elsewhere.
    assert not any(
        re.search(r"<script|url\(|href=\"http", (CLONE / path).read_text(encoding="utf-8")) for path in pictures
    )
