# SPDX-License-Identifier: GPL-3.0-or-later
"""katran drain, undrain and top: what a person does with hands on a keyboard."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._engine.resource import apply_resource
from ansible_collections.katran.fleet.plugins.module_utils._kernel import bpf
from ansible_collections.katran.fleet.plugins.module_utils._kernel.agent_lock import hold
from ansible_collections.katran.fleet.plugins.module_utils._kernel.announce_routes import change_table
from ansible_collections.katran.fleet.plugins.module_utils._kernel.cpus import possible_cpus
from ansible_collections.katran.fleet.plugins.module_utils._kernel.run_files import RunFiles
from ansible_collections.katran.fleet.plugins.module_utils._kernel.state_files import STATE_ROOT
from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.announcement import TABLE, Ready, Route, RouteChange
from ansible_collections.katran.fleet.plugins.module_utils._model.announcing import Past
from ansible_collections.katran.fleet.plugins.module_utils._model.entries import Asked
from ansible_collections.katran.fleet.plugins.module_utils._model.hold_down import Hold
from ansible_collections.katran.fleet.plugins.module_utils._model.ready_file import ReadyFile
from ansible_collections.katran.fleet.tests.engine.katran import FOLDER, install, katran, told
from ansible_collections.katran.fleet.tests.engine.sandbox import (
    BPFFS,
    compiled_once,
    ensure_balancer,
    request,
    run,
    sandbox,
)

VIP = "198.51.100.1:443/tcp"
REAL = "10.0.0.1"
MAPS = f"{BPFFS}/katran/default/maps"
DRAIN = Path(STATE_ROOT, "default", "drain.json")


@pytest.fixture(scope="module", autouse=True)
def host() -> Iterator[None]:
    with sandbox("lb0"), compiled_once():
        run("ip", "link", "set", "lo", "up")
        install()
        ensure_balancer("attached", interfaces=["lb0"])
        config = [{"address": "198.51.100.1", "port": 443, "protocol": "tcp", "reals": [{"address": REAL}]}]
        apply_resource("vips", request(), Asked(config, "overridden"))
        yield


@pytest.fixture(autouse=True)
def undrained() -> Iterator[None]:
    yield
    katran("undrain")


class Agent:
    """What announces the VIP, and heeds a person's word as the agent does: by the route's metric."""

    def __init__(self) -> None:
        self.files = RunFiles("default")
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work)
        self._route: Route | None = None

    def __enter__(self) -> None:
        descriptor = hold(self.files.folder)
        assert descriptor is not None
        self._lock = descriptor
        self._announce(1)
        self._thread.start()

    def __exit__(self, *exc: object) -> None:
        self._ended.set()
        self._thread.join()
        self._announce(0)
        os.unlink(self.files.ready)
        os.close(self._lock)

    def _work(self) -> None:
        while not self._ended.wait(0.1):
            word = json.loads(DRAIN.read_text()) if DRAIN.exists() else None
            self._announce(1 if word is None else 0 if word["withdraw"] else 2)

    def _announce(self, metric: int) -> None:
        route = Route("198.51.100.1", metric) if metric else None
        if route != self._route:
            changes = [RouteChange(each, adds) for each, adds in ((route, True), (self._route, False)) if each]
            assert change_table(TABLE, changes) == {}
            self._route = route
        ready = Ready("198.51.100.1", metric, ("drained by a person",) if metric != 1 else (), time.time(), (VIP,))
        self.files.write(self.files.ready, ReadyFile(places={"198.51.100.1": Past(ready, 0.0, Hold())}).to_json())


def test_an_announced_vip_is_drained_and_comes_back() -> None:
    with Agent():
        assert told("status")["balancers"][0]["vips"][0]["state"] == "announced"
        done = katran("drain", "--by", "alice")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == (
            "balancer default: traffic is asked to leave, by alice\n"
            "1 of 1 route ask routers to send elsewhere (metric 2, GRACEFUL_SHUTDOWN)\n"
        )
        done = katran("status")
        assert done.returncode == 1
        assert f"{VIP}  draining" in done.stdout
        # Once more changes nothing.
        assert katran("drain", "--by", "bob").stdout.startswith("balancer default is drained already, by alice\n")
        done = katran("drain", "--withdraw")
        assert (done.returncode, done.stdout.splitlines()[1]) == (0, "no address is announced from here")
        assert told("status")["balancers"][0]["vips"][0]["state"] == "withdrawn"
        done = katran("undrain")
        assert (done.returncode, done.stdout) == (0, "balancer default: traffic may come back\n")
        assert katran("undrain").stdout == "balancer default is not drained\n"


def test_without_an_agent_nobody_hears_of_it() -> None:
    done = katran("drain", SUDO_USER="carol")
    assert done.returncode == 1
    assert "by carol" in done.stdout
    assert "the agent does not run, so nobody hears of it yet" in done.stdout
    assert json.loads(DRAIN.read_text())["by"] == "carol"


def count(packets: int, size: int) -> None:
    """Have the program's counters say so of the VIP and the real."""
    state = json.loads(Path(STATE_ROOT, "default", "state.json").read_text())
    value = struct.pack("=QQ", packets, size) + bytes(16 * (possible_cpus() - 1))
    for name, index in (
        ("stats", state["vip_numbers"]["assigned"][VIP]),
        ("reals_stats", state["real_ids"]["assigned"][REAL]),
    ):
        with bpf.open_map(f"{MAPS}/{name}") as opened:
            opened.update(layout.u32(index), value)


