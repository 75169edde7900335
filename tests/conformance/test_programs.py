# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds for every program whatever the packet: it loads, it stays small, it reports; and the smallest ones."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import json
import mmap
import os
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from ansible_collections.katran.fleet.plugins.module_utils._kernel import bpf
from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.map_specs import DEFAULT_SIZES
from ansible_collections.katran.fleet.tests.conformance.provision import (
    COUNTER_MAPS,
    OPTION_MAPS,
    ROOT_MAPS,
    Balancer,
    load_small,
)
from ansible_collections.katran.fleet.tests.conformance.tunnel import HOST, tunnel

VIP, CLIENT = "198.51.100.1", "192.0.2.7"
MAC = "02:00:00:00:00:01"

Provision = Callable[..., Balancer]


def small(*features: str, **options: object) -> dict[str, object]:
    sizes = {"vips": 32, "ring": 17, "server_ids": 64}
    return {"balancer": {"features": list(features), "sizes": sizes} | options, "vips": []}


@pytest.mark.parametrize("encapsulation", ["ipip", "gue"])
def test_no_lookup_is_left_generic(encapsulation: str, provision: Provision) -> None:
    balancer = provision(small("udp_flow_migration", encapsulation=encapsulation))
    number = str(bpf.program_info(balancer.prog_fd).id)
    text = subprocess.run(
        ["bpftool", "prog", "dump", "xlated", "id", number], check=True, capture_output=True, text=True
    )
    assert "call bpf_map_lookup_elem#" not in text.stdout
    assert "call bpf_map_update_elem#" not in text.stdout


@pytest.mark.parametrize(
    ("marked", "flags", "features", "found"),
    [
        (False, [], [], False),
        (True, [], [], True),
        (False, ["source_routing"], ["source_routing"], True),
        (False, [], ["tcp_server_id"], True),
        (True, ["no_lru"], [], False),
    ],
)
def test_flows_that_a_vip_learned_before_it_hashed_by_destination_port(
    marked: bool, flags: list[str], features: list[str], found: bool, provision: Provision
) -> None:
    """They are looked for only where there may be any: a VIP that always did so has none."""
    reals = [{"address": f"10.0.0.{number}"} for number in range(1, 9)]
    vip = {"address": VIP, "port": 80, "protocol": "tcp", "flags": ["hash_dst_port_only", *flags], "reals": reals}
    balancer = provision({"balancer": {"features": features, "gateway_mac": "02:00:00:00:00:fe"}, "vips": [vip]})
    frame = bytes(Ether(dst=MAC) / IP(src=CLIENT, dst=VIP) / TCP(sport=1, dport=80, flags="A"))
    chosen = Ether(balancer.run(frame)[1])[IP].dst
    other = next(real["address"] for real in reals if real["address"] != chosen)
    key = layout.flow_key(layout.pack_address(CLIENT), layout.pack_address(VIP), 1, 80, 6)
    balancer.maps["fallback_cache"].update(key, layout.real_pos_lru(balancer.real(other), 0))
    if marked:
        balancer.maps["vip_learned"].update(layout.u32(0), layout.u32(1))
    assert Ether(balancer.run(frame)[1])[IP].dst == (other if found else chosen)


class Events:
    """The samples that a program puts into event_pipe on one CPU (perf_event_open(2))."""

    PAGES = 8

    def __init__(self, pipe: bpf.Map, cpu: int) -> None:
        # perf_event_attr: PERF_TYPE_SOFTWARE, size, PERF_COUNT_SW_BPF_OUTPUT, period 1, PERF_SAMPLE_RAW; wakeup at 1.
        attributes = struct.pack("=IIQQQQQI", 1, 112, 10, 1, 1 << 10, 0, 0, 1).ljust(112, b"\0")
        buffer = ctypes.create_string_buffer(attributes, 112)
        number = {"x86_64": 298, "aarch64": 241}[os.uname().machine]
        self.fd = ctypes.CDLL(None, use_errno=True).syscall(number, buffer, -1, cpu, -1, 8)
        assert self.fd >= 0
        self.ring = mmap.mmap(self.fd, (1 + self.PAGES) * mmap.PAGESIZE)
        pipe.update(layout.u32(cpu), layout.u32(self.fd))

    def read(self) -> list[bytes]:
        """The raw data of every sample so far."""
        head, tail = struct.unpack_from("=QQ", self.ring, 1024)
        data = self.ring[mmap.PAGESIZE :] * 2
        found = []
        while tail < head:
            at = tail % (self.PAGES * mmap.PAGESIZE)
            _kind, _misc, size = struct.unpack_from("=IHH", data, at)
            length = struct.unpack_from("=I", data, at + 8)[0]
            found.append(data[at + 12 : at + 12 + length])
            tail += size
        struct.pack_into("=Q", self.ring, 1032, tail)
        return found

    def close(self) -> None:
        self.ring.close()
        os.close(self.fd)


