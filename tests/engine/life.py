# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of a program's life have in common: runs of the balancer, real packets, sources with a fault."""

from __future__ import annotations

import contextlib
import mmap
import os
import select
import shutil
import signal
import socket
import struct
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.katran.fleet.plugins.module_utils._engine.balancer import Balancer
from ansible_collections.katran.fleet.plugins.module_utils._engine.request import Request, Result
from ansible_collections.katran.fleet.plugins.module_utils._engine.resource import apply_resource
from ansible_collections.katran.fleet.plugins.module_utils._kernel import bpf
from ansible_collections.katran.fleet.plugins.module_utils._kernel.maps import KernelMaps
from ansible_collections.katran.fleet.plugins.module_utils._kernel.state_files import STATE_ROOT
from ansible_collections.katran.fleet.plugins.module_utils._kernel.xdp import Interfaces, attachments
from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.entries import Asked
from ansible_collections.katran.fleet.plugins.module_utils._model.map_specs import global_counters_at
from ansible_collections.katran.fleet.plugins.module_utils._model.settings import parse_settings
from ansible_collections.katran.fleet.plugins.module_utils._model.wanted import Wanted
from ansible_collections.katran.fleet.tests.engine.sandbox import BPF, BPFFS, GATEWAY

LINK = "lb0"
PEER = "lb0-peer"
PINS = f"{BPFFS}/katran/default"
MAPS = f"{PINS}/maps"
STATE = Path(STATE_ROOT, "default")
SIZES = {
    "vips": 32,
    "cidr_vips": 16,
    "reals": 64,
    "ring": 1009,
    "flows": 4000,
    "global_flows": 1000,
    "server_ids": 5000,
    "source_routes": 100,
    "source_filters": 50,
}
OPTIONS: dict[str, Any] = {
    "interfaces": [LINK],
    "mode": "native",
    "encapsulation": "ipip",
    "gue_port": 6080,
    "features": [],
    "source_ipv4": "192.0.2.250",
    "source_ipv6": "2001:db8:2::250",
    "source_prefix_ipv4": "172.16.0.0/16",
    "source_prefix_ipv6": "100::/64",
    "gateway_mac": GATEWAY,
    "copy_tos": True,
    "decap_any": False,
    "max_frame": 1514,
    "max_new_flows": 125000,
    "udp_timeout": 30,
    "forwarding_cores": "auto",
    "replace_foreign": False,
    "root_array": None,
}
CLIENT, VIP, REALS = "203.0.113.7", "198.51.100.1", ("10.0.0.1", "10.0.0.2", "10.0.0.3")


def wanted(
    state: str = "attached",
    source_dir: str = BPF,
    accept_rehash: bool = False,
    untouched: Collection[str] = (),
    **options: Any,
) -> Wanted:
    """What module balancer makes of these options; sizes are those above unless given."""
    sizes = {**SIZES, **options.pop("sizes", {})}
    settings = parse_settings({**OPTIONS, "state": state, "sizes": sizes, **options})
    return Wanted(settings, state, source_dir, accept_rehash, untouched=frozenset(untouched))


def ensure(check: bool = False, instance: str = "default", **options: Any) -> Result:
    """One run of module balancer in this process."""
    return Balancer(instance, BPFFS).ensure(wanted(**options), check, 5)


def roll_back(check: bool = False) -> Result:
    return Balancer("default", BPFFS).roll_back(check, 5)


def remove(check: bool = False) -> Result:
    return Balancer("default", BPFFS).remove(check, 5)


def vips(*reals: str, address: str = VIP, **options: Any) -> dict[str, Any]:
    return {
        "address": address,
        "port": 80,
        "protocol": "udp",
        "reals": [{"address": each} for each in reals or REALS],
        **options,
    }


def apply(config: list[dict[str, Any]], state: str = "overridden", check: bool = False) -> Result:
    """One run of module vips."""
    return apply_resource("vips", Request("default", BPFFS, 5, check), Asked(config, state, allow_empty=True))


def apply_table(name: str, config: list[dict[str, Any]]) -> Result:
    """One run of a table's module."""
    return apply_resource(name, Request("default", BPFFS, 5, False), Asked(config, "overridden", allow_empty=True))


# What is there


def attached(interface: str = LINK) -> tuple[int, str] | None:
    """(program id, mode) on an interface."""
    found = attachments([interface]).get(interface)
    return (found.program_id, found.mode) if found else None


