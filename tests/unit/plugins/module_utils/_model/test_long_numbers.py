# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Numbers of more digits than Python writes down: a sentence, in whichever file of ours they stand."""

from __future__ import annotations

import json
import re
import typing as t
from collections.abc import Callable

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model.agent_settings import AgentSettings
from ansible_collections.katran.fleet.plugins.module_utils._model.checks_record import ChecksRecord
from ansible_collections.katran.fleet.plugins.module_utils._model.drain_file import drain_from_json
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import StateError
from ansible_collections.katran.fleet.plugins.module_utils._model.kept_words import KeptWords
from ansible_collections.katran.fleet.plugins.module_utils._model.ready_file import ReadyFile
from ansible_collections.katran.fleet.plugins.module_utils._model.records import shown
from ansible_collections.katran.fleet.plugins.module_utils._model.state import State

OVERLAY = {"address": "10.0.0.1", "state": "down", "since": "2026-01-01T00:00:00+00:00"}
VERDICT = {"vip": "198.51.100.1:443/tcp", "real": "10.0.0.1", "state": "down", "since": "", "reason": "", "share": 100}
WORD = {"vip": "198.51.100.1:443/tcp", "real": "10.0.0.1", "state": "down", "until": 2e9}
READERS: dict[str, tuple[Callable[[str, str], object], str]] = {
    "state.json": (State.from_json, State("default", "/sys/fs/bpf", overlay=[OVERLAY], verdicts=[VERDICT]).to_json()),
    "words.json": (
        KeptWords.from_json,
        json.dumps({"schema": 1, "life": "a", "held": ["a.json"], "words": {"a.json": [WORD]}}),
    ),
    "checks.json": (ChecksRecord.from_json, ChecksRecord().to_json()),
    "ready.json": (ReadyFile.from_json, ReadyFile().to_json()),
    "agent.json": (AgentSettings.from_json, AgentSettings().to_json()),
    "drain.json": (drain_from_json, '{"at": "2026-01-01", "by": "anna", "withdraw": false}'),
}
# A value of JSON that is no list and no mapping.
VALUE = re.compile(r'(?<=[:\[,] )("[^"]*"|[-0-9.e+]+|true|false|null)(?=[,\]}\n])')


@pytest.mark.parametrize("number", ["9" * 5000, "-" + "9" * 4301, "9" * 4000, "0x" + "f" * 5000], ids=len)
@pytest.mark.parametrize("name", READERS)
def test_a_number_without_an_end(name: str, number: str) -> None:
    read, whole = READERS[name]
    places = list(VALUE.finditer(whole))
    assert places
    texts = [whole[: place.start()] + number + whole[place.end() :] for place in places]
    for text in (*texts, number, f"[{number}]", f'{{"schema": {number}}}'):
        with pytest.raises(StateError) as caught:
            read(text, f"/var/lib/katran-fleet/default/{name}")
        assert str(caught.value).startswith(f"/var/lib/katran-fleet/default/{name} ")
        assert "sys." not in str(caught.value)
        assert len(str(caught.value)) < 1000


def test_a_state_of_which_the_overlay_is_damaged() -> None:
    text = json.dumps([{**OVERLAY, "since": "?"}]).replace('"?"', "9" * 5000)
    source = READERS["state.json"][1].replace(json.dumps([OVERLAY]), text)
    assert source != READERS["state.json"][1]
    with pytest.raises(StateError, match=r"is damaged \(a number of thousands of digits"):
        State.from_json(source, "/var/lib/katran-fleet/default/state.json")


@pytest.mark.parametrize("value", [16**5000, [16**5000], {"a": -(16**5000)}], ids=["number", "list", "mapping"])
def test_what_cannot_be_shown(value: t.Any) -> None:
    assert shown(value) == "a number of thousands of digits"
