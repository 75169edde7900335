# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""checks.json: what is written is read back, and damage is a sentence."""

from __future__ import annotations

import copy
import json
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.katran.fleet.plugins.module_utils._model.checks import Probe, Target
from ansible_collections.katran.fleet.plugins.module_utils._model.checks_record import (
    REMEDY,
    SCHEMA,
    ChecksRecord,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import StateError
from ansible_collections.katran.fleet.plugins.module_utils._model.external import Word
from ansible_collections.katran.fleet.plugins.module_utils._model.health import Answer, Change, Health

PATH = "/run/katran-fleet/default/checks.json"
HTTP = Probe(
    "https",
    address="198.51.100.9",
    port=8443,
    host="www.example.net",
    path="/healthz?full",
    headers=(("accept", "*/*"), ("x-probe", "ü")),
    status=(200, 204),
    drain_status=(),
    body="ok",
    verify=True,
    interval=2.5,
    fall=2,
)
FULL = ChecksRecord(
    {
        Target("10.0.0.1", "198.51.100.9", 8443, HTTP): Health(
            "down",
            5.5,
            "connection refused",
            "active",
            2,
            Answer("active", "", 0.01, 2e9),
            7.25,
            (Change(1.0, "active", ""), Change(5.5, "down", "connection refused")),
        ),
        Target("fc00::1", "2001:db8::1", 53, Probe("dns", query="example.net", record="AAAA")): Health(),
    },
    {},
    {"198.51.100.1:443/tcp": "60 % of its weight is down, its floor is 50 %"},
    {"consul.json": (Word("198.51.100.1", "10.0.0.1", "down", 2e9),)},
    9.75,
)
FULL = ChecksRecord(
    FULL.healths, {key: ["198.51.100.1:443/tcp"] for key in FULL.healths}, FULL.degraded, FULL.words, FULL.at
)


def test_what_is_written_is_read_back() -> None:
    assert ChecksRecord.from_json(FULL.to_json(), PATH) == FULL
    empty = ChecksRecord(at=1.0)
    assert ChecksRecord.from_json(empty.to_json(), PATH) == empty


def test_the_form() -> None:
    data = json.loads(FULL.to_json())
    assert list(data) == ["schema", "targets", "degraded", "words", "at"]
    assert data["schema"] == SCHEMA == 1
    assert data["targets"][0] == {
        "real": "10.0.0.1",
        "address": "198.51.100.9",
        "port": 8443,
        "type": "https",
        "probe": {
            "type": "https",
            "address": "198.51.100.9",
            "port": 8443,
            "host": "www.example.net",
            "path": "/healthz?full",
            "headers": {"accept": "*/*", "x-probe": "ü"},
            "status": [200, 204],
            "drain_status": [],
            "body": "ok",
            "verify": True,
            "interval": 2.5,
            "fall": 2,
        },
        "state": "down",
        "since": 5.5,
        "reason": "connection refused",
        "count": 2,
        "streak": "active",
        "asked": 7.25,
        "last": {"state": "active", "reason": "", "took": 0.01, "expires": 2e9},
        "history": [
            {"at": 1.0, "state": "active", "reason": ""},
            {"at": 5.5, "state": "down", "reason": "connection refused"},
        ],
        "vips": ["198.51.100.1:443/tcp"],
    }
    # A line for each target.
    assert len(FULL.to_json().splitlines()) == 2 + 2 + 4


def test_a_restart_counts_afresh() -> None:
    first, second = FULL.resumed().values()
    assert (first.state, first.since, first.reason, len(first.history)) == ("down", 5.5, "connection refused", 2)
    assert (first.count, first.streak) == (0, "")
    assert second == Health()


def test_history_is_bounded() -> None:
    data = json.loads(FULL.to_json())
    data["targets"][0]["history"] = [{"at": float(at), "state": "down", "reason": ""} for at in range(50)]
    (health, _other) = ChecksRecord.from_json(json.dumps(data), PATH).healths.values()
    assert [change.at for change in health.history] == [float(at) for at in range(30, 50)]


def _paths(value: t.Any, place: tuple[t.Any, ...] = ()) -> t.Iterator[tuple[t.Any, ...]]:
    yield place
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in items:
        yield from _paths(each, (*place, key))


def read_or_sentence(data: t.Any) -> ChecksRecord | str:
    try:
        return ChecksRecord.from_json(json.dumps(data), PATH)
    except StateError as error:
        return str(error)


DATA = json.loads(FULL.to_json())
PATHS = [path for path in _paths(DATA) if path]


@given(
    st.sampled_from(PATHS),
    st.sampled_from([None, True, -1, 10**400, 1.5, "", "x", "\ud800", [], {}, [None], {"a": None}, [[]], float("nan")]),
)
def test_whatever_is_wrong_is_a_sentence(path: tuple[t.Any, ...], value: t.Any) -> None:
    data = copy.deepcopy(DATA)
    place = data
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    found = read_or_sentence(data)
    if isinstance(found, str):
        assert found.startswith(f"{PATH} is damaged (")
        assert found.endswith(REMEDY)
    else:
        # What is let through can be worked with.
        assert ChecksRecord.from_json(found.to_json(), PATH) == found


@given(st.sampled_from(PATHS))
def test_whatever_is_missing_is_a_sentence_or_plain(path: tuple[t.Any, ...]) -> None:
    data = copy.deepcopy(DATA)
    place = data
    for key in path[:-1]:
        place = place[key]
    del place[path[-1]]
    found = read_or_sentence(data)
    assert not isinstance(found, str) or "is missing" in found or "schema: null is not 1" in found


@pytest.mark.parametrize("source", ["", "[]", "null", "{", '{"schema": true}', '{"schema": 2}', '{"schema": 1}'])
def test_no_such_file(source: str) -> None:
    with pytest.raises(StateError, match=r"is damaged \("):
        ChecksRecord.from_json(source, PATH)


def test_twins() -> None:
    data = json.loads(FULL.to_json())
    data["targets"] += data["targets"][:1]
    with pytest.raises(StateError, match=r"targets\[2\]: 10.0.0.1 at 198.51.100.9, port 8443, is listed twice"):
        ChecksRecord.from_json(json.dumps(data), PATH)