def pinned(name: str = "balancer") -> int | None:
    """The id of a pinned program."""
    try:
        fd = bpf.open_pin(f"{PINS}/{name}")
    except FileNotFoundError:
        return None
    try:
        return bpf.program_info(fd).id
    finally:
        os.close(fd)


def pins() -> list[str]:
    """Everything in the bpffs, relative to it."""
    found = [os.path.join(folder, name) for folder, dirs, files in os.walk(BPFFS) for name in (*dirs, *files)]
    # The kernel's own iterators are in every bpffs.
    return sorted(os.path.relpath(path, BPFFS) for path in found if not path.endswith(".debug"))


def files() -> list[str]:
    """The balancer's state files."""
    return sorted(os.listdir(STATE)) if STATE.exists() else []


def map_ids() -> dict[str, int]:
    """Name → id of each pinned map."""
    found = {}
    for name in os.listdir(MAPS):
        with bpf.open_map(f"{MAPS}/{name}") as opened:
            found[name] = opened.info.id
    return found


def contents(name: str) -> dict[bytes, bytes]:
    """Every entry of a map; of an array, those that are not zero."""
    with KernelMaps(MAPS) as maps:
        return maps.entries(name)


def counters() -> dict[str, int]:
    """Frames seen, sent, dropped and passed since the balancer was made."""
    with bpf.open_map(f"{MAPS}/stats") as stats:
        base = global_counters_at(stats.info.entries)
        return {
            name: sum(struct.unpack(f"={stats.stride // 8}Q", stats.lookup(layout.u32(base + index)) or b"")[::2])
            for name, index in (("seen", 16), ("sent", 17), ("dropped", 18), ("passed", 19), ("fallback", 3))
        }


def flows() -> dict[bytes, tuple[int, int]]:
    """Every flow of the connection tables → (its real's id, the CPU whose table has it)."""
    found = {}
    with bpf.open_map(f"{MAPS}/lru_mapping") as outer:
        for key, value in outer.items():
            with bpf.map_by_id(layout.parse_u32(value)) as table:
                for flow, entry in table.items():
                    found[flow] = (layout.parse_u32(entry), layout.parse_u32(key))
    return found


def tables() -> dict[int, int]:
    """CPU → entries that its connection table has room for."""
    found = {}
    with bpf.open_map(f"{MAPS}/lru_mapping") as outer:
        for key, value in outer.items():
            with bpf.map_by_id(layout.parse_u32(value)) as table:
                found[layout.parse_u32(key)] = table.info.entries
    return found


def program_of(action: int) -> int:
    """The fd of a new XDP program that says one thing."""
    code = bytes.fromhex("b7000000") + layout.u32(action) + bytes.fromhex("9500000000000000")
    return bpf.load_program(code, name="foreign")


# Sources


def changed_sources(name: str, **replacements: tuple[str, str]) -> str:
    """A copy of the sources, its files (dots as underscores) changed; the directory."""
    target = f"/run/{name}"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(BPF, target)
    for file, (old, new) in replacements.items():
        path = next(path for path in Path(target).rglob("*.[ch]") if path.name.replace(".", "_") == file)
        text = path.read_text(encoding="utf-8")
        assert old in text, f"{path} has no {old!r}"
        path.write_text(text.replace(old, new), encoding="utf-8")
    return target


# Packets


def frame(number: int, sport: int = 40000, destination: str = VIP, source: str = CLIENT, dport: int = 80) -> bytes:
    """A UDP datagram over IPv4 that carries a number."""
    payload = struct.pack("!Q", number) + bytes(16)
    udp = struct.pack("!HHHH", sport, dport, 8 + len(payload), 0) + payload
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0)
    head += socket.inet_aton(source) + socket.inet_aton(destination)
    total = sum(struct.unpack("!10H", head))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    head = head[:10] + struct.pack("!H", ~total & 0xFFFF) + head[12:]
    return bytes.fromhex("020000000001020000000002") + b"\x08\x00" + head + udp


def number_in(packet: bytes) -> int | None:
    """The number in an encapsulated datagram; None where it is none."""
    if packet[12:14] != b"\x08\x00" or packet[23] != 4 or len(packet) < 34 + 28 + 8:
        return None
    return int(struct.unpack_from("!Q", packet, 34 + 28)[0])


