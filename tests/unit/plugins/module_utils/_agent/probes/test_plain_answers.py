# SPDX-License-Identifier: GPL-3.0-or-later
"""What is told of an answer by its look is what h11 says of it."""

from __future__ import annotations

import re

import h11
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.katran.fleet.plugins.module_utils._agent.probes.web import plain_answer

PLAIN = (
    b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Fri, 27 Nov 2026 12:30:29 GMT\r\nContent-Type: text/html\r\n"
    b'Content-Length: 3\r\nConnection: close\r\nETag: "abc"\r\n\r\nok\n'
)

names = st.sampled_from(
    [
        b"Server",
        b"Content-Length",
        b"content-length",
        b"Transfer-Encoding",
        b"Katran-State",
        b"X-1",
        b"X Y",
        b"",
        b"\xe4",
    ]
)
values = st.one_of(
    st.sampled_from([b"0", b"3", b"3, 3", b"-1", b"0x3", b"9" * 30, b"chunked", b"gzip", b"drain", b""]),
    st.binary(max_size=6),
    st.text("ab \t:", max_size=6).map(str.encode),
)
fields = st.tuples(
    names, st.sampled_from([b":", b": ", b" :", b":\t", b""]), values, st.sampled_from([b"", b" ", b"\t"])
)
ends = st.sampled_from([b"\r\n", b"\n", b"\r", b"\r\n "])
lines = st.tuples(fields, ends).map(lambda line: b"".join(line[0]) + line[1])
starts = st.builds(
    lambda version, code, reason, end: version + code + reason + end,
    st.sampled_from([b"HTTP/1.1 ", b"HTTP/1.0 ", b"HTTP/2.0 ", b"HTTP/1.1", b"http/1.1 "]),
    st.sampled_from([b"200", b"204", b"304", b"503", b"100", b"101", b"600", b"20", b"2000", b"000"]),
    st.sampled_from([b"", b" ", b" OK", b" Not  so", b" \xe4", b"OK", b" a\tb"]),
    ends,
)
answers = st.builds(
    lambda start, rest, end, body: start + b"".join(rest) + end + body,
    starts,
    st.lists(lines, max_size=4),
    st.sampled_from([b"\r\n", b"\n", b""]),
    st.binary(max_size=4),
)


def by_h11(data: bytes) -> tuple[int, bytes | None]:
    """Status and body; 0 where it is no answer, or one whose header says more than its status; None: body not whole."""
    http = h11.Connection(h11.CLIENT)
    http.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
    http.send(h11.EndOfMessage())
    http.receive_data(data)
    try:
        event = http.next_event()
    except h11.RemoteProtocolError:
        return 0, None
    if not isinstance(event, h11.Response) or any(name == b"katran-state" for name, _value in event.headers):
        return 0, None
    body = b""
    for _each in range(9):
        more = http.next_event()
        if isinstance(more, h11.EndOfMessage):
            return event.status_code, body
        if isinstance(more, h11.Data):
            body += more.data
    return event.status_code, None


def agree(data: bytes) -> None:
    status, body = plain_answer(data)
    if status:
        known, known_body = by_h11(data)
        assert status == known
        assert body in (None, known_body)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(answers)
def test_what_looks_plain_is(data: bytes) -> None:
    agree(data)


@settings(deadline=None)
@given(st.integers(0, len(PLAIN) - 1), st.integers(0, 255))
def test_one_other_byte(place: int, byte: int) -> None:
    agree(PLAIN[:place] + bytes([byte]) + PLAIN[place + 1 :])


def test_the_usual_answers_are_plain() -> None:
    assert plain_answer(PLAIN) == (200, b"ok\n")
    assert plain_answer(PLAIN + b"more") == (200, b"ok\n")
    assert plain_answer(PLAIN[:-1]) == (200, None)
    assert plain_answer(PLAIN.replace(b"200 OK", b"503")) == (503, b"ok\n")
    assert plain_answer(PLAIN.replace(b"200 OK", b"304")) == (304, None)
    assert plain_answer(b"HTTP/1.0 404 Not Found\r\n\r\n") == (404, None)


@pytest.mark.parametrize("end", range(len(PLAIN) - 3))
def test_half_an_answer_is_none(end: int) -> None:
    assert plain_answer(PLAIN[:end]).status == 0


@pytest.mark.parametrize(
    "line", [b"Katran-State: drain", b"Transfer-Encoding: chunked", b"Content-Length: 4", b"X-Odd: \xe4"]
)
def test_what_may_matter_is_left_to_h11(line: bytes) -> None:
    assert plain_answer(re.sub(b"\r\n", b"\r\n" + line + b"\r\n", PLAIN, count=1)).status == 0
