# SPDX-License-Identifier: GPL-3.0-or-later
"""Metrics of a real program's counters, over real sockets: how many, how dear, and for whom."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._agent.metrics import Collector, Metrics
from ansible_collections.katran.fleet.plugins.module_utils._agent.view import InstanceView, View
from ansible_collections.katran.fleet.plugins.module_utils._kernel.maps import KernelMaps
from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.announcement import Ready
from ansible_collections.katran.fleet.plugins.module_utils._model.checks import Probe, Target
from ansible_collections.katran.fleet.plugins.module_utils._model.health import Answer, Change, Health
from ansible_collections.katran.fleet.plugins.module_utils._model.metrics_settings import MetricsSettings
from ansible_collections.katran.fleet.plugins.module_utils._model.vips import VipKey
from ansible_collections.katran.fleet.plugins.module_utils._model.watch import Place
from ansible_collections.katran.fleet.tests.engine.host import MAPS, Entry, apply, real, vip
from ansible_collections.katran.fleet.tests.engine.sandbox import BPFFS, compiled_once, ensure_balancer, sandbox

VIPS, REALS = 512, 100
MOST_SERIES, MOST_CPU_SECONDS = 2000, 0.05
PROMTOOL = Path(__file__).parents[2] / ".cache/promtool/usr/bin/promtool"


def entry(number: int) -> Entry:
    reals = [real(f"10.0.0.{each}") for each in range(1, REALS + 1)]
    return vip(f"198.51.{100 + number // 250}.{number % 250 + 1}", *reals)


@pytest.fixture(scope="module", autouse=True)
def balancer() -> Iterator[None]:
    """A balancer of the size that the figures are about; rings are small, as no metric reads them."""
    sizes = {"vips": VIPS, "reals": 4096, "ring": 1009, "flows": 20000, "server_ids": 100, "source_routes": 10}
    with sandbox("lb0"), compiled_once():
        ensure_balancer("attached", interfaces=["lb0"], features=[], sizes=sizes)
        apply("vips", [entry(number) for number in range(VIPS)])
        yield


def view() -> View:
    """What an agent of that balancer knows: everything is checked, one real is down, some certificates end."""
    now = time.time()
    keys = [VipKey.read(f"198.51.{100 + number // 250}.{number % 250 + 1}:80/tcp") for number in range(VIPS)]
    healths = {}
    for number in range(1, REALS + 1):
        target = Target(f"10.0.0.{number}", "198.51.100.1", 443, Probe("https"))
        state = "down" if number == 7 else "active"
        history = (Change(now - 900, "active", ""), Change(now - 30, state, "connection refused"))
        healths[target] = Health(
            state, now - 30, "", state, 4, Answer(state, "", 0.01, now + 86400 * number), now, history
        )
    each = InstanceView(
        "default",
        healths=healths,
        active=dict.fromkeys(keys, REALS - 1),
        degraded={keys[0]: "the floor holds 10.0.0.7"},
        ready={key.address: Ready(key.address, 1) for key in keys},
        places={Place("default", "balancer", "lb0"): ""},
        gateway="02:00:00:00:00:01",
        runs=3,
        sync={"unacknowledged": 0, "sent_total": 5},
    )
    return View(now, "0.1.0", {"default": each}, started=now - 60, probes={"active": 1000, "down": 4, "": 1})


def served(
    talk: Callable[[Metrics, int], object], settings: MetricsSettings | None = None, tmp: Path | None = None
) -> None:
    """Serve while `talk` runs in a thread of its own."""

    async def go() -> None:
        metrics = Metrics(Collector(view, lambda _name: BPFFS))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        assert tmp is not None
        await metrics.start(settings or MetricsSettings((("127.0.0.1", port),)), str(tmp / "run" / "metrics.sock"))
        try:
            await asyncio.to_thread(talk, metrics, port)
        finally:
            await metrics.stop()

    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    asyncio.run(go())


def ask(port: int, request: bytes = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n") -> tuple[bytes, bytes]:
    """(head, body) of an answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as link:
        link.sendall(request)
        found = b""
        while chunk := link.recv(65536):
            found += chunk
    head, _empty, body = found.partition(b"\r\n\r\n")
    return head, body


def series(body: bytes) -> list[str]:
    return [line for line in body.decode().splitlines() if line and not line.startswith("#")]


def test_a_large_balancer_has_less_than_two_thousand_series(tmp_path: Path) -> None:
    found: list[str] = []
    served(lambda _metrics, port: found.extend(series(ask(port)[1])), tmp=tmp_path)
    assert 1500 < len(found) <= MOST_SERIES
    assert 'katran_vip_active_reals{balancer="default",vip="198.51.100.1:80/tcp"} 99.0' in found
    assert 'katran_real_checks_down{balancer="default",real="10.0.0.7"} 1.0' in found
    assert 'katran_real_recent_changes{balancer="default",real="10.0.0.7"} 1.0' in found
    assert 'katran_places{balancer="default",state="ready"} 512.0' in found
    assert 'katran_check_probes_total{state="unknown"} 1.0' in found


def test_a_scrape_costs_little(tmp_path: Path) -> None:
    collector = Collector(view, lambda _name: BPFFS)
    metrics = Metrics(collector)

    async def scrape() -> float:
        await metrics._text("")
        spent = []
        for _round in range(5):
            metrics._last.clear()
            before = time.process_time()
            await metrics._text("")
            spent.append(time.process_time() - before)
        return min(spent)

    del tmp_path
    assert asyncio.run(scrape()) <= MOST_CPU_SECONDS


