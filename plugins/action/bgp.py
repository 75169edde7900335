# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.katran.fleet.plugins.plugin_utils.packages import InstallingAction


class ActionModule(InstallingAction):
    """Installs packages only where the host lacks them."""

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        super().run(tmp, task_vars)
        found = self._module(task_vars)
        needs = found.pop("needs", None)
        if not needs or self._task.check_mode:
            return found
        installed = self._install(needs["packages"], task_vars)
        if installed.get("failed"):
            return installed
        again = self._module(task_vars)
        if again.get("failed"):
            return again
        if again.pop("needs", None):
            return {**again, "failed": True, "msg": f"{', '.join(needs['packages'])} did not bring bird to this host"}
        # What a review says too: a package may start and enable by itself what the second run finds done.
        return {**again, "changed": True, "changes": found["changes"]}

    def _module(self, task_vars: dict[str, t.Any] | None) -> dict[str, t.Any]:
        return dict(self._execute_module(module_name="katran.fleet.bgp", task_vars=task_vars))
