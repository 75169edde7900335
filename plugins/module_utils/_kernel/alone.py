# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One capture at a time: who captures holds a file of the balancer's for as long as it does."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator

from .._model.errors import StateError
from .lock import LOCK_ROOT, holders
from .private import make_private


@contextlib.contextmanager
def alone(instance: str, what: str, root: str = LOCK_ROOT) -> Iterator[None]:
    """Be the only one who does `what` with a balancer. StateError names the process that does already."""
    path = os.path.join(root, f"{instance}.{what}")
    while True:
        try:
            make_private(root)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise StateError(f"the lock {path} cannot be opened: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            pids = " and ".join(map(str, holders(descriptor))) or "unknown"
            os.close(descriptor)
            raise StateError(
                f"somebody else does a {what} with balancer {instance} (pid {pids}): there can be one at a time"
            ) from error
        # Who did so before may have removed the file in between: then it guards nothing.
        if os.fstat(descriptor).st_nlink:
            break
        os.close(descriptor)
    try:
        yield
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        os.close(descriptor)
