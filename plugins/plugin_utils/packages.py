# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugins whose module may need packages before it can do anything."""

from __future__ import annotations

import typing as t

from ansible.plugins.action import ActionBase


class InstallingAction(ActionBase):
    """An action plugin that can install packages."""

    def _install(self, packages: list[str], task_vars: dict[str, t.Any] | None) -> dict[str, t.Any]:
        """Install packages by whatever this distribution installs packages with."""
        task = self._task.copy()
        task.args = {"name": packages, "state": "present"}
        action = self._shared_loader_obj.action_loader.get(
            "ansible.legacy.package",
            task=task,
            connection=self._connection,
            play_context=self._play_context,
            loader=self._loader,
            templar=self._templar,
            shared_loader_obj=self._shared_loader_obj,
        )
        return dict(action.run(task_vars=task_vars))
