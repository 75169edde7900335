# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module xdp_root."""

from __future__ import annotations

import typing as t

from .._engine.xdp_root import Root
from .._model.root_settings import XDP_ROOT, parse_root
from .module import guarded, module_of, steps_result
from .request import request_of


def run_xdp_root() -> None:
    """The whole of module xdp_root."""
    module = module_of(XDP_ROOT)

    def work() -> dict[str, t.Any]:
        params = dict(module.params)
        request = request_of(params, module.check_mode)
        root = Root(request.instance, request.bpffs)
        if params["state"] == "absent":
            outcome = root.remove(request.check, request.lock_timeout)
        else:
            outcome = root.ensure(parse_root(params), request.check, request.lock_timeout)
        output = steps_result(module, "xdp_root", outcome.changes, outcome.warnings, outcome.before, outcome.after)
        if params["state"] == "attached" and not module.check_mode:
            output.update(attached=outcome.attached, root_array=root.array, slots=outcome.slots)
        return output

    guarded(module, work)
