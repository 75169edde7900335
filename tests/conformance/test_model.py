# SPDX-License-Identifier: GPL-3.0-or-later
"""The model against the published vectors and our own."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from ansible_collections.katran.fleet.tests.conformance.model_tc import HealthcheckModel
from ansible_collections.katran.fleet.tests.conformance.model_vectors import (
    FOLDER,
    PUBLISHED,
    Sets,
    compare_counters,
    load_sets,
    replay,
)
from ansible_collections.katran.fleet.tests.conformance.own_vectors import own_sets

NOT_AT_HAND = pytest.mark.skip(reason=f"no published vectors in {FOLDER}: set KATRAN_CONFORMANCE")


def every_set() -> list[Any]:
    left_out = [] if PUBLISHED.exists() else [pytest.param({}, "", id="vectors", marks=NOT_AT_HAND)]
    return left_out + [
        pytest.param(sets, name, id=f"{source}-{name}")
        for source, sets in (("vectors", load_sets(PUBLISHED)), ("own_vectors", own_sets()))
        for name in sets
    ]


@pytest.mark.parametrize(("sets", "name"), every_set())
def test_model_gives_the_expected_answers(sets: Sets, name: str) -> None:
    model, wrong = replay(sets, name)
    assert not wrong, "\n".join(wrong)
    differences = compare_counters(sets[name].get("counters", model.counters()), model.counters())
    assert not differences, differences


def healthcheck_sets() -> list[Any]:
    found = load_sets(PUBLISHED, "healthcheck")
    return [pytest.param(entry, id=name) for name, entry in found.items()] or [
        pytest.param({}, id="vectors", marks=NOT_AT_HAND)
    ]


@pytest.mark.parametrize("entry", healthcheck_sets())
def test_healthcheck_model_gives_the_expected_answers(entry: dict[str, Any]) -> None:
    model = HealthcheckModel.from_scenario(entry["scenario"])
    for mark, packet in enumerate(entry["packets"]):
        answer = model.run(base64.b64decode(packet["in"]), mark)
        assert answer == (packet["action"], base64.b64decode(packet["out"])), packet["description"]
