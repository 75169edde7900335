# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module agent."""

from __future__ import annotations

import typing as t

from .._engine.agent import ensure_agent, remove_agent, with_address
from .._model.agent_settings import AGENT, parse_agent
from .module import guarded, module_of, steps_result
from .request import request_of


def run_agent() -> None:
    """The whole of module agent."""
    module = module_of(AGENT)

    def work() -> dict[str, t.Any]:
        params = dict(module.params)
        request = request_of(params, module.check_mode)
        if params["state"] == "absent":
            outcome = remove_agent(request)
        else:
            outcome = ensure_agent(request, parse_agent(with_address(params)))
        output = steps_result(module, "agent", outcome.changes, [], outcome.before, outcome.after)
        output["left"] = outcome.left
        return output

    guarded(module, work)
