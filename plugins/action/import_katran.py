# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import typing as t

import yaml
from ansible.plugins.action import ActionBase

from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ConfigError
from ansible_collections.katran.fleet.plugins.plugin_utils.katran_inventory import HEAD, Written, inventory_of
from ansible_collections.katran.fleet.plugins.plugin_utils.whole_file import write_whole

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
            changes = self._write(written, arguments["path"], arguments["force"])
        except (ConfigError, OSError) as error:
            return {"failed": True, "msg": str(error)}
        for line in (*silent, *written.notes):
            self._display.display(line)
        return {
            "changed": bool(changes),
            "changes": changes,
            "notes": [*silent, *written.notes],
            "vips": self._read_back(written, arguments["path"]),
        }

    def _write(self, written: Written, path: str, force: bool) -> list[str]:
        """A line for each file that is, or in check mode would be, written or removed.

        ConfigError where one is another's.
        """
        there: dict[str, str] = {}
        for name in written.files:
            place = os.path.join(path, name)
            if os.path.lexists(place):
                there[name] = _read(place)
        left = _left(written, path)
        others = sorted([*left, *(name for name in there if there[name] != written.files[name])])
        if others and not force:
            raise ConfigError(
                f"{', '.join(os.path.join(path, name) for name in others)} exists, and is not what would be written:"
                " give another folder (katran_import_path), or katran_import_force: true to write over it"
            )
        changes = []
        for name, text in written.files.items():
            if there.get(name) == text:
                continue
            place = os.path.join(path, name)
            changes.append(f"write {place}")
            if not self._task.check_mode:
                os.makedirs(os.path.dirname(place), exist_ok=True)
                write_whole(place, text)
        for name in left:
            changes.append(f"remove {os.path.join(path, name)}")
            if not self._task.check_mode:
                os.unlink(os.path.join(path, name))
        return changes

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
    places = {name: os.path.join(path, name) for name in names}
    head = HEAD.partition("{}")[0]
    return [name for name, place in places.items() if os.path.lexists(place) and _read(place).startswith(head)]


def _read(path: str) -> str:
    """A file's text, whatever it is."""
    with open(path, encoding="utf-8", errors="surrogateescape") as source:
        return source.read()
