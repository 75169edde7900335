# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Entries of the journal in its own protocol: whatever a field has, no other field comes of it."""

from __future__ import annotations

import socket
import struct
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.katran.fleet.plugins.module_utils._kernel.journal import LONGEST, datagram, tell_journal

# A busy machine is no fault of what is tested.
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def read(data: bytes) -> dict[str, bytes]:
    """As systemd's journal reads it."""
    found = {}
    while data:
        line, _newline, data = data.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            (size,) = struct.unpack("<Q", data[:8])
            value, data = data[8 : 8 + size], data[8 + size :]
            assert data[:1] == b"\n"
            data = data[1:]
        found[name.decode()] = value
    return found


@PATIENT
@given(st.dictionaries(st.from_regex(r"[A-Z_]{1,9}", fullmatch=True), st.text() | st.integers(), max_size=5))
def test_what_is_told_is_what_is_read(fields: dict[str, str | int]) -> None:
    expected = {name: str(value)[:LONGEST].encode(errors="backslashreplace") for name, value in fields.items()}
    assert read(datagram(fields)) == expected


def test_without_a_journal_nothing_happens(tmp_path: Path) -> None:
    tell_journal({"MESSAGE": "x"}, str(tmp_path / "none"))


def test_with_one(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(path)
        tell_journal({"MESSAGE": "a\nb", "PRIORITY": 5}, path)
        assert read(journal.recv(9000)) == {"MESSAGE": b"a\nb", "PRIORITY": b"5"}
