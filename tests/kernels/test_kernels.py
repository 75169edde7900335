# SPDX-License-Identifier: GPL-3.0-or-later
"""Debian 12's kernel runs what is compiled here: none and all of the features, both encapsulations, every program."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.katran.fleet.tests.kernels import table, work

NAMES = [combination.name for combination in work.none_and_all()]
NAMES += [job["name"] for job in (*work.other_jobs(), work.interfaces_job(), work.life_job(), work.real_job())]
NAMES.append(work.compile_job(work.none_and_all()[0])["name"])


@pytest.mark.parametrize("name", NAMES)
def test_job(name: str, outcomes: dict[str, dict[str, Any]]) -> None:
    complaint = table.complaint(outcomes[name])
    assert not complaint, complaint
