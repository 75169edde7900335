# SPDX-License-Identifier: GPL-3.0-or-later
"""A worker whose jobs are a test's: said on the command line is nothing, each job says what it does."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any

from ansible_collections.katran.fleet.plugins.module_utils._agent.jobs_server import serve
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import LockedError, StateError


def echo(value: Any) -> Any:
    sys.stdout.write("what is printed is no answer\n")
    return value


def fail(sentence: str) -> None:
    raise StateError(sentence)


def wait(sentence: str) -> None:
    raise LockedError(sentence, "7")


def stumble() -> None:
    raise ValueError("nobody thought of it")


def sleep(seconds: float) -> None:
    time.sleep(seconds)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


sys.exit(
    serve({"echo": echo, "fail": fail, "wait": wait, "stumble": stumble, "sleep": sleep, "die": die, "pid": os.getpid})
)
