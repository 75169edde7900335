# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock around every read-compare-write of an instance."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator

from .._model.errors import LockedError, StateError
from .private import make_private

LOCK_ROOT = "/run/katran-fleet"
_leaves = [True]


def leave_nothing() -> None:
    """From here on this process makes no lock file, not even its folder: where there is none, nobody else runs."""
    _leaves[0] = False


def holders(descriptor: int) -> list[int]:
    """Process ids that hold a flock on the open file, from /proc/locks."""
    status = os.fstat(descriptor)
    inode = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    found = []
    with contextlib.suppress(OSError), open("/proc/locks", encoding="ascii") as source:
        for line in source:
            words = line.split()
            if "->" not in words and "FLOCK" in words and inode in words:
                found.append(int(words[4]))
    return sorted(set(found) - {os.getpid()})


@contextlib.contextmanager
def locked(instance: str, exclusive: bool, timeout: float, root: str = LOCK_ROOT) -> Iterator[None]:
    """Hold the balancer's lock: exclusive to change, shared to look. `timeout` in seconds.

    LockedError names the process that holds it once the time is up.
    """
    path = os.path.join(root, f"{instance}.lock")
    if not _leaves[0] and not exclusive and not os.path.exists(path):
        yield
        return
    deadline = time.monotonic() + timeout
    operation = (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB
    while True:
        try:
            if _leaves[0]:
                make_private(root)
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if _leaves[0] else 0), 0o600)
        except OSError as error:
            raise StateError(f"the lock {path} cannot be opened: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, operation)
            # A removal of the balancer may have unlinked the file while this run waited for it: then it guards nothing.
            if os.fstat(descriptor).st_nlink:
                break
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EINTR):
                os.close(descriptor)
                raise StateError(f"the lock {path} cannot be taken: {error.strerror}") from error
            if time.monotonic() >= deadline:
                pids = " and ".join(map(str, holders(descriptor))) or "unknown"
                os.close(descriptor)
                raise LockedError(
                    f"balancer {instance} is locked by another run (pid {pids}): waited {timeout:g} s (lock_timeout)",
                    pids,
                ) from error
            time.sleep(0.02)
        os.close(descriptor)
    try:
        yield
    finally:
        os.close(descriptor)


def remove_lock(instance: str, root: str = LOCK_ROOT) -> None:
    """Remove the lock file of a balancer that is gone; its holder keeps the lock until it ends."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(root, f"{instance}.lock"))
