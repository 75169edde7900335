# SPDX-License-Identifier: GPL-3.0-or-later
"""Inside a virtual machine: frames that go out by one interface and come back."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable

_PATIENCE = 60.0
"""Seconds that a frame may take across a wire inside the machine."""


def comes_back(interface: str, frame: bytes, right: Callable[[bytes], bool]) -> bool:
    """Whether an answer that is right comes in where a frame goes out."""
    every_protocol, outgoing = 3, 4
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(every_protocol)) as wire:
        wire.bind((interface, every_protocol))
        wire.settimeout(_PATIENCE)
        deadline = time.monotonic() + _PATIENCE
        wire.send(frame)
        with contextlib.suppress(TimeoutError):
            while time.monotonic() < deadline:
                data, address = wire.recvfrom(4096)
                if address[2] != outgoing and right(data):
                    return True
    return False
