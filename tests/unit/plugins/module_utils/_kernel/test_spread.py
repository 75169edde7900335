# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import signal
from collections.abc import Sequence

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._kernel.spread import spread
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import EngineError


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 100])
@pytest.mark.parametrize("processes", [1, 2, 5])
def test_answers_come_in_the_order_of_the_items(count: int, processes: int) -> None:
    assert spread(range(count), lambda part: [each * each for each in part], processes) == [n * n for n in range(count)]


def _children() -> str:
    with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as source:
        return source.read()


def test_a_part_that_is_not_done_is_an_error_and_no_process_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1, 2})
    here, before = os.getpid(), _children()

    def work(part: Sequence[int]) -> list[int]:
        if os.getpid() != here:
            os.kill(os.getpid(), signal.SIGKILL)
        return list(part)

    with pytest.raises(EngineError, match="ended before it was done"):
        spread(range(12), work, 3)

    def fail(part: Sequence[int]) -> list[int]:
        if os.getpid() == here:
            raise ValueError(part)
        return list(part)

    with pytest.raises(ValueError, match="range"):
        spread(range(12), fail, 3)
    assert _children() == before
