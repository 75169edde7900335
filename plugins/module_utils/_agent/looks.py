# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel has, looked at when it tells of something and every few seconds, and followed where it moved."""

from __future__ import annotations

import asyncio
import contextlib
import typing as t
from collections.abc import Mapping

from .._model.errors import FleetError
from .._model.watch import Place, news, spot_of
from .instance import Instance
from .journal import NOTICE, WARNING, Journal
from .kernel_told import Kernel
from .troubles import Troubles
from .worker import RunFailedError, Worker

_LOOK_SECONDS = 3.0
_GAP_SECONDS = 0.2
_FOLLOW_SECONDS = 15.0
"""So often program healthcheck and the gateway's MAC are compared although nothing was told."""

_NEWS_SECONDS = 1.0
"""What the kernel tells is followed no more often than this."""

Look = Mapping[str, t.Any]


class Looks:
    """Looks for all balancers, by a worker of their own: a gateway may take seconds to answer, and verdicts none."""

    def __init__(self, worker: Worker, journal: Journal, instances: Mapping[str, Instance]) -> None:
        self.worker = worker
        self._journal, self._instances = journal, instances
        self._kernel = Kernel()
        self._troubles = Troubles(journal)
        self._loop = asyncio.get_running_loop()
        self._places: dict[Place, str] = {}
        self._followed = 0.0
        self._news = False

    def hurry(self) -> None:
        """Look now."""
        self._kernel.told.set()

    def close(self) -> None:
        """Listen to the kernel no more."""
        self._kernel.close()

    async def forever(self) -> None:
        """Look for as long as this is awaited."""
        while True:
            began = self._loop.time()
            told = self._kernel.told.is_set()
            self._kernel.told.clear()
            try:
                look = await self.worker.ask("look")
                self._troubles.end("look")
                self._see(look, began)
                await self._follow(look["balancers"], told)
            except FleetError as error:
                self._troubles.begin("look", f"katran-agent cannot look at the kernel: {error}")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._kernel.told.wait(), _LOOK_SECONDS)
            await asyncio.sleep(max(0.0, began + _GAP_SECONDS - self._loop.time()))

    def _see(self, look: Look, began: float) -> None:
        """Tell where programs run no more, or again, and let balancers know what concerns them.

        `began`: when the look did, in loop time.
        """
        after = {Place(instance, program, spot_of(where)): wrong for instance, program, where, wrong in look["places"]}
        for place, sentence in after.items():
            for wrong, line in news(self._places, {place: sentence}):
                self._journal.tell(
                    WARNING if wrong else NOTICE,
                    line,
                    instance=place.instance,
                    program=place.program,
                    place=place.spot,
                )
        self._places = after
        for name, each in self._instances.items():
            each.places = {place: wrong for place, wrong in after.items() if place.instance == name}
            if name in look["balancers"]:
                each.see(look["balancers"][name], look["own"], began)

    async def _follow(self, balancers: Mapping[str, Look], told: bool) -> None:
        """Have the gateway's MAC followed where it is another, and all of it where something may be."""
        now = self._loop.time()
        # What is told right after all was followed is news to the next look, too.
        self._news = self._news or told
        due = now - self._followed >= (_NEWS_SECONDS if self._news else _FOLLOW_SECONDS)
        if due:
            self._followed, self._news = now, False
        for name, look in balancers.items():
            balancer, checker = bool(look.get("known")), bool(look.get("checker_known"))
            moved = look.get("moved") or look.get("checker_moved")
            if (moved or due) and (balancer or checker):
                await self._follow_one(name, balancer, checker)

    async def _follow_one(self, name: str, balancer: bool, checker: bool) -> None:
        try:
            lines = await self.worker.ask("follow", instance=name, balancer=balancer, checker=checker)
        except RunFailedError as error:
            if not error.locked:
                self._troubles.begin(f"follow {name}", str(error))
            return
        self._troubles.end(f"follow {name}")
        for line in lines:
            self._journal.tell(NOTICE, line, instance=name)
        if lines:
            self.hurry()
