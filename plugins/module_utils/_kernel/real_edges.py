# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a real's run reads and changes beside what every program's does."""

from __future__ import annotations

import socket
import typing as t
from collections.abc import Collection, Iterable

from .._model.snapshot import EgressPlace, Filter
from .edges import Edges, KernelEdges
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
