# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The marks of the agent's probes among the destinations of health checks."""

from __future__ import annotations

from collections.abc import Mapping

from .._kernel.lock import locked
from .._kernel.state_files import StateFile
from .._model.entries import Asked
from .._model.marks import marks_of
from .._model.state import State
from .._model.tables import ProbeDestinations
from .._model.vips import vips_from_config
from .._program.requirements import require_capabilities
from .request import Request, Result
from .resource import beside_balancer


def keep_probe_destinations(request: Request, marks: Mapping[str, int] | None = None) -> Result:
    """Let each of the agent's marks lead to its real, and end those of reals that are probed no more.

    `marks`: real → mark; None: of every real of a VIP that is checked by probes. Other marks stay as they are. Doing it
    again writes nothing. EngineError where program healthcheck is not loaded.
    """
    require_capabilities()
    with locked(request.instance, not request.check, request.lock_timeout):
        file = StateFile(request.instance, request.bpffs)
        closed = file.close(request.check)
        if marks is None:
            marks = _wanted(file.read())
        rows = [{"mark": mark, "real": real} for real, mark in marks.items()]
        result = beside_balancer(ProbeDestinations(), request, file, Asked(rows, "overridden", allow_empty=True))
        result.changes[:0] = closed
        return result


def _wanted(state: State) -> dict[str, int]:
    vips = vips_from_config(state.vips).values()
    checked = (vip for vip in vips if vip.check is not None and vip.check.probe.type != "external")
    return marks_of({real.address for vip in checked for real in vip.reals}, state.real_ids.assigned)
