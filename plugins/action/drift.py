# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t
from collections.abc import Mapping

from ansible.plugins.action import ActionBase

from ansible_collections.katran.fleet.plugins.module_utils._model.drift_report import Compared, Fleet, compared_of
from ansible_collections.katran.fleet.plugins.plugin_utils.whole_file import PRIVATE, write_whole

OPTIONS = {
    "preflight": {"type": "dict", "required": True},
    "found": {"type": "str", "required": True},
    "path": {"type": "path"},
}


class ActionModule(ActionBase):
    """Joins what hosts told, prints it for people, and writes it down for programs."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        super().run(tmp, task_vars)
        _validated, arguments = self.validate_argument_spec(OPTIONS)
        hostvars = (task_vars or {})["hostvars"]
        preflight, path = arguments["preflight"], arguments["path"]
        if not {"balancers", "reals"} <= preflight.keys():
            return self._failed(f"the inventory is not valid: {preflight.get('msg') or 'preflight said nothing'}")
        hosts = [
            compared_of(host, _roles(preflight, host), result)
            for host in hostvars
            for result in [hostvars.raw_get(host).get(arguments["found"])]
            if result is not None and not result.get("skipped")
        ]
        if not hosts:
            return self._failed("no host was compared: the inventory has no balancer and no real, or --limit left none")
        fleet = Fleet(hosts)
        for line in fleet.lines():
            self._display.display(line)
        told = _told(fleet)
        if path and not self._task.check_mode:
            try:
                write_whole(path, json.dumps(told, indent=2) + "\n", PRIVATE)
            except OSError as error:
                return self._failed(f"path: {path} cannot be written: {error.strerror}")
        return told

    def _failed(self, sentence: str) -> dict[str, t.Any]:
        return {"failed": True, "msg": sentence, "exit_status": 1}


def _roles(preflight: Mapping[str, t.Any], host: str) -> list[str]:
    return [role for role in ("balancer", "real") if host in preflight[f"{role}s"]]


def _told(fleet: Fleet) -> dict[str, t.Any]:
    return {
        "changed": False,
        "exit_status": fleet.exit_status,
        "summary": fleet.summary,
        "findings": [{"host": host, **each._asdict(), "since": each.since._asdict()} for host, each in fleet.findings],
        "hosts": {each.host: _host(each) for each in fleet.hosts},
        "same": fleet.same,
    }


def _host(host: Compared) -> dict[str, t.Any]:
    return {
        "roles": list(host.roles),
        "drift": bool(host.findings),
        "notes": list(host.notes),
        "compared": dict(host.compared),
        "timings": dict(host.timings),
    }
