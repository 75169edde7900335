# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module report_info."""

from __future__ import annotations

import typing as t

from .._engine.report import report_facts
from .._kernel.lock import leave_nothing
from .._program.requirements import require_capabilities
from .module import guarded, module_of
from .request import request_of


def run_report_info() -> None:
    """The whole of module report_info."""
    module = module_of({})
    leave_nothing()

    def work() -> dict[str, t.Any]:
        require_capabilities()
        return {"changed": False, "facts": report_facts(request_of(module.params, True))}

    guarded(module, work)
