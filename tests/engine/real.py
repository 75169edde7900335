# SPDX-License-Identifier: GPL-3.0-or-later
"""A host that is a real, in a sandbox: what tests make of it, and what they see of it."""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ansible_collections.katran.fleet.plugins.module_utils._engine.decap import Real
from ansible_collections.katran.fleet.plugins.module_utils._engine.request import Result
from ansible_collections.katran.fleet.plugins.module_utils._kernel import bpf
from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.decap_settings import parse_real, parse_staying
from ansible_collections.katran.fleet.tests.engine.sandbox import BPF, BPFFS, compiled_once, run, sandbox
from ansible_collections.katran.fleet.tests.engine.tunnelled import (
    CLIENT,
    LINK,
    PORT,
    REAL,
    REAL6,
    A,
    B,
    C,
    Tunnel,
    arrives,
    ipv4,
    send,
)

__all__ = ["LINK", "PORT", "REAL", "REAL6", "A", "B", "C", "Tunnel", "arrives", "send"]


@contextmanager
def real_host() -> Iterator[None]:
    """A host with one interface that balancers' packets come in by."""
    with sandbox(LINK), compiled_once():
        run("ip", "link", "set", "lo", "up")
        run("ip", "addr", "add", f"{REAL}/24", "dev", LINK)
        yield


def carried(namespace: str, inside: str, *links: str) -> None:
    """Wait until interfaces, one of them in a namespace, carry packets: the kernel sees to that once a second."""
    deadline = time.monotonic() + 10
    while True:
        states = {each["ifname"]: each["operstate"] for each in json.loads(run("ip", "-j", "link", "show"))}
        states |= {"inside": json.loads(run("ip", "-n", namespace, "-j", "link", "show", inside))[0]["operstate"]}
        if all(states[name] == "UP" for name in ("inside", *links)):
            return
        assert time.monotonic() < deadline, states
        time.sleep(0.05)


def ensure(*vips: str, check: bool = False, **options: Any) -> Result:
    params = {
        "interfaces": [LINK],
        "mode": "native",
        "vips": list(vips),
        "keep_vips": False,
        "sources": [],
        "gue_port": 6080,
        "server_id": 0,
        "loopback": True,
        "source_dir": BPF,
        **options,
    }
    return Real("default", BPFFS).ensure(parse_real(params), check, 5)


def withdraw(*served: str, check: bool = False, sources: Sequence[str] = ()) -> Result:
    staying = parse_staying({"vips": list(served), "sources": list(sources)})
    return Real("default", BPFFS).withdraw(staying, check, 5)


def remove() -> Result:
    return Real("default", BPFFS).remove(False, 5)


def on_loopback() -> set[str]:
    """The addresses of lo but its own."""
    addresses = json.loads(run("ip", "-j", "addr", "show", "dev", "lo"))[0]["addr_info"]
    return {each["local"] for each in addresses} - {"127.0.0.1", "::1"}


def in_map() -> set[str]:
    with bpf.open_map(f"{BPFFS}/katran/default/maps/decap_vips") as opened:
        return {layout.unpack_address(key, any(key[4:])) for key, _value in opened.items()}


def served() -> set[str]:
    """The VIPs that both the program and the host take for their own."""
    assert in_map() == on_loopback()
    return in_map()


def served_somewhere() -> set[str]:
    return in_map() | on_loopback()


def answers(vip: str, gue_port: int = 0, source: str = "172.16.1.1", end: str = REAL) -> bool:
    """Whether a datagram in a tunnel between these, IPIP or GUE to a port, arrives at a service on the VIP."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as service,
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire,
    ):
        service.bind(("0.0.0.0", PORT))
        service.settimeout(0.3)
        wire.bind((f"{LINK}-peer", 0))
        inner = ipv4(CLIENT, vip, 17, struct.pack("!HHHH", 40000, PORT, 12, 0) + b"ping")
        mac = bytes.fromhex(Path(f"/sys/class/net/{LINK}/address").read_text().strip().replace(":", ""))
        outer = ipv4(source, end, 4, inner)
        if gue_port:
            outer = ipv4(source, end, 17, struct.pack("!HHHH", 40000, gue_port, 8 + len(inner), 0) + inner)
        wire.send(mac + bytes(6) + b"\x08\x00" + outer)
        try:
            return service.recv(64) == b"ping"
        except TimeoutError:
            return False
