# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the datapath differs from the original on purpose: each test fails on the original's behaviour."""

from __future__ import annotations

import itertools
import os
import socket
import struct
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoRequest,
    ICMPv6PacketTooBig,
    IPv6,
    IPv6ExtHdrFragment,
)
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Packet, Raw

from ansible_collections.katran.fleet.plugins.module_utils._kernel import bpf
from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.map_specs import DEFAULT_SIZES
from ansible_collections.katran.fleet.tests.conformance.provision import (
    DECAP_MAPS,
    HEALTHCHECK_MAPS,
    Balancer,
    fill_sources,
    load_small,
    run_tc,
)

MAC, GATEWAY = "02:00:00:00:00:01", "02:00:00:00:00:fe"
CLIENT4, CLIENT6 = "192.0.2.7", "2001:db8:c::7"
VIP4, VIP6, OTHER4, OTHER6 = "198.51.100.1", "2001:db8:1::1", "203.0.113.9", "2001:db8:9::9"
REALS4, REALS6 = ("10.0.0.1", "10.0.0.2", "10.0.0.3"), ("fd00::1", "fd00::2", "fd00::3")
OWN4, OWN6 = "203.0.113.1", "2001:db8:f::1"
EVERYWHERE = ("0.0.0.0/0", "::/0")
PASS, DROP, TX = "XDP_PASS", "XDP_DROP", "XDP_TX"
SECOND = 1_000_000_000

Provision = Callable[..., Balancer]


def vip(
    address: str, port: int, protocol: str, *flags: str, reals: tuple[str, ...] = (), **more: Any
) -> dict[str, Any]:
    chosen = reals or (REALS6 if ":" in address else REALS4)
    return (
        {"address": address, "port": port, "protocol": protocol, "flags": list(flags)}
        | {"reals": [{"address": real} for real in chosen]}
        | more
    )


def scenario(*vips: dict[str, Any], features: tuple[str, ...] = (), **options: Any) -> dict[str, Any]:
    tables = {
        name: options.pop(name) for name in ("server_ids", "source_routes", "decap_destinations") if name in options
    }
    defaults = [vip(VIP4, 80, "tcp"), vip(VIP4, 53, "udp"), vip(VIP6, 80, "tcp"), vip(VIP6, 53, "udp")]
    balancer = {"features": list(features), "gateway_mac": GATEWAY, "source_ipv4": OWN4, "source_ipv6": OWN6}
    balancer["decap_sources"] = EVERYWHERE
    return {"balancer": balancer | options, "vips": list(vips) or defaults} | tables


def frame(*layers: Packet) -> bytes:
    packet: Packet = Ether(src=GATEWAY, dst=MAC)
    for layer in layers:
        packet /= layer
    return bytes(packet)


def tcp(flags: str = "A", **fields: Any) -> Packet:
    return TCP(sport=31337, dport=80, flags=flags, **fields)


def flow(source: str, destination: str, sport: int, dport: int, protocol: int) -> bytes:
    return layout.flow_key(layout.pack_address(source), layout.pack_address(destination), sport, dport, protocol)


def entry(balancer: Balancer, key: bytes) -> tuple[int, int] | None:
    found = balancer.maps["fallback_cache"].lookup(key)
    return layout.parse_real_pos_lru(found) if found else None


def ones_sum(data: bytes) -> int:
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def pseudo(source: str, destination: str, protocol: int, length: int) -> bytes:
    """The pseudo-header; its 16-bit words sum to the same in either family's layout."""
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    packed = socket.inet_pton(family, source) + socket.inet_pton(family, destination)
    return packed + struct.pack("!HH", length, protocol)


@pytest.mark.parametrize("tags", [1, 2, 3])
def test_vlan_tags_are_stepped_over_and_kept(tags: int, provision: Provision) -> None:
    balancer = provision(scenario(features=("vlan",)))
    layers: list[Packet] = [Dot1Q(vlan=10 + tag) for tag in range(tags)]
    sent = frame(*layers, IP(src=CLIENT4, dst=VIP4), tcp())
    action, out = balancer.run(sent)
    if tags == 3:
        assert (action, out) == (PASS, sent)
        return
    plain = balancer.run(frame(IP(src=CLIENT4, dst=VIP4), tcp()))
    assert action == plain[0] == TX
    assert out == plain[1][:12] + sent[12 : 12 + 4 * tags] + plain[1][12:]


