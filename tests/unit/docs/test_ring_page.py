# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What docs/how/ring.md says a change moves is what rings say."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model.ring import build_ring

PAGE = (Path(__file__).resolve().parents[3] / "docs/how/ring.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| ([^|]+?) \| ([0-9.]+) % \| ([0-9.]+) % \|$", re.MULTILINE)
SIZE = 65537
SECOND = "10.0.0.2"


def equal(count: int, weight: int = 1) -> dict[str, int]:
    return {f"10.0.0.{number}": weight for number in range(1, count + 1)}


def owners(reals: dict[str, int]) -> list[str]:
    names = list(reals)
    return [names[slot] for slot in build_ring([(ipaddress.ip_address(each), reals[each]) for each in names], SIZE)]


def without(reals: dict[str, int]) -> dict[str, int]:
    return {name: weight for name, weight in reals.items() if name != SECOND}


CHANGES: dict[str, tuple[dict[str, int], dict[str, int]]] = {
    "one of 3 equal reals leaves": (equal(3), without(equal(3))),
    "one of 10": (equal(10), without(equal(10))),
    "one of 100": (equal(100), without(equal(100))),
    "a real joins 3": (equal(3), equal(3) | {"10.0.9.1": 1}),
    "a real joins 10": (equal(10), equal(10) | {"10.0.9.1": 1}),
    "a real joins 100": (equal(100), equal(100) | {"10.0.9.1": 1}),
    "one of 10, weight 10 → 9": (equal(10, 10), equal(10, 10) | {SECOND: 9}),
    "one of 10, weight 10 → 1": (equal(10, 10), equal(10, 10) | {SECOND: 1}),
}


def test_the_page_has_just_these() -> None:
    assert [what for what, _moved, _needed in ROW.findall(PAGE)] == list(CHANGES)


@pytest.mark.parametrize(("what", "moved", "needed"), ROW.findall(PAGE))
def test_a_change_moves_what_the_page_says(what: str, moved: str, needed: str) -> None:
    before, after = CHANGES[what]
    old, new = owners(before), owners(after)
    hands = sum(one != other for one, other in zip(old, new, strict=True)) / SIZE * 100
    shares = [{name: weight / sum(reals.values()) for name, weight in reals.items()} for reals in (before, after)]
    grown = sum(max(0.0, share - shares[0].get(name, 0.0)) for name, share in shares[1].items()) * 100
    assert f"{hands:.1f}" == moved
    assert f"{grown:.1f}" == needed
