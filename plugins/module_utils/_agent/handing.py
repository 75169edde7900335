# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Flow exceptions handed over to the peers when somebody asks for it: before a balancer goes."""

from __future__ import annotations

import asyncio
import contextlib

from .._kernel.run_files import RunFiles
from .._model.errors import StateError
from .._model.handed_over import HandedOver
from .services import SyncService
from .troubles import Troubles

_LONGEST = 300.0
"""Seconds after which peers that have not confirmed everything are waited for no more."""

_PATIENCE = 5.0
"""Seconds that a peer may need to answer at all."""

_LOOK = 0.2


class Handing:
    """Answers of one balancer, one at a time: the newest question counts."""

    def __init__(self, files: RunFiles, sync: SyncService, troubles: Troubles) -> None:
        self._files, self._sync, self._troubles = files, sync, troubles
        # Who asked before this agent began has given up.
        self._asked = files.hand_over_asked()
        self._task: asyncio.Task[None] | None = None

    def look(self) -> None:
        """Begin with an answer where somebody asked."""
        asked = self._files.hand_over_asked()
        if asked not in (0, self._asked):
            self._asked = asked
            self._cancel()
            self._task = asyncio.get_running_loop().create_task(self._answer(asked), name="hand over flow exceptions")

    async def close(self) -> None:
        """Answer no more."""
        task = self._task
        self._cancel()
        if task is not None:
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _answer(self, asked: int) -> None:
        waiting = asyncio.ensure_future(self._sync.hand_over(_LONGEST, _PATIENCE))
        try:
            while not waiting.done():
                self._write(HandedOver(asked, False, self._sync.handed()))
                await asyncio.wait([waiting], timeout=_LOOK)
            self._write(HandedOver(asked, True, waiting.result()))
        finally:
            waiting.cancel()

    def _write(self, answer: HandedOver) -> None:
        try:
            self._files.write(self._files.handed_over, answer.to_json())
            self._troubles.end("handed_over.json")
        except StateError as error:
            self._troubles.begin("handed_over.json", str(error))
