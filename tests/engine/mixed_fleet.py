# SPDX-License-Identifier: GPL-3.0-or-later
"""Two balancers behind ECMP, one ours and one a stand-in for Katran: does each flow reach one real, whichever it meets?

Each packet of a flow goes to either of them by chance, which is ECMP at its worst. Both families, TCP and UDP, reals
with weights, IPv4 VIPs with IPv6 reals.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import random
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ansible_collections.katran.fleet.plugins.module_utils._kernel.xdp import Interfaces
from ansible_collections.katran.fleet.tests.engine.life import SIZES, apply, ensure, program_of
from ansible_collections.katran.fleet.tests.engine.sandbox import BPF, compiled_once, sandbox
from ansible_collections.katran.fleet.tests.engine.standin import provision

OURS, THEIRS = "lb0", "lb1"
MAC = bytes.fromhex("020000000001020000000002")
_TCP, _UDP = 6, 17


def _reals(prefix: str, *weights: int) -> list[dict[str, Any]]:
    return [{"address": f"{prefix}{number}", "weight": weight} for number, weight in enumerate(weights, 1)]


VIPS: list[dict[str, Any]] = [
    {"address": "198.51.100.1", "port": 80, "protocol": "udp", "reals": _reals("10.0.0.", 1, 2, 3, 4, 5)},
    {"address": "198.51.100.1", "port": 443, "protocol": "tcp", "reals": _reals("10.0.1.", *[1] * 20)},
    {"address": "198.51.100.2", "port": 443, "protocol": "tcp", "reals": _reals("fc00::1:", 10, 7, 3)},
    {"address": "2001:db8::1", "port": 443, "protocol": "tcp", "reals": _reals("fc00::2:", 3, 1, 1, 1)},
    {"address": "2001:db8::1", "port": 53, "protocol": "udp", "reals": _reals("fc00::3:", 100, 73, 41)},
]


def _frame(vip: dict[str, Any], client: int, port: int) -> bytes:
    """A packet of a flow: of TCP an ACK, which no balancer's table has to know."""
    if vip["protocol"] == "udp":
        head = struct.pack("!HHHH", port, vip["port"], 24, 0) + bytes(16)
    else:
        head = struct.pack("!HHIIBBHHH", port, vip["port"], 1, 1, 0x50, 0x10, 8192, 0, 0)
    protocol = _UDP if vip["protocol"] == "udp" else _TCP
    if ":" in vip["address"]:
        source = socket.inet_pton(socket.AF_INET6, "2001:db8:7::")[:12] + struct.pack("!I", client)
        target = socket.inet_pton(socket.AF_INET6, vip["address"])
        return MAC + b"\x86\xdd" + struct.pack("!IHBB", 0x60000000, len(head), protocol, 64) + source + target + head
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(head), 0, 0, 64, protocol, 0)
    ip += struct.pack("!I", 0xCB007100 | client & 0xFF) + socket.inet_aton(vip["address"])
    total = sum(struct.unpack("!10H", ip))
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    return MAC + b"\x08\x00" + ip[:10] + struct.pack("!H", ~total & 0xFFFF) + ip[12:] + head


def _arrived(packet: bytes) -> tuple[bytes, bytes] | None:
    """(flow, real) of a packet in a tunnel; None where it is none."""
    kind = packet[12:14]
    if kind == b"\x08\x00" and packet[23] in (4, 41):
        real, inner = packet[30:34], packet[34:]
    elif kind == b"\x86\xdd" and packet[20] in (4, 41):
        real, inner = packet[38:54], packet[54:]
    else:
        return None
    if inner[0] >> 4 == 4:
        return inner[9:10] + inner[12:24], real
    return inner[6:7] + inner[8:44], real


@dataclass(frozen=True)
class Figures:
    """What was sent and what became of it. `both`: flows of which both balancers had packets."""

    seconds: float
    flows: int
    packets: int
    arrived: int
    both: int
    misrouted: int

    def __str__(self) -> str:
        return (
            f"{self.seconds:.0f} s: {self.flows:,} flows, {self.packets:,} packets sent and {self.arrived:,} seen to"
            f" leave; {self.both:,} flows met both balancers; misrouted: {self.misrouted}"
        )


