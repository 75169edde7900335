# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands, namespaces and progress lines."""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from fleetlab.plan import LabError

CLONE_NEWNET = 0x40000000
CLONE_NEWNS = 0x00020000
_libc = ctypes.CDLL(None, use_errno=True)


def check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def run(arguments: Sequence[str], text: str | None = None) -> str:
    """Run a command with *text* as its input and return what it prints; LabError with its words if it fails."""
    done = subprocess.run(arguments, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).strip()
        raise LabError(f"{' '.join(arguments)}: exit {done.returncode}: {said[-2000:]}")
    return done.stdout


def ip(commands: Sequence[str], namespace: str | None = None) -> None:
    """Run iproute2 *commands* in one go, stopping at the first that fails."""
    where = ["-n", namespace] if namespace else []
    run(["ip", *where, "-batch", "-"], "\n".join(commands) + "\n")


def enter_network(path: str) -> None:
    """Move this (single-threaded) process into the network namespace *path* names."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        check(_libc.setns(descriptor, CLONE_NEWNET), f"setns {path}")
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def network(path: str) -> Iterator[None]:
    """Be in the network namespace *path* for the length of a with block."""
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        enter_network(path)
        try:
            yield
        finally:
            check(_libc.setns(here, CLONE_NEWNET), "setns back")
    finally:
        os.close(here)


def unshare_mounts() -> None:
    """Give this process a mount namespace of its own, from which nothing reaches the machine's."""
    check(_libc.unshare(CLONE_NEWNS), "unshare")
    mount_recursive, mount_private = 0x4000, 0x40000
    check(_libc.mount(b"none", b"/", None, mount_recursive | mount_private, None), "mount --make-rprivate /")


def mount(kind: str, where: Path, options: str) -> None:
    """Mount a filesystem that has no device."""
    arguments = (kind.encode(), os.fsencode(where), kind.encode(), 0, options.encode())
    check(_libc.mount(*arguments), f"mount {kind} on {where}")


def move_mount(source: Path, target: Path) -> None:
    """Move a mount and all below it."""
    mount_move = 0x2000
    check(_libc.mount(os.fsencode(source), os.fsencode(target), None, mount_move, None), f"move {source} to {target}")


def sysctl(settings: dict[str, object]) -> None:
    """Write network sysctls of the namespace this process is in; names with slashes, below /proc/sys/net."""
    for name, value in settings.items():
        with open(f"/proc/sys/net/{name}", "w", encoding="ascii") as file:
            file.write(str(value))


class Progress:
    """One line per step, with its seconds, on standard error."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix

    def say(self, text: str) -> None:
        print(f"lab {self._prefix}: {text}", file=sys.stderr, flush=True)

    @contextlib.contextmanager
    def step(self, text: str) -> Iterator[None]:
        begin = time.monotonic()
        yield
        self.say(f"{text} ({time.monotonic() - begin:.1f} s)")
