# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module flows."""

from __future__ import annotations

import typing as t

from .._engine.flows import Found, purge_flows
from .._model.faults import counted
from .._model.flow_selection import FLOW_FILTERS
from .module import guarded, module_of
from .request import request_of


def run_flows() -> None:
    """The whole of module flows."""
    module = module_of(
        {
            "state": {"type": "str", "choices": ["absent"], "default": "absent"},
            **FLOW_FILTERS,
            "allow_all": {"type": "bool", "default": False},
        }
    )

    def work() -> dict[str, t.Any]:
        found: Found = purge_flows(request_of(module.params, module.check_mode), module.params)
        operations: dict[str, int] = {}
        for table in found.tables:
            operations[table["table"]] = operations.get(table["table"], 0) + table["selected"]
        output = {
            "changed": found.total > 0,
            "removed": found.total,
            "reals": found.reals,
            "operations": {name: number for name, number in sorted(operations.items()) if number},
            "warnings": found.warnings,
        }
        flows = counted(found.total, "flow")
        if module.check_mode and found.total:
            output["msg"] = f"would remove {flows}"
        if module._diff:  # pylint: disable=protected-access
            output["diff"] = {
                "prepared": "".join(f"remove {each['flows']} to {each['real']}\n" for each in found.reals)
            }
        return output

    guarded(module, work)
