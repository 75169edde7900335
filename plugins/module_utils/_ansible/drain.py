# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module drain."""

from __future__ import annotations

import typing as t

from .._engine.departure import HAND_OVER_SECONDS, Departure, Wish, come_back, leave
from .._model.errors import EngineError
from .._model.falling import falling
from .._model.options import Spec
from .module import guarded, module_of, steps_result
from .request import request_of

_DRAIN: Spec = {
    "state": {"type": "str", "choices": ["drained", "undrained"], "default": "drained"},
    "withdraw": {"type": "bool", "default": False},
    "by": {"type": "str", "default": "ansible"},
    "hand_over": {"type": "float", "default": HAND_OVER_SECONDS},
    "wait": {"type": "float", "default": 0.0},
}


def run_drain() -> None:
    """The whole of module drain."""
    module = module_of(_DRAIN)

    def work() -> dict[str, t.Any]:
        params = module.params
        request = request_of(params, module.check_mode)
        for name in ("hand_over", "wait"):
            if not 0 <= params[name] <= 86_400:
                raise EngineError(f"{name}: {params[name]:g} is not a number of seconds (0 to 86400)")
        wait = params["wait"] or None
        if params["state"] == "drained":
            found = leave(request, Wish(params["by"] or "ansible", params["withdraw"], params["hand_over"], wait))
        else:
            found = come_back(request, wait)
        output = steps_result(module, "drain", found.result.changes, [], found.result.before, found.result.after)
        output |= _told(found)
        if found.trouble:
            # There are none, and Ansible takes the list from what ends well alone.
            del output["warnings"]
            # The word is kept, so that something changed all the same.
            module.fail_json(msg=found.trouble, **output)
        return output

    guarded(module, work)


def _told(found: Departure) -> dict[str, t.Any]:
    """What a module tells of it."""
    return {
        "drained": found.result.after or None,
        "routes": [{"place": place, "metric": metric} for place, metric in sorted(found.routes.items())],
        "peers": dict(found.peers),
        "rates": found.rates,
        "falling": falling(found.rates),
        "still": found.still,
        "missing": [{"place": place, "reason": why} for place, why in sorted(found.missing.items())],
    }
