# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the agent serves besides: metrics of all balancers, and flow exceptions of those that tell others of flows."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping

from .._model.agent_settings import AgentSettings
from .._model.metrics_settings import LOCAL, MetricsSettings
from .journal import NOTICE, WARNING, Journal
from .metrics import SOCKET, Collector, Metrics
from .sync import Sync
from .view import View

_AGAIN_SECONDS = 10.0


class MetricsService:
    """Metrics where the settings of all balancers together say; what cannot be listened to is tried again."""

    def __init__(self, view: Callable[[], View], bpffs: Callable[[str], str], journal: Journal) -> None:
        self._collector = Collector(view, bpffs)
        self._metrics = Metrics(self._collector)
        self._journal = journal
        self._settings: MetricsSettings | None = None
        self._failed = ""
        self._tried = 0.0

    async def keep(self, every: Mapping[str, AgentSettings], now: float) -> None:
        """Serve as these settings say. `now`: loop time."""
        wanted = _together(every)
        if wanted == self._settings and not (self._failed and now - self._tried >= _AGAIN_SECONDS):
            return
        self._settings, self._tried = wanted, now
        self._collector.each_real = wanted.each_real
        await self._metrics.stop()
        try:
            await self._metrics.start(wanted)
        except OSError as error:
            if str(error) != self._failed:
                self._failed = str(error)
                self._journal.tell(WARNING, f"metrics: {error.strerror or error}")
            return
        if self._failed:
            self._failed = ""
            self._journal.tell(NOTICE, "metrics: served again")

    async def close(self) -> None:
        """Serve no more."""
        await self._metrics.stop()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(SOCKET)


def _together(every: Mapping[str, AgentSettings]) -> MetricsSettings:
    listen = dict.fromkeys(place for each in every.values() for place in each.metrics.listen)
    allow = dict.fromkeys((*LOCAL, *(prefix for each in every.values() for prefix in each.metrics.allow)))
    return MetricsSettings(tuple(listen), tuple(allow), any(each.metrics.each_real for each in every.values()))


class SyncService:
    """The flow exceptions of one balancer, as its settings say."""

    def __init__(self, instance: str, journal: Journal) -> None:
        self._instance, self._journal = instance, journal
        self._sync: Sync | None = None
        self._of: object = None

    async def keep(self, settings: AgentSettings | None, bpffs: str) -> None:
        """Tell and listen as these settings say, or not at all."""
        sync = settings.sync if settings is not None else None
        if (sync, bpffs) == self._of:
            return
        await self.close()
        self._of = sync, bpffs
        if sync is not None:
            self._sync = Sync(self._instance, bpffs, sync, self._tell)
            await self._sync.start()

    def _tell(self, sentence: str) -> None:
        self._journal.tell(NOTICE, sentence, instance=self._instance)

    def ring_changed(self) -> None:
        """A ring may be another."""
        if self._sync is not None:
            self._sync.ring_changed()

    async def hand_over(self, timeout: float, patience: float) -> Mapping[str, str]:
        """Have each peer confirm everything. Peer → what it did; none where nobody is told of flows."""
        if self._sync is None:
            return {}
        await self._sync.hand_over(timeout, patience)
        return self.handed()

    def handed(self) -> Mapping[str, str]:
        """Peer → whether it has confirmed everything since it was last to."""
        return self._sync.handed() if self._sync is not None else {}

    @property
    def in_sync(self) -> bool:
        """Whether nothing is to be waited for from peers."""
        return self._sync is None or self._sync.in_sync()

    def stats(self) -> Mapping[str, float]:
        """Counters by name."""
        return self._sync.stats() if self._sync is not None else {}

    async def close(self) -> None:
        """Tell and listen no more."""
        if self._sync is not None:
            await self._sync.stop()
            self._sync = None
        self._of = None
