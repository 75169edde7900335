# SPDX-License-Identifier: GPL-3.0-or-later
"""katran capture: which packets it finds, in which order, what it costs the balancer, and what is left of it."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from scapy.layers.inet import IP, UDP
from scapy.utils import PcapNgReader

from ansible_collections.katran.fleet.plugins.module_utils._engine.capture import LEASE, Captured, Wanted, capture
from ansible_collections.katran.fleet.plugins.module_utils._engine.capture_file import PcapngFile
from ansible_collections.katran.fleet.plugins.module_utils._engine.request import Request
from ansible_collections.katran.fleet.plugins.module_utils._kernel import bpf
from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.captured import Frame
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import EngineError, FleetError
from ansible_collections.katran.fleet.plugins.module_utils._model.simulated_flows import build_frame, parse_flows
from ansible_collections.katran.fleet.tests.engine import life
from ansible_collections.katran.fleet.tests.engine.katran import COMMAND, install
from ansible_collections.katran.fleet.tests.engine.life import (
    CLIENT,
    LINK,
    MAPS,
    REALS,
    VIP,
    Stream,
    counters,
    frame,
    lead_out,
    one_cpu,
    send,
    stream,
    vips,
)
from ansible_collections.katran.fleet.tests.engine.sandbox import BPFFS, compiled_once, sandbox

REQUEST = Request("default", BPFFS, 5, False)
EMPTY, CLOSED, VIP6 = "198.51.100.7", "198.51.100.8", "2001:db8::1"


@pytest.fixture(autouse=True, scope="module")
def host() -> Iterator[None]:
    with sandbox(LINK), compiled_once():
        life.ensure(features=["introspection", "source_filter"])
        lead_out()
        life.apply(
            [
                vips(),
                vips(address=EMPTY) | {"reals": []},
                vips(address=CLOSED, deny=["203.0.113.0/24"]),
                vips("fc00::1", address=VIP6),
            ]
        )
        yield


def taken(wanted: Wanted, during: Callable[[], Any] = lambda: None) -> tuple[Captured, list[tuple[Frame, int | None]]]:
    """A capture; `during` is called once it copies."""
    frames: list[tuple[Frame, int | None]] = []

    def work() -> None:
        while not until():
            time.sleep(0.01)
        during()

    # Where there is no capture, nobody waits for what was to be done during it.
    beside = threading.Thread(target=work, daemon=True)

    def begin(_told: Captured) -> Callable[[Frame, int | None], bool]:
        beside.start()
        return lambda frame, number: frames.append((frame, number)) is None

    told = capture(REQUEST, wanted, begin)
    beside.join()
    return told, frames


def until() -> int:
    """Until when the program copies packets."""
    with bpf.open_map(f"{MAPS}/ctl_array") as control:
        found = control.lookup(layout.u32(layout.CTL_CAPTURE_UNTIL))
        return int(struct.unpack("=Q", found or bytes(8))[0])


def test_both_sides_of_a_packet() -> None:
    told, frames = taken(Wanted(f"{VIP}:80/udp", packets=2), lambda: send({40000: 7, 40001: 8}))
    assert (told.packets, told.frames, told.lost, told.why) == (2, 4, 0, "2 packets were captured")
    assert [(each.out, number) for each, number in frames] == [(False, 1), (True, 1), (False, 2), (True, 2)]
    came, left = frames[0][0], frames[1][0]
    assert came.data == frame(7, 40000)
    assert (left.verdict, left.why, left.length) == (3, "ring", len(came.data) + 20)
    assert left.data[34:] == came.data[14:]
    assert socket.inet_ntoa(left.data[30:34]) == told.reals[left.real]
    assert told.reals[left.real] in REALS
    assert until() == 0


def test_known_flows_say_so() -> None:
    send({41000: 1})
    _told, frames = taken(Wanted(VIP, packets=1), lambda: send({41000: 2}))
    assert frames[1][0].why == "connection table"


@pytest.mark.parametrize(("address", "why"), [(EMPTY, "ring"), (CLOSED, "")])
def test_dropped_packets_show_their_end(address: str, why: str) -> None:
    with one_cpu(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as out:
        out.bind((life.PEER, 0))
        _told, frames = taken(Wanted(address, packets=1), lambda: out.send(frame(1, 40000, address)))
    assert [(each.out, each.verdict, each.real, each.why) for each, _ in frames] == [
        (False, 0, 0, why),
        (True, 1, 0, why),
    ]


def test_filters() -> None:
    ports = {42000 + number: number for number in range(64)}
    _told, frames = taken(Wanted(VIP, f"{CLIENT}:42007", packets=9, seconds=0.4), lambda: send(ports))
    assert [each.data for each, _ in frames if not each.out] == [frame(7, 42007)]
    told, frames = taken(Wanted(VIP, "203.0.113.0/24", REALS[1], packets=9, seconds=0.4), lambda: send(ports))
    assert told.packets == 9
    assert {told.reals[each.real] for each, _ in frames} == {REALS[1]}
    told, frames = taken(Wanted(VIP, "203.0.112.0/24", seconds=0.3), lambda: send(ports))
    assert (told.packets, frames, told.why) == (0, [], "0.3 s are over")


def test_ipv6() -> None:
    """Of clients that differ in the last bit of a prefix."""
    frames_in = [
        build_frame(each, frozenset())
        for each in parse_flows(
            [
                {"source": source, "destination": VIP6, "source_port": 7, "destination_port": 80, "protocol": "udp"}
                for source in ("2001:db8:7:1::1", "2001:db8:7::1", "2001:db8:7::2")
            ]
        )
    ]
    program = bpf.open_program(f"{life.PINS}/balancer")

    def during() -> None:
        for data in frames_in:
            bpf.test_run(program, data)

    try:
        _told, frames = taken(Wanted(f"[{VIP6}]:80/udp", "2001:db8:7::/64", seconds=0.4), during)
        _told, one = taken(Wanted(VIP6, "[2001:db8:7::2]:7", seconds=0.3), during)
    finally:
        os.close(program)
    assert [each.data for each, _ in frames if not each.out] == frames_in[1:]
    assert [each.data for each, _ in one if not each.out] == frames_in[2:]
    assert [each.data[54:] for each, _ in one if each.out] == [frames_in[2][14:]]


def test_short_copies() -> None:
    _told, frames = taken(Wanted(VIP, packets=1, snaplen=40), lambda: send({40000: 1}))
    assert [(len(each.data), each.length) for each, _ in frames] == [(40, 66), (40, 86)]


def refusal(wanted: Wanted) -> str:
    with pytest.raises(FleetError) as caught:
        capture(REQUEST, wanted, lambda _told: lambda _frame, _number: True)
    return str(caught.value)


def test_what_cannot_be() -> None:
    assert refusal(Wanted("198.51.100.9")) == "vip: balancer default has no VIP 198.51.100.9"
    assert "family" in refusal(Wanted(VIP, "2001:db8::1"))
    assert "no real" in refusal(Wanted(VIP, real="10.9.9.9"))
    assert "neither an address" in refusal(Wanted(VIP, "somebody"))
    assert "host bits" in refusal(Wanted(VIP, "203.0.113.1/24"))
    refused = []

    def second() -> None:
        with pytest.raises(EngineError) as caught:
            capture(REQUEST, Wanted(VIP), lambda _told: lambda _frame, _number: True)
        refused.append(str(caught.value))

    taken(Wanted(VIP, seconds=0.2), second)
    assert refused == ["somebody else does a capture with balancer default (pid unknown): there can be one at a time"]


def test_it_takes_the_feature() -> None:
    life.ensure()
    assert "katran_extra_features" in refusal(Wanted(VIP))
    life.ensure(features=["introspection"])
    told, _frames = taken(Wanted(VIP), life.ensure)
    assert told.why == "the balancer got another program meanwhile"
    life.ensure(features=["introspection"])


def test_one_flow_of_ten_thousand(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the balancer forwards and counts as it does without."""
    monkeypatch.setattr(Stream, "FLOWS", 10_000)
    before = counters()
    with stream(rate=5000, least=0.2) as traffic:
        told, frames = taken(Wanted(VIP, f"{CLIENT}:20977", packets=1, seconds=10))
        all_of_it, many = taken(Wanted(VIP, packets=2000, seconds=10))
        result = traffic.stop()
    assert (told.packets, told.lost) == (1, 0)
    assert {each.data[34:36] for each, _ in frames if not each.out} == {struct.pack("!H", 20977)}
    assert (all_of_it.packets, all_of_it.lost, len(many)) == (2000, 0, 4000)
    assert result.lost == []
    since = {name: number - before[name] for name, number in counters().items()}
    assert (since["seen"], since["sent"], since["dropped"]) == (result.sent, result.sent, 0)


