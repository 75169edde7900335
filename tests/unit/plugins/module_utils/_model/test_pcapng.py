# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""pcapng files: whole blocks whose lengths agree, with what was given in them."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.katran.fleet.plugins.module_utils._model import pcapng
from ansible_collections.katran.fleet.plugins.module_utils._model.pcapng import Packet


def blocks(data: bytes) -> list[tuple[int, bytes]]:
    """(type, body) of each block, read as the specification says."""
    found = []
    while data:
        kind, length = struct.unpack_from("=II", data)
        assert length % 4 == 0
        assert struct.unpack_from("=I", data, length - 4)[0] == length
        found.append((kind, data[8 : length - 4]))
        data = data[length:]
    return found


def options(data: bytes) -> list[tuple[int, bytes]]:
    """(code, value) of each option up to the end of them."""
    found = []
    while data:
        code, length = struct.unpack_from("=HH", data)
        if code == 0:
            assert data == bytes(4)
            break
        found.append((code, data[4 : 4 + length]))
        data = data[4 + (length + 3) // 4 * 4 :]
    return found


def test_the_head_of_a_file():
    ((kind, body),) = blocks(pcapng.section("it", "Linux", "why"))
    assert (kind, body[:16]) == (0x0A0D0D0A, struct.pack("=IHHq", 0x1A2B3C4D, 1, 0, -1))
    assert options(body[16:]) == [(1, b"why"), (3, b"Linux"), (4, b"it")]
    assert options(blocks(pcapng.section("it", "Linux"))[0][1][16:]) == [(3, b"Linux"), (4, b"it")]


def test_an_interface():
    ((kind, body),) = blocks(pcapng.interface("in", "as they came", 96))
    assert (kind, struct.unpack_from("=HHI", body)) == (1, (1, 0, 96))
    assert options(body[8:]) == [(2, b"in"), (3, b"as they came"), (9, b"\x09")]


def test_statistics():
    ((kind, body),) = blocks(pcapng.statistics(1, 5 << 32 | 6, 7, 8))
    assert (kind, struct.unpack_from("=III", body)) == (5, (1, 5, 6))
    assert options(body[12:]) == [(4, struct.pack("=Q", 7)), (5, struct.pack("=Q", 8))]


@given(
    data=st.binary(max_size=99),
    more=st.integers(0, 9000),
    at=st.integers(0, (1 << 64) - 1),
    comment=st.text(max_size=20),
    verdict=st.none() | st.integers(0, 4),
    identity=st.integers(0, (1 << 64) - 1),
)
def test_a_packet_has_what_was_given(data, more, at, comment, verdict, identity):
    packet = Packet(1, at, data, len(data) + more, pcapng.OUTBOUND, identity, 3, comment, verdict)
    ((kind, body),) = blocks(packet.block())
    interface, high, low, kept, length = struct.unpack_from("=5I", body)
    assert (kind, interface, high << 32 | low, kept, length) == (6, 1, at, len(data), len(data) + more)
    assert body[20 : 20 + kept] == data
    found = dict(options(body[20 + (kept + 3) // 4 * 4 :]))
    assert found.pop(1, b"").decode() == comment
    assert found.pop(7, None) == (None if verdict is None else b"\2" + struct.pack("=Q", verdict))
    assert found == {2: struct.pack("=I", 2), 5: struct.pack("=Q", identity), 6: struct.pack("=I", 3)}