def run_mixed(seconds: float, rate: int = 3000) -> Figures:
    """Send for so long, at about so many packets a second."""
    with sandbox(OURS, THEIRS), compiled_once(), _balancers():
        return _measure(seconds, rate)


@contextlib.contextmanager
def _balancers() -> Iterator[None]:
    peer = program_of(2)
    with Interfaces() as links:
        for link in (OURS, THEIRS):
            links.replace(f"{link}-peer", peer, "native", None)
    os.close(peer)
    ensure(interfaces=[OURS], sizes={"flows": 200_000})
    apply(VIPS)
    sizes = {name: SIZES[name] for name in ("vips", "reals", "ring")}
    # Compiled as that of the tests of a swap is, and so once for both.
    options = {"udp_timeout": 31, "sizes": {**sizes, "flows": 200_000}}
    made = provision({"sources": BPF, "balancer": options, "vips": VIPS})
    made.attach(THEIRS)
    try:
        yield
    finally:
        made.close()


def _measure(seconds: float, rate: int) -> Figures:
    sent, result = mmap.mmap(-1, 16), mmap.mmap(-1, 24)
    ready, tell = os.pipe()
    receiver = _fork(lambda: _receive(tell, result))
    assert os.read(ready, 1) == b"."
    sender = _fork(lambda: _send(seconds, rate, sent))
    os.waitpid(sender, 0)
    # What is still on its way.
    time.sleep(0.5)
    os.kill(receiver, signal.SIGTERM)
    os.waitpid(receiver, 0)
    packets, flows = struct.unpack("=QQ", sent[:])
    arrived, both, misrouted = struct.unpack("=QQQ", result[:])
    os.close(ready)
    os.close(tell)
    return Figures(seconds, flows, packets, arrived, both, misrouted)


def _fork(work: Callable[[], None]) -> int:
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        work()
        status = 0
    finally:
        os._exit(status)


def _send(seconds: float, rate: int, sent: mmap.mmap) -> None:
    chance = random.Random(12)
    with contextlib.ExitStack() as held:
        outs = []
        for link in (OURS, THEIRS):
            out = held.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
            out.bind((f"{link}-peer", 0))
            outs.append(out)
        started, packets, flows = time.monotonic(), 0, 0
        living: list[bytes] = []
        while (now := time.monotonic() - started) < seconds:
            while packets < now * rate:
                # A flow lives for some packets; a hundred live at a time.
                if len(living) < 100:
                    living.append(_frame(VIPS[flows % len(VIPS)], flows, 1024 + flows * 13 % 64000))
                    flows += 1
                each = chance.randrange(len(living))
                outs[chance.getrandbits(1)].send(living[each])
                packets += 1
                if chance.random() < 0.1:
                    living.pop(each)
            sent[:] = struct.pack("=QQ", packets, flows)
            time.sleep(0.002)


def _receive(tell: int, result: mmap.mmap) -> None:
    real_of: dict[bytes, bytes] = {}
    by: dict[bytes, int] = {}
    wrong: set[bytes] = set()
    arrived = 0
    ending: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: ending.append(number))
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as into:
        into.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE
        into.settimeout(0.2)
        os.write(tell, b".")
        sides = {f"{link}-peer": bit for link, bit in ((OURS, 1), (THEIRS, 2))}
        while not ending:
            try:
                packet, where = into.recvfrom(2048)
            except TimeoutError:
                continue
            found = _arrived(packet) if where[0] in sides and where[2] != socket.PACKET_OUTGOING else None
            if found is None:
                continue
            flow, real = found
            arrived += 1
            by[flow] = by.get(flow, 0) | sides[where[0]]
            if real_of.setdefault(flow, real) != real:
                wrong.add(flow)
    result[:] = struct.pack("=QQQ", arrived, sum(bits == 3 for bits in by.values()), len(wrong))
