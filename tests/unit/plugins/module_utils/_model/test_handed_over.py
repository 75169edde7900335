# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model.errors import StateError
from ansible_collections.katran.fleet.plugins.module_utils._model.handed_over import (
    ACKNOWLEDGED,
    UNREACHABLE,
    WAITING,
    HandedOver,
    handed_sentence,
    missing_sentence,
    peers_in,
)

PEERS = {"10.0.0.3": ACKNOWLEDGED, "10.0.0.1": UNREACHABLE, "10.0.0.2": UNREACHABLE}


def test_an_answer_is_read_as_it_was_written() -> None:
    answer = HandedOver(1700000000123456789, True, PEERS)
    assert HandedOver.from_json(answer.to_json(), "file") == answer


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"asked": -1, "finished": true, "peers": {}}',
        '{"asked": 1, "finished": true, "peers": {"a": "gone"}}',
    ],
)
def test_a_damaged_answer_names_its_file(text: str) -> None:
    with pytest.raises(StateError, match="/run/answer"):
        HandedOver.from_json(text, "/run/answer")


def test_what_is_said_of_peers() -> None:
    assert peers_in(PEERS, UNREACHABLE) == ["10.0.0.1", "10.0.0.2"]
    assert peers_in(PEERS, WAITING) == []
    assert handed_sentence(PEERS) == "1 peer acknowledged all flow exceptions"
    assert missing_sentence(PEERS) == "10.0.0.1, 10.0.0.2 cannot be reached, and so takes over no flow exceptions"
    assert handed_sentence({}) == missing_sentence({}) == ""
