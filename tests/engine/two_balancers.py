# SPDX-License-Identifier: GPL-3.0-or-later
"""Two balancers on one host of the sandbox, with real maps, and flows in their tables as packets would leave them."""

from __future__ import annotations

import asyncio
import os
import random
import struct
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ansible_collections.katran.fleet.plugins.module_utils._agent.sync import Sync
from ansible_collections.katran.fleet.plugins.module_utils._engine.balancer import Balancer
from ansible_collections.katran.fleet.plugins.module_utils._engine.request import Request
from ansible_collections.katran.fleet.plugins.module_utils._engine.resource import apply_resource
from ansible_collections.katran.fleet.plugins.module_utils._kernel import bpf
from ansible_collections.katran.fleet.plugins.module_utils._kernel.maps import KernelMaps
from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.entries import Asked
from ansible_collections.katran.fleet.plugins.module_utils._model.exceptions import flow_slots, key_words
from ansible_collections.katran.fleet.plugins.module_utils._model.sync_settings import SyncSettings
from ansible_collections.katran.fleet.tests.engine.life import wanted
from ansible_collections.katran.fleet.tests.engine.sandbox import BPFFS, compiled_once, run, sandbox

EAST, WEST = "east", "west"
ADDRESSES = {EAST: "198.18.7.1", WEST: "198.18.7.2"}
STRANGER = "198.18.7.3"
PORT = 9464
KEY = bytes(range(7, 39))
VIP, VIP6, VIP_PORT = "198.51.100.1", "2001:db8::1", 80
FEATURES = ["global_lru", "cidr_vips"]
FLAGS = ["global_lru"]
Entry = dict[str, Any]


def reals(*numbers: int) -> list[Entry]:
    return [{"address": f"10.0.0.{number}"} for number in numbers]


def reals6(*numbers: int) -> list[Entry]:
    return [{"address": f"fc00::{number}"} for number in numbers]


def vips(*numbers: int, flags: Sequence[str] = tuple(FLAGS)) -> list[Entry]:
    """A VIP of each family over these reals."""
    return [
        {"address": VIP, "port": VIP_PORT, "protocol": "tcp", "flags": list(flags), "reals": reals(*numbers)},
        {"address": VIP6, "port": VIP_PORT, "protocol": "udp", "flags": list(flags), "reals": reals6(*numbers)},
    ]


def apply(instance: str, config: list[Entry]) -> None:
    apply_resource("vips", Request(instance, BPFFS, 10, False), Asked(config, "overridden", allow_empty=True))


@contextmanager
def two_balancers(flows: int = 4000, global_flows: int = 4000, ring: int = 4093) -> Iterator[None]:
    """Both loaded, their addresses on lo. `flows` and so on: of each."""
    with sandbox(), compiled_once():
        run("ip", "link", "set", "lo", "up")
        for address in (*ADDRESSES.values(), STRANGER):
            run("ip", "addr", "add", f"{address}/32", "dev", "lo")
        for instance in (EAST, WEST):
            load(instance, flows=flows, global_flows=global_flows, ring=ring)
        yield


def load(instance: str, **sizes: int) -> None:
    """Load a balancer, or change the sizes of one."""
    sizes = {"flows": 4000, "global_flows": 4000, "ring": 4093, **sizes}
    made = wanted("loaded", interfaces=[], features=FEATURES, sizes=sizes)
    Balancer(instance, BPFFS).ensure(made, False, 5)


@contextmanager
def opened(instance: str) -> Iterator[KernelMaps]:
    with KernelMaps(f"{BPFFS}/katran/{instance}/maps") as maps:
        yield maps


@contextmanager
def tables(instance: str, name: str) -> Iterator[list[bpf.Map]]:
    """The tables of all CPUs."""
    with opened(instance) as maps:
        found = [bpf.map_by_id(layout.parse_u32(value)) for _cpu, value in maps.map(name).items()]
        try:
            yield found
        finally:
            for each in found:
                each.close()


def held(instance: str) -> dict[bytes, str]:
    """Flow → address of its real, or "gone", of the global tables: which all have the same."""
    with opened(instance) as maps:
        names = {
            layout.parse_u32(key): layout.unpack_address(value[:16], bool(value[16] & 1))
            for key, value in maps.entries("reals").items()
        }
    with tables(instance, "global_lru_maps") as each:
        found = [{key: names.get(layout.parse_u32(value), "gone") for key, value in table.items()} for table in each]
    assert all(one == found[0] for one in found), "tables of CPUs differ"
    return found[0]


def make_keys(count: int, seed: int = 1, ipv6: bool = False) -> list[bytes]:
    """As many flows of the VIP, of clients that differ."""
    noise = random.Random(seed)
    vip = layout.pack_address(VIP6 if ipv6 else VIP)
    tail = struct.pack(">HB3x", VIP_PORT, 17 if ipv6 else 6)
    found = set()
    while len(found) < count:
        source = noise.randbytes(16) if ipv6 else noise.randbytes(4) + bytes(12)
        found.add(source + vip + noise.randbytes(2) + tail)
    return list(found)


def by_ring(instance: str, keys: Sequence[bytes]) -> np.ndarray[Any, Any]:
    """The real ids that the ring has for flows of one VIP, the first key's."""
    with opened(instance) as maps:
        destination, protocol = keys[0][16:32], keys[0][36]
        flags, number = layout.parse_vip_meta(
            maps.entries("vip_map")[layout.vip_definition(destination, VIP_PORT, protocol)]
        )
        words = key_words(b"".join(keys), len(keys))
        max_vips, size = maps.capacity("server_id_stats"), maps.ring_size()
        ipv6 = np.full(len(keys), any(destination[4:]))
        slots = flow_slots(words, np.full(len(keys), flags, np.uint32), ipv6, max_vips, size)
        ring = np.array(maps.ring(number).cast("Q"), np.uint64)
        return ring[slots.astype(np.int64)]


