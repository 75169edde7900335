# SPDX-License-Identifier: GPL-3.0-or-later
"""A stream of numbered UDP datagrams to a VIP, watched on the router's links to the balancers.

There every datagram passes twice: on its way into a balancer, and on its way out of it, encapsulated.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import select
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from fleetlab.plan import ROUTER, Lab
from fleetlab.system import network

PORT = 5001
SPORTS = range(40000, 40100)
LIMIT = 4 << 20
_PAYLOAD = 64
_PACKET, _STATISTICS, _BUFFER_FORCE, _ATTACH_FILTER = 263, 6, 33, 26

# What the kernel hands over (classic BPF: code, true, false, operand): UDP to PORT, also inside IPIP.
_FILTER = [
    (0x28, 0, 0, 12),
    (0x15, 0, 9, 0x0800),
    (0x30, 0, 0, 23),
    (0x15, 0, 2, 17),
    (0x28, 0, 0, 36),
    (0x15, 4, 5, PORT),
    (0x15, 0, 4, 4),
    (0x30, 0, 0, 43),
    (0x15, 0, 2, 17),
    (0x28, 0, 0, 56),
    (0x15, 0, 1, PORT),
]
_ACCEPT, _REFUSE = (0x06, 0, 0, 160), (0x06, 0, 0, 0)


@dataclass(frozen=True)
class Passage:
    """What became of the stream: numbers of datagrams that went into a balancer and did not come out of it.

    `unseen`: packets that the watcher's own buffer had no room for.
    """

    sent: int
    entered: int
    lost: list[int]
    unseen: int
    seconds: float

    @property
    def rate(self) -> float:
        """Datagrams a second into the balancers."""
        return self.entered / self.seconds


def _watching_socket(interface: str) -> socket.socket:
    one = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    lines = [*_FILTER, _ACCEPT, _REFUSE]
    code = b"".join(struct.pack("=HBBI", *line) for line in lines)
    buffer = ctypes.create_string_buffer(code)
    program = struct.pack("@HP", len(lines), ctypes.addressof(buffer))
    one.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, program)
    one.setsockopt(socket.SOL_SOCKET, _BUFFER_FORCE, 128 << 20)
    one.bind((interface, 3))
    one.setblocking(False)
    return one


class Stream:
    """Datagrams from the client to one VIP at about `rate` a second, in bursts of a few milliseconds."""

    def __init__(self, lab: Lab, address: str, rate: int) -> None:
        self._lab = lab
        self._address = address
        self._rate = rate
        self._entered = mmap.mmap(-1, LIMIT)
        self._left = mmap.mmap(-1, LIMIT)
        self._counts = mmap.mmap(-1, 16)
        self._began = 0.0
        self._children: list[int] = []
        # The watcher first: it misses nothing.
        self._start(self._watch)
        self._start(self._send)
        self._began = time.monotonic()

    def _start(self, work: Callable[[int], None]) -> None:
        ready, tell = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                signal.signal(signal.SIGTERM, lambda *_arguments: os._exit(0))
                work(tell)
            finally:
                os._exit(1)
        self._children.append(child)
        os.close(tell)
        with os.fdopen(ready, "rb") as answer:
            if answer.read(1) != b".":
                raise OSError("the stream's process died")

    def _watch(self, tell: int) -> None:
        unseen = 0
        with network(self._lab.namespace_path(ROUTER)):
            sockets = [_watching_socket(f"r-{host.name}") for host in self._lab.with_role("balancer")]
        os.write(tell, b".")
        os.close(tell)
        while True:
            for one in select.select(sockets, [], [], 0.1)[0]:
                self._drain(one)
            for one in sockets:
                unseen += struct.unpack("=II", one.getsockopt(_PACKET, _STATISTICS, 8))[1]
            self._counts[8:] = struct.pack("=Q", unseen)

    def _drain(self, one: socket.socket) -> None:
        entered, left = self._entered, self._left
        try:
            for _turn in range(2000):
                packet, where = one.recvfrom(160)
                going_in = where[2] == socket.PACKET_OUTGOING
                # Ethernet, IP and UDP, and the outer IP.
                number = int.from_bytes(packet[42:50] if packet[23] == 17 else packet[62:70], "big")
                if number < LIMIT:
                    (entered if going_in else left)[number] = 1
        except BlockingIOError:
            return

    def _send(self, tell: int) -> None:
        sockets = []
        with network(self._lab.namespace_path(self._lab.host("client"))):
            for port in SPORTS:
                one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                one.bind(("0.0.0.0", port))
                sockets.append(one)
        os.write(tell, b".")
        os.close(tell)
        number, due, last = 0, 0.0, time.monotonic()
        padding = bytes(_PAYLOAD - 8)
        while number < LIMIT:
            now = time.monotonic()
            # After a pause it does not make up for it: a burst would overflow a queue on the way.
            due = min(due + (now - last) * self._rate, 100)
            last = now
            while due >= 1:
                datagram = number.to_bytes(8, "big") + padding
                with contextlib.suppress(OSError):
                    sockets[number % len(sockets)].sendto(datagram, (self._address, PORT))
                number += 1
                due -= 1
            self._counts[:8] = struct.pack("=Q", number)
            time.sleep(0.003)

    @property
    def entered(self) -> int:
        """Datagrams that have gone into a balancer so far."""
        return sum(self._entered)

    def stop(self) -> Passage:
        """End the stream; what became of it."""
        seconds = time.monotonic() - self._began
        watcher, sender = self._children
        self._end(sender)
        # What is on its way, and what the watcher has yet to read.
        time.sleep(1.5)
        self._end(watcher)
        sent, unseen = struct.unpack("=QQ", self._counts[:])
        lost = [number for number in range(sent) if self._entered[number] and not self._left[number]]
        return Passage(sent, sum(self._entered[:sent]), lost, unseen, seconds)

    def _end(self, child: int) -> None:
        os.kill(child, signal.SIGTERM)
        os.waitpid(child, 0)
        self._children.remove(child)

    def kill(self) -> None:
        """End it where a test failed."""
        for child in list(self._children):
            self._end(child)


@contextlib.contextmanager
def stream(lab: Lab, address: str, rate: int) -> Iterator[Stream]:
    """A stream for the length of a with block."""
    one = Stream(lab, address, rate)
    try:
        yield one
    finally:
        one.kill()
