# SPDX-License-Identifier: GPL-3.0-or-later
"""One host: a Debian system with systemd as process 1 in namespaces of its own, reached by ssh."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from fleetlab import cgroup
from fleetlab.network import FORWARDING_CPU
from fleetlab.plan import CONTROL, ROUTER, Host, Lab, LabError
from fleetlab.system import enter_network, mount, move_mount, network, unshare_mounts

SSH_PORT = 22
# nspawn ends with 133 when its host asks for a reboot. A real host's XDP programs go with its kernel.
_BOOT_AGAIN = 'while "$@"; [ $? -eq 133 ]; do ip link set dev eth1 xdp off 2>/dev/null; done'
_SERVICES = {"real": ("nginx.service", "lab-echo.service"), "router": ("lab-router.service",)}
# In a host, root may do what a balancer needs and not more; nspawn's own list has CAP_SYS_ADMIN already.
_ADDED = "CAP_NET_ADMIN,CAP_NET_RAW,CAP_BPF,CAP_PERFMON"
_DROPPED = "CAP_MKNOD"
# Settings of the kernel that all hosts share with the machine. A host needs /sys writable (for its bpffs) and
# /proc/sys/net, which is its own.
_SHARED_WITH_THE_MACHINE = (
    *("/proc/sys/abi", "/proc/sys/debug", "/proc/sys/dev", "/proc/sys/fs", "/proc/sys/kernel", "/proc/sys/user"),
    *("/proc/sys/vm", "/proc/sysrq-trigger", "/sys/block", "/sys/devices/system", "/sys/firmware", "/sys/kernel"),
    *("/sys/module", "/sys/power"),
)


def start(lab: Lab, host: Host, image: Path) -> None:
    """Boot the host; returns when it has been started, not when it answers."""
    authorized = lab.key.with_suffix(".pub").read_text(encoding="ascii")
    command = [
        # Not a child of this process, which has no reason to wait for it.
        *("setsid", "--fork", "sh", "-c", _BOOT_AGAIN, "sh", "systemd-nspawn"),
        *("--quiet", "--boot", "--directory=/run/root", "--tmpfs=/tmp:mode=1777"),
        *(f"--machine={lab.prefix}-{host.name}", f"--hostname={host.name}", "--resolv-conf=off", "--timezone=off"),
        *("--register=no", "--keep-unit", "--link-journal=no", "--console=read-only"),
        *(f"--capability={_ADDED}", f"--drop-capability={_DROPPED}", "--system-call-filter=bpf perf_event_open"),
        "--bind-ro=/run/authorized_keys:/root/.ssh/authorized_keys",
        *(f"--bind-ro={path}" for path in _SHARED_WITH_THE_MACHINE if os.path.exists(path)),
        *(f"systemd.wants={service}" for service in _SERVICES.get(host.role, ())),
        "systemd.show_status=error",
    ]

    def enter_host() -> None:
        cgroup.enter(lab, host)
        if host is ROUTER:
            os.sched_setaffinity(0, {FORWARDING_CPU})
        enter_network(lab.namespace_path(host))
        unshare_mounts()
        _mount_root(lab.directory / "roots" / host.name, image, authorized)

    with open(log(lab, host), "wb") as output:
        subprocess.run(
            command,
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "1"},
            cwd="/",
            preexec_fn=enter_host,  # this process has one thread
        )


def _mount_root(place: Path, image: Path, authorized: str) -> None:
    """Give this process, in a mount namespace of its own, a /run of its own with the host's root filesystem in it.

    What the host writes stays in *place* until the laboratory goes, so that a host can be power-cycled. nspawn keeps
    its locks and sockets in /run, where nothing of the laboratory shall stay.
    """
    run, upper, work = place / "run", place / "upper", place / "work"
    for directory in (run, upper, work):
        directory.mkdir(parents=True, exist_ok=True)
    mount("tmpfs", run, "mode=755,size=16m")
    root = run / "root"
    root.mkdir()
    mount("overlay", root, f"lowerdir={image},upperdir={upper},workdir={work}")
    (run / "authorized_keys").write_text(authorized, encoding="ascii")
    move_mount(run, Path("/run"))


def log(lab: Lab, host: Host) -> Path:
    return lab.directory / f"{host.name}.log"


def _greets(host: Host, timeout: float) -> bool:
    """Whether sshd says its first line; called in the control namespace."""
    try:
        with socket.create_connection((host.management, SSH_PORT), timeout) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def answering(lab: Lab, hosts: Sequence[Host], timeout: float = 1.0) -> set[Host]:
    """Which of *hosts* answer on ssh now."""
    with network(lab.namespace_path(CONTROL)):
        return {host for host in hosts if _greets(host, timeout)}


def wait(lab: Lab, hosts: Sequence[Host] | None = None, timeout: float = 120.0) -> None:
    """Return when every one of *hosts* (default: all) answers on ssh; LabError naming one that died or never does."""
    end = time.monotonic() + timeout
    missing = list(lab.hosts if hosts is None else hosts)
    with network(lab.namespace_path(CONTROL)):
        while missing:
            host = missing[0]
            if _greets(host, 1.0):
                missing.pop(0)
                continue
            if not cgroup.alive(lab, host) or time.monotonic() > end:
                what = "does not answer on ssh" if cgroup.alive(lab, host) else "ended while booting"
                last = log(lab, host).read_text(encoding="utf-8", errors="replace").splitlines()[-8:]
                raise LabError(f"host {host.name} {what}; the end of {log(lab, host)}:\n" + "\n".join(last))
            time.sleep(0.03)
