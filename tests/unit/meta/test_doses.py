# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run of CI leaves out of a proof, other runs have."""

from __future__ import annotations

import itertools

import pytest

from ansible_collections.katran.fleet.tests import doses

CASES = list(range(1000))


def test_a_part_is_spread_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doses, "WHOLE", False)
    part = doses.some(CASES, 100)
    assert len(part) == 100
    assert part[0] < 10
    assert part[-1] >= 990
    assert max(after - before for before, after in itertools.pairwise(part)) <= 11


def test_in_the_end_all_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doses, "WHOLE", False)
    tried = set()
    for seed in range(100):
        monkeypatch.setattr(doses, "SEED", seed)
        tried.update(doses.some(CASES, 100))
    assert tried == set(CASES)


def test_few_and_whatever_is_asked_for_whole_are_all_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doses, "WHOLE", False)
    assert doses.some(CASES, 1000) == CASES
    monkeypatch.setattr(doses, "WHOLE", True)
    assert doses.some(CASES, 10) == CASES
    assert (doses.dose(1, 5), doses.WHOLE) == (5, True)
