# SPDX-License-Identifier: GPL-3.0-or-later
"""What tests/bench/flows.py times: the packets of as many flows as it says, each of them known."""

from __future__ import annotations

from contextlib import closing
from itertools import pairwise

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.tests.bench.flows import KINDS, LEARN, MEET, FlowReplay, Kind, client, roomy_table
from ansible_collections.katran.fleet.tests.bench.packets import balancer
from ansible_collections.katran.fleet.tests.conformance.model_program import one_cpu
from ansible_collections.katran.fleet.tests.conformance.provision import ACTIONS

FLOWS = 64


@pytest.fixture(scope="module")
def replay() -> FlowReplay:
    return FlowReplay()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_each_flow_is_met_once_in_as_many_packets_as_there_are_flows(kind: Kind, replay: FlowReplay) -> None:
    # The key of a flow to a VIP of any port has none either.
    protocol, port = (17, 53) if "UDP" in kind.name else (6, 0 if "any port" in kind.name else 80)
    vip = layout.pack_address(kind.packet.dst)
    expected = {
        layout.flow_key(source, vip, sport, port, protocol)
        for source, sport in (client(kind.version, number) for number in range(FLOWS))
    }
    with one_cpu(), balancer(kind.encapsulation) as made, closing(roomy_table(made, 1000)) as table:
        for number in range(FLOWS):
            answer = replay.run(made.prog_fd, kind, FLOWS, 1, LEARN, number)
            assert ACTIONS[answer.value] == "XDP_TX"
            assert sum(1 for _entry in table.items()) == number + 1
        assert {key for key, _value in table.items()} == expected
        chosen_by_ring = made.stats()[0][1]
        assert chosen_by_ring == FLOWS
        answer = replay.run(made.prog_fd, kind, FLOWS, FLOWS, MEET)
        assert ACTIONS[answer.value] == "XDP_TX"
        assert made.stats()[0] == (2 * FLOWS, chosen_by_ring)
        assert {key for key, _value in table.items()} == expected


def test_flows_are_learned_and_met_in_different_orders(replay: FlowReplay) -> None:
    orders = [
        [replay.run(replay.nothing, KINDS[0], FLOWS, 1, seed, number).data[26:36] for number in range(FLOWS)]
        for seed in (LEARN, MEET)
    ]
    assert sorted(orders[0]) == sorted(orders[1])
    neighbours = [set(pairwise(order)) for order in orders]
    assert len(neighbours[0] & neighbours[1]) < FLOWS // 8
