# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import binascii
import typing as t
from collections.abc import Mapping, Sequence

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.katran.fleet.plugins.plugin_utils.ipvs import Key, Remarks, Service
from ansible_collections.katran.fleet.plugins.plugin_utils.ipvs_inventory import inventory_of, wanted_of
from ansible_collections.katran.fleet.plugins.plugin_utils.ipvs_vips import joined
from ansible_collections.katran.fleet.plugins.plugin_utils.ipvsadm import read_ipvsadm
from ansible_collections.katran.fleet.plugins.plugin_utils.keepalived import Configured, read_keepalived
from ansible_collections.katran.fleet.plugins.plugin_utils.keepalived_text import FileSource
from ansible_collections.katran.fleet.plugins.plugin_utils.saved_files import OnDisk, Sent, decoded
from ansible_collections.katran.fleet.plugins.plugin_utils.written_inventory import InventoryError, changes, write

OPTIONS = {
    "keepalived": {"type": "path"},
    "ipvsadm": {"type": "path"},
    "host": {"type": "str"},
    "table": {"type": "str"},
    "configuration": {"type": "path", "default": "/etc/keepalived/keepalived.conf"},
    "config_id": {"type": "str", "default": ""},
    "files": {"type": "list", "elements": "dict"},
    "folder": {"type": "path", "required": True},
    "balancers": {"type": "list", "elements": "str", "required": True},
    "interfaces": {"type": "list", "elements": "str", "default": []},
    "real_interfaces": {"type": "list", "elements": "str", "default": []},
    "marks": {"type": "dict", "default": {}},
    "overwrite": {"type": "bool", "default": False},
}


class ActionModule(ActionBase):
    """Reads what was saved or sent, and writes an inventory, all of it on the controller."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        super().run(tmp, task_vars)
        _validated, arguments = self.validate_argument_spec(OPTIONS)
        remarks = Remarks()
        try:
            configured, kernel, origin = self._read(arguments, remarks)
            services = joined(configured.services, kernel, remarks)
            files = inventory_of(services, wanted_of(arguments, configured.interfaces, origin), remarks).files()
            wanted = changes(arguments["folder"], files, arguments["overwrite"])
            if not self._task.check_mode:
                write(arguments["folder"], wanted)
        except InventoryError as error:
            raise AnsibleActionFail(str(error)) from error
        for sentence in remarks.sentences:
            self._display.display(sentence)
        return {
            "changed": bool(wanted),
            "told": remarks.told,
            "files": sorted(files),
            "services": len(services),
            "diff": [
                {"before_header": each.path, "after_header": each.path, "before": each.before, "after": each.after}
                for each in wanted
            ],
        }

    @staticmethod
    def _read(arguments: Mapping[str, t.Any], remarks: Remarks) -> tuple[Configured, dict[Key, Service], list[str]]:
        """What keepalived.conf and the kernel's table say, and sentences that say what was read."""
        configured, kernel, origin = Configured(), dict[Key, Service](), list[str]()
        source: FileSource = OnDisk(arguments["keepalived"] or "")
        path = arguments["keepalived"]
        host = arguments["host"] or "the host"
        if arguments["files"]:
            path, source = arguments["configuration"], Sent(_sent(arguments["files"], remarks))
        if path:
            try:
                configured = read_keepalived(path, source, remarks, arguments["config_id"])
            except OSError as error:
                raise InventoryError(f"{path} cannot be read: {error.strerror or error}") from error
            origin.append(f"Imported from {path}{f' of {host}' if arguments['files'] else ''}.")
        table, name = arguments["table"], f"ipvsadm of {host}"
        if arguments["ipvsadm"]:
            name = arguments["ipvsadm"]
            try:
                table = OnDisk(name).text(name)
            except OSError as error:
                raise InventoryError(f"{name} cannot be read: {error.strerror or error}") from error
        if table is not None:
            kernel = read_ipvsadm(table, name.rpartition("/")[2], remarks)
            origin.append(f"Imported from the table of IPVS, {name}.")
        if not origin:
            raise InventoryError("nothing to import: give keepalived or ipvsadm, a file each, or what a host sent")
        return configured, kernel, origin


def _sent(results: Sequence[Mapping[str, t.Any]], remarks: Remarks) -> dict[str, str]:
    """Path → text, of what module slurp returned for each file."""
    found = {}
    for each in results:
        source = str(each.get("source") or each.get("item") or "")
        try:
            found[source] = decoded(base64.b64decode(each.get("content") or "", validate=True))
        except (binascii.Error, ValueError):
            remarks.add(source, "the file", "is not as module slurp returns one, and was not read")
    return found
