# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What cannot be done for the moment, told once when it begins and once when it ends."""

from __future__ import annotations

import time

from .journal import NOTICE, WARNING, Journal


class Troubles:
    """Those of one balancer, or with "" of the host, by what they are about."""

    def __init__(self, journal: Journal, instance: str = "") -> None:
        self._journal, self._instance = journal, instance
        self._known: dict[str, tuple[float, str]] = {}

    def begin(self, what: str, sentence: str, patience: float = 0.0) -> None:
        """Something is wrong, as it may have been before. It is told once it was so for `patience` seconds."""
        since, before = self._known.get(what, (time.monotonic(), ""))
        tell = before != sentence and time.monotonic() - since >= patience
        # What several stumble over is one trouble.
        tell = tell and all(each[1] != sentence for each in self._known.values())
        self._known[what] = since, sentence if tell else before
        if tell:
            self._journal.tell(WARNING, sentence, instance=self._instance, about=what)

    def end(self, what: str) -> None:
        """It is well, as it may have been before."""
        sentence = self._known.pop(what, (0.0, ""))[1]
        if sentence:
            self._journal.tell(NOTICE, f"well again, after: {sentence}", instance=self._instance, about=what)


def unexpected(what: str, error: BaseException) -> str:
    """A fault of the agent's own in one line, with the place where it came from."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f" at {trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}" if trace else ""
    return f"{what}: unexpected {type(error).__name__}: {error}{where}"
