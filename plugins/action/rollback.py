# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
import uuid
from collections.abc import Mapping

from ansible.plugins.action import ActionBase

from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ConfigError
from ansible_collections.katran.fleet.plugins.module_utils._model.fleet_revert import newest, read_aim
from ansible_collections.katran.fleet.plugins.module_utils._model.rollout import agreed_sizes
from ansible_collections.katran.fleet.plugins.plugin_utils.audit import audit_of

OPTIONS = {"before_run": {"type": "raw"}, "to": {"type": "raw"}, "histories": {"type": "str"}}


class ActionModule(ActionBase):
    """Says what the fleet goes back to: what the operator says, or the last run of all balancers."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        super().run(tmp, task_vars)
        _validated, arguments = self.validate_argument_spec(OPTIONS)
        everything = task_vars or {}
        try:
            aim = read_aim(arguments["before_run"], arguments["to"])
            serial = self._serial(everything)
        except ConfigError as error:
            return {"failed": True, "msg": str(error)}
        run = uuid.uuid4().hex
        told: dict[str, t.Any] = {"changed": False, "run": run, "audit": audit_of(run, everything)}
        told |= {"before_run": aim.before_run, "to": aim.to, "found": True}
        told["rollout"] = {"serial": serial}
        if aim.to is not None:
            told["msg"] = f"each balancer goes back to its applied configuration {aim.to}"
        elif aim.before_run is not None:
            told["msg"] = f"each balancer goes back to what it was before run {aim.before_run}"
        elif arguments["histories"]:
            told |= self._last(arguments["histories"], everything)
        return told

    @staticmethod
    def _serial(everything: Mapping[str, t.Any]) -> list[int | str]:
        """The sizes of batches, which a play cannot ask its hosts' variables for. ConfigError where they cannot be."""
        hosts = {host: everything["hostvars"][host] for host in everything.get("ansible_play_hosts_all", ())}
        said = {host: found.get("katran_serial") for host, found in hosts.items()}
        sizes, faults = agreed_sizes({host: value for host, value in said.items() if value is not None})
        if faults:
            raise ConfigError("; ".join(faults))
        return sizes

    @staticmethod
    def _last(name: str, everything: Mapping[str, t.Any]) -> dict[str, t.Any]:
        """What was the last run of the hosts of the play."""
        hostvars = everything["hostvars"]
        results = [hostvars[host].get(name) for host in everything.get("ansible_play_hosts_all", ())]
        found = newest(each["entries"] for each in results if isinstance(each, Mapping) and "entries" in each)
        if found is None:
            return {
                "found": False,
                "msg": "no run on record changed any of these balancers: nothing is taken back",
            }
        by = f" by {found['user']}" if found["user"] else ""
        at = f", revision {found['revision']}" if found["revision"] else ""
        msg = f"each balancer goes back to what it was before run {found['run']}{by} of {found['began']}{at}"
        return {"before_run": found["run"], "msg": msg}
