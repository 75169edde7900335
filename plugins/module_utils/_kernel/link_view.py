# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Interfaces as sysfs and their drivers show them."""

from __future__ import annotations

import array
import contextlib
import fcntl
import os
import socket
import struct

_UP = 0x1
_SIOCETHTOOL = 0x8946
_DRVINFO, _STRINGS, _STATS, _SET_INFO = 0x03, 0x1B, 0x1D, 0x37
_OF_STATS = 1
_NAME = 32
"""ETH_GSTRING_LEN: bytes of a counter's name."""


def read_link(name: str) -> tuple[bool, bool, int] | None:
    """(up by its administrator, has a carrier, MTU); None where there is no interface of that name."""
    folder = os.path.join("/sys/class/net", name)
    try:
        flags, mtu = int(_text(folder, "flags"), 16), int(_text(folder, "mtu"))
    except OSError:
        return None
    carrier = False
    # Of one that is down, the kernel does not tell it.
    with contextlib.suppress(OSError):
        carrier = _text(folder, "carrier") == "1"
    return bool(flags & _UP), carrier, mtu


def _text(folder: str, name: str) -> str:
    with open(os.path.join(folder, name), encoding="ascii") as source:
        return source.read().strip()


def mac_of(name: str) -> bytes:
    """The interface's own MAC, six zeros where it has none. OSError where there is no such interface."""
    return bytes.fromhex(_text(os.path.join("/sys/class/net", name), "address").replace(":", ""))[:6].ljust(6, b"\0")


def driver_of(name: str) -> str:
    """The driver's name, "" where it does not tell."""
    answer = _ethtool(name, struct.pack("=I", _DRVINFO).ljust(196, b"\0"))
    return answer[4:36].split(b"\0")[0].decode("ascii", "replace") if answer else ""


def driver_counters(name: str) -> dict[str, int]:
    """What the driver counted, by its own names (ethtool -S); nothing where it counts nothing."""
    asked = _ethtool(name, struct.pack("=IIQI", _SET_INFO, 0, 1 << _OF_STATS, 0))
    number = struct.unpack_from("=I", asked, 16)[0] if asked and struct.unpack_from("=Q", asked, 8)[0] else 0
    if not number:
        return {}
    strings = _ethtool(name, struct.pack("=III", _STRINGS, _OF_STATS, number).ljust(12 + _NAME * number, b"\0"))
    values = _ethtool(name, struct.pack("=II", _STATS, number).ljust(8 + 8 * number, b"\0"))
    if not strings or not values:
        return {}
    names = [
        strings[12 + _NAME * n : 12 + _NAME * (n + 1)].split(b"\0")[0].decode("ascii", "replace") for n in range(number)
    ]
    return dict(zip(names, struct.unpack_from(f"={number}Q", values, 8), strict=True))


def _ethtool(name: str, request: bytes) -> bytes:
    """One question of ethtool (linux/ethtool.h); nothing where the driver does not answer it."""
    held = array.array("B", request)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        try:
            fcntl.ioctl(one.fileno(), _SIOCETHTOOL, struct.pack("16sP", name.encode()[:15], held.buffer_info()[0]))
        except OSError:
            return b""
    return held.tobytes()