def test_vlan_tags_do_not_count_towards_max_frame(provision: Provision) -> None:
    balancer = provision(scenario(features=("vlan", "icmp_too_big")))
    room = 1514 - 14 - 20 - 20
    tagged = [Dot1Q(vlan=1), Dot1Q(vlan=2)]
    action, _out = balancer.run(frame(*tagged, IP(src=CLIENT4, dst=VIP4), tcp(), Raw(bytes(room))))
    assert action == TX
    assert balancer.stats().get(4) is None
    action, out = balancer.run(frame(*tagged, IP(src=CLIENT4, dst=VIP4), tcp(), Raw(bytes(room + 1))))
    assert (action, balancer.stats()[4]) == (TX, (1, 0))
    answer = Ether(out)
    assert [answer[Dot1Q].vlan, answer[Dot1Q].payload.vlan] == [1, 2]
    assert answer[ICMP].type == 3
    assert len(out) == 14 + 8 + 112


def test_without_the_feature_tagged_frames_pass(provision: Provision) -> None:
    sent = frame(Dot1Q(vlan=1), IP(src=CLIENT4, dst=VIP4), tcp())
    assert provision(scenario()).run(sent) == (PASS, sent)


# Each for a destination of its family.
MALFORMED: dict[str, Callable[[str], bytes]] = {
    "options": lambda to: frame(IP(src=CLIENT4, dst=to, options=b"\1\1\1\1"), tcp()),
    "fragment": lambda to: frame(IP(src=CLIENT4, dst=to, frag=10), tcp()),
    "more_fragments": lambda to: frame(IP(src=CLIENT4, dst=to, flags="MF"), tcp()),
    "tcp_short": lambda to: frame(IP(src=CLIENT4, dst=to), tcp())[:53],
    "udp_short": lambda to: frame(IP(src=CLIENT4, dst=to), UDP())[:41],
    "icmp_short": lambda to: frame(IP(src=CLIENT4, dst=to), ICMP())[:41],
    "fragment_ipv6": lambda to: frame(IPv6(src=CLIENT6, dst=to), IPv6ExtHdrFragment(offset=10), Raw(bytes(40))),
    "tcp_short_ipv6": lambda to: frame(IPv6(src=CLIENT6, dst=to), tcp())[:73],
    "icmp_short_ipv6": lambda to: frame(IPv6(src=CLIENT6, dst=to), ICMPv6EchoRequest())[:61],
}


@pytest.mark.parametrize("kind", list(MALFORMED))
def test_malformed_packets_are_dropped_for_vips_only(kind: str, provision: Provision) -> None:
    balancer = provision(scenario())
    vip_address, other = (VIP6, OTHER6) if "ipv6" in kind else (VIP4, OTHER4)
    assert balancer.run(MALFORMED[kind](vip_address))[0] == DROP
    sent = MALFORMED[kind](other)
    assert balancer.run(sent) == (PASS, sent)


def test_addresses_inside_a_cidr_vip_are_vip_addresses(provision: Provision) -> None:
    vips = vip("198.51.100.128/25", 443, "tcp"), vip("2001:db8:1::/64", 443, "tcp")
    balancer = provision(scenario(*vips, features=("cidr_vips",)))
    assert balancer.run(MALFORMED["options"]("198.51.100.200"))[0] == DROP
    assert balancer.run(MALFORMED["options"]("198.51.100.1"))[0] == PASS
    assert balancer.run(MALFORMED["fragment_ipv6"]("2001:db8:1::77"))[0] == DROP
    assert balancer.run(MALFORMED["fragment_ipv6"]("2001:db8:2::77"))[0] == PASS


def test_icmp_of_the_other_family_passes(provision: Provision) -> None:
    balancer = provision(scenario())
    for sent in (
        frame(IP(src=CLIENT4, dst=VIP4, proto=58), Raw(bytes((128, 0, 0, 0, 0, 0, 0, 0)))),
        frame(IPv6(src=CLIENT6, dst=VIP6, nh=1), Raw(bytes((8, 0, 0, 0, 0, 0, 0, 0)))),
    ):
        assert balancer.run(sent) == (PASS, sent)


def test_echo_is_answered_for_vips_only(provision: Provision) -> None:
    balancer = provision(scenario())
    for sent in (
        frame(IP(src=CLIENT4, dst=OTHER4), ICMP()),
        frame(IPv6(src=CLIENT6, dst=OTHER6), ICMPv6EchoRequest()),
    ):
        assert balancer.run(sent) == (PASS, sent)
    assert balancer.run(frame(IP(src=CLIENT4, dst=VIP4), ICMP()))[0] == TX
    assert balancer.run(frame(IPv6(src=CLIENT6, dst=VIP6), ICMPv6EchoRequest()))[0] == TX


