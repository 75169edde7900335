# SPDX-License-Identifier: GPL-3.0-or-later
"""Long headers of QUIC are read by their version's own numbers (RFC 9000, RFC 9369); of other versions, not at all."""

from __future__ import annotations

import time

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.packet import Raw

from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.tests.conformance.provision import Balancer
from ansible_collections.katran.fleet.tests.conformance.test_better import (
    CLIENT4,
    CLIENT6,
    REALS4,
    REALS6,
    TX,
    VIP4,
    VIP6,
    Provision,
    entry,
    flow,
    frame,
    scenario,
    vip,
)

INITIAL, ZERO_RTT, HANDSHAKE, RETRY = "Initial", "0-RTT", "Handshake", "Retry"
V1 = (INITIAL, ZERO_RTT, HANDSHAKE, RETRY)
V2 = (RETRY, INITIAL, ZERO_RTT, HANDSHAKE)
NUMBERED = {
    0x00000001: V1,
    0xFF000000: V1,
    0xFF000017: V1,
    0xFF00001D: V1,
    0xFF0000FF: V1,
    0xFACEB000: V1,
    0xFACEB002: V1,
    0xFACEB00E: V1,
    0xFACEB00F: V1,
    0x6B3343CF: V2,
}
OTHERS = (
    *(0x00000000, 0x00000002, 0x01000000, 0xFF000100, 0xFF001D00, 0xFEFFFFFF, 0xFFFFFFFF),
    *(0xFACEAFFF, 0xFACEB010, 0xFBCEB000, 0x6B3343CE, 0x6B3343D0, 0xCF43336B, 0x709A50C4),
    *(0x0A0A0A0A, 0x1A2A3A4A, 0xFAFAFAFA, 0x51303433, 0x50435130),
)
# 197,633 fits no layout but the third and the second; 1025 fits all.
IDS = [{"id": 1025, "real": REALS4[2]}, {"id": 197_633, "real": REALS6[2]}]
CIDS = {
    1025: (b"\x41\x00\x40", b"\x80\x00\x04\x01", b"\xc0\x00\x00\x04\x01"),
    197_633: (b"\x80\x03\x04\x01", b"\xc0\x00\x03\x04\x01"),
}
REALS_OF_RING = REALS4[:2]


def long_header(first: int, version: int, cid: bytes) -> bytes:
    return bytes((first,)) + version.to_bytes(4, "big") + b"\x08" + cid.ljust(8, b"\0") + b"\0" * 20


def quic(provision: Provision) -> Balancer:
    vips = (
        vip(VIP4, 443, "udp", "quic", reals=REALS_OF_RING),
        vip(VIP6, 443, "udp", "quic", reals=REALS6[:2]),
    )
    return provision(scenario(*vips, server_ids=IDS))


def send(balancer: Balancer, payload: bytes, sport: int, ipv6: bool = False) -> tuple[str, str]:
    """(action, the real's address, or "" where there is none)."""
    network = IPv6(src=CLIENT6, dst=VIP6) if ipv6 else IP(src=CLIENT4, dst=VIP4)
    action, out = balancer.run(frame(network, UDP(sport=sport, dport=443), Raw(payload)))
    outer = IPv6(out[14:]) if out[12:14] == b"\x86\xdd" else IP(out[14:])
    return action, outer.dst


@pytest.mark.parametrize("version", NUMBERED, ids=[f"{version:#010x}" for version in NUMBERED])
@pytest.mark.parametrize("fixed", [0xC0, 0x80, 0xCF], ids=["fixed", "unfixed", "low_bits"])
def test_types_are_numbered_by_their_version(version: int, fixed: int, provision: Provision) -> None:
    balancer = quic(provision)
    sport, initials, routed = 2000, 0, 0
    for number, kind in enumerate(NUMBERED[version]):
        for server, cids in CIDS.items():
            for cid in cids:
                sport += 1
                answer = send(balancer, long_header(fixed | number << 4, version, cid), sport)
                real = next(each["real"] for each in IDS if each["id"] == server)
                if kind in (HANDSHAKE, RETRY):
                    routed += 1
                    assert answer == (TX, real), (kind, cid)
                else:
                    initials += 1
                    assert answer[0] == TX
                    assert answer[1] in REALS_OF_RING, (kind, cid)
    counted = balancer.counters("quic_stats_map")[0]
    # ch_routed, cid_initial, cid_invalid_server_id, its sample, cid_routed
    assert counted[:5] == (0, initials, 0, 0, routed)
    assert balancer.counters("server_id_stats")[balancer.vips[VIP4, 443, "udp"]] == (initials, 0)


@pytest.mark.parametrize("version", OTHERS, ids=[f"{version:#010x}" for version in OTHERS])
def test_other_versions_name_no_server(version: int, provision: Provision) -> None:
    """A server id that its real gave out, and which a version that nobody knows would move the flow to."""
    balancer = quic(provision)
    sport = 3000
    for ipv6 in (False, True):
        for first in (0x80, 0x90, 0xA0, 0xB0, 0xC0, 0xD0, 0xE0, 0xF0):
            sport += 1
            action, real = send(balancer, long_header(first, version, CIDS[197_633][0]), sport, ipv6)
            assert action == TX
            assert real in (REALS6[:2] if ipv6 else REALS_OF_RING)
    counted = balancer.counters("quic_stats_map")[0]
    assert counted == (0, 16, *(0,) * 11)
    assert [pair for _vip, pair in sorted(balancer.counters("server_id_stats").items())] == [(8, 0), (8, 0)]


@pytest.mark.parametrize("version", [0, 2, 0x1A2A3A4A])
def test_other_versions_teach_the_table_nothing_wrong(version: int, provision: Provision) -> None:
    balancer = quic(provision)
    key = flow(CLIENT4, VIP4, 4000, 443, 17)
    first = send(balancer, long_header(0xE0, version, CIDS[1025][0]), 4000)[1]
    learned = entry(balancer, key)
    assert learned is not None
    assert learned[0] == balancer.real(first)
    # A flow that its server's id put elsewhere stays there, and its entry is refreshed as by any packet.
    old = time.clock_gettime_ns(time.CLOCK_MONOTONIC) - 20 * 10**9
    balancer.maps["fallback_cache"].update(key, layout.real_pos_lru(balancer.real(REALS4[2]), old))
    for number in range(4):
        assert send(balancer, long_header(0xC0 | number << 4, version, CIDS[197_633][0]), 4000) == (TX, REALS4[2])
    learned = entry(balancer, key)
    assert learned is not None
    assert learned[0] == balancer.real(REALS4[2])
    assert learned[1] > old


def test_short_headers_have_no_version(provision: Provision) -> None:
    balancer = quic(provision)
    # Where a long header would have its version, a short one has its connection id.
    for number, cid in enumerate((b"\x41\x00\x40\x00", b"\x80\x03\x04\x01", b"\xc0\x00\x00\x04\x01")):
        real = REALS6[2] if number == 1 else REALS4[2]
        assert send(balancer, b"\x40" + cid.ljust(8, b"\0"), 5000 + number) == (TX, real)


def test_a_long_header_needs_its_fourteen_bytes_first(provision: Provision) -> None:
    balancer = quic(provision)
    for version in (1, 0x6B3343CF, 0, 0x1A2A3A4A):
        assert send(balancer, long_header(0xF0, version, CIDS[1025][0])[:13], 6000)[1] in REALS_OF_RING
    # ch_routed alone: what is cut short is nobody's Initial.
    assert balancer.counters("quic_stats_map")[0] == (4, *(0,) * 12)