def test_traffic_is_watched_until_it_has_left() -> None:
    ended = threading.Event()

    def traffic() -> None:
        packets = 0
        while not ended.wait(0.05):
            packets += 10
            count(packets, packets * 100)

    with Agent():
        thread = threading.Thread(target=traffic)
        thread.start()
        try:
            done = katran("drain", "--wait", "2")
            assert done.returncode == 1
            assert "packets still come after 2 s" in done.stdout
        finally:
            ended.set()
            thread.join()
        done = katran("drain", "--wait", "30", "--json")
        found = json.loads(done.stdout)
        assert (done.returncode, found["still"], found["changed"]) == (0, True, False)


def test_rates_for_programs() -> None:
    count(0, 0)
    with subprocess.Popen(
        ["/usr/bin/python3", "-I", str(FOLDER / "katran"), "top", "--json", "--count", "3", "--interval", "0.5"],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        first = json.loads(process.stdout.readline())
        assert set(first) == {"instance", "seconds", "totals", "vips", "reals"}
        count(1000, 64000)
        second = json.loads(process.stdout.readline())
        (vip,), (real,) = second["vips"], second["reals"]
        assert (vip["name"], real["name"]) == (VIP, REAL)
        assert vip["packets"] == real["packets"] == pytest.approx(1000 / second["seconds"], rel=0.01)
        # A balancer that is made anew counts from 0.
        count(10, 640)
        third = json.loads(process.stdout.readline())
        assert third["vips"][0]["packets"] == pytest.approx(10 / third["seconds"], rel=0.05)
        assert process.wait() == 0


class Terminal:
    """katran top on a terminal of its own."""

    def __init__(self, lines: int, columns: int) -> None:
        self._own, other = pty.openpty()
        self.resize(lines, columns)
        self.before = termios.tcgetattr(other)
        environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
        command = ["/usr/bin/python3", "-I", str(FOLDER / "katran"), "top", "--interval", "0.2"]
        self.process = subprocess.Popen(
            command,
            stdin=other,
            stdout=other,
            stderr=other,
            start_new_session=True,
            env={**environment, "TERM": "xterm"},
        )
        self._other = other

    def resize(self, lines: int, columns: int) -> None:
        fcntl.ioctl(self._own, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def screen(self, until: str, seconds: float = 10) -> str:
        """What comes until a text does."""
        found, deadline = "", time.monotonic() + seconds
        while until not in found:
            assert time.monotonic() < deadline, found
            if select.select([self._own], [], [], 0.1)[0]:
                found += os.read(self._own, 65536).decode()
        return found

    def press(self, keys: str) -> None:
        os.write(self._own, keys.encode())

    def end(self) -> int:
        status = self.process.wait(10)
        assert termios.tcgetattr(self._other) == self.before
        os.close(self._own)
        os.close(self._other)
        return status


@pytest.mark.parametrize("way", ["q", "interrupt", "terminate"])
def test_a_terminal_is_given_back_as_it_was(way: str) -> None:
    terminal = Terminal(24, 80)
    screen = terminal.screen("q quit")
    assert screen.startswith("\x1b[?1049h")
    assert "VIP" in screen
    assert VIP in screen
    terminal.press("r")
    assert REAL in terminal.screen("REAL")
    # A key that means nothing ends nothing.
    terminal.press("\x1b[A")
    terminal.resize(10, 20)
    terminal.process.send_signal(signal.SIGWINCH)
    terminal.screen("q quit")
    narrow = terminal.screen("q quit").split("\x1b[H")[-1]
    assert all(len(line.split("\x1b")[0].rstrip()) <= 20 for line in narrow.splitlines())
    if way == "q":
        terminal.press("q")
    else:
        terminal.process.send_signal(signal.SIGINT if way == "interrupt" else signal.SIGTERM)
    assert "\x1b[?1049l" in terminal.screen("\x1b[?1049l")
    assert terminal.end() == 0
