# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Taking the steps of a plan for program healthcheck."""

from __future__ import annotations

import typing as t

from .._kernel.egress_edges import EgressEdges
from .._model.steps import AddQdisc, PutFilter, RemoveFilter, RemoveQdisc
from .executor import Executor
from .home import Home


class EgressExecutor(Executor):
    """One run's steps, with filters on what leaves."""

    def __init__(self, home: Home[t.Any], egress: EgressEdges) -> None:
        super().__init__(home)
        self.egress = egress

    def add_qdisc(self, step: AddQdisc) -> None:
        self.egress.add_qdisc(step.interface, step.index)

    def put_filter(self, step: PutFilter) -> None:
        self.egress.put_filter(step.interface, step.index, step.place, self.program())

    def remove_filter(self, step: RemoveFilter) -> None:
        self.egress.remove_filter(step.interface, step.index, step.place)

    def remove_qdisc(self, step: RemoveQdisc) -> None:
        self.egress.remove_qdisc(step.interface, step.index)


EgressExecutor.taking = {
    **Executor.taking,
    AddQdisc: EgressExecutor.add_qdisc,
    PutFilter: EgressExecutor.put_filter,
    RemoveFilter: EgressExecutor.remove_filter,
    RemoveQdisc: EgressExecutor.remove_qdisc,
}
