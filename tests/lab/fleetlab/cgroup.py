# SPDX-License-Identifier: GPL-3.0-or-later
"""Control groups: how the laboratory knows, and ends, exactly the processes of its hosts.

A group is made in every hierarchy (the one of cgroup v2 and, where the machine has them, those of v1), because systemd
instances that shared a group would take each other's processes for their own.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from fleetlab.plan import Host, Lab, LabError

_GROUP = "katran-fleet-lab"


def _hierarchies() -> tuple[Path, list[Path]]:
    """Mount point of the v2 hierarchy and those of the v1 hierarchies that systemd uses."""
    unified: list[Path] = []
    legacy: list[Path] = []
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        left, right = line.split(" - ", 1)
        kind, _, options = right.split(" ")[:3]
        path = Path(left.split(" ")[4])
        if kind == "cgroup2":
            unified.append(path)
        elif kind == "cgroup" and "cpuset" not in options.split(","):
            # cpuset wants CPUs assigned before it takes a process, and systemd leaves v1's alone.
            legacy.append(path)
    if not unified:
        raise LabError("no cgroup2 is mounted; the laboratory's hosts need one (systemd mounts it at /sys/fs/cgroup)")
    return unified[0], legacy


def _group(lab: Lab, host: Host | None = None) -> Path:
    unified, _ = _hierarchies()
    group = unified / _GROUP / lab.prefix
    return group / host.name if host else group


def host_group(lab: Lab, host: Host) -> Path:
    """The host's group of cgroup v2; systemd's groups in it are named as on any host."""
    return _group(lab, host)


def beside(lab: Lab, name: str) -> Path:
    """A group of cgroup v2 for processes that work for the laboratory outside its hosts; they end when it goes.

    *name*, which no host may have, may be that of a group in a group: controller/ssh.
    """
    group = _group(lab) / name
    group.mkdir(parents=True, exist_ok=True)
    return group


def populated(group: Path) -> bool:
    """Whether the group, or one in it, has a process."""
    with contextlib.suppress(FileNotFoundError):
        return "populated 1" in (group / "cgroup.events").read_text(encoding="ascii")
    return False


def host_cpu_seconds(lab: Lab, host: Host) -> float:
    """CPU seconds, user and system, that the host has used since its group was made."""
    return cpu_seconds(_group(lab, host))


def cpu_seconds(group: Path) -> float:
    """CPU seconds, user and system, of all that ever ran in the group or in one in it, also of what has ended.

    The kernel counts this in every group of cgroup v2, whether or not controller cpu is enabled in it
    (Documentation/admin-guide/cgroup-v2.rst, cpu.stat).
    """
    for line in (group / "cpu.stat").read_text(encoding="ascii").splitlines():
        name, value = line.split()
        if name == "usage_usec":
            return int(value) / 1e6
    raise LabError(f"{group}/cpu.stat has no usage_usec")


def enter(lab: Lab, host: Host) -> None:
    """Move this process into the host's groups, which are made where missing."""
    unified, legacy = _hierarchies()
    for top in (unified, *legacy):
        group = top / _GROUP / lab.prefix / host.name
        group.mkdir(parents=True, exist_ok=True)
        (group / "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")


def alive(lab: Lab, host: Host | None = None) -> bool:
    """Whether the host (or any of the laboratory) has a process."""
    return populated(_group(lab, host))


def kill(lab: Lab, host: Host | None = None, timeout: float = 20.0) -> None:
    """End every process of the host (or of all the laboratory) and remove its groups."""
    group = _group(lab, host)
    if group.exists():
        (group / "cgroup.kill").write_text("1", encoding="ascii")
    end = time.monotonic() + timeout
    while alive(lab, host):
        if time.monotonic() > end:
            raise LabError(f"processes in {group} survive SIGKILL")
        time.sleep(0.01)
    unified, legacy = _hierarchies()
    for top in (unified, *legacy):
        _remove(top / group.relative_to(unified), end)
        if not host:
            with contextlib.suppress(OSError):
                (top / _GROUP).rmdir()


def _remove(group: Path, end: float) -> None:
    for directory, _, _ in os.walk(group, topdown=False):
        while True:
            try:
                os.rmdir(directory)
            except FileNotFoundError:
                break
            except OSError:
                # A process that has just been killed leaves its v1 groups a moment later than its v2 group.
                if time.monotonic() > end:
                    raise
                time.sleep(0.01)
            else:
                break
