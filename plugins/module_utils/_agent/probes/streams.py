# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Probes over TCP: a connection, a TLS handshake, a request over either."""

from __future__ import annotations

import select
import socket
import ssl
import typing as t

from ..._model.checks import Probe, Target
from ..._model.probe_path import Reach
from .certificates import expiry
from .talk import FOUND, Finding, Plan, Talk, check_connected, failure, open_socket

if t.TYPE_CHECKING:
    import h11

MOST_HEADERS, MOST_BODY, MOST_PIECES = 16 << 10, 64 << 10, 1024
"""Bytes of an answer's header section and of its body that are looked at, and pieces that it comes in: each costs as
much as a small answer does."""

_CHUNK = 64 << 10
_PROTOCOL = b"HTTP/"
_WAIT = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class TcpTalk(Talk):
    """A connection."""

    __slots__ = ()

    EDGES = select.EPOLLOUT | select.EPOLLET

    def ready(self, events: int) -> Finding | None:
        """Active as soon as it stands."""
        check_connected(self.socket, events)
        return FOUND if events & select.EPOLLOUT else None


def tcp_plan(_probe: Probe) -> Plan:
    """Plan of type tcp."""

    def begin(target: Target, reach: Reach) -> Talk:
        return TcpTalk(open_socket(target, reach, socket.SOCK_STREAM))

    return begin


class Tls:
    """What all handshakes of one probe have in common."""

    _contexts: t.ClassVar[dict[bool, ssl.SSLContext]] = {}

    def __init__(self, probe: Probe) -> None:
        self._context = self._context_of(probe.verify)
        self._host = probe.host.rpartition(":")[0] if _has_port(probe.host) else probe.host
        # A host that is no server name is told before the first probe: ValueError.
        self._context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname=self._host or "localhost")

    @classmethod
    def _context_of(cls, verify: bool) -> ssl.SSLContext:
        """Shared: the system's trust is some megabytes."""
        if verify not in cls._contexts:
            context = ssl.create_default_context() if verify else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            if not verify:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            cls._contexts[verify] = context
        return cls._contexts[verify]

    def wrap(self, connected: socket.socket, address: str) -> ssl.SSLSocket:
        """The same connection, before its handshake."""
        return self._context.wrap_socket(
            connected, do_handshake_on_connect=False, server_hostname=self._host or address, suppress_ragged_eofs=False
        )


def _has_port(host: str) -> bool:
    """Whether a Host says a port: name:443, 198.51.100.1:443, [2001:db8::1]:443."""
    return host.rpartition(":")[2].isdigit() and (host.count(":") == 1 or "]:" in host)


class TlsTalk(Talk):
    """A connection and a handshake; what comes then is `_go_on`."""

    __slots__ = ("_address", "_connected", "_shaken", "_tls", "expires")

    def __init__(self, opened: socket.socket, tls: Tls | None, address: str) -> None:
        super().__init__(opened)
        self._tls = tls
        self._address = address
        self._connected = False
        self._shaken = tls is None
        self.expires = 0.0

    def ready(self, events: int) -> Finding | None:
        """Go on, and say with every result when the certificate ends."""
        if not self._connected:
            check_connected(self.socket, events)
            if not events & select.EPOLLOUT:
                return None
            self._connected = True
            self.late = "timeout: no answer"
            if self._tls:
                self.late = "timeout: no TLS handshake"
                self.socket = self._tls.wrap(self.socket, self._address)
        try:
            if not self._shaken:
                self._shake()
            found = self._go_on()
        except _WAIT:
            return None
        except ssl.SSLError as error:
            found = _tls_failure(error, self._shaken)
        except OSError as error:
            found = failure(error)
        return found._replace(expires=self.expires) if found and self.expires else found

    def _shake(self) -> None:
        shaking = t.cast(ssl.SSLSocket, self.socket)
        shaking.do_handshake()
        self._shaken = True
        self.late = "timeout: no answer"
        self.expires = expiry(shaking.getpeercert(binary_form=True) or b"")

    def _go_on(self) -> Finding | None:
        """After the handshake."""
        return FOUND


def _tls_failure(error: ssl.SSLError, shaken: bool) -> Finding:
    if isinstance(error, ssl.SSLCertVerificationError):
        return Finding("down", f"certificate: {error.verify_message.rstrip('.')}")
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return Finding("down", "closed without an answer" if shaken else "closed in the TLS handshake")
    word = error.reason or "error"
    if word in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"):
        return Finding("down", "not TLS")
    return Finding("down", f"TLS: {word.lower().replace('_', ' ')}")


