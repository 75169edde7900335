# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Taking the steps of a plan for a real."""

from __future__ import annotations

import typing as t

from .._kernel.real_edges import RealEdges
from .._model.steps import AddQdisc, PutFilter, RemoveFilter, RemoveQdisc
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


RealExecutor.taking = {
    **Executor.taking,
    AddQdisc: RealExecutor.add_qdisc,
    PutFilter: RealExecutor.put_filter,
    RemoveFilter: RealExecutor.remove_filter,
    RemoveQdisc: RealExecutor.remove_qdisc,
}
