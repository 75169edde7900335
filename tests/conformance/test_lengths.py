# SPDX-License-Identifier: GPL-3.0-or-later
"""Lengths that IP headers claim are held against the frame, and frames that are for many are passed."""

from __future__ import annotations

import struct
from collections.abc import Callable
from contextlib import closing

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Packet, Raw

from ansible_collections.katran.fleet.plugins.module_utils._kernel import bpf
from ansible_collections.katran.fleet.tests.conformance.provision import Balancer
from ansible_collections.katran.fleet.tests.conformance.test_better import (
    CLIENT4,
    CLIENT6,
    DROP,
    EVERYWHERE,
    GATEWAY,
    INNER4,
    INNER6,
    OTHER4,
    OTHER6,
    OWN4,
    OWN6,
    PASS,
    TX,
    VIP4,
    VIP6,
    Provision,
    decap,
    frame,
    quoted_error,
    reply,
    scenario,
    tcp,
)

DECAP4, DECAP6 = "203.0.113.50", "2001:db8:f::50"
VLAN_TAGS: list[Packet] = [Dot1Q(vlan=7), Dot1Q(vlan=8)]


def network(to: str, **fields: int) -> Packet:
    return IPv6(src=CLIENT6, dst=to, **fields) if ":" in to else IP(src=CLIENT4, dst=to, **fields)


def gre(to: str) -> Packet:
    header = network(to)
    header.setfieldval("nh" if ":" in to else "proto", 47)
    return header / Raw(bytes(24))


def error(to: str) -> Packet:
    if ":" in to:
        return network(to) / ICMPv6DestUnreach() / Raw(bytes(IPv6(src=to, dst=CLIENT6) / TCP(sport=80, dport=9)))
    return network(to) / ICMP(type=3, code=1) / Raw(reply(TCP(sport=80, dport=9), to))


# Name -> (the packet, what a VIP's answer to it is, bytes of its header behind IP's).
KINDS: dict[str, tuple[Callable[[str], Packet], str, int]] = {
    "tcp": (lambda to: network(to) / tcp() / Raw(b"data"), TX, 20),
    "syn": (lambda to: network(to) / tcp("S"), TX, 20),
    "udp": (lambda to: network(to) / UDP(sport=9, dport=53) / Raw(b"data"), TX, 8),
    "echo": (lambda to: network(to) / (ICMPv6EchoRequest() if ":" in to else ICMP()) / Raw(b"data"), TX, 8),
    "error": (error, TX, 8),
    "gre": (gre, PASS, 0),
}
BOTH = pytest.mark.parametrize(("to", "stranger"), [(VIP4, OTHER4), (VIP6, OTHER6)], ids=["ipv4", "ipv6"])
EVERY_KIND = pytest.mark.parametrize("kind", list(KINDS))


def claiming(data: bytes, length: int, l3: int = 14) -> bytes:
    """*data* with another total or payload length, which no checksum is adjusted for: the balancer verifies none."""
    at = l3 + (4 if data[l3] >> 4 == 6 else 2)
    return data[:at] + struct.pack("!H", length) + data[at + 2 :]


def claimed(data: bytes, l3: int = 14) -> int:
    at = l3 + (4 if data[l3] >> 4 == 6 else 2)
    return int(struct.unpack_from("!H", data, at)[0])


@EVERY_KIND
@BOTH
def test_a_length_beyond_the_frame(kind: str, to: str, stranger: str, provision: Provision) -> None:
    balancer = provision(scenario())
    build, answer, _header = KINDS[kind]
    for address, expected in ((to, DROP), (stranger, PASS)):
        sent = frame(build(address))
        for length in (claimed(sent) + 1, claimed(sent) + 2, claimed(sent) + 1000, 0x8000, 65534, 65535):
            wrong = claiming(sent, length)
            assert balancer.run(wrong) == (expected, wrong), length
        # Padding counts as room, and no byte beyond it.
        assert balancer.run(claiming(sent, claimed(sent) + 6) + bytes(6))[0] in (answer, PASS)
        assert balancer.run(claiming(sent, claimed(sent) + 7) + bytes(6))[0] == expected
        assert balancer.run(sent[:-1])[0] == expected
    assert balancer.run(frame(build(to)))[0] == answer


@EVERY_KIND
@BOTH
def test_a_length_below_its_headers(kind: str, to: str, stranger: str, provision: Provision) -> None:
    balancer = provision(scenario())
    build, answer, header = KINDS[kind]
    base = 0 if ":" in to else 20
    least = base + header
    for length in {0, 1, base - 1, base, least - 1} - {-1}:
        if length >= least:
            continue
        for address, expected in ((to, DROP), (stranger, PASS)):
            wrong = claiming(frame(build(address)), length)
            assert balancer.run(wrong) == (expected, wrong), length
    # What lies behind the headers is padding then.
    assert balancer.run(claiming(frame(build(to)), least))[0] == answer


