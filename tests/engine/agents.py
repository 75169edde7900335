# SPDX-License-Identifier: GPL-3.0-or-later
"""A balancer with its agent, a router and reals in network namespaces of their own, for the tests of the agent."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.katran.fleet.plugins.module_utils._engine.agent import AgentOutcome, ensure_agent
from ansible_collections.katran.fleet.plugins.module_utils._engine.healthcheck import Healthcheck
from ansible_collections.katran.fleet.plugins.module_utils._engine.request import Request, Result
from ansible_collections.katran.fleet.plugins.module_utils._engine.resource import apply_resource
from ansible_collections.katran.fleet.plugins.module_utils._kernel.announce_routes import by_place, read_routes
from ansible_collections.katran.fleet.plugins.module_utils._kernel.maps import KernelMaps
from ansible_collections.katran.fleet.plugins.module_utils._kernel.state_files import STATE_ROOT, StateFile
from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.agent_settings import AGENT, parse_agent
from ansible_collections.katran.fleet.plugins.module_utils._model.announcement import TABLE
from ansible_collections.katran.fleet.plugins.module_utils._model.entries import Asked
from ansible_collections.katran.fleet.plugins.module_utils._model.healthcheck_settings import parse_healthcheck
from ansible_collections.katran.fleet.tests.engine.sandbox import BPF, BPFFS, SOURCES, ensure_balancer, run

LINK, ROUTER = "lb0", "router"
OWN, GATEWAY = "198.18.7.1", "198.18.7.254"
VIP, OTHER_VIP = "198.51.100.1", "198.51.100.2"
MAPS = f"{BPFFS}/katran/default/maps"
STATE = Path(STATE_ROOT, "default")
RUN = Path("/run/katran-fleet/default")
LIBRARY = Path("/run/agent-library")
QUICK = {"type": "tcp", "interval": 0.3, "fast_interval": 0.1, "timeout": 0.2, "fall": 2, "rise": 2}
# This kernel has no ipip device: a process takes the inner packet out, and gives it to the kernel by a tun device.
DECAP = """
import fcntl, os, socket, struct, subprocess
tun = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(tun, 0x400454CA, struct.pack("16sH22x", b"tun0", 0x0001 | 0x1000))
subprocess.run(["ip", "link", "set", "tun0", "up"], check=True)
subprocess.run(["sysctl", "-qw", "net.ipv4.conf.tun0.rp_filter=0"], check=True)
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_IPIP)
print("ready", flush=True)
while True:
    packet = raw.recv(65535)
    os.write(tun, packet[(packet[0] & 15) * 4:])
"""
SERVER = """
import socket, sys
one = socket.create_server((sys.argv[1], int(sys.argv[2])), backlog=64)
while True:
    one.accept()[0].close()
"""


def in_namespace(name: str, *command: str) -> str:
    return run("ip", "netns", "exec", name, *command)


@contextlib.contextmanager
def network(reals: int) -> Iterator[list[str]]:
    """A router behind the balancer's link, and reals behind that; their addresses."""
    with contextlib.ExitStack() as stack:
        addresses = _make_network(reals)
        for number in range(1, reals + 1):
            command = ["ip", "netns", "exec", f"r{number}", sys.executable, "-c", DECAP]
            process = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE))
            stack.callback(process.kill)
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
        yield addresses


