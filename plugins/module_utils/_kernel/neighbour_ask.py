# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask a neighbour for its MAC itself, whatever the kernel remembers of it: by ARP, or by neighbour discovery."""

from __future__ import annotations

import contextlib
import socket
import time

from .._model.addresses import read_address
from .._model.doctor.neighbours import answer_of, question
from .link_view import mac_of

_ETH_P_ARP, _ETH_P_IPV6 = 0x0806, 0x86DD
_SECONDS = 0.3
_LARGEST = 1514


def ask_neighbour(interface: str, own: str, target: str, tries: int = 3) -> str:
    """The MAC with which an address answers on the link, "" where nobody does. OSError where it cannot be asked.

    `own`: an address of this host on the interface, of the same family.
    """
    source, wanted = read_address(own), read_address(target)
    if source is None or wanted is None:
        return ""
    kind = _ETH_P_IPV6 if wanted.ipv6 else _ETH_P_ARP
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(kind)) as wire:
        wire.bind((interface, kind))
        frame = question(mac_of(interface), source, wanted)
        for _attempt in range(tries):
            wire.send(frame)
            deadline = time.monotonic() + _SECONDS
            while (left := deadline - time.monotonic()) > 0:
                wire.settimeout(left)
                with contextlib.suppress(TimeoutError):
                    mac = answer_of(wire.recv(_LARGEST), wanted)
                    if mac:
                        return mac
    return ""