def tls_plan(probe: Probe) -> Plan:
    """Plan of type tls."""
    tls = Tls(probe)

    def begin(target: Target, reach: Reach) -> Talk:
        return TlsTalk(open_socket(target, reach, socket.SOCK_STREAM), tls, target.address)

    return begin


class HttpPlan:
    """What all requests of one probe have in common."""

    def __init__(self, probe: Probe) -> None:
        self._tls = Tls(probe) if probe.type == "https" else None
        self._port = 443 if self._tls else 80
        self._probe = probe
        self.status = frozenset(probe.status)
        self.drain_status = frozenset(probe.drain_status)
        self.body = probe.body.encode()
        # A request that is none is told before the first probe: ValueError.
        self._request(probe.host or "localhost")
        self._requests: dict[str, h11.Request] = {}

    def __call__(self, target: Target, reach: Reach) -> Talk:
        """Begin one."""
        host = self._probe.host or self._authority(target)
        request = self._requests.get(host)
        if request is None:
            request = self._requests[host] = self._request(host)
        opened = open_socket(target, reach, socket.SOCK_STREAM)
        return HttpTalk(opened, self._tls, target.address, self, request)

    def _authority(self, target: Target) -> str:
        address = f"[{target.address}]" if ":" in target.address else target.address
        return address if target.port == self._port else f"{address}:{target.port}"

    def _request(self, host: str) -> h11.Request:
        import h11  # pylint: disable=import-outside-toplevel  # Debian's, on hosts alone

        probe = self._probe
        headers = {"Host": host, "User-Agent": "katran-agent", "Accept": "*/*", "Connection": "close"}
        if probe.method not in ("GET", "HEAD", "OPTIONS", "TRACE"):
            headers["Content-Length"] = "0"
        said = {name.lower() for name, _value in probe.headers}
        own = [(name, value) for name, value in headers.items() if name.lower() not in said]
        try:
            return h11.Request(method=probe.method, target=probe.path, headers=[*own, *probe.headers])
        except h11.LocalProtocolError as error:
            raise ValueError(f"{probe.method} {probe.path} of {host}: {error}") from error


class HttpTalk(TlsTalk):
    """A request and its answer, over TLS or not."""

    __slots__ = ("_begin", "_body", "_http", "_judged", "_pieces", "_plan", "_received", "_rest")

    def __init__(
        self, opened: socket.socket, tls: Tls | None, address: str, plan: HttpPlan, request: h11.Request
    ) -> None:
        import h11  # pylint: disable=import-outside-toplevel  # as above

        super().__init__(opened, tls, address)
        self._plan = plan
        self._http = h11.Connection(h11.CLIENT, MOST_HEADERS)
        self._rest = (self._http.send(request) or b"") + (self._http.send(h11.EndOfMessage()) or b"")
        self._judged = False
        self._begin = b""
        self._body = bytearray()
        self._received = self._pieces = 0

    def _go_on(self) -> Finding | None:
        while self._rest:
            self._rest = self._rest[self.socket.send(self._rest) :]
        while True:
            try:
                # h11 looks at how long a header is only while it is incomplete.
                data = self.socket.recv(_CHUNK if self._judged else MOST_HEADERS + 1 - self._received)
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
        self.late = "timeout: answer not finished"
        if len(self._begin) < len(_PROTOCOL):
            self._begin += data[: len(_PROTOCOL) - len(self._begin)]
            if not _PROTOCOL.startswith(self._begin):
                return Finding("down", "not HTTP")
        try:
            self._http.receive_data(data)
            return self._next_events()
        except h11.RemoteProtocolError as error:
            if not data:
                return Finding("down", "answer cut short")
            return Finding("down", "header too long" if error.error_status_hint == 431 else "not HTTP")

    def _next_events(self) -> Finding | None:
        import h11  # pylint: disable=import-outside-toplevel  # as above

        while self._pieces < MOST_PIECES:
            event = self._http.next_event()
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
        code = response.status_code
        if code not in self._plan.status:
            return Finding("draining" if code in self._plan.drain_status else "down", f"status {code}")
        for name, value in response.headers:
            if name == b"katran-state" and value.strip().lower() == b"drain":
                return Finding("draining", "katran-state: drain")
        return None if self._plan.body else FOUND

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
