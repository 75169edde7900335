# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module simulate_info."""

from __future__ import annotations

import typing as t

from .._engine.simulate import simulate
from .._model.simulated_flows import FLOWS
from .module import guarded, module_of
from .request import request_of


def run_simulate_info() -> None:
    """The whole of module simulate_info."""
    module = module_of(FLOWS)

    def work() -> dict[str, t.Any]:
        warnings: list[str] = []
        flows = simulate(request_of(module.params, False), module.params["flows"], warnings)
        return {"changed": False, "flows": flows, "warnings": warnings}

    guarded(module, work)
