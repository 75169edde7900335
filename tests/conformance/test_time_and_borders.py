# SPDX-License-Identifier: GPL-3.0-or-later
"""Where time, carries and borders decide: ages of entries, the flood's second, the last checksums, the first slot."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.packet import Packet

from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.hashing import flow_slot
from ansible_collections.katran.fleet.plugins.module_utils._model.ring import build_ring
from ansible_collections.katran.fleet.tests.conformance.model_program import flood_window, set_flood_window
from ansible_collections.katran.fleet.tests.conformance.provision import Balancer
from ansible_collections.katran.fleet.tests.conformance.test_better import (
    CLIENT4,
    CLIENT6,
    REALS4,
    REALS6,
    SECOND,
    TX,
    VIP4,
    VIP6,
    Provision,
    entry,
    flow,
    frame,
    ones_sum,
    pseudo,
    quic_short,
    scenario,
    vip,
)

OTHER_REAL = "10.0.0.77"
BOTH = pytest.mark.parametrize(("client", "to"), [(CLIENT4, VIP4), (CLIENT6, VIP6)], ids=["ipv4", "ipv6"])


def now() -> int:
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


def network(client: str, to: str) -> Packet:
    return IPv6(src=client, dst=to) if ":" in to else IP(src=client, dst=to)


def sent_to(balancer: Balancer, *layers: Packet) -> str:
    """The real's address."""
    action, out = balancer.run(frame(*layers))
    assert action == TX
    return str((IPv6(out[14:]) if out[12:14] == b"\x86\xdd" else IP(out[14:])).dst)


def known(balancer: Balancer, key: bytes, real: str, atime: int) -> None:
    balancer.maps["fallback_cache"].update(key, layout.real_pos_lru(balancer.real(real), atime))


# Ages


@BOTH
def test_a_udp_packet_without_any_id_refreshes_its_entry(client: str, to: str, provision: Provision) -> None:
    balancer = provision(scenario())
    real = REALS6[1] if ":" in to else REALS4[1]
    key = flow(client, to, 9, 53, 17)
    packet = network(client, to) / UDP(sport=9, dport=53)
    for age in (29, 10, 0):
        known(balancer, key, real, now() - age * SECOND)
        assert sent_to(balancer, packet) == real
        found = entry(balancer, key)
        assert found is not None
        assert found[0] == balancer.real(real)
        assert abs(now() - found[1]) < SECOND
    # Not one new choice among them.
    assert balancer.stats()[0] == (3, 0)


@pytest.mark.parametrize("age", [31, 86_400, 1 << 33])
@BOTH
def test_an_entry_beyond_the_timeout_does_not_count(client: str, to: str, age: int, provision: Provision) -> None:
    balancer = provision(scenario())
    known(balancer, flow(client, to, 9, 53, 17), OTHER_REAL, (now() - age * SECOND) % (1 << 64))
    packet = network(client, to) / UDP(sport=9, dport=53)
    assert sent_to(balancer, packet) in (REALS6 if ":" in to else REALS4)
    found = entry(balancer, flow(client, to, 9, 53, 17))
    assert found is not None
    assert abs(now() - found[1]) < SECOND


@pytest.mark.parametrize("ahead", [1, 50_000_000, 3 * SECOND])
def test_an_entry_from_a_clock_that_is_ahead_is_young(ahead: int, provision: Provision) -> None:
    """A flow may have been written by another CPU a tick later than this one believes it to be."""
    balancer = provision(scenario())
    known(balancer, flow(CLIENT4, VIP4, 9, 53, 17), OTHER_REAL, now() + ahead)
    assert sent_to(balancer, IP(src=CLIENT4, dst=VIP4) / UDP(sport=9, dport=53)) == OTHER_REAL


