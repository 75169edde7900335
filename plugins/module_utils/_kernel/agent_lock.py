# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the agent says that it takes part in a balancer, and how a removal waits until it does so no more."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time

from .._model.errors import StateError
from .private import make_private

_NAME = "agent.lock"
_OPENED = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


def hold(folder: str) -> int | None:
    """Take part, until the descriptor that is returned is closed; None where another agent does.

    StateError where the file cannot be opened.
    """
    try:
        make_private(folder)
        descriptor = os.open(os.path.join(folder, _NAME), _OPENED, 0o600)
    except OSError as error:
        raise StateError(f"{folder}/{_NAME} cannot be opened: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def is_held(folder: str) -> bool:
    """Whether an agent takes part."""
    with contextlib.suppress(OSError):
        descriptor = os.open(os.path.join(folder, _NAME), os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
    return False


def let_go(folder: str, timeout: float) -> None:
    """Wait until no agent takes part. StateError where one still does after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    with contextlib.suppress(FileNotFoundError):
        descriptor = os.open(os.path.join(folder, _NAME), os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return
                except BlockingIOError as error:
                    if time.monotonic() >= deadline:
                        raise StateError(f"the agent has not let go of {folder} in {timeout:g} s") from error
                    time.sleep(0.05)
        finally:
            os.close(descriptor)