def test_checksum_of_an_echo_reply_carries_around(provision: Provision) -> None:
    balancer = provision(scenario())
    checksums = set()
    for identifier in (*range(0, 0x10000, 61), *range(0xFE, 0x10000, 0x100), *range(0xFF, 0x10000, 0x100)):
        sent = frame(IP(src=CLIENT4, dst=VIP4), ICMP(id=identifier, seq=0))
        checksums.add(int.from_bytes(sent[36:38], "little"))
        action, out = balancer.run(sent)
        assert (action, ones_sum(out[34:])) == (TX, 0xFFFF)
        action, out = balancer.run(frame(IPv6(src=CLIENT6, dst=VIP6), ICMPv6EchoRequest(id=identifier)))
        assert (action, ones_sum(pseudo(CLIENT6, VIP6, 58, 8) + out[54:])) == (TX, 0xFFFF)
    # As loaded, 0xfff8 and more overflow by the 8 of the type.
    assert len([each for each in checksums if each >= 0xFFF8]) > 4


def quoted_error(quoted: bytes, source: str = "192.0.2.254", **fields: Any) -> bytes:
    return frame(IP(src=source, dst=VIP4), ICMP(**({"type": 3, "code": 4, "nexthopmtu": 1400} | fields)), Raw(quoted))


def reply(protocol: Packet, source: str = VIP4) -> bytes:
    """What the VIP sent and a router on the way quotes: the VIP's ports come first."""
    return bytes(IP(src=source, dst=CLIENT4) / protocol)


def test_flows_from_icmp_have_no_tcp_flags(provision: Provision) -> None:
    # Quoted SYN or RST bits say nothing of the packet at hand: the flow is looked up, and learned where it is new.
    balancer = provision(scenario(features=("tcp_server_id",), server_ids=[{"id": 77, "real": REALS4[0]}]))
    option = [(0xB7, struct.pack("<I", 77))]
    for port, flags in ((1001, "SA"), (1002, "R"), (1003, "A")):
        quoted = reply(TCP(sport=80, dport=port, flags=flags, options=option))
        assert balancer.run(quoted_error(quoted))[0] == TX
        assert entry(balancer, flow(CLIENT4, VIP4, port, 80, 6)) is not None
    assert balancer.stats()[1] == (0, 3)
    # ch_routed three times; no SYN, no route by id.
    assert balancer.counters("tpr_stats_map") == {0: (3, 0, 0, 0)}
    assert balancer.counters("server_id_stats") == {}


def test_flows_from_icmp_are_not_read_as_quic(provision: Provision) -> None:
    balancer = provision(scenario(vip(VIP4, 443, "udp", "quic"), server_ids=[{"id": 1025, "real": REALS4[1]}]))
    quoted = reply(UDP(sport=443, dport=5000) / Raw(bytes((0x40, 0x50, 0x04, 0x01)) + bytes(12)))
    assert balancer.run(quoted_error(quoted))[0] == TX
    assert balancer.run(quoted_error(quoted, code=3))[0] == TX
    assert balancer.counters("quic_stats_map") == {}
    assert balancer.stats()[11] == (2, 1)


def test_quoted_tunnels_are_not_decapsulated(provision: Provision) -> None:
    balancer = provision(scenario(vip(VIP4, 6080, "udp"), features=("inline_decap",), decap_any=True))
    quoted = reply(UDP(sport=6080, dport=6080) / IP(src=CLIENT4, dst=VIP4) / UDP())
    assert balancer.run(quoted_error(quoted))[0] == TX
    assert 10 not in balancer.stats()


def test_a_tunnel_ends_here_although_its_flow_is_known(provision: Provision) -> None:
    # An error about what a VIP on the tunnels' port sent has let the table learn the flow.
    answers = []
    inner = IP(src=CLIENT4, dst=OTHER4) / UDP(sport=1, dport=2)
    for known in (False, True):
        balancer = provision(scenario(vip(VIP4, 6080, "udp"), features=("inline_decap",), decap_any=True))
        for cpu in os.sched_getaffinity(0):
            balancer.flow_table(cpu=cpu).close()
        if known:
            assert balancer.run(quoted_error(reply(UDP(sport=6080, dport=5000) / Raw(bytes(8)))))[0] == TX
        answers.append(balancer.run(frame(IP(src=CLIENT4, dst=VIP4), UDP(sport=5000, dport=6080), inner)))
    assert answers[0] == answers[1]
    assert answers[0][1][34:] == bytes(inner)[20:]


def test_eight_quoted_transport_bytes_suffice(provision: Provision) -> None:
    balancer = provision(scenario())
    known = balancer.run(frame(IP(src=CLIENT4, dst=VIP4), tcp()))[1]
    quoted = reply(TCP(sport=80, dport=31337))[:28]
    action, out = balancer.run(quoted_error(quoted))
    assert action == TX
    assert out[14:34][16:20] == known[14:34][16:20]
    assert balancer.run(quoted_error(quoted[:27]))[0] == DROP
    error6 = ICMPv6DestUnreach() / Raw(bytes(IPv6(src=VIP6, dst=CLIENT6) / TCP(sport=80, dport=31337))[:48])
    assert balancer.run(frame(IPv6(src=CLIENT6, dst=VIP6), error6))[0] == TX


