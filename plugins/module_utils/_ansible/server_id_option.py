# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module server_id_option."""

from __future__ import annotations

import typing as t

from .._engine.server_id_info import server_id_info
from .._engine.server_id_option import ServerIdOption
from .._model.server_id_settings import SERVER_ID_OPTION, parse_server_id
from .._program.toolchain import HostToolchain
from .module import guarded, module_of, steps_result
from .request import request_of
from .sources import PLANNED_SOURCES, planned_sources


def run_server_id_option() -> None:
    """The whole of module server_id_option."""
    module = module_of({**SERVER_ID_OPTION, **PLANNED_SOURCES})

    def work() -> dict[str, t.Any]:
        params = dict(module.params)
        request = request_of(params, module.check_mode)
        option = ServerIdOption(request.instance, request.bpffs, tools=HostToolchain(planned_sources(module)))
        if params["state"] == "absent":
            outcome = option.remove(request.check, request.lock_timeout)
        else:
            outcome = option.ensure(parse_server_id(params), request.check, request.lock_timeout)
        output = steps_result(
            module, "server_id_option", outcome.changes, outcome.warnings, outcome.before, outcome.after
        )
        output["operations"] = outcome.operations
        output |= outcome.program
        output["counters"] = server_id_info(request.instance, request.bpffs).get("counters", {})
        return output

    guarded(module, work)
