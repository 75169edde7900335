# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ready.json, what runs read of it, and drain.json: whatever is wrong with one, a sentence names the field."""

from __future__ import annotations

import json
import typing as t

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model.announcement import Drain, Ready, Told, parse_table
from ansible_collections.katran.fleet.plugins.module_utils._model.announcing import Past
from ansible_collections.katran.fleet.plugins.module_utils._model.drain_file import drain_from_json, drain_to_json
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ConfigError, StateError
from ansible_collections.katran.fleet.plugins.module_utils._model.faults import Faults
from ansible_collections.katran.fleet.plugins.module_utils._model.hold_down import Hold
from ansible_collections.katran.fleet.plugins.module_utils._model.ready_file import ReadyFile

PATH = "/run/katran-fleet/default/ready.json"
FILE = ReadyFile(
    300,
    0.25,
    {
        "198.51.100.1": Past(
            Ready("198.51.100.1", 2, ("drained by anna",), 1000.5, ("198.51.100.1:443/tcp",)),
            0.0,
            Hold(900.0, 910.0, 2),
        ),
        "2001:db8::/64": Past(Ready("2001:db8::/64", 0), 0.0),
    },
)


def test_what_is_written_is_read() -> None:
    assert ReadyFile.from_json(FILE.to_json(), PATH) == FILE
    assert ReadyFile.from_json(ReadyFile().to_json(), PATH) == ReadyFile()
    data = json.loads(FILE.to_json())
    assert data["schema"] == 1
    assert data["places"]["198.51.100.1"] == {
        "metric": 2,
        "reasons": ["drained by anna"],
        "since": 1000.5,
        "vips": ["198.51.100.1:443/tcp"],
        "went": 900.0,
        "came": 910.0,
        "level": 2,
    }


def test_a_line_a_place() -> None:
    assert len(FILE.to_json().splitlines()) == 4


def test_what_runs_read_of_it() -> None:
    assert Told.from_json(FILE.to_json(), PATH) == Told(
        300, 0.25, {place: past.ready for place, past in FILE.places.items()}
    )


def damaged(**changes: t.Any) -> str:
    return json.dumps({**json.loads(FILE.to_json()), **changes})


PLACE = json.loads(FILE.to_json())["places"]["198.51.100.1"]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("", "Expecting value"),
        ("[]", "[] is not a mapping"),
        (damaged(schema=2), "schema: 2 is not a whole number of 1 to 1"),
        (damaged(table=0), "table: 0 is not a whole number"),
        (damaged(grace="1"), 'grace: "1" is not a number'),
        (damaged(places=[]), "places: [] is not a mapping"),
        (damaged(places={"a": {**PLACE, "metric": 3}}), "places.a.metric: 3 is not a whole number of 0 to 2"),
        (damaged(places={"a": {**PLACE, "level": -1}}), "places.a.level: -1 is not"),
        (damaged(places={"a": {**PLACE, "since": None}}), "places.a.since: null is not a number"),
        (damaged(places={"a": {}}), "places.a.metric: is missing"),
    ],
)
def test_what_is_damaged_is_told(source: str, words: str) -> None:
    with pytest.raises(StateError) as caught:
        ReadyFile.from_json(source, PATH)
    assert str(caught.value).startswith(f"{PATH} is damaged ({words}")
    assert str(caught.value).endswith("the agent writes it anew")


def test_a_drain_is_kept() -> None:
    for drain in (Drain("2026-11-27T12:00:00+00:00", "anna"), Drain("", "b", withdraw=True)):
        assert drain_from_json(drain_to_json(drain), "drain.json") == drain
    assert drain_from_json('{"schema": 1, "since": "", "by": "a"}', "drain.json") == Drain("", "a")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ('{"schema": 1, "since": ""}', "by: is missing"),
        ('{"schema": 1, "since": "", "by": 1}', "by: 1 is not a text"),
        ('{"schema": 1, "since": "", "by": "a", "withdraw": 1}', "withdraw: 1 is neither true nor false"),
        ('{"schema": 3, "since": "", "by": "a"}', "schema: 3 is not"),
    ],
)
def test_a_damaged_drain_is_told(source: str, words: str) -> None:
    with pytest.raises(StateError, match=words):
        drain_from_json(source, "drain.json")


@pytest.mark.parametrize("table", [1, 198, 252, 256, 4294967295])
def test_tables_that_can_be_ours(table: int) -> None:
    faults = Faults()
    assert parse_table(table, "announce_table", faults) == table
    faults.check()


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (0, "0 is not the number of a routing table"),
        (-1, "-1 is not the number of a routing table"),
        (4294967296, "4294967296 is not the number of a routing table"),
        (True, "True is not the number of a routing table"),
        ("198", "198 is not the number of a routing table"),
        (None, "None is not the number of a routing table"),
        (253, "253 is the kernel's table default"),
        (254, "254 is the kernel's table main"),
        (255, "255 is the kernel's table local"),
    ],
)
def test_tables_that_cannot(table: t.Any, words: str) -> None:
    faults = Faults()
    parse_table(table, "announce_table", faults)
    with pytest.raises(ConfigError, match=f"^announce_table: {words}"):
        faults.check()
