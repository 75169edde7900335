# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run of program healthcheck reads and changes beside what every program's does."""

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Sequence

from .._model.snapshot import EgressPlace, Filter, GatewayAnswer
from .edges import Edges, KernelEdges
from .network import FAMILIES, ask_gateway, own_address
from .tc import Egress, ways_out

FILTER_NAME = "katran_healthcheck"


class NetworkEdges(Edges, t.Protocol):
    """A host that has routes and addresses of its own."""

    def ask_gateway(self, interfaces: Sequence[str], confirm: bool, wait: bool, /) -> GatewayAnswer:
        """What the default routes lead to. ProgramError where the host cannot tell."""

    def own_address(self, family: str, interfaces: Sequence[str], /) -> str | None:
        """This host's first global address of a family, IPv4 or IPv6, on the interfaces. ProgramError likewise."""


class EgressEdges(NetworkEdges, t.Protocol):
    """A host whose interfaces filter what leaves."""

    def ways_out(self, interfaces: Iterable[str], /) -> dict[str, EgressPlace]:
        """Interface → its way out, of those that there are. ProgramError where the host cannot tell."""

    def add_qdisc(self, interface: str, index: int, /) -> None:
        """Give an interface its clsact."""

    def remove_qdisc(self, interface: str, index: int, /) -> None:
        """Take an interface's clsact away."""

    def put_filter(self, interface: str, index: int, place: Filter | None, fd: int, /) -> None:
        """Run a program on what leaves, in a filter's place, or before every filter that is there."""

    def remove_filter(self, interface: str, index: int, place: Filter, /) -> None:
        """Take a filter away."""


def _own_address(family: str, interfaces: Sequence[str]) -> str | None:
    return own_address(FAMILIES[family], interfaces)


def _add_qdisc(interface: str, index: int) -> None:
    with Egress() as egress:
        egress.add_qdisc(interface, index)


def _remove_qdisc(interface: str, index: int) -> None:
    with Egress() as egress:
        egress.remove_qdisc(interface, index)


def _put_filter(interface: str, index: int, place: Filter | None, fd: int) -> None:
    with Egress() as egress:
        if place is None:
            egress.add(interface, index, fd, FILTER_NAME)
        else:
            egress.replace(interface, index, place, fd)


def _remove_filter(interface: str, index: int, place: Filter) -> None:
    with Egress() as egress:
        egress.remove(interface, index, place)


class KernelNetworkEdges(KernelEdges):
    """Routes and addresses of the host that this process runs on."""

    ask_gateway = staticmethod(ask_gateway)
    own_address = staticmethod(_own_address)


class KernelEgressEdges(KernelNetworkEdges):
    """The host that this process runs on."""

    ways_out = staticmethod(ways_out)
    add_qdisc = staticmethod(_add_qdisc)
    remove_qdisc = staticmethod(_remove_qdisc)
    put_filter = staticmethod(_put_filter)
    remove_filter = staticmethod(_remove_filter)
