# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Probes by a request: HTTP and HTTPS. h11 judges answers; the plainest are told by their look alone."""

from __future__ import annotations

import re
import socket
import ssl
import typing as t

from ..._model.checks import Probe, Target
from ..._model.probe_path import Reach
from .streams import Tls, TlsTalk
from .talk import FOUND, Finding, Plan, Talk, open_socket

if t.TYPE_CHECKING:
    import h11

MOST_HEADERS, MOST_BODY, MOST_PIECES = 16 << 10, 64 << 10, 1024
"""Bytes of an answer's header section and of its body that are looked at, and pieces that it comes in: each costs as
much as a small answer does."""

_CHUNK = 64 << 10
_PROTOCOL = b"HTTP/"
_STATE = b"katran-state"
_PLAIN = re.compile(rb"HTTP/1\.[01] ([2-5][0-9][0-9])(?: [\t\x20-\x7e]*)?\r\n((?:[A-Za-z-]+:[\t\x20-\x7e]*\r\n)*)\r\n")
_PLAIN_LENGTH = re.compile(rb"\ncontent-length:[\t ]*([0-9]{1,15})[\t ]*\r")


class Plain(t.NamedTuple):
    """An answer told by its look: its status (0: h11 has to look), and its body, None where that is not clear."""

    status: int
    body: bytes | None = None


_NOT_PLAIN = Plain(0)
_WITHOUT_BODY = (204, 304)


def plain_answer(data: bytes) -> Plain:
    """An answer whose header is whole, of plain letters, and says nothing else that matters here.

    For these h11 has the same answer, a third of a probe later. A body is that of a length that is said, and there.
    """
    found = _PLAIN.match(data)
    if not found:
        return _NOT_PLAIN
    status = int(found[1])
    fields = b"\n" + found[2].lower()
    if b"\ntransfer-encoding:" in fields or _STATE in fields:
        return _NOT_PLAIN
    lengths = fields.count(b"\ncontent-length:")
    if not lengths:
        return Plain(status)
    length = _PLAIN_LENGTH.search(fields)
    if lengths > 1 or not length:
        return _NOT_PLAIN
    end = found.end() + int(length[1])
    return Plain(status, data[found.end() : end] if len(data) >= end and status not in _WITHOUT_BODY else None)


class Question(t.NamedTuple):
    """A request: as h11 has it, and as it is sent."""

    request: h11.Request
    wire: bytes


class HttpPlan:
    """What all requests of one probe have in common."""

    def __init__(self, probe: Probe) -> None:
        self._tls = Tls(probe) if probe.type == "https" else None
        self._port = 443 if self._tls else 80
        self._probe = probe
        self.status = frozenset(probe.status)
        self.drain_status = frozenset(probe.drain_status)
        self.body = probe.body.encode()
        self.has_body = probe.method != "HEAD"
        # A request that is none is told before the first probe: ValueError.
        self._question(probe.host or "localhost")
        self._questions: dict[str, Question] = {}

    def __call__(self, target: Target, reach: Reach) -> Talk:
        """Begin one."""
        host = self._probe.host or self._authority(target)
        question = self._questions.get(host)
        if question is None:
            question = self._questions[host] = self._question(host)
        opened = open_socket(target, reach, socket.SOCK_STREAM)
        return HttpTalk(opened, self._tls, target.address, self, question)

    def _authority(self, target: Target) -> str:
        address = f"[{target.address}]" if ":" in target.address else target.address
        return address if target.port == self._port else f"{address}:{target.port}"

    def _question(self, host: str) -> Question:
        import h11  # pylint: disable=import-outside-toplevel  # Debian's, on hosts alone

        probe = self._probe
        headers = {"Host": host, "User-Agent": "katran-agent", "Accept": "*/*", "Connection": "close"}
        if probe.method not in ("GET", "HEAD", "OPTIONS", "TRACE"):
            headers["Content-Length"] = "0"
        said = {name.lower() for name, _value in probe.headers}
        own = [(name, value) for name, value in headers.items() if name.lower() not in said]
        try:
            request = h11.Request(method=probe.method, target=probe.path, headers=[*own, *probe.headers])
            wire = h11.Connection(h11.CLIENT).send(request) or b""
        except h11.LocalProtocolError as error:
            raise ValueError(f"{probe.method} {probe.path} of {host}: {error}") from error
        return Question(request, wire)