def test_an_error_that_quotes_nothing_is_of_no_vip(provision: Provision) -> None:
    # What is looked for is all zeros then, as is much of any map.
    balancer = provision(scenario())
    sent = quoted_error(bytes(IP(src="0.0.0.0", dst=CLIENT4, proto=0) / Raw(bytes(8))))
    for _with_index in (True, False):
        assert balancer.run(sent) == (PASS, sent)
        balancer.forget_index()
    error6 = ICMPv6DestUnreach() / Raw(bytes(IPv6(src="::", dst=CLIENT6, nh=0) / Raw(bytes(8))))
    sent = frame(IPv6(src=CLIENT6, dst=VIP6), error6)
    balancer.index_vips()
    assert balancer.run(sent) == (PASS, sent)


def test_icmp_errors_count_by_the_outer_destination(provision: Provision) -> None:
    balancer = provision(scenario())
    sent = frame(IP(src=CLIENT4, dst=OTHER4), ICMP(type=3, code=4, nexthopmtu=1400), Raw(reply(tcp(), OTHER4)))
    assert balancer.run(sent) == (PASS, sent)
    assert 13 not in balancer.stats()
    # The address is a VIP's, the quoted port is not: counted, and passed.
    sent = quoted_error(reply(TCP(sport=81, dport=5)))
    assert balancer.run(sent) == (PASS, sent)
    assert balancer.stats()[13] == (1, 0)
    too_big = ICMPv6PacketTooBig(mtu=1279) / Raw(bytes(IPv6(src=VIP6, dst=CLIENT6) / TCP(sport=80, dport=1)))
    assert balancer.run(frame(IPv6(src=CLIENT6, dst=VIP6), too_big))[0] == TX
    assert balancer.stats()[12] == (1, 1)


INNER4 = IP(src=CLIENT4, dst=VIP4, ttl=9) / UDP(sport=1, dport=53)
INNER6 = IPv6(src=CLIENT6, dst=VIP6, hlim=9) / UDP(sport=1, dport=53)


@pytest.mark.parametrize("decap_any", [False, True])
def test_ipv6_in_ipv4_is_left_alone(decap_any: bool, provision: Provision) -> None:
    balancer = provision(
        scenario(features=("inline_decap",), decap_any=decap_any, decap_destinations=[{"address": "203.0.113.50"}])
    )
    for destination in (OWN4, "203.0.113.50"):
        for outer in (IP(src=OTHER4, dst=destination, proto=41), IP(src=OTHER4, dst=destination) / UDP(dport=6080)):
            sent = frame(outer, INNER6)
            assert balancer.run(sent) == (PASS, sent)


def test_only_tunnels_to_this_host_end_here(provision: Provision) -> None:
    balancer = provision(scenario(features=("inline_decap",)))
    for inner, own, other in ((INNER4, OWN4, OTHER4), (INNER6, OWN6, OTHER6)):
        outer = IPv6 if ":" in own else IP
        source = CLIENT6 if ":" in own else CLIENT4
        protocol = {"nh": 41} if ":" in own else {"proto": 4}
        for between in (None, UDP(dport=6080)):
            fields = {} if between else protocol
            layers = [between, inner] if between else [inner]
            sent = frame(outer(src=source, dst=other, **fields), *layers)
            assert balancer.run(sent) == (PASS, sent)
            action, out = balancer.run(frame(outer(src=source, dst=own, **fields), *layers))
            assert action == PASS
            assert out[:12] == sent[:12]
            assert len(out) == 14 + len(bytes(inner))
    # **better**: outer IPv4 counts as IPv4 for IPIP too.
    assert balancer.stats()[10] == (2, 2)


def test_a_family_without_own_address_ends_no_tunnel(provision: Provision) -> None:
    balancer = provision(scenario(features=("inline_decap",), source_ipv4="auto", source_ipv6="auto"))
    for sent in (
        frame(IP(src=OTHER4, dst="0.0.0.0", proto=4), INNER4),
        frame(IPv6(src=OTHER6, dst="::", nh=41), INNER6),
    ):
        assert balancer.run(sent) == (PASS, sent)


