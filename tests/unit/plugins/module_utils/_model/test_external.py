# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What others say of reals, and what is said of files that are none."""

from __future__ import annotations

import contextlib
import json
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.katran.fleet.plugins.module_utils._model.errors import StateError
from ansible_collections.katran.fleet.plugins.module_utils._model.external import (
    REMEDY,
    Word,
    live,
    parse_words,
    take_words,
    words_reader,
    words_to_data,
)

PATH = "/run/katran-fleet/default/verdicts.d/consul.json"
GOOD = {"vip": "198.51.100.1:443/tcp", "real": "10.0.0.1", "state": "down", "until": 2e9}


def read(*entries: t.Any) -> list[Word]:
    return parse_words(json.dumps(list(entries)), PATH)


def test_words() -> None:
    assert read() == []
    assert read(
        GOOD,
        {**GOOD, "real": "FC00::0:1", "state": "draining"},
        {**GOOD, "vip": "198.51.100.1", "until": "2033-05-18T03:33:20Z"},
        {**GOOD, "vip": "[2001:db8::1]:443", "until": "2033-05-18T05:33:20+02:00"},
        {**GOOD, "vip": "198.51.100.0/24", "until": 0},
    ) == [
        Word("198.51.100.1:443/tcp", "10.0.0.1", "down", 2e9),
        Word("198.51.100.1:443/tcp", "fc00::1", "draining", 2e9),
        Word("198.51.100.1", "10.0.0.1", "down", 2e9),
        Word("[2001:db8::1]:443", "10.0.0.1", "down", 2e9),
        Word("198.51.100.0/24", "10.0.0.1", "down", 0.0),
    ]


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        (7, "[0]: 7 is not a mapping"),
        (None, "[0]: null is not a mapping"),
        ({**GOOD, "vip": "www"}, '[0].vip: "www" is not the name of a VIP, such as 198.51.100.1:443/tcp, nor an'),
        ({**GOOD, "vip": "198.51.100.1:443/icmp"}, "is not the name of a VIP"),
        ({**GOOD, "vip": "198.51.100.1:99999/tcp"}, "is not the name of a VIP"),
        ({**GOOD, "vip": 3}, "[0].vip: 3 is not a text"),
        ({**GOOD, "real": "10.0.0"}, '[0].real: "10.0.0" is not an IP address'),
        ({**GOOD, "real": "10.0.0.1\0"}, "[0].real: "),
        ({**GOOD, "state": "up"}, '[0].state: "up" is none of active, draining, down'),
        ({**GOOD, "state": ""}, "[0].state"),
        ({**GOOD, "until": "tomorrow"}, '[0].until: "tomorrow" is not a time of ISO 8601'),
        ({**GOOD, "until": "2033-05-18T03:33:20"}, "has no time zone, such as Z or +02:00"),
        ({**GOOD, "until": "2033-05-18"}, "has no time zone"),
        ({**GOOD, "until": -1}, "is not a number of seconds since the epoch"),
        ({**GOOD, "until": 1e300}, "is not a number of seconds since the epoch"),
        ({**GOOD, "until": 10**400}, "[0].until"),
        ({**GOOD, "until": None}, "[0].until"),
        ({**GOOD, "until": True}, "[0].until"),
        ({**GOOD, "weight": 3}, "[0].weight: there is no such field; there are vip, real, state, until"),
        *[({key: value for key, value in GOOD.items() if key != name}, f"[0].{name}: is missing") for name in GOOD],
    ],
)
def test_faults_name_file_and_entry(entry: t.Any, sentence: str) -> None:
    with pytest.raises(StateError) as caught:
        read(entry)
    assert str(caught.value).startswith(f"{PATH} is damaged (")
    assert sentence in str(caught.value)
    assert str(caught.value).endswith(REMEDY)


def test_all_faults_at_once_and_twins() -> None:
    with pytest.raises(StateError, match=r"\[1\]: 10.0.0.1 of 198.51.100.1:443/tcp is listed twice; \[2\]: 3 is not"):
        read(GOOD, {**GOOD, "state": "active"}, 3)
    with pytest.raises(StateError, match=r"and 5 more\)"):
        read(*range(25))


@pytest.mark.parametrize("source", ["", "{", "{}", "null", "3", '"x"', "[" * 100000, "[NaN]", "\ud800", "[1e999]"])
def test_no_list(source: str) -> None:
    with pytest.raises(StateError, match="is damaged"):
        parse_words(source, PATH)


def test_a_file_has_an_end() -> None:
    with pytest.raises(StateError, match="it has more than 16777216 characters"):
        parse_words("[" + " " * (1 << 24), PATH)


@given(st.text() | st.recursive(st.none() | st.integers() | st.floats() | st.text(), st.lists).map(json.dumps))
def test_no_text_is_a_traceback(source: str) -> None:
    with contextlib.suppress(StateError):
        parse_words(source, PATH)


def test_a_word_that_expired_does_not_count() -> None:
    words = read(GOOD, {**GOOD, "real": "10.0.0.2", "until": 1e9})
    assert [word.real for word in live(words, 1e9 - 0.001)] == ["10.0.0.1", "10.0.0.2"]
    assert [word.real for word in live(words, 1e9)] == ["10.0.0.1"]
    assert live(words, 2e9) == []


def test_a_damaged_file_counts_as_it_was_last() -> None:
    folder = PATH.rpartition("/")[0]
    words, faults = take_words({}, {"consul.json": json.dumps([GOOD]), "k8s.json": "[]"}, folder)
    assert (words, faults) == ({"consul.json": read(GOOD), "k8s.json": []}, [])
    for damage in ("[", StateError("it cannot be read")):
        later, faults = take_words(words, {"consul.json": damage}, folder)
        assert later == {"consul.json": words["consul.json"]}
        assert len(faults) == 1
    assert take_words({}, {"new.json": "["}, folder)[0] == {"new.json": ()}
    # One that is gone says nothing.
    assert take_words(words, {}, folder) == ({}, [])


def test_words_outlive_a_restart() -> None:
    words = {"consul.json": read(GOOD, {**GOOD, "vip": "198.51.100.1"})}
    kept = json.loads(json.dumps(words_to_data(words)))
    assert words_reader(kept["consul.json"], "words") == tuple(words["consul.json"])
