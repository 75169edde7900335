# SPDX-License-Identifier: GPL-3.0-or-later
"""Our own packets through the compiled program: every answer, and every counter, as the model has it."""

from __future__ import annotations

import base64
import json
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from contextlib import closing
from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.features import FEATURES
from ansible_collections.katran.fleet.tests.conformance.model_program import (
    counters,
    debugged,
    flows,
    load_tables,
    one_cpu,
    reprovision,
)
from ansible_collections.katran.fleet.tests.conformance.model_vectors import (
    Sets,
    chain,
    compare,
    compare_counters,
    replay,
)
from ansible_collections.katran.fleet.tests.conformance.own_vectors import disagreements, own_sets
from ansible_collections.katran.fleet.tests.conformance.provision import Balancer, provision

SETS = own_sets()


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


def test_scapy_and_the_model_agree_on_every_answer() -> None:
    assert not disagreements(), "\n".join(disagreements())


def test_no_packet_has_gone_missing() -> None:
    """What there is more of, raise the numbers to; a set that loses packets must not pass for one that has them."""
    actions = Counter(packet["action"] for entry in SETS.values() for packet in entry["packets"])
    assert len(SETS) >= 60
    assert actions["XDP_TX"] >= 1618
    assert actions["XDP_PASS"] >= 961
    assert actions["XDP_DROP"] >= 409


def test_every_feature_and_every_counter_has_a_packet() -> None:
    options = [entry["scenario"]["balancer"] for entry in SETS.values()]
    assert {each["encapsulation"] for each in options} == {"ipip", "gue"}
    assert {feature for each in options for feature in each["features"]} == set(FEATURES)
    counted: dict[str, set[str]] = defaultdict(set)
    for entry in SETS.values():
        for table, counts in entry["counters"].items():
            counted[table] |= set(counts)
    # Index 2 depends on the time that packets take.
    assert counted["stats"] == {str(index) for index in range(22)} - {"2"}
    assert counted["stable_rt_stats"] == set(layout.STABLE_RT_COUNTERS)
    assert counted["tpr_stats"] == set(layout.TPR_COUNTERS)
    # No connection id of layout 0 carries a server id.
    assert counted["quic_stats"] == set(layout.QUIC_COUNTERS) - {"cid_v0"}
    assert all(counted[table] for table in ("vip_stats", "reals_stats", "server_id_stats", "decap_vip_stats"))
    assert counted["lru_miss_stats"]
    assert counted["src_denied"]


def test_sets_that_are_followed_come_first() -> None:
    seen: Sets = {}
    for name, entry in SETS.items():
        assert entry.get("follows", name) in {*seen, name}
        seen[name] = entry
