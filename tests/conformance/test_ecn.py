# SPDX-License-Identifier: GPL-3.0-or-later
"""Congestion marks survive the end of a tunnel, in both programs that end one (RFC 6040, section 4.2)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Dot1Q
from scapy.packet import Packet, Raw

from ansible_collections.katran.fleet.plugins.module_utils._kernel import bpf
from ansible_collections.katran.fleet.tests.conformance.test_better import (
    CLIENT4,
    CLIENT6,
    DROP,
    EVERYWHERE,
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
    ones_sum,
    scenario,
)

NOT_ECT, ECT_1, ECT_0, CE = range(4)
NAMES = ("Not-ECT", "ECT(1)", "ECT(0)", "CE")
# The figure of RFC 6040, section 4.2, line by line: inner; then outer Not-ECT, ECT(0), ECT(1), CE. None: drop.
FIGURE = (
    (NOT_ECT, (NOT_ECT, NOT_ECT, NOT_ECT, None)),
    (ECT_0, (ECT_0, ECT_0, ECT_1, CE)),
    (ECT_1, (ECT_1, ECT_1, ECT_1, CE)),
    (CE, (CE, CE, CE, CE)),
)
PAIRS = [
    pytest.param(outer, inner, becomes, id=f"{NAMES[outer]}-over-{NAMES[inner]}")
    for inner, line in FIGURE
    for outer, becomes in zip((NOT_ECT, ECT_0, ECT_1, CE), line, strict=True)
]
TUNNELS = list(itertools.product((4, 6), (4, 6), ("ipip", "gue")))
DSCPS = (0x00, 0x48, 0xB8, 0xFC)
"""As in the ToS field: each half of the byte has some of it set, or none."""


def outer_of(family: int, inner_family: int, kind: str, tos: int) -> list[Packet]:
    between: list[Packet] = [UDP(sport=9, dport=6080)] if kind == "gue" else []
    number = 17 if between else 4 if inner_family == 4 else 41
    if family == 4:
        return [IP(src=OTHER4, dst=OWN4, proto=number, tos=tos), *between]
    return [IPv6(src=OTHER6, dst=OWN6, nh=number, tc=tos), *between]


def inner_of(family: int, tos: int, ttl: int = 9, **fields: Any) -> Packet:
    transport = TCP(sport=31337, dport=80) / Raw(b"data")
    if family == 4:
        return IP(src=CLIENT4, dst=VIP4, ttl=ttl, tos=tos, **fields) / transport
    # A flow label on which the class borders.
    return IPv6(src=CLIENT6, dst=VIP6, hlim=ttl, tc=tos, fl=0xFFFFF, **fields) / transport


def cases(outer: int, inner: int) -> Iterator[tuple[int, int, list[Packet], int, int]]:
    """(outer family, inner family, the outer layers, inner ToS, DSCP) for every tunnel and DSCP."""
    for (outer_family, inner_family, kind), dscp in itertools.product(TUNNELS, DSCPS):
        layers = outer_of(outer_family, inner_family, kind, (dscp ^ 0x30) | outer)
        yield outer_family, inner_family, layers, dscp | inner, dscp


@pytest.mark.parametrize(("outer", "inner", "becomes"), PAIRS)
def test_a_real_carries_marks_inside(outer: int, inner: int, becomes: int | None) -> None:
    dropped = {4: 0, 6: 0}
    stripped = {4: 0, 6: 0}
    with closing(decap(*EVERYWHERE)) as loaded:
        for outer_family, inner_family, layers, tos, dscp in cases(outer, inner):
            result = bpf.test_run(loaded.prog_fd, frame(*layers, inner_of(inner_family, tos)))
            if becomes is None:
                assert result.value == 1
                dropped[outer_family] += 1
            else:
                expected = frame(inner_of(inner_family, dscp | becomes))
                assert (result.value, result.data) == (2, expected), (outer_family, inner_family, dscp)
                stripped[outer_family] += 1
        # v4 and v6 are what came off; what a mark cost is in the total alone.
        total = sum(dropped.values()) + sum(stripped.values())
        assert loaded.counters("decap_counters") == (stripped[4], stripped[6], total, 0, 0)


@pytest.mark.parametrize(("outer", "inner", "becomes"), PAIRS)
def test_a_balancer_carries_marks_inside(outer: int, inner: int, becomes: int | None, provision: Provision) -> None:
    balancer = provision(scenario(features=("inline_decap",)))
    counted = {4: 0, 6: 0}
    for outer_family, inner_family, layers, tos, dscp in cases(outer, inner):
        sent = frame(*layers, inner_of(inner_family, tos))
        action, out = balancer.run(sent)
        if (outer_family, inner_family) == (4, 6):
            assert (action, out) == (PASS, sent)
            continue
        counted[outer_family] += 1
        if becomes is None:
            assert action == DROP
        else:
            expected = frame(inner_of(inner_family, dscp | becomes, ttl=8))
            assert (action, out) == (PASS, expected), (outer_family, inner_family, dscp)
    # Counted as decapsulated also where the mark then drops it, as with a TTL that ran out.
    assert balancer.stats()[10] == (counted[4], counted[6])
    if becomes is None:
        assert balancer.stats()[18][0] == sum(counted.values())


@pytest.mark.parametrize("encapsulation", ["ipip", "gue"])
def test_a_mark_goes_on_with_what_is_balanced_again(encapsulation: str, provision: Provision) -> None:
    balancer = provision(
        scenario(features=("inline_decap",), encapsulation=encapsulation, decap_destinations=[{"address": OWN6}])
    )
    for kind in ("ipip", "gue"):
        action, out = balancer.run(frame(*outer_of(6, 4, kind, CE), inner_of(4, ECT_0)))
        assert (action, out[15] & 3) == (TX, CE)
        inside = out[34 + (8 if encapsulation == "gue" else 0) :]
        assert (inside[1], inside[8], ones_sum(inside[:20])) == (CE, 8, 0xFFFF)
        assert balancer.run(frame(*outer_of(6, 4, kind, CE), inner_of(4, NOT_ECT)))[0] == DROP


@pytest.mark.parametrize("mark", [ECT_0, ECT_1])
def test_checksum_of_a_marked_header_carries_round(mark: int) -> None:
    """A mark takes 1 or 2 from the header's checksum, which borrows round where that is less."""
    plain = IP(bytes(inner_of(4, mark, id=0)))
    with closing(decap(*EVERYWHERE)) as loaded:
        for wanted in (0, 1, 2, 3, 0x00FF, 0x0100, 0x8000, 0xFF00, 0xFFFD, 0xFFFE):
            inner = inner_of(4, mark, id=(plain.chksum - wanted) % 0xFFFF)
            sent = frame(*outer_of(4, 4, "ipip", CE), inner)
            assert IP(bytes(inner)).chksum == wanted
            out = bpf.test_run(loaded.prog_fd, sent).data
            assert out[15] & 3 == CE
            assert ones_sum(out[14:34]) == 0xFFFF
            # A recomputed checksum of a header is never 0xffff.
            assert out[24:26] != b"\xff\xff"


