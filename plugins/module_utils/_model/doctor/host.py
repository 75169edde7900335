# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with a host by itself: its kernel, compiler, clock, disk and agent. Pure."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Iterator, Sequence

from .finding import Finding

LEAST_KERNEL = (6, 1)
_AHEAD_SECONDS = 2.0
"""How far in the future a file of ours may be: file systems round."""

_ROOM = 64 << 20
"""Bytes that a run of a large fleet may write: state, bytecode, an entry of the history."""

_LEAST_ROOM = 4 << 20
"""Bytes that the state of a large fleet takes, written anew beside the present one."""

HUNG_SECONDS = 30.0
"""An agent writes every few seconds; one that did not for so long does nothing."""


def of_kernel(release: str, jit: bool, lockdown: str) -> Iterator[Finding]:
    """A kernel that is too old, slow or closed."""
    numbers = re.match(r"(\d+)\.(\d+)", release)
    if numbers and tuple(map(int, numbers.groups())) < LEAST_KERNEL:
        yield Finding(
            "kernel_unfit",
            release,
            f"kernel {release} is older than {LEAST_KERNEL[0]}.{LEAST_KERNEL[1]}, which programs need",
            "install a newer kernel of the distribution and reboot",
        )
    if not jit:
        yield Finding(
            "kernel_unfit",
            release,
            "the kernel interprets programs instead of translating them: packets cost many times as much",
            "sysctl net.core.bpf_jit_enable=1, and let /etc/sysctl.d say so at boot",
            error=False,
        )
    if lockdown == "confidentiality":
        yield Finding(
            "kernel_unfit",
            release,
            "the kernel is locked down for confidentiality, which forbids programs to read packets' memory",
            "boot with lockdown=integrity",
        )


def of_compiler(missing: Sequence[str]) -> Iterator[Finding]:
    """What a compile lacks. The program that runs needs none, the next deploy does."""
    if missing:
        yield Finding(
            "bcc_unfit",
            "",
            f"this host cannot compile programs: {', '.join(missing)} missing for /usr/bin/python3",
            "apt-get install --reinstall python3-bpfcc libbpfcc python3-pyroute2 python3-netaddr; a deploy installs"
            " what a host lacks (katran_host_packages)",
            error=False,
        )


class Clock(t.NamedTuple):
    """`now`: seconds since the epoch; `newest`: when a file of ours was written last, and which."""

    now: float
    synchronised: bool
    container: bool
    newest: tuple[float, str] = (0.0, "")


def of_clock(clock: Clock) -> Iterator[Finding]:
    """A clock that nobody keeps right, or that went back."""
    remedy = "install chrony or systemd-timesyncd, let it reach its servers, and see timedatectl"
    ahead = clock.newest[0] - clock.now
    if ahead > _AHEAD_SECONDS:
        yield Finding(
            "clock_unfit",
            "",
            f"the clock went back: {clock.newest[1]} was written {ahead:.0f} s from now; verdicts of feeders end late,"
            " and what is said of reals from now on counts as older than what was said before",
            remedy,
        )
    if not clock.synchronised and not clock.container:
        yield Finding(
            "clock_unfit",
            "",
            "nothing keeps the clock right (adjtimex says unsynchronised): certificates, feeders' verdicts and whose"
            " word on a real is the newest go by it",
            remedy,
            error=False,
        )


class Disk(t.NamedTuple):
    """The file system that a folder is on. `free`: bytes that root may write; `names`: whether files can be made."""

    folder: str
    read_only: bool
    free: int
    names: bool = True


def of_disk(disk: Disk) -> Iterator[Finding]:
    """A disk that takes no state: a run writes down what it does before it does it, and so does nothing."""
    missing = "is read-only" if disk.read_only else "has room for no file more" if not disk.names else ""
    if not missing and disk.free < _ROOM:
        missing = f"has {disk.free >> 20} MiB left"
    if missing:
        yield Finding(
            "disk_unfit",
            disk.folder,
            f"the disk of {disk.folder} {missing}: runs are refused, and reals that checks find down stay in the rings",
            "remount it writable, and see to the disk (dmesg)"
            if disk.read_only
            else f"make room (df -h {disk.folder}, df -i {disk.folder}); what waits is applied within half a minute",
            error=disk.read_only or not disk.names or disk.free < _LEAST_ROOM,
        )


class Agent(t.NamedTuple):
    """`told`: whether agent.json is there; `needed`: what stands still without one; `held`: whether one takes part.

    `age`: seconds since it wrote what it knows of checks, None where it never did.
    """

    told: bool
    needed: Sequence[str]
    held: bool
    age: float | None = None


def of_agent(instance: str, agent: Agent) -> Iterator[Finding]:
    """An agent that is not there, or hangs."""
    about = f"instance {instance}"
    what = ", ".join(agent.needed)
    if agent.held:
        if agent.age is not None and agent.age > HUNG_SECONDS and agent.needed:
            yield Finding(
                "agent_down",
                about,
                f"katran-agent runs, but wrote nothing for {agent.age:.0f} s: {what} may stand still",
                "systemctl restart katran-agent; journalctl -u katran-agent says what it waits for",
            )
    elif agent.told:
        yield Finding(
            "agent_down",
            about,
            f"katran-agent does not take part in balancer {instance}: {what or 'metrics'} stand still, and packets go"
            " on as they were",
            "systemctl status katran-agent and journalctl -u katran-agent say why; systemctl start katran-agent",
        )
    elif agent.needed:
        yield Finding(
            "agent_down",
            about,
            f"balancer {instance} has no agent, but needs one for {what}",
            "set katran_agent: true and deploy",
        )