@contextlib.contextmanager
def one_cpu() -> Iterator[None]:
    """Stay on CPU 0: what is sent there is received there, as a card's RSS keeps a flow on one CPU."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {0})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@dataclass(frozen=True)
class Traffic:
    """Numbers of datagrams that went into the balancer and did not come out, and how many went in."""

    sent: int
    lost: list[int]


class Stream:
    """Datagrams of a thousand flows into the balancer's interface, and what comes out of it, in two processes.

    They send at about `rate` a second, in bursts of a few milliseconds.
    """

    LIMIT = 1 << 20
    FLOWS = 1000

    def __init__(self, rate: int = 2000) -> None:
        self._seen = mmap.mmap(-1, self.LIMIT)
        self._sent = mmap.mmap(-1, 8)
        self._rate = rate
        ready, tell = os.pipe()
        self._children = []
        for work in (self._receive, self._send):
            self._children.append(self._fork(work, tell))
            assert os.read(ready, 1) == b".", "it has no socket"
        os.close(tell)
        os.close(ready)

    def _fork(self, work: Callable[[int], None], tell: int) -> int:
        child = os.fork()
        if child:
            return child
        status = 1
        try:
            signal.signal(signal.SIGTERM, lambda *_arguments: os._exit(0))
            work(tell)
            status = 0
        finally:
            os._exit(status)

    def _send(self, tell: int) -> None:
        # It ends between two datagrams. Were it ended wherever the signal finds it, that could be between sending one
        # and counting it, and the balancer would have counted one more than it says it sent.
        ending: list[int] = []
        signal.signal(signal.SIGTERM, lambda number, _frame: ending.append(number))
        with one_cpu(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as out:
            out.bind((PEER, 0))
            os.write(tell, b".")
            started = time.monotonic()
            number = 0
            while number < self.LIMIT and not ending:
                due = int((time.monotonic() - started) * self._rate)
                while number < due and not ending:
                    out.send(frame(number, 20000 + number % self.FLOWS))
                    number += 1
                    self._sent[:] = struct.pack("=Q", number)
                time.sleep(0.005)

    def _receive(self, tell: int) -> None:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as into:
            into.setsockopt(socket.SOL_SOCKET, 33, 16 << 20)  # SO_RCVBUFFORCE
            into.bind((PEER, 3))
            os.write(tell, b".")
            while True:
                packet, where = into.recvfrom(2048)
                number = number_in(packet) if where[2] != socket.PACKET_OUTGOING else None
                if number is not None and number < self.LIMIT:
                    self._seen[number] = 1

    @property
    def sent(self) -> int:
        """Datagrams sent so far."""
        return int(struct.unpack("=Q", self._sent[:])[0])

    def stop(self) -> Traffic:
        """End it; what was lost."""
        receiver, sender = self._children
        os.kill(sender, signal.SIGTERM)
        os.waitpid(sender, 0)
        # What is still on its way.
        time.sleep(0.3)
        os.kill(receiver, signal.SIGTERM)
        os.waitpid(receiver, 0)
        self._children = []
        return Traffic(self.sent, [number for number in range(self.sent) if not self._seen[number]])

    def kill(self) -> None:
        """End it where a test failed."""
        for child in self._children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        self._children = []


@contextlib.contextmanager
def stream(rate: int = 2000, least: float = 1.0) -> Iterator[Stream]:
    """Traffic for the length of a with block; it has run for `least` seconds when the block begins."""
    one = Stream(rate)
    try:
        time.sleep(least)
        yield one
    finally:
        one.kill()


def forwards(sport: int = 40000) -> bool:
    """Whether one datagram to the VIP comes out of the balancer's interface encapsulated."""
    number = time.monotonic_ns()
    with (
        one_cpu(),
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as out,
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as into,
    ):
        into.bind((PEER, 3))
        out.bind((PEER, 0))
        out.send(frame(number, sport))
        deadline = time.monotonic() + 0.5
        while select.select([into], [], [], max(deadline - time.monotonic(), 0))[0]:
            packet, where = into.recvfrom(2048)
            if where[2] != socket.PACKET_OUTGOING and number_in(packet) == number:
                return True
    return False


def send(numbers: Mapping[int, int]) -> None:
    """Send one datagram for each source port → its number, at once."""
    with one_cpu(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as out:
        out.bind((PEER, 0))
        for sport, number in numbers.items():
            out.send(frame(number, sport))


def lead_out() -> None:
    """Let frames leave the balancer's veth: the kernel moves them only if its peer has an XDP program too."""
    fd = program_of(2)
    try:
        with Interfaces() as links:
            links.replace(PEER, fd, "native", None)
    finally:
        os.close(fd)
