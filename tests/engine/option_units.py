# SPDX-License-Identifier: GPL-3.0-or-later
"""A host with units in control groups, for tests of program server_id_option: the kernel's groups, and a systemctl.

No systemd runs here: what stands for it knows of units what tests say, and reads drop-ins when it is told to. The
laboratory has the real one (tests/lab/test_server_ids.py).
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._engine.request import Result
from ansible_collections.katran.fleet.plugins.module_utils._engine.server_id_info import server_id_info
from ansible_collections.katran.fleet.plugins.module_utils._engine.server_id_option import ServerIdOption
from ansible_collections.katran.fleet.plugins.module_utils._model.server_id_settings import (
    SERVER_ID_OPTION,
    parse_server_id,
)
from ansible_collections.katran.fleet.tests.engine.sandbox import BPF, BPFFS, compiled_once, run, sandbox

WEB, CLIENT = "web.service", "client.service"
UNITS = Path("/run/units")
RESTARTED = Path("/run/restarted")
DROP_INS = Path("/etc/systemd/system")
_MOUNT = Path("/run/cgroup")
_TOP = _MOUNT / f"katran-test-{os.getpid()}"
_SYSTEMCTL = f"""#!/bin/sh
drop_ins() {{ echo {DROP_INS}/"$1".d/*.conf | grep -v '[*]'; }}
case "$1" in
show)
    shift 3
    for name; do
        test -z "$later" || echo
        later=yes
        test -f {UNITS}/"$name" || {{ echo LoadState=not-found; continue; }}
        echo LoadState=loaded
        cat {UNITS}/"$name"
        echo "DropInPaths=$(cat {UNITS}/"$name".read 2>/dev/null)"
    done ;;
daemon-reload)
    for path in {UNITS}/*.service; do drop_ins "$(basename "$path")" > "$path".read; done ;;
restart)
    echo "$2" >> {RESTARTED} ;;
esac
exit 0
"""


def group(unit: str) -> Path:
    return _TOP / unit


def start(unit: str, more: str = "") -> None:
    """Systemd knows the unit, and it has a group of its own; what a stopped one had attached is gone."""
    group(unit).mkdir(exist_ok=True)
    (UNITS / unit).write_text(f"ControlGroup=/{_TOP.name}/{unit}\n{more}")


def stop(unit: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.rmdir(group(unit))
    (UNITS / unit).write_text("ControlGroup=\n")


@contextmanager
def units_host() -> Iterator[None]:
    """A host with two services that run."""
    with sandbox(), compiled_once(), pytest.MonkeyPatch.context() as patch:
        run("ip", "link", "set", "lo", "up")
        run("mount", "-t", "tmpfs", "tmpfs", str(DROP_INS))
        for folder in (_MOUNT, UNITS, Path("/run/bin")):
            folder.mkdir()
        run("mount", "-t", "cgroup2", "cgroup2", str(_MOUNT))
        Path("/run/bin/systemctl").write_text(_SYSTEMCTL)
        Path("/run/bin/systemctl").chmod(0o755)
        patch.setenv("PATH", f"/run/bin:{os.environ['PATH']}")
        _TOP.mkdir()
        try:
            start(WEB)
            start(CLIENT)
            yield
        finally:
            for folder in sorted(_TOP.glob("**/"), key=lambda each: len(each.parts), reverse=True):
                folder.rmdir()


def ensure(*units: str, instance: str = "default", check: bool = False, **options: object) -> Result:
    defaults = {name: option.get("default") for name, option in SERVER_ID_OPTION.items()}
    settings = parse_server_id({**defaults, "units": list(units), "source_dir": BPF, **options})
    return ServerIdOption(instance, BPFFS).ensure(settings, check, 5)


def remove(check: bool = False, instance: str = "default") -> Result:
    return ServerIdOption(instance, BPFFS).remove(check, 5)


def counters(instance: str = "default") -> tuple[int, ...]:
    """set, read, missing, wrong."""
    return tuple(server_id_info(instance, BPFFS)["counters"].values())


@contextmanager
def running(unit: str, *command: str) -> Iterator[subprocess.Popen[str]]:
    """A process in the unit's group, by what it says on its standard output."""

    def enter() -> None:
        (group(unit) / "cgroup.procs").write_text("0")

    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=enter,  # noqa: PLW1509  # one thread runs here
    )
    try:
        yield process
    finally:
        process.communicate()


_SERVER = """
import socket, sys
with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as listener:
    print("here", flush=True)
    while sys.stdin.readline():
        with listener.accept()[0] as peer:
            peer.send(peer.recv(8))
"""
_TALK = """
import socket, sys
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as peer:
    peer.send(b"ping")
    print(peer.recv(8))
"""


@contextmanager
def serving(port: int = 8080, unit: str = WEB) -> Iterator[subprocess.Popen[str]]:
    """A service of the unit that listens, and answers one connection for each line that it is given."""
    with running(unit, sys.executable, "-c", _SERVER, str(port)) as server:
        assert server.stdout
        assert server.stdout.readline() == "here\n"
        yield server


def talk(server: subprocess.Popen[str], port: int = 8080, unit: str = CLIENT) -> None:
    """A connection from a client of another unit."""
    assert server.stdin
    server.stdin.write("\n")
    server.stdin.flush()
    with running(unit, sys.executable, "-c", _TALK, str(port)) as client:
        assert client.communicate()[0] == "b'ping'\n"
