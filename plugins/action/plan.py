# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import typing as t
from contextlib import ExitStack

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase

from ansible_collections.katran.fleet.plugins.module_utils._model.fleet_plan import ERROR, FleetPlan, clean
from ansible_collections.katran.fleet.plugins.plugin_utils.fleet_difference import Difference
from ansible_collections.katran.fleet.plugins.plugin_utils.inventories import of_run, opened, read_sealed
from ansible_collections.katran.fleet.plugins.plugin_utils.whole_file import PRIVATE, write_whole

OPTIONS = {
    "old": {"type": "str", "required": True},
    "new": {"type": "str", "default": ""},
    "path": {"type": "path"},
    "markdown": {"type": "path"},
}


class ActionModule(ActionBase):
    """Compares two inventories, prints what changes, and writes it down for programs and merge requests."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        super().run(tmp, task_vars)
        _validated, arguments = self.validate_argument_spec(OPTIONS)
        everything = task_vars or {}
        try:
            for name in ("path", "markdown"):
                self._require_place(arguments[name])
            if not arguments["old"]:
                raise AnsibleError(
                    "katran_plan_old is missing: give what to compare with, a git revision or an inventory"
                )
            plan, hidden = self._plan(arguments["old"], arguments["new"], everything)
        except AnsibleError as error:
            return {"failed": True, "exit_status": ERROR, "msg": clean(" ".join(str(error).split()))}
        for line in plan.lines():
            self._display.display(hidden(line))
        data = plan.to_data()
        told = json.loads(hidden(json.dumps(data)))
        try:
            self._write(arguments["path"], json.dumps(told, indent=2) + "\n")
            self._write(arguments["markdown"], hidden(plan.markdown()))
        except OSError as error:
            return {
                "failed": True,
                "exit_status": ERROR,
                "msg": f"{error.filename} cannot be written: {error.strerror}",
            }
        answer = {"changed": False, "exit_status": plan.status, "summary": told["summary"]}
        if plan.status == ERROR:
            # Ansible prints the whole of a result that failed.
            return {**answer, "failed": True, "msg": told["summary"]}
        return {**answer, "plan": told}

    def _plan(self, old: str, new: str, everything: dict[str, t.Any]) -> tuple[FleetPlan, t.Callable[[str], str]]:
        """What changes, and how its texts lose what nobody is to read."""
        sources = [str(each) for each in everything.get("ansible_inventory_sources") or ()]
        with ExitStack() as stack:
            loaded = [
                stack.enter_context(opened(name, sources, self._loader))
                if name
                else of_run(self._templar, self._loader, everything)
                for name in (old, new)
            ]
            wholes = [read_sealed(each) for each in loaded]
            names = [each.name for each in loaded]
            plan = Difference(wholes[0], wholes[1], (names[0], names[1]), self._limit(everything)).compare()
            plan.notes += [f"{each.name}: {note}" for each in loaded for note in each.notes]

        def hidden(text: str) -> str:
            for each in loaded:
                text = each.seals.hide(text)
            return text

        return plan, hidden

    @staticmethod
    def _limit(everything: dict[str, t.Any]) -> frozenset[str] | None:
        """The hosts that --limit leaves; None where there is no such limit."""
        return frozenset(everything.get("ansible_play_hosts_all", ())) if everything.get("ansible_limit") else None

    @staticmethod
    def _require_place(path: str | None) -> None:
        if path and os.path.isdir(path):
            raise AnsibleError(f"{path} is a folder: give the path of a file")
        folder = os.path.dirname(path or "") or "."
        if not os.path.isdir(folder):
            raise AnsibleError(f"{path}: there is no folder {folder}")

    def _write(self, path: str | None, text: str) -> None:
        if path is not None and not self._task.check_mode:
            write_whole(path, text, PRIVATE)
