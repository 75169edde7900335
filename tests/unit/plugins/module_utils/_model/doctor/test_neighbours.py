# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Questions for a neighbour's MAC, and their answers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.katran.fleet.plugins.module_utils._model.addresses import Address
from ansible_collections.katran.fleet.plugins.module_utils._model.doctor.neighbours import answer_of, question

MAC, OTHER = b"\2\0\0\0\0\1", b"\2\0\0\0\0\2"
OWN4, TARGET4 = (
    Address("192.0.2.7", b"\xc0\0\2\7" + bytes(12), False),
    Address("192.0.2.1", b"\xc0\0\2\1" + bytes(12), False),
)
OWN6 = Address("2001:db8::7", b"\x20\1\x0d\xb8" + bytes(11) + b"\7", True)
TARGET6 = Address("2001:db8::1", b"\x20\1\x0d\xb8" + bytes(11) + b"\1", True)


def test_arp() -> None:
    asked = question(MAC, OWN4, TARGET4)
    assert (
        asked.hex()
        == "ffffffffffff0200000000010806" + "0001080006040001" + "020000000001c0000207" + "000000000000c0000201"
    )
    # What we ask is no answer, though we may hear it.
    assert answer_of(asked, TARGET4) == ""
    answer = MAC + OTHER + asked[12:21] + b"\2" + OTHER + asked[38:42] + MAC + asked[28:32]
    assert answer_of(answer.ljust(60, b"\0"), TARGET4) == "02:00:00:00:00:02"
    assert answer_of(answer, OWN4) == ""


def test_neighbour_discovery() -> None:
    asked = question(MAC, OWN6, TARGET6)
    assert asked[:6].hex() == "3333ff000001"
    assert asked[38:54].hex() == "ff0200000000000000000001ff000001"
    assert (asked[21], asked[54], asked[62:78], asked[78:]) == (255, 135, TARGET6.packed, b"\1\1" + MAC)
    assert answer_of(asked, TARGET6) == ""
    advertisement = b"\x88\0\0\0\x60\0\0\0" + TARGET6.packed
    head = MAC + OTHER + asked[12:22] + TARGET6.packed + OWN6.packed
    assert answer_of(head + advertisement + b"\2\1" + MAC, TARGET6) == "02:00:00:00:00:01"
    assert answer_of(head + advertisement, TARGET6) == "02:00:00:00:00:02"
    assert answer_of(head + advertisement, OWN6) == ""


@given(st.binary(max_size=100), st.booleans())
def test_no_frame_breaks_it(frame: bytes, ipv6: bool) -> None:
    assert isinstance(answer_of(frame, TARGET6 if ipv6 else TARGET4), str)
