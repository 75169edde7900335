# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module flows_info."""

from __future__ import annotations

import typing as t

from .._engine.flows_info import find_flows
from .._model.flow_selection import FLOW_FILTERS
from .module import guarded, module_of
from .request import request_of


def run_flows_info() -> None:
    """The whole of module flows_info."""
    module = module_of(
        {**FLOW_FILTERS, "stale": {"type": "bool", "default": False}, "limit": {"type": "int", "default": 100}}
    )

    def work() -> dict[str, t.Any]:
        found = find_flows(request_of(module.params, False), module.params)
        return {
            "changed": False,
            "flows": found.flows,
            "total": found.total,
            "reals": found.reals,
            "tables": found.tables,
            "warnings": found.warnings,
        }

    guarded(module, work)
