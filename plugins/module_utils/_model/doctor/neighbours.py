# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Questions for a neighbour's MAC, and their answers: ARP (RFC 826), and neighbour discovery (RFC 4861). Pure."""

from __future__ import annotations

import struct

from .. import layout
from ..addresses import Address
from ..checksum import checksum
from .probe_packets import ICMPV6, ip

_ARP, _IPV6 = b"\x08\x06", b"\x86\xdd"
_ARP_HEAD = struct.pack("!HHBB", 1, 0x0800, 6, 4)
_REQUEST, _REPLY = 1, 2
_SOLICITATION, _ADVERTISEMENT = 135, 136
_SOURCE_MAC, _TARGET_MAC = 1, 2
_ALL_ONES = b"\xff" * 6
_HOPS = 255
_SOLICITED_NODE = bytes.fromhex("ff0200000000000000000001ff")


def question(mac: bytes, own: Address, target: Address) -> bytes:
    """A frame that asks who has an address. `mac`, `own`: this host's on the link."""
    if not target.ipv6:
        body = _ARP_HEAD + struct.pack("!H", _REQUEST) + mac + own.packed[:4] + bytes(6) + target.packed[:4]
        return _ALL_ONES + mac + _ARP + body
    group = _SOLICITED_NODE + target.packed[13:]
    body = struct.pack("!BBHI", _SOLICITATION, 0, 0, 0) + target.packed + bytes([_SOURCE_MAC, 1]) + mac
    found = checksum(own.packed + group + struct.pack("!II", len(body), ICMPV6) + body)
    packet = ip(own.packed, group, ICMPV6, body[:2] + struct.pack("!H", found) + body[4:], _HOPS)
    return b"\x33\x33" + group[12:] + mac + _IPV6 + packet


def answer_of(frame: bytes, target: Address) -> str:
    """The MAC that a frame tells of an address, "" where it tells none."""
    if not target.ipv6:
        told = frame[14:20] == _ARP_HEAD and frame[20:22] == struct.pack("!H", _REPLY)
        return layout.parse_mac(frame[22:28]) if told and frame[28:32] == target.packed[:4] else ""
    body = frame[54:]
    if frame[20:21] != bytes([ICMPV6]) or body[:1] != bytes([_ADVERTISEMENT]) or body[8:24] != target.packed:
        return ""
    option = body[24:32]
    # Without the option, as an answer to a question by unicast may be, the sender's is its MAC.
    return layout.parse_mac(option[2:8] if option[:2] == bytes([_TARGET_MAC, 1]) else frame[6:12])
