# SPDX-License-Identifier: GPL-3.0-or-later
"""Datagrams of a hostile real cost no more than those of another."""

from __future__ import annotations

import socket
import struct
import time
import typing as t

import dns.message
import pytest

from ansible_collections.katran.fleet.plugins.module_utils._agent.probes.datagrams import DnsTalk

QUERY = dns.message.make_query("health.example", "A").to_wire()
LONG_NAME = b"\1a" * 127 + b"\0"
MOST_SECONDS = 0.05


class Endless:
    """A socket with an answer for each read; `made`: makes it of the query."""

    def __init__(self, made: t.Callable[[bytes], bytes]) -> None:
        self.made, self.query, self.reads = made, b"", 0

    def send(self, query: bytes) -> None:
        self.query = query

    def recv(self, _longest: int) -> bytes:
        self.reads += 1
        if self.reads > 10_000:
            pytest.fail("it reads for as long as something comes")
        return self.made(self.query)


def other_number(query: bytes) -> bytes:
    return bytes(byte ^ 0xFF for byte in query[:2]) + query[2:]


def records(query: bytes) -> bytes:
    """As many records as fit, each of the longest name, by a pointer."""
    first = b"\0" + struct.pack(">HHIH", 65400, 1, 0, len(LONG_NAME)) + LONG_NAME
    pointer = struct.pack(">H", 0xC000 | len(query) + 11)
    more = b"".join(pointer + struct.pack(">HHIH", 65000 + each % 400, 1, 0, 0) for each in range(5000))
    return query[:2] + b"\x80\0" + struct.pack(">HHHH", 1, 5001, 0, 0) + query[12:] + first + more


def questions(query: bytes) -> bytes:
    more = b"".join(b"\xc0\x0c" + struct.pack(">HH", each, 1) for each in range(10_000))
    return query[:2] + b"\x80\0" + struct.pack(">HHHH", 10_001, 0, 0, 0) + LONG_NAME + b"\0\1\0\1" + more


def talk(made: t.Callable[[bytes], bytes]) -> DnsTalk:
    return DnsTalk(t.cast(socket.socket, Endless(made)), QUERY)


def test_datagrams_without_end_leave_others_their_turn() -> None:
    assert talk(other_number).ready(0) is None


@pytest.mark.parametrize(("made", "state"), [(records, "active"), (questions, "down")])
def test_the_dearest_answer_that_fits_into_a_datagram(made: t.Callable[[bytes], bytes], state: str) -> None:
    dear = talk(made)
    began = time.process_time()
    found = dear.ready(0)
    assert found is not None
    assert found.state == state
    assert time.process_time() - began < MOST_SECONDS
