# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An exit status of ansible-playbook that says more than whether a task failed.

ansible-playbook itself knows 0, 1 for its own errors, 2 for a failed task and 4 for a host that was not reached, and no
task, module or callback can tell it another. What can is code that runs in its own process and outside of a task: the
template of a play's `hosts`, after the plays whose answer is the status. SystemExit is no Exception, so that neither
Jinja nor ansible-core takes it for a template's failure; their `finally` blocks run, and it ends in Python's own exit.
"""

from __future__ import annotations

import multiprocessing
import sys
import typing as t
from collections.abc import Iterable, Mapping

from ansible import context
from ansible.errors import AnsibleFilterError
from ansible.executor.task_queue_manager import TaskQueueManager
from ansible.utils.display import Display

NO_ANSWER = "the run ended before it had an answer"


def status_of(answers: Iterable[t.Any]) -> tuple[int, str]:
    """The exit status that the first of these registered results asks for, and a sentence where it is an error.

    A result asks by a whole number `exit_status`. One that failed without is status 1, with no sentence of its own, as
    the task has told it; none at all is status 1 with one.
    """
    for answer in answers:
        if isinstance(answer, Mapping):
            status = answer.get("exit_status")
            if isinstance(status, int) and 0 <= status <= 255:
                return int(status), ""
            return 1, "" if answer.get("failed") else NO_ANSWER
    return 1, NO_ANSWER


def is_listing() -> bool:
    """Whether plays are looked at and not run: --syntax-check, --list-hosts and the like."""
    return any(context.CLIARGS.get(name) for name in ("syntax", "listhosts", "listtasks", "listtags"))


def end_run(status: int, sentence: str = "") -> t.NoReturn:
    """End ansible-playbook with this status, and a sentence on stderr where there is one to say.

    Only where a play's `hosts` is templated. Callbacks are told of the end, on which some print all that they have.
    """
    if multiprocessing.parent_process() is not None:
        raise AnsibleFilterError("katran.fleet.exit_status is for the hosts of a play: a task cannot end the run")
    _tell_callbacks()
    if sentence:
        Display().error(sentence)
    raise SystemExit(status)


def _tell_callbacks() -> None:
    """Send the statistics that end a playbook: the recap, and the output of callbacks such as json and junit.

    ansible-core sends them after the last play, which is not reached. The queue manager is found in the frames that
    lead here; where a later ansible-core keeps it elsewhere, the recap is all that is missing.
    """
    frame = sys._getframe()  # noqa: SLF001  # Python's only way to the callers' frames that costs nothing
    while frame.f_back is not None:
        frame = frame.f_back
        manager = getattr(frame.f_locals.get("self"), "_tqm", None)
        if isinstance(manager, TaskQueueManager):
            manager.send_callback("v2_playbook_on_stats", manager._stats)  # noqa: SLF001  # has no public name
            return
