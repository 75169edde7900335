# SPDX-License-Identifier: GPL-3.0-or-later
"""The process of flow exceptions is started anew, however it ends."""

from __future__ import annotations

import asyncio
import sys

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._agent import sync
from ansible_collections.katran.fleet.plugins.module_utils._model.sync_settings import SyncSettings

SETTINGS = SyncSettings("10.0.0.1", 9464, ("10.0.0.2",), bytes(range(32)))


@pytest.mark.parametrize("said", ["'no report'", "'[' * 100", "'x' * (3 << 20)", "''"])
def test_it_is_started_anew(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync, "_AGAIN", 0.01)
    told: list[str] = []

    async def live() -> float:
        starter = [sys.executable, "-c", f"import sys; sys.stdout.write({said}); print()"]
        kept = sync.Sync("default", "/sys/fs/bpf", SETTINGS, told.append, starter)
        await kept.start()
        for _turn in range(500):
            await asyncio.sleep(0.01)
            if kept.stats()["restarts_total"] > 1:
                break
        await kept.stop()
        return kept.stats()["restarts_total"]

    assert asyncio.run(live()) > 1
    assert told
