# SPDX-License-Identifier: GPL-3.0-or-later
"""A balancer, three reals with servers of QUIC and a client with two addresses, all on real interfaces.

The balancer's program is on one end of a veth pair, whose other end is a port of a bridge beside it. The kernel behind
the bridge is the router: it sends what is for a VIP to the program, and takes what that sends on to the reals. They are
namespaces of their own with program decap, and answer the client directly.
"""

from __future__ import annotations

import ipaddress
import json
import os
import select
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ansible_collections.katran.fleet.plugins.module_utils._kernel import bpf
from ansible_collections.katran.fleet.plugins.module_utils._kernel.maps import KernelMaps
from ansible_collections.katran.fleet.plugins.module_utils._kernel.xdp import Interfaces
from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.hashing import flow_slot
from ansible_collections.katran.fleet.tests.engine import real
from ansible_collections.katran.fleet.tests.engine.host import MAPS, apply
from ansible_collections.katran.fleet.tests.engine.quic_layouts import PORTS, own_id, server_id
from ansible_collections.katran.fleet.tests.engine.sandbox import GATEWAY, compiled_once, ensure_balancer, run, sandbox

VIP = "198.51.100.1"
ROUTER = "10.0.0.254"
CLIENT, MOVED, CLIENT_ROUTER = "203.0.113.7", "203.0.113.8", "203.0.113.1"
REALS = (1, 2, 3)
NOBODY = 4
"""A real that the ring may have, and that is not there."""

CHANGES: tuple[dict[int, int], ...] = ({1: 1, 2: 1, 3: 1}, {2: 1, 3: 1, NOBODY: 1}, {3: 1}, {1: 9, NOBODY: 3})
"""Real → weight, of the VIPs as they are in turn; those that are missing are no reals of theirs."""

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "server-ids.md"
_PASS = struct.pack("<BBhi", 0xB7, 0, 0, 2) + struct.pack("<BBhi", 0x95, 0, 0, 0)
"""The program that returns XDP_PASS."""

PATIENCE = 600.0
"""Seconds in which a process must have said its line: a thousand connections take a while."""

TIMEOUT, LOST_AFTER = 20.0, 3.0
"""Seconds for an answer: where one must come, and where none need."""


def address(number: int) -> str:
    return f"10.0.0.{10 + number}"


def _quic_lb(name: str) -> list[dict[str, Any]]:
    numbers = {"config": 0, "server_id_length": 2, "nonce_length": 9}
    servers = [{"id": own_id(number).hex(), "real": address(number)} for number in REALS]
    own = {"config": 3, "server_id_length": 5, "nonce_length": 6, "servers": servers}
    return {"quic_lb": [numbers], "rotation": [numbers, {**own, "first_octet_encodes_cid_length": True}]}.get(name, [])


def set_reals(weights: dict[int, int]) -> None:
    """Give all VIPs these reals."""
    reals = [{"address": address(number), "weight": weight} for number, weight in weights.items()]
    common = {"address": VIP, "protocol": "udp", "flags": ["quic"], "reals": reals}
    apply("vips", [{**common, "port": port, "quic_lb": _quic_lb(name)} for name, port in PORTS.items()])


def ring_choice(port: int, client_port: int) -> str:
    """The number of the real that the ring has for a flow of the client that moved."""
    with KernelMaps(MAPS) as maps:
        key = layout.vip_definition(layout.pack_address(VIP), port, layout.PROTOCOLS["udp"])
        _flags, number = layout.parse_vip_meta(maps.entries("vip_map")[key])
        size, vips = maps.ring_size(), maps.capacity("server_id_stats")
        slot = flow_slot(ipaddress.ip_address(MOVED), client_port, port, max_vips=vips, ring_size=size)
        found = maps.entries("reals").get(layout.u32(maps.ring(number).cast("Q")[slot]), bytes(20))
    return str(int(layout.unpack_address(found[:16], False).rpartition(".")[2]) - 10)


def counted() -> dict[str, int]:
    """The balancer's counters of QUIC."""
    with KernelMaps(MAPS) as maps:
        value = maps.map("quic_stats_map").lookup(layout.u32(0)) or b""
        names = layout.QUIC_COUNTERS
        return dict(zip(names, layout.sum_cpus(value, len(names)), strict=True))


def _line(said: IO[str]) -> str:
    """The one line that a process has to say."""
    assert select.select([said], [], [], PATIENCE)[0], "it says nothing"
    line = said.readline()
    assert line, "it has ended"
    return line


