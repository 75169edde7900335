# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import time
import typing as t

from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    """Notes by the controller's clock when the host was asked, so that its own clock can be judged."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        super().run(tmp, task_vars)
        asked = time.time()
        found = dict(
            self._execute_module(
                module_name="katran.fleet.doctor_info", module_args=self._task.args, task_vars=task_vars
            )
        )
        found["asked"], found["answered"] = asked, time.time()
        return found
