# SPDX-License-Identifier: GPL-3.0-or-later
"""Our own packets through the compiled program: every answer, and every counter, as the model has it."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping
from contextlib import closing
from typing import Any

import pytest

from ansible_collections.katran.fleet.tests.conformance.build_vectors import build, text_of
from ansible_collections.katran.fleet.tests.conformance.model_program import (
    counters,
    debugged,
    flows,
    load_tables,
    one_cpu,
    reprovision,
)
from ansible_collections.katran.fleet.tests.conformance.model_vectors import (
    OWN,
    Sets,
    chain,
    compare,
    compare_counters,
    load_sets,
    replay,
)
from ansible_collections.katran.fleet.tests.conformance.provision import Balancer, provision

SETS = load_sets(OWN)


@pytest.mark.parametrize("own_table", [False, True], ids=["fallback", "cpu_table"])
@pytest.mark.parametrize("name", list(SETS))
def test_program_gives_the_expected_answers(name: str, own_table: bool) -> None:
    first, *later = (SETS[link] for link in chain(SETS, name))
    model, _ = replay(SETS, name)
    with one_cpu() as this, closing(provision(first["scenario"], cpu=this if own_table else None)) as balancer:
        if "flow_debug_maps" in balancer.maps:
            balancer.flow_table("flow_debug_maps", this).close()
        wrong = run_packets(balancer, first)
        for entry in later:
            reprovision(balancer, entry["scenario"])
            wrong += run_packets(balancer, entry)
        found, expected = counters(balancer), json.loads(json.dumps(SETS[name]["counters"]))
        table = flows(balancer, this if own_table else None)
        debug = debugged(balancer, this) if "flow_debug_maps" in balancer.maps else {}
    assert not wrong, "\n".join(wrong)
    if own_table:
        expected["stats"].pop("3", None)
    differences = compare_counters(expected, found)
    assert not differences, differences
    assert table == model.flows()
    assert debug == model.debugged()


def run_packets(balancer: Balancer, entry: Mapping[str, Any]) -> list[str]:
    load_tables(balancer, entry.get("tables", {}))
    wrong = []
    for number, packet in enumerate(entry["packets"]):
        time.sleep(packet.get("after", 0))
        data = base64.b64decode(packet["in"])
        difference = compare(packet, *balancer.run(data))
        if difference:
            wrong.append(f"[{number}] {difference}")
    return wrong


def test_the_file_is_what_the_script_builds() -> None:
    sets, disagreements = build()
    assert not disagreements, "\n".join(disagreements)
    assert OWN.read_text() == text_of(sets)


def test_sets_that_are_followed_come_first() -> None:
    seen: Sets = {}
    for name, entry in SETS.items():
        assert entry.get("follows", name) in {*seen, name}
        seen[name] = entry
