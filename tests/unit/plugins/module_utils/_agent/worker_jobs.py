# SPDX-License-Identifier: GPL-3.0-or-later
"""A worker whose jobs are a test's: said on the command line is nothing, each job says what it does."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any

from ansible_collections.katran.fleet.plugins.module_utils._agent.jobs_server import serve
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import StateError


def echo(value: Any) -> Any:
    sys.stdout.write("what is printed is no answer\n")
    return value


def fail(sentence: str) -> None:
    raise StateError(sentence)


def stumble() -> None:
    raise ValueError("nobody thought of it")


def sleep(seconds: float) -> None:
    time.sleep(seconds)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


sys.exit(serve({"echo": echo, "fail": fail, "stumble": stumble, "sleep": sleep, "die": die, "pid": os.getpid}))
