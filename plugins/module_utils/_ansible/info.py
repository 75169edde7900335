# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module balancer_info."""

from __future__ import annotations

import typing as t

from .._engine.info import SUBSETS, gather_info
from .module import guarded, module_of
from .request import request_of


def run_info() -> None:
    """The whole of module balancer_info."""
    module = module_of(
        {"gather": {"type": "list", "elements": "str", "choices": list(SUBSETS), "default": list(SUBSETS)}}
    )

    def work() -> dict[str, t.Any]:
        found = gather_info(request_of(module.params, True), module.params["gather"])
        return {"changed": False, **found}

    guarded(module, work)
