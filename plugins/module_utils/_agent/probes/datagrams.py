# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Probes over UDP: any datagram, and a question to a name server."""

from __future__ import annotations

import secrets
import select
import socket

from ..._model.checks import Probe, Target
from ..._model.probe_path import Reach
from .talk import FOUND, Finding, Plan, Talk, check_connected, open_socket

_LONGEST = 64 << 10
_PLAIN_DNS = 512
"""Bytes of the longest answer to a question without EDNS (RFC 1035): of a longer one, the records are not read."""

_ONE_QUESTION = b"\0\1"
_AT_ONCE = 32
"""Datagrams that are read in one go: a real that sends them without end does not hold up other probes."""


class UdpTalk(Talk):
    """A datagram, and the first that comes back."""

    __slots__ = ("_expect",)

    EDGES = select.EPOLLIN
    """Not on edges: what is not read in one go wakes it again."""

    def __init__(self, opened: socket.socket, payload: bytes, expect: bytes) -> None:
        super().__init__(opened)
        self._expect = expect
        self.late = "timeout: no answer"
        opened.send(payload)

    def ready(self, events: int) -> Finding | None:
        """The socket is connected: nobody else's datagram comes in, and ICMP does."""
        check_connected(self.socket, events)
        for _turn in range(_AT_ONCE):
            try:
                data = self.socket.recv(_LONGEST)
            except BlockingIOError:
                return None
            found = self._judge(data)
            if found:
                return found
        return None

    def _judge(self, data: bytes) -> Finding | None:
        return FOUND if data.startswith(self._expect) else Finding("down", "unexpected answer")


def udp_plan(probe: Probe) -> Plan:
    """Plan of type udp."""
    payload, expect = bytes.fromhex(probe.payload), bytes.fromhex(probe.expect)

    def begin(target: Target, reach: Reach) -> Talk:
        opened = open_socket(target, reach, socket.SOCK_DGRAM)
        try:
            return UdpTalk(opened, payload, expect)
        except OSError:
            opened.close()
            raise

    return begin


class DnsTalk(UdpTalk):
    """A question, and the answer to it."""

    __slots__ = ("_id", "_question")

    def __init__(self, opened: socket.socket, query: bytes) -> None:
        self._id = secrets.token_bytes(2)
        self._question = query
        super().__init__(opened, self._id + query[2:], b"")

    def _judge(self, data: bytes) -> Finding | None:
        """An answer with another number is to another question: it is passed over."""
        import dns.exception  # pylint: disable=import-outside-toplevel  # megabytes that only this type needs
        import dns.flags  # pylint: disable=import-outside-toplevel
        import dns.message  # pylint: disable=import-outside-toplevel
        import dns.rcode  # pylint: disable=import-outside-toplevel

        if data[:2] != self._id:
            return None
        long = len(data) > _PLAIN_DNS
        if long and data[4:6] != _ONE_QUESTION:
            return Finding("down", "not DNS")
        try:
            answer = dns.message.from_wire(data, question_only=long, ignore_trailing=True, raise_on_truncation=False)
            asked = dns.message.from_wire(self._id + self._question[2:])
        except (dns.exception.DNSException, ValueError):
            return Finding("down", "not DNS")
        if not answer.flags & dns.flags.QR:
            return Finding("down", "not DNS")
        code = answer.rcode()
        if code != dns.rcode.NOERROR:
            return Finding("down", f"DNS {dns.rcode.to_text(code)}")
        return FOUND if answer.question == asked.question else Finding("down", "answer to another question")


def dns_plan(probe: Probe) -> Plan:
    """Plan of type dns. ValueError where query or record is none."""
    import dns.exception  # pylint: disable=import-outside-toplevel  # as above
    import dns.message  # pylint: disable=import-outside-toplevel

    try:
        query = dns.message.make_query(probe.query or ".", probe.record).to_wire()
    except dns.exception.DNSException as error:
        raise ValueError(f"{probe.query} {probe.record}: {error}") from error

    def begin(target: Target, reach: Reach) -> Talk:
        opened = open_socket(target, reach, socket.SOCK_DGRAM)
        try:
            return DnsTalk(opened, query)
        except OSError:
            opened.close()
            raise

    return begin
