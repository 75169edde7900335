# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel tells of interfaces, neighbours, addresses and filters: no more than a reason to look."""

from __future__ import annotations

import asyncio
import contextlib
import socket

_LINK, _NEIGHBOURS, _FILTERS, _ADDRESSES4, _ADDRESSES6 = 0x1, 0x4, 0x8, 0x10, 0x100
_GROUPS = _LINK | _NEIGHBOURS | _FILTERS | _ADDRESSES4 | _ADDRESSES6
"""Groups of rtnetlink, as a mask. Those of routes are not among them: a full table of the internet's never rests."""

_SETTLE_SECONDS = 0.1
"""What is told comes in bursts: one look for all, and no more than ten bursts a second are listened to."""


class Kernel:
    """Sets `told` once the kernel told of something."""

    def __init__(self) -> None:
        self.told = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
        )
        self._socket.bind((0, _GROUPS))
        self._loop.add_reader(self._socket, self._on_told)

    def _on_told(self) -> None:
        self._loop.remove_reader(self._socket)
        self._loop.call_later(_SETTLE_SECONDS, self._settled)

    def _settled(self) -> None:
        if self._socket.fileno() < 0:
            return
        self._drain()
        self.told.set()
        self._loop.add_reader(self._socket, self._on_told)

    def _drain(self) -> None:
        """Forget what was told: the look sees it, also what did not fit into the buffer."""
        while True:
            try:
                self._socket.recv(65536)
            except BlockingIOError:
                return
            except OSError:
                continue

    def close(self) -> None:
        """Listen no more."""
        with contextlib.suppress(ValueError, OSError):
            self._loop.remove_reader(self._socket)
        self._socket.close()
