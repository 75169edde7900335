# SPDX-License-Identifier: GPL-3.0-or-later
"""What a virtual machine boots from: the laboratory's root filesystem as a disk, and an initramfs that gets there."""

from __future__ import annotations

import lzma
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from ansible_collections.katran.fleet.tests.kernels.debian import ROOT, Kernel, KernelError, busybox, locked_cache, say

sys.path.insert(0, str(ROOT / "tests" / "lab"))

from fleetlab import image
from fleetlab.plan import LabError
from fleetlab.system import Progress

_MODULES = (
    "virtio_pci",
    "virtio_blk",
    "virtio_net",
    "veth",
    "ipip",
    "ip6_tunnel",
    "fou",
    "sch_ingress",
    "cls_bpf",
    "nf_tables",
)

# The root stays as it is on the disk; what a run writes is gone with it. /run holds the work, from the second disk.
_INIT = """\
#!/bin/busybox sh
B=/bin/busybox
$B mount -t devtmpfs dev /dev
$B mount -t proc proc /proc
$B mount -t sysfs sys /sys
for module in {modules}; do $B insmod /modules/$module || echo "init: $module does not load"; done
while [ ! -b /dev/vda ] || [ ! -b /dev/vdb ]; do $B usleep 50000; done
$B mount -t ext4 -o ro,noload /dev/vda /root || echo "init: the root disk cannot be mounted"
for directory in run tmp var/tmp; do $B mount -t tmpfs tmp /root/$directory; done
$B tar x -f /dev/vdb -C /root/run || echo "init: the work cannot be unpacked"
for directory in dev proc sys; do $B mount --move /$directory /root/$directory; done
exec $B switch_root /root /usr/bin/python3 -B /run/inside.py /dev/ttyS1
"""


def root_image() -> Path:
    """A read-only ext4 image of the laboratory's root filesystem, which has python3, bcc and pyroute2."""
    try:
        tree = image.ready(Progress("kernels"))
    except LabError as error:
        raise KernelError(f"the laboratory's root filesystem cannot be built: {error}") from error
    with locked_cache() as cache:
        disk = cache / f"root-{tree.name.removeprefix('image-')}.ext4"
        if not disk.is_file():
            say("making the machines' root disk, once (about ten seconds)")
            unfinished = disk.with_name(f"unfinished-{disk.name}")
            size = _run(["du", "--summarize", "--block-size=1M", str(tree)]).split()[0]
            command = ["mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-d", str(tree), str(unfinished)]
            _run([*command, f"{int(size) * 6 // 5 + 64}M"])
            unfinished.rename(disk)
        os.utime(disk)
    return disk


def _run(command: list[str]) -> str:
    done = subprocess.run(["nice", "-n", "10", *command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise KernelError(f"{command[0]} failed: {done.stderr.strip()[-500:]}")
    return done.stdout


def initramfs(kernel: Kernel, more: Sequence[str] = ()) -> bytes:
    """A cpio archive with busybox, the modules of the machine's devices and veth, and an init that mounts the root."""
    modules = _modules(kernel, (*_MODULES, *more))
    archive = _Archive()
    for directory in ("bin", "dev", "modules", "proc", "root", "sys"):
        archive.add(directory, 0o40755)
    archive.add("dev/console", 0o20600, device=(5, 1))
    archive.add("bin/busybox", 0o100755, busybox().read_bytes())
    archive.add("init", 0o100755, _INIT.format(modules=" ".join(modules)).encode())
    for name, content in modules.items():
        archive.add(f"modules/{name}", 0o100644, content)
    return archive.finished()


def _modules(kernel: Kernel, wanted: Sequence[str]) -> Mapping[str, bytes]:
    """The wanted modules and those they depend on, in the order in which they load."""
    files = {}
    for path in kernel.modules.rglob("*.ko*"):
        files[path.name.split(".")[0].replace("-", "_")] = path
    builtin = (kernel.modules / "modules.builtin").read_text().splitlines()
    built_in = {Path(line).stem.replace("-", "_") for line in builtin}
    loaded: dict[str, bytes] = {}

    def load(name: str) -> None:
        if name in loaded or name in built_in:
            return
        if name not in files:
            raise KernelError(f"Linux {kernel.release} has no module {name}, which its virtual machine needs")
        content = files[name].read_bytes()
        if files[name].suffix == ".xz":
            content = lzma.decompress(content)
        depends = re.search(rb"\0depends=([^\0]*)\0", content)
        for other in depends[1].decode().split(",") if depends and depends[1] else ():
            load(other.replace("-", "_"))
        loaded[name] = content

    for name in wanted:
        load(name)
    return loaded


class _Archive:
    """A cpio archive as the kernel unpacks it: Documentation/driver-api/early-userspace/buffer-format.rst."""

    def __init__(self) -> None:
        self._content = bytearray()
        self._number = 0

    def add(self, name: str, mode: int, content: bytes = b"", device: tuple[int, int] = (0, 0)) -> None:
        self._number += 1
        path = name.encode() + b"\0"
        numbers = (self._number, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(path), 0)
        self._content += b"070701" + b"".join(b"%08x" % number for number in numbers)
        for part in (path, content):
            self._content += part
            self._content += bytes(-len(self._content) % 4)

    def finished(self) -> bytes:
        self.add("TRAILER!!!", 0)
        return bytes(self._content)
