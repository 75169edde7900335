# SPDX-License-Identifier: GPL-3.0-or-later
"""The root filesystem that every host of every laboratory shares, read-only."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from fleetlab.plan import LabError
from fleetlab.system import Progress, run

_SUITE = "bookworm"
_FILES = Path(__file__).with_name("files")
_UNUSED_DAYS = 14

# Hosts have no package mirror: what roles would install is here already. Their package tasks then find all present.
_PACKAGES = (
    # a Debian server
    *("ca-certificates", "dbus", "ethtool", "iproute2", "iputils-ping", "openssh-server", "procps", "python3"),
    *("python3-apt", "systemd-sysv", "tcpdump"),
    # roles balancer and real
    *("bpftool", "linux-libc-dev", "nftables", "python3-bpfcc", "python3-netaddr", "python3-pyroute2"),
    # the agent, and the two routing daemons that can announce for it
    *("bird2", "frr", "python3-cryptography", "python3-dnspython", "python3-h11", "python3-numpy"),
    *("python3-prometheus-client",),
    # services of the reals, load from the client
    *("iperf3", "nginx-light", "wrk"),
)

# Services of real hardware, of logins at a console and of maintenance, all of which only cost time here.
_MASKED = (
    *("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "fstrim.timer"),
    *("logrotate.timer",),
    *("console-getty.service", "getty@.service", "getty-static.service", "e2scrub_reap.service"),
    *("kmod-static-nodes.service", "systemd-modules-load.service", "systemd-binfmt.service", "modprobe@.service"),
    *("systemd-firstboot.service", "systemd-networkd.service", "systemd-pstore.service"),
    *("systemd-resolved.service", "systemd-timesyncd.service", "systemd-udevd.service", "systemd-udev-trigger.service"),
    *("systemd-update-utmp.service", "systemd-update-utmp-runlevel.service", "remote-fs.target"),
    *("dev-hugepages.mount", "proc-sys-fs-binfmt_misc.automount", "sys-fs-fuse-connections.mount"),
    *("sys-kernel-config.mount", "sys-kernel-debug.mount", "sys-kernel-tracing.mount"),
)

# What packages start by themselves and a host starts only when it is told to.
_STOPPED = ("bird.service", "frr.service", "nginx.service")

# Where each file of files/ goes, and its mode.
_INSTALLED = {
    "sshd.conf": ("etc/ssh/sshd_config.d/lab.conf", 0o644),
    "lab-bpffs.service": ("etc/systemd/system/lab-bpffs.service", 0o644),
    "lab-echo.service": ("etc/systemd/system/lab-echo.service", 0o644),
    "lab-echo": ("usr/local/bin/lab-echo", 0o755),
    "bird-priority.conf": ("etc/systemd/system/bird.service.d/lab.conf", 0o644),
    "lab-router.service": ("etc/systemd/system/lab-router.service", 0o644),
    "lab-router.conf": ("etc/lab/router.conf", 0o644),
    "nginx.conf": ("etc/nginx/sites-available/default", 0o644),
    "journald.conf": ("etc/systemd/journald.conf.d/lab.conf", 0o644),
}


def cache_directory() -> Path:
    """Where images are kept: environment KATRAN_LAB_CACHE, else below /var/cache."""
    return Path(os.environ.get("KATRAN_LAB_CACHE") or "/var/cache/katran-fleet-lab")


def _key() -> str:
    digest = hashlib.sha256("\0".join((_SUITE, *_PACKAGES)).encode())
    for path in (Path(__file__), *sorted(_FILES.iterdir())):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    directory.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def ready(progress: Progress, *, rebuild: bool = False) -> Path:
    """The image's directory; built first if this machine has none of this content yet."""
    cache = cache_directory()
    image = cache / f"image-{_key()}"
    with _locked(cache):
        if rebuild or not image.is_dir():
            _build(cache, image, progress)
        os.utime(image)
        _prune(cache)
    return image


def _prune(cache: Path) -> None:
    """Remove unfinished images and those no laboratory was brought up with for a while."""
    for path in cache.iterdir():
        old = time.time() - path.stat().st_mtime > _UNUSED_DAYS * 86400
        if path.name.startswith("unfinished-") or (path.name.startswith("image-") and old):
            shutil.rmtree(path)


