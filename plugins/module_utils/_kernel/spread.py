# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Work that is shared out among processes: each does a part of a list and answers in JSON."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import typing as t
from collections.abc import Callable, Sequence

from .._model.errors import EngineError
from .parent import end_with

T = t.TypeVar("T")


def spread(items: Sequence[T], work: Callable[[Sequence[T]], list[t.Any]], processes: int = 8) -> list[t.Any]:
    """What `work` answers for the items, in their order: values of JSON, one for each item.

    Up to *processes* processes do it, one for each CPU, this one among them; none is left when this returns or raises,
    or when this process is killed. What the kernel has no more processes or descriptors for, this one does.
    """
    shares = min(processes, len(os.sched_getaffinity(0)), len(items) // 2)
    # Forking with threads alive may leave a lock locked for ever in the child.
    if shares < 2 or threading.active_count() > 1:
        return work(items)
    helpers: dict[int, _Helper] = {}
    answers: list[t.Any] = [None] * len(items)
    try:
        for share in range(1, shares):
            with contextlib.suppress(OSError):
                helpers[share] = _Helper(items[share::shares], work)
        for share in range(shares):
            if share not in helpers:
                answers[share::shares] = work(items[share::shares])
        for share, helper in helpers.items():
            answers[share::shares] = helper.answers()
    finally:
        for helper in helpers.values():
            helper.stop()
    return answers


class _Helper:
    """A child process with its part. OSError where the kernel has no room for one."""

    def __init__(self, items: Sequence[T], work: Callable[[Sequence[T]], list[t.Any]]) -> None:
        parent = os.getpid()
        self._from, into = os.pipe()
        try:
            self.pid = os.fork()
        except OSError:
            os.close(self._from)
            os.close(into)
            raise
        if self.pid:
            os.close(into)
            return
        code = 1
        try:
            # What the parent has open, this process has too: it would go on holding the lock of an instance.
            if not end_with(parent):
                return
            with os.fdopen(into, "w", encoding="utf-8") as out:
                json.dump(work(items), out)
            code = 0
        finally:
            # The child must neither unwind into its parent's callers nor flush its buffers.
            os._exit(code)

    def answers(self) -> list[t.Any]:
        """Wait for them. EngineError where the process failed."""
        with os.fdopen(self._from, encoding="utf-8") as source:
            self._from = -1
            text = source.read()
        pid, self.pid = self.pid, 0
        if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
            raise EngineError("a process that did part of the work ended before it was done")
        return t.cast("list[t.Any]", json.loads(text))

    def stop(self) -> None:
        """End the child if it still runs."""
        if self._from >= 0:
            os.close(self._from)
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