def test_a_tcp_entry_has_no_age(provision: Provision) -> None:
    balancer = provision(scenario())
    key = flow(CLIENT4, VIP4, 9, 80, 6)
    known(balancer, key, OTHER_REAL, 0)
    assert sent_to(balancer, IP(src=CLIENT4, dst=VIP4) / TCP(sport=9, dport=80)) in REALS4
    known(balancer, key, OTHER_REAL, 0)
    assert sent_to(balancer, IP(src=CLIENT4, dst=VIP4) / TCP(sport=9, dport=80, flags="A")) == OTHER_REAL
    assert entry(balancer, key) == (balancer.real(OTHER_REAL), 0)


def test_a_flow_is_found_in_the_table_that_this_one_replaces(cpu: int, provision: Provision) -> None:
    balancer = provision(scenario(), cpu)
    packet = IP(src=CLIENT4, dst=VIP4) / UDP(sport=9, dport=53)
    outgrown = balancer.flow_table("lru_outgrown", cpu)
    key = flow(CLIENT4, VIP4, 9, 53, 17)
    outgrown.update(key, layout.real_pos_lru(balancer.real(OTHER_REAL), now() - 20 * SECOND))
    assert sent_to(balancer, packet) == OTHER_REAL
    value = outgrown.lookup(key)
    assert value is not None
    assert now() - layout.parse_real_pos_lru(value)[1] < SECOND
    outgrown.update(key, layout.real_pos_lru(balancer.real(OTHER_REAL), now() - 31 * SECOND))
    assert sent_to(balancer, packet) in REALS4
    outgrown.close()


# The flood's second


@pytest.mark.parametrize("ago", [2, 30, 59, 61, 86_400])
def test_a_window_older_than_a_second_begins_anew(ago: int, cpu: int, provision: Provision) -> None:
    balancer = provision(scenario(max_new_flows=3))
    set_flood_window(balancer, cpu, 1000, now() - ago * SECOND)
    assert sent_to(balancer, IP(src=CLIENT4, dst=VIP4) / TCP(sport=9, dport=80, flags="S")) in REALS4
    checks, start = flood_window(balancer, cpu)
    assert checks == 1
    assert abs(now() - start) < SECOND
    assert entry(balancer, flow(CLIENT4, VIP4, 9, 80, 6)) is not None


def test_a_window_within_its_second_goes_on(cpu: int, provision: Provision) -> None:
    balancer = provision(scenario(max_new_flows=3))
    # One that seems to begin in the future, by another tick of the clock, has not ended either.
    start = now() + SECOND // 2
    set_flood_window(balancer, cpu, 1, start)
    for sport, learned in ((1, True), (2, True), (3, False), (4, False)):
        sent_to(balancer, IP(src=CLIENT4, dst=VIP4) / TCP(sport=sport, dport=80, flags="S"))
        assert (entry(balancer, flow(CLIENT4, VIP4, sport, 80, 6)) is not None) is learned
    assert flood_window(balancer, cpu) == (5, start)


def test_ids_of_flows_that_a_flood_hides_are_routed_and_not_learned(cpu: int, provision: Provision) -> None:
    vips = vip(VIP4, 443, "udp", "quic")
    balancer = provision(scenario(vips, max_new_flows=3, server_ids=[{"id": 100, "real": OTHER_REAL}]))
    packet = IP(src=CLIENT4, dst=VIP4) / UDP(sport=9, dport=443) / quic_short(100)
    set_flood_window(balancer, cpu, 3, now())
    assert sent_to(balancer, packet) == OTHER_REAL
    assert entry(balancer, flow(CLIENT4, VIP4, 9, 443, 17)) is None
    set_flood_window(balancer, cpu, 3, now() - 2 * SECOND)
    assert sent_to(balancer, packet) == OTHER_REAL
    assert entry(balancer, flow(CLIENT4, VIP4, 9, 443, 17)) is not None


# Carries


def with_checksum(build: Callable[[int], Packet], at: int, wanted: int) -> bytes:
    """The frame whose ICMP checksum, at byte *at*, is *wanted*, by choice of its identifier."""
    base = int.from_bytes(frame(build(0))[at : at + 2], "big")
    made = frame(build((base - wanted) % 0xFFFF))
    assert int.from_bytes(made[at : at + 2], "big") == wanted
    return made


