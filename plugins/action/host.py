# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.katran.fleet.plugins.plugin_utils.library import digests, library, sources
from ansible_collections.katran.fleet.plugins.plugin_utils.packages import InstallingAction

# Ansible loads this file before it forks a worker for each host: what is read here is read once for all of them.
digests()


class ActionModule(InstallingAction):
    """Sends digests, and contents and packages only where the host lacks them."""

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        super().run(tmp, task_vars)
        files = library()
        options = {**self._task.args, "files": dict(digests())}
        found = self._module(options, task_vars)
        if self._task.check_mode and not found.get("failed"):
            found["sources"] = sources(options["files"])
        needs = found.pop("needs", None)
        if not needs:
            return found
        if needs["packages"]:
            installed = self._install(needs["packages"], task_vars)
            if installed.get("failed"):
                return installed
        again = self._module({**options, "contents": {path: files[path] for path in needs["files"]}}, task_vars)
        if "needs" in again:
            return {**again, "failed": True, "msg": f"this host still lacks what it needs: {again['changes'][0]}"}
        # Of the first run, what is done by now; of the second, what it did.
        again["changes"] = [*found["changes"][: 1 if needs["packages"] else 0], *again.get("changes", ())]
        again["changed"] = bool(again["changes"])
        return again

    def _module(self, options: dict[str, t.Any], task_vars: dict[str, t.Any] | None) -> dict[str, t.Any]:
        return dict(self._execute_module(module_name="katran.fleet.host", module_args=options, task_vars=task_vars))
