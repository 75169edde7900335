# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run of a balancer's program reads and changes beside what every program's does: tables, CPUs, routes."""

from __future__ import annotations

import typing as t
from collections.abc import Sequence

from .._model.map_specs import MapSpec
from . import bpf
from .cpus import forwarding_cpus, numa_node, numa_nodes, possible_cpus
from .egress_edges import KernelNetworkEdges, NetworkEdges
from .open_map import Map
from .parameters import read_mtu
from .pins import create_table


class BalancerEdges(NetworkEdges, t.Protocol):
    """A host that balances."""

    def create_table(self, spec: MapSpec, entries: int, node: int | None, /) -> Map:
        """Create a map that is pinned nowhere, on a memory node."""

    def wait_for_packets(self) -> None:
        """Return when every run of a program that had begun is over."""

    def memory(self, opened: Map, /) -> int:
        """The bytes of the kernel's memory that a map takes."""

    def possible_cpus(self) -> int:
        """CPUs that the kernel may ever have."""

    def forwarding_cpus(self, interfaces: Sequence[str], /) -> list[int]:
        """The CPUs to which the interfaces' interrupts go; every online one where an interface has none."""

    def mtu(self, interface: str, /) -> int | None:
        """An interface's MTU in bytes; None where there is no such interface."""

    def numa_nodes(self) -> list[int]:
        """The machine's memory nodes."""

    def numa_node(self, cpu: int, /) -> int:
        """The memory node of a CPU."""


class KernelBalancerEdges(KernelNetworkEdges):
    """The host that this process runs on."""

    possible_cpus = staticmethod(possible_cpus)
    forwarding_cpus = staticmethod(forwarding_cpus)
    mtu = staticmethod(read_mtu)
    create_table = staticmethod(create_table)
    wait_for_packets = staticmethod(bpf.wait_for_programs)

    @staticmethod
    def memory(opened: Map) -> int:
        """The bytes that a map takes."""
        return bpf.memory_bytes(opened.fd)

    @staticmethod
    def numa_nodes() -> list[int]:
        """The machine's memory nodes."""
        return numa_nodes()

    @staticmethod
    def numa_node(cpu: int) -> int:
        """The memory node of a CPU."""
        return numa_node(cpu)