@pytest.mark.parametrize("egress", [False, True])
@pytest.mark.parametrize("encapsulation", ["ipip", "gue"])
def test_tunnels_of_strangers_are_left_alone(egress: bool, encapsulation: str, provision: Provision) -> None:
    ends = [{"address": address, "egress": egress} for address in ("203.0.113.50", "2001:db8:f::50")]
    options = {"encapsulation": encapsulation, "decap_destinations": ends, "features": ("inline_decap",)}
    default, told = (
        provision(scenario(**options, decap_sources=())),
        provision(scenario(**options, decap_sources=(OTHER6,))),
    )
    anyone = provision(scenario(**options, decap_any=True))
    for inner, targets, strangers, balancers in (
        (INNER4, (OWN4, "203.0.113.50"), (OTHER4, "172.15.0.1", "172.17.0.1"), ("172.16.0.1", "172.16.255.255")),
        (INNER6, (OWN6, "2001:db8:f::50"), (OTHER6, "100:0:0:1::1", "ff::1"), ("100::", "100::ffff")),
    ):
        outer, protocol = (IPv6, {"nh": 41}) if inner is INNER6 else (IP, {"proto": 4})
        for target, gue in itertools.product(targets, (False, True)):
            layers = [UDP(dport=6080), inner] if gue else [inner]
            for source in (*strangers, *balancers):
                sent = frame(outer(src=source, dst=target, **({} if gue else protocol)), *layers)
                assert (default.run(sent) == (PASS, sent)) == (source in strangers), source
                assert (told.run(sent) == (PASS, sent)) == (source != OTHER6), source
                assert anyone.run(sent) != (PASS, sent)
    assert default.stats()[10] == (8, 8)


def test_checksum_after_a_hop_carries_around(provision: Provision) -> None:
    balancer = provision(scenario(features=("inline_decap",), decap_any=True))
    seen = set()
    for identifier in range(0, 0x10000, 61):
        inner = bytes(IP(src=CLIENT4, dst=OTHER4, ttl=9, id=identifier) / UDP())
        action, out = balancer.run(frame(IP(src=OTHER4, dst=OWN4, proto=4), Raw(inner)))
        assert action == PASS
        assert out[22] == 8
        assert ones_sum(out[14:34]) == 0xFFFF
        seen.add(inner[10])
    assert 0xFF in seen


def test_no_ipv6_prefix_matches_an_ipv4_address(provision: Provision) -> None:
    # As 16 bytes, 198.51.100.1 begins like c633:6401::/32.
    balancer = provision(scenario(vip("c633:6400::/24", 80, "tcp"), features=("cidr_vips",)))
    sent = frame(IP(src=CLIENT4, dst=VIP4), tcp())
    assert balancer.run(sent) == (PASS, sent)
    cut_short = MALFORMED["options"](VIP4)
    assert balancer.run(cut_short) == (PASS, cut_short)


def test_ipv4_cidr_vips_match_and_count(provision: Provision) -> None:
    balancer = provision(scenario(vip("198.51.100.0/24", 80, "tcp"), vip(VIP4, 443, "tcp"), features=("cidr_vips",)))
    assert balancer.run(frame(IP(src=CLIENT4, dst=VIP4), tcp()))[0] == TX
    assert balancer.run(frame(IP(src=CLIENT4, dst=VIP4), TCP(dport=443)))[0] == TX
    assert balancer.run(frame(IP(src=CLIENT4, dst="198.51.101.1"), tcp()))[0] == PASS
    assert balancer.stats()[21] == (1, 0)


def quic_short(server: int) -> bytes:
    return bytes((0x40, 0x40 | server >> 10, server >> 2 & 0xFF, (server & 3) << 6)) + bytes(12)


def test_quic_routes_keep_their_entry_young(provision: Provision) -> None:
    ids = [{"id": 100 + n, "real": real} for n, real in enumerate(REALS4)]
    balancer = provision(scenario(vip(VIP4, 443, "udp", "quic"), server_ids=ids))
    key = flow(CLIENT4, VIP4, 5000, 443, 17)

    def send(server: int) -> tuple[int, int]:
        sent = frame(IP(src=CLIENT4, dst=VIP4), UDP(sport=5000, dport=443), Raw(quic_short(server)))
        assert balancer.run(sent)[0] == TX
        found = entry(balancer, key)
        assert found is not None
        return found

    table = balancer.maps["fallback_cache"]
    for server, before in ((101, None), (101, (balancer.real(REALS4[1]), 5)), (102, (balancer.real(REALS4[1]), 5))):
        if before:
            table.update(key, layout.real_pos_lru(*before))
        real, written = send(server)
        assert real == balancer.real(REALS4[server - 100])
        assert abs(written - time.clock_gettime_ns(time.CLOCK_MONOTONIC)) < SECOND
    # dst_match, dst_mismatch, dst_not_found
    assert balancer.counters("quic_stats_map")[0][10:] == (1, 1, 1)


def stable(server: int) -> bytes:
    return struct.pack(">I", 0x52 << 24 | server) + bytes(8)


