# SPDX-License-Identifier: GPL-3.0-or-later
"""A worker answers each request, and one that dies or fails is no more than a sentence."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._agent import worker as worker_module
from ansible_collections.katran.fleet.plugins.module_utils._agent.worker import RunFailedError, Worker

COMMAND = [sys.executable, str(Path(__file__).with_name("worker_jobs.py"))]
# Where this collection is found, be it by the link of a clone.
COLLECTIONS = str(Path(str(worker_module.__file__)).parents[6])


@pytest.fixture(autouse=True)
def path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", COLLECTIONS)


def with_worker(work: Callable[[Worker], Awaitable[None]], command: list[str] | None = None) -> None:
    async def whole() -> None:
        worker = Worker(command or COMMAND)
        try:
            await work(worker)
        finally:
            await worker.close()
        assert worker.pid is None

    asyncio.run(whole())


def test_each_request_has_its_answer() -> None:
    async def work(worker: Worker) -> None:
        large = ["198.51.100.1:80/tcp"] * 100_000
        wanted = [{"a": 1}, None, "ü\n", large]
        assert await asyncio.gather(*(worker.ask("echo", value=value) for value in wanted)) == wanted
        assert worker.started == 1

    with_worker(work)


def test_what_fails_is_a_sentence_and_the_next_succeeds() -> None:
    async def work(worker: Worker) -> None:
        with pytest.raises(RunFailedError, match=r"^the map is full$") as told:
            await worker.ask("fail", sentence="the map is full")
        assert not told.value.locked
        with pytest.raises(RunFailedError) as told:
            await worker.ask("wait", sentence="balancer default is locked by another run (pid 7): waited 1 s")
        assert told.value.locked
        with pytest.raises(RunFailedError, match="unexpected ValueError: nobody thought of it"):
            await worker.ask("stumble")
        assert await worker.ask("echo", value=7) == 7
        assert worker.started == 1

    with_worker(work)


def test_one_that_dies_is_replaced() -> None:
    async def work(worker: Worker) -> None:
        with pytest.raises(RunFailedError, match=r"ended in the middle of one \(SIGKILL\)"):
            await worker.ask("die")
        first = await worker.ask("pid")
        os.kill(first, 9)
        # Between two requests, too: the second notices at the latest.
        for _attempt in range(2):
            try:
                assert await worker.ask("pid") != first
                break
            except RunFailedError:
                continue
        assert worker.started == 3

    with_worker(work)


def test_one_that_cannot_be_started_is_a_sentence() -> None:
    async def work(worker: Worker) -> None:
        with pytest.raises(RunFailedError, match="the process of runs does not answer"):
            await worker.ask("echo", value=1)

    with_worker(work, ["/nowhere/python3"])


def test_who_asks_no_more_gets_no_answer_of_another() -> None:
    async def work(worker: Worker) -> None:
        await worker.ask("pid")
        asked = asyncio.ensure_future(worker.ask("sleep", seconds=30))
        await asyncio.sleep(0.2)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        assert await worker.ask("echo", value="mine") == "mine"

    with_worker(work)


def test_a_run_at_work_may_end() -> None:
    async def whole() -> float:
        worker = Worker(COMMAND)
        await worker.ask("pid")
        asked = asyncio.ensure_future(worker.ask("sleep", seconds=1.0))
        await asyncio.sleep(0.2)
        asked.cancel()
        began = time.monotonic()
        await worker.close(20)
        return time.monotonic() - began

    assert 0.5 < asyncio.run(whole()) < 15


def test_it_dies_with_who_started_it() -> None:
    """Also where that one is killed, and so has no say in it."""
    code = (
        "import asyncio, os, signal;"
        "from ansible_collections.katran.fleet.plugins.module_utils._agent.worker import Worker\n"
        "async def whole():\n"
        f"    worker = Worker({COMMAND!r})\n"
        "    print(await worker.ask('pid'), flush=True)\n"
        "    asyncio.ensure_future(worker.ask('sleep', seconds=60))\n"
        "    await asyncio.sleep(0.3)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "asyncio.run(whole())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    pid = int(done.stdout)
    deadline = time.monotonic() + 20
    while is_alive(pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that nobody has buried yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
