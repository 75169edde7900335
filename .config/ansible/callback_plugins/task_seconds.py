# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import time
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: task_seconds
type: aggregate
short_description: Ends a run with its duration and its slowest tasks
description:
  - ansible-core has no such callback of its own, and another collection is not needed for a dozen lines.
  - For work in a clone of katran.fleet; it is not part of the collection.
author: the katran.fleet authors
"""

SLOWEST = 5
WORTH_SHOWING_SECONDS = 0.5


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "task_seconds"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._begin = time.monotonic()
        self._task_begin: dict[str, float] = {}
        self._task_seconds: dict[str, float] = {}
        self._task_name: dict[str, str] = {}

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:  # noqa: ARG002  # ansible's signature
        self._task_begin[task._uuid] = time.monotonic()
        self._task_name[task._uuid] = task.get_name()

    def v2_playbook_on_handler_task_start(self, task: Any) -> None:
        self.v2_playbook_on_task_start(task, is_conditional=False)

    def _host_done(self, result: Any, ignore_errors: bool = False) -> None:  # noqa: ARG002  # ansible's signature
        uuid = result.task._uuid
        # Until the last host is done: a task lasts as long as its slowest host.
        self._task_seconds[uuid] = time.monotonic() - self._task_begin.get(uuid, self._begin)

    v2_runner_on_ok = v2_runner_on_failed = v2_runner_on_unreachable = _host_done

    def v2_playbook_on_stats(self, stats: Any) -> None:  # noqa: ARG002  # ansible's signature
        slowest = sorted(self._task_seconds.items(), key=lambda item: -item[1])[:SLOWEST]
        shown = [
            f"{seconds:.1f} {self._task_name[uuid]}" for uuid, seconds in slowest if seconds >= WORTH_SHOWING_SECONDS
        ]
        total = f"{time.monotonic() - self._begin:.1f} s"
        self._display.display(f"{total} in all" + (f"; slowest tasks (s): {'; '.join(shown)}" if shown else ""))