@BOTH
def test_bytes_are_counted_by_lengths_that_are_there(to: str, stranger: str, provision: Provision) -> None:
    del stranger
    balancer = provision(scenario())
    sent = frame(network(to) / tcp())
    for length in (65535, claimed(sent) + 1, 0):
        assert balancer.run(claiming(sent, length))[0] == DROP
    assert balancer.vip_stats() == {}
    assert balancer.real_stats() == {}
    assert 0 not in balancer.stats()
    assert list(balancer.maps["fallback_cache"].items()) == []
    assert balancer.run(sent + bytes(9))[0] == TX
    assert list(balancer.vip_stats().values()) == [(1, claimed(sent))]


@pytest.mark.parametrize("encapsulation", ["ipip", "gue"])
@BOTH
def test_outer_lengths_do_not_wrap(encapsulation: str, to: str, stranger: str, provision: Provision) -> None:
    del stranger
    balancer = provision(scenario(encapsulation=encapsulation))
    sent = frame(network(to) / tcp())
    for length in range(65535 - 60, 65536):
        assert balancer.run(claiming(sent, length))[0] == DROP
    action, out = balancer.run(sent + bytes(6))
    assert action == TX
    assert claimed(out) == len(out) - 6 - (54 if ":" in to else 14)


@BOTH
def test_tags_are_no_room(to: str, stranger: str, provision: Provision) -> None:
    balancer = provision(scenario(features=("vlan",)))
    for number in (1, 2):
        tags = VLAN_TAGS[:number]
        l3 = 14 + 4 * number
        for address, expected in ((to, DROP), (stranger, PASS)):
            sent = frame(*tags, network(address) / tcp())
            assert balancer.run(sent)[0] == (TX if expected == DROP else PASS)
            for length in range(1, 9):
                assert balancer.run(claiming(sent, claimed(sent, l3) + length, l3))[0] == expected
            assert balancer.run(sent[:-1])[0] == expected
            assert balancer.run(sent + b"\0")[0] == (TX if expected == DROP else PASS)


def test_frames_beyond_max_frame_have_long_lengths(provision: Provision) -> None:
    """As GRO makes them: step 7 answers them, where all of it is there."""
    balancer = provision(scenario(features=("icmp_too_big",)))
    for to in (VIP4, VIP6):
        sent = frame(network(to) / tcp() / Raw(bytes(3000)))
        assert balancer.run(sent)[0] == TX
        assert balancer.run(claiming(sent, claimed(sent) + 1))[0] == DROP
    assert balancer.stats()[4] == (1, 1)


def test_a_jumbogram_is_none_of_ours(provision: Provision) -> None:
    balancer = provision(scenario())
    # RFC 2675: payload length 0 with a hop-by-hop option; without one it is no jumbogram.
    jumbo = frame(IPv6(src=CLIENT6, dst=VIP6, nh=0, plen=0), Raw(b"\x06\0\xc2\x04\0\1\0\0"), tcp())
    assert balancer.run(jumbo) == (PASS, jumbo)
    assert balancer.run(claiming(frame(network(VIP6) / tcp()), 0))[0] == DROP


@pytest.mark.parametrize("length", [0, 19, 27, 29, 1500, 65535])
def test_lengths_quoted_in_icmp_count_for_nothing(length: int, provision: Provision) -> None:
    balancer = provision(scenario())
    quoted = bytearray(reply(TCP(sport=80, dport=9))[:28])
    quoted[2:4] = length.to_bytes(2, "big")
    assert balancer.run(quoted_error(bytes(quoted)))[0] == TX
    quoted6 = bytearray(bytes(IPv6(src=VIP6, dst=CLIENT6) / TCP(sport=80, dport=9))[:48])
    quoted6[4:6] = length.to_bytes(2, "big")
    assert balancer.run(frame(network(VIP6), ICMPv6DestUnreach(), Raw(bytes(quoted6))))[0] == TX


def tunnels(own: bool) -> list[tuple[Packet, Packet | None, Packet]]:
    """(outer, between, inner) to this host or to decapsulation destinations, that a balancer takes off."""
    to4, to6 = (OWN4, OWN6) if own else (DECAP4, DECAP6)
    return [
        (IP(src=OTHER4, dst=to4, proto=4), None, INNER4),
        (IPv6(src=OTHER6, dst=to6, nh=4), None, INNER4),
        (IPv6(src=OTHER6, dst=to6, nh=41), None, INNER6),
        (IP(src=OTHER4, dst=to4), UDP(dport=6080), INNER4),
        (IPv6(src=OTHER6, dst=to6), UDP(dport=6080), INNER4),
        (IPv6(src=OTHER6, dst=to6), UDP(dport=6080), INNER6),
    ]


