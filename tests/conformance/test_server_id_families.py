# SPDX-License-Identifier: GPL-3.0-or-later
"""A server id whose real is of a family that cannot carry the packet is as good as not mapped."""

from __future__ import annotations

import struct

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6DestUnreach, IPv6
from scapy.packet import Packet, Raw

from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.tests.conformance.provision import Balancer
from ansible_collections.katran.fleet.tests.conformance.test_better import (
    CLIENT4,
    CLIENT6,
    DROP,
    OTHER6,
    REALS4,
    REALS6,
    TX,
    VIP4,
    VIP6,
    Provision,
    entry,
    flow,
    frame,
    quic_short,
    scenario,
    stable,
    vip,
)

IDS = [{"id": 100, "real": REALS4[0]}, {"id": 200, "real": "fd00::99"}]
ENCAPSULATIONS = pytest.mark.parametrize("encapsulation", ["ipip", "gue"])


def families(provision: Provision, encapsulation: str) -> Balancer:
    vips = [
        *(vip(address, 443, "udp", "quic") for address in (VIP4, VIP6)),
        *(vip(address, 53, "udp", "udp_stable_routing") for address in (VIP4, VIP6)),
        *(vip(address, 80, "tcp") for address in (VIP4, VIP6)),
    ]
    features = ("udp_stable_routing", "tcp_server_id")
    return provision(scenario(*vips, server_ids=IDS, encapsulation=encapsulation, features=features))


def quic(server: int) -> tuple[Packet, ...]:
    return UDP(sport=5000, dport=443), Raw(quic_short(server))


def routed(server: int) -> tuple[Packet, ...]:
    return UDP(sport=5000, dport=53), Raw(stable(server))


def option(server: int) -> tuple[Packet, ...]:
    options = [(0xB7, struct.pack("<I", server))]
    return (TCP(sport=5000, dport=80, flags="A", options=options),)


def send(balancer: Balancer, layers: tuple[Packet, ...], to: str = VIP6) -> str:
    """The real's address; the action where nothing is sent."""
    network = IPv6(src=CLIENT6, dst=to) if ":" in to else IP(src=CLIENT4, dst=to)
    action, out = balancer.run(frame(network, *layers))
    if action != TX:
        return action
    return str((IPv6(out[14:]) if out[12:14] == b"\x86\xdd" else IP(out[14:])).dst)


def learned(balancer: Balancer, port: int, protocol: int) -> int:
    found = entry(balancer, flow(CLIENT6, VIP6, 5000, port, protocol))
    assert found is not None
    return found[0]


@ENCAPSULATIONS
def test_quic(encapsulation: str, provision: Provision) -> None:
    balancer = families(provision, encapsulation)
    chosen = send(balancer, quic(100))
    assert chosen in REALS6
    assert learned(balancer, 443, 17) == balancer.real(chosen)
    assert send(balancer, quic(0)) == chosen
    # ch_routed, cid_initial, cid_invalid_server_id, its sample, cid_routed, cid_unknown_real_dropped, v0, v1, ...
    assert balancer.counters("quic_stats_map")[0] == (2, 0, 1, 100, 0, 0, 0, 1, 0, 0, 0, 0, 0)
    assert balancer.stats()[0] == (2, 1)
    # What an id that can be carried taught the table, the other does not unlearn.
    assert [send(balancer, quic(200)), send(balancer, quic(100)), send(balancer, quic(0))] == ["fd00::99"] * 3
    assert learned(balancer, 443, 17) == balancer.real("fd00::99")
    # IPv4 packets go to reals of either family.
    assert [send(balancer, quic(server), VIP4) for server in (100, 200)] == [REALS4[0], "fd00::99"]
    assert 7 not in balancer.stats()


@ENCAPSULATIONS
def test_stable_routing(encapsulation: str, provision: Provision) -> None:
    balancer = families(provision, encapsulation)
    assert send(balancer, routed(100)) in REALS6
    # ch_routed, cid_routed, cid_invalid_server_id, cid_unknown_real_dropped, invalid_packet_type
    assert balancer.counters("stable_rt_stats") == {0: (1, 0, 1, 0, 0)}
    assert send(balancer, routed(200)) == "fd00::99"
    assert [send(balancer, routed(server), VIP4) for server in (100, 200)] == [REALS4[0], "fd00::99"]
    assert balancer.counters("stable_rt_stats") == {0: (1, 3, 1, 0, 0)}
    assert 7 not in balancer.stats()


@ENCAPSULATIONS
def test_stable_routing_from_icmp(encapsulation: str, provision: Provision) -> None:
    balancer = families(provision, encapsulation)
    for server, reals in ((100, REALS6), (200, ("fd00::99",))):
        quoted = IPv6(src=VIP6, dst=CLIENT6) / UDP(sport=53, dport=5000) / Raw(stable(server))
        sent = frame(IPv6(src=OTHER6, dst=VIP6), ICMPv6DestUnreach(), Raw(bytes(quoted)))
        action, out = balancer.run(sent)
        assert (action, IPv6(out[14:]).dst in reals) == (TX, True)
    assert balancer.counters("stable_rt_stats") == {0: (1, 1, 1, 0, 0)}


@ENCAPSULATIONS
def test_tcp(encapsulation: str, provision: Provision) -> None:
    balancer = families(provision, encapsulation)
    chosen = send(balancer, option(100))
    assert chosen in REALS6
    assert learned(balancer, 80, 6) == balancer.real(chosen)
    # ch_routed, dst_mismatch_in_lru, sid_routed, tcp_syn
    assert balancer.counters("tpr_stats_map") == {0: (1, 0, 0, 0)}
    assert [send(balancer, option(server)) for server in (200, 100)] == ["fd00::99"] * 2
    assert learned(balancer, 80, 6) == balancer.real("fd00::99")
    assert [send(balancer, option(server), VIP4) for server in (100, 200)] == [REALS4[0], "fd00::99"]
    assert 7 not in balancer.stats()


@ENCAPSULATIONS
def test_a_table_entry_that_leads_there_is_dropped_after_the_counting(encapsulation: str, provision: Provision) -> None:
    balancer = families(provision, encapsulation)
    known = layout.real_pos_lru(balancer.real(REALS4[0]), 0)
    balancer.maps["fallback_cache"].update(flow(CLIENT6, VIP6, 31337, 80, 6), known)
    assert balancer.run(frame(IPv6(src=CLIENT6, dst=VIP6), TCP(sport=31337, dport=80, flags="A")))[0] == DROP
    assert balancer.stats()[7] == (1, 0)
    assert balancer.vip_stats() == {(VIP6, 80, "tcp"): (1, 20)}
    assert balancer.real_stats() == {REALS4[0]: (1, 20)}
