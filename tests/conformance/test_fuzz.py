# SPDX-License-Identifier: GPL-3.0-or-later
"""Mutated packets through the compiled program, the model deciding for each what must come out.

KATRAN_FUZZ: how many packets in all (200,000); KATRAN_FUZZ_SEED: another run of luck.
"""

from __future__ import annotations

import base64
import os
from contextlib import closing
from random import Random
from typing import Any

import pytest

from ansible_collections.katran.fleet.tests.conformance.fuzz import (
    INDEX_GONE,
    INDEX_THERE,
    LAPSES,
    Mutator,
    Pair,
    lapse,
    reproduction,
)
from ansible_collections.katran.fleet.tests.conformance.model_program import one_cpu
from ansible_collections.katran.fleet.tests.conformance.model_vectors import compare_counters
from ansible_collections.katran.fleet.tests.conformance.own_vectors import own_sets

SETS = own_sets()
SCENARIOS = (
    "ipip",
    "gue",
    "settings_ipip",
    "vlan_ipip",
    "vlan_gue",
    "icmp_errors_gue",
    "echo",
    "too_big",
    "cidr_ipip",
    "quic_gue",
    "stable_routing_ipip",
    "tcp_server_id_gue",
    "server_id_hash",
    "source_routing_gue",
    "global_lru",
    "local_delivery",
    "migration_3",
    "decap_strict_gue",
    "decap_any_ipip",
    "ecn_gue",
    "lengths",
    "source_filter_ipip",
    "source_filter_gue",
    "everything_ipip",
    "everything_gue",
)
EVERYWHERE = ("ipip", "malformed", "icmp_errors_ipip")
PACKETS = int(os.environ.get("KATRAN_FUZZ", "200000"))
SEED = os.environ.get("KATRAN_FUZZ_SEED", "katran")


def prepared(name: str) -> dict[str, Any]:
    """Set *name* with tables so large that nothing is evicted; UDP flows grow old, and floods come, by lapses alone."""
    entry = SETS[name]
    options = entry["scenario"]["balancer"]
    sizes = {**options["sizes"], "flows": 1 << 17}
    balancer = {**options, "sizes": sizes, "udp_timeout": 3600, "max_new_flows": 40}
    return {**entry, "scenario": {**entry["scenario"], "balancer": balancer}}


def seeds_of(name: str) -> list[bytes]:
    """The set's own packets, three quarters of all, and those of the general sets."""
    own = [base64.b64decode(packet["in"]) for packet in SETS[name]["packets"]]
    general = [base64.b64decode(packet["in"]) for other in EVERYWHERE for packet in SETS[other]["packets"]]
    return own * max(1, 3 * len(general) // len(own)) + general


@pytest.mark.parametrize("name", SCENARIOS)
def test_program_and_model_agree_on_mutated_packets(name: str) -> None:
    entry = prepared(name)
    random = Random(f"{SEED} {name}")
    mutator = Mutator(seeds_of(name), entry["scenario"], random)
    history: list[bytes] = []
    with one_cpu() as cpu:
        with closing(Pair(entry, cpu)) as pair:
            for _ in range(PACKETS // len(SCENARIOS) + 1):
                frame = mutator.frame()
                if random.random() < 0.007:
                    frame = lapse(random.choice(LAPSES))
                elif random.random() < 0.003:
                    frame = random.choice((INDEX_GONE, INDEX_THERE))
                history.append(frame)
                if pair.run(frame):
                    break
            else:
                differences = compare_counters(*pair.counters())
                assert not differences, differences
                assert pair.same_tables()
                return
        pytest.fail(reproduction(entry, cpu, history), pytrace=False)