def test_stable_ids_without_a_real(provision: Provision) -> None:
    balancer = provision(scenario(vip(VIP4, 53, "udp", "udp_stable_routing"), features=("udp_stable_routing",)))
    server_ids = balancer.maps["server_id_map"]
    server_ids.update(layout.u32(9), layout.u32(0))
    server_ids.update(layout.u32(10), layout.u32(DEFAULT_SIZES["reals"]))

    def send(server: int) -> str:
        layers = IP(src=CLIENT4, dst=VIP4), UDP(sport=7, dport=53), Raw(stable(server))
        return balancer.run(frame(*layers))[0]

    assert [send(9), send(10)] == [TX, DROP]
    # ch_routed, cid_routed, cid_invalid_server_id, cid_unknown_real_dropped, invalid_packet_type
    assert balancer.counters("stable_rt_stats") == {0: (1, 0, 1, 1, 0)}


def test_cidr_vips_have_a_down_set(provision: Provision) -> None:
    block = vip("198.51.100.0/24", 0, "udp", "udp_flow_migration", reals=REALS4[:1])
    balancer = provision(scenario(block, features=("cidr_vips", "udp_flow_migration")))
    sent = frame(IP(src=CLIENT4, dst=VIP4), UDP(sport=7, dport=53))
    assert balancer.run(sent)[1][30:34] == socket.inet_aton(REALS4[0])
    balancer.set_vips([block | {"reals": [{"address": REALS4[1]}], "down_reals": [REALS4[0]]}])
    assert balancer.run(sent)[1][30:34] == socket.inet_aton(REALS4[1])
    assert balancer.stats()[15] == (1, 0)


def test_the_ring_of_a_destination_port_is_not_learned(provision: Provision) -> None:
    balancer = provision(scenario(vip(VIP4, 0, "tcp", "hash_dst_port_only")))
    sent = frame(IP(src=CLIENT4, dst=VIP4), tcp())
    assert balancer.run(sent) == balancer.run(sent)
    assert list(balancer.maps["fallback_cache"].items()) == []
    assert balancer.stats()[0] == (2, 2)


# As 16 bytes, the two are one.
ALIKE4, ALIKE6 = "32.1.13.184", "2001:db8::"


def test_an_ipv6_address_is_no_ipv4_vip(provision: Provision) -> None:
    vips = [vip(ALIKE4, port, protocol) for port, protocol in ((80, "tcp"), (0, "udp"))]
    balancer = provision(scenario(*vips))
    assert balancer.run(frame(IP(src=CLIENT4, dst=ALIKE4), tcp()))[0] == TX
    for layer in (tcp(), UDP(sport=1, dport=53), ICMPv6EchoRequest()):
        sent = frame(IPv6(src=CLIENT6, dst=ALIKE6), layer)
        assert balancer.run(sent) == (PASS, sent)
    fragment = MALFORMED["fragment_ipv6"](ALIKE6)
    assert balancer.run(fragment) == (PASS, fragment)


def test_an_ipv6_address_in_an_ipv6_prefix_that_looks_like_an_ipv4_vip(provision: Provision) -> None:
    balancer = provision(
        scenario(vip(ALIKE4, 80, "tcp"), vip("2001:db8::/64", 80, "tcp", reals=REALS6), features=("cidr_vips",))
    )
    action, out = balancer.run(frame(IPv6(src=CLIENT6, dst=ALIKE6), tcp()))
    assert (action, Ether(out)[IPv6].dst in REALS6) == (TX, True)
    assert set(balancer.vip_stats()) == {("2001:db8::/64", 80, "tcp")}


def test_an_ipv6_address_is_no_ipv4_decapsulation_destination(provision: Provision) -> None:
    balancer = provision(scenario(features=("inline_decap",), decap_destinations=[{"address": ALIKE4}]))
    assert balancer.run(frame(IP(src=OTHER4, dst=ALIKE4, proto=4), IP(src=CLIENT4, dst=VIP4), tcp()))[0] == TX
    sent = frame(IPv6(src=CLIENT6, dst=ALIKE6, nh=4), IP(src=CLIENT4, dst=VIP4), tcp())
    assert balancer.run(sent) == (PASS, sent)


@pytest.mark.parametrize("prefix", [("203.0.113.0/24", "203.0.113.7"), ("2001:db8:5::/48", "2001:db8:5::7")])
@pytest.mark.parametrize("port", [0, 80])
def test_misses_of_a_cidr_vip_are_traced_by_its_prefix(
    prefix: tuple[str, str], port: int, provision: Provision
) -> None:
    network, address = prefix
    ipv6 = ":" in network
    balancer = provision(scenario(vip(network, port, "tcp", reals=REALS6[:1]), features=("cidr_vips",)))
    sent = frame(IPv6(src=CLIENT6, dst=address) if ipv6 else IP(src=CLIENT4, dst=address), tcp())
    for traced, misses in ((address, {}), (network.partition("/")[0], {1: (1,)})):
        definition = layout.vip_definition(layout.pack_address(traced), port, 6)
        balancer.maps["vip_miss_stats"].update(layout.u32(0), definition)
        assert balancer.run(sent)[0] == TX
        assert balancer.counters("lru_miss_stats") == misses
        for learned, _real in list(balancer.maps["fallback_cache"].items()):
            balancer.maps["fallback_cache"].delete(learned)