def _make_network(reals: int) -> list[str]:
    run("ip", "link", "set", "lo", "up")
    run("ip", "netns", "add", ROUTER)
    run("ip", "link", "set", f"{LINK}-peer", "netns", ROUTER)
    run("ip", "addr", "add", f"{OWN}/24", "dev", LINK)
    run("ip", "route", "add", "default", "via", GATEWAY)
    in_namespace(ROUTER, "ip", "link", "add", "br0", "type", "bridge")
    for name, address in ((f"{LINK}-peer", f"{GATEWAY}/24"), ("br0", "10.0.0.254/24")):
        in_namespace(ROUTER, "ip", "addr", "add", address, "dev", name)
        in_namespace(ROUTER, "ip", "link", "set", name, "up")
    in_namespace(ROUTER, "ip", "link", "set", "lo", "up")
    in_namespace(ROUTER, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.conf.all.rp_filter=0")
    return [_make_real(number) for number in range(1, reals + 1)]


def _make_real(number: int) -> str:
    name, address = f"r{number}", f"10.0.0.{number}"
    run("ip", "netns", "add", name)
    run("ip", "link", "add", "eth0", "netns", name, "type", "veth", "peer", "name", name, "netns", ROUTER)
    in_namespace(ROUTER, "ip", "link", "set", name, "master", "br0", "up")
    in_namespace(name, "sysctl", "-qw", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.default.rp_filter=0")
    for device in ("lo", "eth0"):
        in_namespace(name, "ip", "link", "set", device, "up")
    in_namespace(name, "sysctl", "-qw", "net.ipv4.conf.eth0.rp_filter=0")
    in_namespace(name, "ip", "addr", "add", f"{address}/24", "dev", "eth0")
    for vip in (VIP, OTHER_VIP):
        in_namespace(name, "ip", "addr", "add", f"{vip}/32", "dev", "lo")
    in_namespace(name, "ip", "route", "add", "default", "via", "10.0.0.254")
    return address


def install() -> None:
    """Lay the agent's command where its modules are found, as role host does."""
    LIBRARY.mkdir()
    shutil.copy(SOURCES.parent / "roles/host/files/katran-agent", LIBRARY)
    (LIBRARY / "ansible_collections").symlink_to(SOURCES.parent / "collections/ansible_collections")


def vip(*reals: str, address: str = VIP, check: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
    return {
        "address": address,
        "port": 80,
        "protocol": "tcp",
        "reals": [{"address": each} for each in reals],
        **({"check": check} if check is not None else {}),
        **options,
    }


def balance(**options: Any) -> None:
    """Attach the balancer and the health-check program."""
    ensure_balancer(
        "attached", interfaces=[LINK], gateway_mac="auto", source_ipv4="auto", source_ipv6="2001:db8::250", **options
    )
    params = {
        **dict.fromkeys(("source_ipv4", "source_ipv6", "source_mac", "gateway_mac"), "auto"),
        "interface": LINK,
        "encapsulation": "ipip",
        "gue_port": 6080,
        "max_frame": 1514,
        "counted_vips": [],
        "source_dir": BPF,
    }
    Healthcheck("default", BPFFS).ensure(parse_healthcheck(params), False, 5)
    settle()


def settle(**options: Any) -> AgentOutcome:
    """Tell the agent its settings."""
    params = {name: option.get("default") for name, option in AGENT.items()}
    request = Request("default", BPFFS, 5, False)
    return ensure_agent(request, parse_agent({**params, "interface": LINK, **options}))


def apply(*vips: dict[str, Any]) -> Result:
    return apply_resource("vips", Request("default", BPFFS, 10, False), Asked(list(vips), "overridden"))


def slots(address: str = VIP) -> dict[str, int]:
    """Real → how many slots it has in a VIP's ring, as the kernel has it."""
    state = StateFile("default", BPFFS).read()
    reals = {number: real for real, number in state.real_ids.assigned.items()}
    with KernelMaps(MAPS) as maps:
        ring = maps.ring(state.vip_numbers.assigned[f"{address}:80/tcp"])
    counted = Counter(layout.parse_u32(ring[at : at + 4]) for at in range(0, len(ring), 4))
    return {reals[number]: count for number, count in counted.items() if number in reals}


def everything() -> dict[str, Any]:
    """What decides where a packet goes, as the kernel has it."""
    state = StateFile("default", BPFFS).read()
    with KernelMaps(MAPS) as maps:
        rings = {name: bytes(maps.ring(number)) for name, number in state.vip_numbers.assigned.items()}
        return {**rings, **{name: dict(maps.entries(name)) for name in ("vip_map", "reals", "ctl_array")}}


def routes() -> dict[str, int]:
    """Place → metric of the routes that announce VIPs."""
    return by_place(read_routes(TABLE))


def gateway() -> str:
    """The MAC that the program sends to."""
    with KernelMaps(MAPS) as maps:
        return layout.parse_mac(maps.entries("ctl_array")[layout.u32(layout.CTL_GATEWAY_MAC)])


def until(what: Callable[[], object], seconds: float = 15.0) -> float:
    """Wait until something is so; how long that took."""
    began = time.monotonic()
    while not what():
        assert time.monotonic() - began < seconds, "it did not come to that"
        time.sleep(0.01)
    return time.monotonic() - began


def checks() -> dict[str, Any]:
    """checks.json: real → what is known of it."""
    try:
        found = json.loads((RUN / "checks.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return {each["real"]: each for each in found["targets"]}


class Service:
    """A TCP service of a real on the VIPs' port."""

    def __init__(self, real: str, port: int = 80) -> None:
        self._command = [
            *("ip", "netns", "exec", f"r{real.rpartition('.')[2]}"),
            *(sys.executable, "-c", SERVER, "0.0.0.0", str(port)),
        ]
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(self._command)
        time.sleep(0.15)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@dataclass
class Agent:
    """The agent as the service runs it, and what it said."""

    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line.rstrip())
            # pytest shows it of a test that fails.
            sys.stdout.write(f"agent: {line}")

    def said(self, text: str, seconds: float = 15.0) -> str:
        """The first line that has a text, which may come yet."""
        until(lambda: any(text in line for line in self.lines), seconds)
        return next(line for line in self.lines if text in line)

    def workers(self) -> list[int]:
        """Process ids of its children."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return list(map(int, path.read_text(encoding="ascii").split()))

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; its status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        status = self.process.wait(20)
        self._reader.join()
        if self.process.stderr is not None:
            self.process.stderr.close()
        return status


@contextlib.contextmanager
def agent(environment: dict[str, str] | None = None, prefix: Sequence[str] = ()) -> Iterator[Agent]:
    """The agent for the length of a with block."""
    process = subprocess.Popen(
        [*prefix, "/usr/bin/python3", "-I", str(LIBRARY / "katran-agent")],
        env={**os.environ, "LC_ALL": "C.UTF-8", **(environment or {})},
        stderr=subprocess.PIPE,
        text=True,
    )
    one = Agent(process)
    try:
        yield one
    finally:
        if process.poll() is None:
            process.kill()
        one.end()