def learn(instance: str, keys: Sequence[bytes], age: float = 0.0) -> None:
    """Put flows into the tables as if each one's first packet had just come, every CPU its share."""
    chosen = by_ring(instance, keys).tolist()
    now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) - int(age * 1e9)
    with tables(instance, "lru_mapping") as each:
        for index, table in enumerate(each):
            share = slice(index, None, len(each))
            table.update_many(
                [
                    (key, layout.real_pos_lru(real, now if key[36] == 17 else 0))
                    for key, real in zip(keys[share], chosen[share], strict=True)
                ]
            )


def names_of(instance: str) -> dict[int, str]:
    with opened(instance) as maps:
        return {
            layout.parse_u32(key): layout.unpack_address(value[:16], bool(value[16] & 1))
            for key, value in maps.entries("reals").items()
        }


def exceptions(instance: str, keys: Sequence[bytes], before: Sequence[int]) -> dict[bytes, str]:
    """Of these flows, those whose real of before is there and not the ring's: flow → real."""
    names = names_of(instance)
    return {
        key: names[old]
        for key, old, new in zip(keys, before, by_ring(instance, keys).tolist(), strict=True)
        if old != new and old in names
    }


def settings(instance: str, key: bytes = KEY) -> SyncSettings:
    peers = tuple(address for name, address in ADDRESSES.items() if name != instance)
    return SyncSettings(ADDRESSES[instance], PORT, peers, key)


def sync(instance: str, told: list[str] | None = None, key: bytes = KEY) -> Sync:
    return Sync(instance, BPFFS, settings(instance, key), (told if told is not None else []).append)


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> float:
    """Wait for it; how long that took."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, "waited in vain"
        await asyncio.sleep(0.01)
    return time.monotonic() - started


def together(work: Callable[[Sync, Sync], Awaitable[None]], **keys: bytes) -> None:
    """Run this with both balancers' agents, each in sync with the other."""

    async def both() -> None:
        east, west = sync(EAST, key=keys.get(EAST, KEY)), sync(WEST, key=keys.get(WEST, KEY))
        await east.start()
        await west.start()
        try:
            await work(east, west)
        finally:
            await east.stop()
            await west.stop()

    asyncio.run(both())


async def in_touch(*each: Sync) -> None:
    await until(lambda: all(one.in_sync() and all(one._done().values()) for one in each))


@dataclass(frozen=True)
class Figures:
    """Of one change of a ring: a real of twenty replaced.

    `delivered`: seconds until the peer has acknowledged all; `scan`: seconds; `mib`: most memory of the process;
    `latest`: seconds that the agent's loop was late at worst, of a clock that strikes every ten milliseconds.
    """

    flows: int
    exceptions: int
    delivered: float
    scan: float
    mib: float
    latest: float

    def __str__(self) -> str:
        return (
            f"{self.flows:>9,} flows, {self.exceptions:>6,} exceptions: at the peer after {self.delivered:.2f} s,"
            f" scanned in {self.scan:.2f} s, {self.mib:.0f} MiB, the agent at most {1000 * self.latest:.0f} ms late"
        )


def measure(count: int, global_flows: int) -> Figures:
    """Put flows into a balancer's tables, change the rings of both, and see how soon its peer has them."""
    found: list[Figures] = []
    with two_balancers(flows=count * 6 // 5, global_flows=global_flows, ring=65537):
        for instance in (EAST, WEST):
            apply(instance, vips(*range(1, 21)))
        keys = make_keys(count)
        learn(EAST, keys)
        before = by_ring(EAST, keys).tolist()

        async def work(east: Sync, west: Sync) -> None:
            await in_touch(east, west)
            await east.hand_over(30.0)
            for instance in (WEST, EAST):
                apply(instance, vips(*range(1, 20), 21))
            late: list[float] = []
            clock = asyncio.create_task(strike(late))
            started = time.monotonic()
            assert all((await east.hand_over(30.0)).values())
            delivered = time.monotonic() - started
            clock.cancel()
            await until(lambda: east.stats()["scan_entries"] == count)
            assert held(WEST) == exceptions(EAST, keys, before)
            assert east._process is not None
            status = Path(f"/proc/{east._process.pid}/status").read_text(encoding="ascii")
            most = int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])
            scan = east.stats()["scan_seconds"]
            found.append(Figures(count, len(held(WEST)), delivered, scan, most / 1024, max(late)))

        together(work)
    return found[0]


async def strike(late: list[float]) -> None:
    """A clock that notes by how much it is late."""
    while True:
        before = time.monotonic()
        await asyncio.sleep(0.01)
        late.append(time.monotonic() - before - 0.01)


def real_of(instance: str, key: bytes) -> str:
    """Where the balancer's program sends a packet of a flow of IPv4, TCP without SYN."""
    source, destination, sport, dport, protocol = layout.parse_flow_key(key)
    assert protocol == 6
    body = struct.pack("!HHIIBBHHH", sport, dport, 1, 1, 5 << 4, 0x10, 512, 0, 0)
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0, 64, protocol, 0) + source[:4] + destination[:4]
    total = sum(struct.unpack("!10H", head))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    head = head[:10] + struct.pack("!H", ~total & 0xFFFF) + head[12:]
    frame = bytes.fromhex("020000000001020000000002") + b"\x08\x00" + head + body
    fd = bpf.open_program(f"{BPFFS}/katran/{instance}/balancer")
    try:
        done = bpf.test_run(fd, frame)
    finally:
        os.close(fd)
    assert done.value == 3, done
    return layout.unpack_address(done.data[30:34], False)
