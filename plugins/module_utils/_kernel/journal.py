# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Entries of the systemd journal, in its own protocol ("Native Journal Protocol")."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Mapping

JOURNAL = "/run/systemd/journal/socket"
LONGEST = 2000
"""Characters of one field: a datagram that is too long would be lost as a whole."""

_SECONDS = 0.5
"""The journal may be slow; nobody waits for one that does not read."""


def datagram(fields: Mapping[str, object]) -> bytes:
    """One entry, as the journal reads it."""
    return b"".join(_field(name, value) for name, value in fields.items())


def _field(name: str, value: object) -> bytes:
    # Names of files are not always text.
    text = str(value)[:LONGEST].encode(errors="backslashreplace")
    if b"\n" in text:
        return b"%s\n%s%s\n" % (name.encode(), struct.pack("<Q", len(text)), text)
    return b"%s=%s\n" % (name.encode(), text)


def tell_journal(fields: Mapping[str, object], path: str = JOURNAL) -> None:
    """One entry; nothing where there is no journal that takes it."""
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as target,
    ):
        target.settimeout(_SECONDS)
        target.sendto(datagram(fields), path)