def test_events_show_the_start_of_a_frame(cpu: int, provision: Provision) -> None:
    reals = [{"address": "10.0.0.1"}]
    vips = [
        {"address": VIP, "port": 80, "protocol": "tcp", "reals": reals},
        {"address": VIP, "port": 443, "protocol": "udp", "flags": ["quic"], "reals": reals},
    ]
    balancer = provision({"balancer": {"features": ["introspection"]}, "vips": vips})
    ip = Ether(dst=MAC) / IP(src=CLIENT, dst=VIP)
    missed = bytes(ip / TCP(sport=1, dport=80, flags="A"))
    large = bytes(ip / TCP(sport=1, dport=80, flags="A") / Raw(bytes(1461)))
    nobody = bytes(ip / UDP(sport=1, dport=443) / Raw(b"\x40\x40\x01\x40" + bytes(12)))
    # Id 5 is mapped to a real that there is no room for.
    balancer.maps["server_id_map"].update(layout.u32(5), layout.u32(DEFAULT_SIZES["reals"]))
    with closing(Events(balancer.maps["event_pipe"], cpu)) as events:
        for frame in (missed, large, nobody):
            balancer.run(frame)
        assert events.read() == []
        balancer.maps["fallback_cache"].delete(next(iter(balancer.maps["fallback_cache"].items()))[0])
        balancer.maps["ctl_array"].update(layout.u32(layout.CTL_INTROSPECTION), struct.pack("=Q", 1))
        for frame in (missed, missed, large, nobody):
            balancer.run(frame)
        seen = events.read()
    expected = [(0, missed), (1, large), (2, nobody)]
    assert len(seen) == len(expected)
    for sample, (event, frame) in zip(seen, expected, strict=True):
        shown = frame[:128]
        assert sample[: 12 + len(shown)] == struct.pack("=III", event, len(frame), len(shown)) + shown


def test_root_runs_the_first_slot_that_is_taken() -> None:
    frame = bytes(Ether() / IP() / UDP())
    with closing(load_small("root", ROOT_MAPS)) as root, closing(load_small("packet_counter", COUNTER_MAPS)) as counter:
        counter.maps["ctl_array"].update(layout.u32(0), layout.u32(1))
        for slot in (None, 2, 0):
            if slot is not None:
                root.maps["root_array"].update(layout.u32(slot), layout.u32(counter.prog_fd))
            assert bpf.test_run(root.prog_fd, frame).value == 2
        assert counter.counters("cntrs_array") == (2,)


@pytest.mark.parametrize("taken", list(itertools.product([False, True], repeat=3)), ids=str)
def test_root_asks_the_slots_in_order(taken: tuple[bool, ...]) -> None:
    answers = (1, 3, 0)  # XDP_DROP, XDP_TX, XDP_ABORTED; XDP_PASS is what root itself says.
    with closing(load_small("root", ROOT_MAPS)) as root, contextlib.ExitStack() as opened:
        for slot, answer in enumerate(answers):
            # Puts the answer into register 0 and ends.
            code = bytes.fromhex("b7000000") + layout.u32(answer) + bytes.fromhex("9500000000000000")
            fd = bpf.load_program(code, name="answer")
            opened.callback(os.close, fd)
            if taken[slot]:
                root.maps["root_array"].update(layout.u32(slot), layout.u32(fd))
        first = next((answer for answer, there in zip(answers, taken, strict=True) if there), 2)
        assert bpf.test_run(root.prog_fd, bytes(64)).value == first


def test_packets_are_counted_while_that_is_on() -> None:
    frame = bytes(Ether() / IP() / UDP())
    with closing(load_small("packet_counter", COUNTER_MAPS)) as counter:
        for on in (0, 1, 0):
            counter.maps["ctl_array"].update(layout.u32(0), layout.u32(on))
            assert bpf.test_run(counter.prog_fd, frame).value == 2
        assert counter.counters("cntrs_array") == (1,)


