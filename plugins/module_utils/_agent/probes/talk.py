# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One probe under way: a socket of its own that never blocks, and what an error on it says of the real."""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import typing as t

from ..._model.checks import Probe, Target
from ..._model.probe_path import Reach

BROKEN = select.EPOLLERR | select.EPOLLHUP

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""struct linger {on, 0 s}: no TIME_WAIT, so that thousands of probes a second do not use the ports up."""

_IP_BIND_ADDRESS_NO_PORT = 24
"""Of linux/in.h: module socket has no name for it in Python 3.11."""

_ANY_PORT = 9

_ABOUT_THE_REAL = {
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: "connection reset",
    errno.EPIPE: "connection reset",
    errno.ECONNABORTED: "connection reset",
    errno.ENOTCONN: "connection reset",
    errno.ETIMEDOUT: "timeout: no connection",
    errno.EHOSTUNREACH: "no route to host",
    errno.EHOSTDOWN: "no route to host",
    errno.ENONET: "no route to host",
    errno.ENETUNREACH: "network unreachable",
    errno.EACCES: "administratively prohibited",
    errno.ENOPROTOOPT: "protocol unreachable",
    errno.EPROTO: "protocol unreachable",
}
"""What an answer from elsewhere makes of a socket: RST, or ICMP by the kernel's icmp_err_convert and its like of IPv6;
ENOTCONN is a reset that was told already. Any other error is this host's (EMFILE, ENOBUFS, EPERM …)."""

_BEFORE_ANY_ANSWER = (errno.ECONNREFUSED, errno.ECONNRESET)
"""What can be an answer already while a socket is opened; the rest, such as ENETUNREACH, is this host's own table."""


class Finding(t.NamedTuple):
    """What a probe found; as Answer."""

    state: str
    reason: str = ""
    expires: float = 0.0


FOUND = Finding("active")


def failure(error: OSError, *, opening: bool = False) -> Finding:
    """What an error says: down where it came from the real, "" where it is this host's own.

    `opening`: while the socket was opened, when most errors are of this host's own routes and filters.
    """
    code = error.errno or 0
    if code in _ABOUT_THE_REAL and (not opening or code in _BEFORE_ANY_ANSWER):
        return Finding("down", _ABOUT_THE_REAL[code])
    return Finding("", f"not asked: {os.strerror(code)}" if code else f"not asked: {error}")


class Talk:
    """One probe under way. `late`: what it means when its time is over; `EDGES`: what to wake it for."""

    __slots__ = ("late", "socket")

    EDGES: t.ClassVar[int] = select.EPOLLIN | select.EPOLLOUT | select.EPOLLET

    def __init__(self, opened: socket.socket) -> None:
        self.socket = opened
        self.late = "timeout: no connection"

    def ready(self, events: int) -> Finding | None:
        """Go on, as far as possible without waiting; None: not at the end yet. OSError as the socket has it.

        Called on each edge (EPOLLET): whatever there is has to be read.
        """
        raise NotImplementedError

    def close(self) -> None:
        """End it, whatever its stage."""
        self.socket.close()


class Plan(t.Protocol):
    """What is the same in all probes of one kind, worked out once."""

    def __call__(self, target: Target, reach: Reach) -> Talk:
        """Begin one. OSError where this host cannot."""


PlanMaker = t.Callable[[Probe], Plan]


def open_socket(target: Target, reach: Reach, kind: int) -> socket.socket:
    """A socket on its way to a target. OSError: this host's own trouble."""
    family = socket.AF_INET6 if ":" in target.address else socket.AF_INET
    opened = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        if reach.mark:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, reach.mark)
        if reach.device:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, reach.device.encode())
        if kind == socket.SOCK_STREAM:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        if reach.like:
            _take_source(opened, family, reach)
        code = opened.connect_ex((target.address, target.port))
        if code not in (0, errno.EINPROGRESS):
            raise OSError(code, os.strerror(code))
    except BaseException:
        opened.close()
        raise
    return opened


def _take_source(opened: socket.socket, family: int, reach: Reach) -> None:
    """Give a socket the source address that packets to `reach.like` have."""
    with socket.socket(family, socket.SOCK_DGRAM) as asking:
        asking.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, reach.device.encode())
        # Of a datagram socket this asks the routes, and sends nothing.
        asking.connect((reach.like, _ANY_PORT))
        source = asking.getsockname()[0]
    # The port is chosen by connect(), for this destination, of all that are free there.
    opened.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
    opened.bind((source, 0))


def check_connected(opened: socket.socket, events: int) -> None:
    """OSError where a connection did not come about, or is gone."""
    if events & BROKEN:
        code = opened.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))
