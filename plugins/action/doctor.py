# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t
from collections.abc import Mapping

from ansible.plugins.action import ActionBase

from ansible_collections.katran.fleet.plugins.module_utils._model.doctor.answers import Answered, report_of
from ansible_collections.katran.fleet.plugins.module_utils._model.doctor.correlate import diagnose
from ansible_collections.katran.fleet.plugins.module_utils._model.doctor.expected import inventory_of
from ansible_collections.katran.fleet.plugins.plugin_utils.whole_file import PRIVATE, write_whole

OPTIONS = {
    "preflight": {"type": "dict", "required": True},
    "examined": {"type": "list", "elements": "str", "required": True},
    "counted": {"type": "str"},
    "path": {"type": "path"},
}


class ActionModule(ActionBase):
    """Joins what hosts told, prints it for people, and writes it down for programs."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        super().run(tmp, task_vars)
        _validated, arguments = self.validate_argument_spec(OPTIONS)
        preflight = arguments["preflight"]
        hostvars = (task_vars or {})["hostvars"]
        answered = [
            Answered(host, self._roles(preflight, host, task_vars or {}), result, after)
            for host in hostvars
            for result, after in [self._results(hostvars.raw_get(host), arguments)]
            if result is not None
        ]
        arrived = {each.host: number for each in answered if (number := each.arrived) is not None}
        diagnosis = diagnose(inventory_of(preflight), [report_of(each) for each in answered], arrived)
        told: dict[str, t.Any] = {
            "changed": False,
            "findings": [each._asdict() for each in diagnosis.findings],
            "explained": [each._asdict() for each in diagnosis.explained],
            "errors": len(diagnosis.errors),
            "summary": diagnosis.summary,
        }
        if "reals" not in preflight:
            told["inventory"] = str(preflight.get("msg") or "preflight said nothing")
            self._display.display(f"compared with no inventory: {told['inventory']}")
        for line in diagnosis.lines:
            self._display.display(line)
        if arguments["path"] and not self._task.check_mode:
            try:
                write_whole(arguments["path"], json.dumps(told, indent=2) + "\n", PRIVATE)
            except OSError as error:
                return {"failed": True, "msg": f"path: {arguments['path']} cannot be written: {error.strerror}"}
        return told

    @staticmethod
    def _results(variables: Mapping[str, t.Any], arguments: Mapping[str, t.Any]) -> tuple[t.Any, t.Any]:
        """The host's last examination, and its counters afterwards; None where it has none."""
        found = [variables[name] for name in arguments["examined"] if name in variables]
        found = [each for each in found if not each.get("skipped")]
        return found[-1] if found else None, variables.get(arguments["counted"] or "")

    @staticmethod
    def _roles(preflight: Mapping[str, t.Any], host: str, everything: Mapping[str, t.Any]) -> list[str]:
        """What the inventory has the host for."""
        groups = everything.get("groups", {})
        named = {"balancer": "katran_balancers_group", "real": "katran_reals_group"}
        usual = {"balancer": "balancers", "real": "reals"}
        if "reals" in preflight:
            return [role for role in named if host in preflight[f"{role}s"]]
        return [role for role in named if host in groups.get(everything.get(named[role], usual[role]), ())]
