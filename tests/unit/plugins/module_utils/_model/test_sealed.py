# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sealed datagrams: what opens, and what counts for nothing."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.katran.fleet.plugins.module_utils._model import sealed
from ansible_collections.katran.fleet.plugins.module_utils._model.sealed import (
    ACK,
    DATA,
    HEADER_BYTES,
    MAX_DATAGRAM,
    MAX_PAYLOAD,
    Header,
    RefusedError,
    Window,
    read_header,
    seal,
    unseal,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.sync_records import (
    RECORDS,
    SET,
    Statement,
    pack_ack,
    pack_told,
    parse_ack,
    parse_told,
)

# A busy machine is no fault of what is tested.
PATIENT = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))
HEADER = Header(DATA, b"n" * 16, b"o" * 16, b"a" * 16, 7)


def cause(datagram: bytes, key: bytes = KEY) -> str:
    """Why a datagram is refused."""
    with pytest.raises(RefusedError) as caught:
        unseal(key, read_header(datagram), datagram)
    return caught.value.cause


@given(st.binary(max_size=MAX_PAYLOAD), st.integers(0, 2**64 - 1))
@PATIENT
def test_what_was_sealed_opens(payload: bytes, counter: int) -> None:
    header = HEADER._replace(counter=counter)
    datagram = seal(KEY, header, payload)
    assert len(datagram) <= MAX_DATAGRAM
    assert read_header(datagram) == header
    assert unseal(KEY, header, datagram) == payload


def test_more_than_a_datagram_takes_is_not_sealed() -> None:
    with pytest.raises(ValueError, match="more than"):
        seal(KEY, HEADER, bytes(MAX_PAYLOAD + 1))
    assert len(seal(KEY, HEADER, bytes(MAX_PAYLOAD))) == MAX_DATAGRAM


@pytest.mark.parametrize(
    "head", [b"KT\x01\x03", b"KS\x02\x03", b"KS\x01\x00", b"KS\x01\x05", b"KT\x02\x03", b"KS\x02\x05"]
)
def test_another_version_is_told_as_such(head: bytes) -> None:
    assert cause(head + seal(KEY, HEADER, b"payload")[4:]) == "version"


def test_the_bytes_are_as_documented() -> None:
    datagram = seal(KEY, HEADER, b"payload")
    assert datagram[:8] == b"KS\x01\x03\x00\x57\x00\x00"
    assert datagram[8:56] == b"n" * 16 + b"o" * 16 + b"a" * 16
    assert datagram[56:64] == bytes(7) + b"\x07"
    assert len(datagram) == HEADER_BYTES + 7 + 16
    assert b"payload" not in datagram


def test_another_key_opens_nothing() -> None:
    assert cause(seal(OTHER, HEADER, b"payload")) == "key"


@given(st.integers(0, HEADER_BYTES + 23), st.integers(1, 255))
@PATIENT
def test_any_altered_byte_is_noticed(at: int, change: int) -> None:
    datagram = bytearray(seal(KEY, HEADER, b"payload!"))
    datagram[at] ^= change
    assert cause(bytes(datagram)) in ("key", "version", "cut")


@given(st.integers(0, HEADER_BYTES + 23))
@PATIENT
def test_a_cut_one_is_told_as_such(length: int) -> None:
    assert cause(seal(KEY, HEADER, b"payload!")[:length]) == "cut"
    assert cause(seal(KEY, HEADER, b"payload!") + b"more") == "cut"


@given(st.binary(max_size=1500))
@PATIENT
def test_noise_is_refused(noise: bytes) -> None:
    assert cause(noise) in ("key", "version", "cut")


def test_no_direction_session_or_end_has_anothers_key() -> None:
    whole = seal(KEY, HEADER, b"payload")
    sealed_parts = {whole[HEADER_BYTES:]}
    for change in ({"kind": ACK}, {"opening": b"p" * 16}, {"answer": b"b" * 16}, {"counter": 8}):
        header = HEADER._replace(**change)  # type: ignore[arg-type]  # any one field
        sealed_parts.add(seal(KEY, header, b"payload")[HEADER_BYTES:])
        moved = header.pack(7) + whole[HEADER_BYTES:]
        assert cause(moved) == "key"
    assert len(sealed_parts) == 5


def test_a_window_tells_new_late_and_seen() -> None:
    window = Window()
    verdicts = [window.judge(counter) for counter in (1, 2, 2, 5, 3, 3, 4, 1, 0, 2000, 5, 1990, 977, 976)]
    assert verdicts == [
        *("new", "new", "replayed", "new", "reordered", "replayed", "reordered", "replayed", "replayed"),
        *("new", "replayed", "reordered", "reordered", "replayed"),
    ]


@given(st.lists(st.integers(0, 3000), max_size=60))
@PATIENT
def test_a_window_takes_nothing_twice(counters: list[int]) -> None:
    window = Window()
    taken = [counter for counter in counters if window.judge(counter) != "replayed"]
    assert len(taken) == len(set(taken))
    assert window.highest == max(counters, default=0)


def test_a_window_takes_no_more_room_in_a_long_session() -> None:
    window = Window()
    for counter in range(1, 5000):
        window.judge(counter)
    assert window._seen.bit_length() == Window.BITS


def flow(ipv6: bool = False, protocol: int = 6) -> bytes:
    source, destination = (b"s" * 16, b"d" * 16) if ipv6 else (b"srce", b"dest")
    return source.ljust(16, b"\0") + destination.ljust(16, b"\0") + b"\x10\x20\x00\x50" + bytes((protocol,)) + bytes(3)


V4, V6 = b"real".ljust(16, b"\0"), b"r" * 16


@given(st.lists(st.tuples(st.integers(1, 4), st.booleans(), st.booleans(), st.integers(0, 65535)), max_size=RECORDS))
@PATIENT
def test_statements_come_back(words: list[tuple[int, bool, bool, int]]) -> None:
    statements = [
        Statement(word, flow(ipv6), V6 if ipv6 or over_ipv6 else V4, ipv6 or over_ipv6, age)
        for word, ipv6, over_ipv6, age in words
    ]
    packed = pack_told(statements, complete=len(words) % 2 == 1)
    assert len(packed) <= MAX_PAYLOAD
    assert parse_told(packed) == (statements, len(words) % 2 == 1)


@pytest.mark.parametrize(
    "bad",
    [
        Statement(0, flow(), V4, False),
        Statement(5, flow(), V4, False),
        Statement(SET, flow(protocol=1), V4, False),
        Statement(SET, flow()[:39] + b"x", V4, False),
        Statement(SET, flow(), V6, False),
        Statement(SET, flow(ipv6=True), V4, False),
        Statement(SET, flow(), bytes(16), False),
        Statement(SET, bytes(36) + b"\x06" + bytes(3), V4, False),
    ],
)
def test_one_that_is_none_spoils_its_datagram(bad: Statement) -> None:
    with pytest.raises(RefusedError, match="malformed"):
        parse_told(pack_told([Statement(SET, flow(), V4, False), bad]))


@given(st.binary(max_size=300))
@PATIENT
def test_no_payload_does_harm(payload: bytes) -> None:
    for parse in (parse_told, parse_ack):
        with contextlib.suppress(RefusedError):
            parse(payload)


def test_acknowledgements_come_back() -> None:
    assert parse_ack(pack_ack([1, 2**64 - 1], 77)) == ((1, 2**64 - 1), 77)
    assert len(pack_ack(range(128), 0)) <= MAX_PAYLOAD


def test_causes_are_listed() -> None:
    assert set(sealed.CAUSES) >= {"key", "cut", "version", "replayed", "reordered", "session", "malformed"}
