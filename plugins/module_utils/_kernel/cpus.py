# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's CPUs: which there are, which receive an interface's packets, and their memory nodes."""

from __future__ import annotations

import contextlib
import glob
import os
from collections.abc import Sequence


def possible_cpus() -> int:
    """CPUs that the kernel may ever have: the number of values in a per-CPU map's entry."""
    with open("/sys/devices/system/cpu/possible", encoding="ascii") as source:
        return int(source.read().strip().replace(",", "-").rsplit("-", 1)[-1]) + 1


def parse_cpu_list(text: str) -> list[int]:
    """The kernel's list form: "0-3,8" → [0, 1, 2, 3, 8]."""
    found: list[int] = []
    for part in text.strip().split(","):
        if part:
            first, _dash, last = part.partition("-")
            found += range(int(first), int(last or first) + 1)
    return found


def online_cpus() -> list[int]:
    """The CPUs that are online."""
    with open("/sys/devices/system/cpu/online", encoding="ascii") as source:
        return parse_cpu_list(source.read())


def forwarding_cpus(interfaces: Sequence[str]) -> list[int]:
    """The CPUs to which the interfaces' interrupts go; every online one where an interface has none."""
    found: set[int] = set()
    for name in interfaces:
        mine: set[int] = set()
        for interrupt in _interrupts(f"/sys/class/net/{name}/device"):
            path = f"/proc/irq/{interrupt}/effective_affinity_list"
            with contextlib.suppress(OSError), open(path, encoding="ascii") as source:
                mine.update(parse_cpu_list(source.read()))
        if not mine:
            return online_cpus()
        found |= mine
    return sorted(found) or online_cpus()


def _interrupts(device: str) -> list[str]:
    """The numbers of a device's interrupts; a virtio device's are those of the PCI device that it is behind."""
    if not os.path.exists(device):
        return []
    for place in (device, os.path.join(os.path.realpath(device), "..")):
        found = glob.glob(f"{place}/msi_irqs/*")
        if found:
            return [os.path.basename(path) for path in found]
    return []


def numa_nodes() -> list[int]:
    """The machine's memory nodes; one where the kernel does not tell them apart."""
    try:
        with open("/sys/devices/system/node/online", encoding="ascii") as source:
            return parse_cpu_list(source.read())
    except OSError:
        return [0]


def numa_node(cpu: int) -> int:
    """The memory node of a CPU; the first one where that is unknown."""
    found = glob.glob(f"/sys/devices/system/cpu/cpu{cpu}/node[0-9]*")
    return int(os.path.basename(found[0]).removeprefix("node")) if found else numa_nodes()[0]
