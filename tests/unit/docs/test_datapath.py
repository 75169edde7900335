# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What comments cite as a step or a section of the datapath is in docs/datapath.md."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

COLLECTION = Path(__file__).resolve().parents[3]
PAGE = (COLLECTION / "docs" / "datapath.md").read_text(encoding="utf-8")
SECTIONS = set(re.findall(r"^## (\d+)\. ", PAGE, re.MULTILINE))
STEPS = set(re.findall(r"^#{3,4} Step (\d+[a-z]?): ", PAGE, re.MULTILINE))

# "step 6", "steps 6 and 8", "Steps 9, 10 and 11a", "Steps 11b to 11d".
LIST = r"{number}(?:(?:,| and| to) {number})*"
STEP = re.compile(r"\b[Ss]teps? (" + LIST.format(number=r"\d+[a-z]?") + r")\b")
# "datapath, section 1", "datapath.md, section 3"; sections of RFCs are others'.
SECTION = re.compile(r"\bdatapath(?:\.md)?, sections? (" + LIST.format(number=r"\d+") + r")\b")


def sources() -> Iterator[Path]:
    for pattern in ("bpf/**/*.[ch]", "plugins/**/*.py"):
        yield from sorted(COLLECTION.glob(pattern))


def words(path: Path) -> str:
    """The text of a file without line breaks, nor what begins a line of a comment."""
    return re.sub(r"\s*\n[\s*#]*", " ", path.read_text(encoding="utf-8"))


def cited(pattern: re.Pattern[str]) -> dict[str, set[str]]:
    """Number → the files that cite it."""
    found: dict[str, set[str]] = {}
    for path in sources():
        for numbers in pattern.findall(words(path)):
            for number in re.findall(r"\d+[a-z]?", numbers):
                found.setdefault(number, set()).add(str(path.relative_to(COLLECTION)))
    return found


def test_every_cited_step_is_described():
    found = cited(STEP)
    # All of the choice's are: were nothing found, nothing would be compared.
    assert found.keys() >= {"8", "9", "10", "11a", "11b", "11c", "11d", "11e", "12"}
    assert {number: files for number, files in found.items() if number not in STEPS} == {}


def test_every_cited_section_is_described():
    found = cited(SECTION)
    assert found.keys() >= {"1", "3", "4"}
    assert {number: files for number, files in found.items() if number not in SECTIONS} == {}


def test_steps_and_sections_are_numbered_without_gaps():
    assert sorted(SECTIONS) == [str(number) for number in range(1, 7)]
    assert sorted(STEPS) == sorted([*map(str, range(1, 13)), *(f"11{letter}" for letter in "abcde")])


@pytest.mark.parametrize("file", ["bpf/include/structs.h", "bpf/include/maps.h"])
def test_every_struct_and_map_is_described(file: str):
    """Maps as BPF_TABLE and its likes declare them; the inner ones have no name in the kernel's file system."""
    text = words(COLLECTION / file)
    structs = re.findall(r"\bASSERT_SIZE\(struct (\w+),", text)
    maps = re.findall(r'\bBPF_(?:F_)?TABLE\("[\w$]+", (?:struct )?\w+, (?:struct )?\w+, (\w+),', text)
    inner = set(re.findall(r'"\w+_of_maps\$(\w+)"', text))
    assert structs or maps
    rows = {name for row in re.findall(r"^\| ([^|]+) \|", PAGE, re.MULTILINE) for name in re.split(r",? /? ?", row)}
    assert {*structs, *maps} - inner - rows == set()
