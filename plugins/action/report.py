# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import time
import typing as t

from ansible.plugins.action import ActionBase

from ansible_collections.katran.fleet.plugins.module_utils._model.report.hosts import told_of
from ansible_collections.katran.fleet.plugins.module_utils._model.report.page import report_of
from ansible_collections.katran.fleet.plugins.plugin_utils.audit import revision_of
from ansible_collections.katran.fleet.plugins.plugin_utils.report_page import TITLE, About, rendered
from ansible_collections.katran.fleet.plugins.plugin_utils.whole_file import PRIVATE, write_whole

OPTIONS = {
    "balancers": {"type": "list", "elements": "str", "required": True},
    "told": {"type": "str", "required": True},
    "path": {"type": "path", "required": True},
    "title": {"type": "str", "default": TITLE},
}


class ActionModule(ActionBase):
    """Joins what balancers told, and writes it down as one page."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        super().run(tmp, task_vars)
        _validated, arguments = self.validate_argument_spec(OPTIONS)
        began = time.monotonic()
        variables = task_vars or {}
        hostvars = variables["hostvars"]
        results = {
            host: hostvars.raw_get(host).get(arguments["told"]) for host in arguments["balancers"] if host in hostvars
        }
        asked = {host: result for host, result in results.items() if result is not None and not result.get("skipped")}
        report = report_of([told_of(host, result) for host, result in asked.items()])
        folder = variables.get("inventory_dir")
        about = About(
            time.time(),
            arguments["title"],
            revision_of(str(folder), os.environ) if folder else "",
            [host for host in results if host not in asked],
        )
        page = rendered(report, about)
        # Where it is, whatever folder somebody looks for it from.
        path = os.path.abspath(arguments["path"])
        told = {
            "changed": False,
            "path": path,
            "bytes": len(page.encode()),
            "summary": report.summary,
            "differences": len(report.compared.differences),
            "errors": report.health.errors,
            "warnings_found": report.health.warnings,
        }
        if self._task.check_mode:
            self._display.display(f"{report.summary}; check mode writes no {path}")
            return told
        try:
            write_whole(path, page, PRIVATE)
        except OSError as error:
            return {"failed": True, "msg": f"path: {path} cannot be written: {error.strerror}"}
        told["seconds"] = round(time.monotonic() - began, 3)
        self._display.display(f"{report.summary}: {path}")
        return told
