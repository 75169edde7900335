# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module revert."""

from __future__ import annotations

import typing as t

from .._engine.request import Result
from .._engine.revert import revert
from .._model.audit import is_run
from .._model.errors import ConfigError
from .._model.options import Spec
from .._model.resources import RESOURCES
from .diffs import Element, entries_diff, remarks, settings_diff
from .module import guarded, module_of
from .request import request_of

REVERT: Spec = {
    "before_run": {"type": "str"},
    "to": {"type": "int"},
    "stays": {"type": "bool", "default": True},
}


def run_revert() -> None:
    """The whole of module revert."""
    module = module_of(REVERT)

    def work() -> dict[str, t.Any]:
        request = request_of(module.params, module.check_mode)
        run, number = module.params["before_run"], module.params["to"]
        if (run is None) == (number is None):
            raise ConfigError("give one of before_run and to: what to go back to")
        if run is not None and not is_run(run):
            raise ConfigError("before_run: is not the id of a run (katran history shows them)")
        if number is not None and number < 0:
            raise ConfigError(f"to: {number} is not the number of an applied configuration (katran history)")
        done = revert(request, run, number, module.params["stays"])
        result = done.result
        output: dict[str, t.Any] = {
            "changed": result.changed,
            "to": done.to,
            "msg": f"would go {done.told}" if request.check and done.to is not None else done.told,
            "changes": result.changes,
            "operations": result.operations,
            "warnings": result.warnings,
        }
        if module._diff:  # pylint: disable=protected-access
            output["diff"] = [each for name, part in done.parts.items() for each in _diff(name, part, request.instance)]
        return output

    guarded(module, work)


def _diff(name: str, part: Result, instance: str) -> list[Element]:
    if name in RESOURCES:
        return entries_diff(RESOURCES[name].title, part.before, part.after, part.changes, part.drift)
    if name == "balancer":
        return settings_diff(f"{name} {instance}", part.before, part.after, part.changes)
    return [remarks(part.changes)] if part.changes else []
