# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Probe flows: which are sent, how they are made, how answers are read, and what these say."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.katran.fleet.plugins.module_utils._model.addresses import Address, read_address
from ansible_collections.katran.fleet.plugins.module_utils._model.doctor import probe_packets as packets
from ansible_collections.katran.fleet.plugins.module_utils._model.doctor.probe import (
    Flow,
    flows_of,
    full_size,
    host_of,
    of_checks,
    of_flows,
    of_sizes,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.link_mtu import Tunnel
from ansible_collections.katran.fleet.plugins.module_utils._model.overlay import Overlay
from ansible_collections.katran.fleet.plugins.module_utils._model.vips import Vip, VipKey, VipReal

WAY = packets.Way(6080, bytes([172, 16]) + bytes(14), b"\1" + bytes(15))
IPIP = Tunnel("ipip", 1514, False)


def address(text: str) -> Address:
    found = read_address(text)
    assert found is not None
    return found


OWN, OWN6 = address("192.0.2.7"), address("2001:db8::7")
VIP, VIP6 = address("198.51.100.1"), address("2001:db8:1::1")


def flow(name: str = "198.51.100.1:80/tcp", real: str = "10.0.0.1", **options: object) -> Flow:
    key = VipKey.read(name)
    return Flow(key, host_of(key), address(real), 0, **options)  # type: ignore[arg-type]  # of a test's own making


# Packets


def answered(packet: bytes) -> packets.Answer:
    found = packets.read_answer(packet)
    assert found is not None
    return found


def answer_to(segment: bytes, flags: int, options: bytes = b"") -> bytes:
    """What a host answers to a SYN."""
    ipv6 = segment[0] >> 4 == 6
    head = 40 if ipv6 else 20
    source, target = (segment[8:24], segment[24:40]) if ipv6 else (segment[12:16], segment[16:20])
    sport, dport, sequence = struct.unpack_from("!HHI", segment, head)
    offset = (20 + len(options)) // 4 << 4
    body = struct.pack("!HHIIBBHHH", dport, sport, 5, sequence + 1 & 0xFFFFFFFF, offset, flags, 0, 0, 0) + options
    return packets.ip(target, source, packets.TCP, body)


@given(st.integers(0, 0xFFFFFFFF), st.integers(1, 65535), st.booleans(), st.integers(536, 9000))
def test_a_syn_and_its_answers(token: int, port: int, ipv6: bool, mss: int) -> None:
    own, vip = (OWN6, VIP6) if ipv6 else (OWN, VIP)
    syn = packets.segment(own, vip, (port, 80), token)
    sender = vip.packed if ipv6 else vip.packed[:4]
    options = struct.pack("!BBBBH", 1, 1, 2, 4, mss) + b"\1\1"
    assert answered(answer_to(syn, 0x12, options)) == packets.Answer("syn_ack", sender, sender, token, port, mss)
    assert answered(answer_to(syn, 0x14)) == packets.Answer("reset", sender, sender, token, port)
    assert packets.read_answer(answer_to(syn, 0x10)) is None
    # A router or the real says that it goes no further.
    kind, code = (1, 0) if ipv6 else (3, 1)
    router = bytes(15) + b"\1" if ipv6 else bytes([10, 9, 9, 9])
    told = packets.ip(
        router, syn[8:24] if ipv6 else syn[12:16], 58 if ipv6 else 1, struct.pack("!BBHI", kind, code, 0, 0) + syn[:60]
    )
    assert answered(told) == packets.Answer("unreachable", router, sender, token, port)


@given(st.integers(0, 0xFFFFFFFF), st.booleans(), st.integers(100, 9000))
def test_an_echo_and_its_answer(token: int, ipv6: bool, size: int) -> None:
    own, vip = (OWN6, VIP6) if ipv6 else (OWN, VIP)
    asked = packets.echo(own, vip, token, size)
    assert len(asked) == size
    head = 40 if ipv6 else 20
    body = struct.pack("!BB", 129 if ipv6 else 0, 0) + asked[head + 2 :]
    source = vip.packed if ipv6 else vip.packed[:4]
    target = own.packed if ipv6 else own.packed[:4]
    assert answered(packets.ip(source, target, 58 if ipv6 else 1, body)) == packets.Answer(
        "echo", source, source, token
    )


@given(st.binary(max_size=80))
def test_no_packet_breaks_it(data: bytes) -> None:
    packets.read_answer(data)
    packets.read_answer(b"\x45" + data)
    packets.read_answer(b"\x60" + data)


@given(st.binary(max_size=64), st.sampled_from(["ipip", "gue"]), st.booleans(), st.booleans(), st.integers(0, 65535))
def test_checksums_of_tunnels(payload: bytes, kind: str, inner6: bool, outer6: bool, port: int) -> None:
    own, vip = (OWN6, VIP6) if inner6 else (OWN, VIP)
    inner = packets.datagram(own, vip, (port, 53), payload)
    real = address("fc00::1" if outer6 else "10.0.0.1")
    outer = packets.tunnelled(WAY, kind, inner, real, port)
    assert outer.endswith(inner)
    if not outer6:
        assert packets.checksum(outer[:20]) == 0
    if kind == "gue":
        body = outer[40 if outer6 else 20 :]
        assert struct.unpack("!HH", body[2:6]) == (6080, len(body))


# Which


def vips(*reals: VipReal, number: int = 3) -> list[Vip]:
    return [Vip(VipKey.read(f"198.51.100.{index}:80/tcp"), reals=reals) for index in range(number)]


def test_only_reals_that_are_to_serve() -> None:
    reals = (
        VipReal("10.0.0.1"),
        VipReal("10.0.0.2", 0),
        VipReal("10.0.0.3", 1, "down"),
        VipReal("10.0.0.4", local=True),
        VipReal("10.0.0.5"),
    )
    overlay = {"10.0.0.5": Overlay("10.0.0.5", "draining"), "10.0.0.3": Overlay("10.0.0.3", "active")}
    found = flows_of(vips(*reals, number=1), overlay, "", "")
    assert sorted(each.real.text for each in found) == ["10.0.0.1", "10.0.0.3"]
    assert [each.real.text for each in flows_of(vips(*reals), {}, "198.51.100.2", "10.0.0.5")] == ["10.0.0.5"]


def test_a_part_of_them_sees_every_vip_and_most_reals() -> None:
    found = flows_of(vips(*(VipReal(f"10.0.0.{number}") for number in range(1, 6)), number=10), {}, "", "")
    assert len(found) == 50
    first = found[:10]
    assert {str(each.vip) for each in first} == {f"198.51.100.{number}:80/tcp" for number in range(10)}
    assert len({each.real.text for each in first}) == 5


@pytest.mark.parametrize(
    ("name", "host"),
    [
        ("198.51.100.1:80/tcp", "198.51.100.1"),
        ("198.51.100.0/24:0/tcp", "198.51.100.1"),
        ("198.51.100.0/31:0/tcp", "198.51.100.0"),
        ("[2001:db8::/48]:0/udp", "2001:db8::1"),
    ],
)
def test_an_address_of_a_vip(name: str, host: str) -> None:
    assert host_of(VipKey.read(name)).text == host


# What answers say


@pytest.mark.parametrize(
    ("name", "kinds", "result", "finding", "error"),
    [
        ("198.51.100.1:80/tcp", {"syn_ack"}, "ok", None, True),
        ("198.51.100.1:80/tcp", {"reset"}, "refused", "service_refuses", True),
        ("198.51.100.1:80/tcp", {"echo"}, "silent", "service_silent", True),
        ("198.51.100.1:80/tcp", {"echo", "alive"}, "silent", "service_silent", True),
        ("198.51.100.1:80/tcp", {"alive"}, "silent", "service_silent", True),
        ("198.51.100.1:80/tcp", {"alive", "no_tunnel"}, "silent", "decap_missing", True),
        ("198.51.100.1:80/tcp", set(), "unreachable", "real_unreachable", True),
        ("198.51.100.1:80/tcp", {"unreachable"}, "unreachable", "real_unreachable", True),
        ("198.51.100.1:53/udp", {"echo"}, "ok", None, True),
        ("198.51.100.1:53/udp", {"datagram"}, "ok", None, True),
        ("198.51.100.1:53/udp", {"refused", "echo"}, "refused", "service_refuses", True),
        ("198.51.100.1:53/udp", {"alive"}, "silent", "service_silent", False),
        ("198.51.100.1:0/tcp", {"echo"}, "ok", None, True),
    ],
)
def test_what_answers_say(name: str, kinds: set[str], result: str, finding: str | None, error: bool) -> None:
    one = flow(name, kinds=kinds)
    assert one.result == result
    found = list(of_flows([one]))
    assert [(each.name, each.about, each.error) for each in found] == (
        [(finding, "10.0.0.1", error)] if finding else []
    )
    row = one.row()
    assert (row["result"], bool(row["detail"])) == (result, True)


def test_a_real_is_told_once() -> None:
    (finding,) = of_flows([flow(f"198.51.100.{number}:80/tcp", kinds=set()) for number in range(9)])
    assert finding.name == "real_unreachable"
    assert " more)" in finding.cause


def test_a_service_that_accepts_and_fails_its_check_is_ill() -> None:

    hung = [
        flow(kinds={"syn_ack"}, fails="timeout: no answer"),
        flow("198.51.100.1:53/udp", kinds={"echo"}, fails="timeout: no answer"),
    ]
    ill = flow(real="10.0.0.2", kinds={"syn_ack"}, fails="status 503")
    gone = flow(real="10.0.0.3", kinds={"reset"}, fails="refused")
    found = list(of_checks([*hung, ill, gone, flow(real="10.0.0.4", kinds={"syn_ack"})]))
    assert [(each.name, each.about) for each in found] == [
        ("service_silent", "10.0.0.1"),
        ("service_refuses", "10.0.0.2"),
    ]
    assert "198.51.100.1:80/tcp, 198.51.100.1:53/udp" in found[0].cause
    assert "status 503" in found[1].cause
    assert (hung[0].result, gone.result) == ("failing", "refused")
    assert list(of_flows([*hung, ill])) == []


def test_a_part_of_a_name_chooses_probe_flows() -> None:
    all_vips = vips(VipReal("10.0.0.1"))
    assert len(flows_of(all_vips, {}, ":80", "")) == len(flows_of(all_vips, {}, "", ""))
    assert flows_of(all_vips, {}, ":81", "") == []


def test_what_was_not_sent_says_nothing() -> None:
    one = flow(fault="there is no IPv6 in IPv4")
    assert (one.result, one.row()["detail"], list(of_flows([one]))) == ("not sent", "there is no IPv6 in IPv4", [])


def test_sizes() -> None:
    assert full_size(IPIP, flow()) == 1500
    assert full_size(IPIP, flow(mss=1460)) == 1500
    assert full_size(IPIP, flow(mss=1400)) == 1440
    assert full_size(IPIP, flow("[2001:db8::1]:80/tcp", "fc00::1", mss=1400)) == 1460
    assert list(of_sizes(IPIP, [flow(kinds={"echo", "large"}), flow(kinds={"syn_ack"})])) == []
    (finding,) = of_sizes(IPIP, [flow(kinds={"echo"}), flow("198.51.100.2:80/tcp", kinds={"echo"})])
    assert (finding.name, "1520 bytes" in finding.cause) == ("mtu_real", True)
