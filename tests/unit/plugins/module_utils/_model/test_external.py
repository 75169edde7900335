# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What others say of reals, and what is said of files that are none."""

from __future__ import annotations

import contextlib
import json
import time
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.katran.fleet.plugins.module_utils._model.errors import StateError
from ansible_collections.katran.fleet.plugins.module_utils._model.external import (
    LARGEST,
    MOST,
    Word,
    live,
    whole,
    words_reader,
    words_to_json,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.feeder_files import REMEDY, parse_words, words_in

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
    with pytest.raises(StateError, match="it has more than 12582912 characters"):
        parse_words("[" + " " * LARGEST, PATH)
    entries = [{**GOOD, "real": f"fc00::{number >> 16:x}:{number & 0xFFFF:x}"} for number in range(1, MOST + 2)]
    assert len(read(*entries[1:])) == MOST
    with pytest.raises(StateError, match="it has more than 100000 entries"):
        read(*entries)


def test_what_a_large_fleet_says_fits() -> None:
    vips = [f"[2001:db8:1234:5678:9abc:def0:1111:{number:x}]:65535/tcp" for number in range(512)]
    reals = [f"2001:db8:1234:5678:9abc:def0:2222:{number:x}" for number in range(256, 356)]
    entry = {"state": "draining", "until": "2033-05-18T03:33:20.123456+00:00"}
    source = json.dumps([{"vip": vip, "real": real, **entry} for vip in vips for real in reals], indent=2)
    assert len(source) < LARGEST * 0.9
    steps = words_in(source, PATH)
    assert sum(1 for _step in steps) >= 51_200
    assert len(parse_words(source, PATH)) == 51_200


def test_no_step_takes_long() -> None:
    """Whatever stands in a file: its spaces, one entry that fills it, a text without an end."""
    for source in (
        "[" + " " * (LARGEST - 2) + "]",
        "[" + json.dumps(GOOD) + "\n" * (LARGEST // 2) + "]" + "\t" * (LARGEST // 4),
        json.dumps([{**GOOD, "vip": "1" * (LARGEST - 200)}]),
        "[" + "[1," * (LARGEST // 3 - 2),
        '["' + "a" * (LARGEST - 3),
        "[" + "9" * (LARGEST - 3) + "]",
        json.dumps([[1] * 1000] * 3000),
    ):
        steps, longest = words_in(source, PATH), 0.0
        with contextlib.suppress(StateError, StopIteration):
            while True:
                began = time.thread_time()
                next(steps)
                longest = max(longest, time.thread_time() - began)
        assert longest < 0.02


@pytest.mark.parametrize("digits", [400, 4000, 4299, 4301, 5000, 100_000])
@pytest.mark.parametrize("field", ["until", "vip", "real", "state", "weight", ""])
def test_numbers_without_an_end(digits: int, field: str) -> None:
    number = "9" * digits
    entry = json.dumps({**GOOD, field: "?"}).replace('"?"', number) if field else number
    for source in (
        f"[{entry}]",
        f"[{json.dumps(GOOD)}, {entry}]",
        f"[{entry}, {json.dumps(GOOD)}]",
        number,
        f"[-{number}]",
    ):
        with pytest.raises(StateError, match="is damaged") as caught:
            parse_words(source, PATH)
        assert len(str(caught.value)) < 500


@pytest.mark.parametrize("number", ["0x" + "f" * 5000, "1e5000", "-1e5000", "0" * 5000, "1." + "3" * 5000])
def test_numbers_of_other_kinds(number: str) -> None:
    with pytest.raises(StateError, match="is damaged"):
        parse_words(json.dumps([{**GOOD, "until": "?"}]).replace('"?"', number), PATH)


@pytest.mark.parametrize("port", ["9" * 5000, "9" * 3000, "0" * 5000])
def test_a_port_without_an_end(port: str) -> None:
    with pytest.raises(StateError, match="is damaged"):
        read({**GOOD, "vip": f"198.51.100.1:{port}/tcp"})


@given(st.lists(st.just(GOOD) | st.integers() | st.none() | st.text()), st.sampled_from([None, 0, 1, 7]))
def test_entries_are_read_as_json_has_them(entries: list[t.Any], indent: int | None) -> None:
    """Spaces of any kind between them, and the same end as json.loads finds."""
    source = json.dumps(entries, indent=indent)
    for text in (source, f" \n{source}\t\r", f"{source}x", source[:-1], source.replace(",", ",,"), source + "]"):
        try:
            loaded = json.loads(text)
        except ValueError:
            with pytest.raises(StateError):
                parse_words(text, PATH)
        else:
            if loaded == [GOOD]:
                assert parse_words(text, PATH) == read(GOOD)
            elif loaded:
                with pytest.raises(StateError, match=r"\[|is not a list"):
                    parse_words(text, PATH)


@given(st.text() | st.recursive(st.none() | st.integers() | st.floats() | st.text(), st.lists).map(json.dumps))
def test_no_text_is_a_traceback(source: str) -> None:
    with contextlib.suppress(StateError):
        parse_words(source, PATH)


def test_a_word_that_expired_does_not_count() -> None:
    words = read(GOOD, {**GOOD, "real": "10.0.0.2", "until": 1e9})
    assert [word.real for word in live(words, 1e9 - 0.001)] == ["10.0.0.1", "10.0.0.2"]
    assert [word.real for word in live(words, 1e9)] == ["10.0.0.1"]
    assert live(words, 2e9) == []


def test_words_outlive_a_restart() -> None:
    words = {"consul.json": read(GOOD, {**GOOD, "vip": "198.51.100.1"})}
    kept = json.loads(whole(words_to_json(words)))
    assert words_reader(kept["consul.json"], "words") == tuple(words["consul.json"])
