# SPDX-License-Identifier: GPL-3.0-or-later
"""One run of ansible-playbook against a laboratory, and what it costs the machine it is started on.

CPU is that of a group of cgroup v2 in which ansible-playbook starts: the kernel counts there what every process used
that ever was in the group, so also ssh's masters, which leave their session and have another parent, and what died
unwaited for. A subreaper would miss those that outlive the run. No other process is in the group: the hosts' sshd and
modules are in the groups of their hosts, though they run on the same machine, and the laboratory's proxy command, which
stands for a network, moves to a group of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lab"))

from fleetlab import cgroup, lifecycle
from fleetlab.fleet import ansible, ansible_environment
from fleetlab.plan import Host, Lab
from fleetlab.runs import Recap, recaps

# Reading a process's share of memory costs CPU that the run could use.
_MEMORY_INTERVAL = 2.0
_IN_GROUP = 'echo 0 >"$0/cgroup.procs" && exec "$@"'
_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Cost:
    """What one run took.

    Seconds: *wall*, and CPU of the *controller*, of the laboratory's *proxy* command, of the *hosts* of the inventory
    together, and of *others* on the machine meanwhile. Bytes, at the peak: *process_memory*, resident in
    ansible-playbook itself, and *memory* of all the controller's processes together, in which shared pages count once
    (the sum of their PSS, looked at every two seconds).
    """

    wall: float
    controller: float
    proxy: float
    hosts: float
    others: float
    process_memory: int
    memory: int


@dataclass(frozen=True)
class Deploy:
    """A run: what it cost, how it ended for each host, where its output is."""

    cost: Cost
    recap: dict[str, Recap]
    status: int
    log: Path


class Controller:
    """Runs ansible-playbook in groups of its own, which go with the laboratory."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self.proxy_group = cgroup.beside(lab, "controller/proxy")
        self._group = cgroup.beside(lab, "controller/ansible")

    def run(self, checkout: Path, arguments: Sequence[str], hosts: Sequence[Host], log: Path) -> Deploy:
        """Run ansible-playbook in *checkout*, with its ansible.cfg, to its end, from no open connection to none."""
        self._disconnect()
        before, others = self._used(hosts), _machine_seconds()
        begin = time.monotonic()
        with open(log, "wb") as output:
            process = subprocess.Popen(
                ["sh", "-c", _IN_GROUP, str(self._group), ansible("ansible-playbook"), *arguments],
                cwd=checkout,
                env=ansible_environment(self._lab.prefix),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            own, together = self._watch(process)
        wall = time.monotonic() - begin
        # A master that ends uses CPU for it.
        self._disconnect()
        others = _machine_seconds() - others
        controller, proxy, on_hosts = (now - then for now, then in zip(self._used(hosts), before, strict=True))
        cost = Cost(wall, controller, proxy, on_hosts, others - controller - proxy - on_hosts, own, together)
        return Deploy(cost, recaps(log.read_text(encoding="utf-8")), process.returncode, log)

    def _used(self, hosts: Sequence[Host]) -> tuple[float, float, float]:
        groups = (cgroup.cpu_seconds(self._group), cgroup.cpu_seconds(self.proxy_group))
        return (*groups, sum(cgroup.host_cpu_seconds(self._lab, host) for host in hosts))

    def _disconnect(self) -> None:
        """End the connections that are kept open, and return when no process of the controller is left."""
        lifecycle.close_connections(self._lab)
        end = time.monotonic() + 60
        while cgroup.populated(self._group) or cgroup.populated(self.proxy_group):
            if time.monotonic() > end:
                raise SystemExit(f"processes of the controller do not end: see {self._group}/cgroup.procs")
            time.sleep(0.01)

    def _watch(self, process: subprocess.Popen[bytes]) -> tuple[int, int]:
        """Wait for the end; peaks of resident memory of the process, and of all of the group, in bytes."""
        own = together = 0
        due = time.monotonic() + _MEMORY_INTERVAL
        try:
            while process.poll() is None:
                time.sleep(0.1)
                own = max(own, _field(f"/proc/{process.pid}/status", "VmHWM"))
                if time.monotonic() >= due:
                    pids = (self._group / "cgroup.procs").read_text(encoding="ascii").split()
                    together = max(together, sum(_field(f"/proc/{pid}/smaps_rollup", "Pss") for pid in pids))
                    due = time.monotonic() + _MEMORY_INTERVAL
        finally:
            if process.returncode is None:
                process.terminate()
                process.wait()
        return own, together


def _field(path: str, name: str) -> int:
    """A field of a file of /proc, in bytes; 0 where the process has ended."""
    try:
        for line in Path(path).read_text(encoding="ascii").splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    except (FileNotFoundError, ProcessLookupError):
        pass
    return 0


def _machine_seconds() -> float:
    """CPU seconds that anybody on this machine has used so far: all of /proc/stat but idle, iowait and the guests'."""
    user, nice, system, _idle, _iowait, irq, softirq = map(
        int, Path("/proc/stat").read_text().split("\n")[0].split()[1:8]
    )
    return (user + nice + system + irq + softirq) / _TICK