def _build(cache: Path, image: Path, progress: Progress) -> None:
    unfinished = cache / f"unfinished-{image.name}"
    if unfinished.exists():
        shutil.rmtree(unfinished)
    progress.say(f"building the hosts' root filesystem, once, in {cache} (about half a minute)")
    begin = time.monotonic()
    _bootstrap(unfinished, progress)
    _customize(unfinished)
    if image.exists():
        image.rename(cache / "unfinished-replaced")
    unfinished.rename(image)
    progress.say(f"root filesystem built ({time.monotonic() - begin:.1f} s)")


def _sources() -> list[str]:
    """Debian's own repositories of this suite as this machine's apt is configured to reach them."""
    wanted = "$(ORIGIN)|$(CODENAME)|$(REPO_URI)|$(RELEASE)|$(COMPONENT)"
    found = []
    for line in run(["apt-get", "indextargets", "--format", wanted, "Created-By: Packages"]).splitlines():
        origin, codename, uri, release, component = line.split("|")
        suites = (_SUITE, f"{_SUITE}-updates", f"{_SUITE}-security")
        if origin == "Debian" and codename in suites and component == "main":
            found.append(f"deb {uri} {release} {component}")
    return list(dict.fromkeys(found))


def _bootstrap(target: Path, progress: Progress) -> None:
    sources = _sources()
    if not sources:
        run(["apt-get", "update", "-qq"])
        sources = _sources()
    if not sources:
        raise LabError(f"this machine's apt knows no repository of Debian's suite {_SUITE}, from which hosts are made")
    settings = re.findall(r'^(Acquire::(?:https?|ftp|Retries|Check-).*";)$', run(["apt-config", "dump"]), re.MULTILINE)
    command = [
        *("nice", "mmdebstrap", "--variant=minbase", "--mode=root", f"--include={','.join(_PACKAGES)}"),
        *("--dpkgopt=path-exclude=/usr/share/{doc,man,locale,info,i18n}/*", '--aptopt=APT::Install-Recommends "false"'),
        *(f"--aptopt={setting}" for setting in settings if not setting.endswith(' "";')),
        *(_SUITE, str(target), *sources),
    ]
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
    said = []
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    ) as process:
        for line in process.stdout or ():
            said.append(line.rstrip())
            if line.startswith("I: ") and "..." in line:
                progress.say(f"  {line[3:].strip()}")
    if process.returncode:
        raise LabError("mmdebstrap failed:\n" + "\n".join(said[-15:]))


def _customize(root: Path) -> None:
    # What the machine that built the image lends it: its name, its resolver, its package sources.
    for name in ("etc/hostname", "etc/resolv.conf", "etc/apt/sources.list", "etc/apt/apt.conf.d/99mmdebstrap"):
        (root / name).unlink(missing_ok=True)
    (root / "etc/machine-id").write_text("", encoding="ascii")
    # Kernel settings are the machine's: a host that boots must not set them.
    for path in (root / "usr/lib/sysctl.d").glob("*.conf"):
        (root / "etc/sysctl.d" / path.name).symlink_to("/dev/null")
    units = root / "etc/systemd/system"
    for name in _MASKED:
        (units / name).unlink(missing_ok=True)
        (units / name).symlink_to("/dev/null")
    for name in _STOPPED:
        (units / "multi-user.target.wants" / name).unlink()
    for name, (place, mode) in _INSTALLED.items():
        path = root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((_FILES / name).read_bytes())
        path.chmod(mode)
    wants = units / "sysinit.target.wants"
    wants.mkdir(exist_ok=True)
    (wants / "lab-bpffs.service").symlink_to("../lab-bpffs.service")
    large = root / "srv/lab/large"
    large.parent.mkdir(parents=True)
    large.write_bytes(bytes(4 << 20))
    (root / "root/.ssh").mkdir(mode=0o700, exist_ok=True)
    (root / "root/.ssh/authorized_keys").touch(mode=0o600)