# As a little-endian host loads them, 8 more overflows those of the low byte 0xff whose high byte is 0xf8 and more.
@pytest.mark.parametrize("wanted", [0xF8FF, 0xF9FF, 0xFEFF, 0xF8FE, 0xF7FF, 0xF800, 0xF700, 0xFFFE, 0x00FF, 0x0000])
def test_an_echo_replys_checksum_carries_round(wanted: int, provision: Provision) -> None:
    balancer = provision(scenario())
    sent = with_checksum(lambda number: IP(src=CLIENT4, dst=VIP4) / ICMP(id=number), 36, wanted)
    action, out = balancer.run(sent)
    assert (action, out[34], ones_sum(out[34:])) == (TX, 0, 0xFFFF)
    reply = ICMP(out[34:])
    del reply.chksum
    assert bytes(reply) == out[34:]


@pytest.mark.parametrize("wanted", [0x0000, 0x0001, 0x00FF, 0x0100, 0x0101, 0x01FF, 0xFF00, 0xFFFE])
def test_an_ipv6_echo_replys_checksum_borrows_round(wanted: int, provision: Provision) -> None:
    balancer = provision(scenario())
    sent = with_checksum(lambda number: IPv6(src=CLIENT6, dst=VIP6) / ICMPv6EchoRequest(id=number), 56, wanted)
    action, out = balancer.run(sent)
    assert (action, out[54]) == (TX, 129)
    assert ones_sum(pseudo(CLIENT6, VIP6, 58, 8) + out[54:]) == 0xFFFF


# Reals that are gone, and the border of a ring


@pytest.mark.parametrize("where", ["zero", "beyond"])
def test_a_real_that_is_gone_is_no_hit_in_the_global_table(where: str, provision: Provision) -> None:
    balancer = provision(scenario(vip(VIP4, 80, "tcp", "global_lru"), features=("global_lru",)))
    gone = balancer.real(OTHER_REAL)
    table = balancer.maps["fallback_glru"]
    table.update(flow(CLIENT4, VIP4, 9, 80, 6), layout.u32(gone))
    packet = IP(src=CLIENT4, dst=VIP4) / TCP(sport=9, dport=80, flags="A")
    assert sent_to(balancer, packet) == OTHER_REAL
    assert balancer.stats()[8] == (1, 1)
    if where == "zero":
        balancer.maps["reals"].update(layout.u32(gone), bytes(20))
    else:
        table.update(flow(CLIENT4, VIP4, 9, 80, 6), layout.u32(1 << 20))
    assert sent_to(balancer, packet) in REALS4
    assert balancer.stats()[8] == (2, 1)
    # It went by the ring, and is learned.
    assert balancer.stats()[0] == (2, 1)
    assert entry(balancer, flow(CLIENT4, VIP4, 9, 80, 6)) is not None


@pytest.mark.parametrize("ring", [3, 17, 4093, 65537])
@BOTH
def test_a_hash_that_the_ring_divides_has_the_first_slot(client: str, to: str, ring: int, provision: Provision) -> None:
    """The quotient by the reciprocal is one too small then, and the rest is the ring's size."""
    reals = REALS6 if ":" in to else REALS4
    other = "fd00::77" if ":" in to else OTHER_REAL
    sizes = {"vips": 4, "ring": ring}
    # The slot behind the ring is the next VIP's first.
    balancer = provision(scenario(vip(to, 80, "tcp"), vip(to, 81, "tcp", reals=(other,)), sizes=sizes))
    built = build_ring([(real, 1) for real in reals], ring, "maglev_v2")
    prefix = "2001:db8:c::" if ":" in to else "192.0.2."
    clients = [f"{prefix}{number}" for number in range(1, 250)]
    tried = 0
    for source in clients:
        for sport in range(1, 65536, 16):
            if flow_slot(source, sport, 80, max_vips=4, ring_size=ring) == 0:
                packet = network(source, to) / TCP(sport=sport, dport=80, flags="S")
                assert sent_to(balancer, packet) == reals[built[0]]
                tried += 1
                if tried == 3:
                    return
    pytest.fail("no such hash")