class HttpTalk(TlsTalk):
    """A request and its answer, over TLS or not."""

    __slots__ = ("_begin", "_body", "_http", "_judged", "_pieces", "_plan", "_question", "_received", "_rest")

    def __init__(
        self, opened: socket.socket, tls: Tls | None, address: str, plan: HttpPlan, question: Question
    ) -> None:
        super().__init__(opened, tls, address)
        self._plan = plan
        self._question = question
        self._http: h11.Connection | None = None
        self._rest = question.wire
        self._judged = False
        self._begin = b""
        self._body = bytearray()
        self._received = self._pieces = 0

    def _go_on(self) -> Finding | None:
        while self._rest:
            self._rest = self._rest[self.stream.send(self._rest) :]
        while True:
            try:
                # h11 looks at how long a header is only while it is incomplete.
                data = self.stream.recv(_CHUNK if self._judged else MOST_HEADERS + 1 - self._received)
            except ssl.SSLEOFError:
                # A server that ends without close_notify is as common as one that says it.
                data = b""
            found = self._take(data)
            if found or not data:
                return found or Finding("down", "answer cut short")

    def _take(self, data: bytes) -> Finding | None:
        import h11  # pylint: disable=import-outside-toplevel  # as above

        self._received += len(data)
        if not self._received:
            return Finding("down", "closed without an answer")
        if not self._http:
            found = self._plainly(data)
            if found:
                return found
        self.late = "timeout: answer not finished"
        if len(self._begin) < len(_PROTOCOL):
            self._begin += data[: len(_PROTOCOL) - len(self._begin)]
            if not _PROTOCOL.startswith(self._begin):
                return Finding("down", "not HTTP")
        try:
            http = self._http = self._http or self._asked()
            http.receive_data(data)
            return self._next_events(http)
        except h11.RemoteProtocolError as error:
            if not data:
                return Finding("down", "answer cut short")
            return Finding("down", "header too long" if error.error_status_hint == 431 else "not HTTP")

    def _plainly(self, data: bytes) -> Finding | None:
        """What the first bytes say by their look alone."""
        status, body = plain_answer(data)
        if not status:
            return None
        wanted = self._plan.body
        found = self._by_status(status)
        if found or not wanted:
            return found or FOUND
        return FOUND if body and self._plan.has_body and wanted in body else None

    def _asked(self) -> h11.Connection:
        """What h11 knows once the request is sent."""
        import h11  # pylint: disable=import-outside-toplevel  # as above

        http = h11.Connection(h11.CLIENT, MOST_HEADERS)
        http.send(self._question.request)
        http.send(h11.EndOfMessage())
        return http

    def _next_events(self, http: h11.Connection) -> Finding | None:
        import h11  # pylint: disable=import-outside-toplevel  # as above

        while self._pieces < MOST_PIECES:
            event = http.next_event()
            if event is h11.NEED_DATA:
                too_long = not self._judged and self._received > MOST_HEADERS
                return Finding("down", "header too long") if too_long else None
            self._pieces += 1
            found = None
            if isinstance(event, h11.Response):
                found = self._judge(event)
            elif isinstance(event, h11.Data):
                found = self._search(event.data)
            elif isinstance(event, h11.EndOfMessage):
                found = Finding("down", "body without the text")
            elif not isinstance(event, h11.InformationalResponse):
                found = Finding("down", "answer cut short")
            if found:
                return found
        return Finding("down", "answer in too many pieces")

    def _judge(self, response: h11.Response) -> Finding | None:
        """What status and header alone say; None where the body decides."""
        self._judged = True
        found = self._by_status(response.status_code)
        if found:
            return found
        for name, value in response.headers:
            if name == _STATE and value.strip().lower() == b"drain":
                return Finding("draining", "katran-state: drain")
        return None if self._plan.body else FOUND

    def _by_status(self, code: int) -> Finding | None:
        if code in self._plan.status:
            return None
        return Finding("draining" if code in self._plan.drain_status else "down", f"status {code}")

    def _search(self, data: bytes) -> Finding | None:
        """More of the body; the text may lie across what came before and this."""
        wanted = self._plan.body
        begin = max(0, len(self._body) - len(wanted) + 1)
        self._body += data
        if self._body.find(wanted, begin, MOST_BODY) >= 0:
            return FOUND
        if len(self._body) >= MOST_BODY:
            return Finding("down", f"text not in the first {MOST_BODY >> 10} KiB of the body")
        return None


def http_plan(probe: Probe) -> Plan:
    """Plan of types http and https."""
    return HttpPlan(probe)
