# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal: one entry for each change, with fields that can be asked for, and no flood when much changes at once."""

from __future__ import annotations

import os
import socket
import sys
import typing as t

from .._kernel.journal import JOURNAL, datagram

WARNING, NOTICE, INFO = 4, 5, 6
"""Priorities of syslog(3)."""


class Journal:
    """Entries with fields KATRAN_*, in the journal's own protocol (systemd's "Native Journal Protocol").

    Without a journal, as lines on standard error, which bear their priority as sd-daemon(3) has it. Of changes, `burst`
    at once and `rate` a second are told one by one; how many more there were is told in one entry.
    """

    def __init__(self, rate: float = 20.0, burst: int = 200, path: str = JOURNAL) -> None:
        self._rate, self._burst = rate, float(burst)
        self._left, self._at = self._burst, 0.0
        self._untold = 0
        self._path = path
        # systemd names the journal's stream to what it starts with standard error there.
        self._socket = None
        if os.environ.get("JOURNAL_STREAM"):
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)

    def close(self) -> None:
        """Tell nothing more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def tell(self, priority: int, message: str, **fields: str | float) -> None:
        """One entry. Fields are named without their KATRAN_, in small letters."""
        found: dict[str, t.Any] = {f"KATRAN_{name.upper()}": value for name, value in fields.items() if value != ""}
        if self._socket is not None:
            found |= {"MESSAGE": message, "PRIORITY": priority, "SYSLOG_IDENTIFIER": "katran-agent"}
            try:
                self._socket.sendto(datagram(found), self._path)
                return
            except BlockingIOError:
                # The journal does not read: waiting for it would hold up the probes.
                self._untold += 1
                return
            except OSError:
                pass
        sys.stderr.write(f"<{priority}>{message}\n")
        sys.stderr.flush()

    def change(self, now: float, priority: int, message: str, **fields: str | float) -> None:
        """One of many changes, told unless there were too many. `now` in seconds of any clock that never goes back."""
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1:
            self._untold += 1
            return
        self._left -= 1
        self.tell(priority, message, **fields)

    def sum_up(self, now: float) -> None:
        """Tell how many changes were not told, once it is quieter; to be called now and then."""
        if self._untold and self._left + (now - self._at) * self._rate >= min(self._burst, self._rate):
            untold, self._untold = self._untold, 0
            self.tell(NOTICE, f"and {untold} more changes at once (katran checks shows what is)", untold=untold)
