# SPDX-License-Identifier: GPL-3.0-or-later
"""Real connections of QUIC change address and port while their VIP's reals change, and are found again by their ids.

`make bench-quic` does it with a thousand connections of each layout.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ansible_collections.katran.fleet.tests.engine.quic_fleet import (
    CHANGES,
    LOST_AFTER,
    TIMEOUT,
    Client,
    counted,
    quic_fleet,
    ring_choice,
    set_reals,
)
from ansible_collections.katran.fleet.tests.engine.quic_layouts import PORTS

CONNECTIONS = 16


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with quic_fleet(tmp_path_factory.mktemp("quic")) as found:
        yield found


@pytest.mark.parametrize("name", [name for name in PORTS if name != "none"])
def test_a_connection_that_moves_is_found_by_its_id(client: Client, name: str) -> None:
    set_reals(CHANGES[0])
    # By the ring they begin on several reals.
    assert len(client.connect(name, CONNECTIONS)) > 1
    before = counted()
    moved = client.move(name, TIMEOUT, CHANGES[1:])
    assert [real for _port, real, found in moved if real != found] == []
    after = counted()
    assert after["cid_routed"] - before["cid_routed"] >= CONNECTIONS
    assert after["cid_invalid_server_id"] == before["cid_invalid_server_id"]


def test_without_ids_those_are_lost_that_the_ring_sends_elsewhere(client: Client) -> None:
    set_reals(CHANGES[0])
    client.connect("none", CONNECTIONS)
    set_reals(CHANGES[1])
    moved = client.move("none", LOST_AFTER)
    expected = [real if ring_choice(PORTS["none"], port) == real else "" for port, real, _found in moved]
    assert [found for _port, _real, found in moved] == expected
    assert "" in expected
