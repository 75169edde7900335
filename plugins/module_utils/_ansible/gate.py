# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module gate."""

from __future__ import annotations

import typing as t

from .._engine.gate import look_before, watch
from .._model.errors import ConfigError
from .._model.gate import LONGEST, Sample
from .module import guarded, module_of
from .request import request_of


def run_gate() -> None:
    """The whole of module gate."""
    module = module_of(
        {
            "phase": {"type": "str", "choices": ["before", "after"], "required": True},
            "before": {"type": "dict"},
            "seconds": {"type": "float", "default": 5.0},
            "drained": {"type": "bool", "default": False},
        }
    )

    def work() -> dict[str, t.Any]:
        params = module.params
        if not 0 <= params["seconds"] <= LONGEST:
            raise ConfigError(f"seconds: {params['seconds']:g} is not a number of seconds (0 to {LONGEST})")
        request = request_of(params, True)
        looks = params["seconds"] and not module.check_mode
        if params["phase"] == "before":
            sample = look_before(request) if looks else Sample()
            return {"changed": False, "sample": sample.to_data()}
        if not looks:
            return {"changed": False}
        before = Sample.from_data(params["before"]) if params["before"] else Sample()
        found = watch(request, before, params["seconds"], params["drained"])
        told: dict[str, t.Any] = {
            "changed": False,
            "faults": found.faults,
            "seconds": found.seconds,
            "simulated": found.simulated,
            "packets": found.window.counts.get("frames_seen", 0),
        }
        if found.faults:
            module.fail_json(msg="the gate found: " + "; ".join(found.faults), **told)
        return told

    guarded(module, work)
