# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Taking the steps of a plan for a real."""

from __future__ import annotations

import typing as t

from .._kernel.real_edges import RealEdges
from .._model.firewall import AcceptTunnels, TakeBack
from .._model.steps import AddQdisc, PutFilter, RemoveFilter, RemoveQdisc
from .._model.tunnels import AddAddress, ClosePort, MakeTunnel, OpenPort, RaiseTunnel, RemoveTunnel, SetParameter
from .executor import Executor
from .home import Home


class RealExecutor(Executor):
    """One run's steps, with filters on what comes in."""

    def __init__(self, home: Home[t.Any], host: RealEdges) -> None:
        super().__init__(home)
        self.host = host

    def add_qdisc(self, step: AddQdisc) -> None:
        self.host.add_ingress_qdisc(step.interface, step.index)

    def put_filter(self, step: PutFilter) -> None:
        self.host.put_ingress(step.interface, step.index, step.place, self.program())

    def remove_filter(self, step: RemoveFilter) -> None:
        self.host.remove_ingress(step.interface, step.index, step.place)

    def remove_qdisc(self, step: RemoveQdisc) -> None:
        self.host.remove_ingress_qdisc(step.interface, step.index)

    # the kernel's tunnels, and the firewall

    def make_tunnel(self, step: MakeTunnel) -> None:
        self.host.make_tunnel(step.name, step.instead)

    def add_address(self, step: AddAddress) -> None:
        self.host.add_tunnel_address(step.name)

    def set_parameter(self, step: SetParameter) -> None:
        self.host.set_parameter(step.path, step.value)

    def raise_tunnel(self, step: RaiseTunnel) -> None:
        self.host.raise_tunnel(step.name)

    def remove_tunnel(self, step: RemoveTunnel) -> None:
        self.host.remove_tunnel(step.name)

    def open_port(self, step: OpenPort) -> None:
        self.host.open_port(step.family, step.port)

    def close_port(self, step: ClosePort) -> None:
        self.host.close_port(step.family, step.port)

    def change_chain(self, step: AcceptTunnels | TakeBack) -> None:
        self.host.change_chain(step.chain, step.rules)


RealExecutor.taking = {
    **Executor.taking,
    AddQdisc: RealExecutor.add_qdisc,
    PutFilter: RealExecutor.put_filter,
    RemoveFilter: RealExecutor.remove_filter,
    RemoveQdisc: RealExecutor.remove_qdisc,
    MakeTunnel: RealExecutor.make_tunnel,
    AddAddress: RealExecutor.add_address,
    SetParameter: RealExecutor.set_parameter,
    RaiseTunnel: RealExecutor.raise_tunnel,
    RemoveTunnel: RealExecutor.remove_tunnel,
    OpenPort: RealExecutor.open_port,
    ClosePort: RealExecutor.close_port,
    AcceptTunnels: RealExecutor.change_chain,
    TakeBack: RealExecutor.change_chain,
}
