# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module decap."""

from __future__ import annotations

import typing as t

from .._engine.decap import Real
from .._model.decap_settings import DECAP, parse_real, parse_staying
from .._program.toolchain import HostToolchain
from .module import guarded, module_of, steps_result
from .request import request_of
from .sources import PLANNED_SOURCES, planned_sources


def run_decap() -> None:
    """The whole of module decap."""
    module = module_of({**DECAP, **PLANNED_SOURCES})

    def work() -> dict[str, t.Any]:
        params = dict(module.params)
        request = request_of(params, module.check_mode)
        real = Real(request.instance, request.bpffs, tools=HostToolchain(planned_sources(module)))
        if params["state"] == "absent":
            outcome = real.remove(request.check, request.lock_timeout)
        elif params["state"] == "withdrawn":
            outcome = real.withdraw(parse_staying(params), request.check, request.lock_timeout)
        else:
            outcome = real.ensure(parse_real(params), request.check, request.lock_timeout)
        output = steps_result(module, "decap", outcome.changes, outcome.warnings, outcome.before, outcome.after)
        output["operations"] = outcome.operations
        output |= outcome.program
        return output

    guarded(module, work)