def test_marks_are_carried_behind_vlan_tags(provision: Provision) -> None:
    balancer = provision(scenario(features=("inline_decap", "vlan")))
    tags: list[Packet] = [Dot1Q(vlan=7), Dot1Q(vlan=8)]
    action, out = balancer.run(frame(*tags, *outer_of(6, 6, "gue", CE), inner_of(6, ECT_0)))
    assert (action, out) == (PASS, frame(*tags, inner_of(6, CE, ttl=8)))


def test_what_is_left_alone_keeps_its_marks(provision: Provision) -> None:
    balancer = provision(scenario(features=("inline_decap",)))
    other = IP(src=OTHER4, dst="203.0.113.2", proto=4, tos=CE)
    for inner in (inner_of(4, ECT_0), inner_of(4, NOT_ECT)):
        sent = frame(other, inner)
        assert balancer.run(sent) == (PASS, sent)
    with closing(decap(*EVERYWHERE)) as loaded:
        for mark in (ECT_0, NOT_ECT):
            inner = IP(src=CLIENT4, dst="203.0.113.2", tos=mark) / UDP()
            sent = frame(*outer_of(4, 4, "ipip", CE), inner)
            result = bpf.test_run(loaded.prog_fd, sent)
            assert (result.value, result.data) == (2, sent)
