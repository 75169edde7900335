# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import typing as t
import uuid
from collections.abc import Mapping

from ansible.plugins.action import ActionBase
from ansible.plugins.loader import lookup_loader

from ansible_collections.katran.fleet.plugins.module_utils._model.inventory import GROUPS, missing_groups
from ansible_collections.katran.fleet.plugins.plugin_utils.audit import audit_of
from ansible_collections.katran.fleet.plugins.plugin_utils.fleet import Fleet, message, report
from ansible_collections.katran.fleet.plugins.plugin_utils.host_values import remembering
from ansible_collections.katran.fleet.plugins.plugin_utils.host_variables import HostVariables
from ansible_collections.katran.fleet.plugins.plugin_utils.rollout import rollout_of

ROLES = os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "..", "roles")


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
        variables = HostVariables(self._templar, everything["hostvars"])
        groups = {
            variable: str(self._templar.template(everything.get(variable, name))) for variable, name in GROUPS.items()
        }
        members = {variable: self._hosts(pattern, everything) for variable, pattern in groups.items()}
        if arguments["role"]:
            alone = str(everything["inventory_hostname"])
            fleet = Fleet(variables, members["katran_balancers_group"], alone, members["katran_reals_group"])
            return self._one(fleet, variables, arguments["role"], everything)
        fleet = Fleet(variables, members["katran_balancers_group"], reals=members["katran_reals_group"])
        wanted = {"balancer": members["katran_balancers_group"], "real": members["katran_reals_group"]}
        for role, hosts in wanted.items():
            defaults, settled = self._of_role(role, "defaults"), self._of_role(role, "vars")
            for host in hosts:
                variables.use(host, {**defaults, **variables.raw(host), **settled})
        told: dict[str, t.Any] = {
            "balancers": {host: fleet.balancer(host) for host in wanted["balancer"]},
            "reals": {host: fleet.real(host) for host in wanted["real"]},
            "resources": fleet.resources,
            "rollout": rollout_of(fleet, variables, wanted["balancer"]),
        }
        fleet.review(wanted["balancer"], wanted["real"])
        told["ask"] = sorted(
            {each for role in ("balancers", "reals") for one in told[role].values() for each in one["ask"]}
        )
        everywhere = missing_groups(everything["groups"], groups, members)
        seen = list(everything.get("ansible_play_hosts_all", ()))
        answer = self._answer(fleet, everywhere, seen, told)
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

    def _hosts(self, pattern: str, everything: dict[str, t.Any]) -> list[str]:
        lookup = lookup_loader.get("ansible.builtin.inventory_hostnames", loader=self._loader, templar=self._templar)
        return list(lookup.run([pattern], variables=everything))

    def _of_role(self, role: str, kind: str) -> dict[str, t.Any]:
        """The variables in a role's file, as templates."""
        path = os.path.join(ROLES, role, kind, "main.yml")
        return dict(self._loader.load_from_file(path, cache="all", unsafe=True, trusted_as_template=True) or {})
