# SPDX-License-Identifier: GPL-3.0-or-later
"""Whoever takes a program off or puts another in its place is told of within seconds, and once."""

from __future__ import annotations

import os
import select
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._engine.watch import Watch
from ansible_collections.katran.fleet.plugins.module_utils._engine.xdp_root import Root
from ansible_collections.katran.fleet.plugins.module_utils._kernel.lock import locked
from ansible_collections.katran.fleet.plugins.module_utils._kernel.root_array import clear_slot
from ansible_collections.katran.fleet.plugins.module_utils._kernel.state_folder import STATE_ROOT
from ansible_collections.katran.fleet.plugins.module_utils._model.root_settings import RootSettings
from ansible_collections.katran.fleet.plugins.module_utils._model.seen_vips import host_faults
from ansible_collections.katran.fleet.plugins.module_utils._model.snapshot import RootArray
from ansible_collections.katran.fleet.plugins.module_utils._model.watch import Place
from ansible_collections.katran.fleet.tests.engine.sandbox import (
    BPF,
    BPFFS,
    SOURCES,
    compiled_once,
    ensure_balancer,
    put_other,
    run,
    sandbox,
)
from ansible_collections.katran.fleet.tests.engine.test_private import serve

BRINGS = "systemctl restart katran-restore.service brings it back, and so does a deploy"
HARM = "no packet that comes in there is balanced"
OFF = f"<4>interface eth0: balancer of instance default was taken off: {HARM} ({BRINGS})"
WELL = "<5>interface eth0: balancer of instance default runs there as it should"
COMMAND = "from ansible_collections.katran.fleet.plugins.module_utils._engine.watch import main; main()"


@pytest.fixture(autouse=True)
def host() -> Iterator[None]:
    with sandbox("eth0", "eth1"), compiled_once():
        run("ip", "link", "set", "lo", "up")
        yield


def balance() -> None:
    ensure_balancer("attached", interfaces=["eth0"])


@pytest.fixture(name="watch")
def begin() -> Iterator[Watch]:
    with Watch() as watch:
        yield watch


def take_off() -> None:
    run("ip", "link", "set", "eth0", "xdp", "off")


def test_each_change_is_told_once(watch: Watch) -> None:
    balance()
    assert watch.look() == []
    take_off()
    assert watch.look() == [OFF]
    assert watch.look() == []
    balance()
    assert watch.look() == [WELL]
    run("ip", "link", "del", "eth0")
    gone = "<4>interface eth0 does not exist on this host, where balancer of instance default is to run"
    assert watch.look() == [gone]
    # One that begins to watch then says so too.
    with Watch() as second:
        assert second.look() == [gone]


def test_a_program_in_its_place_is_told(watch: Watch) -> None:
    balance()
    watch.look()
    number = put_other("eth0")
    assert watch.look() == [
        (
            f"<4>interface eth0: balancer of instance default was replaced by another program (id {number}): {HARM}"
            f" (take that off, then {BRINGS})"
        )
    ]


def test_a_real_and_its_pins(watch: Watch) -> None:
    serve("eth0", "eth1")
    assert watch.look() == []
    run("ip", "link", "set", "eth1", "xdp", "off")
    assert watch.look() == [
        (
            "<4>interface eth1: decap of instance default was taken off: what balancers send there is not decapsulated"
            f" ({BRINGS})"
        )
    ]
    run("umount", BPFFS)
    run("mount", "-t", "bpf", "bpf", BPFFS)
    assert watch.look() == [
        (
            "<4>interface eth0: the pin of decap of instance default is gone, so nobody can change it; it goes on as"
            f" before ({BRINGS})"
        )
    ]
    assert serve("eth0", "eth1").changed
    assert [line[:3] for line in watch.look()] == ["<5>", "<5>"]


def test_root_and_its_slots(watch: Watch) -> None:
    Root("shared", BPFFS).ensure(RootSettings(("eth0",), "native", BPF), False, 5)
    array = f"{BPFFS}/katran/shared/maps/root_array"
    ensure_balancer("attached", root_array={"path": array, "position": 1})
    assert watch.look() == []
    clear_slot(RootArray(array, 1))
    assert watch.look() == [f"<4>slot 1 of {array}: balancer of instance default was taken off: {HARM} ({BRINGS})"]
    take_off()
    assert watch.look() == [
        (
            "<4>interface eth0: root of instance shared was taken off: none of the programs in its slots runs there"
            f" ({BRINGS})"
        )
    ]


def test_what_a_run_does_is_no_news(watch: Watch) -> None:
    balance()
    watch.look()
    with locked("default", True, 5):
        take_off()
        assert watch.look() == []
    assert watch.look() == [OFF]
    with locked("default", True, 5):
        assert watch.look() == []
    assert watch.look() == []


def test_it_follows_runs(watch: Watch) -> None:
    balance()
    watch.look()
    ensure_balancer("attached", interfaces=["eth1"], features=["vlan"])
    assert watch.look() == []
    ensure_balancer("loaded")
    assert watch.look() == []
    run("ip", "link", "set", "eth1", "xdp", "off")
    assert watch.look() == []


def test_a_damaged_file_is_told_and_the_others_are_watched(watch: Watch) -> None:
    balance()
    serve("eth1")
    watch.look()
    path = Path(STATE_ROOT, "default", "decap.json")
    path.write_text("[1]", encoding="ascii")
    take_off()
    lines = watch.look()
    assert OFF in lines
    assert len(lines) == 2
    assert any(
        line.startswith(f"<4>decap of instance default cannot be watched: {path} is damaged ([1] is not")
        for line in lines
    )
    assert watch.look() == []


def test_what_was_seen_outlives_a_damaged_file(watch: Watch) -> None:
    balance()
    watch.look()
    path = Path(STATE_ROOT, "default/state.json")
    whole = path.read_text(encoding="utf-8")
    path.write_text("{", encoding="utf-8")
    (line,) = watch.look()
    assert line.startswith("<4>balancer of instance default cannot be watched:")
    assert watch.judged[Place("default", "balancer", "eth0")] == ""
    assert host_faults("default", watch.judged, "02:00:00:00:00:09") == ()
    take_off()
    assert watch.look() == [OFF]
    assert host_faults("default", watch.judged, "02:00:00:00:00:09") == (OFF.removeprefix("<4>"),)
    path.write_text(whole, encoding="utf-8")
    assert watch.look() == []


@pytest.fixture(name="watching")
def start() -> Iterator[Callable[[float], str]]:
    """The command as the service runs it: the next line that it prints within so many seconds."""
    balance()
    environment = {**os.environ, "PYTHONPATH": str(SOURCES.parent / "collections"), "LC_ALL": "C.UTF-8"}
    with subprocess.Popen(
        ["/usr/bin/python3", "-c", COMMAND], env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        output = process.stdout

        def line(seconds: float) -> str:
            return output.readline().strip() if select.select([output], [], [], seconds)[0] else ""

        yield line
        process.kill()


def test_the_command_tells_within_seconds(watching: Callable[[float], str]) -> None:
    assert watching(4) == ""
    take_off()
    began = time.monotonic()
    assert watching(10) == OFF
    assert time.monotonic() - began < 2.5
    balance()
    assert watching(10) == WELL
