# SPDX-License-Identifier: GPL-3.0-or-later
"""What checks cost the agent: CPU and memory of probes by type, beside the targets, and beside a bare connection.

Each type has a process of its own, in which the prober runs as in the agent, with the state machine of checks; the
services that it asks are another process, on the loopback of a network of their own. CPU is the prober's, and what the
kernel does in its name: on a loopback, that is the other side's work too. Needs root.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import platform
import select
import signal
import socket
import ssl
import struct
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.katran.fleet.plugins.module_utils._agent.pending import Aim
from ansible_collections.katran.fleet.plugins.module_utils._agent.prober import Prober
from ansible_collections.katran.fleet.plugins.module_utils._model.checks import Probe, Target
from ansible_collections.katran.fleet.plugins.module_utils._model.health import (
    Answer,
    Health,
    first_due,
    next_due,
    step,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.probe_path import Reach
from ansible_collections.katran.fleet.tests.engine.probing import write_certificates
from ansible_collections.katran.fleet.tests.engine.sandbox import run, sandbox

ADDRESS, PORT = "127.0.0.1", 8001
CORE_SHARE, MEGABYTES = 0.25, 60
HEAD = b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Fri, 27 Nov 2026 12:30:29 GMT\r\nContent-Type: text/plain\r\n"
ANSWER = HEAD + b'Content-Length: 12\r\nConnection: close\r\nETag: "65f0"\r\nAccept-Ranges: bytes\r\n\r\nall is well\n'


# Services, each as cheap as it can be


def _listening(defer: bool) -> socket.socket:
    listener = socket.create_server((ADDRESS, PORT), backlog=4096)
    if defer:
        # The kernel alone makes the connection; a service sees it once there is a request.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 60)
    return listener


def serve_tcp(_folder: Path) -> None:
    with _listening(True):
        signal.pause()


def serve_http(_folder: Path) -> None:
    with _listening(True) as listener:
        while True:
            connection, _peer = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(ANSWER)


def serve_tls(folder: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "good.pem")
    context.num_tickets = 0

    def serve(listener: socket.socket) -> None:
        while True:
            connection, _peer = listener.accept()
            # A probe of type tls is over with the handshake, and resets.
            with (
                connection,
                contextlib.suppress(OSError),
                context.wrap_socket(connection, server_side=True) as wrapped,
            ):
                if wrapped.recv(4096):
                    wrapped.sendall(ANSWER)

    with _listening(True) as listener:
        for _each in range(16):
            threading.Thread(target=serve, args=(listener,), daemon=True).start()
        signal.pause()


def serve_udp(_folder: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as service:
        service.bind((ADDRESS, PORT))
        while True:
            data, peer = service.recvfrom(4096)
            # Of DNS, an answer to the question, without records.
            service.sendto(data[:2] + bytes([data[2] | 0x80]) + data[3:], peer)


SERVICES: dict[str, Callable[[Path], None]] = {
    "tcp": serve_tcp,
    "http": serve_http,
    "tls": serve_tls,
    "https": serve_tls,
    "udp": serve_udp,
    "dns": serve_udp,
}
PROBES = {
    "tcp": Probe("tcp"),
    "http": Probe("http", path="/healthz", host="www.example.net"),
    "http, body": Probe("http", path="/healthz", host="www.example.net", body="all is well"),
    "tls": Probe("tls"),
    "https": Probe("https", path="/healthz", host="www.example.net"),
    "udp": Probe("udp", payload="0000000000"),
    "dns": Probe("dns", query="health.example.net"),
}


@contextmanager
def service(kind: str, folder: Path) -> Iterator[None]:
    """It runs in a process of its own."""
    pid = os.fork()
    if pid == 0:
        try:
            SERVICES[kind](folder)
        finally:
            os._exit(1)
    time.sleep(0.3)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


# Measuring


@dataclass
class Cost:
    """Of one type.

    `rate`: checks a second; `share`: of a core; `each`: CPU microseconds a check; `memory`: peak resident megabytes;
    `wrong`: answers other than active; `late`: seconds in which the prober's loop was not let run.
    """

    rate: float
    share: float
    each: float
    memory: float
    wrong: int
    late: float


def bare_connection(count: int = 5000) -> float:
    """CPU microseconds of what no probe of TCP can do without: the same calls, one connection after the other."""
    with _listening(True), select.epoll() as ready:
        linger = struct.pack("ii", 1, 0)
        best = float("inf")
        for _round in range(5):
            begin = time.process_time()
            for _each in range(count // 5):
                with socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as asking:
                    asking.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 7)
                    asking.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
                    asking.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    asking.connect_ex((ADDRESS, PORT))
                    ready.register(asking.fileno(), select.EPOLLOUT)
                    ready.poll(1)
            best = min(best, time.process_time() - begin)
    return best / (count // 5) * 1e6


def _peak() -> float:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


async def _probe(probe: Probe, rate: int, seconds: float) -> Cost:
    loop = asyncio.get_running_loop()
    healths: dict[Target, Health] = {}
    states = Counter[str]()

    def answered(aim: Aim, answer: Answer, started: float, now: float) -> float:
        states[answer.state] += 1
        target = aim.target
        healths[target] = health = step(healths.get(target) or Health(), target.probe, answer, time.time())
        return next_due(health, target.probe, started, now)

    way = Reach(mark=7, device="lo")
    prober = Prober(answered, lambda _aim: way, rate=rate * 1.5)
    targets = [Target(f"10.0.{each >> 8}.{each & 255}", ADDRESS, PORT, probe) for each in range(rate)]
    begin = loop.time()
    prober.set_targets({Aim("default", target): first_due(target, "bench", begin) for target in targets})
    # Until all have a verdict, they are asked faster.
    await asyncio.sleep(2.5)
    states.clear()
    cpu, wall = time.process_time(), loop.time()
    stalled = prober.stalled
    await asyncio.sleep(seconds)
    cpu, wall = time.process_time() - cpu, loop.time() - wall
    count = states.total()
    wrong = count - states["active"]
    late = prober.stalled - stalled
    prober.stop()
    return Cost(count / wall, cpu / wall, cpu / max(count, 1) * 1e6, _peak(), wrong, late)


def measured(name: str, rate: int, seconds: float, folder: Path) -> Cost:
    """The cost of one type, in a process that has probed nothing else."""
    probe = PROBES[name]
    with service(probe.type, folder):
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                cost = asyncio.run(_probe(probe, rate, seconds))
                os.write(writer, repr((cost.rate, cost.share, cost.each, cost.memory, cost.wrong, cost.late)).encode())
            finally:
                os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as answer:
            words = answer.read()
        os.waitpid(pid, 0)
    if not words:
        raise SystemExit(f"{name}: the prober failed")
    return Cost(*(float(word) for word in words.strip("()").split(",")))  # type: ignore[arg-type]  # as written above


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=int, default=2000, help="checks a second (default 2000)")
    parser.add_argument("--tls-rate", type=int, default=500, help="the same with TLS (default 500)")
    parser.add_argument("--seconds", type=float, default=5.0, help="seconds of each type (default 5)")
    parser.add_argument("--only", choices=PROBES, help="one type alone")
    parser.add_argument("--strict", action="store_true", help="exit status 1 where a target is missed")
    options = parser.parse_args()
    good = True
    with tempfile.TemporaryDirectory(dir="/var/tmp") as path, sandbox():
        folder = Path(path)
        write_certificates(folder)
        run("ip", "link", "set", "lo", "up")
        bare = bare_connection()
        load = os.getloadavg()[0]
        print(f"Linux {platform.release()}, {os.cpu_count()} CPUs, load {load:.1f}, Python {platform.python_version()}")
        print(
            f"a bare connection: {bare:.0f} µs; targets for {options.rate} checks a second: {CORE_SHARE} of a core, "
            f"{MEGABYTES} MB\n"
        )
        print(f"{'':12}{'checks/s':>9}{'core':>7}{'µs each':>9}{'× bare':>8}{'MB':>6}{'failed':>8}{'stalled':>9}  met")
        for name, probe in PROBES.items():
            if options.only not in (None, name):
                continue
            tls = probe.type in ("tls", "https")
            rate = options.tls_rate if tls else options.rate
            cost = measured(name, rate, options.seconds, folder)
            met = cost.share <= CORE_SHARE and cost.memory <= MEGABYTES and not cost.wrong and cost.rate > 0.95 * rate
            # A handshake is OpenSSL's, and the targets are not of it.
            word = "" if tls else "yes" if met else "NO"
            good &= met or tls
            print(
                f"{name:12}{cost.rate:9.0f}{cost.share:7.3f}{cost.each:9.0f}{cost.each / bare:8.1f}{cost.memory:6.0f}"
                f"{cost.wrong:8.0f}{cost.late:8.2f}s  {word}"
            )
    return 0 if good or not options.strict else 1


if __name__ == "__main__":
    sys.exit(main())
