# SPDX-License-Identifier: GPL-3.0-or-later
"""Layouts of QUIC connection ids that tests have servers for, and what these call themselves, for tests and scripts."""

from __future__ import annotations

PORTS = {"katran1": 4431, "katran2": 4432, "katran3": 4433, "quic_lb": 4434, "rotation": 4435, "none": 4436}
"""Layout → port. Under rotation a server has two configurations of QUIC-LB at once, one with servers of its own."""

ALPN = "katran-test"
CID_BYTES = 12


def server_id(number: int) -> int:
    """What the table has for a real."""
    return 1024 + number


def own_id(number: int) -> bytes:
    """What one of the configurations has for it."""
    return bytes.fromhex("5ee0a1b2") + bytes((number,))
