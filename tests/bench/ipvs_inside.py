# SPDX-License-Identifier: GPL-3.0-or-later
"""The first process of bench ipvs.py's machine: the same frames through our program and through IPVS in tunnel mode.

job.json says what; the programs come as bytecode. Every line that it says is one of JSON, for machine.run.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import struct
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent / "collections"))

from ansible_collections.katran.fleet.plugins.module_utils._kernel import bpf
from ansible_collections.katran.fleet.plugins.module_utils._kernel.xdp import Interfaces
from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.bytecode import Bytecode
from ansible_collections.katran.fleet.plugins.module_utils._model.map_specs import ARRAY, LRU_HASH, PERCPU_ARRAY
from ansible_collections.katran.fleet.plugins.module_utils._program import compiler
from ansible_collections.katran.fleet.tests.conformance import provision

HERE = Path(__file__).resolve().parent
LIVE_FRAMES, BATCH = 2, 64
_LIFETIME = 1800
"""Seconds after which the machine ends itself."""


def kept_program(name: str, _macros: object = None) -> Bytecode:
    """What the machine was given under this name."""
    kept = HERE / "programs" / f"{name}.json"
    return Bytecode.from_json(kept.read_text(), str(kept), name)


def run(command: str) -> str:
    done = subprocess.run(command.split(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{command}: {done.stderr.strip()}")
    return done.stdout


def returns(action: int) -> int:
    """A program of two instructions."""
    return bpf.load_program(struct.pack("=BBhiBBhi", 0xB7, 0, 0, action, 0x95, 0, 0, 0), name="returns")


def network(job: dict[str, Any]) -> None:
    """A veth whose other end sends; a dummy behind which IPVS' real is; the VIP."""
    run("ip link add lb0 type veth peer name wire")
    run("ip link add reals type dummy")
    for name, address in (("lb0", job["mac"]), ("wire", job["gateway"]), ("reals", job["gateway"])):
        run(f"ip link set {name} address {address}")
        run(f"ip link set {name} up")
    run("ip link set lo up")
    run(f"ip address add {job['vip']}/32 dev lo")
    run("ip address add 10.99.0.1/24 dev reals")
    run("ip address add 10.98.0.1/24 dev lb0")
    run(f"ip neighbour add 10.99.0.2 lladdr {job['gateway']} dev reals nud permanent")
    run("ip route add 10.0.0.0/24 via 10.99.0.2 dev reals")
    for name, value in (
        ("net/ipv4/ip_forward", 1),
        ("net/ipv4/conf/all/rp_filter", 0),
        ("net/ipv4/conf/lb0/rp_filter", 0),
        ("net/ipv4/vs/sloppy_tcp", 1),
        ("net/ipv4/vs/conntrack", 0),
    ):
        Path("/proc/sys", name).write_text(str(value))


def ipvs(job: dict[str, Any]) -> None:
    """The VIP with all its reals, in tunnel mode, for whatever flow comes."""
    command = f"env LD_LIBRARY_PATH={HERE}/tools {HERE}/tools/ipvsadm"
    service = f"-t {job['vip']}:{job['port']}"
    run(f"{command} -A {service} -s rr")
    for real in job["reals"]:
        run(f"{command} -a {service} -r {real}:{job['port']} -i")


class Generator:
    """Sends frames out of interface wire; counts those that come back to it."""

    def __init__(self, job: dict[str, Any]) -> None:
        self._job = job
        self._maps = {
            "walk": bpf.Map(bpf.create_map(ARRAY, 4, len(bytes.fromhex(job["walk"])), 1)),
            "pace": bpf.Map(bpf.create_map(ARRAY, 4, 16, 1)),
            "counted": bpf.Map(bpf.create_map(PERCPU_ARRAY, 4, 8, 2)),
            "expected": bpf.Map(bpf.create_map(ARRAY, 4, 4, 1)),
        }
        self._sends, counts = (self._load(name) for name in ("live", "arrived"))
        with Interfaces() as links:
            self._index = links.index("wire")
            links.replace("wire", counts, "native", None)
        self._maps["expected"].update(layout.u32(0), layout.u32(len(bytes.fromhex(job["frame"])) + 20))

    def _load(self, name: str) -> int:
        code = kept_program(name)
        return bpf.load_program(code.bind({each: self._maps[each].fd for each in code.maps}), name=name)

    def came_back(self) -> int:
        value = self._maps["counted"].lookup(layout.u32(0))
        assert value is not None
        return sum(struct.unpack(f"={len(value) // 8}Q", value))

    def send(self, frames: int) -> float:
        """ns of each."""
        data = bytes.fromhex(self._job["frame"])
        self._maps["walk"].update(layout.u32(0), bytes.fromhex(self._job["walk"]))
        context = struct.pack("=6I", 0, len(data), 0, self._index, 0, 0)
        begin = time.monotonic()
        bpf.test_run(self._sends, data, frames, context, LIVE_FRAMES, BATCH)
        return (time.monotonic() - begin) * 1e9 / frames


def went_to_reals(length: int) -> float:
    """Frames of this length that left for IPVS' reals; no whole number where some were of another."""
    return int(Path("/sys/class/net/reals/statistics/tx_bytes").read_text()) / length


def main(say: Callable[[dict[str, Any]], None]) -> None:
    job = json.loads((HERE / "job.json").read_text())
    compiler.compile_program = lambda _sources, name, macros: kept_program(name, macros)
    network(job)
    ipvs(job)
    generator = Generator(job)
    balancer = provision.provision(job["scenario"])
    for cpu in range(os.cpu_count() or 1):
        with bpf.Map(bpf.create_map(LRU_HASH, 40, 16, 4 * job["flows"])) as table:
            balancer.maps["lru_mapping"].update(layout.u32(cpu), layout.u32(table.fd))
    encapsulated = len(bytes.fromhex(job["frame"])) + 20
    ways: dict[str, tuple[int, Callable[[], float]]] = {
        "dropped": (returns(1), lambda: 0),
        "ours": (balancer.prog_fd, generator.came_back),
        "IPVS": (returns(2), lambda: went_to_reals(encapsulated)),
    }
    attached = None
    for number in range(job["rounds"] + 1):
        for name, (fd, counter) in ways.items():
            with Interfaces() as links:
                links.replace("lb0", fd, "native", attached)
            attached = fd
            before = counter()
            nanoseconds = generator.send(job["frames"])
            time.sleep(0.2)
            # The first round is there for flows to be learned.
            say({"way": name, "round": number, "ns": nanoseconds, "arrived": counter() - before})


def end(*_signal: object) -> None:
    """With -no-reboot the emulator ends where a machine would start anew."""
    ctypes.CDLL(None).reboot(0x01234567)


if __name__ == "__main__":
    signal.signal(signal.SIGALRM, end)
    signal.alarm(_LIFETIME)
    try:
        with open(sys.argv[1], "w", encoding="ascii") as words:

            def say(word: dict[str, Any]) -> None:
                words.write(json.dumps(word) + "\n")
                words.flush()

            try:
                main(say)
            except Exception:  # noqa: BLE001  # whatever it dies of is for whoever listens
                say({"error": traceback.format_exc()})
            say({"end": True})
    finally:
        end()