def tunnelled(outer: Packet, between: Packet | None, inner: Packet) -> tuple[bytes, int]:
    """(frame, where the inner header begins)."""
    layers = [layer for layer in (outer, between, inner) if layer is not None]
    return frame(*layers), 14 + len(outer) + (8 if between else 0)


def decapsulating(provision: Provision) -> Balancer:
    destinations = [{"address": DECAP4}, {"address": DECAP6}]
    return provision(scenario(features=("inline_decap",), decap_destinations=destinations))


@pytest.mark.parametrize("own", [True, False], ids=["own", "listed"])
def test_a_tunnel_whose_outer_length_is_not_there_is_left_alone(own: bool, provision: Provision) -> None:
    balancer = decapsulating(provision)
    for layers in tunnels(own):
        sent, _l3 = tunnelled(*layers)
        assert balancer.run(sent)[0] == (PASS if own else TX)
        before = balancer.stats()[10]
        short = claimed(sent) - len(layers[2])
        # Not all there; nothing at all; the inner header as padding, whole and in part.
        for length in (claimed(sent) + 1, 65535, 0, short, short + (39 if layers[2] is INNER6 else 19)):
            wrong = claiming(sent, length)
            # The destination is no VIP's address.
            assert balancer.run(wrong) == (PASS, wrong)
        assert balancer.stats()[10] == before


def test_inner_lengths_are_checked_before_a_packet_is_balanced_again(provision: Provision) -> None:
    balancer = decapsulating(provision)
    for layers in tunnels(own=False):
        sent, l3 = tunnelled(*layers)
        for length in (claimed(sent, l3) + 1, 65535, 0, 3):
            assert balancer.run(claiming(sent, length, l3))[0] == DROP
        # Padding behind the tunnel is padding behind the packet.
        assert balancer.run(sent + bytes(5))[0] == TX
    assert sum(packets for packets, _bytes in balancer.vip_stats().values()) == len(tunnels(own=False))


def test_a_real_leaves_tunnels_alone_whose_outer_length_is_not_there() -> None:
    every = [*tunnels(own=True), (IP(src=OTHER4, dst=OWN4, proto=41), None, INNER6)]
    with closing(decap(*EVERYWHERE)) as loaded:
        for outer, between, inner in every:
            sent, _l3 = tunnelled(outer, between, inner)
            assert bpf.test_run(loaded.prog_fd, sent).data == frame(inner)
            short = claimed(sent) - len(inner)
            for length in (claimed(sent) + 1, 65535, 0, short, short + (39 if inner is INNER6 else 19)):
                wrong = claiming(sent, length)
                result = bpf.test_run(loaded.prog_fd, wrong)
                assert (result.value, result.data) == (2, wrong)
            assert bpf.test_run(loaded.prog_fd, sent + bytes(7)).data == frame(inner) + bytes(7)
        assert sum(loaded.counters("decap_counters")[:2]) == 2 * len(every)


MANY = ("ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01", "33:33:00:00:00:01", "01:80:c2:00:00:00", "03:00:00:00:00:00")


@pytest.mark.parametrize("mac", MANY)
def test_frames_for_many_are_passed(mac: str, provision: Provision) -> None:
    balancer = provision(
        scenario(features=("vlan", "inline_decap", "icmp_too_big"), decap_destinations=[{"address": DECAP4}])
    )
    packets = [build(to) for build, _answer, _header in KINDS.values() for to in (VIP4, VIP6)]
    packets += [
        network(VIP4) / tcp() / Raw(bytes(2000)),
        IP(src=CLIENT4, dst=VIP4, flags="MF") / tcp(),
        IP(src=OTHER4, dst=OWN4, proto=4) / INNER4,
        IP(src=OTHER4, dst=DECAP4, proto=4) / INNER4,
        Dot1Q(vlan=7) / network(VIP4) / tcp(),
    ]
    for packet in packets:
        sent = bytes(Ether(src=GATEWAY, dst=mac) / packet)
        assert balancer.run(sent) == (PASS, sent)
    stats = balancer.stats()
    assert set(stats) == {16, 19}
    assert stats[16] == stats[19] == (len(packets), sum(14 + len(packet) for packet in packets))
    assert list(balancer.maps["fallback_cache"].items()) == []


@pytest.mark.parametrize("mac", ["00:00:5e:00:01:07", "02:00:00:00:00:99", "fe:ff:ff:ff:ff:ff", "00:01:01:01:01:01"])
def test_frames_to_another_unicast_address_are_balanced(mac: str, provision: Provision) -> None:
    balancer = provision(scenario())
    for to in (VIP4, VIP6):
        assert balancer.run(bytes(Ether(src=GATEWAY, dst=mac) / network(to) / tcp()))[0] == TX
