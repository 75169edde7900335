# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
import uuid
from collections.abc import Mapping

from ansible.plugins.action import ActionBase

from ansible_collections.katran.fleet.plugins.plugin_utils.audit import audit_of
from ansible_collections.katran.fleet.plugins.plugin_utils.fleet import Fleet, message, report
from ansible_collections.katran.fleet.plugins.plugin_utils.host_values import remembering
from ansible_collections.katran.fleet.plugins.plugin_utils.host_variables import HostVariables
from ansible_collections.katran.fleet.plugins.plugin_utils.whole_fleet import Inventory, read_whole


class ActionModule(ActionBase):
    """Checks the variables of the fleet, or of the host alone that runs it."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        super().run(tmp, task_vars)
        with remembering():
            return self._answers(task_vars or {})

    def _answers(self, everything: dict[str, t.Any]) -> dict[str, t.Any]:
        _validated, arguments = self.validate_argument_spec({"role": {"type": "str", "choices": ["balancer", "real"]}})
        run = Inventory.of_run(self._templar, self._loader, everything)
        members = run.members()
        if arguments["role"]:
            alone = str(everything["inventory_hostname"])
            fleet = Fleet(run.variables, members["katran_balancers_group"], alone, members["katran_reals_group"])
            return self._one(fleet, run.variables, arguments["role"], everything)
        whole = read_whole(run)
        seen = list(everything.get("ansible_play_hosts_all", ()))
        answer = self._answer(whole.fleet, whole.missing, seen, whole.told())
        return answer if "run" not in answer else {**answer, "audit": audit_of(answer["run"], everything)}

    def _one(
        self, fleet: Fleet, variables: HostVariables, role: str, everything: Mapping[str, t.Any]
    ) -> dict[str, t.Any]:
        """The host that runs this, with the variables of its play and role."""
        host = str(everything["inventory_hostname"])
        variables.use(host, everything)
        told = {f"{role}s": {host: getattr(fleet, role)(host)}, "resources": fleet.resources}
        faults = fleet.faults.pop(host, [])
        faults += [f"{other}: {sentence}" for other, sentences in fleet.faults.items() for sentence in sentences]
        if faults:
            return {"failed": True, "msg": "; ".join(faults), "faults": report({host: faults})}
        warnings = message(fleet.warnings).splitlines()
        answer = {"changed": False, "run": uuid.uuid4().hex, "seen": [host], "warnings": warnings}
        return {**answer, "balancers": {}, "reals": {}, **told}

    @staticmethod
    def _answer(fleet: Fleet, everywhere: list[str], seen: list[str], told: dict[str, t.Any]) -> dict[str, t.Any]:
        faults = {host: sentences for host, sentences in fleet.faults.items() if sentences}
        mine = {host: sentences for host, sentences in faults.items() if host in seen}
        others = {host: sentences for host, sentences in faults.items() if host not in seen}
        warnings = [f"left out of this run, {line}" for line in message(others).splitlines()]
        warnings += message({host: lines for host, lines in fleet.warnings.items() if host in seen}).splitlines()
        if mine or everywhere:
            lines = [*everywhere, *message(mine).splitlines()]
            found = [*({"fault": each, "hosts": []} for each in everywhere), *report(mine)]
            return {"failed": True, "msg": "\n".join(lines), "faults": found, "warnings": warnings}
        return {"changed": False, "run": uuid.uuid4().hex, "seen": seen, "warnings": warnings, **told}
