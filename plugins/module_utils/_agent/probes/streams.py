# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Probes over TCP: a connection, and a TLS handshake."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import typing as t

from ..._model.checks import Probe, Target
from ..._model.probe_path import Reach
from .certificates import expiry
from .talk import FOUND, Finding, Plan, Talk, check_connected, failure, open_socket

MOST_TLS = 256 << 10
"""Bytes that are taken of a connection: the longest handshake (OpenSSL takes certificates of 100 KiB) and answer."""

_CHUNK = 64 << 10


class EndlessError(Exception):
    """There is more than a handshake and an answer."""


class Sealed:
    """TLS over a socket that does not block; what it is asked for raises BlockingIOError where it has to wait.

    It is fed by the piece: OpenSSL reads what has no data in it, such as key updates, for as long as it is sent.
    """

    __slots__ = ("_in", "_left", "_out", "_socket", "_tls", "_unsent")

    def __init__(self, connected: socket.socket, context: ssl.SSLContext, host: str) -> None:
        self._socket = connected
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_hostname=host)
        self._left = MOST_TLS
        self._unsent = b""

    def shake(self) -> bytes:
        """The handshake; the certificate of the other side."""
        self._turn(self._tls.do_handshake)
        return self._tls.getpeercert(binary_form=True) or b""

    def send(self, data: bytes) -> int:
        """As a socket's."""
        return t.cast(int, self._turn(lambda: self._tls.write(data)))

    def recv(self, longest: int) -> bytes:
        """As a socket's."""
        return t.cast(bytes, self._turn(lambda: self._tls.read(longest)))

    def _turn(self, step: t.Callable[[], t.Any]) -> t.Any:
        while True:
            try:
                found = step()
            except ssl.SSLWantReadError:
                self._flush()
                self._fill()
            except ssl.SSLError:
                with contextlib.suppress(OSError):
                    self._flush()
                raise
            else:
                self._flush()
                return found

    def _flush(self) -> None:
        self._unsent += self._out.read()
        with contextlib.suppress(BlockingIOError):
            while self._unsent:
                self._unsent = self._unsent[self._socket.send(self._unsent) :]

    def _fill(self) -> None:
        data = self._socket.recv(_CHUNK)
        self._left -= len(data)
        if self._left < 0:
            raise EndlessError
        if data:
            self._in.write(data)
        else:
            self._in.write_eof()


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

    def wrap(self, connected: socket.socket, address: str) -> Sealed:
        """The same connection, before its handshake."""
        return Sealed(connected, self._context, self._host or address)


def _has_port(host: str) -> bool:
    """Whether a Host says a port: name:443, 198.51.100.1:443, [2001:db8::1]:443."""
    return host.rpartition(":")[2].isdigit() and (host.count(":") == 1 or "]:" in host)


class TlsTalk(Talk):
    """A connection and a handshake; what comes then is `_go_on`, by `stream`."""

    __slots__ = ("_address", "_connected", "_shaken", "_tls", "expires", "stream")

    def __init__(self, opened: socket.socket, tls: Tls | None, address: str) -> None:
        super().__init__(opened)
        self.stream: socket.socket | Sealed = opened
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
                self.stream = self._tls.wrap(self.socket, self._address)
        try:
            if not self._shaken:
                self._shake()
            found = self._go_on()
        except BlockingIOError:
            return None
        except EndlessError:
            found = Finding("down", "TLS: records without end")
        except ssl.SSLError as error:
            found = _tls_failure(error, self._shaken)
        except OSError as error:
            found = failure(error)
        return found._replace(expires=self.expires) if found and self.expires else found

    def _shake(self) -> None:
        certificate = t.cast(Sealed, self.stream).shake()
        self._shaken = True
        self.late = "timeout: no answer"
        self.expires = expiry(certificate)

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
