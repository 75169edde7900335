# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a real's run reads and changes beside what every program's does."""

from __future__ import annotations

import socket
import typing as t
from collections.abc import Collection, Iterable, Sequence

from .._model.firewall import Chain, Rule
from .._model.snapshot import EgressPlace, Filter
from .._model.tunnels import TunnelsSeen
from . import firewall, tunnels
from .edges import Edges, KernelEdges
from .parameters import write_sysctl
from .tc import Ingress, ways_in

FILTER_NAME = "katran_decap"


class RealEdges(Edges, t.Protocol):
    """A host whose interfaces filter what comes in. An index of 0 stands for that which the interface has by then."""

    def ways_in(self, interfaces: Iterable[str], /) -> dict[str, EgressPlace]:
        """Interface → its way in, of those that there are. ProgramError where the host cannot tell."""

    def add_ingress_qdisc(self, interface: str, index: int, /) -> None:
        """Give an interface its clsact."""

    def remove_ingress_qdisc(self, interface: str, index: int, /) -> None:
        """Take an interface's clsact away."""

    def put_ingress(self, interface: str, index: int, place: Filter | None, fd: int, /) -> None:
        """Run a program on what comes in, in a filter's place, or before every filter that is there."""

    def remove_ingress(self, interface: str, index: int, place: Filter, /) -> None:
        """Take a filter away."""

    def read_tunnels(self, wanted: bool, /) -> TunnelsSeen:
        """The kernel's tunnel devices. ProgramError where the host cannot tell."""

    def make_tunnel(self, name: str, instead: bool, /) -> None:
        """Add a device in external mode, down, `instead` of what has its name."""

    def add_tunnel_address(self, name: str, /) -> None:
        """Give a device its IPv4 address."""

    def raise_tunnel(self, name: str, /) -> None:
        """Set a device up."""

    def remove_tunnel(self, name: str, /) -> None:
        """Take a device away."""

    def open_port(self, family: int, port: int, /) -> None:
        """Have the kernel take GUE at a port; `family`: 4 or 6."""

    def close_port(self, family: int, port: int, /) -> None:
        """Take GUE at a port no more."""

    def set_parameter(self, path: str, value: str, /) -> None:
        """Set a kernel parameter by its path below /proc/sys."""

    def read_chains(self) -> list[Chain]:
        """The chains of nftables that packets to the host pass, and our rules in them."""

    def change_chain(self, chain: Chain, rules: Sequence[Rule], /) -> None:
        """Have these rules of ours at the top of a chain, and no others. ProgramError where nftables refuses."""


def running_at_ingress(interface: str, pinned: Collection[int]) -> tuple[bool, int | None]:
    """Whether there is such an interface, and the id of decap there, one of `pinned` before another; None: no decap."""
    way = ways_in([interface]).get(interface)
    if way is None:
        return False, None
    filters = [each.program_id for each in way.filters if each.name.startswith(FILTER_NAME)]
    return True, next((each for each in filters if each in pinned), next(iter(filters), None))


def _add_qdisc(interface: str, index: int) -> None:
    with Ingress() as ingress:
        ingress.add_qdisc(interface, index or socket.if_nametoindex(interface))


def _remove_qdisc(interface: str, index: int) -> None:
    with Ingress() as ingress:
        ingress.remove_qdisc(interface, index)


def _put(interface: str, index: int, place: Filter | None, fd: int) -> None:
    with Ingress() as ingress:
        if place is None:
            ingress.add(interface, index or socket.if_nametoindex(interface), fd, FILTER_NAME)
        else:
            ingress.replace(interface, index, place, fd)


def _remove(interface: str, index: int, place: Filter) -> None:
    with Ingress() as ingress:
        ingress.remove(interface, index, place)


class KernelRealEdges(KernelEdges):
    """The host that this process runs on."""

    ways_in = staticmethod(ways_in)
    add_ingress_qdisc = staticmethod(_add_qdisc)
    remove_ingress_qdisc = staticmethod(_remove_qdisc)
    put_ingress = staticmethod(_put)
    remove_ingress = staticmethod(_remove)
    read_tunnels = staticmethod(tunnels.read_tunnels)
    make_tunnel = staticmethod(tunnels.make_tunnel)
    add_tunnel_address = staticmethod(tunnels.add_address)
    raise_tunnel = staticmethod(tunnels.raise_tunnel)
    remove_tunnel = staticmethod(tunnels.remove_tunnel)
    open_port = staticmethod(tunnels.open_port)
    close_port = staticmethod(tunnels.close_port)
    set_parameter = staticmethod(write_sysctl)
    read_chains = staticmethod(firewall.read_chains)
    change_chain = staticmethod(firewall.change_chain)
