# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module leaving_info."""

from __future__ import annotations

import typing as t
from dataclasses import asdict

from .._engine.leaving_reals import watch_reals
from .._model.errors import EngineError
from .._model.readiness import parse_reals
from .module import guarded, module_of
from .request import request_of


def run_leaving_info() -> None:
    """The whole of module leaving_info."""
    module = module_of(
        {"reals": {"type": "list", "elements": "str", "required": True}, "wait": {"type": "float", "default": 0.0}}
    )

    def work() -> dict[str, t.Any]:
        params = module.params
        if not 0 <= params["wait"] <= 3600:
            raise EngineError(f"wait: {params['wait']:g} is not a number of seconds (0 to 3600)")
        reals = sorted(parse_reals(params["reals"], "reals"))
        return {"changed": False, **asdict(watch_reals(request_of(params, False), reals, params["wait"]))}

    guarded(module, work)