def katran(*arguments: str) -> subprocess.Popen[bytes]:
    install()
    return subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def begun(process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 10
    while not until():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_file_is_one_that_others_read() -> None:
    process = katran("capture", "--vip", VIP, "--packets", "2", "--json", "-w", "/run/it.pcapng")
    begun(process)
    before = time.time()
    send({40000: 1, 40001: 2})
    out, errors = process.communicate(timeout=10)
    assert process.returncode == 0, errors
    assert json.loads(out) | {"seconds": 0} == {
        "vip": f"{VIP}:80/udp",
        "packets": 2,
        "frames": 4,
        "lost": 0,
        "seconds": 0,
        "ended": "2 packets were captured",
    }
    with PcapNgReader("/run/it.pcapng") as reader:
        packets = list(reader)
    assert [each.sniffed_on for each in packets] == ["in", "out", "in", "out"]
    assert [each[IP].proto for each in packets] == [17, 4, 17, 4]
    assert packets[0][UDP].sport == 40000
    assert before - 1 < float(packets[0].time) < time.time() + 1
    assert os.stat("/run/it.pcapng").st_mode & 0o777 == 0o600


def test_lines_and_signals() -> None:
    process = katran("capture", "--vip", VIP)
    begun(process)
    send({43000: 1})
    assert process.stdout is not None
    line = process.stdout.readline().decode()
    assert f"{CLIENT}:43000 > {VIP}:80 udp 66 bytes -> 10.0.0." in line
    assert " by ring, sent: 172.16." in line
    process.send_signal(signal.SIGTERM)
    _out, errors = process.communicate(timeout=10)
    assert b"1 packets" in errors
    assert b"interrupted" in errors
    assert (process.returncode, until()) == (0, 0)


def test_nothing_is_left_of_a_capture_that_is_killed() -> None:
    process = katran("capture", "--vip", VIP, "--seconds", "600")
    begun(process)
    process.kill()
    process.communicate(timeout=10)
    assert until()
    time.sleep(LEASE + 0.1)
    send({40000: 1})
    time.sleep(0.05)
    assert until() == 0
    assert taken(Wanted(VIP, packets=1), lambda: send({40000: 2}))[0].packets == 1


def test_files_have_their_bounds() -> None:
    target = io.BytesIO()
    file = PcapngFile(target, VIP, {}, 65535, 1000)
    one = Frame(False, 1, 0, 0, 0, 0, 0, False, 300, bytes(300))
    assert [file.take(one, number) for number in (1, 2, 3)] == [True, False, False]
    assert len(target.getvalue()) == file.size < 1000
