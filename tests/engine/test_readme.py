# SPDX-License-Identifier: GPL-3.0-or-later
"""README.md is short, and what it links to is in the clone; what goes to Galaxy has absolute links instead."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

CLONE = Path(__file__).resolve().parents[2]
READMES = [CLONE / "README.md", *sorted(CLONE.glob("roles/*/README.md"))]


def test_it_is_under_two_screens() -> None:
    assert len((CLONE / "README.md").read_text(encoding="utf-8").splitlines()) <= 100


def _links(page: Path) -> list[str]:
    """Where a page's links lead, without those to elsewhere and to its own sections."""
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
    return [link for link in links if not link.startswith("https://")]


@pytest.mark.parametrize("page", READMES, ids=lambda page: str(page.relative_to(CLONE)))
def test_links_lead_somewhere(page: Path) -> None:
    assert _links(page)
    assert [link for link in _links(page) if not (page.parent / link).exists()] == []


def test_links_work_on_galaxy(tmp_path: Path) -> None:
    for page in READMES:
        copy = tmp_path / page.relative_to(CLONE)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(page.read_bytes())
    subprocess.run([CLONE / "scripts/galaxy-readme", tmp_path], check=True)
    assert [_links(tmp_path / page.relative_to(CLONE)) for page in READMES] == [[]] * len(READMES)
    text = (tmp_path / "roles/bgp/README.md").read_text(encoding="utf-8")
    paths = re.findall(r"github\.com/katran-fleet/katran\.fleet/blob/main/([^)#\s]+)", text)
    assert paths
    assert [path for path in paths if not (CLONE / path).exists()] == []


def test_its_pictures_are_small_and_come_with_the_artifact() -> None:
    pictures = [path for path in _links(CLONE / "README.md") if "pictures" in path]
    assert pictures
    ignored = yaml.safe_load((CLONE / "galaxy.yml").read_text(encoding="utf-8"))["build_ignore"]
    assert not any(pattern in path for pattern in ignored if not pattern.startswith((".", "*")) for path in pictures)
    assert all((CLONE / path).stat().st_size < 300_000 for path in pictures)
    # They play as images do: without scripts, and without anything from elsewhere.
    assert not any(
        re.search(rb"<script|url\(|href=\"http", (CLONE / path).read_bytes())
        for path in pictures
        if path.endswith(".svg")
    )
