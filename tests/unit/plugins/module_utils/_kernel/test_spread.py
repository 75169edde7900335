# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import os
import signal
import time
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


@pytest.mark.parametrize("call", ["fork", "pipe"])
@pytest.mark.parametrize("given", [0, 1])
def test_what_there_is_no_process_for_is_done_here(monkeypatch: pytest.MonkeyPatch, call: str, given: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1, 2})
    known, before, open_before = getattr(os, call), _children(), os.listdir("/proc/self/fd")
    calls = []

    def scarce() -> object:
        calls.append(call)
        if len(calls) > given:
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return known()

    monkeypatch.setattr(os, call, scarce)
    assert spread(range(12), lambda part: [each * each for each in part], 3) == [n * n for n in range(12)]
    assert len(calls) == 2
    assert (_children(), os.listdir("/proc/self/fd")) == (before, open_before)


def test_no_process_is_left_of_one_that_was_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1, 2})
    source, into = os.pipe()
    parent = os.fork()
    if not parent:
        try:
            os.close(source)

            def work(part: Sequence[int]) -> list[int]:
                os.write(into, b"x")
                time.sleep(60)
                return list(part)

            spread(range(12), work, 3)
        finally:
            os._exit(1)
    os.close(into)
    with os.fdopen(source, "rb", 0) as told:
        assert b"".join(told.read(1) for _each in range(3)) == b"xxx"
        os.kill(parent, signal.SIGKILL)
        os.waitpid(parent, 0)
        began = time.monotonic()
        # The end of the pipe: nobody has it open any more.
        assert told.read(1) == b""
    assert time.monotonic() - began < 30
