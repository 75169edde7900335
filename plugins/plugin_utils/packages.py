# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packages that an action plugin installs before its module can do anything."""

from __future__ import annotations

import typing as t
from collections.abc import Sequence

from ansible.plugins.action import ActionBase


def install(plugin: ActionBase, packages: Sequence[str], task_vars: dict[str, t.Any] | None) -> dict[str, t.Any]:
    """Install packages by whatever this distribution installs packages with."""
    task = plugin._task.copy()  # pylint: disable=protected-access
    task.args = {"name": list(packages), "state": "present"}
    action = plugin._shared_loader_obj.action_loader.get(  # pylint: disable=protected-access
        "ansible.legacy.package",
        task=task,
        connection=plugin._connection,  # pylint: disable=protected-access
        play_context=plugin._play_context,  # pylint: disable=protected-access
        loader=plugin._loader,  # pylint: disable=protected-access
        templar=plugin._templar,  # pylint: disable=protected-access
        shared_loader_obj=plugin._shared_loader_obj,  # pylint: disable=protected-access
    )
    return dict(action.run(task_vars=task_vars))
