# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The other end of a worker: the process that does what it is asked, one job after another."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import sys
import typing as t
from collections.abc import Callable, Mapping

from .._kernel.parent import end_with
from .._model.errors import FleetError, LockedError, refusal

Jobs = Mapping[str, Callable[..., t.Any]]
"""Name of a job → what does it; its arguments and its result are JSON's."""

_NICE = 5
"""Below the agent itself, so that probes come first where there is one CPU."""


def serve(jobs: Jobs) -> int:
    """Do jobs until standard input ends; answers go where standard output led, and what is printed to the journal."""
    if not end_with(os.getppid()):
        return 1
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        os.nice(_NICE)
    answers = os.dup(1)
    os.dup2(2, 1)
    for line in sys.stdin:
        job, arguments = json.loads(line)
        # Where nobody waits for the answer any more, nobody asks again.
        with contextlib.suppress(BrokenPipeError):
            _write(answers, json.dumps(_answer(jobs, job, arguments)).encode() + b"\n")
        gc.collect()
    return 0


def _write(descriptor: int, data: bytes) -> None:
    """All of it: a pipe takes a part at a time."""
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]


def _answer(jobs: Jobs, job: str, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
    # A run makes hundreds of thousands of small values: looking for cycles among them doubles its time.
    gc.disable()
    try:
        return {"result": jobs[job](**arguments)}
    except FleetError as error:
        return {"error": str(error), "locked": isinstance(error, LockedError)}
    except OSError as error:
        return {"error": refusal(error)}
    # pylint: disable-next=broad-exception-caught
    except Exception as error:  # noqa: BLE001  # what nobody thought of is told, and no reason for the process to die
        return {"error": f"unexpected {type(error).__name__}: {error}"}
    finally:
        gc.enable()
