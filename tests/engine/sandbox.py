# SPDX-License-Identifier: GPL-3.0-or-later
"""A host for one test: a network, a bpffs, /var/lib and /run that nobody else sees, and that end with the test."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._engine.balancer import Balancer
from ansible_collections.katran.fleet.plugins.module_utils._engine.request import Request, Result
from ansible_collections.katran.fleet.plugins.module_utils._kernel import bpf, loopback
from ansible_collections.katran.fleet.plugins.module_utils._kernel.state_folder import StateFolder
from ansible_collections.katran.fleet.plugins.module_utils._kernel.tc import Egress
from ansible_collections.katran.fleet.plugins.module_utils._kernel.xdp import Interfaces
from ansible_collections.katran.fleet.plugins.module_utils._model.settings import parse_settings
from ansible_collections.katran.fleet.plugins.module_utils._model.wanted import Wanted
from ansible_collections.katran.fleet.plugins.module_utils._program import compiler
from ansible_collections.katran.fleet.tests.engine import compiled

if os.geteuid():
    raise RuntimeError("tests/engine: programs, namespaces and mounts take root")


BPFFS = "/sys/fs/bpf"
SOURCES = Path(__file__).resolve().parents[2] / "bpf"
BPF = "/run/bpf"
"""Where the sources are on the host: a copy as the role installs it, whatever the clone's owner and umask are."""

GATEWAY = "02:00:00:00:00:09"
_NEWNS, _NEWNET = 0x00020000, 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)


def run(*command: str) -> str:
    """Run a command; its output."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def put_other(link: str) -> int:
    """Let an interface run a program of somebody else's, which lets all pass, in place of what is there; its id."""
    source, target = "/run/other.c", "/run/other.o"
    Path(source).write_text(
        '__attribute__((section("xdp"), used)) int other(void *c) { return 2; }'
        ' char l[] __attribute__((section("license"), used)) = "GPL";',
        encoding="ascii",
    )
    run("clang", "-O2", "-target", "bpf", "-c", source, "-o", target)
    run("ip", "-force", "link", "set", link, "xdp", "obj", target, "sec", "xdp")
    words = run("ip", "-d", "link", "show", link).split()
    return int(words[words.index("id", words.index("prog/xdp")) + 1])


def _libc(name: str, *arguments: int) -> None:
    if getattr(_LIBC, name)(*arguments):
        raise OSError(ctypes.get_errno(), name)


def _end_threads() -> None:
    """Wait for threads that were joined and are still on their way out: one of several gets no mount namespace."""
    deadline = time.monotonic() + 10
    while len(os.listdir("/proc/self/task")) > 1 and time.monotonic() < deadline:
        time.sleep(0.001)


@contextmanager
def sandbox(*links: str) -> Iterator[None]:
    """Be on a host of its own, with a veth pair NAME and NAME-peer for each link."""
    folder = os.getcwd()
    before = [
        (os.open(f"/proc/self/ns/{name}", os.O_RDONLY), kind) for name, kind in (("net", _NEWNET), ("mnt", _NEWNS))
    ]
    _end_threads()
    _libc("unshare", _NEWNS | _NEWNET)
    try:
        run("mount", "--make-rprivate", "/")
        run("mount", "-t", "sysfs", "sysfs", "/sys")
        run("mount", "-t", "bpf", "bpf", BPFFS)
        for path in ("/var/lib", "/run"):
            run("mount", "-t", "tmpfs", "tmpfs", path)
        shutil.copytree(SOURCES, BPF)
        run("chown", "-R", "root:root", BPF)
        run("chmod", "-R", "go-w", BPF)
        for link in links:
            run("ip", "link", "add", link, "type", "veth", "peer", "name", f"{link}-peer")
            for end in (link, f"{link}-peer"):
                # No router solicitation may come in between.
                run("ip", "link", "set", end, "addrgenmode", "none")
                run("ip", "link", "set", end, "up")
        yield
    finally:
        _end_threads()
        for descriptor, kind in before:
            _libc("setns", descriptor, kind)
            os.close(descriptor)
        os.chdir(folder)


@contextmanager
def compiled_once() -> Iterator[None]:
    """Every program is compiled but once, by this process and by modules that it runs in processes of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiler, "compile_program", compiled.compile_program)
        if os.environ.get("KATRAN_WORK"):
            folder = Path(os.environ["KATRAN_WORK"], "compiled")
            folder.mkdir(exist_ok=True)
            patch.setenv(compiled.FOLDER, str(folder))
        yield


class Killed(BaseException):
    """What stands for a SIGKILL."""


class Fuse:
    """Ends a run after so many steps that change the host or its state."""

    def __init__(self, patch: pytest.MonkeyPatch, steps: int) -> None:
        self.left = steps
        for owner, name in (
            (bpf, "_bpf"),
            (Egress, "_do"),
            (Interfaces, "replace"),
            (StateFolder, "write_file"),
            (loopback, "_change"),
            (os, "rename"),
        ):
            patch.setattr(owner, name, self._burning(getattr(owner, name)))

    def _burning(self, work: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any, **options: Any) -> Any:
            if not self.left:
                raise Killed
            self.left -= 1
            return work(*arguments, **options)

        return step


def killed_after(steps: int, work: Callable[[], object]) -> bool:
    """Whether a run got no further than this many steps."""
    with pytest.MonkeyPatch.context() as patch:
        Fuse(patch, steps)
        try:
            work()
        except Killed:
            return True
    return False


def request(check: bool = False) -> Request:
    """A run on the instance default."""
    return Request("default", BPFFS, 5, check)


def ensure_balancer(state: str = "loaded", instance: str = "default", **options: Any) -> Result:
    """Load a small balancer with these options of module balancer."""
    sizes = {"vips": 32, "reals": 64, "ring": 4093, "flows": 4000, "server_ids": 5000, "source_routes": 100}
    params = {
        "state": state,
        "interfaces": [],
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
        "sizes": sizes,
        "max_frame": 1514,
        "max_new_flows": 125000,
        "udp_timeout": 30,
        "forwarding_cores": "auto",
        "replace_foreign": False,
        "root_array": None,
        **options,
    }
    balancer = Balancer(instance, BPFFS)
    return balancer.ensure(Wanted(parse_settings(params), state, BPF), False, 5)
