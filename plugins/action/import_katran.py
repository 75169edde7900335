# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import typing as t

import yaml
from ansible.plugins.action import ActionBase

from ansible_collections.katran.fleet.plugins.plugin_utils.katran_inventory import HEAD, Written, inventory_of
from ansible_collections.katran.fleet.plugins.plugin_utils.written_inventory import (
    InventoryError,
    changes,
    text_of,
    write,
)

OPTIONS = {
    "found": {"type": "str", "required": True},
    "path": {"type": "path", "required": True},
    "group": {"type": "str", "default": "balancers"},
    "force": {"type": "bool", "default": False},
}


class ActionModule(ActionBase):
    """Writes an inventory of what hosts told, on the controller."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        super().run(tmp, task_vars)
        _validated, arguments = self.validate_argument_spec(OPTIONS)
        hostvars = (task_vars or {})["hostvars"]
        found, silent = {}, []
        for host in (task_vars or {}).get("ansible_play_hosts_all", ()):
            result = hostvars.raw_get(host).get(arguments["found"], {})
            if "variables" in result:
                found[host] = result
            else:
                silent.append(f"{host}: nothing was read ({result.get('msg') or 'it was not reached'})")
        if not found:
            return {"failed": True, "msg": "; ".join(silent) or "there is no host to read a Katran on"}
        # Ansible's own kinds of values bear where they came from, which no file of YAML can say.
        plain = json.loads(json.dumps({"found": found, "group": arguments["group"]}))
        written = inventory_of(plain["found"], plain["group"])
        try:
            lines = self._write(written, arguments["path"], arguments["force"])
        except (InventoryError, OSError) as error:
            return {"failed": True, "msg": str(error)}
        for line in (*silent, *written.notes):
            self._display.display(line)
        return {
            "changed": bool(lines),
            "changes": lines,
            "notes": [*silent, *written.notes],
            "vips": self._read_back(written, arguments["path"]),
        }

    def _write(self, written: Written, path: str, force: bool) -> list[str]:
        """A line for each file that is, or in check mode would be, written or removed.

        InventoryError where one is another's.
        """
        wanted = changes(path, written.files, overwrite=True)
        left = _left(written, path)
        others = sorted([*left, *(each.path for each in wanted if each.replaces)])
        if others and not force:
            raise InventoryError(
                f"{', '.join(os.path.join(path, name) for name in others)} exists, and is not what would be written:"
                " give another folder (katran_import_path), or katran_import_force: true to write over it"
            )
        if not self._task.check_mode:
            write(path, wanted)
            for name in left:
                os.unlink(os.path.join(path, name))
        return [
            *(f"write {os.path.join(path, each.path)}" for each in wanted),
            *(f"remove {os.path.join(path, name)}" for name in left),
        ]

    def _read_back(self, written: Written, path: str) -> dict[str, t.Any]:
        """Host → the VIPs that its files say, which check mode has not written."""
        if self._task.check_mode:
            return written.vips
        found = {}
        for host in written.vips:
            told: dict[str, t.Any] = {}
            for name in written.files:
                if name.startswith("group_vars/") or name == f"host_vars/{host}.yml":
                    with open(os.path.join(path, name), encoding="utf-8") as source:
                        told.update(yaml.safe_load(source))
            found[host] = told.get("katran_vips", [])
        return found


def _left(written: Written, path: str) -> list[str]:
    """Files of an earlier import whose variables are the group's now: they would be stronger."""
    names = [f"host_vars/{host}.yml" for host in written.vips if f"host_vars/{host}.yml" not in written.files]
    head = HEAD.partition("{}")[0]
    return [name for name in names if (text_of(os.path.join(path, name)) or "").startswith(head)]
