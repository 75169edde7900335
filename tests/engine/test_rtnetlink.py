# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel tells of itself: whole, or not at all."""

from __future__ import annotations

import errno
import itertools
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._kernel import rtnetlink
from ansible_collections.katran.fleet.plugins.module_utils._kernel.routes import default_routes
from ansible_collections.katran.fleet.plugins.module_utils._kernel.rtnetlink import attribute, dump, exchange
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import NetworkError
from ansible_collections.katran.fleet.tests.engine.sandbox import run, sandbox

NEWNEXTHOP, DELNEXTHOP, GETNEXTHOP = 104, 105, 106
CREATE = 0x400
MANY = 4000


def next_hop(kind: int, number: int) -> tuple[int, int, bytes]:
    """A request that makes or removes a next-hop object that drops what it gets."""
    body = struct.pack("=4BI", socket.AF_INET if kind == NEWNEXTHOP else 0, 0, 0, 0, 0)
    body += attribute(1, struct.pack("=I", number))
    return kind, CREATE if kind == NEWNEXTHOP else 0, body + (attribute(4, b"") if kind == NEWNEXTHOP else b"")


@contextmanager
def restless() -> Iterator[None]:
    """Next-hop objects come and go all the time."""
    ended = threading.Event()

    def change() -> None:
        for number in itertools.cycle(range(1, MANY, 2)):
            if ended.is_set():
                return
            assert exchange([next_hop(DELNEXTHOP, number)]) == [0]
            assert exchange([next_hop(NEWNEXTHOP, number)]) == [0]

    changer = threading.Thread(target=change)
    changer.start()
    try:
        yield
    finally:
        ended.set()
        changer.join()


def refusals(read: Callable[[], object], error: type[Exception]) -> set[str]:
    """What is said where it is read until it is refused; who changes it may rest for a while on a busy machine."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            read()
        except error as refusal:
            return {str(refusal)}
    return set()


def test_what_never_rests_is_not_told_in_part() -> None:
    with sandbox("eth0"):
        run("ip", "link", "set", "lo", "up")
        assert set(exchange([next_hop(NEWNEXTHOP, number) for number in range(1, MANY + 1)])) == {0}
        assert len(dump(GETNEXTHOP, NEWNEXTHOP, bytes(8))) == MANY
        run("ip", "link", "set", "eth0", "up")
        run("ip", "nexthop", "add", "id", "99999", "dev", "eth0")
        run("ip", "route", "add", "default", "nhid", "99999")
        with restless():
            assert refusals(lambda: dump(GETNEXTHOP, NEWNEXTHOP, bytes(8)), InterruptedError) == {
                "[Errno 4] it changed each of the 5 times that it was read"
            }
            assert refusals(lambda: default_routes("IPv4"), NetworkError) == {
                "the IPv4 routes of this host cannot be read: it changed each of the 5 times that it was read"
            }
        assert len(dump(GETNEXTHOP, NEWNEXTHOP, bytes(8))) == MANY + 1


def test_a_dump_that_the_kernel_gives_up_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its end has the error. No kernel does so when asked to, so this plays one."""
    kernel, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    monkeypatch.setattr(rtnetlink, "_opened", lambda: ours)
    one = struct.pack("=IHHII", 20, NEWNEXTHOP, 2, 1, 0) + bytes(4)
    end = struct.pack("=IHHIIi", 20, 3, 2, 1, 0, -errno.ENOBUFS)
    kernel.send(one + end)
    with kernel, pytest.raises(OSError) as caught:  # noqa: PT011  # its number is looked at below
        dump(GETNEXTHOP, NEWNEXTHOP, bytes(8))
    assert caught.value.errno == errno.ENOBUFS
