# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.katran.fleet.plugins.module_utils._model.falling import falling
from ansible_collections.katran.fleet.plugins.module_utils._model.written import as_decimal

_SLICE = 5.0
"""Seconds from line to line."""

Answer = dict[str, t.Any]


class ActionModule(ActionBase):
    """Module drain, which tells every few seconds how many packets still come while it waits."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> Answer:
        super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        wait = _seconds(arguments.get("wait"))
        if wait is None or arguments.get("state") == "undrained" or self._task.check_mode:
            # Where something is wrong with the time, the module says so.
            return self._ask(arguments, task_vars)
        told = self._ask({**arguments, "wait": 0}, task_vars)
        if told.get("failed") or told.get("unreachable"):
            return told
        host = str((task_vars or {}).get("inventory_hostname", ""))
        rates: list[float] = []
        while wait > 0 and not told.get("still"):
            part = min(_SLICE, wait)
            wait -= part
            found = self._ask({**arguments, "wait": part}, task_vars)
            if found.get("failed") or found.get("unreachable"):
                return {**found, "changed": told.get("changed", False)}
            rates += found["rates"]
            told |= {"still": found["still"], "routes": found["routes"], "rates": rates, "falling": falling(rates)}
            quiet = ", none for some seconds" if found["still"] else ""
            Display().display(f"{host}: {found['falling']}{quiet}")
        return told

    def _ask(self, arguments: t.Mapping[str, t.Any], task_vars: dict[str, t.Any] | None) -> Answer:
        found: Answer = self._execute_module(
            module_name="katran.fleet.drain", module_args=dict(arguments), task_vars=task_vars
        )
        return found


def _seconds(value: t.Any) -> float | None:
    """How long is to be waited; None where that is not at all, or no number of seconds."""
    found = as_decimal(value)
    return found if found and found <= 86_400 else None
