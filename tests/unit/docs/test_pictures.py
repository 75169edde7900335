# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pictures of docs/ are what is drawn, can be read, and are shown somewhere."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from ansible_collections.katran.fleet.tests.unit.docs import pictures

DOCS = Path(__file__).resolve().parents[3] / "docs"
DRAWN = pictures.drawn()
SVG = "{http://www.w3.org/2000/svg}"
# What text stands on, by its class: light, dark.
TEXTS = {"": ("#1f2328", "#e6edf3"), "soft": ("#57606a", "#9ea7b0")}
SURFACES = ("back", "box", "lb", "real", "net", "bad")


def _root(name: str) -> ET.Element:
    return ET.fromstring(DRAWN[name])  # noqa: S314 - of our own making


def fills(style: str) -> dict[str, str]:
    return dict(re.findall(r"\.([\w-]+) \{ fill: (#[0-9a-f]{6})", style))


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("name", DRAWN)
def test_a_picture_is_what_is_drawn(name: str) -> None:
    assert (DOCS / "pictures" / name).read_text(encoding="utf-8") == DRAWN[name], "run scripts/pictures"


@pytest.mark.parametrize("name", DRAWN)
def test_its_text_is_within_it(name: str) -> None:
    root = _root(name)
    width, height = int(root.attrib["width"]), int(root.attrib["height"])
    assert width <= 480
    for text in root.iter(f"{SVG}text"):
        words, style = text.text or "", text.attrib.get("class", "").split()
        # Of the widest of the fonts that are asked for.
        long = len(words) * (7.3 if "m" in style else 6.7 if "s" in style else 8.4)
        x, y = float(text.attrib["x"]), float(text.attrib["y"])
        left = x - {"start": 0.0, "middle": 0.5, "end": 1.0}[text.attrib.get("text-anchor", "start")] * long
        assert left >= 0, words
        assert left + long <= width + 12, words
        assert 0 < y < height, words


@pytest.mark.parametrize("name", DRAWN)
def test_it_says_what_it_shows(name: str) -> None:
    root = _root(name)
    title, description = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
    assert title is not None
    assert title.text
    assert description is not None
    assert len(description.text or "") > 40
    shown = [
        path
        for path in DOCS.rglob("*.md")
        if re.search(rf"!\[[^\]]{{20,}}\]\([./a-z]*pictures/{name}\)", path.read_text())
    ]
    assert shown, "no page shows it with words that say what it is"


@pytest.mark.parametrize("dark", [False, True])
def test_text_can_be_read_in_light_and_dark(dark: bool) -> None:
    light, later = pictures._STYLE.split("@media", 1)
    found = fills(light) | (fills(later) if dark else {})
    for surface in SURFACES:
        assert contrast(TEXTS[""][dark], found[surface]) >= 7, surface
    assert contrast(TEXTS["soft"][dark], found["back"]) >= 4.5
    for place in ("r1", "r2", "r3"):
        assert contrast("#ffffff", found[place]) >= 4.5, place