def test_what_it_says_is_valid(tmp_path: Path) -> None:
    found: list[bytes] = []
    served(lambda _metrics, port: found.append(ask(port)[1]), tmp=tmp_path)
    done = subprocess.run([PROMTOOL, "check", "metrics"], input=found[0], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


def test_openmetrics_is_spoken_to_who_asks_for_it(tmp_path: Path) -> None:
    asked = b"GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: application/openmetrics-text; version=1.0.0\r\n\r\n"
    found: list[tuple[bytes, bytes]] = []
    served(lambda _metrics, port: found.append(ask(port, asked)), tmp=tmp_path)
    assert b"application/openmetrics-text" in found[0][0]
    assert found[0][1].endswith(b"# EOF\n")


def test_counters_are_those_of_the_program_summed_over_cpus(tmp_path: Path) -> None:
    with KernelMaps(MAPS) as maps:
        stats = maps.map("stats")
        cpus = stats.stride // 16
        number = layout.parse_vip_meta(
            maps.entries("vip_map")[layout.vip_definition(layout.pack_address("198.51.100.3"), 80, 6)]
        )[1]
        stats.update(layout.u32(number), b"".join(struct.pack("=QQ", 5, 100 + cpu) for cpu in range(cpus)))
        for index, pair in ((1, (20, 7)), (4, (2, 6)), (9, (0, 3))):
            stats.update(layout.u32(VIPS + index), struct.pack("=QQ", *pair) + bytes(16 * (cpus - 1)))
    found: list[str] = []
    served(lambda _metrics, port: found.extend(series(ask(port)[1])), tmp=tmp_path)
    label = 'balancer="default",vip="198.51.100.3:80/tcp"'
    assert f"katran_vip_packets_total{{{label}}} {5.0 * cpus}" in found
    assert f"katran_vip_bytes_total{{{label}}} {float(sum(range(100, 100 + cpus)))}" in found
    assert 'katran_drops_total{balancer="default",reason="ring_slot_empty"} 3.0' in found
    assert 'katran_flow_table_misses_total{balancer="default",packet="tcp_syn"} 20.0' in found
    assert 'katran_flow_table_misses_total{balancer="default",packet="tcp_other"} 7.0' in found
    assert 'katran_icmp_too_big_total{balancer="default",family="ipv4"} 2.0' in found
    assert 'katran_icmp_too_big_total{balancer="default",family="ipv6"} 6.0' in found


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"404"),
        (b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", b"405"),
        (b"GET /metrics?name=x HTTP/1.1\r\nHost: x\r\n\r\n", b"200"),
        (b"HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n", b"200"),
    ],
)
def test_other_requests(tmp_path: Path, request_: bytes, status: bytes) -> None:
    found: list[tuple[bytes, bytes]] = []
    served(lambda _metrics, port: found.append(ask(port, request_)), tmp=tmp_path)
    assert found[0][0].split()[1] == status
    assert not (request_.startswith(b"HEAD") and found[0][1])


@pytest.mark.parametrize(
    "rubbish", [b"\x16\x03\x01\x02\x00\x01", b"GET\r\n\r\n", b"A" * 20000, b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 3000]
)
def test_rubbish_ends_the_connection_and_nothing_else(tmp_path: Path, rubbish: bytes) -> None:
    def talk(_metrics: Metrics, port: int) -> None:
        with contextlib.suppress(ConnectionError):
            ask(port, rubbish + b"\r\n\r\n")
        assert b"200 " in ask(port)[0]

    served(talk, tmp=tmp_path)


def test_who_is_not_allowed_gets_nothing(tmp_path: Path) -> None:
    subprocess.run(["ip", "addr", "add", "198.18.77.1/32", "dev", "lo"], check=False)

    def talk(metrics: Metrics, port: int) -> None:
        here = ("198.18.77.1", 0)
        with (
            # Closed before or after the request came.
            contextlib.suppress(ConnectionError),
            socket.create_connection(("198.18.77.1", port), timeout=10, source_address=here) as link,
        ):
            link.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            assert link.recv(100) == b""
        assert metrics.refused == 1

    def allowed(_metrics: Metrics, port: int) -> None:
        with socket.create_connection(("198.18.77.1", port), timeout=10, source_address=("198.18.77.1", 0)) as link:
            link.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            assert link.recv(100).startswith(b"HTTP/1.1 200")

    for allow, each in ((("127.0.0.0/8",), talk), (("198.18.77.0/24",), allowed)):
        with socket.socket() as free:
            free.bind(("0.0.0.0", 0))
            port = free.getsockname()[1]
        settings = MetricsSettings((("0.0.0.0", port),), allow)
        served(lambda metrics, _free, each=each, port=port: each(metrics, port), settings, tmp_path)


def test_many_who_say_nothing_keep_nobody_out_for_long(tmp_path: Path) -> None:
    def talk(_metrics: Metrics, port: int) -> None:
        silent = [socket.create_connection(("127.0.0.1", port)) for _each in range(10)]
        assert b"200 " in ask(port)[0]
        for each in silent:
            each.close()

    served(talk, tmp=tmp_path)


def test_scrapes_of_one_second_are_one(tmp_path: Path) -> None:
    bodies: list[bytes] = []

    def talk(_metrics: Metrics, port: int) -> None:
        bodies.extend(ask(port)[1] for _each in range(5))

    served(talk, tmp=tmp_path)
    assert len({re.sub(rb"start_time.*", b"", body) for body in bodies}) <= 2


def test_the_unix_socket_is_root_s(tmp_path: Path) -> None:
    def talk(_metrics: Metrics, _port: int) -> None:
        path = tmp_path / "run" / "metrics.sock"
        assert path.stat().st_mode & 0o777 == 0o600
        with socket.socket(socket.AF_UNIX) as link:
            link.connect(str(path))
            link.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            assert link.recv(100).startswith(b"HTTP/1.1 200")

    served(talk, tmp=tmp_path)