@dataclass
class Client:
    """The process of the clients."""

    process: subprocess.Popen[str]

    def begin(self, *words: object) -> None:
        """Ask for something."""
        assert self.process.stdin
        print(*words, file=self.process.stdin, flush=True)

    def end(self) -> Any:
        """What came of it."""
        assert self.process.stdout
        return json.loads(_line(self.process.stdout))

    def connect(self, name: str, number: int) -> dict[str, int]:
        """Real → its connections."""
        self.begin("connect", PORTS[name], number)
        found: dict[str, int] = self.end()
        return found

    def move(self, name: str, seconds: float, changes: Sequence[dict[int, int]] = ()) -> list[list[Any]]:
        """Move all of a layout's connections, while the VIPs get these reals in turn: as the script says."""
        self.begin("move", PORTS[name], seconds)
        for weights in changes:
            set_reals(weights)
        found: list[list[Any]] = self.end()
        return found


@contextmanager
def quic_fleet(folder: Path) -> Iterator[Client]:
    """All of it. `folder`: for a certificate."""
    run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
        "-subj", "/CN=quic", "-keyout", f"{folder}/key.pem", "-out", f"{folder}/cert.pem")  # fmt: skip
    with real.real_host():
        # Compiled here, the reals' program is there in each of the processes to come.
        real.ensure(VIP)
    with sandbox("lb0"), compiled_once(), ExitStack() as stack:
        _network()
        servers = [stack.enter_context(_real(number, folder)) for number in REALS]
        ensure_balancer("attached", interfaces=["lb0"], features=["quic_lb"])
        set_reals(CHANGES[0])
        apply("server_ids", [{"id": server_id(number), "real": address(number)} for number in REALS])
        for server in servers:
            assert _line(server) == "ready\n"
        script = str(Path(__file__).with_name("quic_client.py"))
        command = ["ip", "netns", "exec", "client", sys.executable, script, VIP, CLIENT, MOVED]
        process = stack.enter_context(
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        )
        assert process.stdout
        assert _line(process.stdout) == "ready\n"
        yield Client(process)


def _network() -> None:
    """The router, and the client behind it."""
    run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.default.rp_filter=0")
    run("ip", "link", "set", "lo", "up")
    # A bridge without an address of its own takes that of one of its ports.
    run("ip", "link", "add", "br0", "address", GATEWAY, "type", "bridge")
    run("ip", "link", "set", "br0", "up")
    run("ip", "addr", "add", f"{ROUTER}/24", "dev", "br0")
    run("ip", "link", "set", "lb0-peer", "master", "br0")
    # What a program sends back by a veth wants the other end's NAPI, which runs for a program of its own.
    passing = bpf.load_program(_PASS)
    with Interfaces() as interfaces:
        interfaces.replace("lb0-peer", passing, "native", None)
    os.close(passing)
    mac = Path("/sys/class/net/lb0/address").read_text(encoding="ascii").strip()
    run("ip", "neigh", "add", VIP, "lladdr", mac, "dev", "br0")
    run("ip", "route", "add", VIP, "dev", "br0")
    run("ip", "netns", "add", "client")
    run("ip", "link", "add", "client", "type", "veth", "peer", "name", "eth0", "netns", "client")
    run("ip", "addr", "add", f"{CLIENT_ROUTER}/24", "dev", "client")
    run("ip", "link", "set", "client", "up")
    for each in (CLIENT, MOVED):
        run("ip", "-n", "client", "addr", "add", f"{each}/24", "dev", "eth0")
    run("ip", "-n", "client", "link", "set", "eth0", "up")
    run("ip", "-n", "client", "route", "add", "default", "via", CLIENT_ROUTER)
    # A program of XDP takes packets as they are on the wire, checksums and all.
    run("ip", "netns", "exec", "client", "ethtool", "-K", "eth0", "tx", "off")


@contextmanager
def _real(number: int, folder: Path) -> Iterator[Any]:
    """A real in namespaces of its own; what its server says."""
    outer = os.getpid()
    out, says = os.pipe()
    stops, stop = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.dup2(stops, 0)
            os.dup2(says, 1)
            os.close(stop)
            _be_real(number, folder, outer)
        finally:
            os._exit(1)
    os.close(says)
    os.close(stops)
    with os.fdopen(out) as said:
        try:
            yield said
        finally:
            os.close(stop)
            os.kill(pid, signal.SIGTERM)
            os.waitpid(pid, 0)


def _be_real(number: int, folder: Path, outer: int) -> None:
    """In a new process: become the real, and its server."""
    with real.real_host():
        link = f"r{number}"
        run("ip", "link", "set", f"{real.LINK}-peer", "netns", str(outer), "name", link)
        into = ["nsenter", f"--net=/proc/{outer}/ns/net"]
        run(*into, "ip", "link", "set", link, "master", "br0", "up")
        run("ip", "addr", "add", f"{address(number)}/24", "dev", real.LINK)
        run("ip", "route", "add", "default", "via", ROUTER)
        real.ensure(VIP)
        script = str(Path(__file__).with_name("quic_server.py"))
        os.execv(sys.executable, [sys.executable, script, str(DOCUMENT), str(folder), VIP, str(number)])