@contextlib.contextmanager
def in_cgroup(prog_fd: int) -> Iterator[None]:
    """This process in a cgroup of its own with the program as its sock_ops."""
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines() if line.split()[2] == "cgroup2"]
    assert mounts, "no cgroup2 is mounted"
    line = next(line for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::"))
    home = Path(mounts[0] + line[3:])
    group = Path(mounts[0]) / f"katran-test-{os.getpid()}"
    group.mkdir()
    descriptor = os.open(group, os.O_RDONLY)
    # BPF_PROG_ATTACH and BPF_PROG_DETACH with BPF_CGROUP_SOCK_OPS.
    attributes = struct.pack("=IIII", descriptor, prog_fd, 3, 0)
    try:
        bpf._bpf(8, attributes)
        (group / "cgroup.procs").write_text(str(os.getpid()))
        yield
        bpf._bpf(9, attributes)
    finally:
        (home / "cgroup.procs").write_text(str(os.getpid()))
        os.close(descriptor)
        group.rmdir()


def talk(listener: socket.socket, meanwhile: Callable[[], None] = lambda: None) -> None:
    """A connection and a byte each way, over loopback; then `meanwhile`, before it is closed."""
    with socket.create_connection(listener.getsockname()) as client, listener.accept()[0] as server:
        client.send(b"?")
        assert server.recv(1) == b"?"
        server.send(b"!")
        assert client.recv(1) == b"!"
        meanwhile()


@pytest.mark.parametrize(("own", "fallback"), [(1025, 7), (0, 7)])
def test_server_ids_travel_in_options(own: int, fallback: int) -> None:
    with closing(load_small("server_id_option", OPTION_MAPS)) as option, in_cgroup(option.prog_fd):
        option.maps["server_id_own"].update(layout.u32(0), layout.u32(own))
        option.maps["server_id_own"].update(layout.u32(1), layout.u32(fallback))

        def remembered() -> list[int]:
            return [layout.parse_u32(value) for _cookie, value in option.maps["server_id_of_socket"].items()]

        def meanwhile() -> None:
            # The client's socket has the id to echo.
            assert remembered() == [own or fallback]

        with socket.create_server(("127.0.0.1", 0)) as listener:
            talk(listener, meanwhile)
        # set: by the server and by the client; read: by both; missing; wrong.
        assert option.counters("server_id_counters") == (2, 2, 0, 0)
        # A socket that is closed leaves its place to others.
        deadline = time.monotonic() + 5
        while remembered() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert remembered() == []


@pytest.mark.parametrize(
    ("own", "fallback", "echoes", "counted"),
    [
        # set, read, missing, wrong
        (1025, 7, [1025], (1, 1, 0, 0)),
        (1025, 7, [7], (1, 1, 0, 0)),
        (1025, 7, [1026], (1, 0, 0, 1)),
        (1025, 7, [0], (1, 0, 0, 1)),
        # Of two ids one may be none: to echo none is wrong all the same.
        (1025, 0, [0], (1, 0, 0, 1)),
        (0, 7, [0], (1, 0, 0, 1)),
        # Until the right one comes, all are looked at; then none.
        (1025, 7, [9, 8, 1025, 9], (1, 1, 0, 2)),
        (1025, 7, [1025, 9], (1, 1, 0, 0)),
    ],
)
def test_an_echo_counts_by_whose_id_it_is(own: int, fallback: int, echoes: list[int], counted: tuple[int, ...]) -> None:
    with closing(load_small("server_id_option", OPTION_MAPS)) as option, in_cgroup(option.prog_fd), tunnel() as peer:
        option.maps["server_id_own"].update(layout.u32(0), layout.u32(own))
        option.maps["server_id_own"].update(layout.u32(1), layout.u32(fallback))
        with socket.create_server((HOST, 0)) as listener:
            ports = {"sport": 4000, "dport": listener.getsockname()[1]}
            peer.send(TCP(**ports, flags="S", seq=1))
            answer = peer.receive()[TCP]
            assert answer.flags == "SA"
            assert (0xB6, struct.pack("=I", own or fallback)) in answer.options
            # The first echo comes with the handshake's end, each other one with a byte.
            for number, echo in enumerate(echoes):
                header = TCP(
                    **ports,
                    flags="A",
                    seq=2 + max(number - 1, 0),
                    ack=answer.seq + 1,
                    options=[(0xB7, struct.pack("=I", echo))],
                )
                peer.send(header / Raw(b"?") if number else header)
            listener.settimeout(2)
            with listener.accept()[0] as server:
                bytes_sent = len(echoes) - 1
                assert server.recv(bytes_sent, socket.MSG_WAITALL) == b"?" * bytes_sent
        assert option.counters("server_id_counters") == counted


def test_a_client_without_the_option_is_counted_once() -> None:
    with closing(load_small("server_id_option", OPTION_MAPS)) as option:
        option.maps["server_id_own"].update(layout.u32(0), layout.u32(1025))
        ready, port = os.pipe(), 0
        child = os.fork()
        if child == 0:
            status = 1
            with contextlib.suppress(Exception):
                port = json.loads(os.read(ready[0], 100))
                with socket.create_connection(("127.0.0.1", port)) as client:
                    client.send(b"?")
                    status = client.recv(1) != b"!"
            os._exit(status)
        with in_cgroup(option.prog_fd), socket.create_server(("127.0.0.1", 0)) as listener:
            os.write(ready[1], json.dumps(listener.getsockname()[1]).encode())
            with listener.accept()[0] as server:
                assert server.recv(1) == b"?"
                server.send(b"!")
                assert os.waitpid(child, 0)[1] == 0
        assert option.counters("server_id_counters") == (1, 0, 1, 0)
        for end in ready:
            os.close(end)
