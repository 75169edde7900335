# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible.plugins.action import ActionBase

from ansible_collections.katran.fleet.plugins.plugin_utils.applied import of_host


class ActionModule(ActionBase):
    """Gives the module what a deploy would apply to this host."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        super().run(tmp, task_vars)
        options = dict(self._task.args)
        preflight = options.pop("preflight", None)
        if "applied" not in options:
            if not isinstance(preflight, dict) or "balancers" not in preflight:
                return {"failed": True, "msg": "preflight is not what module katran.fleet.preflight returned"}
            options["applied"] = of_host(self._templar, self._loader, task_vars or {}, preflight)
        return dict(
            self._execute_module(module_name="katran.fleet.drift_info", module_args=options, task_vars=task_vars)
        )