@pytest.mark.parametrize("real", [REALS4[0], REALS6[0]])
def test_gue_checksums_hold(real: str, provision: Provision) -> None:
    balancer = provision(scenario(vip(VIP4, 80, "tcp", reals=(real,)), encapsulation="gue"))
    sent = quoted_error(reply(TCP(sport=80, dport=31337)))
    for inner in (sent, frame(IP(src=CLIENT4, dst=VIP4), tcp(), Raw(b"odd"))):
        action, out = balancer.run(inner)
        assert action == TX
        header = 40 if ":" in real else 20
        udp = out[14 + header :]
        own = OWN6 if ":" in real else OWN4
        assert ones_sum(pseudo(own, real, 17, len(udp)) + udp) == 0xFFFF


@pytest.mark.parametrize("real", [REALS4[0], REALS6[0]])
def test_gue_without_an_inner_checksum_has_none(real: str, provision: Provision) -> None:
    balancer = provision(scenario(vip(VIP4, 53, "udp", reals=(real,)), encapsulation="gue"))
    header = 40 if ":" in real else 20
    for checksum in (0, None):
        action, out = balancer.run(frame(IP(src=CLIENT4, dst=VIP4), UDP(sport=7, dport=53, chksum=checksum)))
        assert action == TX
        udp = out[14 + header :]
        assert (udp[6:8] == b"\0\0") == (checksum == 0)


def test_counting_a_decapsulated_vip_alters_nothing(provision: Provision) -> None:
    balancer = provision(scenario(features=("inline_decap",)))
    for protocol, port in ((UDP, 53), (UDP, 54), (TCP, 80)):
        inner = IP(src=CLIENT4, dst=VIP4, ttl=9) / protocol(sport=1, dport=port)
        action, out = balancer.run(frame(IP(src=OTHER4, dst=OWN4), UDP(dport=6080), inner))
        inner[IP].ttl = 8
        assert (action, out) == (PASS, frame(inner))
    counted = balancer.counters("decap_vip_stats")
    assert counted == {balancer.vips[VIP4, 53, "udp"]: (1, 0), balancer.vips[VIP4, 80, "tcp"]: (1, 0)}


def test_a_removed_real_is_a_miss(provision: Provision) -> None:
    balancer = provision(scenario())
    key = flow(CLIENT4, VIP4, 31337, 80, 6)
    for gone in (999, DEFAULT_SIZES["reals"] + 1):
        balancer.maps["fallback_cache"].update(key, layout.real_pos_lru(gone, 0))
        assert balancer.run(frame(IP(src=CLIENT4, dst=VIP4), tcp()))[0] == TX
        found = entry(balancer, key)
        assert found is not None
        assert found[0] in {balancer.real(real) for real in REALS4}


# The programs beside the balancer.


def decap(*sources: str, **macros: int) -> Any:
    loaded = load_small("decap", DECAP_MAPS, macros)
    for address in (VIP4, VIP6):
        loaded.maps["decap_vips"].update(layout.pack_address(address), layout.u32(1))
    fill_sources(loaded.maps, "decap", sources)
    return loaded


TUNNELS = [
    (IP(src=OTHER4, dst=OWN4, proto=4), None, INNER4),
    (IP(src=OTHER4, dst=OWN4, proto=41), None, INNER6),
    (IPv6(src=OTHER6, dst=OWN6, nh=4), None, INNER4),
    (IPv6(src=OTHER6, dst=OWN6, nh=41), None, INNER6),
    (IP(src=OTHER4, dst=OWN4), UDP(dport=6080), INNER4),
    (IP(src=OTHER4, dst=OWN4), UDP(dport=6080), INNER6),
    (IPv6(src=OTHER6, dst=OWN6), UDP(dport=6080), INNER4),
    (IPv6(src=OTHER6, dst=OWN6), UDP(dport=6080), INNER6),
]


def test_a_real_takes_off_what_is_for_its_vips() -> None:
    with closing(decap(*EVERYWHERE)) as loaded:
        for outer, between, inner in TUNNELS:
            sent = frame(*(layer for layer in (outer, between, inner) if layer is not None))
            result = bpf.test_run(loaded.prog_fd, sent)
            assert (result.value, result.data) == (2, frame(inner))
        assert loaded.counters("decap_counters") == (4, 4, 8, 0, 0)


