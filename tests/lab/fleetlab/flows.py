# SPDX-License-Identifier: GPL-3.0-or-later
"""A client that opens many flows with chosen source ports and notes which real answers each.

Its sockets belong to the network namespace its thread is in.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

_REQUEST = b"GET / HTTP/1.1\r\nHost: laboratory\r\nConnection: close\r\n\r\n"
_UDP_TRIES = 3
_HOPELESS = 100
# Enough for a test of minutes to mean something, and not so much that it measures a shared machine instead.
_REQUESTS_PER_SECOND = 1000


@dataclass(frozen=True)
class Target:
    """A VIP: address, port and protocol (tcp: HTTP, udp: echo)."""

    address: str
    port: int
    protocol: str

    @property
    def family(self) -> socket.AddressFamily:
        return socket.AF_INET6 if ":" in self.address else socket.AF_INET

    def __str__(self) -> str:
        address = f"[{self.address}]" if ":" in self.address else self.address
        return f"{address}:{self.port}/{self.protocol}"


@dataclass(frozen=True)
class Flow:
    """What became of one flow; *real* is the name of the host that answered, None if nobody did."""

    target: Target
    source_port: int
    real: str | None
    error: str = ""
    tries: int = 1


def _socket(target: Target, source_port: int) -> socket.socket:
    kind = socket.SOCK_STREAM if target.protocol == "tcp" else socket.SOCK_DGRAM
    one = socket.socket(target.family, kind | socket.SOCK_NONBLOCK)
    if source_port:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind(("::" if target.family == socket.AF_INET6 else "0.0.0.0", source_port))
    return one


def http_real(answer: bytes) -> str:
    """The host named by an HTTP answer of the laboratory; ValueError if it is none."""
    head, _, body = answer.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200 ") or not body.endswith(b"\n"):
        raise ValueError(f"no answer of a real: {answer[:60]!r}")
    return body.decode("ascii").strip()


async def _http(one: socket.socket, target: Target) -> str:
    loop = asyncio.get_running_loop()
    await loop.sock_connect(one, (target.address, target.port))
    await loop.sock_sendall(one, _REQUEST)
    answer = b""
    # The real closes first, so that source ports are free for the next run.
    while part := await loop.sock_recv(one, 65536):
        answer += part
    return http_real(answer)


async def _echo(one: socket.socket, target: Target, timeout: float) -> tuple[str, int]:
    loop = asyncio.get_running_loop()
    one.connect((target.address, target.port))
    for attempt in range(1, _UDP_TRIES + 1):
        one.send(b"laboratory")
        try:
            answer = await asyncio.wait_for(loop.sock_recv(one, 2048), timeout / _UDP_TRIES)
        except TimeoutError:
            continue
        return answer.split(b" ")[0].decode("ascii"), attempt
    raise TimeoutError(f"no echo after {_UDP_TRIES} datagrams")


async def open_flow(target: Target, source_port: int = 0, timeout: float = 5.0) -> Flow:
    """Open one flow, ask who answers, close it. *source_port* 0: one of the kernel's choice."""
    try:
        with _socket(target, source_port) as one:
            if target.protocol == "tcp":
                return Flow(target, source_port, await asyncio.wait_for(_http(one, target), timeout))
            real, tries = await _echo(one, target, timeout)
            return Flow(target, source_port, real, tries=tries)
    except (OSError, ValueError, TimeoutError) as error:
        return Flow(target, source_port, None, error=f"{type(error).__name__}: {error}")


async def open_flows(wanted: Iterable[tuple[Target, int]], concurrency: int = 100, pause: float = 0.0) -> list[Flow]:
    """Open a flow for each (target, source port), at most *concurrency* at once; in no particular order.

    *pause*: seconds each of the *concurrency* workers rests between two flows. Ends early, with the flows so far, when
    the first hundred have no answer: then there is nobody to answer.
    """
    todo = iter(wanted)
    done: list[Flow] = []
    answered = False

    async def worker(share: Iterator[tuple[Target, int]]) -> None:
        nonlocal answered
        for target, source_port in share:
            flow = await open_flow(target, source_port)
            done.append(flow)
            answered = answered or flow.real is not None
            if not answered and len(done) >= _HOPELESS:
                return
            if pause:
                await asyncio.sleep(pause)

    await asyncio.gather(*(worker(todo) for _ in range(concurrency)))
    return done


async def keep_asking(
    targets: Sequence[Target], concurrency: int, at_least: int, enough: Callable[[], bool], longest: float = 900.0
) -> list[Flow]:
    """Make new connections to *targets* in turn, *concurrency* at once and at most some thousand a second.

    Ends when *at_least* have been made and *enough* says so, and after *longest* seconds in any case.
    """
    end = time.monotonic() + longest

    def endless() -> Iterator[tuple[Target, int]]:
        for made, target in enumerate(itertools.cycle(targets)):
            if (made >= at_least and enough()) or time.monotonic() > end:
                return
            yield target, 0

    return await open_flows(endless(), concurrency, pause=concurrency / _REQUESTS_PER_SECOND)


class Connection:
    """One long TCP connection to a VIP, over which requests are made one after another (blocking)."""

    def __init__(self, target: Target, timeout: float = 10.0) -> None:
        self._socket = socket.create_connection((target.address, target.port), timeout)
        self._file = self._socket.makefile("rb")

    def ask(self) -> str:
        """Make a request; returns the name of the real. OSError or ValueError when the connection has broken."""
        self._socket.sendall(b"GET / HTTP/1.1\r\nHost: laboratory\r\n\r\n")
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = self._file.readline()
            if not line:
                raise ConnectionError("closed by the real")
            head += line
        length = int(head.lower().split(b"content-length:")[1].split()[0])
        return http_real(head + self._file.read(length))

    def close(self) -> None:
        self._file.close()
        self._socket.close()


def upload(target: Target, size: int, timeout: float = 10.0) -> tuple[str, float]:
    """Send *size* bytes in one request; returns the real's name and the seconds it took."""
    head = f"POST /upload HTTP/1.1\r\nHost: laboratory\r\nConnection: close\r\nContent-Length: {size}\r\n\r\n"
    begin = time.monotonic()
    with socket.create_connection((target.address, target.port), timeout) as one:
        one.sendall(head.encode() + bytes(size))
        answer = b""
        while part := one.recv(65536):
            answer += part
    # The line "NAME LENGTH", wherever chunked encoding has put it.
    match = re.search(rb"^(\w+) (\d+)\r?$", answer.partition(b"\r\n\r\n")[2], re.MULTILINE)
    if not match or int(match[2]) != size:
        raise ValueError(f"the real did not get all {size} bytes: {answer[:200]!r}")
    return match[1].decode("ascii"), time.monotonic() - begin


def echo(target: Target, payload: bytes, timeout: float = 3.0) -> bytes | None:
    """Send one datagram with "do not fragment" and return the echo, None when there is none."""
    ip_mtu_discover, ip_pmtudisc_probe = 10, 3
    ipv6_mtu_discover = 23
    with socket.socket(target.family, socket.SOCK_DGRAM) as one:
        if target.family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, ipv6_mtu_discover, ip_pmtudisc_probe)
        else:
            one.setsockopt(socket.IPPROTO_IP, ip_mtu_discover, ip_pmtudisc_probe)
        one.settimeout(timeout)
        one.connect((target.address, target.port))
        one.send(payload)
        try:
            return one.recv(65535)
        except TimeoutError:
            return None
