# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module healthcheck."""

from __future__ import annotations

import typing as t

from .._engine.healthcheck import Healthcheck
from .._engine.probe_interface import with_interface
from .._model.healthcheck_settings import HEALTHCHECK, parse_healthcheck
from .._program.toolchain import HostToolchain
from .module import guarded, module_of, steps_result
from .request import request_of
from .sources import PLANNED_SOURCES, planned_sources


def run_healthcheck() -> None:
    """The whole of module healthcheck."""
    module = module_of({**HEALTHCHECK, **PLANNED_SOURCES})

    def work() -> dict[str, t.Any]:
        params = dict(module.params)
        request = request_of(params, module.check_mode)
        healthcheck = Healthcheck(request.instance, request.bpffs, tools=HostToolchain(planned_sources(module)))
        if params["state"] == "absent":
            outcome = healthcheck.remove(request.check, request.lock_timeout)
        else:
            outcome = healthcheck.ensure(
                parse_healthcheck(with_interface(params, request)), request.check, request.lock_timeout
            )
        output = steps_result(module, "healthcheck", outcome.changes, outcome.warnings, outcome.before, outcome.after)
        output["operations"] = outcome.operations
        if outcome.program:
            output["program"] = outcome.program
        return output

    guarded(module, work)