def test_a_real_leaves_other_tunnels_alone() -> None:
    with closing(decap(*EVERYWHERE)) as loaded:
        for outer, between, inner in TUNNELS:
            other = inner.copy()
            other.dst = OTHER6 if inner is INNER6 else OTHER4
            sent = frame(*(layer for layer in (outer, between, other) if layer is not None))
            result = bpf.test_run(loaded.prog_fd, sent)
            assert (result.value, result.data) == (2, sent)
        assert loaded.counters("decap_counters") == (0, 0, 8, 0, 0)


@pytest.mark.parametrize(
    ("sources", "families"),
    [
        ((), set()),
        (("203.0.113.8/29",), {IP}),
        ((OTHER4,), {IP}),
        (("203.0.113.10", "203.0.113.0/29"), set()),
        (("2001:db8:9::/64",), {IPv6}),
        (("2001:db8:9::8",), set()),
        ((OTHER6,), {IPv6}),
        (("::/0",), {IPv6}),
        (("0.0.0.0/0",), {IP}),
        (("cb00:7109::/32",), set()),
    ],
)
def test_a_real_takes_off_from_listed_sources_only(sources: tuple[str, ...], families: set[Any]) -> None:
    with closing(decap(*sources)) as loaded:
        for outer, between, inner in TUNNELS:
            sent = frame(*(layer for layer in (outer, between, inner) if layer is not None))
            result = bpf.test_run(loaded.prog_fd, sent)
            assert (result.data != sent) == (type(outer) in families)


def test_a_real_counts_ids_of_others() -> None:
    with closing(decap(*EVERYWHERE)) as loaded:
        loaded.maps["tpr_server_id"].update(layout.u32(0), layout.u32(77))
        for server, flags in ((77, "A"), (78, "A"), (78, "S"), (None, "A")):
            options = [] if server is None else [(0xB7, struct.pack("<I", server))]
            inner = IP(src=CLIENT4, dst=VIP4) / TCP(dport=80, flags=flags, options=options)
            bpf.test_run(loaded.prog_fd, frame(IP(src=OTHER4, dst=OWN4, proto=4), inner))
        assert loaded.counters("decap_counters") == (4, 0, 4, 1, 2)
        # A real without an id of its own has none to compare with.
        loaded.maps["tpr_server_id"].update(layout.u32(0), layout.u32(0))
        inner = IP(src=CLIENT4, dst=VIP4) / TCP(dport=80, flags="A", options=[(0xB7, struct.pack("<I", 78))])
        bpf.test_run(loaded.prog_fd, frame(IP(src=OTHER4, dst=OWN4, proto=4), inner))
        assert loaded.counters("decap_counters") == (5, 0, 5, 1, 3)


def test_probes_of_the_wrong_family_are_dropped() -> None:
    with closing(load_small("healthcheck", HEALTHCHECK_MAPS)) as loaded:
        loaded.maps["hc_reals_map"].update(layout.u32(1), layout.real_definition(layout.pack_address(REALS4[0]), 0))
        sent = frame(IPv6(src=CLIENT6, dst=VIP6), tcp())
        assert run_tc(loaded, sent, 1)[0] == "TC_ACT_SHOT"
        assert run_tc(loaded, sent, 2)[:2] == ("TC_ACT_UNSPEC", sent)
        large = frame(IP(src=CLIENT4, dst=VIP4), tcp(), Raw(bytes(1514 - 14 - 40 + 1)))
        assert run_tc(loaded, large, 1)[0] == "TC_ACT_SHOT"
        # processed, dropped, skipped, too_big, dst_matched, src_matched
        assert loaded.counters("hc_stats_map") == (0, 2, 1, 1, 0, 0)


@pytest.mark.parametrize("many", ["224.0.0.9", "255.255.255.255", "ff02::9"])
def test_a_real_leaves_tunnels_to_many_alone(many: str) -> None:
    with closing(decap(*EVERYWHERE)) as loaded:
        outer = IPv6(src=OTHER6, dst=many, nh=4) if ":" in many else IP(src=OTHER4, dst=many, proto=4)
        sent = frame(outer, INNER4)
        result = bpf.test_run(loaded.prog_fd, sent)
        assert (result.value, result.data) == (2, sent)


def test_a_real_that_serves_an_ipv4_vip_does_not_serve_the_ipv6_address_alike() -> None:
    with closing(decap(*EVERYWHERE)) as loaded:
        loaded.maps["decap_vips"].update(layout.pack_address(ALIKE4), layout.u32(1))
        for inner, served in ((IP(dst=ALIKE4) / UDP(), True), (IPv6(dst=ALIKE6) / UDP(), False)):
            sent = frame(IPv6(src=OTHER6, dst=OWN6), UDP(dport=6080), inner)
            assert (bpf.test_run(loaded.prog_fd, sent).data == frame(inner)) is served
