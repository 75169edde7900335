# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an operator says of flow exceptions: where to listen, who the peers are, and the key that all share."""

from __future__ import annotations

import base64
import binascii
import re
import typing as t
from collections.abc import Mapping
from dataclasses import dataclass, field

from .addresses import read_address
from .faults import Faults
from .metrics_settings import LOWEST_PORT
from .sealed import KEY_BYTES

DEFAULT_PORT = 9464
MAX_PEERS = 64
_HEX = re.compile(r"[0-9A-Fa-f]+")


@dataclass(frozen=True)
class SyncSettings:
    """Where exceptions are listened for, which peers they come from and go to (all on one port), and the key."""

    address: str
    port: int
    peers: tuple[str, ...]
    key: bytes = field(repr=False)


def parse_sync(params: Mapping[str, t.Any], faults: Faults, prefix: str = "katran_sync_") -> SyncSettings | None:
    """The settings of *params*: address, port, peers, key. None where there is a fault; none of them shows the key.

    *prefix*: what stands before the names of these in what the operator wrote.
    """
    before = len(faults.lines)
    key = read_key(params.get("key"), faults, f"{prefix}key")
    address = read_address(str(params.get("address") or ""))
    if address is None:
        faults.add(f"{prefix}address", f"{params.get('address') or 'nothing'} is not an IP address")
    elif not any(address.packed):
        # A socket of every address answers from whichever the route has, which is no peer's name.
        faults.add(f"{prefix}address", f"{address.text} is every address: name the one that peers send to")
    port = params.get("port", DEFAULT_PORT)
    if not isinstance(port, int) or isinstance(port, bool) or not LOWEST_PORT <= port <= 65535:
        faults.add(f"{prefix}port", f"{port} is not a port that the agent may have ({LOWEST_PORT} to 65535)")
    peers = _read_peers(params.get("peers") or (), faults, f"{prefix}peers")
    if address is not None:
        peers = [peer for peer in peers if peer != address.text]
        for peer in peers:
            if (":" in peer) != address.ipv6:
                faults.add(f"{prefix}peers", f"{peer} and {address.text} are not of one family")
    if len(faults.lines) > before or address is None or key is None:
        return None
    return SyncSettings(address.text, port, tuple(peers), key)


def _read_peers(peers: t.Any, faults: Faults, where: str) -> list[str]:
    found: list[str] = []
    if isinstance(peers, (str, bytes)) or not isinstance(peers, (list, tuple)):
        faults.add(where, "not a list of addresses")
        return found
    if len(peers) > MAX_PEERS:
        faults.add(where, f"{len(peers)} peers, but it takes at most {MAX_PEERS}")
        return found
    for index, text in enumerate(peers):
        address = read_address(str(text))
        if address is None or not any(address.packed):
            faults.add(f"{where}[{index}]", f"{text} is not an IP address of a host")
        elif address.text in found:
            faults.add(f"{where}[{index}]", f"{address.text} is listed twice")
        else:
            found.append(address.text)
    return found


def read_key(value: t.Any, faults: Faults, where: str) -> bytes | None:
    """A key of 32 bytes, written as 64 hexadecimal digits or in base64. None, and a fault, where it is none."""
    if value is None or value == "":
        faults.add(where, "flow exceptions need a key: 64 hexadecimal digits, as openssl rand -hex 32 prints them")
        return None
    text = value.strip() if isinstance(value, str) else ""
    key = _decode(text)
    if key is None:
        faults.add(where, "is neither hexadecimal digits nor base64")
        return None
    if len(key) != KEY_BYTES:
        faults.add(where, f"has {len(key)} bytes, but a key has {KEY_BYTES} (64 hexadecimal digits)")
        return None
    if len(set(key)) < 8:
        faults.add(where, "repeats a few bytes, and so is no random key: openssl rand -hex 32 prints one")
        return None
    return key


def _decode(text: str) -> bytes | None:
    if _HEX.fullmatch(text) and len(text) % 2 == 0:
        return bytes.fromhex(text)
    try:
        return base64.b64decode(text, validate=True) or None
    except (binascii.Error, ValueError):
        return None
