# SPDX-License-Identifier: GPL-3.0-or-later
"""One virtual machine, emulated without KVM: it boots, does the work it is given, says what came of it, and ends."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.katran.fleet.tests.kernels import boot
from ansible_collections.katran.fleet.tests.kernels.debian import Kernel, KernelError

SILENCE = 600.0
"""Seconds without a word from a machine after which it counts as stuck: an idle host needs two for the longest job."""

# Five levels of page tables cost an emulated processor a third of its speed.
_PROCESSOR = "max,la57=off"
_COMMAND_LINE = "console=ttyS0 quiet panic=-1 mitigations=off net.ifnames=0 ipv6.disable_ipv6=1"


def run(kernel: Kernel, work: bytes, modules: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
    """Boot a machine with *work* (a tar archive with inside.py) and yield each line that it reports.

    `modules`: kernel modules to load beside those that every machine has.

    KernelError where it stops, or says nothing for SILENCE seconds, before its last line {"end": ...}.
    """
    folder = Path(tempfile.mkdtemp(prefix="katran-kernel-"))
    try:
        (folder / "initramfs").write_bytes(boot.initramfs(kernel, modules))
        (folder / "work").write_bytes(work + bytes(-len(work) % (1 << 20)))
        yield from _talk(kernel, folder, _command(kernel, folder))
    finally:
        shutil.rmtree(folder)


def _command(kernel: Kernel, folder: Path) -> list[str]:
    disks = []
    for name, path in (("root", boot.root_image()), ("work", folder / "work")):
        disks += ["-drive", f"file={path},format=raw,if=none,id={name},readonly=on"]
        disks += ["-device", f"virtio-blk-pci,drive={name}"]
    networks = []
    for number in range(2):
        # Two cards on one wire that leads nowhere else.
        networks += ["-netdev", f"hubport,id=net{number},hubid=0"]
        networks += ["-device", f"virtio-net-pci,netdev=net{number},mac=02:00:00:00:01:{number:02x},romfile="]
    return [
        *("nice", "-n", "10", "setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64"),
        *("-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"),
        *("-accel", "tcg", "-cpu", _PROCESSOR, "-smp", "1", "-m", "1024"),
        *("-kernel", str(kernel.image), "-initrd", str(folder / "initramfs"), "-append", _COMMAND_LINE),
        *("-serial", f"file:{folder / 'console'}"),
        *("-chardev", "stdio,id=words,signal=off", "-serial", "chardev:words"),
        *disks,
        *networks,
    ]


def _talk(kernel: Kernel, folder: Path, command: list[str]) -> Iterator[dict[str, Any]]:
    errors = folder / "errors"
    with (
        errors.open("wb") as sink,
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=sink) as machine,
    ):
        assert machine.stdout is not None
        try:
            for line in _lines(machine.stdout.fileno()):
                word = json.loads(line)
                yield word
                if "end" in word:
                    return
        finally:
            machine.kill()
    last = (folder / "console").read_text(errors="replace").splitlines() if (folder / "console").exists() else []
    last += errors.read_text(errors="replace").splitlines()
    raise KernelError(
        f"the machine with Linux {kernel.release} stopped early; its last lines:\n" + "\n".join(last[-15:])
    )


def _lines(descriptor: int) -> Iterator[str]:
    """Whole lines until the other end closes; KernelError after SILENCE seconds without a byte."""
    kept = b""
    while True:
        if not select.select([descriptor], [], [], SILENCE)[0]:
            raise KernelError(f"the machine said nothing for {SILENCE:.0f} s")
        data = os.read(descriptor, 1 << 16)
        if not data:
            return
        *lines, kept = (kept + data).split(b"\n")
        for line in lines:
            if line.strip():
                yield line.decode()
