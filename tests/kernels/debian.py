# SPDX-License-Identifier: GPL-3.0-or-later
"""Debian's kernels, as this machine's own package sources have them: found, fetched and unpacked, never installed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_UNUSED_DAYS = 14
_TRIES = 3


class KernelError(Exception):
    """A kernel cannot be had, booted or heard from; the text is one sentence for whoever runs the tests."""


@dataclass(frozen=True)
class Kernel:
    """An unpacked kernel package: release as `uname -r` says it, version as the package's."""

    release: str
    version: str
    directory: Path

    @property
    def image(self) -> Path:
        return self.directory / "boot" / f"vmlinuz-{self.release}"

    @property
    def modules(self) -> Path:
        return self.directory / "lib" / "modules" / self.release


def say(text: str) -> None:
    print(f"kernels: {text}", file=sys.stderr, flush=True)


def cache_directory() -> Path:
    """Beside the laboratory's images: environment KATRAN_LAB_CACHE, else below /var/cache."""
    return Path(os.environ.get("KATRAN_LAB_CACHE") or "/var/cache/katran-fleet-lab") / "kernels"


@contextlib.contextmanager
def locked_cache() -> Iterator[Path]:
    """The cache's directory, for one process at a time; what was not used for a fortnight goes."""
    cache = cache_directory()
    cache.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(cache, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        for path in cache.iterdir():
            old = time.time() - path.stat().st_mtime > _UNUSED_DAYS * 86400
            if old or path.name.startswith("unfinished-"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        yield cache
    finally:
        os.close(descriptor)


def install_tools() -> None:
    """QEMU and what the root image is made with, by scripts/setup."""
    done = subprocess.run([ROOT / "scripts" / "setup", "kernels"], check=False)
    if done.returncode:
        raise KernelError("the packages for virtual machines cannot be installed: scripts/setup kernels says why")


def kernel(series: str) -> Kernel:
    """The newest cloud kernel of a series such as 6.1 that this machine's package sources offer."""
    if platform.machine() != "x86_64":
        raise KernelError(f"kernels are tried on x86_64 only, and this machine is {platform.machine()}")
    package, version, directory = _fetched(
        f"linux-image-{series}.",
        "-cloud-amd64",
        f"no Linux {series} to be had: this machine's package sources have no linux-image-{series}.*-cloud-amd64"
        " (on Debian 12, 6.1 is in bookworm and 6.12 in bookworm-security and bookworm-backports)",
    )
    return Kernel(package.removeprefix("linux-image-"), version, directory)


def busybox() -> Path:
    """A statically linked busybox: all that the first process of a machine needs before it has its root."""
    why = "no busybox to be had: this machine's package sources have no busybox-static"
    return _fetched("busybox-static", "", why)[2] / "bin" / "busybox"


def package(name: str) -> Path:
    """Where a package of this machine's sources lies unpacked."""
    return _fetched(name, "", f"no {name} to be had: this machine's package sources have no such package")[2]


def _fetched(prefix: str, suffix: str, why: str) -> tuple[str, str, Path]:
    """(name, version, directory) of the newest package whose name begins and ends so, from the cache or fetched."""
    problem = why
    for attempt in range(_TRIES):
        if attempt:
            # A list older than the mirror names files that are gone; one that was never read names none.
            time.sleep(5 * (attempt - 1))
            _command(["apt-get", "update", "-qq"])
        found = _newest(prefix, suffix)
        if found is None:
            continue
        package, version = found
        with locked_cache() as cache:
            directory = cache / f"{package}_{version.replace(':', '%')}"
            if not directory.is_dir():
                say(f"fetching {package} {version}")
                problem = _fetch(package, version, directory)
            if directory.is_dir():
                os.utime(directory)
                return package, version, directory
    raise KernelError(problem)


def _newest(prefix: str, suffix: str) -> tuple[str, str] | None:
    names = _command(["apt-cache", "pkgnames", prefix])[1].split()
    names = [name for name in names if name.startswith(prefix) and name.endswith(suffix)]
    if not names:
        return None
    # Lines of madison: package | version | source.
    offers = [line.split("|") for line in _command(["apt-cache", "madison", *names])[1].splitlines()]
    packages = [(offer[0].strip(), offer[1].strip()) for offer in offers if offer[2].split()[-1] == "Packages"]
    return max(packages, key=lambda offer: [int(number) for number in re.findall(r"\d+", offer[1])], default=None)


def _fetch(package: str, version: str, directory: Path) -> str:
    """Download and unpack; returns why not, empty where it worked."""
    unfinished = directory.with_name(f"unfinished-{directory.name}")
    unfinished.mkdir()
    command = ["apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root", f"{package}={version}"]
    code, said = _command(command, unfinished)
    if code:
        return f"package {package} {version} cannot be fetched: {said.strip()[-500:]}"
    archive = next(unfinished.glob("*.deb"))
    code, said = _command(["dpkg-deb", "-x", str(archive), str(unfinished)])
    if code:
        return f"package {package} {version} cannot be unpacked: {said.strip()[-500:]}"
    archive.unlink()
    unfinished.rename(directory)
    return ""


def _command(command: Sequence[str], folder: Path | None = None) -> tuple[int, str]:
    done = subprocess.run(
        ["nice", "-n", "10", *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        cwd=folder,
    )
    return done.returncode, done.stdout
